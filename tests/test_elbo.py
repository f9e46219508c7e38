"""Prior, evidence, posterior and free energy against enumeration in plain Python and scipy."""
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from circuits import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as relative_entropy    # of one distribution: its entropy

from qhn.elbo import (KL, BernoulliPrior, NoDivergence, at_step, entropy, exact_posterior, free_energy, kl_divergence, log_evidence,
                      prior_divergence)

evidence_and_posterior = quick_jit(lambda log_l, prior: (log_evidence(log_l, prior), exact_posterior(log_l, prior)))
compiled_free_energy = quick_jit(free_energy)
entropies = quick_jit(lambda q, log_p, prior: (kl_divergence(q, log_p), entropy(q), prior_divergence(q, prior), prior.cross_entropy(q)))
SIGNS = (1, -1)    # bit 0 is weight +1: the first string of the basis order is all plus


@st.composite
def problems(draw, max_bits=6):
    "n, one probability of +1 for each weight, and 2^n log-likelihoods with an offset of thousands of nats."
    n = draw(st.integers(1, max_bits))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offset = draw(st.sampled_from([0.0, -3000.0, 50.0]))
    return n, rng.uniform(0.01, 0.99, n), offset + 4 * rng.normal(size=2**n), rng


def prior_table(coins): return np.array([math.prod(p if s > 0 else 1 - p for p, s in zip(coins, string)) for string in itertools.product(SIGNS, repeat=len(coins))])


def random_q(rng, n):
    "Probabilities, about a third of them zero."
    q = rng.gamma(0.5, size=2**n) * (rng.random(2**n) < 0.65)
    q[rng.integers(2**n)] += 0.1
    return q / q.sum()


# ---------------------------------------------------------------- the prior

@given(problems(max_bits=9))
@settings(max_examples=8)
def test_the_prior_is_independent_coins(problem):
    n, coins, _, rng = problem
    prior, table = BernoulliPrior(coins), prior_table(coins)
    strings = np.array(list(itertools.product(SIGNS, repeat=n)), float)
    ours, log_p, means, total = quick_jit(lambda prior, w: (prior.table(n), prior.log_prob(w), prior.means(n), prior.entropy(n)))(prior, strings.reshape(2, -1, n))
    np.testing.assert_allclose(ours, np.log(table), rtol=1e-12)
    np.testing.assert_allclose(log_p, np.log(table).reshape(2, -1), rtol=1e-12)
    np.testing.assert_allclose(means, table @ strings, atol=1e-12)
    assert float(total) == pytest.approx(relative_entropy(table), rel=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.1, np.float64(0.9), jnp.array(0.3)])
def test_one_number_serves_all_weights(p):
    np.testing.assert_allclose(BernoulliPrior(p).table(4), np.log(prior_table([float(p)] * 4)), rtol=1e-12)
    assert float(BernoulliPrior(p).entropy(7)) == pytest.approx(7 * relative_entropy([float(p), 1 - float(p)]), rel=1e-12)


def test_the_prior_is_data_to_jit_and_has_gradients():
    traces = []
    @jax.jit
    def value(prior):
        traces.append(1)
        return prior.log_prob(jnp.array([1.0, -1.0, -1.0]))
    assert float(value(BernoulliPrior(jnp.array([0.2, 0.3, 0.4])))) == pytest.approx(math.log(0.2 * 0.7 * 0.6))
    assert float(value(BernoulliPrior(jnp.array([0.5, 0.1, 0.1])))) == pytest.approx(math.log(0.5 * 0.9 * 0.9))
    assert len(traces) == 1
    slope = jax.grad(lambda p: BernoulliPrior(p).log_prob(jnp.array([1.0, -1.0])))(jnp.array([0.25, 0.4]))
    np.testing.assert_allclose(slope, [1 / 0.25, -1 / 0.6], rtol=1e-12)


# ---------------------------------------------------------------- evidence and posterior

@given(problems())
@settings(max_examples=25)
def test_evidence_and_posterior_are_enumeration(problem):
    n, coins, log_l, _ = problem
    top = log_l.max()
    joint = [math.exp(l - top) * p for l, p in zip(log_l, prior_table(coins))]
    total = math.fsum(joint)
    evidence, posterior = evidence_and_posterior(jnp.asarray(log_l), BernoulliPrior(coins))
    assert float(evidence) == pytest.approx(top + math.log(total), rel=1e-13)
    np.testing.assert_allclose(posterior, np.array(joint) / total, rtol=1e-9, atol=1e-15)


@given(problems())
@settings(max_examples=25)
def test_the_gap_of_the_elbo_is_the_kl_to_the_posterior(problem):
    n, coins, log_l, rng = problem
    q, prior, joint = random_q(rng, n), BernoulliPrior(coins), log_l + np.log(prior_table(coins))
    evidence = joint.max() + math.log(math.fsum(np.exp(joint - joint.max())))
    posterior = np.exp(joint - evidence)
    posterior /= posterior.sum()    # thousands of nats have rounded its digits
    gap = evidence + float(compiled_free_energy(jnp.asarray(q), jnp.asarray(log_l), prior))
    assert gap == pytest.approx(relative_entropy(q, posterior), abs=1e-10)
    assert gap > -1e-10 and float(compiled_free_energy(jnp.asarray(posterior), jnp.asarray(log_l), prior)) == pytest.approx(-evidence, abs=1e-10)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_entropies_are_scipys(n, seed):
    rng = np.random.default_rng(seed)
    q, p = random_q(rng, n), rng.dirichlet(np.ones(2**n))
    prior = prior_table(coins := rng.uniform(0.01, 0.99, n))
    ours = entropies(jnp.asarray(q), jnp.log(p), BernoulliPrior(coins))
    want = relative_entropy(q, p), relative_entropy(q), relative_entropy(q, prior), -(q @ np.log(prior))
    assert list(map(float, ours)) == pytest.approx(list(want), rel=1e-10, abs=1e-12)


# ---------------------------------------------------------------- objectives

@given(problems(), st.floats(0, 3))
@settings(max_examples=25)
def test_objectives_from_probabilities(problem, weight):
    n, coins, log_l, rng = problem
    q, prior, costs = random_q(rng, n), BernoulliPrior(coins), jnp.asarray(-log_l)
    nll, kl = -(q @ log_l), relative_entropy(q, prior_table(coins))
    mle, elbo = NoDivergence().from_probs(jnp.asarray(q), costs, prior), KL(weight).from_probs(jnp.asarray(q), costs, prior)
    assert list(map(float, mle)) == pytest.approx([nll, nll, 0], rel=1e-10)
    assert list(map(float, elbo)) == pytest.approx([nll + weight * kl, nll, kl], rel=1e-10, abs=1e-10)
    assert float(KL(0.0).from_probs(jnp.asarray(q), costs, prior).loss) == pytest.approx(float(mle.loss), rel=1e-12)


def test_samples_in_exact_proportion_give_the_exact_objective():
    counts, coins = np.array([3, 0, 1, 4, 2, 2, 0, 4]), [0.3, 0.8, 0.6]
    q, costs, prior = counts / 16, np.arange(8.0)**2, BernoulliPrior(np.array(coins))
    strings = np.array(list(itertools.product(SIGNS, repeat=3)), float)
    rows = np.repeat(np.arange(8), counts)
    for objective in (NoDivergence(), KL(), KL(0.3), KL(optax.linear_schedule(2.0, 0.0, 4))):
        sampled = objective.from_samples(costs[rows], strings[rows], np.log(q[rows]), prior, step=1)
        exact = objective.from_probs(jnp.asarray(q), jnp.asarray(costs), prior, step=1)
        assert list(map(float, sampled)) == pytest.approx(list(map(float, exact)), rel=1e-12)


@pytest.mark.parametrize("objective", [NoDivergence(), KL(), KL(0.4), KL(optax.constant_schedule(2.0))], ids=["MLE", "ELBO", "tempered", "schedule"])
def test_the_witness_is_the_slope_along_any_change_of_the_distribution(objective):
    rng, coins = np.random.default_rng(0), [0.3, 0.8, 0.6, 0.5]
    prior, strings, costs = BernoulliPrior(np.array(coins)), np.array(list(itertools.product(SIGNS, repeat=4)), float), rng.normal(size=16)
    q = rng.dirichlet(np.ones(16)) * 0.8 + 0.2 / 16
    witness = np.asarray(objective.witness(costs, strings, np.log(q), prior))
    value = lambda q: float(objective.from_probs(jnp.asarray(q), jnp.asarray(costs), prior).loss)
    for _ in range(4):
        change = rng.dirichlet(np.ones(16)) - rng.dirichlet(np.ones(16))    # sums to zero: the witness is known up to a constant
        h = 1e-4 * q.min() / abs(change).max()
        assert witness @ change == pytest.approx((value(q + h * change) - value(q - h * change)) / (2 * h), rel=1e-6, abs=1e-7)


def test_gradients_of_the_free_energy_are_central_differences_and_finite_at_zero():
    rng = np.random.default_rng(1)
    log_l, prior = jnp.asarray(rng.normal(size=16)), BernoulliPrior(0.3)
    logits = rng.normal(size=16)
    value = lambda x: free_energy(jax.nn.softmax(x), log_l, prior)
    gradient, h = np.asarray(jax.grad(value)(jnp.asarray(logits))), 1e-5
    for k in range(16):
        e = h * np.eye(16)[k]
        assert gradient[k] == pytest.approx(float(value(logits + e) - value(logits - e)) / (2 * h), abs=1e-8)
    assert np.isfinite(jax.grad(lambda q: free_energy(q, log_l, prior))(jnp.eye(16)[3])).all()


def test_a_schedule_is_read_at_its_step_under_jit_too():
    schedule, prior, q = optax.linear_schedule(0.0, 1.0, 10), BernoulliPrior(), jnp.array([0.9, 0.1])
    loss = jax.jit(lambda step: KL(schedule).from_probs(q, jnp.array([1.0, 2.0]), prior, step).loss)
    kl = relative_entropy([0.9, 0.1], [0.5, 0.5])
    for step in (0, 3, 10, 99): assert float(loss(step)) == pytest.approx(1.1 + min(step / 10, 1) * kl)
    assert at_step(0.7, 5) == 0.7 and float(at_step(schedule, 5)) == pytest.approx(0.5)


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        q, log_l, prior = jnp.array([0.5, 0.25, 0.25, 0.0]), jnp.array([-1.0, -2.0, -3.0, -4.0]), BernoulliPrior()
        values = [log_evidence(log_l, prior), exact_posterior(log_l, prior), free_energy(q, log_l, prior), *KL(0.5).from_probs(q, -log_l, prior)]
        assert {v.dtype for v in values} == {jnp.dtype(jnp.float32)}
        assert float(values[2]) == pytest.approx(1.75 + relative_entropy([0.5, 0.25, 0.25, 0.0], [0.25] * 4), rel=1e-6)


# ---------------------------------------------------------------- what is refused

three, prior3 = jnp.zeros(3), BernoulliPrior(np.full(3, 0.5))
REFUSED = {
    "certain plus": (lambda: BernoulliPrior(1.0), "prob_plus must lie strictly between 0 and 1, got prob_plus=1.0"),
    "certain minus": (lambda: BernoulliPrior(np.array([0.5, 0.0])), "prob_plus must lie strictly between 0 and 1"),
    "not a number": (lambda: BernoulliPrior(float("nan")), "prob_plus must lie strictly between 0 and 1, got prob_plus=nan"),
    "a matrix": (lambda: BernoulliPrior(jnp.full((2, 2), 0.5)), "prob_plus must be one number or have shape (n,), got shape (2, 2)"),
    "prior of another width": (lambda: prior3.table(4), "prob_plus must be one number or have shape (4,), one per weight, got shape (3,)"),
    "weights of another width": (lambda: prior3.log_prob(jnp.ones((5, 2))), "prob_plus must be one number or have shape (2,), one per weight, got shape (3,)"),
    "evidence of three": (lambda: log_evidence(three, BernoulliPrior()), "log_likelihoods must have shape (2**n,), one entry per network, got shape (3,)"),
    "posterior of a matrix": (lambda: exact_posterior(jnp.zeros((2, 2)), BernoulliPrior()), "log_likelihoods must have shape (2**n,), one entry per network, got shape (2, 2)"),
    "divergence of three": (lambda: prior_divergence(three, BernoulliPrior()),
                            "q must have shape (2**n,), one entry per network, got shape (3,)"),
    "negative weight": (lambda: KL(-0.5), "weight must be a finite number of at least 0 or an optax schedule, got weight=-0.5"),
    "infinite weight": (lambda: KL(math.inf), "weight must be a finite number of at least 0 or an optax schedule, got weight=inf"),
    "weight by name": (lambda: KL("linear"), "weight must be a finite number of at least 0 or an optax schedule, got weight='linear'"),
}


@pytest.mark.parametrize("call, text", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_by_name(call, text):
    with pytest.raises(ValueError) as error: call()
    assert text in str(error.value)
