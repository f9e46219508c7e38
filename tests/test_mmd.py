"""MMD² four ways, against loops over strings, exhaustive enumeration of samples, closed forms and statistics."""
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from circuits import bits, quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

from qhn.problem.bits import walsh_hadamard
from qhn.engine.interface import sample_from_probs
from qhn.problem.prior import BernoulliPrior
from qhn.objectives.elbo import mean_credits
from qhn.objectives.mmd import (MMD, bandwidth, kernel, matched_weight, mmd2, mmd2_factorised,
                                mmd2_from_samples, prior_kernel, word_probs)

KEY = jax.random.key(0)


def strings(n): return 1.0 - 2 * bits(n)


def loop_kernel(a, b, word_weights):
    "Mean of exp(-d/2σ²) over the word weights below n/2 (n/4 if there are none), σ from p = (1 - exp(-1/2σ²))/2 = word weight / n."
    n = len(a)
    distance = sum(x != y for x, y in zip(a, b))
    kept = [w for w in word_weights if 2 * w < n] or [n / 4]
    sigmas = [1 / math.sqrt(-2 * math.log(1 - 2 * w / n)) for w in kept]
    return sum(math.exp(-distance / (2 * s * s)) for s in sigmas) / len(sigmas)


def gram(n, word_weights): return np.array([[loop_kernel(a, b, word_weights) for b in strings(n)] for a in strings(n)])


def prior_table(coins, n): return np.where(bits(n) == 0, coins, 1 - np.asarray(coins)).prod(1)


@st.composite
def problems(draw, max_bits=6):
    "n, word weights, a prior and two tables, one of them with zeros."
    n = draw(st.integers(1, max_bits))
    word_weights = tuple(draw(st.lists(st.floats(0.05, 6), min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    q = rng.gamma(0.5, size=2**n) * (rng.random(2**n) < 0.7) + 1e-9
    return n, word_weights, rng.uniform(0.02, 0.98, n), q / q.sum(), rng.dirichlet(np.ones(2**n))


# ---------------------------------------------------------------- the kernel

@given(st.integers(1, 7), st.lists(st.floats(0.05, 6), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_the_kernel_is_the_gaussian_of_the_hamming_distance(n, word_weights, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.choice([-1.0, 1.0], (4, n)), rng.choice([-1.0, 1.0], (3, n))
    np.testing.assert_allclose(kernel(a, b, word_weights), [[loop_kernel(x, y, word_weights) for y in b] for x in a], rtol=1e-12)
    coins = rng.uniform(0.02, 0.98, n)
    want = [sum(p * loop_kernel(x, v, word_weights) for p, v in zip(prior_table(coins, n), strings(n))) for x in a]
    np.testing.assert_allclose(prior_kernel(a.reshape(2, 2, n), BernoulliPrior(coins), word_weights), np.reshape(want, (2, 2)), rtol=1e-12)


def test_word_weights_of_half_the_register_and_more_are_dropped():
    assert word_probs((1, 2, 4), 18).tolist() == [1/18, 2/18, 4/18]
    assert word_probs((1, 2, 4), 8).tolist() == [1/8, 2/8]
    assert word_probs((1, 2, 4), 2).tolist() == [1/4] == word_probs((1, 2, 4), 1).tolist()
    assert word_probs(1.5, 6).tolist() == [1/4]
    assert bandwidth(2, 10) == pytest.approx(1 / math.sqrt(-2 * math.log(0.6)))


@given(st.sampled_from([1, 4, 5, 6, 8]), st.integers(0, 2**32 - 1))
@settings(max_examples=6)
def test_walsh_hadamard_is_a_sum_of_parities(n, seed):
    x = np.random.default_rng(seed).normal(size=2**n)
    want = [sum(v * np.prod(w[subset == 1]) for v, w in zip(x, strings(n))) for subset in bits(n)]
    np.testing.assert_allclose(walsh_hadamard(jnp.asarray(x)), want, atol=1e-11)


# ---------------------------------------------------------------- four ways

@given(problems())
@settings(max_examples=12)
def test_walsh_is_the_dense_kernel(problem):
    n, word_weights, coins, q, p = problem
    k, prior = gram(n, word_weights), prior_table(coins, n)
    assert float(mmd2(jnp.asarray(q), BernoulliPrior(coins), word_weights)) == pytest.approx((q - prior) @ k @ (q - prior), rel=1e-10, abs=1e-14)
    assert float(mmd2(jnp.asarray(q), jnp.asarray(p), word_weights)) == pytest.approx((q - p) @ k @ (q - p), rel=1e-10, abs=1e-14)


@given(problems(max_bits=8), st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_products_have_a_closed_form(problem, seed):
    n, word_weights, coins, _, _ = problem
    others = np.random.default_rng(seed).uniform(0.02, 0.98, n)
    table = jnp.asarray(prior_table(others, n))
    closed = float(mmd2_factorised(2 * others - 1, 2 * coins - 1, word_weights))
    assert closed == pytest.approx(float(mmd2(table, BernoulliPrior(coins), word_weights)), rel=1e-9, abs=1e-13)
    assert float(mmd2_factorised(2 * coins - 1, 2 * coins - 1, word_weights)) == pytest.approx(0, abs=1e-14)


def test_samples_agree_within_five_standard_errors():
    rng = np.random.default_rng(3)
    n, coins, q, p = 7, rng.uniform(0.2, 0.8, 7), rng.dirichlet(np.full(128, 0.3)), rng.dirichlet(np.ones(128))
    k, prior = gram(n, (1, 2, 4)), prior_table(coins, n)
    @quick_jit
    @jax.vmap
    def estimate(key):
        ours, theirs = sample_from_probs(jnp.asarray(q), key, 60), sample_from_probs(jnp.asarray(p), jax.random.fold_in(key, 1), 60)
        return mmd2_from_samples(ours, BernoulliPrior(coins)), mmd2_from_samples(ours, theirs)
    for estimates, exact in zip(estimate(jax.random.split(KEY, 300)), ((q - prior) @ k @ (q - prior), (q - p) @ k @ (q - p))):
        assert abs(float(estimates.mean()) - exact) < 5 * float(estimates.std()) / math.sqrt(300)


@pytest.mark.parametrize("n, m", [(1, 2), (2, 2), (2, 4)])
def test_the_u_statistic_is_exactly_unbiased_and_the_v_statistic_off_by_the_diagonal(n, m):
    "Every possible set of m samples, weighted by its probability."
    rng = np.random.default_rng(4)
    q, coins, word_weights = rng.dirichlet(np.ones(2**n)), rng.uniform(0.1, 0.9, n), (0.3, 0.7)
    sets = np.array(list(itertools.product(range(2**n), repeat=m)))
    chance, k, prior = q[sets].prod(1), gram(n, word_weights), prior_table(coins, n)
    @quick_jit
    @jax.vmap
    def both(w): return [mmd2_from_samples(w, BernoulliPrior(coins), word_weights, unbiased) for unbiased in (True, False)]
    u, v = both(strings(n)[sets])
    exact = (q - prior) @ k @ (q - prior)
    assert chance @ u == pytest.approx(exact, abs=1e-13)
    assert chance @ v == pytest.approx(exact + (1 - q @ k @ q) / m, abs=1e-13)
    assert (np.asarray(v) > -1e-13).all()


def test_two_sets_of_samples_are_loops_over_pairs():
    rng = np.random.default_rng(5)
    a, b, word_weights = rng.choice([-1.0, 1.0], (5, 6)), rng.choice([-1.0, 1.0], (4, 6)), (1, 2)
    pairs = lambda x, y, same: [loop_kernel(u, v, word_weights) for i, u in enumerate(x) for j, v in enumerate(y) if not (same and i == j)]
    want = np.mean(pairs(a, a, True)) - 2 * np.mean(pairs(a, b, False)) + np.mean(pairs(b, b, True))
    assert float(mmd2_from_samples(a, b, word_weights)) == pytest.approx(want, rel=1e-12)
    want = np.mean(pairs(a, a, False)) - 2 * np.mean(pairs(a, b, False)) + np.mean(pairs(b, b, False))
    assert float(mmd2_from_samples(a, b, word_weights, unbiased=False)) == pytest.approx(want, rel=1e-12)
    assert np.isfinite(mmd2_from_samples(a[:1], b[:1], word_weights, unbiased=False))


@given(problems())
@settings(max_examples=15)
def test_its_root_is_a_metric(problem):
    n, word_weights, coins, q, p = problem
    r = jnp.asarray(prior_table(coins, n))
    q, p = jnp.asarray(q), jnp.asarray(p)
    d = lambda a, b: math.sqrt(max(float(mmd2(a, b, word_weights)), 0))
    assert d(q, q) == 0 and d(q, p) > 0 and d(q, p) == pytest.approx(d(p, q), rel=1e-10)
    assert d(q, r) <= d(q, p) + d(p, r) + 1e-12


# ---------------------------------------------------------------- the surrogate ELBO

@given(problems(max_bits=5))
@settings(max_examples=12)
def test_the_matched_weight_makes_point_masses_pay_their_kl(problem):
    n, word_weights, coins, _, _ = problem
    k, p = gram(n, word_weights), prior_table(coins, n)
    pays = np.diag(k) - 2 * k @ p + p @ k @ p
    assert float(matched_weight(BernoulliPrior(coins), n, word_weights)) * (p @ pays) == pytest.approx(-(p @ np.log(p)), rel=1e-9)


def test_the_objective_is_cost_plus_weight_times_mmd2():
    rng = np.random.default_rng(6)
    q, costs, coins = rng.dirichlet(np.ones(16)), rng.normal(size=16), rng.uniform(0.2, 0.8, 4)
    prior, p, k = BernoulliPrior(coins), prior_table(coins, 4), gram(4, (1, 1.5))
    scale, discrepancy = -(p @ np.log(p)) / (1 - p @ k @ p), (q - p) @ k @ (q - p)
    schedule = optax.linear_schedule(1.0, 0.0, 4)
    for weight, now in ((1.0, 1.0), (0.0, 0.0), (0.3, 0.3), (schedule, 0.75)):
        objective = MMD((1, 1.5, 4), weight)
        loss = objective.from_probs(jnp.asarray(q), costs, prior, step=1)
        assert list(map(float, loss)) == pytest.approx([q @ costs + now * scale * discrepancy, q @ costs, discrepancy], rel=1e-10)
        rows = rng.integers(16, size=9)
        sampled = objective.from_samples(costs[rows], strings(4)[rows], None, prior, step=1)
        u = float(mmd2_from_samples(strings(4)[rows], prior, (1, 1.5)))
        assert list(map(float, sampled)) == pytest.approx([costs[rows].mean() + now * scale * u, costs[rows].mean(), u], rel=1e-10)


@pytest.mark.parametrize("n, word_weights", [(1, (1,)), (3, (1, 2)), (4, (1, 2, 4))])
def test_the_witness_is_the_slope_along_any_change_of_the_distribution(n, word_weights):
    "The reference holds every string in exact proportion, so that nothing is left to chance."
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 5, 2**n) + (np.arange(2**n) == 0)
    q, reference = counts / counts.sum(), np.repeat(strings(n), counts, axis=0)
    costs, prior = rng.normal(size=2**n), BernoulliPrior(rng.uniform(0.2, 0.8, n))
    for objective, step in ((MMD(word_weights), 0), (MMD(word_weights, weight=optax.linear_schedule(1.0, 0.0, 4)), 3)):
        variation = objective.witness(strings(n), None, prior, step, reference)
        witness = costs + np.asarray(objective.scale(prior, n, step) * variation)
        loss = jax.jit(lambda q: objective.from_probs(q, costs, prior, step).loss)    # inside jit q may leave the simplex
        value = lambda q: float(loss(jnp.asarray(q)))
        for _ in range(3):
            change = rng.dirichlet(np.ones(2**n)) - rng.dirichlet(np.ones(2**n))
            assert witness @ change == pytest.approx((value(q + 1e-4 * change) - value(q - 1e-4 * change)) / 2e-4, rel=1e-8, abs=1e-9)


def test_credits_are_what_the_estimate_loses_without_a_sample():
    rng, m = np.random.default_rng(8), 4
    w, costs, prior = rng.choice([-1.0, 1.0], (m, 5)), rng.normal(size=m), BernoulliPrior(0.3)
    objective = MMD((1, 2), 0.5)
    value = lambda keep: float(objective.from_samples(costs[keep], w[keep], None, prior).loss)
    every = np.arange(m)
    want = [value(every) - value(np.delete(every, s)) for s in range(m)]
    credits = mean_credits(costs) + objective.scale(prior, w.shape[1]) * objective.credits(w, None, prior)
    np.testing.assert_allclose(credits, want, atol=1e-10)


def test_gradients_of_mmd2_are_central_differences():
    rng = np.random.default_rng(9)
    logits, prior = rng.normal(size=16), BernoulliPrior(0.3)
    value = jax.jit(lambda x: mmd2(jax.nn.softmax(x), prior))
    gradient = np.asarray(jax.grad(value)(logits))
    for k in range(16):
        e = 1e-5 * np.eye(16)[k]
        assert gradient[k] == pytest.approx(float(value(logits + e) - value(logits - e)) / 2e-5, abs=1e-9)


def test_width_is_no_obstacle_for_products_and_samples():
    rng = np.random.default_rng(10)
    n, plus, coins = 3000, rng.uniform(0.3, 0.7, 3000), rng.uniform(0.3, 0.7, 3000)
    draws = np.where(rng.random((400, n)) < plus, 1.0, -1.0)
    blocks = [mmd2_from_samples(block, BernoulliPrior(coins)) for block in np.split(draws, 10)]
    exact = float(mmd2_factorised(2 * plus - 1, 2 * coins - 1))
    assert 0 < exact < 2 and abs(np.mean(blocks) - exact) < 5 * np.std(blocks, ddof=1) / math.sqrt(10)
    assert np.isfinite(matched_weight(BernoulliPrior(coins), n))


@pytest.mark.parametrize("x64", [True, False], ids=["x64 on", "x64 off"])
def test_single_precision_stays_single(x64):
    q, w = np.float32([0.5, 0.25, 0.25, 0]), np.float32([[1, 1], [1, -1], [-1, 1]])
    with jax.enable_x64(x64):
        for prior in (BernoulliPrior(jnp.float32(0.4)), BernoulliPrior(jnp.array([0.4, 0.4], jnp.float32))):
            values = [mmd2(jnp.asarray(q), prior), kernel(jnp.asarray(w), jnp.asarray(w)), prior_kernel(jnp.asarray(w), prior), mmd2_from_samples(jnp.asarray(w), prior)]
            assert {v.dtype for v in values} == {jnp.dtype(jnp.float32)}
            p = prior_table([0.4, 0.4], 2)
            assert float(values[0]) == pytest.approx((q - p) @ gram(2, (1,)) @ (q - p), rel=1e-5)


# ---------------------------------------------------------------- what is refused

quarter, uniform, ones = jnp.full(4, 0.25), BernoulliPrior(), jnp.ones((3, 2))
REFUSED = {
    "bandwidth of half the register": (lambda: bandwidth(3, 6), "word_weight must lie between 0 and n/2 = 3.0, got word_weight=3"),
    "word weight zero": (lambda: MMD(word_weights=(1, 0)), "word_weights must be positive and finite, got word_weights=(1, 0)"),
    "word weight not a number": (lambda: MMD(word_weights=(math.nan,)), "word_weights must be positive and finite, got word_weights=(nan,)"),
    "no word weights": (lambda: MMD(word_weights=()), "word_weights must be positive and finite, got word_weights=()"),
    "negative word weight": (lambda: mmd2(quarter, uniform, (-1,)), "word_weights must be positive and finite, got word_weights=(-1,)"),
    "negative weight": (lambda: MMD(weight=-1.0), "weight must be a finite number of at least 0 or an optax schedule, got weight=-1.0"),
    "table of three": (lambda: mmd2(jnp.ones(3) / 3, uniform), "x must have shape (2**n,), got shape (3,)"),
    "table of one": (lambda: mmd2(jnp.ones(1), uniform), "x must have shape (2**n,), got shape (1,)"),
    "tables of two sizes": (lambda: mmd2(quarter, jnp.full(8, 0.125)), "other must have shape (4,) like q, got shape (8,)"),
    "prior of another width": (lambda: mmd2(quarter, BernoulliPrior(np.full(3, 0.5))), "prob_plus must be one number or have shape (2,), one per weight, got shape (3,)"),
    "a single sample": (lambda: mmd2_from_samples(ones[:1], uniform), "weights must hold at least 2 samples for an unbiased estimate, got 1; set unbiased=False"),
    "a single other sample": (lambda: mmd2_from_samples(ones, ones[:1]), "other must hold at least 2 samples for an unbiased estimate, got 1; set unbiased=False"),
    "samples of two widths": (lambda: mmd2_from_samples(ones, jnp.ones((3, 4))), "other must have n_weights=2 entries along the last axis, got shape (3, 4)"),
    "bits for weights": (lambda: mmd2_from_samples(jnp.array([[0.0, 1.0], [1.0, 1.0]]), uniform), "weights must be -1 or +1, got 0.0; bits b become weights as 1 - 2 * b"),
    "bits for weights, kernel": (lambda: kernel(ones, 0 * ones), "others must be -1 or +1, got 0.0"),
    "bits for weights, prior": (lambda: prior_kernel(0 * ones, uniform), "weights must be -1 or +1, got 0.0"),
}


@pytest.mark.parametrize("call, text", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_by_name(call, text):
    with pytest.raises(ValueError) as error: call()
    assert text in str(error.value)


def test_a_hundred_thousand_samples_are_their_distribution():
    "As many as a device gives: the V-statistic is the exact MMD² of the two empirical distributions, the U-statistic that without the diagonal."
    rng = np.random.default_rng(4)
    numbers = rng.choice(512, (2, 100_000), p=rng.dirichlet(np.full(512, 0.3)))
    one, other = (jnp.asarray(strings(9)[rows]) for rows in numbers)
    q, p = (np.bincount(rows, minlength=512) / 100_000 for rows in numbers)
    full = gram(9, (1, 2, 4))
    expected = (q - p) @ full @ (q - p)
    np.testing.assert_allclose(mmd2_from_samples(one, other, unbiased=False), expected, rtol=1e-6)
    diagonals = sum((1 - v @ full @ v) / 99_999 for v in (q, p))
    np.testing.assert_allclose(mmd2_from_samples(one, other), expected - diagonals, rtol=1e-6)


def test_the_gradient_in_the_samples_is_the_same_however_many_there_are(monkeypatch):
    rng, prior = np.random.default_rng(5), BernoulliPrior(0.3)
    weights, others = (jnp.asarray(strings(5)[rng.integers(32, size=m)]) for m in (60, 40))
    def slopes(): return [np.asarray(jax.grad(f)(weights)) for f in (lambda w: mmd2_from_samples(w, others), lambda w: mmd2_from_samples(w, prior))]
    at_once = slopes()
    monkeypatch.setattr("qhn.objectives.mmd._BLOCK", 100)    # 60 times 40 pairs: counted, and in blocks
    for few, many in zip(at_once, slopes(), strict=True):
        assert np.abs(few).max() > 1e-3
        np.testing.assert_allclose(many, few, rtol=1e-9, atol=1e-12)


def test_a_kernel_that_does_not_fit_is_refused_and_the_statistic_is_not(monkeypatch):
    "60,000 rows made matrices of 14 GiB each."
    monkeypatch.setattr("qhn.memory.physical_memory", lambda: 24 * 2**30)
    rows = np.tile(strings(3), (7500, 1))
    with pytest.raises(ValueError, match=r"the kernel of 60000 with 60000 networks would take 26.8 GiB, more than the .* 24 GiB.*use mmd2_from_samples"): kernel(rows, rows)
    np.testing.assert_allclose(mmd2_from_samples(rows, BernoulliPrior(), unbiased=False), 0, atol=1e-9)    # each string equally often


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_halves_are_compared_in_single_precision(dtype):
    rng = np.random.default_rng(6)
    weights, others = (strings(9)[rng.integers(512, size=m)] for m in (40, 30))
    halves = (jnp.asarray(weights, dtype), jnp.asarray(others, dtype))
    assert kernel(*halves).dtype == jnp.float32
    np.testing.assert_allclose(kernel(*halves), kernel(weights, others), rtol=1e-6)
    np.testing.assert_allclose(prior_kernel(halves[0], BernoulliPrior(0.3)), prior_kernel(weights, BernoulliPrior(0.3)), rtol=1e-6)
