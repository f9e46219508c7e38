"""Circuits as data: against the gate lists of the design, PennyLane's tape and a plain numpy simulation."""
import math

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from circuits import circuits, numpy_state, pennylane_state
from hypothesis import given, settings
from hypothesis import strategies as st

from qhn.circuits.ansatz import (Ansatz, Entangler, Rotation, brickwork, hardware_efficient,
                                 product, staircase)

KEY = jax.random.key(0)


def queued(ansatz):
    "What `circuit` queues, as (gate, row of the angle or None, wires): angles are numbered, so that a swapped one shows."
    params = np.arange(ansatz.n_params, dtype=float)
    operations = qml.tape.make_qscript(ansatz.circuit)(params).operations
    return [(op.name, tuple(op.parameters), tuple(op.wires)) for op in operations]


def expected(n, moments):
    "The same list from moments written as `RY` or as (gate, pairs)."
    ops, row = [], 0
    for moment in moments:
        if isinstance(moment, str):
            ops += [(moment, (row * n + wire,), (wire,)) for wire in range(n)]
            row += 1
        else: ops += [(moment[0], (), pair) for pair in moment[1]]
    return ops


sizes = given(st.integers(1, 9), st.integers(1, 6))


@sizes
@settings(max_examples=25)
def test_brickwork_is_the_circuit_of_the_design(n, n_layers):
    moments = []
    for d in range(1, n_layers + 1):
        pairs, j = [], d % 2
        while j < n - 1: pairs, j = pairs + [(j, j + 1)], j + 2
        moments += [("CNOT", pairs), "RY", "RZ"]
    assert queued(brickwork(n, n_layers)) == expected(n, moments)
    assert queued(brickwork(n, n_layers, final_rz=False)) == expected(n, moments[:-1])
    assert brickwork(n, n_layers).param_shape == (2 * n_layers * n,)


@sizes
@settings(max_examples=25)
def test_staircase_is_the_circuit_of_the_design(n, n_layers):
    moments = ["RY", "RZ"] + [("CNOT", [(j, j + 1) for j in range(n - 1)]), "RY", "RZ"] * n_layers
    assert queued(staircase(n, n_layers)) == expected(n, moments)
    assert queued(staircase(n, n_layers, final_rz=False)) == expected(n, moments[:-1])
    assert staircase(n, n_layers).param_shape == ((2 * n_layers + 2) * n,)


@sizes
@settings(max_examples=25)
def test_hardware_efficient_has_both_rows_of_bricks_in_a_layer(n, n_layers):
    bricks = [(j, j + 1) for j in range(0, n - 1, 2)] + [(j, j + 1) for j in range(1, n - 1, 2)]
    moments = ["RY", "RZ"] + [("CNOT", bricks), "RY", "RZ"] * n_layers
    assert queued(hardware_efficient(n, n_layers)) == expected(n, moments[:-1])
    assert hardware_efficient(n, n_layers).param_shape == ((2 * n_layers + 1) * n,)


def test_without_layers_the_ladders_are_products():
    assert queued(product(4)) == expected(4, ["RY"])
    assert staircase(4, 0, final_rz=False) == product(4) == hardware_efficient(4, 0)


@given(circuits())
@settings(max_examples=60)
def test_any_moments_mean_the_same_to_pennylane_and_to_plain_numpy(circuit):
    np.testing.assert_allclose(pennylane_state(*circuit), numpy_state(*circuit), atol=1e-12)


@given(circuits())
def test_every_rotation_has_an_angle_and_equal_circuits_are_one_key(circuit):
    ansatz, _ = circuit
    gates = [m.gate for m in ansatz.moments if isinstance(m, Rotation)]
    assert ansatz.param_shape == (len(gates) * ansatz.n_qubits,)
    assert [name.split()[0] for name in ansatz.view(np.zeros(ansatz.param_shape))] == gates
    copy = Ansatz(ansatz.n_qubits, [Rotation(m.gate) if isinstance(m, Rotation) else Entangler(m.gate, list(m.pairs)) for m in ansatz.moments])
    assert copy == ansatz and hash(copy) == hash(ansatz)


def test_uniform_angles_cover_a_turn_and_repeat_with_the_key():
    ansatz = staircase(40, 40)
    angles = np.asarray(ansatz.init(KEY))
    assert angles.shape == (82 * 40,) and angles.min() >= -math.pi and angles.max() < math.pi
    counts = np.histogram(angles, 8, (-math.pi, math.pi))[0]
    expected_count = angles.size / 8
    assert ((counts - expected_count)**2 / expected_count).sum() < 30    # χ² of 7 degrees of freedom: one in 10,000
    assert np.asarray(ansatz.init(KEY)).tobytes() == angles.tobytes()
    assert np.asarray(ansatz.init(jax.random.key(1))).tobytes() != angles.tobytes()


@pytest.mark.parametrize("ansatz", [product(5), brickwork(5, 3), staircase(5, 2), hardware_efficient(5, 2), Ansatz(3, (Rotation("RX"), Rotation("RY")))],
                         ids=["product", "brickwork", "staircase", "hardware-efficient", "RX first"])
def test_without_noise_the_start_is_the_uniform_superposition(ansatz):
    state = pennylane_state(ansatz, ansatz.init(KEY, noise=0.0))
    np.testing.assert_allclose(abs(state)**2, 1 / len(state), atol=1e-12)


def test_noise_is_a_standard_deviation_in_radians():
    ansatz = staircase(50, 50)
    noise = np.asarray(ansatz.init(KEY, noise=0.3)) - np.asarray(ansatz.init(KEY, noise=0.0))
    assert abs(noise.std() - 0.3) < 4 * 0.3 / math.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 4 * 0.3 / math.sqrt(noise.size)


def test_angles_are_single_precision_where_x64_is_off():
    with jax.enable_x64(False):
        assert brickwork(3, 2).init(KEY).dtype == jnp.float32
        assert brickwork(3, 2).init(KEY, noise=0.1).dtype == jnp.float32


REFUSED = {
    "rotation": (lambda: Rotation("RW"), "gate must be one of ('RX', 'RY', 'RZ'), got gate='RW'; register adds one"),
    "entangler": (lambda: Entangler("CY", ()), "'CRX', 'CRY', 'CRZ'), got gate='CY'; register adds one"),
    "rotation of two wires": (lambda: Rotation("RZZ"), "gate must be one of ('RX', 'RY', 'RZ'), got gate='RZZ'"),
    "one wire twice": (lambda: Rotation("RX", (1, 1)), "wires must be different, got (1, 1)"),
    "half a wire": (lambda: Rotation("RX", (0.5,)), "wires must be a sequence of integers, such as (0, 1), or None for all, got (0.5,)"),
    "a wire off the register": (lambda: Ansatz(3, (Rotation("RX", (0, 3)),)), "wires must lie between 0 and 2, got wire 3 with n_qubits=3"),
    "both ends on one wire": (lambda: Entangler("CZ", ((0, 1), (2, 2))), "pairs must join two different wires, got the pair (2, 2)"),
    "beyond the last wire": (lambda: Ansatz(3, (Entangler("CNOT", ((2, 3),)),)), "pairs must stay on wires 0 to 2, got the pair (2, 3) with n_qubits=3"),
    "before the first wire": (lambda: Ansatz(3, (Entangler("CNOT", ((-1, 0),)),)), "pairs must stay on wires 0 to 2, got the pair (-1, 0) with n_qubits=3"),
    "no qubits": (lambda: product(0), "n_qubits must be an integer of at least 1, got n_qubits=0"),
    "negative qubits": (lambda: staircase(-2, 1), "n_qubits must be an integer of at least 1, got n_qubits=-2"),
    "negative layers, brickwork": (lambda: brickwork(3, -1), "n_layers must be an integer of at least 1, got n_layers=-1; use product()"),
    "brickwork without bricks": (lambda: brickwork(3, 0), "n_layers must be an integer of at least 1, got n_layers=0; use product()"),
    "half a layer": (lambda: staircase(3, 1.5), "n_layers must be an integer of at least 0, got n_layers=1.5"),
    "half a qubit": (lambda: Ansatz(2.5, ()), "n_qubits must be an integer of at least 1, got n_qubits=2.5"),
    "three ends": (lambda: Entangler("CNOT", ((0, 1, 2),)), "pairs must be a sequence of (control, target) pairs of integers, such as [(0, 1)]"),
    "a pair alone": (lambda: Entangler("CNOT", (0, 1)), "pairs must be a sequence of (control, target) pairs of integers, such as [(0, 1)], got (0, 1)"),
    "wires between wires": (lambda: Entangler("CNOT", ((0.5, 1.7),)), "pairs must be a sequence of (control, target) pairs of integers"),
    "noise not a number": (lambda: product(3).init(KEY, noise=math.nan), "noise must be at least 0 radians and finite, got noise=nan"),
    "negative layers, staircase": (lambda: staircase(3, -1), "n_layers must be an integer of at least 0, got n_layers=-1"),
    "negative layers, hardware_efficient": (lambda: hardware_efficient(3, -1), "n_layers must be an integer of at least 0, got n_layers=-1"),
    "too few rows": (lambda: brickwork(3, 2).circuit(np.zeros(9)), "params must have shape (12,) (angles), got shape (9,)"),
    "rows": (lambda: product(3).circuit(np.zeros((1, 3))), "params must have shape (3,) (angles), got shape (1, 3)"),
    "negative noise": (lambda: product(3).init(KEY, noise=-0.1), "noise must be at least 0 radians and finite, got noise=-0.1"),
    "no RY to start from": (lambda: Ansatz(2, (Rotation("RX"),)).init(KEY, noise=0.1), "which needs an RY moment on every wire, got rotations ('RX',); use noise=None"),
}


@pytest.mark.parametrize("call, text", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_by_name(call, text):
    with pytest.raises((ValueError, TypeError)) as error: call()
    assert text in str(error.value)


def test_moments_hold_nothing_else():
    with pytest.raises(TypeError, match="moments must hold Rotation and Entangler only, got 'RY'"): Ansatz(2, ("RY",))
