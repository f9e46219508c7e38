"""Prior, evidence, posterior and free energy against enumeration in plain Python and scipy."""
import dataclasses
import itertools
import math
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from circuits import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as relative_entropy    # of one distribution: its entropy

from qhn.problem.bits import all_weights, index_from_weights
from qhn.problem import symmetry
from qhn.problem.network import BiNN
from qhn.problem.costs import log_likelihood_table
from qhn.problem.symmetry import flip_unit, swap_units
from qhn.objectives.elbo import (KL, NoDivergence, at_step, exact_posterior, free_energy,
                                 kl_divergence, log_evidence, posterior_divergence,
                                 prior_divergence)
from qhn.problem.prior import BernoulliPrior
from qhn.problem.bits import effective_number, entropy, total_variation, weight_moments
from qhn.problem.symmetry import Symmetry, function_labels, function_probs, symmetry_summary

evidence_and_posterior = quick_jit(lambda log_l, prior: (log_evidence(log_l, prior), exact_posterior(log_l, prior)))
compiled_free_energy = quick_jit(free_energy)
entropies = quick_jit(lambda q, log_p, prior: (kl_divergence(q, log_p), entropy(q), prior_divergence(q, prior), prior.cross_entropy(q)))
tempered_values = quick_jit(lambda q, log_l, prior, t: (log_evidence(log_l, prior, t), exact_posterior(log_l, prior, t), posterior_divergence(q, log_l, prior, t)))
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


def test_replace_takes_either_number_of_a_prior():
    "A copy with other odds; what is not given stays, inside `jit` too."
    prior = BernoulliPrior(np.array([0.2, 0.6]))
    assert dataclasses.replace(BernoulliPrior(0.3), prob_plus=0.4) == BernoulliPrior(0.4)
    assert dataclasses.replace(BernoulliPrior(0.3), log_odds=2.0) == BernoulliPrior(log_odds=2.0)
    np.testing.assert_array_equal(dataclasses.replace(prior).log_odds, prior.log_odds)
    np.testing.assert_allclose(jax.jit(lambda given: dataclasses.replace(given, prob_plus=1 - given.prob_plus).table(2))(prior),
                               BernoulliPrior(np.array([0.8, 0.4])).table(2), rtol=1e-12)
    with pytest.raises(ValueError, match="say the same thing"): dataclasses.replace(prior, prob_plus=0.4, log_odds=0.0)
    with pytest.raises(ValueError, match="strictly between 0 and 1"): dataclasses.replace(prior, prob_plus=[0.0, 0.5])


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


@given(problems(), st.sampled_from([0.3, 1.0, 7.0]))
@settings(max_examples=10)
def test_temperature_raises_the_likelihood_to_a_power(problem, temperature):
    n, coins, log_l, rng = problem
    joint = log_l / temperature + np.log(prior_table(coins))
    log_z = joint.max() + math.log(math.fsum(np.exp(joint - joint.max())))
    prior, q = BernoulliPrior(coins), random_q(rng, n)
    evidence, posterior, divergence = tempered_values(q, log_l, prior, temperature)
    assert float(evidence) == pytest.approx(log_z, rel=1e-12)
    np.testing.assert_allclose(posterior, np.exp(joint - log_z), rtol=1e-9, atol=1e-15)
    tempered = np.exp(joint - joint.max()) / np.exp(joint - joint.max()).sum()
    assert float(divergence) == pytest.approx(relative_entropy(q, tempered), rel=1e-10, abs=1e-9)


def test_divergence_from_a_posterior_that_underflows_is_finite():
    got = posterior_divergence(np.array([0.0, 1.0]), np.array([0.0, -3000.0]), BernoulliPrior())
    assert float(exact_posterior(jnp.array([0.0, -3000.0]), BernoulliPrior())[1]) == 0 and float(got) == pytest.approx(3000, rel=1e-12)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_total_variation_is_the_best_event_and_obeys_pinsker(n, seed):
    rng = np.random.default_rng(seed)
    q, p = random_q(rng, n), rng.dirichlet(np.ones(2**n))
    assert float(total_variation(q, p)) == pytest.approx((q - p)[q > p].sum(), abs=1e-12)
    assert float(total_variation(q, p)) <= (relative_entropy(q, p) / 2)**0.5 + 1e-12
    assert float(total_variation(q, q)) == 0


@pytest.mark.parametrize("order", [0, 0.5, 1, 2, 5])
def test_effective_numbers(order):
    q = random_q(np.random.default_rng(1), 5)
    held = q[q > 0]
    want = math.exp(relative_entropy(q)) if order == 1 else sum(p**order for p in held)**(1 / (1 - order))
    assert float(effective_number(q, order)) == pytest.approx(want, rel=1e-12)
    assert float(effective_number(np.full(8, 1 / 8), order)) == pytest.approx(8, rel=1e-12)
    assert float(effective_number(np.eye(8)[3], order)) == pytest.approx(1, rel=1e-12)
    near = [float(effective_number(q, 1 + h)) for h in (-1e-5, 1e-5)]
    assert float(effective_number(q)) == pytest.approx(sum(near) / 2, rel=1e-6)


# ---------------------------------------------------------------- copies

SYMMETRIC = {"tanh": BiNN((2, 2, 1)), "three units": BiNN((1, 3, 1)), "two outputs": BiNN((1, 2, 2)), "not odd": BiNN((2, 2, 1), activation=jax.nn.relu), "deep": BiNN((1, 2, 2, 1)),
             "none hidden": BiNN((3, 1))}
symmetric = pytest.mark.parametrize("binn", SYMMETRIC.values(), ids=SYMMETRIC)


def generators(binn):
    "Flips, where the activation is odd, and swaps, as functions of weights."
    hidden = list(enumerate(binn.layer_sizes[1:-1]))
    if binn.activation is jnp.tanh: yield from (lambda w, l=l, u=u: flip_unit(binn, w, l, u) for l, width in hidden for u in range(width))
    yield from (lambda w, l=l, i=i, j=j: swap_units(binn, w, l, i, j) for l, width in hidden for i, j in itertools.combinations(range(width), 2))


def orbits(binn):
    "Number of its set of copies for each network, by following the generators from network to network."
    every = all_weights(binn.n_weights)
    steps, label = [np.asarray(index_from_weights(move(every))) for move in generators(binn)], np.arange(len(every))
    while True:
        new = np.minimum.reduce([label, *(label[step] for step in steps)])
        if (new == label).all(): return label
        label = new


@symmetric
def test_standard_forms_are_equal_for_copies(binn):
    every = all_weights(binn.n_weights)
    forms, label = np.asarray(index_from_weights(Symmetry(binn).canonical(every))), orbits(binn)
    assert (label[forms] == label).all()                 # a copy of the network itself
    if len(binn.layer_sizes) < 4: assert len(np.unique(forms)) == len(np.unique(label))
    else: assert len(np.unique(label)) <= len(np.unique(forms)) < 1.1 * len(np.unique(label))
    assert Symmetry(binn).canonical(every.reshape(2, -1, binn.n_weights)).shape == (2, len(every) // 2, binn.n_weights)


@symmetric
def test_copies_are_the_orbit(binn):
    label = orbits(binn)
    for index in np.random.default_rng(0).choice(2**binn.n_weights, 5):
        got = np.sort(np.asarray(index_from_weights(Symmetry(binn).copies(all_weights(binn.n_weights)[index]))))
        np.testing.assert_array_equal(got, np.flatnonzero(label == label[index]))


@symmetric
@pytest.mark.parametrize("n_points", [1, 6])
def test_functions_are_told_apart_by_their_class_probabilities(binn, n_points):
    x = np.random.default_rng(2).normal(size=(n_points, binn.layer_sizes[0]))
    p = np.asarray(binn.log_probs(all_weights(binn.n_weights), x)).reshape(2**binn.n_weights, -1)
    want = np.unique(p.round(9), axis=0, return_inverse=True)[1]
    labels = function_labels(binn, x)
    assert labels.max() == want.max() and len(np.unique(np.stack([labels, want.ravel()], 1), axis=0)) == labels.max() + 1    # one to one
    q = np.random.default_rng(3).dirichlet(np.ones(2**binn.n_weights), 2)
    np.testing.assert_allclose(function_probs(q, labels), [[row[labels == k].sum() for k in range(labels.max() + 1)] for row in q], rtol=1e-12)


def test_functions_in_single_precision_are_the_same():
    binn, x = SYMMETRIC["tanh"], np.random.default_rng(2).normal(size=(6, 2)).astype(np.float32)
    want = function_labels(binn, x.astype(float))
    with jax.enable_x64(False): np.testing.assert_array_equal(function_labels(binn, x), want)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_moments_are_those_of_numpy(n):
    q = random_q(np.random.default_rng(n), n)
    strings = np.array(list(itertools.product(SIGNS, repeat=n)), float)
    means, covariance = weight_moments(q)
    np.testing.assert_allclose(means, q @ strings, atol=1e-12)
    np.testing.assert_allclose(covariance, np.atleast_2d(np.cov(strings.T, aweights=q, ddof=0)), atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "not odd", "deep", "none hidden"])
def test_summary_against_its_definition(name):
    "Each network shared among its nearest copies of the best one, by distances between all networks and all copies."
    binn, rng = SYMMETRIC[name], np.random.default_rng(5)
    x, every = rng.normal(size=(4, binn.layer_sizes[0])), np.asarray(all_weights(binn.n_weights))
    q = np.asarray(exact_posterior(log_likelihood_table(binn, x, np.array([0, 1, 1, 0])), BernoulliPrior(0.6)))
    got, label, modes = symmetry_summary(binn, q, x), orbits(binn), Symmetry(binn).copies(every[q.argmax()])
    assert got.best == pytest.approx(q[label == label[q.argmax()]].sum(), rel=1e-12) and got.n_best == len(modes)
    functions = function_probs(q, function_labels(binn, x))
    assert got.n_functions == len(functions) and got.effective_functions == pytest.approx(math.exp(relative_entropy(functions)), rel=1e-12)
    np.testing.assert_allclose(got.covariance, weight_moments(q)[1], atol=1e-12)
    distance = (every[:, None] != modes).sum(-1)
    share = 1.0 * (distance == distance.min(1, keepdims=True))
    mass = q[:, None] * share / share.sum(1, keepdims=True)
    centred = (mass.T @ every) / mass.sum(0)[:, None] - q @ every
    np.testing.assert_allclose(got.between_copies, (centred * mass.sum(0)[:, None]).T @ centred, atol=1e-10)
    within = sum(mass[:, k].sum() * np.cov(every.T, aweights=mass[:, k], ddof=0) for k in range(len(modes)))
    np.testing.assert_allclose(got.between_copies + within, got.covariance, atol=1e-10)    # total covariance
    assert np.linalg.eigvalsh(got.in_one_copy).min() > -1e-10


@pytest.mark.parametrize("call", [lambda binn, q: Symmetry(binn).copies(np.ones(binn.n_weights)),
                                  lambda binn, q: symmetry_summary(binn, q, np.ones((2, binn.layer_sizes[0])))], ids=["copies", "summary"])
@pytest.mark.parametrize("binn", [BiNN((1, 4, 1)), BiNN((3, 2, 1)), BiNN((12, 1))], ids=["many copies", "few", "one"])
def test_memory_is_counted_as_numpy_takes_it(monkeypatch, call, binn):
    counted = {}
    monkeypatch.setattr(symmetry, "check_memory", lambda n_bytes, what, instead: counted.update({what: n_bytes}))
    q = np.full(2**binn.n_weights, 0.5**binn.n_weights)
    call(binn, q)    # numpy's memory alone is traced, and what JAX compiles must not count
    tracemalloc.start()
    call(binn, q)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - 2**16 < sum(counted.values()) < 3 * peak + 2**16


def test_one_copy_of_a_mixture_of_copies_is_the_original():
    "A distribution near one network, spread evenly over all its copies, comes back."
    binn = BiNN((2, 2, 1))
    every, best = np.asarray(all_weights(9)), np.array([1, 1, 1, 1, 1, -1, 1, -1, 1.0])
    near = np.exp(-4 * (every != best).sum(1)) * ((every != best).sum(1) < 2)    # at most one weight away
    near /= near.sum()
    mixture = sum(near[np.asarray(index_from_weights(move(every)))] for move in
                  (lambda w: w, lambda w: flip_unit(binn, w, 0, 0), lambda w: flip_unit(binn, w, 0, 1), lambda w: flip_unit(binn, flip_unit(binn, w, 0, 1), 0, 0)))
    mixture = mixture + mixture[np.asarray(index_from_weights(swap_units(binn, every, 0, 0, 1)))]
    summary = symmetry_summary(binn, mixture / mixture.sum(), np.ones((1, 2)))
    target = np.asarray(weight_moments(near)[1])
    got = np.sort(np.diag(summary.in_one_copy))
    np.testing.assert_allclose(got, np.sort(np.diag(target)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvalsh(summary.in_one_copy), np.linalg.eigvalsh(target), atol=1e-9)


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
    witness = costs + objective.scale(prior, 4) * np.asarray(objective.witness(strings, np.log(q), prior))
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
    "q above one": (lambda: entropy(np.array([0.9, 0.9])), "q must sum to one along the last axis, got a sum of 1.8"),
    "negative q": (lambda: free_energy(np.array([1.5, -0.5]), jnp.zeros(2), BernoulliPrior()), "q must hold probabilities, at least 0, got -0.5"),
    "KL of costs": (lambda: kl_divergence(np.array([3.0, 4.0]), jnp.zeros(2)), "q must sum to one along the last axis, got a sum of 7"),
    "effective number of costs": (lambda: effective_number(np.array([3.0, 4.0]), 2), "q must sum to one along the last axis, got a sum of 7"),
    "negative order": (lambda: effective_number(np.array([1.0, 0.0]), -1), "order must be at least 0, got order=-1"),
    "total variation of sizes": (lambda: total_variation([1.0, 0.0], [1.0]), "q and p must have the same shape, got (2,) and (1,)"),
    "total variation of costs": (lambda: total_variation([1.0, 0.0], [1.0, 1.0]), "p must sum to one along the last axis, got a sum of 2"),
    "zero temperature": (lambda: log_evidence(jnp.zeros(4), BernoulliPrior(), 0.0), "temperature must be a positive, finite number, got temperature=0.0"),
    "negative temperature": (lambda: exact_posterior(jnp.zeros(4), BernoulliPrior(), -1), "temperature must be a positive, finite number, got temperature=-1"),
    "moments of three": (lambda: weight_moments(np.ones(3) / 3), "q must have shape (2**n,), one entry per network, got shape (3,)"),
    "standard form of five": (lambda: Symmetry(BiNN((2, 2, 1))).canonical(jnp.ones(5)), "weights must have n_weights=9 entries along the last axis, got shape (5,)"),
    "copies of two": (lambda: Symmetry(BiNN((2, 2, 1))).copies(jnp.ones((2, 9))), "weights must be one network of shape (9,), got shape (2, 9)"),
    "too many copies": (lambda: Symmetry(BiNN((1, 20, 1))).copies(jnp.ones(61)), "use Symmetry.canonical instead"),
    "functions of too many": (lambda: function_labels(BiNN((64, 10)), np.ones((2, 64))), "the functions of 2**650 networks would take"),
    "table of too many": (lambda: log_likelihood_table(BiNN((64, 10)), np.ones((2, 64)), np.array([0, 1])), "use log_likelihood on sampled weights instead"),
    "functions of another q": (lambda: function_probs(np.ones(4) / 4, np.zeros(8, int)), "q must have one entry along the last axis for each of the 8 labels, got shape (4,)"),
    "summary of samples": (lambda: symmetry_summary(BiNN((2, 2, 1)), np.ones((3, 9)), np.ones((1, 2))), "q must have 2**9 entries, one for each network, got shape (3, 9); with samples, use Symmetry.canonical"),
    "weight by name": (lambda: KL("linear"), "weight must be a finite number of at least 0 or an optax schedule, got weight='linear'"),
}


@pytest.mark.parametrize("call, text", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_by_name(call, text):
    with pytest.raises((TypeError, ValueError)) as error: call()
    assert text in str(error.value)


# ---- rows, and large orders in single precision

def test_measures_of_several_distributions_are_those_of_each():
    rng = np.random.default_rng(8)
    q, p = (a / a.sum(-1, keepdims=True) for a in rng.exponential(size=(2, 3, 16)))
    for measure in (lambda a, b: total_variation(a, b), lambda a, b: entropy(a), lambda a, b: effective_number(a), lambda a, b: effective_number(a, 3.5)):
        np.testing.assert_allclose(measure(q, p), [measure(a, b) for a, b in zip(q, p)], rtol=1e-13)


@pytest.mark.parametrize("order", [0, 0.5, 1, 2, 100, np.inf])
def test_effective_numbers_of_uniform_and_uneven_distributions_in_single_precision(order):
    with jax.enable_x64(False):
        assert effective_number(jnp.full(4, 0.25), order) == pytest.approx(4, rel=1e-5)
        uneven = float(effective_number(jnp.array([0.5, 0.25, 0.25, 0.0]), order))
    assert uneven == pytest.approx({0: 3, 0.5: (2**-0.5 + 1) ** 2, 1: 2**1.5, 2: 1 / 0.375, 100: (0.5**100 + 2 * 0.25**100) ** (-1 / 99), np.inf: 2}[order], rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_priors_of_half_precision_are_summed_in_single(dtype):
    coins = np.random.default_rng(7).uniform(0.1, 0.9, 12).astype(dtype)
    prior, exact, weights = BernoulliPrior(coins), BernoulliPrior(coins.astype(float)), np.ones((3, 12))
    for half, full in ((prior.log_prob(weights), exact.log_prob(weights)), (prior.table(12), exact.table(12)), (prior.means(12), exact.means(12)), (prior.entropy(12), exact.entropy(12))):
        assert jnp.finfo(half.dtype).bits >= 32
        np.testing.assert_allclose(half, full, rtol=1e-5)
