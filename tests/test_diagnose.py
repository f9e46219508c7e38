"""Importance weights and annealing against closed forms and enumeration, the tail against ArviZ, errors against their own scatter."""
import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from qhn.baselines.variational import Bernoulli
from qhn.distributions.base import Lacks, Remote, SampleOnly, Words
from qhn.distributions.mixtures import Mixture
from qhn.inference.estimator import Problem
from qhn.inference.result import FitResult
from qhn.inference.state import TrainState
from qhn.objectives.elbo import KL, log_evidence
from qhn.posterior import diagnose as judging
from qhn.posterior import importance as weighing
from qhn.posterior.diagnose import can_enumerate, diagnose, diagnose_exactly, n_distinct
from qhn.posterior.importance import anneal, drawn, mean_of, pareto_k, weighed, weighted_mean
from qhn.problem.costs import as_target, log_likelihood_table
from qhn.problem.datasets import moons
from qhn.problem.network import BiNN
from qhn.problem.prior import BernoulliPrior, Prior

KEY, COINS = jax.random.key(0), BernoulliPrior()
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Additive:
    "log p(D|w) = h·w, whose posterior is a product."
    h: np.ndarray

    @property
    def n_weights(self): return len(self.h)
    def log_likelihood(self, weights): return weights @ jnp.asarray(self.h)


class TwoModes:
    "Two products, at all +1 and at all -1; the evidence is 2 / 2ⁿ under coins."
    n_weights = 10
    def log_likelihood(self, weights): return jnp.logaddexp(*jax.nn.log_sigmoid(jnp.stack([3 * weights, -3 * weights])).sum(-1))


class Chain(Prior):
    "Neighbouring weights agree: p(w) ∝ exp(J Σ w_i w_{i+1}), of the closed norm 2ⁿ cosh(J)ⁿ⁻¹. Its density alone is known."
    def log_prob(self, weights):
        n = weights.shape[-1]
        return 0.7 * (weights[..., 1:] * weights[..., :-1]).sum(-1) - n * math.log(2) - (n - 1) * math.log(math.cosh(0.7))


class SampledChain(Chain):
    "The same, which can be sampled: each weight agrees with the one before with probability σ(2 J)."
    def sample(self, key, n_samples, n):
        agree = jax.random.bernoulli(key, 1 / (1 + math.exp(-1.4)), (n_samples, n))
        first = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (n_samples, 1))
        steps = jnp.where(agree, 1., -1.).at[:, 0].set(jnp.where(first[:, 0], 1., -1.))
        return jnp.cumprod(steps, 1)


class OnlySampled(Prior):
    def sample(self, key, n_samples, n): return COINS.sample(key, n_samples, n)


def problem_of(distribution, target, prior=COINS): return Problem(distribution, target, prior, KL())


H = RNG.normal(size=40)
ADDITIVE = problem_of(Bernoulli(40), as_target(Additive(H)))
TWO = problem_of(Bernoulli(10), as_target(TwoModes()))
COSTS = RNG.normal(size=2**9)
TABLE = problem_of(Bernoulli(9), as_target(COSTS))
TRUTH = logsumexp(-COSTS) - 9 * math.log(2)
BIAS = np.full((1, 1, 9), 0.1)


def within(measured, truth, k=4): return abs(measured[0] - truth) < k * measured[1]


# ---- q is the posterior

@pytest.mark.parametrize("odds", [0., -0.8], ids=["coins", "uneven"])
def test_additive_costs_leave_weights_without_variance(odds):
    "Σ log cosh(λ + h) - log cosh λ is the log evidence at 40 weights."
    prior = BernoulliPrior(log_odds=odds)
    natural = odds / 2 + H
    truth = (np.log(np.cosh(natural)) - np.log(np.cosh(odds / 2))).sum()
    told = diagnose(replace(ADDITIVE, prior=prior), natural[None, None], [0.], KEY, n_samples=500)
    assert told.importance.log_mean == pytest.approx(truth, abs=1e-10) and told.elbo.value == pytest.approx(truth, abs=1e-10)
    assert told.importance.error < 1e-12 and told.importance.n_effective == pytest.approx(500) and told.importance.pareto_k == -math.inf
    assert told.annealing.is_reliable and within((told.annealing.log_mean, told.annealing.error), truth) and told.annealing.error < 0.2
    assert told.evidence == told.importance and abs(told.distance.value) < 1e-9 and told.sentence.endswith("use it.")
    assert "nan" not in repr(told)
    fit = (H * np.tanh(natural)).sum()    # E_p[h·w]
    assert within(told.log_likelihood, fit) and within(told.posterior_fit, fit)


def test_single_precision_is_no_tail():
    draws = drawn(Bernoulli(40), jnp.asarray(H, jnp.float32)[None, None], as_target(Additive(np.float32(H))), COINS, KEY, 500)
    log_w = draws.log_weights[0]
    assert draws.log_likelihood.dtype == jnp.float32 and np.unique(log_w).size > 1
    assert pareto_k(log_w, draws.rounding) == -math.inf


# ---- q is not

def test_a_mode_that_q_misses_shows_in_annealing_alone():
    told = diagnose(TWO, np.full((1, 1, 10), 1.5), [0.], KEY)
    truth = -9 * math.log(2)
    assert float(log_evidence(log_likelihood_table(TwoModes()), COINS)) == pytest.approx(truth)
    assert told.importance.is_reliable and told.importance.log_mean == pytest.approx(truth - math.log(2), abs=1e-4)
    assert within((told.annealing.log_mean, told.annealing.error), truth) and within(told.missed, math.log(2))
    assert told.evidence == told.annealing and within(told.distance, math.log(2))
    assert "miss about" in told.sentence and 0.4 < 1 - math.exp(-told.missed.value) < 0.6
    without = diagnose(TWO, np.full((1, 1, 10), 1.5), [0.], KEY, n_temperatures=0)
    assert without.annealing is without.missed is without.posterior_fit is None and "annealing looks for them" in without.sentence


def test_starts_in_both_modes_are_two_distributions():
    "The mixture's ELBO, which needs no more samples, is what enumeration says."
    params = jnp.full((2, 1, 10), 1.5) * jnp.array([1, -1])[:, None, None]
    starts = diagnose(TWO, params, [0., 0.], KEY, n_temperatures=0).starts
    assert starts.n_distinct == pytest.approx(2, rel=1e-3)
    q = Mixture(Bernoulli(10), 2).probs(params)
    elbo = q @ (log_likelihood_table(TwoModes()) + COINS.table(10) - jnp.log(q))
    assert starts.mixture_elbo == pytest.approx(float(elbo), abs=1e-2) == pytest.approx(-9 * math.log(2), abs=1e-2)
    told = diagnose(TWO, params, [0., 0.], KEY)
    assert f"The 2 starts as one Mixture have an ELBO of {told.starts.mixture_elbo:.2f}" in told.sentence


def test_equal_starts_are_one_distribution():
    params = jnp.repeat(jnp.asarray(BIAS), 3, 0)
    weights = drawn(Bernoulli(9), params, TABLE.target, COINS, KEY, 20).weights
    assert n_distinct(Bernoulli(9), params, weights) == pytest.approx(1)


# ---- errors

@pytest.fixture(scope="module")
def repeated():
    "(100, 400) log weights of a hundred repetitions."
    return np.asarray(drawn(Bernoulli(9), jnp.asarray(BIAS), TABLE.target, COINS, KEY, 40_000).log_weights).reshape(100, 400)


def scores(found, truth):
    z = np.array([(value - truth) / error for value, error in found])
    return z.mean(), z.std(ddof=1)


def test_errors_are_the_scatter_of_repetitions(repeated):
    "Of 100 scores the mean has the error 0.1, the spread 0.07."
    q = np.asarray(Bernoulli(9).probs(jnp.asarray(BIAS[0])))
    elbo = -q @ (COSTS + 9 * math.log(2) + np.log(q))
    bounds = [weighed(row) for row in repeated]
    for found, truth in [([mean_of(row) for row in repeated], elbo), ([(w.log_mean, w.error) for w in bounds], TRUTH)]:
        mean, spread = scores(found, truth)
        assert abs(mean) < 0.4 and 0.75 < spread < 1.25
    assert elbo < TRUTH and np.mean([w.log_mean for w in bounds]) < TRUTH + 0.02
    np.testing.assert_allclose([w.error for w in bounds], [math.sqrt((400 / w.n_effective - 1) / 399) for w in bounds], rtol=1e-9)


def test_errors_of_annealing_are_the_scatter_of_repetitions():
    rows = np.asarray(anneal(TABLE.target, COINS, KEY, 10, 10_000).log_weights).reshape(100, 100)
    mean, spread = scores([(w.log_mean, w.error) for w in map(weighed, rows)], TRUTH)
    assert abs(mean) < 0.4 and 0.75 < spread < 1.25


@pytest.mark.parametrize("n_temperatures", [1, 3])
def test_annealing_is_unbiased_however_fast(n_temperatures):
    "At one temperature it is importance sampling from the prior."
    log_w = np.asarray(anneal(TABLE.target, COINS, KEY, n_temperatures, 10_000).log_weights)
    assert within(mean_of(np.exp(log_w - TRUTH)), 1.)
    if n_temperatures == 1: assert np.isin(log_w.round(9), (-COSTS).round(9)).all()


# ---- annealing against enumeration

DATA = moons(n_train=30, seed=0)
NETS = [BiNN((2, 2, 1)), BiNN((2, 4, 1))]


@pytest.mark.parametrize("net, prior", [(NETS[1], COINS), (NETS[0], BernoulliPrior(0.3)), (NETS[0], Chain()), (NETS[0], SampledChain())],
                         ids=["17 bits", "9 bits, uneven", "density alone", "sampled chain"])
def test_annealing_finds_the_evidence(net, prior):
    table = log_likelihood_table(net, *DATA.train) + prior.table(net.n_weights)
    truth, posterior = float(logsumexp(table)), np.exp(table - logsumexp(table))
    target = as_target(net, DATA.train)
    walked = anneal(target, prior, KEY)
    found = weighed(walked.log_weights)
    assert found.is_reliable and found.error < 0.15 and within((found.log_mean, found.error), truth)
    fit = posterior @ np.asarray(log_likelihood_table(net, *DATA.train))
    assert within(weighted_mean(walked.log_likelihood, walked.log_weights), fit)
    np.testing.assert_allclose(walked.log_likelihood, -target.costs(walked.weights), rtol=1e-9)


def test_chain_prior_is_a_distribution():
    assert float(logsumexp(Chain().table(9))) == pytest.approx(0, abs=1e-12)
    drawn_pairs = SampledChain().sample(KEY, 20_000, 3)
    pairs = np.asarray((drawn_pairs[:, 1:] * drawn_pairs[:, :-1]).mean(0))
    np.testing.assert_allclose(pairs, math.tanh(0.7), atol=0.03)


# ---- the tail

@pytest.mark.parametrize("n_draws", [50, 225, 1000, 5000])
@pytest.mark.parametrize("k", [0.1, 0.5, 1.5])
def test_tail_is_that_of_arviz(n_draws, k):
    log_w = -k * np.log(np.random.default_rng(n_draws).random(n_draws)) - 700
    assert pareto_k(log_w) == pytest.approx(float(array_stats.psislw(-log_w)[1]), abs=1e-9)


@pytest.mark.parametrize("log_w, expected", [
    (np.zeros(2), -math.inf), (np.full(1000, -5.), -math.inf), ([0., 1.], math.inf), (np.r_[np.zeros(900), np.ones(100)], -math.inf),
    (np.r_[np.zeros(997), 1, 2, 3], math.inf), (1e-12 * RNG.normal(size=100), -math.inf),
], ids=["two", "equal", "two unequal", "tied at the top", "too few", "rounding"])
def test_tail_of_ties(log_w, expected): assert pareto_k(log_w, rounding=1e-9) == expected


def test_weights_beyond_the_range_of_numbers():
    told = weighed(np.linspace(-5000, 5000, 1000))
    assert np.isfinite(told).all() and not told.is_reliable and told.largest > 0.5


def test_impossible_networks_weigh_nothing():
    told = weighed(np.r_[np.zeros(500), np.full(500, -np.inf)])
    assert told.log_mean == pytest.approx(-math.log(2)) and told.n_effective == 500
    assert weighed([-np.inf, -np.inf])[:3] == (-np.inf, np.inf, 0.) and not weighed([-np.inf, -np.inf]).is_reliable
    assert mean_of([0., -np.inf]) == (-np.inf, np.inf)


def test_one_draw_that_carries_the_sum_is_not_trusted():
    "A lump, and one weight above it that the fit does not see."
    log_w = np.r_[RNG.normal(size=999) * 0.1, 8.]
    assert not weighed(log_w).is_reliable and weighed(log_w[:-1]).is_reliable


# ---- what is not told

class Device(Remote):
    "Samples from outside, all +1; it counts what it is asked."
    n_qubits, param_shape, asked = 10, (1, 10), []
    def _sample_batch(self, params, n_samples):
        self.asked.append((np.asarray(params), n_samples))
        return np.ones((len(params), n_samples, 10))


def test_a_device_is_asked_for_the_best_start_alone():
    Device.asked.clear()
    params = np.arange(30.).reshape(3, 1, 10)
    told = diagnose(replace(TWO, distribution=Device()), params, [3., 1., 2.], KEY, n_samples=7)
    (asked, n_samples), = Device.asked
    np.testing.assert_array_equal(asked, params[1:2])
    assert n_samples == 7 and told.elbo is told.importance is told.distance is told.starts.n_distinct is None
    assert told.lacks == "Device does not tell log q" and told.evidence == told.annealing and "lacks" in repr(told)
    best = float(TwoModes().log_likelihood(jnp.ones(10)))
    assert told.log_likelihood == (pytest.approx(best), pytest.approx(0, abs=1e-12)) and told.sentence.startswith("q is not the posterior")


def test_implicit_distributions_are_judged_by_their_fit():
    told = diagnose(replace(TWO, distribution=SampleOnly(Bernoulli(10))), np.full((2, 1, 10), 1.5), [2., 1.], KEY)
    assert told.elbo is None and told.sentence.startswith("q's networks fit the data as the posterior's do")
    alone = diagnose(replace(TWO, distribution=SampleOnly(Bernoulli(10))), np.full((2, 1, 10), 1.5), [2., 1.], KEY, n_temperatures=0)
    assert alone.evidence is None and alone.sentence == "How far q is from the posterior cannot be told: SampleOnly does not tell log q."


def test_a_prior_without_density_leaves_the_fit():
    told = diagnose(replace(TABLE, prior=OnlySampled()), BIAS, [0.], KEY)
    assert told.elbo is told.importance is told.annealing is None and told.lacks == "OnlySampled does not tell log p(w)"
    assert within(told.log_likelihood, -np.asarray(Bernoulli(9).probs(jnp.asarray(BIAS[0]))) @ COSTS)
    with pytest.raises(TypeError, match="OnlySampled does not know its density"): anneal(TABLE.target, OnlySampled(), KEY)


# ---- FitResult

def result_of(problem, params, losses):
    state = TrainState(jnp.asarray(params), None, None, jnp.array(1))
    return FitResult(state, {"loss": np.asarray(losses, float)[:, None], "loss_error": np.zeros((len(losses), 1))}, problem=problem)


def test_a_result_is_diagnosed_at_its_best_seed():
    params = np.stack([np.zeros((1, 40)), H[None]])
    told = result_of(ADDITIVE, params, [2., 1.]).diagnose(KEY, n_samples=500, n_temperatures=0)
    assert told.importance.n_effective == pytest.approx(500) and told.starts.elbos.shape == (2,)
    assert told.starts.elbos[1] == pytest.approx(np.log(np.cosh(H)).sum()) and told.starts.elbos[0] < told.starts.elbos[1] - 5


def test_few_draws_are_told_as_such():
    told = diagnose(TABLE, BIAS, [0.], KEY, n_samples=10, n_temperatures=0)
    assert not told.importance.is_reliable and told.sentence.startswith("10 networks are too few draws")


@pytest.mark.parametrize("distance, worst", [(0.02, 0.1), (0.3, math.sqrt(0.15)), (4., None)])
def test_sentence_bounds_the_total_variation(distance, worst):
    told = diagnose(ADDITIVE, H[None, None], [0.], KEY, n_samples=500, n_temperatures=0)
    sentence = replace(told, elbo=told.elbo._replace(value=told.importance.log_mean - distance), starts=told.starts._replace(elbos=None)).sentence
    if worst is None: assert "which is another distribution" in sentence
    else: assert f"off by more than about {worst:.2f}" in sentence


def test_another_key_compiles_nothing():
    result = result_of(TABLE, BIAS, [1.])
    result.diagnose(KEY, n_samples=1000)
    sizes = [f._cache_size() for f in (weighing._simulated, weighing._annealed, judging._cross)]
    result.diagnose(jax.random.key(1), n_samples=1000)
    assert sizes == [f._cache_size() for f in (weighing._simulated, weighing._annealed, judging._cross)]


class OnlyWords(Words):
    n_qubits, param_shape = 9, (1, 9)
    def _words(self, params, sets, key, n_strings): return jnp.zeros(len(sets)), jnp.zeros(len(sets))


RESULT = result_of(TABLE, BIAS, [1.])
@pytest.mark.parametrize("ask, error, text", [
    (lambda: RESULT.diagnose(7), ValueError, "key must be a jax.random.key, got key=7"),
    (lambda: RESULT.diagnose(jax.random.split(KEY)), ValueError, "key must be a jax.random.key"),
    (lambda: RESULT.diagnose(KEY, n_samples=1), ValueError, "n_samples must be an integer of at least 2, got n_samples=1; a standard error needs two draws"),
    (lambda: RESULT.diagnose(KEY, n_samples=2.5), TypeError, "n_samples must be an integer of at least 2"),
    (lambda: RESULT.diagnose(KEY, n_samples=10**14), ValueError, "fewer n_samples"),
    (lambda: RESULT.diagnose(KEY, n_particles=1), ValueError, "n_particles must be an integer of at least 2"),
    (lambda: RESULT.diagnose(KEY, n_temperatures=-1), ValueError, "n_temperatures must be an integer of at least 0"),
    (lambda: replace(RESULT, problem=None).diagnose(KEY), ValueError, "diagnose needs the problem that was trained"),
    (lambda: replace(RESULT, history={"loss": np.zeros((1, 0))}).diagnose(KEY), ValueError, "no step was done"),
    (lambda: replace(RESULT, problem=replace(TABLE, distribution=OnlyWords())).diagnose(KEY), Lacks, "OnlyWords does not tell samples"),
    (lambda: weighed([0., np.nan]), ValueError, "log_weights must be numbers, got nan"),
    (lambda: anneal(TABLE.target, COINS, KEY, n_temperatures=0), ValueError, "n_temperatures must be an integer of at least 1"),
])
def test_refused(ask, error, text):
    with pytest.raises(error) as caught: ask()
    assert text in str(caught.value)


def test_all_networks_are_counted_where_they_can_be():
    "Evidence, ELBOs, distance, fit and number of distinct starts by their formulas; two products far apart are two."
    params = np.stack([np.full((1, 10), 1.5), np.full((1, 10), -1.5)])
    told = diagnose_exactly(TWO, params, [2., 1.])
    signs = 1 - 2 * ((np.arange(1024)[:, None] >> np.arange(9, -1, -1)) & 1)
    fit = np.asarray(TwoModes().log_likelihood(jnp.asarray(signs, float)))
    joint = fit - 10 * math.log(2)
    log_q = np.asarray(jax.vmap(lambda one: jnp.log(TWO.distribution.probs(one)))(jnp.asarray(params)), float)
    q, evidence = np.exp(log_q), logsumexp(joint)
    np.testing.assert_allclose(told.evidence.log_mean, math.log(2) - 10 * math.log(2), atol=1e-9)
    np.testing.assert_allclose(told.starts.elbos, (q * (joint - log_q)).sum(1), atol=1e-9)
    np.testing.assert_allclose((told.distance.value, told.distance.error), ((q[1] * (log_q[1] - joint + evidence)).sum(), 0), atol=1e-9)
    np.testing.assert_allclose(told.posterior_fit.value, np.exp(joint - evidence) @ fit, atol=1e-9)
    mixed = q.mean(0)
    np.testing.assert_allclose(told.starts.n_distinct, math.exp((q * (log_q - np.log(mixed))).sum() / 2), atol=1e-9)
    assert told.is_exact and told.n_samples == 1024 and "if that distance is right" not in told.sentence and "annealing" not in repr(told)


def test_a_result_counts_where_no_number_is_asked_for():
    result = result_of(TWO, np.stack([np.full((1, 10), 1.5), np.full((1, 10), -1.5)]), [2., 1.])
    assert can_enumerate(TWO) and result.diagnose(KEY).is_exact and not result.diagnose(KEY, n_samples=50).is_exact
    assert not can_enumerate(replace(TWO, distribution=Bernoulli(15))) and not can_enumerate(replace(TWO, prior=OnlySampled()))
    assert not can_enumerate(replace(TWO, distribution=SampleOnly(Bernoulli(10))))


def test_networks_that_cannot_be_do_not_spoil_a_mean():
    "q = 0 where log p(D|w) = -inf."
    class Half:
        n_weights = 10
        def log_likelihood(self, weights): return jnp.where(weights[..., 0] > 0, 0., -jnp.inf)
    told = diagnose_exactly(replace(TWO, target=as_target(Half())), np.full((1, 1, 10), 1.5), [1.])
    assert told.elbo.value == -math.inf and math.isclose(told.evidence.log_mean, -math.log(2), abs_tol=1e-9)
