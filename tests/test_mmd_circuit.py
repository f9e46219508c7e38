"""MMD² and pair expectations of circuits by transfer matrices, against tables, plain sums over strings, closed forms, samples and central differences."""
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import bits, quick_jit

from qhn.circuits.ansatz import (Ansatz, Entangler, Rotation, brickwork, hardware_efficient,
                                 product, staircase)
from qhn.distributions.born import BornMachine
from qhn.engine.interface import MPS, Dense, choose
from qhn.engine.mps import pair_cores
from qhn.engine.pairs import contract_pairs, real_matrices, sweep_mmd2, sweep_pair_product
from qhn.problem.prior import BernoulliPrior
from qhn.objectives.mmd import mmd2, mmd2_factorised, mmd2_from_samples, mmd2_of, word_probs

KEY = jax.random.key(0)
BACKWARDS = Ansatz(7, (Rotation("RX"), Entangler("CNOT", ((2, 1), (4, 3), (6, 5))), Rotation("RY"), Entangler("CZ", ((1, 2), (5, 4))),
                       Rotation("RX"), Entangler("CNOT", ((1, 0), (3, 4))), Rotation("RY")))
FAR = Ansatz(6, (Rotation("RX"), Entangler("CNOT", ((5, 0), (0, 3))), Rotation("RY"), Entangler("CZ", ((1, 4),)), Rotation("RX")))


def angles(ansatz, seed=0): return jax.random.uniform(jax.random.key(seed), ansatz.param_shape, float, -3, 3)


def coins(n, seed=0): return np.random.default_rng(seed).uniform(0.05, 0.95, n)


def exact_mmd2(ansatz, params, prior, word_weights=(1, 2, 4), engine=None):
    "What a circuit tells of its MMD², which it knows without an error."
    value, error = mmd2_of(BornMachine(ansatz, engine), params, prior, word_weights)
    assert error.shape == value.shape
    return value


def swept(ansatz, params, prior, word_weights=(1, 2, 4)):
    "By the sweep, also where the table is cheaper."
    n = ansatz.n_qubits
    return sweep_mmd2(ansatz, params, prior.means(n), tuple(word_probs(word_weights, n)))


def plain_mmd2(q, p_plus, word_weights):
    "Σ over pairs of strings of (q - p)(w) k(w, w') (q - p)(w'), in numpy."
    n = len(p_plus)
    p = np.where(bits(n) == 0, p_plus, 1 - p_plus).prod(1)
    grams = [reduce(np.kron, [np.array([[1, 1 - 2 * w / n], [1 - 2 * w / n, 1]])] * n) for w in word_weights]
    return np.mean([(q - p) @ g @ (q - p) for g in grams])


CIRCUITS = [brickwork(8, 1), brickwork(7, 2), brickwork(8, 3), brickwork(9, 4), brickwork(8, 5), brickwork(7, 6),
            staircase(8, 1), staircase(7, 2), staircase(6, 3), hardware_efficient(7, 2), product(5), product(1), brickwork(2, 2), BACKWARDS]


# ---------------------------------------------------------------- values and gradients on small registers

@pytest.mark.parametrize("ansatz", CIRCUITS, ids=lambda a: f"{a.n_qubits}-{len(a.moments)}")
def test_the_sweep_is_the_sum_over_all_pairs_of_strings(ansatz):
    n, params, p_plus = ansatz.n_qubits, angles(ansatz), coins(ansatz.n_qubits)
    weights = (0.3 * n, 0.1 * n)
    got, q = quick_jit(lambda params: (swept(ansatz, params, BernoulliPrior(p_plus), weights), MPS(ansatz).probs(params)))(params)
    np.testing.assert_allclose(got, plain_mmd2(np.asarray(q), p_plus, weights), rtol=1e-11)


@pytest.mark.parametrize("ansatz", [brickwork(9, 4), staircase(6, 2), BACKWARDS], ids=["bricks", "stairs", "backwards"])
def test_gradients_in_angles_and_prior_match_the_walsh_form(ansatz):
    params, p_plus = angles(ansatz, 1), jnp.asarray(coins(ansatz.n_qubits, 1))
    sweep = lambda params, p: swept(ansatz, params, BernoulliPrior(p), (1, 2))
    table = lambda params, p: mmd2(MPS(ansatz).probs(params), BernoulliPrior(p), (1, 2))
    got, want = (quick_jit(jax.grad(f, (0, 1)))(params, p_plus) for f in (sweep, table))
    for a, b in zip(got, want): np.testing.assert_allclose(a, b, atol=1e-13)


def test_the_sweep_at_sixteen_qubits_and_deep_bricks():
    ansatz, prior = brickwork(16, 6), BernoulliPrior(coins(16))
    params = angles(ansatz, 2)
    np.testing.assert_allclose(jax.jit(lambda p: swept(ansatz, p, prior))(params), mmd2(MPS(ansatz).probs(params), prior), rtol=1e-11)


@pytest.mark.parametrize("ansatz, engine", [(BACKWARDS, MPS), (BACKWARDS, Dense), (staircase(5, 2), MPS), (FAR, Dense)])
def test_pair_expectations_of_factors_without_symmetry(ansatz, engine):
    params, n = angles(ansatz, 3), ansatz.n_qubits
    factors = np.random.default_rng(3).normal(size=(2, 1, n, 2, 2))
    q = np.asarray(engine(ansatz).probs(params))
    want = [[q @ reduce(np.kron, f) @ q for f in row] for row in factors]
    np.testing.assert_allclose(engine(ansatz).expect_pair_product(params, factors), want, rtol=1e-10)
    assert engine(ansatz).expect_pair_product(params, factors[0, 0]).shape == ()
    if engine is MPS: np.testing.assert_allclose(jax.jit(lambda p: sweep_pair_product(ansatz, p, factors[:, 0]))(params), np.ravel(want), rtol=1e-10)


def test_real_matrices_multiply_to_the_probabilities():
    params = angles(BACKWARDS, 4)
    d = jax.vmap(real_matrices)(pair_cores(BACKWARDS, params))     # the pairs begin before wire 0 or end after wire 6
    left = jnp.zeros((1, d.shape[-1])).at[0, 0].set(1)
    for matrices in d: left = jnp.einsum("ka,sab->ksb", left, matrices).reshape(-1, d.shape[-1])
    table = np.asarray(left[:, 0])
    np.testing.assert_allclose(np.sort(table[table != 0]), np.sort(np.asarray(MPS(BACKWARDS).probs(params))), rtol=1e-10)
    assert d.dtype == jnp.float64


def test_long_range_circuits_use_the_table():
    params, prior = angles(FAR, 5), BernoulliPrior(coins(6))
    np.testing.assert_allclose(exact_mmd2(FAR, params, prior), plain_mmd2(np.asarray(Dense(FAR).probs(params)), coins(6), (1, 2)), rtol=1e-11)
    assert choose(FAR, "pairs") == Dense(FAR)
    assert choose(brickwork(650, 4), "pairs") == MPS(brickwork(650, 4)) and MPS(brickwork(650, 4))._sweeps(3)
    assert not MPS(staircase(6, 3))._sweeps(1)    # the table is cheaper


# ---------------------------------------------------------------- wide registers

def test_central_differences_and_samples_at_650_qubits():
    ansatz, prior = brickwork(650, 4), BernoulliPrior(coins(650))
    params, direction = angles(ansatz, 6), jax.random.normal(jax.random.key(7), ansatz.param_shape)
    along = jax.jit(jax.value_and_grad(lambda t: exact_mmd2(ansatz, params + t * direction, prior)))
    value, slope = along(0.)
    np.testing.assert_allclose(slope, (along(1e-5)[0] - along(-1e-5)[0]) / 2e-5, rtol=1e-7)
    estimates = np.array([mmd2_from_samples(MPS(ansatz).sample(params, key, 300), prior) for key in jax.random.split(KEY, 16)])
    assert abs(estimates.mean() - value) < 4 * estimates.std(ddof=1) / 4


@pytest.mark.parametrize("noise", [None, 1e-2])
def test_single_precision_at_4000_qubits(noise):
    ansatz, prior = product(4000), BernoulliPrior()
    params = ansatz.init(KEY, noise).astype(jnp.float32)
    closed = mmd2_factorised(np.cos(np.asarray(params, float)), prior.means(4000))
    got = exact_mmd2(ansatz, params, prior)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, closed, rtol=2e-4 if noise is None else 1e-3)    # near the prior the subtracted closed form has no digit left in float32
    entangled = brickwork(4000, 4)
    params = entangled.init(KEY, noise)
    value, gradient = jax.jit(jax.value_and_grad(lambda a: exact_mmd2(entangled, a, prior)))(params.astype(jnp.float32))
    np.testing.assert_allclose(value, exact_mmd2(entangled, params.astype(jnp.float32).astype(float), prior), rtol=1e-3)
    assert jnp.isfinite(gradient).all()


def test_a_circuit_equal_to_the_prior_has_zero_distance():
    ansatz = brickwork(650, 4)
    params = jnp.zeros(ansatz.param_shape).at[-2 * 650:-650].set(jnp.linspace(0.3, 2.8, 650))
    prior = BernoulliPrior(np.cos(np.linspace(0.3, 2.8, 650) / 2)**2)
    assert 0 <= exact_mmd2(ansatz, params, prior) < 1e-28
    assert 0 <= exact_mmd2(ansatz, params.astype(jnp.float32), prior) < 1e-10


def test_growing_and_shrinking_factors_neither_overflow_nor_underflow():
    ansatz = brickwork(3000, 3)
    factors = jnp.ones((3000, 2, 2)) * jnp.where(jnp.arange(3000) < 1500, 16., 1 / 16)[:, None, None]     # 2^6000 in the middle
    np.testing.assert_allclose(MPS(ansatz).expect_pair_product(angles(ansatz, 8), factors), 1, rtol=1e-10)


def test_memory_of_the_gradient_is_one_environment_a_pair():
    ansatz = staircase(200, 3)
    step = jax.jit(jax.grad(lambda a: exact_mmd2(ansatz, a, BernoulliPrior())))
    used = step.lower(jnp.zeros(ansatz.param_shape)).compile().memory_analysis().temp_size_in_bytes
    environments = 100 * 3 * 65**2 * 8                      # pairs × kernels × (χ² + 1)² × bytes
    assert used < 4 * environments                          # keeping every product of a step takes over eleven times them


# ---------------------------------------------------------------- jit, arguments

def test_jit_vmap_and_the_second_call_compile_once():
    ansatz, prior = brickwork(20, 4), BernoulliPrior(coins(20))
    batch = jnp.stack([angles(ansatz, s) for s in (9, 10)])
    f = jax.jit(jax.vmap(lambda a: exact_mmd2(ansatz, a, prior)))
    np.testing.assert_allclose(f(batch), [exact_mmd2(ansatz, a, prior) for a in batch], rtol=1e-12)
    f(batch + 1)
    assert f._cache_size() == 1


def test_contract_pairs_of_scalars_is_a_product():
    d, factors = jnp.full((3, 4, 1, 1), 0.5), jnp.ones((3, 2, 4, 4))
    np.testing.assert_allclose(contract_pairs(lambda x: x, d, factors), [4.**3] * 2)


def test_bad_input_is_named():
    ansatz, params, prior = brickwork(60, 4), jnp.zeros(8 * 60), BernoulliPrior()
    with pytest.raises(ValueError, match=r"params must have shape \(480,\) \(angles\)"): exact_mmd2(ansatz, params[1:], prior)
    with pytest.raises(ValueError, match=r"prob_plus must be one number or have shape \(60,\)"): exact_mmd2(ansatz, params, BernoulliPrior(np.full(59, 0.5)))
    with pytest.raises(TypeError, match=r"prior must be a Prior such as BernoulliPrior\(\), got array"): exact_mmd2(ansatz, params, np.ones(4))
    with pytest.raises(ValueError, match="word_weights must be positive"): exact_mmd2(ansatz, params, prior, (0,))
    with pytest.raises(TypeError, match="engine must be None, MPS or Dense, got engine='tree'"): exact_mmd2(ansatz, params, prior, engine="tree")
    with pytest.raises(ValueError, match=r"factors must have shape \(..., 60, 2, 2\).*got shape \(60, 2\)"): MPS(ansatz).expect_pair_product(params, np.ones((60, 2)))
    with pytest.raises(ValueError, match="factors must be real"): MPS(ansatz).expect_pair_product(params, np.ones((60, 2, 2)) * 1j)
    deep = staircase(650, 6)
    with pytest.raises(ValueError, match="two copies of a circuit with bond dimension 64 .* use samples, or an ansatz with fewer entanglers"):
        exact_mmd2(deep, jnp.zeros(deep.param_shape), prior)
    far = Ansatz(60, (Rotation("RY"), Entangler("CNOT", ((0, 59),))))
    with pytest.raises(ValueError, match="use an ansatz of neighbouring pairs"): exact_mmd2(far, jnp.zeros(60), prior)
    with pytest.raises(ValueError, match="needs every pair on neighbouring wires"): exact_mmd2(far, jnp.zeros(60), prior, engine=MPS)
