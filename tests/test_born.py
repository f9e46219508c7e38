"""The Born distribution against PennyLane's default.qubit, plain numpy, closed forms and statistics."""
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import bits, circuits, directional_derivative, numpy_state, pennylane_state, quick_jit, schmidt_ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from qhn.circuits.ansatz import (Ansatz, Entangler, Rotation, brickwork, hardware_efficient,
                                 product, staircase)
from qhn.engine.interface import MPS, Dense, choose, sample_from_probs
from qhn.engine.cores import bond_dims
from qhn.distributions.base import ClosedMMD, Independent, LogProb, Remote, SampleOnly, Samples, Shiftable, Table, Words
from qhn.distributions.born import BornMachine

KEY = jax.random.key(0)
ENGINES = (MPS, Dense)
compilations = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compilations.append(event) if event == "/jax/core/compile/backend_compile_duration" else None)

both_engines = pytest.mark.parametrize("engine", ENGINES)
mixed = Ansatz(5, (Rotation("RX"), Entangler("CNOT", ((1, 0), (2, 3), (3, 2), (1, 0), (3, 4))), Rotation("RZ"), Rotation("RY"),
                   Entangler("CZ", ((1, 2), (4, 3))), Rotation("RX")))
far = Ansatz(5, (Rotation("RY"), Entangler("CNOT", ((4, 0), (1, 3))), Rotation("RX"), Entangler("CZ", ((0, 4), (2, 0))), Rotation("RY")))


def angles(ansatz, seed=0): return np.random.default_rng(seed).uniform(-3, 3, ansatz.param_shape)


def weights_of(n): return 1.0 - 2 * bits(n)


def engines_for(ansatz):
    "Both, but the cores only where every pair joins neighbours and the bonds stay small."
    near = all(abs(c - t) == 1 for m in ansatz.moments if isinstance(m, Entangler) for c, t in m.pairs)
    return ENGINES if near and max(bond_dims(ansatz), default=1) <= 32 else (Dense,)


def p_value(counts, p):
    "Of Pearson's χ², cells with an expected count below five taken together; nothing may fall where p is zero."
    assert counts[p < 1e-13].sum() == 0
    want, small = counts.sum() * p, counts.sum() * p < 5
    observed, want = np.append(counts[~small], counts[small].sum()), np.append(want[~small], want[small].sum())
    if want[-1] < 5: observed, want = observed[:-1], want[:-1]
    return chi2.sf(((observed - want)**2 / want).sum(), max(len(want) - 1, 1))


def frequencies(draws):
    draws = np.asarray(draws)
    assert set(np.unique(draws)) <= {-1.0, 1.0}
    return np.bincount((draws < 0) @ 2**np.arange(draws.shape[1])[::-1], minlength=2**draws.shape[1])


# ---------------------------------------------------------------- amplitudes and probabilities

@given(circuits())
@settings(max_examples=18)
def test_amplitudes_probabilities_and_their_logarithms_are_pennylanes(circuit):
    ansatz, params = circuit
    state, weights = pennylane_state(ansatz, params), weights_of(ansatz.n_qubits)
    q = abs(state)**2
    @quick_jit
    def ours(params): return [(e(ansatz).statevector(params), e(ansatz).probs(params), e(ansatz).log_prob(params, weights)) for e in engines_for(ansatz)]
    for psi, p, log_p in ours(params):
        np.testing.assert_allclose(psi, state, atol=1e-10)
        np.testing.assert_allclose(p, q, atol=1e-10)
        np.testing.assert_allclose(np.exp(log_p), q, atol=1e-10)
        np.testing.assert_allclose(np.asarray(log_p)[q > 1e-6], np.log(q[q > 1e-6]), atol=1e-8)


@pytest.mark.parametrize("ansatz", [Ansatz(1, ()), brickwork(1, 1), Ansatz(3, (Entangler("CNOT", ((0, 2), (2, 1))), Entangler("CZ", ((1, 2),)))),
                                    Ansatz(2, (Rotation("RZ"), Entangler("CZ", ((1, 0),)), Entangler("CNOT", ())))],
                         ids=["nothing", "one qubit", "entanglers alone", "no turn"])
def test_the_smallest_circuits(ansatz):
    params, weights = angles(ansatz), weights_of(ansatz.n_qubits)
    state = pennylane_state(ansatz, params)
    @quick_jit
    def ours(p):
        return [(e(ansatz).statevector(p), e(ansatz).probs(p), e(ansatz).log_prob(p, weights), e(ansatz).sample(p, KEY, 64)) for e in ENGINES]
    for psi, p, log_p, draws in ours(params):    # a long-range pair whose control is never turned is dropped, so that even it has cores
        np.testing.assert_allclose(psi, state, atol=1e-12)
        np.testing.assert_allclose(p, abs(state)**2, atol=1e-12)
        np.testing.assert_allclose(np.exp(log_p), abs(state)**2, atol=1e-12)
        counts = frequencies(draws)
        assert counts[abs(state)**2 < 1e-13].sum() == 0 and counts.sum() == 64


def test_many_bands_of_amplitudes():
    "18 qubits: the amplitudes leave in four bands, and so must the gradient."
    ansatz = brickwork(18, 4)
    params, rng = angles(ansatz), np.random.default_rng(1)
    state = pennylane_state(ansatz, params)
    np.testing.assert_allclose(MPS(ansatz).probs(params), abs(state)**2, atol=1e-12)
    covector = rng.normal(size=2**18)
    score = lambda p: MPS(ansatz).probs(p) @ covector
    value, gradient = quick_jit(score), np.asarray(quick_jit(jax.grad(score))(params))
    for _ in range(3):
        direction = rng.normal(size=params.shape)
        assert (gradient * direction).sum() == pytest.approx(float(directional_derivative(value, params, direction)), rel=1e-8, abs=1e-10)
    np.testing.assert_allclose(gradient[-18:], 0, atol=1e-12)    # the last RZ row


# ---------------------------------------------------------------- bonds and the choice of an engine

@given(circuits())
@settings(max_examples=80)
def test_bond_dimensions_bound_the_schmidt_ranks(circuit):
    ansatz, params = circuit
    dims = bond_dims(ansatz)
    assert len(dims) == ansatz.n_qubits - 1
    assert all(rank <= dim for rank, dim in zip(schmidt_ranks(numpy_state(ansatz, params)), dims))


@pytest.mark.parametrize("n_layers", range(1, 7))
def test_bonds_of_brickwork_are_tight_in_the_middle(n_layers):
    ansatz = brickwork(10, n_layers)
    even, odd = 2**(n_layers // 2), 2**(math.ceil(n_layers / 2) - 1)    # cut after an odd number of wires, and after an even one
    assert bond_dims(ansatz) == (even, odd, even, odd, even, odd, even, odd, even)
    assert schmidt_ranks(numpy_state(ansatz, angles(ansatz)))[3:6] == list(bond_dims(ansatz)[3:6])


@pytest.mark.parametrize("n_layers", range(4))
def test_bonds_of_the_staircase_are_tight_in_the_middle(n_layers):
    ansatz = staircase(10, n_layers)
    assert bond_dims(ansatz) == (2**n_layers,) * 9
    assert schmidt_ranks(numpy_state(ansatz, angles(ansatz)))[3:6] == [2**n_layers] * 3


def test_the_cheaper_engine_is_chosen_at_any_width():
    def chosen(ansatz, question="probs"): return type(choose(ansatz, question))
    assert chosen(brickwork(17, 4)) is MPS
    assert chosen(brickwork(12, 40)) is Dense
    assert chosen(far) is Dense
    assert chosen(staircase(2, 1)) is Dense and chosen(far, "log_prob") is Dense
    for n in (1023, 1024, 2048, 5000):    # 2^n is beyond a float
        assert chosen(brickwork(n, 4)) is chosen(brickwork(n, 4), "log_prob") is MPS
        assert chosen(Ansatz(n, (Rotation("RY"), Entangler("CNOT", ((0, n - 1),))))) is Dense


# ---------------------------------------------------------------- samples

@given(circuits(max_qubits=4), st.integers(0, 1000))
@settings(max_examples=6)
def test_samples_follow_pennylanes_probabilities(circuit, seed):
    ansatz, params = circuit
    q = abs(pennylane_state(ansatz, params))**2
    for draws in quick_jit(lambda p, key: [e(ansatz).sample(p, key, 4000) for e in engines_for(ansatz)])(params, jax.random.key(seed)):
        assert p_value(frequencies(draws), q) > 1e-4


@pytest.mark.parametrize("ansatz, engine", [(mixed, MPS), (far, Dense)], ids=["mixed", "far"])
def test_many_samples_leave_little_room(ansatz, engine):
    q = abs(pennylane_state(ansatz, angles(ansatz, 3)))**2
    assert p_value(frequencies(engine(ansatz).sample(angles(ansatz, 3), KEY, 100_000)), q) > 1e-4


@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=6)
def test_a_table_is_sampled_as_it_stands(n, seed, single):
    "Unnormalised, with entries over many orders of magnitude and most of them zero."
    rng = np.random.default_rng(seed)
    table = rng.gamma(0.3, size=2**n) * (rng.random(2**n) < 0.4)
    table[rng.integers(2**n)] = 1.0
    draws = quick_jit(lambda p, key: sample_from_probs(p, key, 5000))(jnp.asarray(table, jnp.float32 if single else jnp.float64), jax.random.key(seed))
    assert draws.dtype == (jnp.float32 if single else jnp.float64) and draws.shape == (5000, n)
    counts = frequencies(draws)
    assert counts[table == 0].sum() == 0
    assert p_value(counts, table / table.sum()) > 1e-4


def test_a_certain_outcome_is_always_drawn():
    for index in (0, 5, 63):
        counts = frequencies(sample_from_probs(jnp.zeros(64).at[index].set(0.25), KEY, 1000))
        assert counts[index] == 1000


@both_engines
def test_the_same_key_gives_the_same_bytes(engine):
    ansatz = staircase(4, 1)
    params = angles(ansatz)
    first, again, other = (np.asarray(engine(ansatz).sample(params, jax.random.key(k), 500)).tobytes() for k in (7, 7, 8))
    assert first == again != other


# ---------------------------------------------------------------- gradients

@pytest.mark.parametrize("ansatz", [mixed, far, staircase(1, 1)], ids=["mixed", "far", "one qubit"])
def test_gradients_are_central_differences_of_numpys_values(ansatz):
    rng = np.random.default_rng(2)
    params, n = angles(ansatz, 4), ansatz.n_qubits
    q = lambda p: abs(numpy_state(ansatz, p))**2
    covector, likely = rng.normal(size=2**n), np.argsort(q(params))[-3:]    # a logarithm near zero has no small differences
    directions = rng.normal(size=(3, *params.shape))
    for engine in engines_for(ansatz):
        @quick_jit
        def ours(p): return (jax.grad(lambda p: engine(ansatz).probs(p) @ covector)(p),
                             jax.grad(lambda p: engine(ansatz).log_prob(p, weights_of(n)[likely]).sum())(p))
        for gradient, value in zip(ours(params), (lambda p: q(p) @ covector, lambda p: np.log(q(p)[likely]).sum())):
            for d in directions: assert float((gradient * d).sum()) == pytest.approx(directional_derivative(value, params, d), rel=1e-7, abs=1e-9), engine


@both_engines
def test_a_certain_string_has_a_flat_logarithm_and_an_impossible_one_none(engine):
    ansatz = staircase(3, 1)
    params = jnp.zeros(ansatz.param_shape)
    np.testing.assert_array_equal(engine(ansatz).log_prob(params, weights_of(3)), [0] + [-np.inf] * 7)
    gradient = jax.grad(lambda p: engine(ansatz).log_prob(p, jnp.ones(3)))(params)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


# ---------------------------------------------------------------- transformations and precision

@both_engines
def test_jit_equals_eager(engine):
    ansatz = Ansatz(2, (Rotation("RY"), Entangler("CNOT", ((1, 0),)), Rotation("RX")))
    params, weights = angles(ansatz), weights_of(2)
    everything = lambda p: (engine(ansatz).probs(p), engine(ansatz).log_prob(p, weights)) if engine is MPS else (engine(ansatz).probs(p),)
    compiled = jax.jit(everything)(params)
    with jax.disable_jit(): eager = everything(params)
    for a, b in zip(compiled, eager): np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@both_engines
def test_a_batch_of_angles_is_a_loop_over_angles(engine):
    ansatz = staircase(3, 1)
    batch, keys, weights = np.stack([angles(ansatz, s) for s in range(3)]), jax.random.split(KEY, 3), weights_of(3)
    @quick_jit
    @jax.vmap
    def together(p, key): return (engine(ansatz).probs(p), engine(ansatz).log_prob(p, weights), engine(ansatz).sample(p, key, 9),
                                  jax.grad(lambda p: engine(ansatz).probs(p)[3])(p))
    direction = angles(ansatz, 9)
    for params, key, p, log_p, draws, gradient in zip(batch, keys, *together(batch, keys)):
        q = lambda p: abs(numpy_state(ansatz, p))**2
        np.testing.assert_allclose(p, q(params), atol=1e-12)
        np.testing.assert_allclose(log_p, np.log(q(params)), atol=1e-9)
        np.testing.assert_array_equal(draws, engine(ansatz).sample(params, key, 9))
        assert float((gradient * direction).sum()) == pytest.approx(directional_derivative(lambda p: q(p)[3], params, direction), rel=1e-7, abs=1e-9)


def test_weights_may_have_any_leading_shape():
    params, weights = angles(mixed), weights_of(5)
    table = np.log(abs(numpy_state(mixed, params))**2)
    np.testing.assert_allclose(MPS(mixed).log_prob(params, weights.reshape(2, 4, 4, 5)), table.reshape(2, 4, 4), atol=1e-9)
    np.testing.assert_allclose(MPS(mixed).log_prob(params, weights[6].tolist()), table[6], atol=1e-9)
    assert MPS(mixed).log_prob(params.tolist(), jnp.ones((0, 5))).shape == (0,)


def test_the_second_call_compiles_nothing():
    def calls(seed):
        ansatz = Ansatz(2, staircase(2, 1).moments)    # equal to the last one, but another object
        params, weights = angles(ansatz, seed), np.where(np.random.default_rng(seed).random((6, 2)) < 0.5, -1.0, 1.0)
        for engine in ENGINES:
            machine = BornMachine(ansatz, engine)
            jax.block_until_ready((machine.probs(params), machine.log_prob(params, weights), engine(ansatz).statevector(params),
                                   machine.sample(params, jax.random.key(seed), 11)))
    calls(0)
    before = len(compilations)
    calls(1)
    assert before > 0 and len(compilations) == before


@pytest.mark.parametrize("x64", [True, False], ids=["x64 on", "x64 off"])
def test_single_precision_stays_single(x64):
    params, weights = np.float32(angles(mixed)), np.float32(weights_of(5))
    state = numpy_state(mixed, params.astype(float))
    likely = abs(state)**2 > 1e-3
    with jax.enable_x64(x64):
        @quick_jit
        def ours(p): return [(e(mixed).statevector(p), e(mixed).probs(p), e(mixed).log_prob(p, weights), e(mixed).sample(p, KEY, 3000)) for e in ENGINES]
        for psi, p, log_p, draws in ours(params):
            assert psi.dtype == jnp.complex64 and p.dtype == log_p.dtype == draws.dtype == jnp.float32
            np.testing.assert_allclose(psi, state, atol=1e-6)
            np.testing.assert_allclose(p, abs(state)**2, atol=1e-6)
            np.testing.assert_allclose(np.asarray(log_p)[likely], np.log(abs(state)**2)[likely], atol=1e-3)
            assert p_value(frequencies(draws), abs(state)**2) > 1e-4


# ---------------------------------------------------------------- expectations, entropies and scores

FAMILY = [product(1), product(5), brickwork(1, 2), brickwork(2, 3), brickwork(6, 2), brickwork(5, 3), brickwork(6, 4), staircase(2, 1), staircase(5, 1),
          staircase(6, 2), hardware_efficient(5, 2), mixed]
family = pytest.mark.parametrize("ansatz, engine", [*((a, MPS) for a in FAMILY), (mixed, Dense), (far, Dense)],
                                 ids=lambda x: f"{x.n_qubits}-{len(x.moments)}" if isinstance(x, Ansatz) else x.__name__)


@family
def test_expectations_entropies_and_scores_are_those_of_numpys_table(ansatz, engine):
    rng, params, n = np.random.default_rng(3), angles(ansatz, 13), ansatz.n_qubits
    q, strings = abs(numpy_state(ansatz, params))**2, weights_of(n)
    factors, subsets, credit = rng.normal(size=(2, 3, n, 2)), rng.integers(0, 2, (4, n)), rng.normal(size=50)
    simulated = engine(ansatz)
    @quick_jit
    def ours(p):
        (weights, log_q), pull_back = jax.vjp(lambda p: simulated.sample_and_log_prob(p, KEY, 50), p)
        table = lambda p: jnp.log(Dense(ansatz).probs(p))[((weights < 0) @ 2**np.arange(n)[::-1]).astype(int)] @ credit
        return (simulated.means(p), simulated.expect_product(p, factors), simulated.words(p, subsets), simulated.entropy(p, KEY, 400),
                weights, log_q, simulated.sample(p, KEY, 50), pull_back((jnp.zeros_like(weights), credit))[0], jax.grad(table)(p))
    mean, product_, parity, (entropy, error), weights, log_q, draws, score, table_score = ours(params)
    np.testing.assert_allclose(mean, q @ strings, atol=1e-12)
    every = factors[:, :, np.arange(n), bits(n)]    # (2, 3, strings, n)
    np.testing.assert_allclose(product_, every.prod(-1) @ q, atol=1e-12)
    np.testing.assert_allclose(parity, [q @ np.where(s, strings, 1).prod(1) for s in subsets], atol=1e-12)
    exact = -(q[q > 0] * np.log(q[q > 0])).sum()
    assert abs(entropy - exact) < 5 * error + 1e-9 and (engine is MPS or error == 0)
    np.testing.assert_array_equal(weights, draws)
    np.testing.assert_allclose(log_q, np.log(q[((np.asarray(weights) < 0) @ 2**np.arange(n)[::-1])]), atol=1e-9)
    np.testing.assert_allclose(score, table_score, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("ansatz", [product(4000), brickwork(4000, 4)], ids=["product", "bricks"])
def test_single_precision_at_four_thousand_sites(ansatz):
    params = angles(ansatz, 14)
    def ours(p):
        (weights, log_q), pull_back = jax.vjp(lambda p: MPS(ansatz).sample_and_log_prob(p, KEY, 3), p)
        return weights, log_q, pull_back((jnp.zeros_like(weights), jnp.ones_like(log_q)))[0], MPS(ansatz).means(p)
    weights, log_q, score, mean = quick_jit(ours)(params.astype(np.float32))
    assert log_q.dtype == score.dtype == mean.dtype == jnp.float32 and np.isfinite(score).all()
    def double(p):
        log_q = MPS(ansatz).log_prob(p, weights.astype(float))
        return log_q.sum(), log_q
    want, exact = quick_jit(jax.grad(double, has_aux=True))(params.astype(np.float32).astype(float))
    np.testing.assert_allclose(log_q, exact, rtol=1e-5)
    assert np.linalg.norm(score - want) < 1e-4 * np.linalg.norm(want)
    np.testing.assert_allclose(mean, MPS(ansatz).means(params.astype(np.float32).astype(float)), atol=1e-5)


# ---------------------------------------------------------------- wide circuits

def blocks(n_blocks, size):
    "Independent staircases side by side: a wide circuit whose distribution is a product of small known ones."
    moments = []
    for m in staircase(size, 2).moments:
        pairs = tuple((c + size * k, t + size * k) for k in range(n_blocks) for c, t in getattr(m, "pairs", ()))
        moments.append(m if isinstance(m, Rotation) else Entangler(m.gate, pairs))
    return Ansatz(n_blocks * size, tuple(moments))


def test_a_thousand_qubits_in_blocks_of_eight():
    ansatz, weights = blocks(125, 8), np.random.default_rng(5).choice([-1.0, 1.0], (4, 1000))
    params = angles(ansatz, 6)
    tables = [np.log(abs(numpy_state(staircase(8, 2), part))**2) for part in np.split(params.reshape(-1, 1000), 125, axis=1)]
    index = (weights.reshape(4, 125, 8) < 0) @ 2**np.arange(8)[::-1]
    want = [sum(table[i] for table, i in zip(tables, row)) for row in index]
    np.testing.assert_allclose(MPS(ansatz).log_prob(params, weights), want, rtol=1e-11)
    with jax.enable_x64(False):
        np.testing.assert_allclose(MPS(ansatz).log_prob(np.float32(params), np.float32(weights)), want, rtol=1e-4)


def test_a_thousand_sampled_qubits_in_blocks_of_four():
    ansatz = blocks(250, 4)
    params = angles(ansatz, 7)
    draws = np.asarray(MPS(ansatz).sample(params, KEY, 2000)).reshape(2000, 250, 4)
    values = [p_value(frequencies(draws[:, k]), abs(numpy_state(staircase(4, 2), part))**2) for k, part in enumerate(np.split(params.reshape(-1, 1000), 250, axis=1))]
    assert min(values) > 1e-3 / 250
    assert abs(np.mean(values) - 0.5) < 4 / math.sqrt(12 * 250)    # p-values are uniform
    halves = (draws[:, :-1, -1] * draws[:, 1:, 0]).mean(0) - draws[:, :-1, -1].mean(0) * draws[:, 1:, 0].mean(0)
    assert abs(halves).max() < 5 / math.sqrt(2000)                 # neighbours in two blocks are independent


@pytest.mark.parametrize("n", [1000, 1001])
def test_two_layers_of_bricks_are_a_product_of_pairs(n):
    ansatz, weights = brickwork(n, 2), np.random.default_rng(8).choice([-1.0, 1.0], n)
    params, want = angles(ansatz, 9), 0.0
    brick = Ansatz(2, (Rotation("RY"), Rotation("RZ"), Entangler("CNOT", ((0, 1),)), Rotation("RY"), Rotation("RZ")))
    alone = Ansatz(1, tuple(m for m in brick.moments if isinstance(m, Rotation)))
    for first in range(0, n, 2):
        part = params.reshape(-1, n)[:, first:first + 2]
        state = numpy_state(brick if part.shape[1] == 2 else alone, part)
        want += math.log(abs(state[int((weights[first:first + 2] < 0) @ 2**np.arange(part.shape[1])[::-1])])**2)
    assert float(MPS(ansatz).log_prob(params, weights)) == pytest.approx(want, rel=1e-11)


def test_three_thousand_qubits_of_mean_field():
    ansatz, weights = product(3000), np.random.default_rng(10).choice([-1.0, 1.0], 3000)
    params = angles(ansatz, 11)
    plus = np.cos(params / 2)**2
    assert float(MPS(ansatz).log_prob(params, weights)) == pytest.approx(np.log(np.where(weights > 0, plus, 1 - plus)).sum(), rel=1e-12)
    gradient = jax.grad(lambda p: MPS(ansatz).log_prob(p, weights))(params)
    np.testing.assert_allclose(gradient, np.where(weights > 0, -np.tan(params / 2), 1 / np.tan(params / 2)), rtol=1e-9)


def test_a_local_string_has_the_same_odds_however_wide_the_rest():
    "Untouched wires around a small circuit stay |0⟩, and the norm does not drift over a thousand sites."
    small, params = staircase(6, 2), angles(staircase(6, 2), 12)
    moments = tuple(m if isinstance(m, Rotation) else Entangler(m.gate, tuple((c + 500, t + 500) for c, t in m.pairs)) for m in small.moments)
    wide = np.zeros((6, 1000))
    wide[:, 500:506] = params.reshape(6, 6)
    weights = np.ones((64, 1000))
    weights[:, 500:506] = weights_of(6)
    np.testing.assert_allclose(np.exp(MPS(Ansatz(1000, moments)).log_prob(wide.ravel(), weights)), abs(numpy_state(small, params))**2, atol=1e-12)


# ---------------------------------------------------------------- machines

def test_a_machine_is_its_engine_and_a_device_hides_it():
    ansatz = product(2)
    machine, params = BornMachine(ansatz, MPS), angles(ansatz)
    np.testing.assert_array_equal(machine.probs(params), MPS(ansatz).probs(params))
    np.testing.assert_array_equal(machine.log_prob(params, weights_of(2)), MPS(ansatz).log_prob(params, weights_of(2)))
    device = SampleOnly(machine)
    np.testing.assert_array_equal(device.sample(params, KEY, 7), MPS(ansatz).sample(params, KEY, 7))
    np.testing.assert_array_equal(device.init(KEY, 0.1), ansatz.init(KEY, 0.1))
    assert machine.param_shape == device.param_shape == (2,) and machine.n_qubits == device.n_qubits == 2
    assert machine.can(LogProb) and device.can(Samples) and not device.can(LogProb)
    assert hash(BornMachine(product(2), MPS)) == hash(machine)


# ---------------------------------------------------------------- what is refused

wide = brickwork(64, 4)
wide_far = Ansatz(64, (Rotation("RY"), Entangler("CZ", ((63, 0),))))
zeros = {a: np.zeros(a.param_shape) for a in (wide, wide_far, mixed)}
REFUSED = {
    "too few": (lambda: MPS(mixed).probs(np.zeros(10)), "params must have shape (20,) (angles), got shape (10,)"),
    "two sets": (lambda: MPS(mixed).sample(np.zeros((2, 10)), KEY, 3), "params must have shape (20,) (angles), got shape (2, 10)"),
    "rows and columns": (lambda: MPS(mixed).log_prob(np.zeros((4, 5)), np.ones(5)), "params must have shape (20,) (angles), got shape (4, 5)"),
    "width": (lambda: MPS(mixed).log_prob(zeros[mixed], np.ones((3, 4))), "weights must have n_weights=5 entries along the last axis, got shape (3, 4)"),
    "no width": (lambda: MPS(mixed).log_prob(zeros[mixed], 1.0), "weights must have shape (..., n), got one number"),
    "bits for weights": (lambda: MPS(mixed).log_prob(zeros[mixed], np.array([1, 0, 1, 1, 1])), "weights must be -1 or +1, got 0; bits b become weights as 1 - 2 * b"),
    "no samples": (lambda: MPS(mixed).sample(zeros[mixed], KEY, 0), "n_samples must be an integer of at least 1, got n_samples=0"),
    "negative samples": (lambda: BornMachine(mixed).sample(zeros[mixed], KEY, -3), "n_samples must be an integer of at least 1, got n_samples=-3"),
    "table of three": (lambda: sample_from_probs(jnp.ones(3), KEY, 5), "p must have shape (2**n,), one entry per bit string, got shape (3,)"),
    "table of one": (lambda: sample_from_probs(jnp.ones(1), KEY, 5), "p must have shape (2**n,), one entry per bit string, got shape (1,)"),
    "half a sample": (lambda: MPS(mixed).sample(zeros[mixed], KEY, 2.5), "n_samples must be an integer of at least 1, got n_samples=2.5"),
    "complex angles": (lambda: MPS(mixed).probs(1j * zeros[mixed]), "params must hold numbers, got dtype complex128"),
    "negative chances": (lambda: sample_from_probs(jnp.array([1.5, -0.5]), KEY, 5), "p must be non-negative with a positive, finite sum"),
    "no chance at all": (lambda: sample_from_probs(jnp.zeros(4), KEY, 5), "p must be non-negative with a positive, finite sum"),
    "too many samples": (lambda: MPS(mixed).sample(zeros[mixed], KEY, 10**15), "n_samples=1000000000000000 samples of 5 weights would take"),
    "square table": (lambda: sample_from_probs(jnp.ones((2, 2)), KEY, 5), "p must have shape (2**n,), one entry per bit string, got shape (2, 2)"),
    "unknown engine": (lambda: BornMachine(mixed, "sparse"), "engine must be None, MPS or Dense, got engine='sparse'"),
    "no cores": (lambda: MPS(far), "engine=MPS needs every pair on neighbouring wires, got a long-range pair; use engine=Dense or None"),
    "no cores, machine": (lambda: BornMachine(far, MPS), "engine=MPS needs every pair on neighbouring wires"),
    "wide probs": (lambda: MPS(wide).probs(zeros[wide]), "all 2^64 amplitudes of a circuit with n_qubits=64 (engine MPS) would take 2**37 GiB"),
    "wide probs, way out": (lambda: MPS(wide).probs(zeros[wide]), "use log_prob and sample, which need no state, instead"),
    "wide state": (lambda: MPS(wide).statevector(zeros[wide]), "all 2^64 amplitudes of a circuit with n_qubits=64 (engine MPS) would take 2**38 GiB"),
    "wide, long range": (lambda: Dense(wide_far).log_prob(zeros[wide_far], np.ones(64)), "use an ansatz of neighbouring pairs and few layers with log_prob and sample"),
    "wide, long-range samples": (lambda: Dense(wide_far).sample(zeros[wide_far], KEY, 2), "n_qubits=64 (engine Dense) would take 2**40 GiB"),
    "wide and deep": (lambda: MPS(staircase(64, 30)).log_prob(np.zeros(62 * 64), np.ones(64)), "the cores of a circuit with bond dimensions up to 1073741824 would take"),
}


@pytest.mark.parametrize("call, text", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_by_name(call, text):
    with pytest.raises((ValueError, TypeError)) as error: call()
    assert text in str(error.value)


def test_two_thousand_qubits_answer_all_the_same():
    ansatz = brickwork(2000, 4)
    draws = MPS(ansatz).sample(angles(ansatz), KEY, 2)
    log_q = MPS(ansatz).log_prob(angles(ansatz), draws)
    assert draws.shape == (2, 2000) and np.isfinite(log_q).all() and (log_q < 0).all()


def test_refusal_follows_the_memory_of_the_machine(monkeypatch):
    monkeypatch.setattr("qhn.memory.physical_memory", lambda: 2**20)
    for engine, state_too, least in ((MPS, False, 18), (MPS, True, 17), (Dense, False, 15)):
        for n in (least - 1, least):
            ansatz = Ansatz(n, (Rotation("RX"), Rotation("RZ"), Rotation("RX")))    # of this test alone: a compiled circuit is not checked again
            simulated = engine(ansatz)
            call = partial(simulated.statevector if state_too else simulated.probs, np.zeros(3 * n))
            if n < least: assert call().shape == (2**n,)
            else:
                with pytest.raises(ValueError, match=r"would take \S+ GiB, more than the 0.000977 GiB of this machine"): call()


QUESTIONS = {Samples: ("sample",), LogProb: ("log_prob", "sample_and_log_prob", "entropy_estimate"), Table: ("probs",),
             Words: ("words", "means", "pair_means"), Independent: ("coins",), ClosedMMD: ("mmd2",), Shiftable: ("frequencies",), Remote: ("sample_batch",)}


@pytest.mark.parametrize("capability", QUESTIONS, ids=lambda c: c.__name__)
def test_a_question_that_is_not_answered_is_refused_by_name(capability):
    "Of a distribution with one other capability, each method of this one: a TypeError that says who has it, and no attribute to `hasattr`."
    others = [other for other in QUESTIONS if other is not capability]
    for other in others:
        methods = {name: None for name in other.__abstractmethods__}
        alone = type("Alone", (other,), {"n_qubits": 2, "param_shape": (2,)} | {name: (lambda self, *args, **more: None) for name in methods})()
        for question in QUESTIONS[capability]:
            with pytest.raises(TypeError, match=f"Alone does not tell .*; use a distribution with {capability.__name__}"): getattr(alone, question)
            assert not hasattr(alone, question)
    with pytest.raises(AttributeError, match="Alone has no attribute 'zebra'"): alone.zebra
