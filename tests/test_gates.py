"""The gate table against PennyLane's and Qiskit's matrices and states; gates of one's own; circuits of all gates by every way to simulate them."""
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from circuits import circuits, directional_derivative, pennylane_state, quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

from qhn.circuits.ansatz import Ansatz, Entangler, Rotation
from qhn.hardware.backends import qiskit_circuit
from qhn.engine.interface import MPS, Dense
from qhn.circuits.gates import (GATES, Gate, bit_map, cosine, fixed, is_diagonal, is_monomial, is_sign,
                                reach, register, sine)
from qhn.engine.cores import bond_dims, live_gates

RICH = Ansatz(5, (Rotation("RX", (0, 2, 3)), Entangler("RXX", ((0, 1), (2, 1))), Entangler("SWAP", ((3, 4),)), Rotation("RY"), Entangler("CRX", ((1, 0), (1, 2), (3, 2))),
                  Entangler("CZ", ((2, 3),)), Entangler("RZZ", ((3, 4), (1, 2))), Entangler("RYY", ((1, 2),)), Entangler("CRY", ((4, 3),)), Rotation("RX"), Entangler("CRZ", ((0, 1),))))


def angles(ansatz, seed=0): return np.random.default_rng(seed).uniform(-3, 3, ansatz.param_shape)


def engines_for(ansatz):
    near = all(abs(op.wires[0] - op.wires[1]) == 1 for op in live_gates(ansatz))
    small = near and max(bond_dims(ansatz), default=1) <= 64
    return [MPS(ansatz), Dense(ansatz)] if small else [Dense(ansatz)]


def in_qiskit(name, wires, angle):
    from qiskit import QuantumCircuit
    circuit = QuantumCircuit(wires)
    getattr(circuit, GATES[name].qiskit)(*angle, *range(wires))
    return circuit


@pytest.mark.parametrize("name", GATES)
def test_matrices_are_those_of_pennylane_and_qiskit(name):
    from qiskit.quantum_info import Operator
    gate, rng = GATES[name], np.random.default_rng(0)
    for angle in rng.uniform(-7, 7, (4, 1)) if gate.has_angle else [()]:
        matrix = gate.matrix(*angle)
        np.testing.assert_allclose(matrix, qml.matrix(getattr(qml, gate.pennylane or name)(*angle, wires=range(gate.n_wires))), atol=1e-12)
        np.testing.assert_allclose(matrix, Operator(in_qiskit(name, gate.n_wires, angle)).reverse_qargs().data, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if gate.n_wires == 2])
def test_the_number_of_terms_is_the_operator_schmidt_rank(name):
    matrix = GATES[name].matrix(0.7).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)    # left wire by right wire
    assert np.linalg.matrix_rank(matrix) == GATES[name].rank


@pytest.mark.parametrize("gate", [gate for gate in GATES.values() if gate.has_angle], ids=lambda gate: gate.name)
def test_a_probability_depends_on_an_angle_at_its_frequencies_alone(gate):
    rng, grid = np.random.default_rng(1), np.linspace(0, 4 * np.pi, 16, endpoint=False)    # over the longest period
    state = rng.normal(size=(2**gate.n_wires, 2)) @ [1, 1j]
    final = np.linalg.qr(rng.normal(size=(2**gate.n_wires,) * 2))[0]
    spectrum = abs(np.fft.rfft([abs((final @ gate.matrix(angle) @ state)[0])**2 for angle in grid])) / 16
    assert set(np.flatnonzero(spectrum > 1e-9)[1:] / 2) == set(gate.frequencies)


def test_what_follows_from_the_terms():
    assert [name for name, gate in GATES.items() if is_diagonal(gate)] == ["RZ", "CZ", "RZZ", "CRZ"]
    assert [name for name, gate in GATES.items() if gate.n_wires == 2 and bit_map(gate) is not None] == ["CNOT", "SWAP"]
    assert [name for name, gate in GATES.items() if gate.n_wires == 2 and is_sign(gate)] == ["CZ"]
    assert [name for name, gate in GATES.items() if is_monomial(gate)] == ["RZ", "CNOT", "CZ", "SWAP", "RZZ", "CRZ"]
    assert {name for name, gate in GATES.items() if gate.n_wires == 2 and not reach(gate, (False, True))[0]} == {"CNOT", "CZ", "CRX", "CRY", "CRZ"}
    assert {name for name, gate in GATES.items() if gate.n_wires == 2 and not reach(gate, (True, False))[0]} == {"CZ"}


# ---------------------------------------------------------------- circuits of all gates

@given(circuits(max_qubits=6, rich=True))
@settings(max_examples=20)
def test_states_are_pennylanes(circuit):
    ansatz, params = circuit
    state = pennylane_state(ansatz, params)
    for psi in quick_jit(lambda p: [engine.statevector(p) for engine in engines_for(ansatz)])(params):
        np.testing.assert_allclose(psi, state, atol=1e-10)


@given(circuits(max_qubits=5, rich=True), st.integers(0, 99))
@settings(max_examples=12)
def test_gradients_are_central_differences_of_pennylane(circuit, seed):
    ansatz, params = circuit
    rng = np.random.default_rng(seed)
    costs, direction = rng.normal(size=2**ansatz.n_qubits), rng.normal(size=params.shape)
    want = directional_derivative(lambda params: abs(pennylane_state(ansatz, params))**2 @ costs, params, direction)
    for slope in quick_jit(lambda p: [jax.grad(lambda p: engine.probs(p) @ costs)(p) for engine in engines_for(ansatz)])(params):
        assert abs((slope * direction).sum() - want) < 1e-8 * max(1, abs(direction).sum())


def test_all_answers_of_a_rich_circuit():
    params, rng = angles(RICH), np.random.default_rng(2)
    q, signs = abs(pennylane_state(RICH, params))**2, 1 - 2 * np.array(list(np.ndindex(*(2,) * 5)))
    factors, means = rng.normal(size=(2, 5, 2, 2)), rng.uniform(-0.5, 0.5, 5)
    def answers(engine):
        return engine.log_prob(params, signs), engine.means(params), engine.pair_means(params), engine.expect_pair_product(params, factors), engine.mmd2(params, means, (0.2,))
    for engine in (MPS(RICH), Dense(RICH)):
        log_q, mean, pairs, product, _ = answers(engine)
        np.testing.assert_allclose(np.exp(log_q), q, atol=1e-12)
        np.testing.assert_allclose(mean, q @ signs, atol=1e-12)
        np.testing.assert_allclose(pairs, signs.T @ (q[:, None] * signs), atol=1e-12)
        want = [q @ np.kron(f[0], np.kron(f[1], np.kron(f[2], np.kron(f[3], f[4])))) @ q for f in factors]
        np.testing.assert_allclose(product, want, rtol=1e-10)
    np.testing.assert_allclose(*(answers(engine)[-1] for engine in (MPS(RICH), Dense(RICH))), rtol=1e-11)
    draws, log_q = MPS(RICH).sample_and_log_prob(params, jax.random.key(0), 200)
    np.testing.assert_allclose(log_q, np.log(q[(np.asarray(draws) < 0) @ 2**np.arange(5)[::-1]]), atol=1e-9)


def test_single_precision_stays_single():
    params = np.float32(angles(RICH))
    for engine in (MPS(RICH), Dense(RICH)):
        assert engine.probs(params).dtype == jnp.float32 and engine.statevector(params).dtype == jnp.complex64


def test_a_wide_circuit_of_ising_gates():
    "A ladder of RZZ between two rows of RX: pairs of neighbours in blocks of two are independent of the rest."
    n = 400
    ansatz = Ansatz(n, (Rotation("RX"), Entangler("RZZ", tuple((j, j + 1) for j in range(0, n, 2))), Rotation("RX")))
    params, weights = angles(ansatz, 3), np.random.default_rng(4).choice([-1.0, 1.0], n)
    parts, want = ansatz.view(params), 0.0
    pair = Ansatz(2, (Rotation("RX"), Entangler("RZZ", ((0, 1),)), Rotation("RX")))
    for k in range(n // 2):
        two = slice(2 * k, 2 * k + 2)
        state = pennylane_state(pair, np.concatenate([parts["RX 1"][two], parts["RZZ 1"][k:k + 1], parts["RX 2"][two]]))
        want += np.log(abs(state[int((weights[two] < 0) @ [2, 1])])**2)
    assert float(MPS(ansatz).log_prob(params, weights)) == pytest.approx(want, rel=1e-11)


@given(circuits(max_qubits=5, rich=True))
@settings(max_examples=15)
def test_angles_without_frequencies_cannot_be_seen(circuit):
    ansatz, params = circuit
    hidden = np.array([not f for f in ansatz.frequencies], bool)
    other = params + np.where(hidden, 1.3, 0)
    np.testing.assert_allclose(abs(pennylane_state(ansatz, other))**2, abs(pennylane_state(ansatz, params))**2, atol=1e-10)


@given(circuits(max_qubits=5, rich=True))
@settings(max_examples=15)
def test_qiskit_measures_the_same_probabilities(circuit):
    from qiskit.quantum_info import Statevector
    ansatz, params = circuit
    measured = qiskit_circuit(ansatz)
    measured.remove_final_measurements()
    bound = measured.assign_parameters({p: params[int(p.name[2:-1])] for p in measured.parameters})
    q = Statevector(bound.reverse_bits()).probabilities()
    np.testing.assert_allclose(q, abs(pennylane_state(ansatz, params))**2, atol=1e-10)


@given(circuits(rich=True))
@settings(max_examples=25)
def test_views_are_put_together_again(circuit):
    ansatz, params = circuit
    parts = ansatz.view(np.stack([params, 2 * params]))
    np.testing.assert_array_equal(ansatz.flatten(parts), [params, 2 * params] if parts else np.zeros((2, 0))[0])
    if parts: np.testing.assert_array_equal(ansatz.flatten(list(ansatz.view(params).values())), params)


# ---------------------------------------------------------------- a gate of one's own

def test_adding_a_gate_is_one_row():
    swap = GATES["SWAP"]
    register(Gate("ISWAP", tuple(fixed(right[0] * phase) for right, phase in zip(swap.right, (1, 1j, 1j, 1))), swap.left, "iswap"))
    try:
        ansatz = Ansatz(4, (Rotation("RY"), Entangler("ISWAP", ((0, 1), (3, 2), (1, 2))), Rotation("RX"), Entangler("ISWAP", ((2, 3),)), Rotation("RY")))
        params = angles(ansatz)
        state = pennylane_state(ansatz, params)
        for engine in engines_for(ansatz): np.testing.assert_allclose(engine.statevector(params), state, atol=1e-12)
        assert len(engines_for(ansatz)) == 2 and bond_dims(ansatz) == (4, 4, 16)
        test_qiskit_measures_the_same_probabilities.hypothesis.inner_test((ansatz, params))
        slope = jax.grad(lambda p: Dense(ansatz).probs(p)[3])(params)
        np.testing.assert_allclose(slope, jax.grad(lambda p: MPS(ansatz).probs(p)[3])(params), atol=1e-12)
    finally: del GATES["ISWAP"]


def test_frequencies_follow_from_the_terms():
    "An angle is never left out of the shift rule because nobody wrote its frequencies down."
    p0, p1, none = np.diag([1, 0]), np.diag([0, 1]), np.zeros((2, 2))
    phase = Gate("phase", ((p0, p1, -p1),))                                     # diag(1, e^{iθ/2})
    twist = Gate("twist", (cosine(np.eye(2)), sine(np.diag([1, -1]))), (np.eye(2), np.diag([1, -1])))
    whole = Gate("whole", ((none, np.eye(2), -np.eye(2)),))                     # e^{iθ/2} times everything
    for gate, want in ((phase, (.5,)), (twist, (1.,)), (whole, ())):
        assert gate.has_angle and gate.frequencies == want
        if want: test_a_probability_depends_on_an_angle_at_its_frequencies_alone(gate)


@pytest.mark.parametrize("make, text", [
    (lambda: register(Gate("CZ", (fixed(np.eye(2)),))), "there is already a gate with name='CZ'"),
    (lambda: Gate("half", (fixed(np.eye(2) / 2),)), "half must be unitary at every angle"),
    (lambda: Gate("odd", (fixed(np.eye(2)),) * 2, (np.eye(2),)), "as many matrices on the left as on the right, got 1 and 2")])
def test_bad_rows_are_refused(make, text):
    with pytest.raises(ValueError, match=text): make()
