"""QNodes as distributions: against the same circuit on our own engine, and trained on every kind of device."""
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

from qhn.circuits.ansatz import staircase
from qhn.distributions.base import LogProb, Remote, Samples, Table
from qhn.distributions.born import BornMachine
from qhn.distributions.qnode import QNodeDistribution
from qhn.inference.fit import fit
from qhn.inference.gradients import Exact, ScoreFunction
from qhn.inference.shots import SPSA
from qhn.objectives.elbo import KL
from qhn.objectives.mmd import MMD
from qhn.problem.bits import all_weights
from qhn.problem.prior import BernoulliPrior

ANSATZ = staircase(3, 1, final_rz=False)
BORN = BornMachine(ANSATZ)
PARAMS = ANSATZ.init(jax.random.key(3))
COSTS = jnp.array([3., 0, 1, 4, 2, 5, 0.5, 2.5])


def on(name, shots=None, **settings):
    @qml.qnode(qml.device(name, wires=3, seed=0), **settings)
    def node(params):
        ANSATZ.circuit(params)
        return qml.expval(qml.Z(0)), qml.var(qml.Z(1))
    return QNodeDistribution(qml.set_shots(node, shots=shots), ANSATZ.param_shape)


NODES = {name: on(*how[:1], **how[1]) for name, how in {
    "default": ("default.qubit", {}), "lightning": ("lightning.qubit", {}), "mixed": ("default.mixed", {}),
    "shifts": ("default.qubit", {"diff_method": "parameter-shift"}), "autograd": ("lightning.qubit", {"interface": "autograd"})}.items()}


@pytest.mark.parametrize("name", NODES)
def test_probabilities_and_gradients_are_those_of_the_born_machine(name):
    node = NODES[name]
    def value(distribution, params): return distribution.probs(params) @ COSTS
    both = [jax.jit(jax.value_and_grad(lambda params, d=d: value(d, params)))(PARAMS) for d in (node, BORN)]
    np.testing.assert_allclose(*(v for v, _ in both), atol=1e-5)
    np.testing.assert_allclose(*(g for _, g in both), atol=1e-5)


def test_all_answers_are_those_of_the_born_machine():
    node = NODES["lightning"]
    assert node.capabilities == {Samples, LogProb, Table}
    np.testing.assert_allclose(node.probs(PARAMS), BORN.probs(PARAMS), atol=1e-6)
    np.testing.assert_allclose(node.log_prob(PARAMS, all_weights(3)), BORN.log_prob(PARAMS, all_weights(3)), atol=1e-5)
    slopes = [jax.jacrev(lambda params, d=d: d.log_prob(params, all_weights(3)[:3]))(PARAMS) for d in (node, BORN)]
    np.testing.assert_allclose(*slopes, atol=1e-4)
    drawn = node.sample(PARAMS, jax.random.key(0), 6000)
    means = np.asarray(BORN.means(PARAMS))
    assert (abs(np.asarray(drawn).mean(0) - means) < 5 * np.sqrt((1 - means**2) / 6000) + 1e-3).all()


def test_the_gradient_of_a_log_probability_survives_a_network_that_never_comes():
    node = NODES["lightning"]
    slope = jax.grad(lambda params: node.log_prob(params, jnp.ones(3)))(jnp.zeros(ANSATZ.param_shape))    # all else has probability 0
    assert np.isfinite(slope).all()


def test_wires_say_which_weight_is_which():
    @qml.qnode(qml.device("default.qubit", wires=["a", "b", "c"]))
    def node(angle):
        qml.RY(angle[0], "b")
        return qml.state()
    one = jnp.array([jnp.pi])
    assert np.argmax(QNodeDistribution(node, (1,)).probs(one)) == 0b010
    assert np.argmax(QNodeDistribution(node, (1,), wires=["b", "a"]).probs(one)) == 0b10
    assert np.argmax(QNodeDistribution(node, [1], wires=["c", "a", "b"]).probs(one)) == 0b001


@pytest.mark.parametrize("objective", [KL(), MMD()], ids=["KL", "MMD"])
def test_training_goes_the_way_of_the_born_machine(objective):
    how = dict(objective=objective, estimator=Exact(), params=PARAMS, key=jax.random.key(0), n_steps=5, progress=False)
    ours, theirs = (fit(d, COSTS, None, BernoulliPrior(0.5), **how) for d in (BORN, NODES["lightning"]))
    np.testing.assert_allclose(theirs.params, ours.params, atol=1e-4)
    assert theirs.history["loss"][0, -1] < theirs.history["loss"][0, 0]


def test_several_starts_and_sampled_gradients():
    result = fit(NODES["lightning"], COSTS, None, estimator=ScoreFunction(n_samples=200), n_seeds=2, n_steps=3, key=jax.random.key(0), progress=False)
    assert result.params.shape == (2, *ANSATZ.param_shape) and np.isfinite(result.history["loss"]).all()


@pytest.fixture(scope="module")
def counted(): return on("default.qubit", shots=7)


def test_a_device_with_shots_gives_samples_alone(counted):
    assert counted.capabilities == {Samples, Remote}
    batch = counted.sample_batch(np.stack([PARAMS, PARAMS + 1]), 4000)
    assert batch.shape == (2, 4000, 3) and set(np.unique(batch)) == {-1., 1.}
    for params, weights in zip((PARAMS, PARAMS + 1), batch):
        means = np.asarray(BORN.means(params))
        assert (abs(weights.mean(0) - means) < 5 * np.sqrt((1 - means**2) / 4000) + 1e-3).all()
    assert counted.sample(PARAMS, jax.random.key(0), 5).shape == (5, 3)


def test_a_device_with_shots_is_trained_on_samples(counted):
    result = fit(counted, COSTS, None, BernoulliPrior(0.5), objective=MMD(), n_steps=3, key=jax.random.key(0), progress=False)
    assert isinstance(result.info["estimator"], SPSA) and np.isfinite(result.history["loss"]).all()
    with pytest.raises(TypeError, match="QNodeDistribution, which only gives samples"):
        fit(counted, COSTS, None, objective=KL(), n_steps=1, key=jax.random.key(0), progress=False)
