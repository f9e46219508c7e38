"""The dense path: its reversible gradient against PennyLane, central differences and autodiff of the plain scan; its split over devices."""
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import circuits, directional_derivative, numpy_state, pennylane_state, quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

from qhn.circuits.ansatz import (Ansatz, Entangler, Rotation, brickwork, hardware_efficient,
                                 staircase)
from qhn.engine import dense
from qhn.engine.dense import plain_statevector
from qhn.engine.interface import Dense

far = Ansatz(6, (Rotation("RY"), Entangler("CNOT", ((5, 0), (1, 3), (0, 4))), Rotation("RX"), Entangler("CZ", ((0, 4), (2, 0), (5, 3))),
                 Rotation("RZ"), Entangler("CNOT", ((2, 5), (5, 1))), Rotation("RX")))
deep = [far, brickwork(6, 5), staircase(6, 3), hardware_efficient(6, 3)]


def angles(ansatz, seed=0): return np.random.default_rng(seed).uniform(-3, 3, ansatz.param_shape)


# ---------------------------------------------------------------- the gradient

@given(circuits(max_qubits=6), st.integers(0, 99))
@settings(max_examples=15)
def test_gradient_of_probabilities_is_the_central_difference_of_pennylane(circuit, seed):
    ansatz, params = circuit
    rng = np.random.default_rng(seed)
    costs, direction = rng.normal(size=2**ansatz.n_qubits), rng.normal(size=params.shape)
    ours = quick_jit(jax.grad(lambda params: Dense(ansatz).probs(params) @ costs))(params)
    want = directional_derivative(lambda params: abs(pennylane_state(ansatz, params))**2 @ costs, params, direction)
    assert abs((ours * direction).sum() - want) < 1e-8 * max(1, abs(direction).sum())


@pytest.mark.parametrize("ansatz", deep, ids=["far", "brickwork", "staircase", "hardware"])
def test_gradient_of_amplitudes_is_a_central_difference_and_that_of_the_plain_scan(ansatz):
    rng, params = np.random.default_rng(1), angles(ansatz)
    target, direction = rng.normal(size=(2**ansatz.n_qubits, 2)) @ [1, 1j], rng.normal(size=params.shape)
    def value(psi): return (target.conj() @ psi).real + 2 * abs(target @ psi)**2    # sensitive to phases, global one included
    ours, plain = (np.asarray(quick_jit(jax.grad(lambda params: value(run(ansatz, params))))(params))
                   for run in (lambda ansatz, params: Dense(ansatz).statevector(params), plain_statevector))
    np.testing.assert_allclose(ours, plain, atol=1e-11)
    want = directional_derivative(lambda params: value(numpy_state(ansatz, params)), params, direction)
    np.testing.assert_allclose((ours * direction).sum(), want, rtol=1e-7)


def test_a_batch_of_seeds():
    params = np.stack([angles(far, seed) for seed in range(3)])
    costs = np.random.default_rng(2).normal(size=64)
    slope = jax.grad(lambda params: Dense(far).probs(params) @ costs)
    together = jax.jit(jax.vmap(slope))(params)
    for one, each in zip(params, together): np.testing.assert_allclose(slope(one), each, atol=1e-13)


def test_single_precision_survives_a_hundred_layers():
    ansatz, costs = brickwork(6, 100), np.random.default_rng(3).normal(size=64)
    params = angles(ansatz)
    slope = jax.jit(jax.grad(lambda params: Dense(ansatz).probs(params) @ costs.astype(params.dtype)))
    single, double = slope(params.astype(np.float32)), slope(params)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=3e-5)


def test_memory_does_not_grow_with_depth():
    def temporary(run, n_layers):
        ansatz = staircase(12, n_layers)
        value = lambda params: (jnp.abs(run(ansatz, params))**2 * jnp.arange(2**12)).sum()
        return jax.jit(jax.value_and_grad(value)).lower(angles(ansatz)).compile().memory_analysis().temp_size_in_bytes / (16 * 2**12)
    reversible = lambda ansatz, params: Dense(ansatz).statevector(params)
    few, many = temporary(reversible, 4), temporary(reversible, 16)
    assert many < few + 0.6 and few < 7    # the constants of twelve more layers; states
    assert temporary(plain_statevector, 16) > 3 * temporary(plain_statevector, 4)


# ---------------------------------------------------------------- several devices

def on_eight_devices(script):
    "Run a script in a fresh Python with eight devices; its last line of output."
    prelude = """
        import sys; sys.path.insert(0, "tests")
        import jax, jax.numpy as jnp, numpy as np
        jax.config.update("jax_enable_x64", True)
        from qhn.circuits.ansatz import *
        from qhn.engine.interface import MPS, Dense
        from jax.sharding import AxisType
        def mesh(size, kind=AxisType.Auto): return jax.make_mesh((size,), ("amplitudes",), axis_types=(kind,), devices=jax.devices()[:size])
    """
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(script)], env=env, capture_output=True, text=True,
                          cwd=os.path.dirname(os.path.dirname(__file__)))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_split_amplitudes_give_the_numbers_of_one_device():
    assert on_eight_devices("""
        from circuits import numpy_state, random_ansatz
        rng, compared = np.random.default_rng(0), 0
        far = Ansatz(7, (Rotation("RX"), Entangler("CNOT", ((6, 0), (0, 3), (5, 1), (2, 6), (1, 0))), Rotation("RY"), Entangler("CZ", ((1, 5), (2, 3), (0, 6))),
                         Rotation("RZ"), Entangler("CNOT", ((0, 1), (1, 2), (2, 5))), Rotation("RX")))
        for ansatz, size, kind in ((far, 8, AxisType.Auto), (far, 2, AxisType.Explicit), (brickwork(6, 4), 8, AxisType.Explicit), (staircase(7, 2), 4, AxisType.Auto)):
            params, n = rng.uniform(-3, 3, ansatz.param_shape), ansatz.n_qubits
            costs = rng.normal(size=2**n)
            moment = jax.jit(jax.value_and_grad(lambda params: (Dense(ansatz).probs(params) * costs).sum()))
            value, slope = moment(params)
            with jax.set_mesh(mesh(size, kind)):
                psi = Dense(ansatz).statevector(params)
                assert psi.sharding.spec == jax.sharding.PartitionSpec("amplitudes") and len(psi.addressable_shards) == size
                assert all(part.data.shape == (2**n // size,) for part in psi.addressable_shards)
                np.testing.assert_allclose(np.asarray(psi), numpy_state(ansatz, params), atol=1e-13)
                split_value, split_slope = moment(params)
            np.testing.assert_allclose(split_value, value, atol=1e-13)
            np.testing.assert_allclose(np.asarray(split_slope), np.asarray(slope), atol=1e-13)
            compared += 1
        print(compared)
    """) == "4"


def test_each_device_works_on_its_part_alone():
    one, eight = map(float, on_eight_devices("""
        ansatz = staircase(14, 3)
        params, costs = np.zeros(ansatz.param_shape), jnp.arange(2.0**14)
        def temporary(size):
            with jax.set_mesh(mesh(size)):
                program = jax.jit(jax.value_and_grad(lambda params: (Dense(ansatz).probs(params)**2).sum())).lower(params).compile()
            assert "all-gather" not in program.as_text() and ("all-to-all" in program.as_text()) == (size > 1)
            return program.memory_analysis().temp_size_in_bytes / (16 * 2**14)
        print(temporary(1), temporary(8))
    """).split())
    assert eight < one / 3    # eight times fewer amplitudes, and buffers for the messages


def test_a_batch_of_seeds_on_split_amplitudes():
    assert on_eight_devices("""
        ansatz = brickwork(6, 4)
        params = np.random.default_rng(0).uniform(-3, 3, (3, *ansatz.param_shape))
        slopes = jax.jit(jax.vmap(jax.grad(lambda params: (Dense(ansatz).probs(params)**2).sum())))
        alone = slopes(params)
        with jax.set_mesh(mesh(8)): np.testing.assert_allclose(np.asarray(slopes(params)), np.asarray(alone), atol=1e-13)
        print("equal")
    """) == "equal"


def test_a_mesh_that_does_not_divide_the_amplitudes_is_refused():
    messages = on_eight_devices("""
        messages = []
        for size, n in ((3, 6), (8, 5)):
            with jax.set_mesh(mesh(size)):
                try: Dense(brickwork(n, 2)).probs(np.zeros(4 * n))
                except ValueError as error: messages.append(str(error))
                assert MPS(brickwork(n, 2)).probs(np.zeros(4 * n))[0] == 1    # the cores need no mesh
        print(" | ".join(messages))
    """)
    assert messages == ("the mesh axis 'amplitudes' must hold a power of two of devices, at most 2**3 for n_qubits=6, got 3; use a mesh of fewer devices | "
                        "the mesh axis 'amplitudes' must hold a power of two of devices, at most 2**2 for n_qubits=5, got 8; use a mesh of fewer devices")


@pytest.mark.parametrize("split", [1, 2, 3])
def test_every_map_is_three_local_ones(split):
    rng, n = np.random.default_rng(split), 6
    swap = np.eye(n, dtype=int)[[*range(split, 2*split), *range(split), *range(2*split, n)]]
    for _ in range(60):
        m = np.eye(n, dtype=int)
        for _ in range(rng.integers(40)):
            c, t = rng.choice(n, 2, replace=False)
            m[:, c] ^= m[:, t]
        first, middle, last = dense._local_maps(m, split)
        np.testing.assert_array_equal(first @ swap @ middle @ swap @ last % 2, m)
        for local in (first, middle, last): np.testing.assert_array_equal(local[:split], np.eye(n)[:split])
