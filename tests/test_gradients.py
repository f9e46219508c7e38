"""Gradient estimators against central differences, and against every possible set of samples where that can be listed."""
import itertools
import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from circuits import bits, directional_derivative, numpy_state, quick_jit
from scipy.stats import chi2, entropy

import qhn
import qhn.inference.choice as choice_room
from qhn.circuits.ansatz import Ansatz, Entangler, Rotation, brickwork, product, staircase
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable
from qhn.distributions.base import LogProb, Remote, Samples, Shiftable, Table, Words
from qhn.distributions.born import BornMachine
from qhn.engine.interface import MPS, Dense
from qhn.distributions.base import SampleOnly
from qhn.baselines.variational import Bernoulli, Ensemble
from qhn.objectives.divergences import Renyi, Stein
from qhn.objectives.elbo import KL, Divergence, NoDivergence
from qhn.problem.prior import BernoulliPrior
from qhn.inference.shots import SPSA, ParameterShift
from qhn.inference.gradients import Exact, ScoreFunction
from qhn.inference.estimator import Estimator, Problem, exact_bytes
from qhn.inference.choice import choose_estimator
from qhn.problem.costs import as_target, tabulate
from qhn.inference.fit import fit
from qhn.inference.state import init, step
from qhn.distributions.mixtures import Mixture
from qhn.objectives.mmd import MMD
from qhn.inference.shifts import shift_rule
from qhn.distributions.symmetrised import Symmetrised

KEY = jax.random.key(0)
SAMPLED = (ScoreFunction(4), ParameterShift(4), SPSA(4))
OBJECTIVES = {"MLE": NoDivergence(), "ELBO": KL(0.7), "SELBO": MMD((1.0, 0.6))}
objectives = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def angles(ansatz, seed=0): return np.random.default_rng(seed).uniform(-3, 3, ansatz.param_shape)


def problem(ansatz, seed=1):
    "Random costs in nats and a prior that is not uniform."
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=2**ansatz.n_qubits), rng.uniform(0.2, 0.8, ansatz.n_qubits)


def loop_loss(objective, q, costs, coins):
    "The objectives by their definitions, in numpy."
    n = len(coins)
    strings = 1 - 2 * bits(n)
    prior = np.where(strings > 0, coins, 1 - coins).prod(1)
    if isinstance(objective, NoDivergence): return q @ costs
    if isinstance(objective, KL): return q @ costs + objective.weight * entropy(q, prior)
    distance = (n - strings @ strings.T) / 2
    kept = [w for w in objective.word_weights if 2 * w < n] or [n / 4]
    k = np.mean([(1 - 2 * w / n)**distance for w in kept], axis=0)
    return q @ costs + objective.weight * entropy(prior) / (1 - prior @ k @ prior) * (q - prior) @ k @ (q - prior)


def exact_gradient(objective, ansatz, costs, coins, params):
    "Central differences of the definition, through the plain numpy simulation."
    value = lambda p: loop_loss(objective, abs(numpy_state(ansatz, p))**2, costs, coins)
    units = np.eye(params.size).reshape(-1, *params.shape)
    return np.array([directional_derivative(value, params, u) for u in units]).reshape(params.shape)


def call(estimator, objective, distribution, costs, coins, params, key=KEY, step=0):
    problem = Problem(distribution, as_target(jnp.asarray(costs)), BernoulliPrior(jnp.asarray(coins)), objective)
    return estimator(estimator.prepare(problem), jnp.asarray(params), key, step)


def about(distribution, objective, target=None): return Problem(distribution, target, BernoulliPrior(), objective)


# ---------------------------------------------------------------- what is differentiated

@dataclass(frozen=True)
class Ising:
    "A model of the user's own, no pytree: a chain of couplings."
    n_weights: int
    def log_likelihood(self, weights, fields): return (weights[..., 1:] * weights[..., :-1]).sum(-1) + weights @ fields


def test_any_model_becomes_costs_and_a_table():
    fields = np.array([0.5, -1.0, 2.0])
    want = -np.array([w[0] * w[1] + w[1] * w[2] + w @ fields for w in 1 - 2 * bits(3)])
    strings = jnp.asarray(1.0 - 2 * bits(3))
    for target in (as_target(Ising(3), (fields,)), as_target(jnp.asarray(want)), as_target(CostTable(jnp.asarray(want)))):
        np.testing.assert_allclose(target.costs(strings), want, rtol=1e-12)
        np.testing.assert_allclose(tabulate(target).model.costs, want, rtol=1e-12)
        np.testing.assert_allclose(tabulate(target).costs(strings), want, rtol=1e-12)
    x, y, net = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 2, BiNN((2, 1))
    logits = x @ (1 - 2 * bits(3))[:, :2].T + (1 - 2 * bits(3))[:, 2]
    np.testing.assert_allclose(tabulate(as_target(net, (x, y))).model.costs, np.log1p(np.exp(np.where(y[:, None] == 1, -logits, logits))).sum(0), rtol=1e-12)


def test_other_data_of_the_same_shape_trace_nothing_new():
    traces = []
    @jax.jit
    def costs(target):
        traces.append(1)
        return target.costs(jnp.ones((1, 3)))
    for fields in ([1.0, 2.0, 3.0], [0.0, 0.0, 5.0]):
        assert float(costs(as_target(Ising(3), (np.array(fields),)))[0]) == pytest.approx(-2 - sum(fields))
    assert len(traces) == 1


# ---------------------------------------------------------------- exact

@objectives
@pytest.mark.parametrize("ansatz", [staircase(3, 1), Ansatz(3, (Rotation("RX"), Entangler("CNOT", ((2, 0),)), Rotation("RY"), Entangler("CZ", ((0, 1),)), Rotation("RX")))],
                         ids=["staircase", "long range"])
def test_exact_is_the_central_difference(ansatz, objective):
    params, (costs, coins) = angles(ansatz), problem(ansatz)
    got = quick_jit(lambda p: call(Exact(), objective, BornMachine(ansatz), costs, coins, p))(params)
    np.testing.assert_allclose(got.gradient, exact_gradient(objective, ansatz, costs, coins, params), atol=1e-8)
    assert float(got.loss.loss) == pytest.approx(loop_loss(objective, abs(numpy_state(ansatz, params))**2, costs, coins), rel=1e-11)
    assert got.info["loss_error"] == 0


@pytest.mark.parametrize("estimator, objective", [(Exact(), KL), *((e, MMD) for e in SAMPLED)],
                         ids=lambda x: getattr(x, "__name__", type(x).__name__))
def test_a_scheduled_weight_is_read_at_the_step(estimator, objective):
    ansatz = product(2)
    params, (costs, coins) = angles(ansatz), problem(ansatz)
    scheduled, fixed = objective(weight=optax.linear_schedule(0.0, 2.0, 10)), objective(weight=0.6)
    one, other = quick_jit(lambda step: [call(estimator, o, BornMachine(ansatz), costs, coins, params, KEY, step) for o in (scheduled, fixed)])(3)
    np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-9, atol=1e-12)
    assert float(one.loss.loss) == pytest.approx(float(other.loss.loss), rel=1e-10)


# ---------------------------------------------------------------- score function

@dataclass(frozen=True)
class Given(Samples, LogProb, Table):
    "A machine whose samples are dictated."
    machine: BornMachine
    weights: jax.Array
    n_qubits, param_shape = property(lambda self: self.machine.n_qubits), property(lambda self: self.machine.param_shape)
    def _probs(self, params): return self.machine.probs(params)
    def _log_prob(self, params, weights): return self.machine.log_prob(params, weights)
    def _sample(self, params, key, n_samples): return self.weights


@objectives
def test_the_score_function_is_exactly_unbiased(objective):
    "The mean over every possible set of m samples, each weighted by its probability, is the gradient; so is that of the loss."
    ansatz, m = staircase(2, 1), 4
    params, (costs, coins), strings = angles(ansatz, 2), problem(ansatz), 1.0 - 2 * bits(2)
    q = abs(numpy_state(ansatz, params))**2
    sets = np.array(list(itertools.product(range(4), repeat=m)))
    every = quick_jit(jax.vmap(lambda w: call(ScoreFunction(m), objective, Given(BornMachine(ansatz), w), costs, coins, params)))(strings[sets])
    chance = q[sets].prod(1)
    np.testing.assert_allclose(np.tensordot(chance, every.gradient, 1), exact_gradient(objective, ansatz, costs, coins, params), atol=1e-8)
    assert chance @ every.loss.loss == pytest.approx(loop_loss(objective, q, costs, coins), rel=1e-10)


def repeated(estimator, ansatz, params, n):
    "The estimate of every objective n times, from the same keys."
    costs, coins = problem(ansatz)
    one = lambda key: {name: call(estimator, o, BornMachine(ansatz), costs, coins, params, key) for name, o in OBJECTIVES.items()}
    runs = quick_jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(jax.random.split(jax.random.key(1), n))
    return [(name, OBJECTIVES[name], run) for name, run in runs.items()]


def z_scores(values, exact): return (np.mean(values, 0) - exact) / (np.std(values, 0, ddof=1) / math.sqrt(len(values)) + 1e-12)


def p_value(values, exact):
    "Of Hotelling's T²: the components of a gradient are correlated, and some are no degree of freedom of their own."
    off, covariance = np.mean(values, 0).ravel() - np.ravel(exact), np.cov(np.reshape(values, (len(values), -1)).T) / len(values)
    return chi2.sf(off @ np.linalg.pinv(covariance, rcond=1e-10, hermitian=True) @ off, np.linalg.matrix_rank(covariance, tol=1e-10 * np.trace(covariance), hermitian=True))


def test_parameter_shift_is_unbiased_within_four_standard_errors():
    "Few samples in each of many repetitions: a bias of order 1/samples would stand out."
    ansatz = staircase(3, 1, final_rz=False)
    params, (costs, coins) = angles(ansatz, 3), problem(ansatz)
    for name, objective, runs in repeated(ParameterShift(4), ansatz, params, 4000):
        z = z_scores(runs.gradient, exact_gradient(objective, ansatz, costs, coins, params))
        assert abs(z).max() < 4 and (z**2).mean() < 2, name
        assert abs(z_scores(runs.loss.loss, loop_loss(objective, abs(numpy_state(ansatz, params))**2, costs, coins))) < 4, name


def test_the_score_function_is_unbiased_and_its_reported_error_is_the_scatter_of_the_loss():
    ansatz = staircase(2, 1, final_rz=False)
    params, (costs, coins) = angles(ansatz, 3), problem(ansatz)
    for name, objective, runs in repeated(ScoreFunction(32), ansatz, params, 2000):
        assert p_value(runs.gradient, exact_gradient(objective, ansatz, costs, coins, params)) > 1e-4, name
        claimed = math.sqrt((np.asarray(runs.info["loss_error"])**2).mean())
        assert np.std(runs.loss.loss, ddof=1) == pytest.approx(claimed, rel=0.15), name


@dataclass(frozen=True)
class Dictated(BornMachine):
    "A circuit whose samples are dictated, with all that it knows besides."
    weights: jax.Array = None
    def _sample_and_log_prob(self, params, key, n_samples): return self.weights, self.log_prob(params, self.weights)


POINTS = np.array([[0.4], [-1.3], [2.2], [0.7]]), np.array([1, 1, 0, 1])
ANSATZ, COINS = staircase(2, 1), np.array([0.3, 0.8])


def point_costs():
    "Of the four networks with one weight and one bias, by hand."
    strings = 1 - 2 * bits(2)
    logits = POINTS[0] * strings[:, 0] + strings[:, 1]
    return np.log1p(np.exp(np.where(POINTS[1][:, None] == 1, -logits, logits))).sum(0)


@pytest.mark.parametrize("options", [{}, {"analytic": True}, {"slope": True}, {"analytic": True, "slope": True}], ids=["sampled", "analytic", "slope", "both"])
def test_minibatches_known_parts_and_slopes_are_exactly_unbiased(options, monkeypatch):
    "The mean over every set of samples and every choice of two of four points, for all objectives at a prior that is not uniform."
    params, target, prior = angles(ANSATZ, 2), as_target(BiNN((1, 1)), POINTS), BernoulliPrior(jnp.asarray(COINS))
    q, strings = abs(numpy_state(ANSATZ, params))**2, 1.0 - 2 * bits(2)
    sets, batches = np.array(list(itertools.product(range(4), repeat=3))), np.array(list(itertools.combinations(range(4), 2)))
    estimator = ScoreFunction(3, batch_size=2, **options)
    def one(weights, chosen):
        with monkeypatch.context() as patch:
            patch.setattr(jax.random, "choice", lambda key, n, shape, replace: chosen)
            return [estimator(Problem(Dictated(ANSATZ, weights=weights), target, prior, o), jnp.asarray(params), KEY) for o in OBJECTIVES.values()]
    every = quick_jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(strings[sets], batches)
    for objective, got in zip(OBJECTIVES.values(), every):
        gradient, loss = (np.tensordot(q[sets].prod(1), np.asarray(value).mean(1), 1) for value in (got.gradient, got.loss.loss))
        np.testing.assert_allclose(gradient, exact_gradient(objective, ANSATZ, point_costs(), COINS, params), atol=1e-8)
        assert loss == pytest.approx(loop_loss(objective, q, point_costs(), COINS), rel=1e-10)


@dataclass(frozen=True)
class Linear:
    "Costs that are a sum over weights."
    n_weights: int
    def log_likelihood(self, weights, slopes): return -weights @ slopes[0]


def test_the_slope_leaves_no_noise_in_a_linear_cost():
    params, slopes = jnp.asarray(angles(ANSATZ, 2)), np.array([0.7, -1.9])
    got = ScoreFunction(4, slope=True)(about(BornMachine(ANSATZ), NoDivergence(), as_target(Linear(2), (slopes[None],))), params, KEY)
    costs = (1 - 2 * bits(2)) @ slopes
    np.testing.assert_allclose(got.gradient, exact_gradient(NoDivergence(), ANSATZ, costs, COINS, params), atol=1e-8)
    assert float(got.info["loss_error"]) < 1e-12 and float(got.loss.loss) == pytest.approx(abs(numpy_state(ANSATZ, params))**2 @ costs)


def test_the_slope_asks_for_real_weights():
    with pytest.raises(TypeError, match="model must be differentiable in real weights.*use slope=False"): ScoreFunction(slope=True).prepare(about(machine, KL(), as_target(CostTable(jnp.zeros(4)))))


def test_the_error_of_a_minibatch_loss_covers_its_scatter_and_is_it_with_many_samples():
    "The spread of the points' mean costs contains noise of the samples, so few of them make the error a little too large."
    params, target, prior = jnp.asarray(angles(ANSATZ, 2)), as_target(BiNN((1, 1)), POINTS), BernoulliPrior(jnp.asarray(COINS))
    few, many = ScoreFunction(64, batch_size=2), ScoreFunction(2000, batch_size=2, analytic=True)
    one = lambda key: [e(Problem(BornMachine(ANSATZ), target, prior, KL()), params, key) for e in (few, many)]
    both = quick_jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(jax.random.split(jax.random.key(5), 2000))
    for estimator, runs in zip((few, many), both):
        ratio = np.std(runs.loss.loss, ddof=1) / math.sqrt((np.asarray(runs.info["loss_error"])**2).mean())
        assert ratio < 1.05 and (estimator == few or ratio > 0.95)
        assert abs(z_scores(runs.loss.loss, loop_loss(KL(), abs(numpy_state(ANSATZ, params))**2, point_costs(), COINS))) < 4


def test_the_estimator_is_chosen_by_what_there_is_and_what_it_costs(monkeypatch):
    def choice(distribution, **kwargs):
        target = as_target(Ising(distribution.n_qubits), (np.ones(distribution.n_qubits),))
        return choose_estimator(about(distribution, NoDivergence(), target), **kwargs)
    assert choice(BornMachine(staircase(5, 1)))[0] == Exact()
    for n in (40, 650, 2000): assert choice(BornMachine(staircase(n, 1)))[0] == ScoreFunction()    # 2^2000 is beyond a float
    assert choice(BornMachine(staircase(650, 1)), n_steps=np.int64(500))[0] == ScoreFunction()
    assert choice(SampleOnly(BornMachine(staircase(5, 1)))) == (ParameterShift(), {"reason": "the distribution gives samples only"})
    near = BornMachine(staircase(10, 1))
    assert choice(near)[0] == Exact()
    monkeypatch.setattr(choice_room, "physical_memory", lambda: 2**10 * 8 * 11)    # a table, two seeds of five
    assert choice(near, n_seeds=2)[0] == Exact()
    estimator, info = choice(near, n_seeds=3)
    assert estimator == ScoreFunction() and info["reason"] == "all probabilities would not fit in memory"


PLANNED = {"mps": (BornMachine(staircase(17, 2), MPS), (1, 3)), "dense": (BornMachine(staircase(17, 2), Dense), (1, 3)),
           "mixture": (Mixture(BornMachine(staircase(16, 1)), 3), (1,)), "products": (Mixture(BornMachine(product(17)), 8), (1,)),
           "symmetrised": (Symmetrised(BornMachine(staircase(16, 1)), BiNN((3, 3, 1))), (1,))}


@pytest.mark.parametrize("machine, seeds", PLANNED.values(), ids=PLANNED)
def test_the_memory_of_an_exact_step_is_what_the_compiler_plans(machine, seeds):
    n, optimizer = machine.n_qubits, optax.adam(0.05)
    for n_seeds in seeds:
        state = init(machine, optimizer, KEY, n_seeds, params=jnp.zeros(machine.param_shape))
        problem = about(machine, KL(), as_target(jnp.zeros(2**n)))
        account = jax.jit(step, static_argnums=(1, 2)).lower(problem, Exact(), optimizer, state).compile().memory_analysis()
        planned = account.temp_size_in_bytes + account.argument_size_in_bytes
        assert 0.95 * planned < exact_bytes(machine, n_seeds) < 1.7 * planned


def test_the_score_function_reaches_a_thousand_weights():
    ansatz, fields = brickwork(1000, 4), np.random.default_rng(4).normal(size=1000)
    target, params = as_target(Ising(1000), (fields,)), ansatz.init(KEY, noise=0.1)
    got = quick_jit(lambda p: ScoreFunction(4)(about(BornMachine(ansatz), KL(), target), p, KEY))(params)
    assert np.isfinite(got.gradient).all() and np.isfinite(got.loss.loss)
    assert np.abs(got.gradient[:-1]).max() > 0 and np.abs(got.gradient[-1]).max() < 1e-9    # the last RZ row


# ---------------------------------------------------------------- samples alone

def test_spsa_is_its_difference_quotient_within_four_standard_errors():
    "Its mean over samples and signs, with the bias of a finite step and all: every sign vector, through the numpy simulation."
    ansatz, c = Ansatz(2, (Rotation("RY"), Entangler("CNOT", ((0, 1),)), Rotation("RY"))), 0.3
    params, (costs, coins) = angles(ansatz, 5), problem(ansatz)
    signs = np.array(list(itertools.product((-1, 1), repeat=4)))
    for name, objective, runs in repeated(SPSA(32, c, n_directions=2), ansatz, params, 2000):
        value = lambda p: loop_loss(objective, abs(numpy_state(ansatz, p))**2, costs, coins)
        want = np.mean([(value(params + c * d) - value(params - c * d)) / (2 * c) * d for d in signs], axis=0)
        assert abs(z_scores(runs.gradient, want)).max() < 4, name
        midpoint = np.mean([(value(params + c * d) + value(params - c * d)) / 2 for d in signs])
        assert abs(z_scores(runs.loss.loss, midpoint)) < 4, name


def test_spsa_reads_a_scheduled_step():
    ansatz = product(2)
    params, (costs, coins) = angles(ansatz), problem(ansatz)
    decaying = SPSA(16, lambda step: 0.4 / (1 + step))
    a, b = quick_jit(lambda p: [call(e, NoDivergence(), BornMachine(ansatz), costs, coins, p, KEY, 3) for e in (decaying, SPSA(16, 0.1))])(params)
    np.testing.assert_allclose(a.gradient, b.gradient, rtol=1e-10)


def test_common_random_numbers_take_noise_out_of_the_difference():
    ansatz = staircase(3, 1)
    params, (costs, coins) = angles(ansatz, 6), problem(ansatz)
    truth, noise = exact_gradient(MMD((1.0,)), ansatz, costs, coins, params), {}
    for common in (False, True):
        estimator = SPSA(64, 0.1, common=common)
        def run(key): return estimator.settings(BornMachine(ansatz), jnp.asarray(params), key)[0], call(estimator, MMD((1.0,)), BornMachine(ansatz), costs, coins, params, key).gradient
        settings, got = map(np.asarray, quick_jit(lambda keys: jax.lax.map(run, keys))(jax.random.split(KEY, 1000)))
        signs = np.sign(settings - params)
        residuals = got[:, 0] * signs[:, 0] - (signs * truth).sum(1)    # slope along the direction, less the true one
        noise[common] = residuals.std()
        assert abs(residuals.mean()) < 4 * noise[common] / np.sqrt(1000) + 0.02    # and the bias of c = 0.1
    assert noise[True] < 0.7 * noise[False]


# ---------------------------------------------------------------- samples from outside

@pytest.mark.parametrize("estimator, error", [(ParameterShift(40), 4), (SPSA(40, n_directions=3), 4)], ids=["ParameterShift", "SPSA"])
def test_settings_and_estimate_are_the_call_in_two_parts(estimator, error):
    "Samples drawn in numpy at the settings give the same mean gradient as the call."
    ansatz, rng = staircase(2, 1), np.random.default_rng(0)
    params, (costs, coins) = angles(ansatz, 7), problem(ansatz)
    machine, prior, target = BornMachine(ansatz), BernoulliPrior(jnp.asarray(coins)), as_target(jnp.asarray(costs))
    strings = 1.0 - 2 * bits(2)
    of_key = jax.jit(lambda key: estimator.settings(machine, jnp.asarray(params), key))
    estimate = quick_jit(lambda samples, key: estimator.estimate(Problem(machine, target, prior, MMD((0.6,))), jnp.asarray(params), samples, key))
    gradients = []
    for key in jax.random.split(KEY, 400):
        settings = np.asarray(of_key(key))
        q = [abs(numpy_state(ansatz, p))**2 for p in settings]
        gradients.append(estimate(jnp.asarray(np.stack([strings[rng.choice(4, 40, p=p / p.sum())] for p in q])), key).gradient)
    runs = quick_jit(lambda keys: jax.lax.map(lambda k: call(estimator, MMD((0.6,)), machine, costs, coins, params, k), keys))(jax.random.split(jax.random.key(1), 2000))
    outside, inside = np.array(gradients), np.asarray(runs.gradient)
    se = np.sqrt(outside.var(0, ddof=1) / 400 + inside.var(0, ddof=1) / 2000) + 1e-12
    assert abs((outside.mean(0) - inside.mean(0)) / se).max() < error
    np.testing.assert_allclose(outside.std(0), inside.std(0), rtol=0.25)    # the same noise as well


def test_parameter_shift_spends_nothing_on_angles_that_no_bit_can_see():
    ansatz = staircase(3, 1)
    unseen = lambda ansatz: [k for k, f in enumerate(ansatz.frequencies) if not f]
    assert unseen(ansatz) == [9, 10, 11] and unseen(staircase(3, 1, final_rz=False)) == []
    assert unseen(Ansatz(2, (Rotation("RY"), Rotation("RZ"), Entangler("CNOT", ((0, 1),)), Rotation("RZ")))) == [2, 3, 4, 5]
    settings = ParameterShift(4).settings(BornMachine(ansatz), jnp.zeros(12), KEY)
    turns = np.asarray(settings).reshape(len(settings), 12)
    want = np.concatenate([np.zeros((1, 12)), np.pi / 2 * np.eye(12)[:9], -np.pi / 2 * np.eye(12)[:9]])
    np.testing.assert_allclose(turns, want, atol=1e-12)


# ---------------------------------------------------------------- all of them

@pytest.mark.parametrize("estimator", SAMPLED, ids=lambda e: type(e).__name__)
def test_same_key_same_bytes_in_a_batch_too(estimator):
    ansatz = product(2)
    params, (costs, coins) = angles(ansatz), problem(ansatz)
    one = lambda key: call(estimator, KL(), BornMachine(ansatz), costs, coins, params, key).gradient
    compiled, key, other = quick_jit(jax.vmap(one)), *jax.random.split(KEY)
    first, second = np.asarray(compiled(jnp.stack([key, other, key]))), np.asarray(compiled(jnp.stack([key, key, other])))
    assert first[0].tobytes() == first[2].tobytes() == second[0].tobytes() == second[1].tobytes()
    assert first[1].tobytes() == second[2].tobytes() != first[0].tobytes()


@pytest.mark.parametrize("estimator", (Exact(), *SAMPLED), ids=lambda e: type(e).__name__)
def test_a_single_qubit_and_single_precision(estimator):
    with jax.enable_x64(False):
        target, machine = as_target(jnp.array([1.0, 2.0])), BornMachine(product(1))
        one = lambda objective, p: estimator(estimator.prepare(Problem(machine, target, BernoulliPrior(0.3), objective)), p, KEY)
        for got in quick_jit(lambda p: [one(o, p) for o in OBJECTIVES.values()])(jnp.array([0.9])):
            assert got.gradient.shape == (1,) and got.gradient.dtype == got.loss.loss.dtype == jnp.float32
            assert np.isfinite(got.gradient).all() and np.isfinite(got.loss.loss)


# ---------------------------------------------------------------- what is refused

@dataclass(frozen=True)
class Controlled(BornMachine):
    "As if its rotations had a control, whose angles have two frequencies."
    @property
    def frequencies(self): return ((0.5, 1.0),) * self.n_qubits


@dataclass(frozen=True)
class NoMeans(BornMachine):
    "A circuit that hides its words."
    @property
    def capabilities(self): return super().capabilities - {Words}


machine = BornMachine(product(2))
device = SampleOnly(machine)
x, y = np.zeros((3, 2)), np.array([0, 1, 1])
WRONG_KIND = {
    "ELBO of a device": (lambda: ParameterShift().check(about(device, KL())), "KL needs an explicit distribution with log_prob, got SampleOnly, which only gives samples; use MMD()"),
    "ELBO of a device, SPSA": (lambda: SPSA().check(about(device, KL())), "use MMD() or NoDivergence(), for which samples suffice"),
    "exact from a device": (lambda: Exact().check(about(device, MMD())), "Exact() needs the probabilities of all networks, got SampleOnly, which only gives samples; use ParameterShift() or SPSA()"),
    "Rényi's bound from samples": (lambda: ScoreFunction().check(about(machine, Renyi())), "Renyi needs the probabilities of all networks, which ScoreFunction() does not ask for; use Exact()"),
    "Stein's discrepancy of a device": (lambda: SPSA().check(about(device, Stein())), "use MMD() or NoDivergence(), for which samples suffice"),
    "shifts of log odds": (lambda: ParameterShift().check(about(SampleOnly(Bernoulli(2)), MMD())), "got SampleOnly, which does not say its own (Shiftable); use SPSA()"),
    "the exact MMD of a mixture": (lambda: ScoreFunction(analytic=True).check(about(Mixture(machine, 2), MMD())), "analytic=True needs an exact MMD (ClosedMMD) for MMD, got Mixture; use analytic=False"),
    "a slope without means": (lambda: ScoreFunction(slope=True).check(about(NoMeans(product(2)), KL())), "slope=True needs a distribution with means, got NoMeans; use slope=False"),
    "score of a device": (lambda: ScoreFunction().check(about(device, NoDivergence())), "ScoreFunction() needs an explicit distribution with log_prob, got SampleOnly"),
    "objective by name": (lambda: SPSA().check(about(machine, "ELBO")), "objective must be NoDivergence(), KL(), MMD() or alike, got 'ELBO'"),
    "a schedule without a device": (lambda: SPSA(lambda step: 100).check(about(device, MMD())), "n_samples may be a schedule only where the distribution has sample_batch, as a device has, got SampleOnly; give an integer"),
    "no model": (lambda: as_target("net"), "model must have log_likelihood and n_weights, or be an array of 2**n costs, got str"),
    "matrix of costs": (lambda: as_target(jnp.ones((2, 2))), "model must have log_likelihood and n_weights, or be an array of 2**n costs"),
}
WRONG_VALUE = {
    "one sample": (lambda: ScoreFunction(1), "n_samples must be an integer of at least"),
    "one shifted sample": (lambda: ParameterShift(1), "n_samples must be an integer of at least 3, got n_samples=1"),
    "one sample, SPSA": (lambda: SPSA(1), "n_samples must be an integer of at least 3, got n_samples=1"),
    "no direction": (lambda: SPSA(n_directions=0), "n_directions must be an integer of at least 1, got n_directions=0"),
    "half a circuit at once": (lambda: ParameterShift(circuits_at_once=0), "circuits_at_once must be an integer of at least 1, got circuits_at_once=0"),
    "no step": (lambda: SPSA(perturbation=0.0), "perturbation must be positive and finite, in radians, or an optax schedule, got perturbation=0.0"),
    "endless step": (lambda: SPSA(perturbation=math.nan), "perturbation must be positive and finite, in radians, or an optax schedule, got perturbation=nan"),
    "three costs": (lambda: as_target(jnp.ones(3)), "costs must have 2**n entries along the last axis"),
    "infinite cost": (lambda: as_target(jnp.array([0.0, math.inf])), "costs must be finite, got inf"),
    "features of another width": (lambda: as_target(BiNN((3, 1)), (x, y)), "x must have shape (n_points, 3) for layer_sizes=(3, 1), got shape (3, 2)"),
    "features not a number": (lambda: as_target(BiNN((2, 1)), (x + math.nan, y)), "x must be finite, got x[0, 0]=nan"),
    "a label too many": (lambda: as_target(BiNN((2, 1)), (x, y + 1)), "y must hold labels 0 to 1 (2 classes), got y[1]=2"),
    "no data": (lambda: as_target(BiNN((2, 1)), (x[:0], y[:0])), "x must hold at least one point and one feature, got shape (0, 2)"),
}


@pytest.mark.parametrize("call, text", WRONG_KIND.values(), ids=WRONG_KIND)
def test_what_cannot_work_together_is_refused(call, text):
    with pytest.raises(TypeError) as error: call()
    assert text in str(error.value)


@pytest.mark.parametrize("call, text", WRONG_VALUE.values(), ids=WRONG_VALUE)
def test_bad_input_is_refused_by_name(call, text):
    with pytest.raises(ValueError) as error: call()
    assert text in str(error.value)


def test_a_device_feeds_what_samples_suffice_for():
    for estimator, objective in itertools.product((ParameterShift(8), SPSA(8)), (MMD(), NoDivergence())): estimator.check(about(device, objective))
    params, (costs, coins) = angles(machine.ansatz), problem(machine.ansatz)
    hidden, seen = quick_jit(lambda p: [call(ParameterShift(8), MMD(), d, costs, coins, p).gradient for d in (device, machine)])(params)
    np.testing.assert_array_equal(hidden, seen)


# ---------------------------------------------------------------- which distribution, objective and estimator go together

class Device(Remote, Shiftable):
    "Samples from outside JAX, of a circuit that says what its angles are."
    n_qubits, param_shape, frequencies = 4, product(4).param_shape, product(4).frequencies
    def _sample_batch(self, params, n_samples): return np.ones((len(params), n_samples, 4))


@dataclass(frozen=True)
class Own(Divergence):
    "An objective of the user's that is made for tables."
    needs = Table
    def of_table(self, q, prior, costs, step=0): return (q**2).sum()


NET = BiNN((1, 1, 1))
BORN = BornMachine(product(4))
DISTRIBUTIONS = {"circuit": BORN, "dense": BornMachine(staircase(4, 1), Dense), "mixture": Mixture(BORN, 2), "symmetrised": Symmetrised(BORN, NET),
                 "symmetrised mixture": Symmetrised(Mixture(BORN, 2), NET), "coins": Bernoulli(4), "ensemble": Ensemble(4, 2), "samples of a circuit": SampleOnly(BORN),
                 "symmetrised samples": Symmetrised(SampleOnly(BORN), NET), "samples of coins": SampleOnly(Bernoulli(4)), "device": Device(),
                 "symmetrised device": Symmetrised(Device(), NET), "samples of a device": SampleOnly(Device())}
CUBE_OBJECTIVES = (NoDivergence(), KL(), MMD(), Renyi(), Stein(), Own())
CUBE_ESTIMATORS = (Exact(), ScoreFunction(4), ScoreFunction(4, analytic=True), ScoreFunction(4, slope=True), ParameterShift(4), SPSA(4), SPSA(4, common=True))


def assert_way_out(text, distribution, objective):
    "What a refusal advises exists and is accepted."
    advice = text.rpartition("use ")[2]
    if "=False" in advice: return
    named = [getattr(qhn, name)() for name in ("Exact", "ScoreFunction", "ParameterShift", "SPSA", "KL", "MMD", "NoDivergence") if f"{name}()" in advice]
    assert named, text
    for way in named:
        if hasattr(way, "lacks"): assert not way.lacks(distribution, objective), text
        else: assert any(not e.lacks(distribution, way) for e in CUBE_ESTIMATORS), text


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_every_triple_runs_or_is_refused_before_it_is_traced(distribution):
    "Each distribution with each objective and estimator: a check that passes means a step that can be traced, on NET's own data."
    params, prior, target, outside = jnp.zeros(distribution.param_shape), BernoulliPrior(), as_target(NET, (x[:, :1], y)), distribution.can(Remote)
    prepared = {}
    for objective, estimator in itertools.product(CUBE_OBJECTIVES, CUBE_ESTIMATORS):
        problem = Problem(distribution, target, prior, objective)
        try: estimator.check(problem)
        except TypeError as error: assert_way_out(str(error), distribution, objective); continue
        ready = replace(problem, target=prepared.setdefault(type(estimator), estimator.prepare(problem).target))
        def run(params, key):
            if not outside: return estimator(ready, params, key)
            settings = estimator.settings(distribution, params, key)
            return estimator.estimate(ready, params, jnp.ones((len(settings), 4, 4)), key)
        assert jax.eval_shape(run, params, KEY).gradient.shape == distribution.param_shape, (objective, estimator)
    for objective in CUBE_OBJECTIVES:
        problem = Problem(distribution, target, prior, objective)
        try: estimator, _ = choose_estimator(problem)
        except TypeError as error: assert_way_out(str(error), distribution, objective)
        else: estimator.check(problem)


def test_every_distribution_of_the_cube_has_something_that_trains_it():
    for name, distribution in DISTRIBUTIONS.items():
        trained = [o for o in CUBE_OBJECTIVES for e in CUBE_ESTIMATORS[:-1] if not e.lacks(distribution, o)]
        assert NoDivergence() in trained and MMD() in trained, name
        assert (KL() in trained) == (distribution.can(LogProb) or distribution.can(Table)), name


def test_a_wrapper_answers_for_its_source():
    deep, net = BornMachine(staircase(9, 3)), BiNN((2, 2, 1))
    for wrapper, copies in ((SampleOnly(deep), 1), (Mixture(deep, 3), 3), (Symmetrised(deep, net), 8), (Symmetrised(Mixture(deep, 3), net), 24)):
        parts = 3 if copies % 3 == 0 else 1
        assert wrapper.cost("probs") >= parts * deep.cost("probs") and wrapper.cost("log_prob") == copies * deep.cost("log_prob")
        assert wrapper.bytes("probs") >= parts * deep.bytes("probs")
    settings = lambda d: ParameterShift().settings(d, jnp.zeros(d.param_shape), KEY).shape
    assert settings(Symmetrised(deep, net)) == settings(SampleOnly(deep)) == settings(deep) == (127, 72)    # not 145: the last RZ row is never seen
    assert settings(Mixture(deep, 2)) == (253, 2, 72)
    both = BornMachine(staircase(9, 3), Dense)
    assert Symmetrised(both, net).bytes("probs") > both.bytes("probs") == 2 * deep.bytes("probs")


def test_parameter_shift_is_the_gradient_of_mixtures_and_symmetrised_circuits():
    "The rule with exact means in the place of sampled ones, against autodiff."
    costs = jnp.asarray(problem(product(4))[0])
    for distribution in (Mixture(BornMachine(staircase(4, 1)), 2), Symmetrised(BornMachine(staircase(4, 1)), NET)):
        params = distribution.init(KEY)
        value = lambda p: distribution.probs(p) @ costs
        forward, backward = quick_jit(jax.vmap(value))(ParameterShift().settings(distribution, params, KEY)[1:]).reshape(2, -1)
        seen = np.array([len(f) > 0 for f in distribution.frequencies])
        exact = np.asarray(quick_jit(jax.grad(value))(params)).ravel()
        np.testing.assert_allclose((forward - backward) / 2, exact[seen], atol=1e-12)
        np.testing.assert_allclose(exact[~seen], 0, atol=1e-12)


def test_the_shift_rule_follows_the_frequencies_of_each_gate():
    "Two circuits for RY, RX and RZZ, four for controlled rotations: the weighted sum of exact means is autodiff's gradient."
    moments = (Rotation("RY"), Entangler("CRY", ((0, 1), (1, 2))), Entangler("RZZ", ((1, 2),)), Rotation("RX"), Entangler("CRX", ((2, 1),)), Rotation("RY"))
    distribution, costs = BornMachine(Ansatz(3, moments)), jnp.asarray(np.random.default_rng(0).normal(size=8))
    params, rule = distribution.init(KEY), shift_rule(distribution)
    value = lambda p: distribution.probs(p) @ costs
    terms = rule.coefficient * np.asarray(quick_jit(jax.vmap(value))(ParameterShift().settings(distribution, params, KEY)[1:]))
    found = np.zeros(params.size)
    np.add.at(found, rule.angle, terms)
    np.testing.assert_allclose(found, quick_jit(jax.grad(value))(params), atol=1e-12)
    assert {len(f): sum(rule.angle == k) for k, f in enumerate(distribution.frequencies)} == {1: 2, 2: 4}


def test_an_objective_of_tables_at_a_width_without_tables_has_a_way_out():
    wide = BornMachine(staircase(40, 1))
    assert choose_estimator(about(wide, Renyi(), as_target(Ising(40), (np.ones(40),))))[0] == Exact()
    with pytest.raises(ValueError, match=r"Exact\(\) on 2\*\*40 networks .* use objective=KL\(\), which estimator=ScoreFunction\(\) can sample, instead"):
        fit(wide, Ising(40), (np.ones(40),), objective=Renyi(), key=KEY, n_steps=1, progress=False)


def test_the_way_out_is_open_at_forty_qubits():
    "Exact gradients are no way out where no memory holds them."
    wide = BornMachine(staircase(40, 1))
    for estimator, objective in itertools.product((ScoreFunction(), SPSA()), (Renyi(), Stein())):
        with pytest.raises(TypeError) as error: estimator.check(about(wide, objective))
        assert "Exact()" not in str(error.value)
        assert_way_out(str(error.value), wide, objective)


@pytest.mark.parametrize("objective", [NoDivergence(), KL(), MMD(), Renyi(), Stein()], ids=lambda o: type(o).__name__)
def test_integer_costs_are_worth_what_floats_are(objective):
    "64 bits that 32 do not hold, and 16 that should not be summed as such."
    costs = np.array([2**40, 1, 2**32, 3])
    with jax.enable_x64(False):
        value = lambda q, c: float(objective.from_probs(q, c, BernoulliPrior()).loss)
        assert value(np.full(4, 0.25), costs) == value(np.full(4, 0.25), costs.astype(float))
        assert value(np.array([0, 1, 0, 0]), costs) == value(np.array([0.0, 1, 0, 0]), costs.astype(float))
        halves = np.full(2**12, 2.0**-12, np.float16)
        assert value(halves, np.zeros(2**12, np.float16)) == pytest.approx(value(halves.astype(float), np.zeros(2**12)), abs=1e-4)


class Spoken(Words):
    "Words alone, none of them expected."
    n_qubits, param_shape = 5, (1,)
    def _words(self, params, sets, key, n_strings): return jnp.zeros(len(sets)), jnp.zeros(len(sets))


@pytest.mark.parametrize("objective", [NoDivergence(), KL(), MMD(), Renyi()], ids=lambda o: type(o).__name__)
def test_words_alone_are_not_called_samples(objective):
    with pytest.raises(TypeError) as refused: choose_estimator(Problem(Spoken(), as_target(np.zeros(32)), BernoulliPrior(), objective))
    message = str(refused.value)
    assert "only gives samples" not in message and "its words suffice for mmd2_of(distribution, params, prior)" in message


def test_an_estimator_without_a_call_is_refused():
    class Bare(Estimator): asks = ("of_samples", "witness")
    with pytest.raises(TypeError, match=r"Bare cannot be called: write __call__\(problem, params, key, step\)"):
        Bare().check(Problem(BornMachine(product(3)), as_target(np.zeros(8)), BernoulliPrior(), KL()))
