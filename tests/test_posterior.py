"""Predictive mixtures against plain loops over networks, numpy's mean and spread, and scikit-learn's scores."""
import builtins
import itertools
import warnings
from dataclasses import dataclass
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from scipy.special import logsumexp
from scipy.stats import entropy, norm, poisson
from sklearn.calibration import calibration_curve

from qhn.posterior import predictive as module
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable
from qhn.problem.datasets import Dataset
from qhn.problem.prior import BernoulliPrior
from qhn.problem.likelihood import Gaussian, Likelihood
from qhn.posterior.predictive import (SampledPredictive, log_predictive_density,
                                      log_predictive_density_from_samples, posterior_predictive,
                                      posterior_predictive_from_samples, predictive_uncertainty,
                                      predictive_uncertainty_from_samples)
from qhn.posterior.calibration import (accuracy, brier_score, calibration_errors_by_chance,
                                       expected_calibration_error, log_loss, loo,
                                       out_of_distribution_auroc, reliability, risk_coverage,
                                       success_probability, to_arviz)

RNG = np.random.default_rng(0)
BINN = BiNN((2, 2, 1))    # 9 weights
X = RNG.normal(size=(7, 2))


def distribution(*shape, seed=0): return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.2), shape[:-1])


def networks(n): return np.array(list(itertools.product([1.0, -1.0], repeat=n)))    # wire 0 the most significant bit, +1 first


def answers(binn, w, x):
    "Class probabilities (S, N, n_classes) in plain numpy, for at most one hidden layer, read from the wires unit by unit."
    n_in, n_out, w = binn.layer_sizes[0], binn.layer_sizes[-1], np.asarray(w, float)
    if len(binn.layer_sizes) == 2: logits = w[:, :-n_out].reshape(-1, n_out, n_in) @ x.T
    else:
        units = w[:, :-n_out].reshape(len(w), -1, n_in + 1 + n_out)    # incoming weights, bias, outgoing weights
        logits = units[..., n_in + 1:].swapaxes(1, 2) @ np.tanh(units[..., :n_in] @ x.T + units[..., n_in, None])
    logits = binn.logit_scale * (logits + w[:, -n_out:, None]).swapaxes(1, 2)
    if n_out == 1: logits = np.concatenate([0 * logits, logits], -1)    # a sigmoid is a softmax against a logit of zero
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def compilations(function):
    events = []
    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration": events.append(duration)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try: function()
    finally: jax.monitoring.unregister_event_duration_listener(listen)
    return len(events)


# ---- the mixture of all networks

@pytest.mark.parametrize("layer_sizes", [(3, 1), (2, 3), (1, 2, 1)], ids=str)
@pytest.mark.parametrize("n_points", [1, 7])
def test_mixture_is_the_sum_over_networks(layer_sizes, n_points):
    binn, x = BiNN(layer_sizes), np.random.default_rng(1).normal(size=(n_points, layer_sizes[0]))
    q, total = distribution(2**binn.n_weights), 0
    for share, w in zip(q, networks(binn.n_weights)): total = total + share * answers(binn, w[None], x)[0]
    predictive = posterior_predictive(binn, q, x)
    assert predictive.shape == (n_points, binn.n_classes)
    np.testing.assert_allclose(predictive, total, rtol=1e-12)


def test_logistic_network_in_closed_form():
    x, q = np.random.default_rng(2).normal(size=(5, 2)), distribution(8)
    expected = sum(share / (1 + np.exp(-1.5 * (w[0] * x[:, 0] + w[1] * x[:, 1] + w[2]))) for share, w in zip(q, networks(3)))
    np.testing.assert_allclose(posterior_predictive(BiNN((2, 1), logit_scale=1.5), q, x)[:, 1], expected, rtol=1e-12)


def test_many_batches_give_what_one_gives():
    x, q = np.random.default_rng(3).normal(size=(3001, 2)), distribution(512)    # 16 networks of 512 to a batch
    np.testing.assert_allclose(posterior_predictive(BINN, q, x), np.tensordot(q, answers(BINN, networks(9), x), 1), rtol=1e-12)


def test_leading_axes_are_distributions_of_their_own():
    q = distribution(2, 3, 512)
    together = posterior_predictive(BINN, q, X)
    assert together.shape == (2, 3, 7, 2)
    for i, j in np.ndindex(2, 3): np.testing.assert_allclose(together[i, j], posterior_predictive(BINN, q[i, j], X), rtol=1e-13)


def test_point_mass_predicts_as_its_network():
    some = [0, 5, 511]
    np.testing.assert_allclose(posterior_predictive(BINN, np.eye(512)[some], X), answers(BINN, networks(9)[some], X), rtol=1e-13)


def test_jit_equals_eager_and_precision_follows_the_inputs():
    q = distribution(512)
    np.testing.assert_allclose(jax.jit(lambda q, x: posterior_predictive(BINN, q, x))(q, X), posterior_predictive(BINN, q, X), rtol=1e-13)
    low = posterior_predictive(BINN, jnp.asarray(q, jnp.float32), jnp.asarray(X, jnp.float32))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, posterior_predictive(BINN, q, X), rtol=1e-5)
    assert posterior_predictive(BINN, q, np.ones((3, 2), int)).dtype == jnp.float64


def test_other_data_of_the_same_shape_compile_nothing():
    posterior_predictive(BINN, distribution(4, 512), X)
    assert compilations(lambda: posterior_predictive(BINN, distribution(4, 512, seed=1), X + 1)) == 0


def test_table_of_all_networks_is_never_made():
    binn, shapes = BiNN((16, 1)), [(20, 2**17), (108, 16)]
    compiled = module.mixture.lower(module.votes, binn, *(jax.ShapeDtypeStruct(s, jnp.float64) for s in shapes)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**23 < 2**17 * 108 * 2 * 8 / 20


# ---- from samples

@pytest.mark.parametrize("n_samples, n_points", [(2, 7), (101, 7), (101, 3001), (64, 3001)])
def test_sampled_mean_and_standard_error(n_samples, n_points):
    rng = np.random.default_rng(4)
    w, x = rng.choice([-1.0, 1.0], (n_samples, 9)), rng.normal(size=(n_points, 2))
    p, got = answers(BINN, w, x), posterior_predictive_from_samples(BINN, w, x)
    assert isinstance(got, SampledPredictive)
    np.testing.assert_allclose(got.probs, p.mean(0), rtol=1e-12)
    np.testing.assert_allclose(got.standard_error, p.std(0, ddof=1) / n_samples**0.5, rtol=1e-12, atol=1e-16)


def test_standard_error_survives_single_precision():
    "One dissenter among equals: mean of squares minus square of the mean would lose it."
    binn, x = BiNN((1, 1), logit_scale=1e-3), np.full((1, 1), 2.0)
    w = np.ones((1000, 2)); w[137] = -1
    p = answers(binn, w, x)
    got = posterior_predictive_from_samples(binn, w.astype(np.float32), x.astype(np.float32)).standard_error
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, p.std(0, ddof=1) / 1000**0.5, rtol=1e-3)


def test_sampled_predictive_meets_the_exact_one_within_its_error():
    q, repeats, n_samples = distribution(512), 200, 50
    w = networks(9)[np.random.default_rng(5).choice(512, (repeats, n_samples), p=q)]
    exact = posterior_predictive(BINN, q, X)
    runs = [posterior_predictive_from_samples(BINN, each, X) for each in w]
    means, errors = (np.array(part)[..., 1] for part in zip(*runs))
    assert (np.abs(means.mean(0) - exact[:, 1]) < 4 * means.std(0, ddof=1) / repeats**0.5).all()    # unbiased
    scores = (means - np.asarray(exact)[:, 1]) / errors
    assert 0.85 < (np.abs(scores) < 2).mean() < 0.99    # 95 % for normal errors


def test_650_weights_in_whole_numbers():
    binn = BiNN((64, 10))
    w, x = RNG.choice([-1, 1], (30, 650)).astype(np.int8), RNG.normal(size=(9, 64))
    got = posterior_predictive_from_samples(binn, w, x)
    np.testing.assert_allclose(got.probs, answers(binn, w, x).mean(0), rtol=1e-12)
    np.testing.assert_allclose(got.probs.sum(-1), 1, rtol=1e-12)


def test_sampled_table_is_never_made():
    shapes = [jax.ShapeDtypeStruct(s, jnp.float64) for s in ((1000, 650), (10_000, 64))]
    compiled = module.sampled.lower(module.votes, BiNN((64, 10)), *shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**24 < 1000 * 10_000 * 10 * 8 / 20


# ---- scores

@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_scores_are_those_of_scikit_learn_and_of_the_definition(n_classes):
    p, y = distribution(50, n_classes), np.r_[np.arange(n_classes), RNG.integers(0, n_classes, 50 - n_classes)]
    p = (p + 1e-3) / (1 + n_classes * 1e-3)
    assert log_loss(p, y) == pytest.approx(metrics.log_loss(y, p), rel=1e-12)
    assert log_loss(p, y) == pytest.approx(-sum(np.log(row[label]) for row, label in zip(p, y)) / 50, rel=1e-12)
    assert accuracy(p, y) == sum(max(range(n_classes), key=row.__getitem__) == label for row, label in zip(p, y)) / 50


def test_a_class_missing_from_the_labels_is_still_a_class():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    assert log_loss(p, [0, 0]) == pytest.approx(-np.log(0.7 * 0.1) / 2, rel=1e-12)
    assert log_loss(p, [2, 2]) == pytest.approx(-np.log(0.1 * 0.6) / 2, rel=1e-12)
    assert accuracy(p, [2, 2]) == 0.5


def test_a_data_set_stands_for_its_test_labels():
    y = np.array([0, 2, 1, 0])
    data, p = Dataset(np.eye(3), np.array([2, 0, 1]), np.eye(4)[:, :3], y, "pets", ("ears", "tail", "legs"), ("cat", "dog", "horse")), distribution(4, 3)
    for score in (log_loss, brier_score, accuracy, expected_calibration_error): assert score(p, data) == score(p, y)
    for curve in (reliability, risk_coverage):
        for ours, theirs in zip(curve(p, data), curve(p, y), strict=True): np.testing.assert_array_equal(ours, theirs)


def test_scores_keep_the_leading_axes():
    p, y = distribution(2, 3, 20, 2), RNG.integers(0, 2, 20)
    for score in (log_loss, accuracy, brier_score, expected_calibration_error):
        assert score(p, y).shape == (2, 3) and np.ndim(score(p[0, 0], y)) == 0
        for i, j in np.ndindex(2, 3): assert score(p, y)[i, j] == score(p[i, j], y)


def test_single_precision_scores_without_a_warning():
    p, y = jnp.asarray(distribution(200, 10), jnp.float32), RNG.integers(0, 10, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = log_loss(jnp.maximum(p, 1e-6), y)
    own = np.maximum(np.asarray(p, float), 1e-6)[np.arange(200), y]
    assert got == pytest.approx(-np.log(own).mean(), rel=1e-4)


MARGINS = [1e-3, 1, 36, 60, 87]    # nats; single precision has no normal number below exp(-87.33)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_log_loss_of_a_network_is_minus_its_log_likelihood(dtype, n_classes):
    "However wrong the network is; other classes are a margin less probable than the first, and the label is one of them."
    binn, x, y = BiNN((1, 1 if n_classes == 2 else n_classes)), np.ones((1, 1), dtype), np.array([n_classes - 1])
    w = np.ones((1, binn.n_weights), dtype)
    w[0] = 1 if n_classes == 2 else np.where(np.arange(binn.n_weights) % n_classes < n_classes - 1, 1, -1)
    for margin in MARGINS:
        stubborn = BiNN(binn.layer_sizes, logit_scale=margin / (2 if n_classes == 2 else 4))
        if n_classes == 2: y, expected = np.array([0]), np.logaddexp(0, margin)
        log_p = np.asarray(stubborn.log_probs(w, x)[0])
        assert log_p.dtype == dtype
        cost = -float(stubborn.log_likelihood(w, x, y)[0])
        assert log_loss(np.exp(log_p), y) == pytest.approx(cost, rel=1e-5) and log_loss(log_p, y, log=True) == pytest.approx(cost, rel=1e-5)
        if n_classes == 2: assert cost == pytest.approx(expected, rel=1e-5)


def test_the_smallest_normal_probability_still_counts():
    tiny = np.finfo(np.float32).tiny
    p = np.array([[1, tiny]], np.float32)
    assert log_loss(p, [1]) == pytest.approx(-np.log(float(tiny)), rel=1e-12) and log_loss(p, [1]) > 87.3
    assert log_loss(jnp.asarray(p), [1]) == log_loss(p, [1]) and log_loss(p, [0]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert log_loss([[1.0, 0.0]], [1]) == np.inf and log_loss([[[1.0, 0.0]], [[0.5, 0.5]]], [1]).tolist() == [np.inf, np.log(2)]


def test_log_probabilities_have_no_end():
    logits = np.array([[0, -1000, -3], [-2000, 0, -1]])
    log_p = logits - logsumexp(logits, axis=1, keepdims=True)
    assert log_loss(log_p, [1, 0], log=True) == pytest.approx((1000 + 2000 + logsumexp(logits, axis=1).sum()) / 2, rel=1e-12)
    p = distribution(2, 20, 3)
    np.testing.assert_allclose(log_loss(np.log(p), np.arange(20) % 3, log=True), log_loss(p, np.arange(20) % 3), rtol=1e-9)
    with pytest.raises(ValueError, match="predictive must sum to one"): log_loss(np.log(p) + 0.1, np.arange(20) % 3, log=True)


def test_labels_may_be_truth_values():
    p, y = distribution(30, 2), RNG.integers(0, 2, 30)
    for score in (log_loss, brier_score, accuracy, expected_calibration_error): assert score(p, y.astype(bool)) == score(p, y) == score(p, y.astype(np.uint8))


def test_a_certain_mistake_has_the_largest_brier_score():
    assert brier_score([[1.0, 0.0]], [1]) == 1 and brier_score([[1.0, 0.0, 0.0]], [2]) == 2
    assert expected_calibration_error([[1.0, 0.0]], [1]) == 1


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_brier_score_is_the_mean_squared_distance(n_classes):
    p, y = distribution(50, n_classes), RNG.integers(0, n_classes, 50)
    squares = ((p - np.eye(n_classes)[y])**2).sum(1).mean() / (2 if n_classes == 2 else 1)
    assert brier_score(p, y) == pytest.approx(squares, rel=1e-12)
    assert brier_score(p, y) == pytest.approx(metrics.brier_score_loss(y, p, labels=range(n_classes)), rel=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1), st.sampled_from([0.01, 0.2, 5.0]))
def test_mixture_never_loses_to_its_average_member(seed, concentration):
    rng = np.random.default_rng(seed)
    q, y = rng.dirichlet(np.full(512, concentration)), rng.integers(0, 2, len(X))
    members = -np.log(ALL_ANSWERS[:, np.arange(len(X)), y]).mean(1)
    assert log_loss(posterior_predictive(BINN, q, X), y) <= q @ members + 1e-12


ALL_ANSWERS = answers(BINN, networks(9), X)


# ---- calibration

def honest(n_points, n_classes, seed=0):
    "A forecaster whose labels are drawn from its probabilities."
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_classes), n_points)
    return p, (rng.uniform(size=(n_points, 1)) > p.cumsum(1)[:, :-1]).sum(1)


def error_by_definition(confidence, hit, edges):
    "Bins (a, b], the first with its left edge, in plain Python."
    total = 0
    for k, (a, b) in enumerate(zip(edges, edges[1:])):
        members = [i for i, c in enumerate(confidence) if (a < c or k == 0) and (c <= b or k == len(edges) - 2)]
        total += abs(sum(hit[i] for i in members) - sum(confidence[i] for i in members))
    return total / len(hit)


@pytest.mark.parametrize("n_classes, n_bins", [(2, 15), (3, 4), (10, 1), (2, 200)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_calibration_error_is_its_definition(n_classes, n_bins, adaptive):
    p, y = honest(120, n_classes)
    confidence, hit = p.max(1), p.argmax(1) == y
    inner = np.linspace(0, 1, n_bins + 1)
    edges = np.percentile(confidence, 100 * inner) if adaptive else inner
    assert expected_calibration_error(p, y, n_bins, adaptive) == pytest.approx(error_by_definition(confidence, hit, edges), abs=1e-12)


@pytest.mark.parametrize("adaptive, strategy", [(False, "uniform"), (True, "quantile")])
@pytest.mark.parametrize("n_bins", [1, 5, 40])
@pytest.mark.parametrize("decimals", [1, 16])
def test_diagram_is_that_of_scikit_learn(adaptive, strategy, n_bins, decimals):
    "Also where many claims are equal, or lie on an edge."
    p, y = honest(300, 3)
    one = np.round(p[:, 2], decimals)
    ours = reliability(np.stack([(1 - one) / 2, (1 - one) / 2, one], 1), y, n_bins, adaptive, label=2)
    frequency, confidence = calibration_curve(y == 2, one, n_bins=n_bins, strategy=strategy)
    np.testing.assert_allclose(ours.frequency, frequency, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.confidence, confidence, rtol=0, atol=1e-12)


def test_adaptive_bins_hold_equal_numbers():
    p, y = honest(1500, 2)
    assert set(reliability(p, y, 15, adaptive=True).n_claims) == {100}
    assert reliability(p, y, 15).n_claims.sum() == 1500 and len(reliability(p, y, 15).n_claims) < 15    # none below one half


@pytest.mark.parametrize("adaptive", [False, True])
def test_empty_bins_leave_no_nan(adaptive):
    for p in (np.tile([0.7, 0.3], (9, 1)), np.eye(2)[[0, 1, 1]], [[0.5, 0.5]]):
        y = np.zeros(len(p), int)
        diagram = reliability(p, y, 50, adaptive)
        assert all(np.isfinite(part).all() for part in diagram) and (diagram.n_claims > 0).all() and np.isfinite(diagram.error)
        assert np.isfinite(calibration_errors_by_chance(p, jax.random.key(0), 3, 50, adaptive)).all()


def test_a_perfect_forecaster_has_the_error_of_chance():
    "Its mean over 200 forecasts is that of chance, within four standard errors; no single one can tell, and none is near zero."
    errors, by_chance = [], []
    for seed in range(200):
        p, y = honest(500, 3, seed)
        errors.append(expected_calibration_error(p, y, 10))
        by_chance.append(calibration_errors_by_chance(p, jax.random.key(seed), 20, 10))
    errors, by_chance = np.array(errors), np.array(by_chance)
    difference = errors - by_chance.mean(1)
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / 200**0.5
    assert errors.std() == pytest.approx(by_chance.std(), rel=0.15)
    assert errors.mean() > 3 * errors.std()    # the estimator's bias
    assert (np.abs(errors - by_chance.mean()) < 2 * by_chance.std()).mean() == pytest.approx(0.95, abs=0.04)


def test_error_of_chance_in_closed_form():
    "One bin of N claims of one half: |hits/N - 1/2|, whose mean is known from the binomial distribution."
    p, n = np.full((20, 2), 0.5), 20
    hits = [np.prod([(n - i) / (i + 1) for i in range(k)]) / 2**n for k in range(n + 1)]
    mean = sum(chance * abs(k / n - 0.5) for k, chance in enumerate(hits))
    draws = calibration_errors_by_chance(p, jax.random.key(0), 4000)
    assert abs(draws.mean() - mean) < 4 * draws.std() / 4000**0.5
    assert mean == pytest.approx(np.sqrt(2 / np.pi) * reliability(p, np.zeros(20, int)).spread[0], rel=0.03)


def test_spread_is_how_far_a_calibrated_bin_strays():
    p, _ = honest(400, 2, seed=3)
    frequencies = [reliability(p, (np.random.default_rng(s).uniform(size=400) > p[:, 0]).astype(int), 5).frequency for s in range(500)]
    diagram = reliability(p, np.zeros(400, int), 5)
    np.testing.assert_allclose(np.std(frequencies, axis=0), diagram.spread, rtol=0.12)
    np.testing.assert_allclose(np.mean(frequencies, axis=0), diagram.confidence, atol=4 * diagram.spread.max() / 500**0.5)


def test_too_sure_and_too_timid_are_told_from_chance():
    p, y = honest(2000, 3)
    for power in (0.5, 2):
        wrong = p**power / (p**power).sum(1, keepdims=True)
        for adaptive in (False, True): assert expected_calibration_error(wrong, y, 10, adaptive) > calibration_errors_by_chance(wrong, jax.random.key(0), 100, 10, adaptive).max()


# ---- two kinds of doubt

@pytest.mark.parametrize("layer_sizes", [(3, 1), (2, 3), (1, 2, 1)], ids=str)
def test_doubt_is_entropy_mutual_information_and_spread(layer_sizes):
    binn, x = BiNN(layer_sizes), np.random.default_rng(8).normal(size=(6, layer_sizes[0]))
    q, p = distribution(2, 2**binn.n_weights), answers(binn, networks(binn.n_weights), x)
    got = predictive_uncertainty(binn, q, x)
    for row in range(2):
        mixture = np.tensordot(q[row], p, 1)
        joint = q[row][:, None, None] * p    # of network and label, at each point
        np.testing.assert_allclose(got.total[row], entropy(mixture, axis=-1), rtol=1e-12)
        np.testing.assert_allclose(got.aleatoric[row], q[row] @ entropy(p, axis=-1), rtol=1e-12)
        information = [entropy(joint[:, i].ravel(), np.outer(q[row], mixture[i]).ravel()) for i in range(6)]
        np.testing.assert_allclose(got.epistemic[row], information, atol=1e-12)
        np.testing.assert_allclose(got.spread[row], np.sqrt(np.tensordot(q[row], (p - mixture)**2, 1)), rtol=1e-12)
    assert got.total.shape == (2, 6) and got.spread.shape == (2, 6, binn.n_classes)


def test_a_single_network_is_never_in_two_minds():
    got = predictive_uncertainty(BINN, np.eye(512)[7], X)
    np.testing.assert_allclose(got.epistemic, 0, atol=1e-14)
    np.testing.assert_allclose(got.spread, 0, atol=1e-15)
    np.testing.assert_allclose(got.total, entropy(answers(BINN, networks(9)[7:8], X)[0], axis=-1), rtol=1e-12)


def test_spread_survives_single_precision():
    "Networks that nearly agree: of a mean of squares minus the square of the mean no digit would be left."
    binn, x, q = BiNN((3, 1), logit_scale=1e-3), np.random.default_rng(8).normal(size=(6, 3)).astype(np.float32), distribution(16).astype(np.float32)
    p = answers(binn, networks(4), x.astype(float))
    want = np.sqrt(np.tensordot(q / q.sum(dtype=float), (p - np.tensordot(q / q.sum(dtype=float), p, 1))**2, 1))
    got, low = predictive_uncertainty(binn, q, x).spread, p.astype(np.float32)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-3)
    naive = np.sqrt(np.maximum(np.tensordot(q, low**2, 1) - np.tensordot(q, low, 1)**2, 0))
    assert (np.abs(naive / want - 1) > 0.05).any()


def test_doubt_from_samples_is_that_of_their_mixture():
    w = RNG.choice([-1.0, 1.0], (31, 9))
    p, got = answers(BINN, w, X), predictive_uncertainty_from_samples(BINN, w, X)
    np.testing.assert_allclose(got.total, entropy(p.mean(0), axis=-1), rtol=1e-12)
    np.testing.assert_allclose(got.aleatoric, entropy(p, axis=-1).mean(0), rtol=1e-12)
    np.testing.assert_allclose(got.epistemic, got.total - got.aleatoric, atol=1e-15)
    np.testing.assert_allclose(got.spread, p.std(0, ddof=1), rtol=1e-12)


def test_bias_of_sampled_doubt_is_the_expansion():
    q, S, repeats = distribution(512), 30, 400
    w = networks(9)[np.random.default_rng(9).choice(512, (repeats, S), p=q)]
    epistemic = np.array([predictive_uncertainty_from_samples(BINN, each, X).epistemic for each in w])
    truth, p = predictive_uncertainty(BINN, q, X), np.asarray(posterior_predictive(BINN, q, X))
    bias, error = (epistemic - truth.epistemic).mean(0), epistemic.std(0) / repeats**0.5
    assert (np.abs(bias + (truth.spread**2 / p).sum(-1) / (2 * S)) < 4 * error + 1e-4).all() and (bias > -np.log1p(1 / S)).all() and (bias < 0).all()


def test_extreme_logits_leave_no_nan():
    got = predictive_uncertainty(BiNN((1, 1), logit_scale=1e4), distribution(4), np.ones((2, 1)))
    assert all(np.isfinite(part).all() for part in got)


def test_auroc_counts_pairs():
    familiar, strange = RNG.integers(0, 5, 30).astype(float), RNG.integers(2, 8, 20).astype(float)
    pairs = np.mean([(s > f) + 0.5 * (s == f) for s in strange for f in familiar])
    assert out_of_distribution_auroc(familiar, strange) == pytest.approx(pairs, rel=1e-12)
    assert out_of_distribution_auroc(familiar, familiar) == 0.5 and out_of_distribution_auroc([0.0], [1.0]) == 1


def test_risk_is_the_mistakes_among_the_most_certain():
    p, y = honest(200, 3)
    curve, doubt, wrong = risk_coverage(p, y), 1 - p.max(1), p.argmax(1) != y
    order = np.argsort(doubt)
    np.testing.assert_allclose(curve.risk, [wrong[order[:k]].mean() for k in range(1, 201)], atol=1e-12)
    np.testing.assert_allclose(curve.coverage, np.arange(1, 201) / 200, atol=1e-15)
    assert curve.risk[-1] == pytest.approx(1 - accuracy(p, y), rel=1e-12) and curve.area == pytest.approx(curve.risk.mean())
    assert curve.area < risk_coverage(p, y, -doubt).area


def test_equal_doubts_are_taken_in_random_order():
    p, y = honest(12, 2)
    doubt, rng = np.repeat([0.0, 1.0, 2.0], 4), np.random.default_rng(0)
    wrong = p.argmax(1) != y
    shuffled = [np.cumsum(wrong[np.lexsort((rng.uniform(size=12), doubt))]) / np.arange(1, 13) for _ in range(4000)]
    np.testing.assert_allclose(risk_coverage(p, y, doubt).risk, np.mean(shuffled, axis=0), atol=0.03)
    turned = np.r_[3:0:-1, 0, 4:12]    # another order of the same points
    np.testing.assert_allclose(risk_coverage(p[turned], y[turned], doubt).risk, risk_coverage(p, y, doubt).risk, atol=1e-12)


# ---- ArviZ

def test_arviz_tree_holds_what_the_network_says():
    w, y, prior = RNG.choice([-1.0, 1.0], (2, 50, 9)), np.array([0, 1, 1, 0, 1, 0, 0]), BernoulliPrior(0.7)
    tree = to_arviz(BINN, w, X, y, jax.random.key(0), log_q=np.arange(100.0).reshape(2, 50), prior=prior)
    p = answers(BINN, w.reshape(100, 9), X)
    own = np.log(p[:, np.arange(7), y])
    np.testing.assert_array_equal(tree.posterior["weights"], w)
    np.testing.assert_allclose(tree.log_likelihood["y"], own.reshape(2, 50, 7), rtol=1e-12)
    plus = (w > 0).sum(-1)
    np.testing.assert_allclose(tree.sample_stats["lp"], own.sum(1).reshape(2, 50) + plus * np.log(0.7) + (9 - plus) * np.log(0.3), rtol=1e-12)
    np.testing.assert_array_equal(tree.sample_stats["log_q"], np.arange(100.0).reshape(2, 50))
    np.testing.assert_array_equal(tree.observed_data["y"], y); np.testing.assert_array_equal(tree.constant_data["x"], X)
    assert tree.posterior["weights"].dims == ("chain", "draw", "weight") and tree.log_likelihood["y"].dims == ("chain", "draw", "point")
    labels = np.asarray(to_arviz(BINN, np.repeat(w[0, :1], 4000, 0), X, y, jax.random.key(1)).posterior_predictive["y"])[0]
    np.testing.assert_allclose(labels.mean(0), p[0, :, 1], atol=4 * 0.5 / 4000**0.5)


def test_arviz_diagnostics_and_loo_run_on_it():
    "Leave-one-out from draws of the exact posterior, against leaving one out."
    from arviz_stats import loo, rhat
    binn, rng = BiNN((14, 1), logit_scale=0.3), np.random.default_rng(3)    # many networks in play: smoothing needs draws that differ
    x = rng.normal(size=(10, 14))
    y = (x[:, 0] > 0).astype(int)
    own = np.log(answers(binn, networks(15), x)[:, np.arange(10), y])
    q = np.exp(own.sum(1)) / np.exp(own.sum(1)).sum()
    exact = sum(np.log(np.exp(own.sum(1)) @ np.ones(2**15) / np.exp(own.sum(1) - own[:, i]).sum()) for i in range(10))
    tree = to_arviz(binn, networks(15)[rng.choice(2**15, (4, 500), p=q)], x, y, jax.random.key(0))
    got = loo(tree)
    assert got.elpd == pytest.approx(exact, abs=0.1) and float(got.pareto_k.max()) < 0.7
    assert float(rhat(tree)["weights"].max()) < 1.03


def left_out(own, log_prior):
    "log p(y_i | D without i) by leaving it out: own (2**n, N), log p(w) (2**n,)."
    def evidence(log_l): return logsumexp(log_l + log_prior)
    return np.array([evidence(own.sum(1)) - evidence(np.delete(own, i, 1).sum(1)) for i in range(own.shape[1])])


@pytest.mark.parametrize("layer_sizes, prior", [((2, 2, 1), BernoulliPrior()), ((3, 1), BernoulliPrior(0.8)), ((2, 3), BernoulliPrior(0.3))], ids=str)
def test_loo_over_every_network_is_leaving_one_out(layer_sizes, prior):
    binn, rng = BiNN(layer_sizes), np.random.default_rng(4)
    x, y = rng.normal(size=(9, layer_sizes[0])), rng.integers(0, binn.n_classes, 9)
    every = networks(binn.n_weights)
    own, plus = np.log(answers(binn, every, x)[:, np.arange(9), y]), (every > 0).sum(1)
    log_prior = plus * np.log(prior.prob_plus) + (binn.n_weights - plus) * np.log1p(-prior.prob_plus)
    expected = left_out(own, log_prior)
    exact = loo(binn, None, x, y, prior=prior)
    np.testing.assert_allclose(exact.pointwise, expected, rtol=1e-10)
    assert exact.elpd == pytest.approx(expected.sum(), rel=1e-10) and exact.error == 0 and not exact.pointwise_error.any()
    rest = np.array([np.exp(own.sum(1) - own[:, i] + log_prior) for i in range(9)])
    rest /= rest.sum(1, keepdims=True)
    np.testing.assert_allclose(exact.n_effective, 1 / (rest**2).sum(1), rtol=1e-9)
    uniform = loo(binn, np.concatenate([every, every]), x, y, np.zeros(2 * len(every)), prior)    # every network as draws of a uniform q
    np.testing.assert_allclose(uniform.pointwise, expected, rtol=1e-10)


@pytest.mark.parametrize("from_posterior", [True, False])
def test_loo_from_draws_is_off_by_what_it_says(from_posterior):
    "Over 300 sets of draws, with many copies among them: unbiased to within its error, and the error is the spread of the sets."
    rng = np.random.default_rng(5)
    x, y, every = rng.normal(size=(6, 2)), np.array([0, 1, 1, 0, 1, 0]), networks(9)
    own = np.log(answers(BINN, every, x)[:, np.arange(6), y])
    posterior = np.exp(own.sum(1) - logsumexp(own.sum(1)))
    q = posterior if from_posterior else (posterior**0.5 + 0.02) / (posterior**0.5 + 0.02).sum()
    chosen = rng.choice(512, (300, 400), p=q)
    runs = [loo(BINN, every[rows], x, y, None if from_posterior else np.log(q[rows])) for rows in chosen]
    truth, found = left_out(own, np.zeros(512)), np.array([run.pointwise for run in runs])
    totals, errors = np.array([(run.elpd, run.error) for run in runs]).T
    assert abs(totals.mean() - truth.sum()) < 4 * totals.std() / 300**0.5 + errors.mean()**2    # a logarithm of means is off in second order
    assert errors.mean() == pytest.approx(totals.std(), rel=0.15)
    np.testing.assert_allclose(np.mean([run.pointwise_error for run in runs], 0), found.std(0), rtol=0.15)
    assert all((run.n_effective > 50).all() and (run.n_effective <= 400 + 1e-9).all() for run in runs)


def test_loo_takes_chains_as_one_set_of_draws():
    w, y = RNG.choice([-1.0, 1.0], (2, 50, 9)), np.arange(7) % 2
    for log_q in (None, np.arange(100.0).reshape(2, 50) / 50):
        for one, other in zip(loo(BINN, w, X, y, log_q), loo(BINN, w.reshape(100, 9), X, y, None if log_q is None else log_q.ravel()), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    few = loo(BINN, np.repeat(w[0, :1], 30, 0), X, y)
    np.testing.assert_allclose(few.pointwise, np.log(answers(BINN, w[0, :1], X)[0, np.arange(7), y]), rtol=1e-12)
    np.testing.assert_allclose(few.n_effective, 30, rtol=1e-12)


def test_loo_agrees_with_arviz_where_draws_differ():
    "Without ties, and with mild weights, smoothing changes little."
    from arviz_stats import loo as smoothed
    binn, rng = BiNN((14, 1), logit_scale=0.3), np.random.default_rng(3)
    x = rng.normal(size=(10, 14))
    y = (x[:, 0] > 0).astype(int)
    own = np.log(answers(binn, networks(15), x)[:, np.arange(10), y])
    draws = networks(15)[rng.choice(2**15, (4, 500), p=np.exp(own.sum(1) - logsumexp(own.sum(1))))]
    plain = loo(binn, draws, x, y)
    assert plain.elpd == pytest.approx(smoothed(to_arviz(binn, draws, x, y, jax.random.key(0))).elpd, abs=2 * plain.error)


def test_without_arviz_the_way_to_get_it_is_named(monkeypatch):
    real = builtins.__import__
    def absent(name, *rest):
        if name.startswith("arviz"): raise ImportError(name)
        return real(name, *rest)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r'pip install "qhn\[arviz\]"'): to_arviz(BINN, W, X, np.zeros(7, int), jax.random.key(0))


# ---- one good network

@pytest.mark.parametrize("n_networks", [1, 2, 100])
def test_success_is_one_minus_all_misses(n_networks):
    costs, q = np.array([3.0, 1.0, 1.0099, 1.0101, 2.0, 1.0, 9.0, 1.5]), distribution(8)
    mass = q[1] + q[2] + q[5]
    assert success_probability(q, costs, n_networks=n_networks) == pytest.approx(1 - (1 - mass)**n_networks, rel=1e-12)
    wider = q[[1, 2, 3, 5, 7]].sum()
    assert success_probability(q, costs, 0.5, n_networks) == pytest.approx(1 - (1 - wider)**n_networks, rel=1e-12)


def test_success_is_how_often_the_best_of_the_draws_is_good():
    rng = np.random.default_rng(6)
    costs, q = rng.uniform(1, 1.2, 64), distribution(64, seed=7)
    best = costs[rng.choice(64, (20_000, 5), p=q)].min(1)
    rate = (best <= 1.01 * costs.min()).mean()
    expected = float(success_probability(q, costs, n_networks=5))
    assert 0.02 < expected < 0.98 and abs(rate - expected) < 4 * (expected * (1 - expected) / 20_000)**0.5


def test_success_keeps_its_digits():
    costs = np.array([1.0, 2.0])
    for mass in (1e-3, 1e-12, 1e-18):
        exact = float(1 - (1 - Fraction(mass))**100)
        assert float(success_probability(np.array([mass, 1 - mass]), costs)) == pytest.approx(exact, rel=1e-13)
    low = success_probability(jnp.array([1e-9, 1], jnp.float32), jnp.array(costs, jnp.float32))
    assert low.dtype == jnp.float32 and float(low) == pytest.approx(1e-7, rel=1e-5)
    assert float(success_probability(np.array([1 + 1e-9, 0]), costs)) == 1


def test_least_cost_of_zero_counts_perfect_networks_only():
    assert float(success_probability([0.25, 0.25, 0.5, 0.0], [0.0, 1e-12, 3.0, 0.0], n_networks=1)) == 0.25


def test_success_has_leading_axes_and_jits():
    costs, q = RNG.uniform(1, 2, 16), distribution(3, 2, 16)
    together = success_probability(q, costs)
    assert together.shape == (3, 2)
    for i, j in np.ndindex(3, 2): assert float(together[i, j]) == pytest.approx(float(success_probability(q[i, j], costs)), rel=1e-14)
    np.testing.assert_allclose(jax.jit(success_probability)(q, costs), together, rtol=1e-14)


# ---- bad input

W, Q = np.ones((3, 9)), np.full(512, 1 / 512)
HALVES, SCORES = np.full((2, 2), 0.5), [log_loss, brier_score, accuracy, expected_calibration_error, reliability, risk_coverage]
PETS = Dataset(np.eye(2), np.array([0, 1]), np.eye(2), np.array([1, 2]), "pets", ("ears", "tail"), ("cat", "dog", "horse"))
NAN = np.where(np.arange(512) == 3, np.nan, Q)
ERRORS = [
    (lambda: posterior_predictive(CostTable(np.ones(512)), Q, X), TypeError, "binn must be a BiNN, which predicts at new points, got CostTable"),
    (lambda: posterior_predictive(BINN, Q[:256], X), ValueError, "q must have 2**9 entries along the last axis, one for each network, got shape (256,)"),
    (lambda: posterior_predictive(BINN, 1.0, X), ValueError, "q must have 2**9 entries along the last axis, one for each network, got shape ()"),
    (lambda: posterior_predictive(BiNN((64, 10)), Q, np.ones((2, 64))), ValueError, "use posterior_predictive_from_samples"),
    (lambda: posterior_predictive(BINN, -Q, X), ValueError, "q must hold probabilities, at least 0, got -0.00195"),
    (lambda: posterior_predictive(BINN, NAN, X), ValueError, "q must hold probabilities, at least 0, got nan"),
    (lambda: posterior_predictive(BINN, np.stack([Q, 2 * Q]), X), ValueError, "q must sum to one along the last axis, got a sum of 2"),
    (lambda: posterior_predictive(BINN, Q, X[:, :1]), ValueError, "x must have shape (n_points, 2)"),
    (lambda: posterior_predictive(BINN, Q, X[0]), ValueError, "x must have shape (n_points, n_features), got shape (2,)"),
    (lambda: posterior_predictive(BINN, Q, X[:0]), ValueError, "x must hold at least one point"),
    (lambda: posterior_predictive(BINN, Q, X * np.nan), ValueError, "x must be finite, got x[0, 0]=nan"),
    (lambda: posterior_predictive_from_samples(CostTable(np.ones(512)), W, X), TypeError, "binn must be a BiNN"),
    (lambda: posterior_predictive_from_samples(BINN, W[0], X), ValueError, "weights must have shape (S, n_weights), S at least 2 for a standard error, got shape (9,)"),
    (lambda: posterior_predictive_from_samples(BINN, W[:1], X), ValueError, "S at least 2 for a standard error, got shape (1, 9)"),
    (lambda: posterior_predictive_from_samples(BINN, W[:, :8], X), ValueError, "weights must have n_weights=9 entries"),
    (lambda: posterior_predictive_from_samples(BINN, 0 * W, X), ValueError, "weights must be -1 or +1, got 0.0"),
    (lambda: posterior_predictive_from_samples(BINN, W, X + np.inf), ValueError, "x must be finite"),
    (lambda: posterior_predictive(LINE, np.full(64, 1 / 64), X, log=True), TypeError, "log=True is of class probabilities, got Gaussian(noise=(0.5, 2.0)); use log_predictive_density"),
    (lambda: predictive_uncertainty(LINE, np.full(64, 1 / 64), X), TypeError, "class probabilities need a likelihood of classes"),
    (lambda: log_predictive_density(LINE, np.full(64, 1 / 64), X, np.zeros(7)), ValueError, "y must hold 2 real numbers for each of the 7 rows of x, got shape (7,)"),
    (lambda: log_loss([[0.5, 0.6]], [0]), ValueError, "predictive must sum to one along the last axis, got a sum of 1.1"),
    (lambda: log_loss([[1.2, -0.2]], [0]), ValueError, "predictive must hold probabilities, at least 0, got -0.2"),
    (lambda: log_loss([[np.nan, 1.0]], [0]), ValueError, "predictive must hold probabilities, at least 0, got nan"),
    (lambda: log_loss([0.5, 0.5], [0, 1]), ValueError, "predictive must have shape (..., N, n_classes), at least one point and two classes, got shape (2,)"),
    (lambda: log_loss([[1.0], [1.0]], [0, 0]), ValueError, "at least one point and two classes, got shape (2, 1)"),
    (lambda: log_loss(np.ones((0, 2)), []), ValueError, "at least one point and two classes, got shape (0, 2)"),
    (lambda: log_loss([[0.5, 0.5]], [0, 1]), ValueError, "y must hold one label for each of the 1 points of predictive, got shape (2,)"),
    (lambda: accuracy([[0.5, 0.5]], [2]), ValueError, "y must hold labels 0 to 1 (2 classes), got y[0]=2"),
    (lambda: accuracy([[0.5, 0.5]], [-1]), ValueError, "y must hold labels 0 to 1 (2 classes), got y[0]=-1"),
    (lambda: accuracy([[0.5, 0.5]], [0.0]), ValueError, "y must hold integer labels"),
    (lambda: brier_score([[0.2, 0.9]], [0]), ValueError, "predictive must sum to one along the last axis, got a sum of 1.1"),
    (lambda: expected_calibration_error([[-0.1, 1.1]], [0]), ValueError, "predictive must hold probabilities, at least 0, got -0.1"),
    (lambda: expected_calibration_error(HALVES, [0, 1], n_bins=0), ValueError, "n_bins must be an integer of at least 1, got n_bins=0"),
    (lambda: expected_calibration_error(HALVES, [0, 1], n_bins=2.5), TypeError, "n_bins must be an integer of at least 1, got n_bins=2.5"),
    (lambda: expected_calibration_error(HALVES, [0, 1], label=2), ValueError, "label must be None or a class from 0 to 1, got label=2"),
    (lambda: reliability([HALVES], [0, 1]), ValueError, "predictive must have shape (N, n_classes), one diagram for one prediction, got shape (1, 2, 2)"),
    (lambda: calibration_errors_by_chance([HALVES], jax.random.key(0)), ValueError, "predictive must have shape (N, n_classes), got shape (1, 2, 2)"),
    (lambda: calibration_errors_by_chance(HALVES, jax.random.key(0), 0), ValueError, "n_draws must be an integer of at least 1, got n_draws=0"),
    (lambda: calibration_errors_by_chance(HALVES, jax.random.key(0), label=-1), ValueError, "label must be None or a class from 0 to 1, got label=-1"),
    (lambda: expected_calibration_error(HALVES, [0, 1], label=True), ValueError, "label must be None or a class from 0 to 1, got label=True"),
    (lambda: reliability(HALVES, [0, 1], label=1.0), ValueError, "label must be None or a class from 0 to 1, got label=1.0"),
    (lambda: reliability(HALVES, [0, 1], label=np.array([0, 1])), ValueError, "label must be None or a class from 0 to 1, got label=array"),
    (lambda: calibration_errors_by_chance(HALVES, jax.random.key(0), label="yes"), ValueError, "label must be None or a class from 0 to 1, got label='yes'"),
    (lambda: predictive_uncertainty(BINN, 2 * Q, X), ValueError, "q must sum to one along the last axis, got a sum of 2"),
    (lambda: predictive_uncertainty(BINN, Q[:8], X), ValueError, "q must have 2**9 entries along the last axis"),
    (lambda: predictive_uncertainty_from_samples(BINN, W[:1], X), ValueError, "S at least 2"),
    (lambda: out_of_distribution_auroc([1.0], [np.nan]), ValueError, "strange must hold one finite score a point, got shape (1,)"),
    (lambda: out_of_distribution_auroc([], [1.0]), ValueError, "familiar must hold one finite score a point, got shape (0,)"),
    (lambda: risk_coverage(HALVES, [0, 1], doubt=[1.0]), ValueError, "doubt must hold one number for each of the 2 points, got shape (1,)"),
    (lambda: risk_coverage(HALVES, [0, 1], doubt=[1.0, np.nan]), ValueError, "doubt must hold one number for each of the 2 points"),
    (lambda: risk_coverage([HALVES], [0, 1]), ValueError, "predictive must have shape (N, n_classes), got shape (1, 2, 2)"),
    (lambda: to_arviz(BINN, W[0], X, np.zeros(7, int), jax.random.key(0)), ValueError, "weights must have shape (S, n_weights) or (chains, S, n_weights), got shape (9,)"),
    (lambda: to_arviz(BINN, W, X, np.zeros(7, int), jax.random.key(0), log_q=[0.0]), ValueError, "log_q must have shape (3,), one number for each network, got shape (1,)"),
    (lambda: loo(BINN, W[0], X, np.zeros(7, int)), ValueError, "weights must have shape (S, n_weights) or (chains, S, n_weights), got shape (9,)"),
    (lambda: loo(BINN, W, X, np.zeros(7, int), [0.0]), ValueError, "log_q must have shape (3,), one number for each network, got shape (1,)"),
    (lambda: loo(BINN, 0 * W, X, np.zeros(7, int)), ValueError, "weights must be -1 or +1, got 0.0"),
    (lambda: loo(CostTable(np.ones(512)), None, X, np.zeros(7, int)), TypeError, "binn must be a BiNN"),
    (lambda: to_arviz(BINN, 0 * W, X, np.zeros(7, int), jax.random.key(0)), ValueError, "weights must be -1 or +1, got 0.0"),
    (lambda: to_arviz(BINN, W, X, np.full(7, 2), jax.random.key(0)), ValueError, "y must hold labels 0 to 1 (2 classes), got y[0]=2"),
    *((lambda score=score: score(np.full((2, 3), 1 / 3), PETS), ValueError,
       "y must hold classes seen in training, got y_test[1]=2, class 'horse', of which 'pets' has no training point; train on it") for score in SCORES),
    *((lambda score=score: score(HALVES, PETS), ValueError, "got y_test[1]=2, class 'horse', of which 'pets'") for score in SCORES),
    *((lambda score=score: score(HALVES, [0, 2]), ValueError, "y must hold labels 0 to 1 (2 classes), got y[1]=2") for score in SCORES),
    (lambda: success_probability([0.5, 0.5], [1.0, 2.0, 3.0]), ValueError, "costs must have 2**n entries"),
    (lambda: success_probability([0.5, 0.5], [1.0] * 4), ValueError, "q must have one entry along the last axis for each of the 4 costs, got shape (2,)"),
    (lambda: success_probability([0.5, 0.6], [1.0, 2.0]), ValueError, "q must sum to one along the last axis, got a sum of 1.1"),
    (lambda: success_probability([0.5, 0.5], [-1.0, 2.0]), ValueError, "costs must be negative log-likelihoods, at least 0, got -1.0"),
    (lambda: success_probability([0.5, 0.5], [np.inf, 2.0]), ValueError, "costs must be finite, got inf"),
    (lambda: success_probability([0.5, 0.5], [1.0, 2.0], tolerance=-0.1), ValueError, "tolerance must be at least 0, got tolerance=-0.1"),
    (lambda: success_probability([0.5, 0.5], [1.0, 2.0], tolerance=np.nan), ValueError, "tolerance must be at least 0, got tolerance=nan"),
    (lambda: success_probability([0.5, 0.5], [1.0, 2.0], n_networks=0), ValueError, "n_networks must be at least 1, got n_networks=0"),
]


@pytest.mark.parametrize("call, kind, text", ERRORS, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_named(call, kind, text):
    with pytest.raises(kind) as caught: call()
    assert text in str(caught.value)


def test_loo_of_one_network_does_not_claim_to_be_certain():
    binn, x, y = BiNN((1, 1)), np.array([[0.5], [-1.0]]), np.array([1, 0])
    for draws in (np.ones((1, 2)), np.ones((50, 2))):
        got = loo(binn, draws, x, y)
        assert np.isnan(got.error) and np.isnan(got.pointwise_error).all() and np.isfinite(got.elpd)


@pytest.mark.parametrize("sizes", [(2, 2, 1), (2, 3)])
def test_log_probabilities_of_a_mixture_are_numpys_in_double(sizes):
    "Logits of hundreds: most probabilities are 0 in single precision, none of the logarithms is minus infinity."
    binn, rng = BiNN(sizes, logit_scale=150.), np.random.default_rng(5)
    x, every = rng.normal(size=(7, 2)).astype(np.float32), networks(BiNN(sizes).n_weights)
    log_p = np.asarray(binn.log_probs(every, x.astype(float)))
    few = log_p[:, 0, 0].argsort()[:3]    # three networks that are all far from the class 0 at one point
    q = np.zeros((2, len(every)), np.float32)
    q[0, few], q[1] = (0.5, 0.3, 0.2), distribution(len(every))
    with np.errstate(divide="ignore"): expected = np.stack([np.logaddexp.reduce(np.log(row.astype(float))[:, None, None] + log_p, 0) for row in q])
    assert (np.exp(expected[0]) < 1e-60).any()
    np.testing.assert_allclose(posterior_predictive(binn, q, x, log=True), expected, rtol=1e-5, atol=1e-5)
    drawn = every[rng.choice(few, 40)]
    mean = np.logaddexp.reduce(np.asarray(binn.log_probs(drawn, x.astype(float))), 0) - np.log(40)
    got = posterior_predictive_from_samples(binn, drawn, x, log=True)
    np.testing.assert_allclose(got.probs, mean, rtol=1e-5, atol=1e-5)
    relative = np.exp(np.asarray(binn.log_probs(drawn, x.astype(float))) - mean)
    np.testing.assert_allclose(got.standard_error, relative.std(0, ddof=1) / 40**0.5, rtol=1e-3, atol=1e-5)


def test_leave_one_out_is_refused_before_the_networks_are_made(monkeypatch):
    monkeypatch.setattr("qhn.memory.physical_memory", lambda: 2**30)
    made = []
    monkeypatch.setattr("qhn.posterior.calibration.all_weights", made.append)
    x, y = np.zeros((40, 19)), np.zeros(40, int)    # 2^20 networks at 40 points: 1.9 GiB
    with pytest.raises(ValueError, match="log-likelihoods of 1048576 networks at 40 points would take"): loo(BiNN((19, 1)), None, x, y)
    assert not made


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_predictions_in_half_precision_are_scored(dtype):
    p, y = RNG.dirichlet(np.ones(3), 50), RNG.integers(3, size=50)
    halves = p.astype(dtype)
    assert abs(halves.astype(float).sum(1) - 1).max() > 1e-4    # as rounding leaves them
    np.testing.assert_allclose(log_loss(halves, y), log_loss(p, y), rtol=0.02)
    assert accuracy(halves, y) == (halves.astype(float).argmax(1) == y).mean()
    with pytest.raises(ValueError, match="predictive must sum to one"): log_loss(halves * dtype(1.05), y)


# ---- inside jit, in batches, and of numbers

def test_logarithms_of_a_mixture_work_inside_jit():
    binn, x, q = BiNN((2, 1), logit_scale=100.0), X.astype(np.float32), np.zeros((2, 8), np.float32)
    q[0, :2], q[1] = 0.5, 1 / 8
    eager = posterior_predictive(binn, q, x, log=True)
    np.testing.assert_allclose(jax.jit(lambda q, x: posterior_predictive(binn, q, x, log=True))(q, x), eager, rtol=1e-5)
    assert np.isfinite(eager).all() and (np.asarray(posterior_predictive(binn, q, x)) == 0).any()


@pytest.mark.parametrize("n_samples", [3, 101])
def test_logarithms_from_samples_come_in_batches(n_samples, monkeypatch):
    w, x = np.random.default_rng(6).choice([-1.0, 1.0], (n_samples, 9)), X[:5] * n_samples
    p = answers(BINN, w, x)
    for budget in (1, 2**20):
        monkeypatch.setattr("qhn.problem.bits.BATCH_BYTES", budget)
        jax.clear_caches()
        got = posterior_predictive_from_samples(BINN, w, x, log=True)
        np.testing.assert_allclose(got.probs, np.log(p.mean(0)), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(got.standard_error, (p / p.mean(0)).std(0, ddof=1) / n_samples**0.5, rtol=1e-9)


def test_sampled_logarithms_need_no_table():
    shapes = [jax.ShapeDtypeStruct(s, jnp.float64) for s in ((1000, 650), (10_000, 64))]
    compiled = module._log_sampled.lower(module._log_votes, BiNN((64, 10)), *shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**24 < 1000 * 10_000 * 10 * 8 / 20


LINE = BiNN((2, 2), likelihood=Gaussian((0.5, 2.0)))
OUTPUTS = np.asarray(LINE.logits(networks(6), X))    # (64, 7, 2)


def test_prediction_of_numbers_is_the_mixture_of_normal_distributions():
    q, y = distribution(3, 64), RNG.normal(size=(7, 2))
    got = posterior_predictive(LINE, q, X)
    mean = np.tensordot(q, OUTPUTS, 1)
    variance = np.stack([np.tensordot(row, (OUTPUTS - m)**2, 1) for row, m in zip(q, mean)])
    np.testing.assert_allclose(got.mean, mean, atol=1e-12)
    np.testing.assert_allclose(got.epistemic, np.sqrt(variance), atol=1e-10)
    np.testing.assert_allclose(got.noise, np.broadcast_to([0.5, 2.0], (3, 7, 2)), rtol=1e-12)
    np.testing.assert_allclose(got.std, np.sqrt(variance + [0.25, 4.0]), rtol=1e-10)
    assert not np.any(got.standard_error)
    density = norm.pdf(y, OUTPUTS, (0.5, 2.0)).prod(-1)
    np.testing.assert_allclose(log_predictive_density(LINE, q, X, y), np.log(q @ density), rtol=1e-11)


def test_numbers_from_samples():
    rows = np.random.default_rng(7).integers(64, size=300)
    w, y = networks(6)[rows], np.zeros((7, 2))
    got = posterior_predictive_from_samples(LINE, w, X)
    np.testing.assert_allclose(got.mean, OUTPUTS[rows].mean(0), atol=1e-12)
    np.testing.assert_allclose(got.epistemic, OUTPUTS[rows].std(0, ddof=1), rtol=1e-11)
    np.testing.assert_allclose(got.standard_error, OUTPUTS[rows].std(0, ddof=1) / 300**0.5, rtol=1e-11)
    np.testing.assert_allclose(got.std, np.sqrt(OUTPUTS[rows].var(0, ddof=1) + [0.25, 4.0]), rtol=1e-11)
    density = norm.pdf(y, OUTPUTS[rows], (0.5, 2.0)).prod(-1)
    found = log_predictive_density_from_samples(LINE, w, X, y)
    np.testing.assert_allclose(found.probs, np.log(density.mean(0)), rtol=1e-11)
    np.testing.assert_allclose(found.standard_error, (density / density.mean(0)).std(0, ddof=1) / 300**0.5, rtol=1e-10)


def test_a_density_far_away_keeps_its_digits():
    "Thousands of nats below what a float holds."
    binn = BiNN((1, 1), likelihood=Gaussian(0.01))
    got = log_predictive_density(binn, np.full(4, 0.25, np.float32), np.ones((1, 1), np.float32), np.array([5.0], np.float32))
    want = logsumexp(norm.logpdf(5, [2, 0, 0, -2], 0.01)) - np.log(4)
    assert want < -40_000 and float(got[0]) == pytest.approx(want, rel=1e-5)


def test_density_of_labels_is_the_log_loss():
    q, y = distribution(512), RNG.integers(0, 2, 7)
    assert -float(log_predictive_density(BINN, q, X, y).mean()) == pytest.approx(log_loss(posterior_predictive(BINN, q, X), y), rel=1e-12)


def test_a_likelihood_of_ones_own_predicts():
    @dataclass(frozen=True)
    class Poisson(Likelihood):
        def log_prob(self, outputs, y): return y * outputs[..., 0] - jnp.exp(outputs[..., 0]) - jax.scipy.special.gammaln(y + 1.0)
        def mean(self, outputs): return jnp.exp(outputs)
        def variance(self, outputs): return jnp.exp(outputs)
    binn, q, y = BiNN((2, 1), likelihood=Poisson()), distribution(8), np.arange(7)
    rates = np.exp(np.asarray(binn.logits(networks(3), X)))[..., 0]
    got = posterior_predictive(binn, q, X)
    np.testing.assert_allclose(got.mean[:, 0], q @ rates, rtol=1e-12)
    np.testing.assert_allclose(got.noise[:, 0]**2, q @ rates, rtol=1e-12)
    np.testing.assert_allclose(got.std[:, 0]**2, q @ rates + q @ (rates - q @ rates)**2, rtol=1e-10)
    np.testing.assert_allclose(log_predictive_density(binn, q, X, y), np.log(q @ poisson.pmf(y, rates)), rtol=1e-10)
    np.testing.assert_allclose(loo(binn, None, X, y).pointwise,
                               [np.log(1 / ((w := poisson.pmf(y, rates).prod(1)) / w.sum() / poisson.pmf(y[i], rates[:, i])).sum()) for i in range(7)], rtol=1e-9)


def test_arviz_gets_draws_of_numbers():
    binn = BiNN((2, 1), likelihood=Gaussian(0.5))
    w, y = networks(3)[np.random.default_rng(8).integers(8, size=2000)], np.zeros(7)
    tree = to_arviz(binn, w, X, y, jax.random.key(0))
    outputs = np.asarray(binn.logits(w, X))[..., 0]
    np.testing.assert_allclose(tree.log_likelihood.y.values[0], norm.logpdf(0, outputs, 0.5), rtol=1e-10)
    noise = tree.posterior_predictive.y.values[0] - outputs
    assert noise.std() == pytest.approx(0.5, rel=0.03) and abs(noise.mean()) < 4 * 0.5 / 14_000**0.5
