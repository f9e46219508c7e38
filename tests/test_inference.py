"""Training against plain numpy: every number that fit reports, every way it can be stopped, resumed or refused."""
import json
import pickle
import warnings
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from circuits import bits, directional_derivative, numpy_state, quick_jit
import qhn.inference.fit as inference
import qhn.inference.state as state_room
import qhn.made as made_room
from qhn.circuits.ansatz import product, staircase
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable
from qhn.distributions.base import Remote, Samples, Shiftable, Table
from qhn.distributions.born import BornMachine
from qhn.distributions.base import SampleOnly
from qhn.problem.datasets import moons
from qhn.objectives.divergences import Renyi
from qhn.objectives.elbo import KL, NoDivergence
from qhn.plots import learning_curves
from qhn.posterior.diagnose import Starts
from qhn.problem.prior import BernoulliPrior, Prior
from qhn.inference.estimator import Problem
from qhn.inference.shots import SPSA, ParameterShift
from qhn.inference.gradients import Exact, ScoreFunction
from qhn.problem.costs import as_target
from qhn.inference.diverged import TrainingDiverged
from qhn.inference.result import FitResult
from qhn.inference.callbacks import EarlyStopping, StopTraining
from qhn.inference.checkpoints import Checkpoint
from qhn.inference.fit import fit
from qhn.inference.state import TrainState, init, remembering, step
from qhn.objectives.mmd import MMD

MACHINE = BornMachine(staircase(3, 1))    # 12 angles
COSTS = np.array([3.0, 1.0, 0.5, 2.5, 4.0, 0.0, 1.5, 2.0])
PRIOR = BernoulliPrior(np.array([0.4, 0.5, 0.7]))
WEIGHTS = 1.0 - 2 * bits(3)
KEY = jax.random.key(0)
ADAM = optax.adam(0.05)
FEW = ScoreFunction(300)


def train(n_steps=20, distribution=MACHINE, model=COSTS, data=None, prior=PRIOR, progress=False, optimizer=ADAM, **options):
    if "state" not in options: options = {"key": KEY, "n_seeds": 3, **options}
    return fit(distribution, model, data, prior, n_steps=n_steps, progress=progress, optimizer=optimizer, **options)


def same_bytes(a, b):
    a, b = ([np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf) for leaf in jax.tree.leaves(tree)] for tree in (a, b))
    return len(a) == len(b) and all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b))


def of_seed(state, seed):
    "The state of one seed, as a training of its own."
    return TrainState(*jax.tree.map(lambda leaf: leaf[seed:seed + 1], tuple(state[:3])), state.step)


def compilations(function):
    events = []
    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration": events.append(duration)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try: function()
    finally: jax.monitoring.unregister_event_duration_listener(listen)
    return len(events)


# ---- what numpy says of a loss

def prior_table(): return np.prod(np.where(WEIGHTS > 0, PRIOR.prob_plus, 1 - PRIOR.prob_plus), 1)


def kl(q):
    kept = q > 1e-300
    return (q[kept] * np.log(q[kept] / prior_table()[kept])).sum()


def scaled_mmd2(q):
    "λ₀ MMD² with the dense kernel of word weight 1: each bit enters a parity with probability 1/3."
    p, kernel = prior_table(), (2 / 3 + WEIGHTS[:, None] * WEIGHTS / 3).prod(-1)
    return (q - p) @ kernel @ (q - p) * (-p @ np.log(p)) / (1 - p @ kernel @ p)


OBJECTIVES = {"MLE": (NoDivergence(), lambda q: 0.0), "KL": (KL(), kl), "MMD": (MMD(word_weights=(1,)), scaled_mmd2)}


def loss(params, penalty=kl, ansatz=MACHINE.ansatz):
    q = np.abs(numpy_state(ansatz, params))**2
    return q @ COSTS + penalty(q)


def gradient(params):
    return np.array([directional_derivative(loss, params, unit.reshape(params.shape)) for unit in np.eye(params.size)]).reshape(params.shape)


# ---- what is reported

@pytest.mark.parametrize("name", OBJECTIVES)
def test_reported_loss_is_the_loss_at_the_angles_before_the_update(name):
    objective, penalty = OBJECTIVES[name]
    start = init(MACHINE, ADAM, KEY, 3)
    first = train(5, objective=objective)
    after = train(1, objective=objective, state=first.state)
    for result, params in ((first, start.params), (after, first.params)):
        np.testing.assert_allclose(result.history["loss"][:, 0], [loss(p, penalty) for p in params], rtol=1e-10)
        q = np.array([np.abs(numpy_state(MACHINE.ansatz, p))**2 for p in params])
        np.testing.assert_allclose(result.history["expected_nll"][:, 0], q @ COSTS, rtol=1e-10)
    assert (first.history["loss_error"] == 0).all()


def test_reported_gradient_norm():
    start = init(MACHINE, ADAM, KEY, 3)
    np.testing.assert_allclose(train(1).history["grad_norm"][:, 0], [np.linalg.norm(gradient(np.asarray(p))) for p in start.params], rtol=1e-8)


def paced(monkeypatch, seconds, stop_after=None):
    "Let a step last so many seconds by the clock that fit looks at; Ctrl-C after so many chunks. Returns the growing list of chunk sizes."
    sizes, run_chunk = [], inference.run_chunk
    def run(problem, estimator, optimizer, state, size):
        if len(sizes) == stop_after: raise KeyboardInterrupt
        sizes.append(size)
        return run_chunk(problem, estimator, optimizer, state, size)
    monkeypatch.setattr(inference, "run_chunk", run)
    monkeypatch.setattr(state_room, "time", SimpleNamespace(perf_counter=lambda: seconds * sum(sizes)))
    return sizes


PACES = {"fast": 1e-9, "middling": 0.01, "slow": 100.0}    # chunks grow to the longest, to 30 steps, not at all
paces = pytest.mark.parametrize("pace", PACES)


@paces
@pytest.mark.parametrize("n_steps", [1, 2, 257, 300])
def test_chunks_lose_and_repeat_no_step(monkeypatch, n_steps, pace):
    sizes = paced(monkeypatch, PACES[pace])
    result = train(n_steps)
    assert sum(sizes) == n_steps == result.n_steps
    if n_steps == 300: assert max(sizes) == {"fast": 215, "middling": 30, "slow": 1}[pace]    # 215: what is left after 1, 4, 16, 64
    for name, values in result.history.items(): assert values.shape == (3, n_steps), name
    np.testing.assert_allclose(result.history["loss"], step_by_step()[:, :n_steps], rtol=1e-9)


def test_no_chunk_is_longer_than_its_buffer(monkeypatch):
    sizes = paced(monkeypatch, 1e-9)
    assert np.isfinite(train(700).history["loss"]).all() and max(sizes) == state_room.LONGEST_CHUNK and sum(sizes) == 700


STEPS = []


def step_by_step():
    "300 losses by the public step, one call for each."
    if not STEPS:
        problem = Exact().prepare(Problem(MACHINE, as_target(COSTS), PRIOR, KL()))
        state = init(MACHINE, ADAM, KEY, 3)
        one = jax.jit(lambda state: step(problem, Exact(), ADAM, state))
        for _ in range(300):
            state, info = one(state)
            STEPS.append(np.asarray(info.loss))
    return np.array(STEPS).T


def test_best_seed_looks_at_the_end():
    losses = np.array([[0.0, 0.0, 3.0, 3.0], [9.0, 9.0, 4.0, 1.0], [5.0, 5.0, 2.0, 2.0]])
    result = FitResult(None, {"loss": losses})
    assert result.best_seed() == 1 and result.best_seed(last=2) == 2 and result.best_seed(last=4) == 0


def test_noisy_losses_are_judged_by_a_mean():
    "Seed 0 ends with one lucky estimate; what is predicted and summed up is of seed 1."
    losses = np.array([[9.0] * 4 + [5.0] * 9 + [0.0], [0.0] * 4 + [3.0] * 10, [1.0] * 4 + [6.0] * 10])
    params = np.array([[0.1], [0.2], [0.3]])
    state = train(1).state._replace(params=params)
    parts = {"loss": losses, "expected_nll": losses, "divergence": 0 * losses}
    exact, noisy = (FitResult(state, parts | {"loss_error": np.full((3, 14), error)}) for error in (0.0, 0.5))
    assert exact.best_seed() == 0 and noisy.best_seed() == 1 and noisy.best_seed(last=1) == 0
    assert exact.best() == 0.1 and noisy.best() == 0.2
    assert exact.summary()["best loss"] == 0 and noisy.summary()["best loss"] == 3 and noisy.summary()["median loss"] == 4.5
    few = FitResult(state, {name: values[:, -2:] for name, values in noisy.history.items()})
    assert few.best_seed() == 0, "of two steps both are judged"


def test_the_bar_counts_steps_and_shows_the_loss(capsys):
    result = train(20, progress="ELBO")
    shown = capsys.readouterr().err
    assert "ELBO" in shown and "20/20" in shown and f"loss={result.history['loss'][:, -1].mean():.4g}" in shown
    train(20)
    assert capsys.readouterr() == ("", "")


# ---- seeds and keys

def test_same_key_same_bytes_and_another_key_differs():
    one, two = train(), train()
    assert same_bytes((one.state, one.history), (two.state, two.history))
    assert not np.array_equal(one.params, train(key=jax.random.key(1)).params)


@pytest.mark.parametrize("estimator", [Exact(), FEW], ids=["exact", "samples"])
def test_each_seed_trains_as_if_alone(estimator):
    # Adam divides by the gradient's size, so that a row of angles without effect would move by rounding alone.
    machine = BornMachine(staircase(3, 1, final_rz=False))
    start = init(machine, ADAM, KEY, 3)
    together = train(distribution=machine, estimator=estimator, state=start)
    assert len({p.tobytes() for p in np.asarray(together.params)}) == 3
    for seed in range(3):
        alone = train(distribution=machine, estimator=estimator, state=of_seed(start, seed))
        np.testing.assert_allclose(alone.params[0], together.params[seed], rtol=1e-9)
        np.testing.assert_allclose(alone.history["loss"][0], together.history["loss"][seed], rtol=1e-9)


def test_starting_angles_one_set_or_one_for_each_seed():
    angles = np.random.default_rng(0).uniform(-3, 3, (3, 12))
    each, shared = init(MACHINE, ADAM, KEY, 3, params=angles), init(MACHINE, ADAM, KEY, 3, params=angles[0])
    np.testing.assert_array_equal(each.params, angles)
    np.testing.assert_array_equal(shared.params, angles[[0, 0, 0]])
    np.testing.assert_allclose(train(1, params=angles).history["loss"][:, 0], [loss(a) for a in angles], rtol=1e-10)
    near = train(1, noise=1e-9)
    np.testing.assert_allclose(near.history["expected_nll"][:, 0], COSTS.mean(), rtol=1e-6)    # the uniform superposition


# ---- going on

COUNTING = KL(weight=lambda step: jnp.where(step < 30, 1.0 * step, jnp.nan))    # the weight is the step, and at step 30 it breaks


@pytest.mark.parametrize("options", [dict(), dict(objective=COUNTING), dict(estimator=FEW)], ids=["exact", "schedule", "samples"])
def test_two_halves_are_the_whole_to_the_last_bit(options):
    whole, half = train(28, **options), train(17, **options)
    rest = train(11, state=half.state, **options)
    assert rest.n_steps == 28 and same_bytes(whole.state, rest.state)
    for name in whole.history: np.testing.assert_array_equal(np.hstack([half.history[name], rest.history[name]]), whole.history[name])


def test_schedules_see_the_step():
    first = train(7, objective=COUNTING)
    second = train(5, objective=COUNTING, state=first.state)
    h = {k: np.hstack([first.history[k], second.history[k]]) for k in first.history}
    np.testing.assert_allclose((h["loss"] - h["expected_nll"]) / h["divergence"], np.tile(np.arange(12.0), (3, 1)), atol=1e-9)


def test_other_data_of_the_same_shape_compile_nothing():
    binn, rng = BiNN((2, 1)), np.random.default_rng(0)
    def data(): return rng.normal(size=(9, 2)), rng.integers(0, 2, 9)
    def run(n_steps, **options): return train(n_steps, model=binn, data=data(), prior=BernoulliPrior(rng.uniform(0.2, 0.8, 3)), **options)
    first = run(30, key=jax.random.key(1))
    assert compilations(lambda: run(57, key=jax.random.key(2))) == 0
    assert compilations(lambda: run(13, state=first.state, anyway=True)) == 0


# ---- optimisers of the user

class Momentum(NamedTuple):
    velocity: jax.Array


HEAVY_BALL = optax.GradientTransformation(
    lambda params: Momentum(jnp.zeros_like(params)),
    lambda updates, state, params=None: (-0.1 * (updates + 0.5 * state.velocity), Momentum(updates + 0.5 * state.velocity)))


def plain(g, velocity): return -0.1 * g, velocity
def clipped(g, velocity): return -0.1 * g * min(1, 0.3 / np.linalg.norm(g)), velocity
def heavy_ball(g, velocity): return -0.1 * (g + 0.5 * velocity), g + 0.5 * velocity


@pytest.mark.parametrize("optimizer, rule", [
    (optax.sgd(0.1), plain), (optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.1)), clipped), (HEAVY_BALL, heavy_ball),
], ids=["sgd", "clipped for each seed alone", "own"])
def test_any_optax_optimiser_moves_the_angles_as_it_should(optimizer, rule):
    result = train(3, n_seeds=2, optimizer=optimizer)
    for start, end in zip(init(MACHINE, optimizer, KEY, 2).params, result.params):
        angles, velocity = np.asarray(start), np.zeros(start.shape)
        for _ in range(3):
            move, velocity = rule(gradient(angles), velocity)
            angles = angles + move
        np.testing.assert_allclose(end, angles, atol=1e-8)


# ---- one table: distribution, objective, estimator

DISTRIBUTIONS = {"explicit": MACHINE, "implicit": SampleOnly(MACHINE)}
ESTIMATORS = {"Exact": Exact(), "ScoreFunction": FEW, "ParameterShift": ParameterShift(300), "SPSA": SPSA(300, perturbation=0.01)}
TABLE = [(d, o, e) for d in DISTRIBUTIONS for o in OBJECTIVES for e in ESTIMATORS]


@pytest.mark.parametrize("objective", [KL(), Renyi()], ids=repr)
def test_where_no_estimator_fits_none_is_blamed(objective):
    with pytest.raises(TypeError, match=rf"^no estimator goes with SampleOnly and {type(objective).__name__}: .*; use MMD\(\) or NoDivergence\(\)") as caught:
        train(distribution=SampleOnly(MACHINE), objective=objective, estimator=None)
    assert not any(name in str(caught.value) for name in ESTIMATORS)


@pytest.mark.parametrize("row", TABLE, ids="-".join)
def test_every_row_of_the_table_trains_or_says_why_not(row):
    distribution, (objective, penalty), estimator = DISTRIBUTIONS[row[0]], OBJECTIVES[row[1]], ESTIMATORS[row[2]]
    options = dict(distribution=distribution, objective=objective, estimator=estimator)
    if row[0] == "implicit" and (row[1] == "KL" or row[2] in ("Exact", "ScoreFunction")):
        missing = "the probabilities of all networks" if row[2] == "Exact" else "an explicit distribution with log_prob"
        who = "KL" if row[1] == "KL" and row[2] != "Exact" else rf"{row[2]}\(\)"
        with pytest.raises(TypeError, match=f"^{who} needs {missing}, got SampleOnly, which only gives samples; use "): train(**options)
        return
    start = init(distribution, ADAM, KEY, 3)
    result = train(2, **options)
    reported, error = result.history["loss"][:, 0], result.history["loss_error"][:, 0]
    exact = [loss(p, penalty) for p in np.asarray(start.params)]
    if row[2] == "Exact": np.testing.assert_allclose(reported, exact, rtol=1e-10)
    else:
        assert (error > 0).all() and (error < 0.3).all()
        assert (np.abs(reported - exact) < 5 * error + 1e-3).all()    # 1e-3: SPSA looks beside the point
    assert np.isfinite(result.params).all() and (np.abs(result.params - start.params).max(1) > 0.01).all()


# ---- where it ends

N = 5


def factorised(rng):
    "Costs c + Σ a_j w_j, whose posterior is a product: the costs, the prior and minus the log evidence in closed form."
    a, p, c = rng.normal(size=N), rng.uniform(0.2, 0.8, N), 20.0
    evidence = -c + np.log(p * np.exp(-a) + (1 - p) * np.exp(a)).sum()
    return c + (1 - 2 * bits(N)) @ a, BernoulliPrior(p), -evidence


def test_mean_field_reaches_the_evidence_of_a_factorised_posterior():
    costs, prior, bound = factorised(np.random.default_rng(1))
    losses = train(300, BornMachine(product(N)), costs, prior=prior, n_seeds=5, optimizer=optax.adam(0.1)).history["loss"]
    assert (losses > bound - 1e-9).all()    # no free energy falls below -log p(D)
    assert (losses[:, -1] < bound + 1e-3).all() and (losses[:, 0] > bound + 0.1).all()


def test_maximum_likelihood_ends_at_the_least_cost():
    costs, prior, _ = factorised(np.random.default_rng(2))
    result = train(300, BornMachine(product(N)), costs, prior=prior, n_seeds=5, objective=NoDivergence(), optimizer=optax.adam(0.1))
    assert (np.abs(result.history["loss"][:, -1] - costs.min()) < 1e-3).all()


# ---- models and distributions of the user

@dataclass(frozen=True)
class Ising:
    "A hashable model that is not ours: neighbours want to agree, by as much as the data say."
    n_weights: int

    def log_likelihood(self, weights, strength): return strength * (weights[..., 1:] * weights[..., :-1]).sum(-1)


def test_a_model_of_the_user_trains_as_its_table_does():
    table = -0.7 * (WEIGHTS[:, 1:] * WEIGHTS[:, :-1]).sum(1)
    own = train(model=Ising(3), data=(0.7,))
    for model in (table, CostTable(table)): np.testing.assert_allclose(train(model=model).history["loss"], own.history["loss"], rtol=1e-9)


@dataclass(frozen=True)
class Coins(Samples):
    "A distribution that is not a circuit and only gives samples."
    n_qubits: int

    @property
    def param_shape(self): return 1, self.n_qubits
    def _init(self, key, noise): return jax.random.normal(key, self.param_shape)
    def _sample(self, params, key, n_samples):
        return jnp.where(jax.random.uniform(key, (n_samples, self.n_qubits)) < jax.nn.sigmoid(params[0]), 1.0, -1.0)


def test_a_distribution_of_the_user_trains_from_its_samples():
    losses = train(150, distribution=Coins(3), objective=NoDivergence(), estimator=SPSA(64), optimizer=optax.adam(0.1)).history["loss"]
    assert (losses[:, -20:].mean(1) < losses[:, :5].mean(1) - 0.5).all()


# ---- optimisers that ask for the loss itself

def by_hand(optimizer, n_steps, seed):
    "The history of one seed by optax's own recipe, with the loss written out in numpy's terms."
    costs, prior = jnp.asarray(COSTS), jnp.asarray(prior_table())
    def value(p):
        q = MACHINE.probs(p)
        return q @ costs + (q * jnp.log(q / prior)).sum()
    @quick_jit
    def update(params, state):
        loss, gradient = jax.value_and_grad(value)(params)
        updates, state = optimizer.update(gradient, state, params, value=loss, grad=gradient, value_fn=value)
        return optax.apply_updates(params, updates), state, loss
    params, losses = init(MACHINE, optimizer, KEY, 3).params[seed], []
    state = optimizer.init(params)
    for _ in range(n_steps):
        params, state, loss = update(params, state)
        losses.append(float(loss))
    return losses


ASKING = {"lbfgs": optax.lbfgs(), "plateau": optax.chain(optax.adam(0.3), optax.contrib.reduce_on_plateau(factor=0.5, patience=2))}


@pytest.mark.parametrize("optimizer", ASKING.values(), ids=ASKING)
def test_optimisers_that_ask_for_the_loss_are_given_it(optimizer):
    result = train(12, optimizer=optimizer)
    np.testing.assert_allclose(result.history["loss"][1], by_hand(optimizer, 12, seed=1), rtol=1e-8)
    resumed = train(6, optimizer=optimizer, state=train(6, optimizer=optimizer).state)
    np.testing.assert_allclose(resumed.history["loss"], result.history["loss"][:, 6:], rtol=1e-8)


def test_lbfgs_ends_at_a_stationary_point():
    assert train(60, optimizer=optax.lbfgs()).history["grad_norm"][:, -1].max() < 1e-6


@pytest.mark.parametrize("optimizer, asks", [(optax.lbfgs(), r"value_fn, value, grad"), (optax.contrib.reduce_on_plateau(), "value")], ids=["lbfgs", "plateau"])
@pytest.mark.parametrize("estimator", [ScoreFunction(4), SPSA(4)], ids=lambda e: type(e).__name__)
def test_estimates_do_not_feed_a_line_search(optimizer, asks, estimator):
    with pytest.raises(TypeError, match=rf"optimizer asks for the loss itself \({asks}\), as line searches do, which {type(estimator).__name__}\(\) only estimates; use estimator=Exact\(\)"):
        train(1, optimizer=optimizer, estimator=estimator)


# ---- parameters of any shape

@dataclass(frozen=True)
class Shaped(Table):
    "Coins whose log odds come in an array of any shape."
    param_shape: tuple
    n_qubits = 3
    def _probs(self, params): return jnp.exp(BernoulliPrior(log_odds=params.reshape(-1)[:3]).table(3))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 1, 3), (1, 1, 2, 3)], ids=len)
def test_a_seed_that_turns_non_finite_is_named_whatever_the_shape(shape):
    "Updates of seed 2 of four turn NaN at step 5, in the last parameter alone."
    def update(gradient, state, params=None):
        spoil = (state == 5) & (params.reshape(-1)[0] > 100)
        return -0.1 * gradient + jnp.zeros(params.size).at[-1].set(jnp.where(spoil, jnp.nan, 0.0)).reshape(params.shape), state + 1
    start = jnp.zeros((4, *shape)).at[2].set(jnp.zeros(shape).reshape(-1).at[0].set(200.0).reshape(shape))
    optimizer = optax.GradientTransformation(lambda params: jnp.zeros((), int), update)
    with pytest.warns(UserWarning, match="seed 2 of 4 turned non-finite at step 5; .* and the optimiser's step was not"):
        result = fit(Shaped(shape), COSTS, None, PRIOR, optimizer=optimizer, estimator=Exact(), n_steps=20, n_seeds=4, params=start, key=KEY, progress=False)
    assert result.params.shape == (4, *shape) and np.isfinite(result.params).all() and result.info["stopped seeds"] == {2: 5}
    np.testing.assert_array_equal(np.isnan(result.history["loss"]), np.outer([0, 0, 1, 0], np.arange(20) >= 5))


# ---- samples from outside JAX

class Outside(Remote, Shiftable):
    "Samples of MACHINE drawn in numpy, with a book of what was asked for."
    n_qubits, param_shape, frequencies = 3, MACHINE.param_shape, MACHINE.frequencies
    def __init__(self, limit=np.inf): self.random, self.asked, self.limit = np.random.default_rng(0), [], limit
    def _init(self, key, noise): return MACHINE.init(key, noise)
    def usage(self): return {"QPU": f"{len(self.asked)} s"}
    def _sample_batch(self, params, n_samples):
        if len(self.asked) == self.limit: raise StopTraining("4 of 4 seconds used")
        self.asked.append((np.array(params), n_samples))
        q = [np.abs(numpy_state(MACHINE.ansatz, p))**2 for p in params]
        return np.stack([WEIGHTS[self.random.choice(8, n_samples, p=p / p.sum())] for p in q])


@pytest.mark.parametrize("estimator", [SPSA(64, n_directions=2), ParameterShift(32)], ids=lambda e: type(e).__name__)
def test_samples_from_outside_train(estimator):
    device = Outside()
    result = train(60, distribution=device, objective=MMD(), estimator=estimator, optimizer=optax.adam(0.1))
    assert (result.history["loss"][:, -10:].mean(1) < result.history["loss"][:, :5].mean(1) - 0.5).all()
    n_settings = 4 if isinstance(estimator, SPSA) else 1 + 2 * 9
    assert {(p.shape, s) for p, s in device.asked} == {((3 * n_settings, *MACHINE.param_shape), estimator.n_samples)}    # all seeds in one batch


def test_a_device_is_trained_by_spsa_unless_told_otherwise():
    result = train(2, distribution=Outside(), objective=NoDivergence())
    assert result.info["estimator"] == SPSA() and "two make a gradient" in result.info["reason"]


def test_a_device_is_asked_the_same_again_after_a_restart():
    first, second = Outside(), Outside()
    a, b = (train(6, distribution=device, objective=MMD(), estimator=SPSA(16)) for device in (first, second))
    assert same_bytes(a.state, b.state)
    for (p, _), (q, _) in zip(first.asked, second.asked): np.testing.assert_array_equal(p, q)
    half = train(3, distribution=(third := Outside()), objective=MMD(), estimator=SPSA(16))
    assert same_bytes(a.state, train(3, distribution=third, objective=MMD(), estimator=SPSA(16), state=half.state).state)


def test_the_number_of_shots_follows_a_schedule():
    device = Outside()
    train(6, distribution=device, objective=MMD(), estimator=SPSA(optax.piecewise_constant_schedule(10, {3: 4})))
    assert [s for _, s in device.asked] == [10, 10, 10, 40, 40, 40]


def test_a_spent_budget_keeps_what_is_done(capsys):
    result = train(10, distribution=Outside(limit=4), objective=MMD(), estimator=SPSA(16), progress=True)
    assert result.interrupted and result.n_steps == 4 and result.history["loss"].shape == (3, 4) and result.info["stopped"] == "4 of 4 seconds used"
    assert "QPU=4 s" in capsys.readouterr().err


def test_divergence_on_a_device_keeps_the_good_steps():
    with pytest.raises(TrainingDiverged, match="non-finite at step 3, seed 0") as error:
        train(10, distribution=Outside(), objective=MMD(weight=lambda step: 1 / jnp.maximum(3 - step, 0)), estimator=SPSA(16))
    assert error.value.result.n_steps == 3 and np.isfinite(error.value.result.params).all()


@pytest.mark.parametrize("answer, text", [(np.ones((6, 16, 4)), r"sample_batch must return weights of shape \(circuits, samples, qubits\) = \(6, 16, 3\), got shape \(6, 16, 4\)"),
                                          (np.zeros((6, 16, 3)), "weights must")])
def test_a_device_that_answers_wrongly_is_named(answer, text):
    device = Outside()
    device.sample_batch = lambda params, n_samples: answer
    with pytest.raises(ValueError, match=text): train(1, distribution=device, objective=MMD(), estimator=SPSA(16))


@pytest.mark.parametrize("n_samples", [2, 1, 0])
def test_a_schedule_that_asks_for_too_few_shots_is_named(n_samples):
    with pytest.raises(ValueError, match=f"n_samples at step 0 must be an integer of at least 3, got n_samples at step 0={n_samples}"):
        train(1, distribution=Outside(), objective=MMD(), estimator=SPSA(lambda step: n_samples))


def test_a_device_that_fails_leaves_what_is_done():
    device = Outside()
    answer, device.calls = device.sample_batch, 0
    def fails(params, n_samples):
        device.calls += 1
        if device.calls == 4: raise ConnectionError("no network")
        return answer(params, n_samples)
    device.sample_batch = fails
    with pytest.raises(ConnectionError, match="no network") as error: train(10, distribution=device, objective=MMD(), estimator=SPSA(16))
    kept = error.value.result
    assert kept.n_steps == 3 and kept.history["loss"].shape == (3, 3) and kept.interrupted
    assert error.value.__notes__ == ["The 3 steps before it are in the exception's .result; go on with fit(state=error.result.state)."]
    train(2, distribution=device, objective=MMD(), estimator=SPSA(16), state=kept.state)


def test_no_step_has_no_best_seed():
    stopped = train(5, distribution=Outside(limit=0), objective=MMD(), estimator=SPSA(16))
    with pytest.raises(ValueError, match="best_seed needs a loss, but no step was done"): stopped.best_seed()


def test_what_a_device_cannot_do_is_refused():
    with pytest.raises(TypeError, match="KL needs an explicit distribution"): train(1, distribution=Outside())
    with pytest.raises(TypeError, match="common=True needs a simulation, got Outside"): train(1, distribution=Outside(), objective=MMD(), estimator=SPSA(common=True))
    with pytest.raises(ValueError, match="mesh shares a simulation, but Outside draws its samples outside JAX"):
        train(1, distribution=Outside(), objective=MMD(), mesh=jax.make_mesh((1,), ("seeds",)))


# ---- memory

@pytest.mark.parametrize("distribution, model, data, estimator", [
    (BornMachine(product(21)), BiNN((20, 1)), (np.zeros((10_000, 20)), np.zeros(10_000, int)), ScoreFunction(30_000)),    # logits
    (SampleOnly(BornMachine(product(21))), BiNN((20, 1)), (np.zeros((100, 20)), np.zeros(100, int)), ParameterShift(100_000))],    # kernels
    ids=["logits", "kernels"])
def test_a_step_that_will_not_fit_is_refused_before_it_is_tried(distribution, model, data, estimator, monkeypatch):
    monkeypatch.setattr("qhn.memory.physical_memory", lambda: 2**30)
    with pytest.raises(ValueError, match=r"the largest array of a step with .* and n_seeds=1 would take .* GiB, more than the 1 GiB .* use a smaller n_samples or ScoreFunction with a batch_size instead"):
        train(1, distribution=distribution, model=model, data=data, prior=BernoulliPrior(), objective=MMD(), estimator=estimator, n_seeds=1)


def test_a_batch_larger_than_the_data_is_named_by_fit():
    with pytest.raises(ValueError, match="batch_size must be at most the 3 data points, got batch_size=5; None takes all"):
        train(1, model=BiNN((2, 1)), data=(np.zeros((3, 2)), np.zeros(3, int)), prior=BernoulliPrior(), estimator=ScoreFunction(8, batch_size=5))


# ---- stopped

def test_ctrl_c_in_a_chunk_keeps_what_is_done(monkeypatch):
    whole = train(60)
    with monkeypatch.context() as patch:
        sizes = paced(patch, 1e-9, stop_after=3)
        part = train(60)
    assert part.interrupted and not whole.interrupted and 0 < part.n_steps == sum(sizes) < 60
    for name, values in part.history.items(): np.testing.assert_array_equal(values, whole.history[name][:, :part.n_steps])
    rest = train(60 - part.n_steps, state=part.state)
    assert not rest.interrupted and same_bytes(rest.state, whole.state)


def test_ctrl_c_at_the_bar_keeps_what_is_done(monkeypatch):
    class Bar(inference.tqdm):
        def update(self, n=1):
            if self.n: raise KeyboardInterrupt    # while the second chunk is being reported
            return super().update(n)
    monkeypatch.setattr(inference, "tqdm", Bar)
    part = train(60, progress=True)
    assert part.interrupted and 0 < part.n_steps < 60
    assert part.history["loss"].shape == (3, part.n_steps)
    np.testing.assert_allclose(part.history["loss"], step_by_step()[:, :part.n_steps], rtol=1e-9)


@paces
def test_divergence_names_step_and_seed_and_keeps_the_good_steps(monkeypatch, pace):
    paced(monkeypatch, PACES[pace])
    with pytest.raises(TrainingDiverged, match="non-finite at step 30, seed 0; the 30 steps before it are kept") as caught:
        train(60, objective=COUNTING)
    result, good = caught.value.result, train(30, objective=COUNTING)
    for name, values in result.history.items(): np.testing.assert_array_equal(values, good.history[name])
    assert result.n_steps == 30 and values.shape == (3, 30) and same_bytes(result.state, good.state)


def test_divergence_of_one_seed_is_that_seeds():
    spoil = optax.GradientTransformation(optax.sgd(0.1).init, lambda updates, state, params: (jnp.where(params[6] == 0.5, jnp.nan, -0.1 * updates), state))
    angles = np.zeros((3, 12))
    angles[1, 6] = 0.5
    with pytest.warns(UserWarning, match="seed 1 of 3 turned non-finite at step 0; it stays"): result = train(params=angles, optimizer=spoil)
    assert result.info["stopped seeds"] == {1: 0} and result.best_seed() != 1 and np.isnan(result.history["loss"][1]).all()
    np.testing.assert_array_equal(result.params[1], angles[1])
    with pytest.raises(TrainingDiverged, match="non-finite at step 0, seed 0; the 0 steps") as caught: train(params=angles[1], optimizer=spoil)
    assert caught.value.result.history["loss"].shape == (3, 0) and caught.value.result.n_steps == 0


def test_divergence_counts_on_from_a_resumed_state():
    with pytest.raises(TrainingDiverged, match="non-finite at step 30, seed 0") as caught: train(30, objective=COUNTING, state=train(20, objective=COUNTING).state)
    assert caught.value.result.history["loss"].shape == (3, 10)


# ---- a seed that turns non-finite stops, the others go on

@lru_cache
def spoiling(at=17):
    "Adam whose updates are NaN from a step on, for a seed whose first angle is beyond 100."
    adam = optax.adam(0.05)
    def update(gradient, state, params):
        count, state = state
        updates, state = adam.update(gradient, state)
        return jnp.where((count >= at) & (params[0] > 100), jnp.nan, updates), (count + 1, state)
    return optax.GradientTransformation(lambda params: (jnp.zeros((), int), adam.init(params)), update)


def poisoned(seeds, n_steps=60, **options):
    "Three seeds, of which some turn NaN; their first angle is 32 turns further."
    start = np.array(init(MACHINE, ADAM, KEY, 3).params)
    start[list(seeds), 0] = start[list(seeds), 0] % (2 * np.pi) + 64 * np.pi
    with warnings.catch_warnings(action="ignore"): return train(n_steps, params=start, optimizer=spoiling(), **options)


WAYS = {"score function": dict(estimator=FEW), "shift": dict(estimator=ParameterShift(32), objective=MMD()), "SPSA": dict(estimator=SPSA(32), objective=MMD())}


@pytest.mark.parametrize("pace, options", [*((pace, dict()) for pace in PACES), *(("fast", options) for options in WAYS.values())], ids=[*PACES, *WAYS])
def test_the_others_have_the_numbers_that_they_have_without_it(monkeypatch, pace, options):
    "And up to its last finite step so has the seed that stops."
    if not options: paced(monkeypatch, PACES[pace])
    good, bad = poisoned([], **options), poisoned([1], **options)
    assert bad.info["stopped seeds"] == {1: 17} and "stopped seeds" not in good.info and bad.n_steps == 60
    for seed in (0, 2):
        assert same_bytes(of_seed(good.state, seed), of_seed(bad.state, seed))
        for name in good.history: np.testing.assert_array_equal(good.history[name][seed], bad.history[name][seed])
    short = poisoned([1], n_steps=17, **options)
    assert same_bytes(of_seed(short.state, 1)[:3], of_seed(bad.state, 1)[:3])
    np.testing.assert_array_equal(bad.history["loss"][1, :17], short.history["loss"][1])
    assert all(np.isnan(values[1, 17:]).all() for values in bad.history.values()) and np.isfinite(bad.params).all()


@paces
def test_where_all_stop_the_error_has_all_until_the_last(monkeypatch, pace):
    paced(monkeypatch, PACES[pace])
    def update(gradient, state, params): return jnp.where(state >= 10 * (1 + params[0] // 100), jnp.nan, -0.01 * gradient), state + 1
    start = np.zeros((3, 12)) + 0.3
    start[:, 0] = 100.3, 200.3, 0.3
    with pytest.raises(TrainingDiverged, match="non-finite at step 30, seed 1; the 30 steps before") as caught, warnings.catch_warnings(action="ignore"):
        train(60, params=start, optimizer=optax.GradientTransformation(lambda params: jnp.zeros((), int), update))
    result = caught.value.result
    assert result.n_steps == 30 and result.info["stopped seeds"] == {0: 20, 2: 10} and result.best_seed() == 1 and np.isfinite(result.params).all()


def test_a_stopped_seed_stays_stopped_where_its_loss_is_finite_again():
    "The divergence is infinite at step 5 alone, for seeds that are a point mass."
    @dataclass(frozen=True)
    class Blinking(KL):
        def of_table(self, q, prior, costs, step=0): return jnp.where((step == 5) & (q.max() > 0.9), jnp.inf, super().of_table(q, prior, costs, step))
    start = np.array(init(MACHINE, ADAM, KEY, 3).params)
    start[1] = 0.
    with pytest.warns(UserWarning, match="seed 1 of 3 turned non-finite at step 5"): result = train(40, params=start, objective=Blinking())
    assert result.info["stopped seeds"] == {1: 5} and np.isnan(result.history["loss"][1, 5:]).all()


def test_a_stop_before_the_bad_step_forgets_it(monkeypatch):
    paced(monkeypatch, PACES["fast"])
    def stop(step, info, state):
        if step > 12: raise StopTraining("enough", 12)
    result = poisoned([1], callbacks=[stop])
    assert result.n_steps == 12 and "stopped seeds" not in result.info and np.isfinite(result.history["loss"]).all()


def test_a_stopped_seed_is_stopped_after_a_kill(monkeypatch, tmp_path):
    class Killed(BaseException): pass
    def dies(step, info, state):
        if step >= 30: raise Killed
    paced(monkeypatch, PACES["middling"])
    whole = poisoned([1])
    with pytest.raises(Killed): poisoned([1], checkpoint=Checkpoint(tmp_path, every=0), callbacks=[dies])
    again = poisoned([1], checkpoint=tmp_path)
    assert same_bytes(again.state, whole.state) and again.info == whole.info
    for name in whole.history: np.testing.assert_array_equal(again.history[name], whole.history[name])


def test_a_stopped_seed_is_nowhere_taken_for_the_best():
    result = poisoned([0], objective=KL(), n_steps=80)
    assert result.best_seed() == np.nanargmin(result.history["loss"][:, -1]) != 0 and np.isfinite([result.summary()[name] for name in ("best loss", "median loss")]).all()
    assert "FitResult" in repr(result) and str(Starts(result.history["loss"][:, -1], None, None)).startswith("3: loss from") and learning_curves({"a": result.history["loss"]})
    stopping = EarlyStopping(10)
    stopped = poisoned([0], n_steps=400, callbacks=[stopping])
    assert stopping.lowest.seed != 0 and stopped.n_steps < 400


def test_with_shots_from_outside_a_seed_stops_too():
    start = np.array(init(MACHINE, ADAM, KEY, 3).params)
    start[1, 0] = 201.
    with pytest.warns(UserWarning, match="seed 1 of 3 turned non-finite at step 2"):
        result = train(6, distribution=Outside(), objective=MMD(), estimator=SPSA(16), params=start, optimizer=spoiling(2))
    assert result.info["stopped seeds"] == {1: 2} and np.isfinite(result.params).all() and result.n_steps == 6


class Forbids(Prior):
    def log_prob(self, weights): return jnp.where(weights[..., 0] > 0, -jnp.inf, 0.).astype(float)


class Unsound:
    n_weights = 3
    def log_likelihood(self, weights, x): return jnp.log(weights.sum(-1)) + x.sum()


CAUSES = {"a prior": (dict(prior=Forbids()), "Forbids gives 1.. of 256 random networks the probability 0"),
          "the edge of a prior": (dict(prior=BernoulliPrior(log_odds=np.array([0., 0., -1e300]))), "BernoulliPrior gives 1.. of 256"),
          "a point mass": (dict(estimator=ParameterShift(64), params=np.zeros(12)), "as a point mass does, and KL asks for their log q: start elsewhere"),
          "a weight": (dict(objective=COUNTING), "the weight of KL is nan at this step"),
          "a model": (dict(model=Unsound(), data=(np.zeros(1),), estimator=FEW), "log_likelihood of Unsound is not finite for 1.. of 256 random networks"),
          "an update": (dict(optimizer=optax.scale(-jnp.inf)), "loss and gradient were finite, and the optimiser's step was not: try a smaller learning rate")}


@pytest.mark.parametrize("options, text", CAUSES.values(), ids=CAUSES)
def test_the_cause_is_looked_for(options, text):
    with pytest.raises(TrainingDiverged, match=text) as caught: train(60, **options)
    assert ("learning rate" in str(caught.value)) == ("learning rate" in text)


# ---- what made a result, and going on with something else

def test_a_result_says_what_made_it():
    made = train(5, objective=KL(0.5), noise=0.2).made
    assert made.settings == {"n_steps": 5, "n_seeds": 3, "from step": 0, "begins with": "drawn params", "key": [0, 0], "noise": 0.2, "objective": "KL(weight=0.5)", "estimator": "Exact()", "optimizer": made.settings["optimizer"]}
    assert "scale_by_adam" in made.settings["optimizer"] and "0.05" in made.settings["optimizer"]
    assert {"Python", "qhn", "jax", "jaxlib", "numpy", "optax", "scikit-learn"} <= made.versions.keys() and made.versions["numpy"] == np.__version__
    assert {"data", "model", "prior", "objective", "optimizer", "estimator", "distribution"} <= made.digests.keys() and made.machine["precision"] == "double"
    assert json.loads(json.dumps(made.told())) == made.told()


def test_another_objective_data_optimiser_or_prior_is_another_digest():
    base = train(1).made.digests
    for name, options in {"objective": dict(objective=KL(0.5)), "prior": dict(prior=BernoulliPrior(0.3)), "optimizer": dict(optimizer=optax.adam(0.04)), "model": dict(model=COSTS + 1), "estimator": dict(estimator=FEW)}.items():
        digests = train(1, **options).made.digests
        assert [key for key in base if base[key] != digests[key]] == [name]


CHANGED = {"objective": dict(objective=MMD()), "prior": dict(prior=BernoulliPrior(0.3)), "optimizer": dict(optimizer=optax.adam(0.04)), "model": dict(model=COSTS + 1)}


@pytest.mark.parametrize("name", CHANGED)
def test_going_on_with_another_is_refused_unless_asked_for(name, tmp_path):
    half, options = train(5), CHANGED[name]
    with pytest.raises(ValueError, match=f"state comes from a training with another {name}; .* params=state.params, or go on all the same with fit.*anyway=True"):
        train(5, state=half.state, **options)
    on = train(5, state=half.state, anyway=True, **options)
    assert on.n_steps == 10 and same_bytes(train(5, state=half.state._replace(), **options).state, on.state)    # a copy by hand knows nothing
    train(5, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"is of another training, with another {name}; .* anyway=True"): train(9, checkpoint=tmp_path, **options)
    on = train(9, checkpoint=tmp_path, anyway=True, **options)
    assert on.n_steps == 9
    np.testing.assert_array_equal(on.history["loss"][:, :5], half.history["loss"])
    train(9, checkpoint=tmp_path, **options)    # which is now the call of the folder


def test_other_data_are_refused_too(tmp_path):
    x, y = np.eye(2), np.array([0, 1])
    def run(x, **more): return train(3, model=BiNN((2, 1)), data=(x, y), **more)
    half = run(x)
    with pytest.raises(ValueError, match="state comes from a training with another data"): run(2 * x, state=half.state)
    assert run(np.eye(2).tolist(), state=half.state).n_steps == 6    # the same numbers
    assert run(x, state=half.state, estimator=FEW).n_steps == 6      # another estimate of the same


def test_other_versions_are_refused_unless_asked_for(monkeypatch, tmp_path):
    half = train(5, checkpoint=tmp_path)
    now = made_room.versions() | {"jax": "99.1.2"}
    monkeypatch.setattr(made_room, "versions", lambda: now)
    for options, what in ((dict(state=half.state), "state was written with jax"), (dict(checkpoint=tmp_path), "checkpoint .* was written with jax")):
        with pytest.raises(ValueError, match=what + r" \S+ \(here 99.1.2\), and the numbers of other versions may differ; install those, begin anew, or go on"): train(9, **options)
        train(9, anyway=True, **options)
    monkeypatch.undo()
    patch = half.made._replace(versions=half.made.versions | {"jax": half.made.versions["jax"] + "7", "scikit-learn": "0.1"})
    assert train(1, state=remembering(half.state, patch)).n_steps == 6    # a patch, and a package that does not train


def test_a_result_remembers_through_pickle():
    result = pickle.loads(pickle.dumps(train(3)))
    assert result.made == train(3).made and result.state.made == result.made


# ---- refused

BINN, X, Y, DATA = BiNN((2, 1)), np.ones((4, 2)), np.array([0, 1, 0, 1]), moons(n_train=4, n_test=2)
ERRORS = [
    (dict(n_steps=0), ValueError, "n_steps must be an integer of at least 1, got n_steps=0"),
    (dict(n_steps=2.5), TypeError, "n_steps must be an integer of at least 1, got n_steps=2.5"),
    (dict(n_seeds=0), ValueError, "n_seeds must be an integer of at least 1, got n_seeds=0"),
    (dict(key=None), ValueError, "key must be a jax.random.key, got key=None"),
    (dict(key=0), ValueError, "key must be a jax.random.key, got key=0"),
    (dict(params=np.zeros((2, 3))), ValueError, "params must have shape (12,) or, with the seeds first, (3, 12), got shape (2, 3)"),
    (dict(params=np.zeros((2, 12))), ValueError, "got shape (2, 12)"),
    (dict(params=np.full(12, np.nan)), ValueError, "params must be finite angles in radians, got 12 that are NaN or infinite"),
    (dict(noise=-1.0), ValueError, "noise must be at least 0 radians"),
    (dict(objective="elbo"), TypeError, "objective must be NoDivergence(), KL(), MMD() or alike, got 'elbo'"),
    (dict(objective=KL), TypeError, "objective must be NoDivergence(), KL(), MMD() or alike, got <class"),
    (dict(estimator="exact"), TypeError, "estimator must be Exact(), ScoreFunction(), ParameterShift() or SPSA(), got 'exact'"),
    (dict(estimator=Exact), TypeError, "estimator must be Exact(), ScoreFunction(), ParameterShift() or SPSA(), got <class"),
    (dict(optimizer="adam"), TypeError, "optimizer must be an optax optimiser such as optax.adam(0.05), got 'adam'"),
    (dict(optimizer=optax.adam), TypeError, "optimizer must be an optax optimiser such as optax.adam(0.05), got <function adam"),
    (dict(prior=None), TypeError, "prior must be a Prior such as BernoulliPrior(), got None"),
    (dict(prior=BernoulliPrior(np.full(4, 0.5))), ValueError, "prob_plus must be one number or have shape (3,), one per weight, got shape (4,)"),
    (dict(distribution=product(3)), TypeError, "distribution must be a Distribution such as BornMachine(ansatz), got Ansatz"),
    (dict(distribution=BornMachine(product(4))), ValueError, "model has n_weights=3, but the distribution has n_qubits=4; one qubit per weight is needed"),
    (dict(model=COSTS[:4]), ValueError, "model has n_weights=2, but the distribution has n_qubits=3"),
    (dict(model=COSTS[:7]), ValueError, "costs must have 2**n entries along the last axis"),
    (dict(model=np.where(COSTS > 3, np.nan, COSTS)), ValueError, "costs must be finite, got nan"),
    (dict(model=BINN, data=DATA), TypeError, "data must be a tuple (x, y), got a Dataset; use its train or test"),
    (dict(model=BINN, data=(X[:, :1], Y)), ValueError, "x must have shape (n_points, 2)"),
    (dict(model=BINN, data=(X * np.inf, Y)), ValueError, "x must be finite"),
    (dict(model=BINN, data=(X, Y + 1)), ValueError, "y must hold labels 0 to 1 (2 classes), got y[1]=2"),
    (dict(model=BINN, data=(X[:0], Y[:0])), ValueError, "x must hold at least one point"),
]


@pytest.mark.parametrize("options, kind, text", ERRORS, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_named(options, kind, text):
    with pytest.raises(kind) as caught: train(**options)
    assert text in str(caught.value)


def test_a_state_that_does_not_fit_is_refused():
    state = init(MACHINE, ADAM, KEY, 3)
    for options, kind, text in (
        (dict(state=state, optimizer=optax.sgd(0.1)), ValueError, "state comes from another kind of optimizer"),
        (dict(state=state, distribution=BornMachine(product(3))), ValueError, "state has params of shape (12,), but the distribution needs (3,)"),
        (dict(state=state, n_seeds=3), ValueError, "state holds key, n_seeds, params and noise already; leave them out"),
        (dict(state=state.params), TypeError, "state must be a TrainState, such as the state of a FitResult, got ArrayImpl"),
    ):
        with pytest.raises(kind) as caught: train(**options)
        assert text in str(caught.value)


@paces
def test_an_update_that_spoils_the_angles_is_the_bad_step(monkeypatch, pace):
    paced(monkeypatch, PACES[pace])
    broken = optax.sgd(lambda step: jnp.where(step < 30, 0.1, jnp.nan))    # the loss at step 30 is still finite
    with pytest.raises(TrainingDiverged, match="non-finite at step 30, seed 0") as caught: train(60, optimizer=broken)
    result = caught.value.result
    assert result.n_steps == 30 and result.history["loss"].shape == (3, 30) and np.isfinite(result.params).all()


def test_ctrl_c_in_the_first_chunk_leaves_an_empty_history(monkeypatch):
    paced(monkeypatch, 1.0, stop_after=0)
    result = train()
    assert result.interrupted and result.n_steps == 0
    assert set(result.history) == set(inference.Info._fields) and all(values.shape == (3, 0) for values in result.history.values())


def test_prediction_asks_all_networks_or_those_drawn():
    "Against a sum over networks in NumPy, and against its own draws."
    x, y = np.array([[-1., 0.5], [2., 1.], [0.3, -0.7]]), np.array([0, 1, 1])
    network = BiNN((2, 1, 1))
    result = fit(BornMachine(staircase(5, 1)), network, (x, y), n_steps=3, key=KEY, progress=False)
    q, weights = np.asarray(result.distribution.probs(result.best())), 1. - 2 * ((np.arange(32)[:, None] >> np.arange(5)[::-1]) & 1)
    p = 1 / (1 + np.exp(-(weights[:, 3:4] * np.tanh(weights[:, :2] @ x.T + weights[:, 2:3]) + weights[:, 4:])))
    np.testing.assert_allclose(result.predict(x)[:, 1], q @ p, atol=1e-6)
    np.testing.assert_allclose(result.predict(x, key=KEY, n_samples=20_000), result.predict(x), atol=0.02)


def test_prediction_of_a_wide_network_needs_a_key():
    x = np.zeros((2, 19))
    result = fit(BornMachine(product(20)), BiNN((19, 1)), (x, np.zeros(2, int)), n_steps=1, key=KEY, progress=False)
    with pytest.raises(ValueError, match="networks of more than 16 weights are drawn"): result.predict(x)
    assert result.predict(x, key=KEY).shape == (2, 2)
