"""Baselines against enumeration by plain numpy: transition matrices, closed-form natural gradients, hand-made training loops."""
import inspect
from itertools import product as strings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qhn.baselines import chains
from qhn.circuits.ansatz import product
from qhn.baselines.variational import (Bernoulli, Ensemble, NaturalGradient, StraightThrough,
                                       bayes_binn, clipped, mean_field, straight_through)
from qhn.baselines.chains import (LocallyBalanced, balanced_proposal, exhaustive_search, gibbs,
                                  locally_balanced, simulated_annealing)
from qhn.posterior.moves import Sweep, heat_bath, metropolis
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable
from qhn.distributions.base import Independent, LogProb, Samples, Table, Words
from qhn.distributions.born import BornMachine
from qhn.objectives.elbo import KL, exact_posterior
from qhn.problem.prior import BernoulliPrior, Prior
from qhn.inference.estimator import Problem
from qhn.problem.costs import as_target
from qhn.inference.diverged import TrainingDiverged
from qhn.inference.result import FitResult
from qhn.inference.fit import fit

METHODS = [mean_field, bayes_binn, straight_through, simulated_annealing, exhaustive_search, gibbs, locally_balanced]
methods = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
PRIOR = BernoulliPrior(np.array([0.7, 0.4, 0.5]))
X, Y = np.array([[0.5, -1.], [1.5, 0.3], [-0.7, 0.8], [0.2, 0.9], [-1.1, -0.4]]), np.array([1, 1, 0, 0, 1])
NET = BiNN((2, 1))    # logistic regression: weights (w_1, w_2, bias)
KEY = jax.random.key(0)


def networks(n): return np.array(list(strings((1., -1.), repeat=n)))    # wire 0 most significant, bit 0 is +1


def nll(w, x=X, y=Y):
    "Logistic regression by hand, (..., 3) to (...)."
    t = np.where(y == 1, 1, -1) * (w[..., :2] @ x.T + w[..., 2:])
    return np.log1p(np.exp(-t)).sum(-1)


def slope(w, x=X, y=Y):
    "Gradient of `nll`, (..., 3)."
    s = np.where(y == 1, 1, -1)
    t = s * (w[..., :2] @ x.T + w[..., 2:])
    return -(s / (1 + np.exp(t))) @ np.column_stack([x, np.ones(len(x))])


def log_prior(w): return np.log(np.where(w > 0, PRIOR.prob_plus, 1 - PRIOR.prob_plus)).sum(-1)


def joint_of(*log_parts):
    "Normalised exponential of the sum."
    p = np.exp(sum(log_parts))
    return p / p.sum()


def joint(temperature=1.):
    "Exact (8,) posterior of the toy problem; the temperature is the likelihood's."
    return joint_of(-nll(networks(3)) / temperature, log_prior(networks(3)))


def test_bernoulli_is_a_product_of_coins():
    lam = np.array([[0.3, -1.2, 0.]])
    plus = 1 / (1 + np.exp(-2 * lam[0]))
    expected = np.where(networks(3) > 0, plus, 1 - plus).prod(-1)
    q = Bernoulli(3)
    assert q.capabilities == {Samples, LogProb, Table, Words, Independent}
    np.testing.assert_allclose(q.probs(lam), expected, atol=1e-14)
    np.testing.assert_allclose(q.log_prob(lam, networks(3)), np.log(expected), atol=1e-13)
    np.testing.assert_allclose(q.means(lam), expected @ networks(3), atol=1e-14)
    drawn = np.asarray(q.sample(jnp.asarray(lam), KEY, 20_000))
    assert (abs(drawn.mean(0) - expected @ networks(3)) < 4 * drawn.std(0) / 20_000**0.5).all()


def test_ensemble_counts_its_members():
    params = jnp.array([[0.2, -0.1], [3., -4.], [-1., 0.]])    # networks (+,-), (+,-), (-,+)
    e = Ensemble(2, 3)
    assert e.capabilities == {Samples, LogProb, Table, Words}
    np.testing.assert_allclose(e.probs(params), [0, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(np.exp(e.log_prob(params, networks(2))), e.probs(params))
    np.testing.assert_allclose(e.means(params), [1 / 3, -1 / 3])
    drawn = np.asarray(e.sample(params, KEY, 9000))
    assert abs((drawn[:, 0] > 0).mean() - 2 / 3) < 4 * (2 / 9 / 9000)**0.5
    assert ((drawn == [1, -1]).all(1) | (drawn == [-1, 1]).all(1)).all()


@methods
def test_one_interface(method):
    wanted = list(inspect.signature(fit).parameters)
    have = inspect.signature(method).parameters
    assert list(have)[:3] == wanted[1:4] == ["model", "data", "prior"]
    assert {"key", "n_seeds", "n_steps", "progress"} <= have.keys()
    result = method(NET, (X, Y), PRIOR, key=KEY, n_seeds=3, n_steps=5, progress=False)
    assert isinstance(result, FitResult) and result.distribution.can(LogProb)
    assert result.params.shape == (3, *result.distribution.param_shape)
    assert {"loss", "expected_nll", "divergence"} <= result.history.keys()
    assert all(len(v) == 3 for v in result.history.values()) and 0 <= result.best_seed() < 3
    for params in result.params: assert abs(result.distribution.probs(params).sum() - 1) < 1e-12


@methods
def test_the_prior_counts(method):
    "On flat costs the posterior is the prior: its most probable network is known."
    result = method(np.zeros(8) if method not in (straight_through,) else BiNN((2, 1), logit_scale=1e-9), None if method is not straight_through else (X, Y),
                    BernoulliPrior(np.array([0.99, 0.01, 0.99])), key=KEY, n_steps=400, progress=False)
    q = np.mean([result.distribution.probs(p) for p in result.params], 0)
    assert q.argmax() == 0b010


def test_mean_field_is_fit_of_a_product():
    ours = mean_field(NET, (X, Y), PRIOR, key=KEY, n_seeds=2, n_steps=7, progress=False)
    theirs = fit(BornMachine(product(3)), NET, (X, Y), PRIOR, key=KEY, n_seeds=2, n_steps=7, progress=False)
    np.testing.assert_array_equal(ours.params, theirs.params)
    np.testing.assert_array_equal(ours.history["loss"], theirs.history["loss"])


def test_natural_gradient_of_a_table_is_the_closed_form():
    lam, w, costs = np.array([[0.4, -0.9, 0.1]]), networks(3), np.array([3., 1., 4., 1., 5., 9., 2., 6.])
    plus = 1 / (1 + np.exp(-2 * lam[0]))
    q = np.where(w > 0, plus, 1 - plus).prod(-1)
    halves = [(q[w[:, j] == s] / q[w[:, j] == s].sum() @ costs[w[:, j] == s]) for j in range(3) for s in (1, -1)]
    prior_params = np.log(PRIOR.prob_plus / (1 - PRIOR.prob_plus)) / 2
    expected = (np.array(halves[::2]) - np.array(halves[1::2])) / 2 + 0.6 * (lam[0] - prior_params)
    estimate = NaturalGradient()(Problem(Bernoulli(3), as_target(costs), PRIOR, KL(0.6)), jnp.asarray(lam), KEY)
    np.testing.assert_allclose(estimate.gradient[0], expected, atol=1e-13)
    np.testing.assert_allclose(estimate.loss.expected_nll, q @ costs, atol=1e-13)
    np.testing.assert_allclose(estimate.loss.divergence, q @ (np.log(q) - log_prior(w)), atol=1e-13)


def test_bayes_binn_ends_at_the_mean_field_equation():
    costs = -np.random.default_rng(1).normal(size=8)
    result = bayes_binn(costs, None, PRIOR, optimizer=optax.sgd(0.2), key=KEY, n_steps=400, progress=False)
    lam, w = np.asarray(result.params[0, 0]), networks(3)
    for j in range(3):
        others = np.delete(np.where(w > 0, 1, 0) + 0, j, 1)
        q = np.where(others, 1 / (1 + np.exp(-2 * np.delete(lam, j))), 1 / (1 + np.exp(2 * np.delete(lam, j)))).prod(-1) / 2
        field = -(q * np.where(w[:, j] > 0, 1, -1)) @ costs
        assert abs(lam[j] - np.log(PRIOR.prob_plus[j] / (1 - PRIOR.prob_plus[j])) / 2 - field) < 1e-9


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_relaxed_natural_gradient_has_the_mean_of_its_formula(temperature):
    "The expectation over the logistic noise by quadrature, for two weights."
    x, y, lam = np.array([[0.8], [-0.4], [1.5]]), np.array([1, 0, 0]), np.array([0.5, -0.3])
    u = (np.arange(1500) + 0.5) / 1500
    z = (lam[:, None] + np.log(u / (1 - u)) / 2) / temperature
    w = np.stack(np.meshgrid(*np.tanh(z), indexing="ij"), -1)
    s = np.where(y == 1, 1, -1)
    pull = s / (1 + np.exp(s * (w[..., :1] * x[:, 0] + w[..., 1:])))
    raw = -np.stack([pull @ x[:, 0], pull.sum(-1)], -1)
    expected = (raw * (1 - w**2) / temperature / (1 - np.tanh(lam)**2)).mean((0, 1)) + lam
    one = lambda key: NaturalGradient(1000, temperature)(Problem(Bernoulli(2), as_target(BiNN((1, 1)), (x, y)), BernoulliPrior(), KL()), jnp.asarray(lam)[None], key).gradient[0]
    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, 100)))
    assert (abs(found.mean(0) - expected) < 4 * found.std(0, ddof=1) / 10).all()


def test_saturated_weights_keep_a_finite_gradient():
    lam = jnp.array([[40., -40., 0.1]])
    estimate = jax.jit(lambda lam: NaturalGradient(64, 0.5)(Problem(Bernoulli(3), as_target(NET, (X, Y)), BernoulliPrior(), KL()), lam, KEY))(lam)
    assert np.isfinite(estimate.gradient).all() and estimate.gradient[0, 0] > 0 > estimate.gradient[0, 1]    # they decay


def test_straight_through_is_the_loop_by_hand():
    result = straight_through(NET, (X, Y), PRIOR, optimizer=optax.sgd(0.05), clip=0.2, params=np.array([[0.1, -0.15, 0.05]]),
                              key=KEY, n_steps=6, progress=False)
    v, losses, prior_params = np.array([0.1, -0.15, 0.05]), [], np.log(PRIOR.prob_plus / (1 - PRIOR.prob_plus)) / 2
    for _ in range(6):
        w = np.where(v < 0, -1., 1.)
        losses.append(nll(w) - log_prior(w))
        v = np.clip(v - 0.05 * (slope(w) - prior_params), -0.2, 0.2)
    np.testing.assert_allclose(result.params[0, 0], v, atol=1e-14)
    np.testing.assert_allclose(result.history["loss"][0], losses, atol=1e-13)
    assert abs(v).max() == 0.2, "the walls were never met"


def test_minibatch_gradients_are_unbiased_and_know_their_error():
    params = jnp.array([[0.3, -0.1, 0.2]])
    one = lambda key: StraightThrough(batch_size=2)(Problem(Ensemble(3), as_target(NET, (X, Y)), PRIOR, KL()), params, key)
    estimates = jax.jit(jax.vmap(one))(jax.random.split(KEY, 4000))
    w = np.array([1., -1., 1.])
    exact = slope(w) - np.log(PRIOR.prob_plus / (1 - PRIOR.prob_plus)) / 2
    found, losses = np.asarray(estimates.gradient[:, 0]), np.asarray(estimates.loss.loss)
    assert (abs(found.mean(0) - exact) < 4 * found.std(0) / 4000**0.5).all()
    assert abs(losses.mean() - (nll(w) - log_prior(w))) < 4 * losses.std() / 4000**0.5
    np.testing.assert_allclose(np.mean(np.asarray(estimates.info["loss_error"])**2), losses.var(), rtol=0.1)


def test_clipped_is_one_object_per_optimiser():
    optimizer = optax.adam(0.1)
    assert clipped(optimizer, 1.) is clipped(optimizer, 1.)


def single_flips(accept, log_pi, n):
    "(n, 2^n, 2^n) matrices of one proposed flip each, by the acceptance given."
    P = np.zeros((n, 2**n, 2**n))
    for j in range(n):
        for i in range(2**n):
            k = i ^ (1 << (n - 1 - j))
            P[j, i, k] = accept(log_pi[k] - log_pi[i])
            P[j, i, i] = 1 - P[j, i, k]
    return P


@pytest.mark.parametrize("accept, by_hand", [(heat_bath, lambda r: 1 / (1 + np.exp(-r))), (metropolis, lambda r: min(1, np.exp(r)))], ids=["gibbs", "metropolis"])
def test_single_flips_are_in_detailed_balance(accept, by_hand):
    log_pi = np.random.default_rng(0).normal(size=16) * 2
    pi = np.exp(log_pi) / np.exp(log_pi).sum()
    P = single_flips(lambda r: float(accept(jnp.asarray(r))), log_pi, 4)
    np.testing.assert_allclose(P, single_flips(by_hand, log_pi, 4), atol=1e-14)
    for flip in P: np.testing.assert_allclose(pi[:, None] * flip, (pi[:, None] * flip).T, atol=1e-14)
    np.testing.assert_allclose(pi @ np.linalg.multi_dot(P), pi, atol=1e-14)    # a sweep


def balanced_by_hand(gains_of, log_pi, n):
    "Metropolis-Hastings with Barker's weights t / (1 + t), from (2^n, n) gains."
    weights = 1 / (1 + np.exp(-gains_of))
    Q, P = weights / weights.sum(1, keepdims=True), np.zeros((2**n, 2**n))
    for i in range(2**n):
        for j in range(n):
            k = i ^ (1 << (n - 1 - j))
            P[i, k] = Q[i, j] * min(1, np.exp(log_pi[k] - log_pi[i]) * Q[k, j] / Q[i, j])
        P[i, i] = 1 - P[i].sum()
    return P


def exact_gains(log_pi, n): return np.array([[log_pi[i ^ (1 << (n - 1 - j))] - log_pi[i] for j in range(n)] for i in range(2**n)])


def test_locally_balanced_proposals_are_in_detailed_balance():
    log_pi = np.random.default_rng(2).normal(size=16) * 2
    pi, gains = np.exp(log_pi) / np.exp(log_pi).sum(), exact_gains(log_pi, 4)
    log_q = np.array([balanced_proposal(jnp.asarray(g)) for g in gains])
    P = np.zeros((16, 16))
    for i in range(16):
        for j in range(4):
            k = i ^ (8 >> j)
            P[i, k] = np.exp(log_q[i, j]) * float(metropolis(jnp.asarray(gains[i, j] + log_q[k, j] - log_q[i, j])))
        P[i, i] = 1 - P[i].sum()
    np.testing.assert_allclose(P, balanced_by_hand(gains, log_pi, 4), atol=1e-13)
    np.testing.assert_allclose(pi[:, None] * P, (pi[:, None] * P).T, atol=1e-13)


@pytest.mark.parametrize("kernel", [Sweep(heat_bath), Sweep(metropolis), LocallyBalanced(), LocallyBalanced(gradient=True)], ids=["gibbs", "metropolis", "balanced", "gradient"])
def test_one_step_of_each_kernel_has_the_frequencies_of_its_matrix(kernel):
    temperature, w, n_runs = 1.5, networks(3), 20_000
    log_pi = -nll(w) / temperature + log_prior(w)
    if isinstance(kernel, Sweep): P = np.linalg.multi_dot(single_flips(lambda r: 1 / (1 + np.exp(-r)) if kernel.accept is heat_bath else min(1, np.exp(r)), log_pi, 3))
    else:
        linear = 2 * w * (slope(w) / temperature - np.log(PRIOR.prob_plus / (1 - PRIOR.prob_plus)) / 2)
        P = balanced_by_hand(linear if kernel.gradient else exact_gains(log_pi, 3), log_pi, 3)
    np.testing.assert_allclose(joint(temperature) @ P, joint(temperature), atol=1e-13)
    target = as_target(NET, (X, Y))
    def run(start, key): return kernel(target, PRIOR, kernel.start(target, PRIOR, start), key, (temperature, 1.))[0].weights
    ends = jax.jit(jax.vmap(lambda s, keys: jax.vmap(lambda k: run(s, k))(keys)))(jnp.asarray(w), jax.random.split(KEY, (8, n_runs)))
    found = ((np.asarray(ends) < 0) @ [4, 2, 1])[..., None] == np.arange(8)
    assert (abs(found.mean(1) - P) <= 4.5 * np.sqrt(P * (1 - P) / n_runs) + 1e-12).all()


@pytest.mark.parametrize("sampler, options", [(gibbs, {}), (locally_balanced, {}), (locally_balanced, {"gradient": True})], ids=["gibbs", "balanced", "gradient"])
def test_long_chains_have_the_frequencies_of_the_posterior(sampler, options):
    for temperature in (1., 3.):
        result = sampler(NET, (X, Y), PRIOR, temperature=temperature, key=KEY, n_seeds=100, n_steps=400, progress=False, **options)
        assert result.params.shape == (100, 400, 3)
        q = np.array([result.distribution.probs(draws) for draws in result.params])    # (chains, 8)
        assert (abs(q.mean(0) - joint(temperature)) < 4 * q.std(0, ddof=1) / 10).all()
    np.testing.assert_allclose(result.history["expected_nll"][3], nll(np.asarray(result.params[3])), atol=1e-12)
    np.testing.assert_allclose(result.history["divergence"][3], -log_prior(np.asarray(result.params[3])), atol=1e-12)


@pytest.mark.parametrize("sampler", [gibbs, locally_balanced])
def test_temperature_is_the_one_of_exact_posterior(sampler):
    prior = BernoulliPrior(0.7)
    exact = np.asarray(exact_posterior(-nll(networks(3)), prior, temperature=3.))
    whole = joint_of(-nll(networks(3)) / 3, (networks(3) > 0).sum(1) * np.log(0.7 / 0.3) / 3)    # if the prior were tempered too
    result = sampler(NET, (X, Y), prior, temperature=3., key=KEY, n_seeds=100, n_steps=1000, progress=False)
    q = np.asarray(jax.vmap(result.distribution.probs)(result.params))
    error = q.std(0, ddof=1) / 10
    assert (abs(q.mean(0) - exact) < 4 * error).all() and (abs(q.mean(0) - whole) > 8 * error).any()


def test_a_table_and_its_network_give_the_same_chain():
    costs = nll(networks(3))
    ours, theirs = (gibbs(*model, PRIOR, key=KEY, n_steps=50, progress=False) for model in ((NET, (X, Y)), (costs, None)))
    np.testing.assert_array_equal(ours.params, theirs.params)
    np.testing.assert_array_equal(gibbs(CostTable(costs), None, PRIOR, key=KEY, n_steps=50, progress=False).params, theirs.params)


@pytest.mark.parametrize("sampler", [gibbs, locally_balanced])
def test_a_chain_goes_on_where_it_stopped(sampler):
    whole = sampler(NET, (X, Y), PRIOR, key=KEY, n_seeds=2, n_steps=30, progress=False)
    first = sampler(NET, (X, Y), PRIOR, key=KEY, n_seeds=2, n_steps=10, progress=False)
    rest = sampler(NET, (X, Y), PRIOR, state=first.state, n_steps=20, progress=False)
    np.testing.assert_array_equal(np.concatenate([first.params, rest.params], 1), whole.params)
    np.testing.assert_array_equal(np.concatenate([first.history["loss"], rest.history["loss"]], 1), whole.history["loss"])
    assert rest.n_steps == whole.n_steps == 130


@pytest.mark.parametrize("sampler, options", [(gibbs, {}), (locally_balanced, {}), (locally_balanced, {"gradient": True})], ids=["gibbs", "balanced", "gradient"])
def test_a_chain_that_goes_on_elsewhere_forgets_where_it_was(sampler, options):
    "Other data, prior and temperature: the same as a fresh chain put at these networks."
    first = sampler(NET, (X, Y), PRIOR, key=KEY, n_seeds=2, n_steps=10, progress=False, **options)
    data, prior = (3 * X[:4], 1 - Y[:4]), BernoulliPrior(0.8)
    rest = sampler(NET, data, prior, temperature=0.5, state=first.state, n_steps=40, progress=False, **options)
    kernel, target, keys = rest.info["kernel"], as_target(NET, data), first.state.key
    step = jax.jit(jax.vmap(lambda chain, key, k: kernel(target, prior, chain, jax.random.fold_in(key, k), (0.5, 1.))[0], (0, 0, None)))
    fresh = jax.vmap(lambda w: kernel.start(target, prior, w))(first.state.opt_state.weights)
    for k in range(40):
        fresh = step(fresh, keys, 110 + k)
        np.testing.assert_array_equal(rest.params[:, k], fresh.weights)
    np.testing.assert_allclose(rest.history["expected_nll"], nll(np.asarray(rest.params), *data), atol=1e-12)


def test_any_kernel_goes_on_from_any_chain():
    first = locally_balanced(NET, (X, Y), PRIOR, key=KEY, n_seeds=2, n_steps=10, progress=False)
    rest = gibbs(NET, (X, Y), PRIOR, state=first.state, n_steps=20, progress=False)
    np.testing.assert_allclose(rest.history["expected_nll"], nll(np.asarray(rest.params)), atol=1e-12)
    locally_balanced(NET, (X, Y), PRIOR, gradient=True, state=rest.state, n_steps=1, progress=False)
    with pytest.raises(ValueError, match="state must hold networks of the model's 4 weights, got 3"): gibbs(np.zeros(16), state=first.state, progress=False)


def test_exhaustive_search_is_argmin():
    costs = np.random.default_rng(3).normal(size=2**12).round(1)    # rounded: there are ties
    p = np.random.default_rng(4).uniform(0.3, 0.7, 12)
    for prior, log_p in ((BernoulliPrior(), np.zeros(2**12)), (BernoulliPrior(p), np.log(np.where(networks(12) > 0, p, 1 - p)).sum(1))):
        result = exhaustive_search(costs, None, prior, n_seeds=2, progress=False)
        best = np.argmin(costs - log_p)
        np.testing.assert_array_equal(np.asarray(result.params), np.stack([networks(12)[best]] * 2)[:, None])
        assert abs(result.history["expected_nll"][1, -1] - costs[best]) < 1e-12
    blocks = (costs.reshape(4, 1024)).min(1)
    result = exhaustive_search(costs, progress=False)
    np.testing.assert_allclose(result.history["expected_nll"][0], np.minimum.accumulate(blocks))
    np.testing.assert_array_equal(exhaustive_search(costs, n_steps=2, progress=False).params[0, 0], networks(12)[costs[:2048].argmin()])


def test_annealing_finds_the_best_network_and_keeps_it():
    costs = np.random.default_rng(5).normal(size=2**9) * 5
    result = simulated_annealing(costs, key=KEY, n_seeds=4, n_steps=200, progress=False)
    number = (np.asarray(result.params[:, 0]) < 0) @ (1 << np.arange(9)[::-1])
    np.testing.assert_allclose(costs[number], result.history["expected_nll"][:, -1], atol=1e-12)
    assert (np.diff(result.history["loss"], axis=1) <= 0).all() and (number == costs.argmin()).any()
    cold = simulated_annealing(costs, key=KEY, hottest=1e-6, coldest=1e-6, n_steps=50, progress=False)
    end = (np.asarray(cold.params[0, 0]) < 0) @ (1 << np.arange(9)[::-1])
    assert all(costs[end ^ (1 << j)] >= costs[end] for j in range(9)), "a descent ends where no flip helps"


def test_interruption_keeps_what_was_drawn(monkeypatch):
    calls, advance = [], chains._advance
    def stop_at_third(*args):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
        return advance(*args)
    monkeypatch.setattr(chains, "_advance", stop_at_third)
    result = gibbs(NET, (X, Y), PRIOR, n_warmup=0, key=KEY, n_seeds=2, n_steps=5000, progress=False)
    assert result.interrupted and 0 < result.params.shape[1] < 5000 and result.history["loss"].shape == result.params.shape[:2]


def test_interruption_while_records_arrive_leaves_state_and_draws_of_the_same_step(monkeypatch):
    class Stop:
        def __array__(self, *args, **kwargs): raise KeyboardInterrupt
    calls, advance = [], chains._advance
    def stop_at_third(*args):
        calls.append(1)
        state, records = advance(*args)
        return state, (Stop(), *records[1:]) if len(calls) == 3 else records
    monkeypatch.setattr(chains, "_advance", stop_at_third)
    result = gibbs(NET, (X, Y), PRIOR, n_warmup=0, key=KEY, n_seeds=2, n_steps=5000, progress=False)
    assert result.interrupted and result.n_steps == result.params.shape[1] < 5000
    np.testing.assert_array_equal(result.state.opt_state.weights, result.params[:, -1])


def test_second_call_compiles_nothing():
    run = lambda **kw: gibbs(NET, (X, Y), PRIOR, key=KEY, n_seeds=2, progress=False, **kw)
    run(n_steps=3)
    size = chains._advance._cache_size()
    run(n_steps=700, temperature=2.)
    assert chains._advance._cache_size() == size


def test_a_likelihood_that_is_not_a_number_is_named():
    class Broken:
        n_weights = 2
        def log_likelihood(self, weights): return jnp.where(weights[..., 0] < 0, jnp.nan, 0.)
    with pytest.raises(TrainingDiverged, match=r"not finite in chain 0, draw 0") as caught: exhaustive_search(Broken(), progress=False)
    assert caught.value.result.params.shape == (1, 1, 2)
    with pytest.raises(TrainingDiverged, match="not finite at a network drawn from the prior"): simulated_annealing(Broken(), key=KEY, progress=False)


@pytest.mark.parametrize("call, message", [
    (lambda: straight_through(np.zeros(8), key=KEY), "differentiable in real weights"),
    (lambda: locally_balanced(np.zeros(8), gradient=True, key=KEY), "use gradient=False"),
    (lambda: gibbs(np.zeros(8), key=KEY, temperature=np.inf), "temperature must be positive and finite"),
    (lambda: simulated_annealing(np.zeros(8), key=KEY, coldest=-1.), "coldest must be positive"),
    (lambda: exhaustive_search(np.zeros(8), n_steps=0), "n_steps must be an integer of at least 1, got n_steps=0"),
    (lambda: exhaustive_search(np.zeros(8), n_steps="all"), "n_steps must be an integer of at least 1, got n_steps='all'"),
    (lambda: gibbs(np.zeros(8)), "key must be a jax.random.key"),
    (lambda: exhaustive_search(BiNN((64, 10)), (X, Y)), "at most 31 weights"),
    (lambda: gibbs(BiNN((64, 10)), (np.ones((2, 64)), np.array([0, 1])), key=KEY, n_steps=10**12), "fewer n_steps"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message): call()


@pytest.mark.parametrize("method", [bayes_binn, straight_through])
def test_a_prior_that_couples_weights_is_refused_before_anything_runs(method):
    "They read natural parameters, which such a prior has not; `mean_field` takes it."
    class Agreeing(Prior):
        def log_prob(self, weights): return (weights[..., 1:] * weights[..., :-1]).sum(-1) - np.log(8 * np.cosh(1) ** 2)

    x, y = np.random.default_rng(0).normal(size=(6, 2)), np.array([0, 1, 0, 1, 1, 0])
    with pytest.raises(TypeError, match="needs a prior of independent weights with natural_params, got prior=Agreeing; use a BernoulliPrior"):
        method(BiNN((2, 1)), (x, y), Agreeing(), key=KEY, n_steps=2, progress=False)
    assert np.isfinite(mean_field(BiNN((2, 1)), (x, y), Agreeing(), key=KEY, n_steps=2, progress=False).history["loss"]).all()


def test_first_order_gains_refuse_a_prior_that_couples_weights():
    class Agreeing(Prior):
        def log_prob(self, weights): return (weights[..., 1:] * weights[..., :-1]).sum(-1) - np.log(8 * np.cosh(1) ** 2)

    problem = (BiNN((2, 1)), (np.ones((2, 2)), np.array([0, 1])), Agreeing())
    with pytest.raises(TypeError, match=r"locally_balanced\(gradient=True\) needs a prior of independent weights .* or gradient=False"):
        locally_balanced(*problem, gradient=True, key=KEY, n_steps=2, progress=False)
    assert np.isfinite(locally_balanced(*problem, key=KEY, n_steps=2, progress=False).history["loss"]).all()
