"Mixtures of circuits against the plain average of their parts: table, gradient, logarithm, samples, means, and training."
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qhn.problem.bits import all_weights, index_from_weights
from qhn.circuits.ansatz import Ansatz, Rotation, brickwork, product, staircase
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable
from qhn.distributions.base import Independent, ClosedMMD
from qhn.distributions.born import BornMachine
from qhn.objectives.elbo import KL, free_energy
from qhn.problem.prior import BernoulliPrior
from qhn.inference.shots import SPSA, ParameterShift
from qhn.inference.gradients import Exact, ScoreFunction
from qhn.inference.fit import fit
from qhn.distributions.mixtures import Mixture
from qhn.objectives.mmd import MMD
from qhn.distributions.symmetrised import Symmetrised

CIRCUITS = {"product": product(5), "one wire": product(1), "all turns": Ansatz(5, (Rotation("RX"), Rotation("RZ"), Rotation("RY"))),
            "staircase": staircase(5, 2), "bricks": brickwork(5, 2)}


@pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS)
@pytest.mark.parametrize("n_circuits", [1, 3])
def test_table_logarithm_and_means_are_the_average_of_the_parts(circuit, n_circuits):
    part = BornMachine(circuit)
    machine = Mixture(part, n_circuits)
    assert machine.capabilities == part.capabilities - {Independent, ClosedMMD} and machine.param_shape == (n_circuits, *part.param_shape) and machine.n_qubits == circuit.n_qubits
    p, every = machine.init(jax.random.key(0)), all_weights(circuit.n_qubits)
    q = np.mean([part.probs(one) for one in p], 0)
    np.testing.assert_allclose(machine.probs(p), q, atol=1e-12)
    np.testing.assert_allclose(np.exp(machine.log_prob(p, every)), q, atol=1e-12)
    np.testing.assert_allclose(machine.means(p), q @ np.asarray(every), atol=1e-12)


@pytest.mark.parametrize("circuit", [product(5), staircase(5, 1)], ids=["product", "staircase"])
def test_gradient_of_the_free_energy_by_central_differences(circuit):
    machine, costs = Mixture(BornMachine(circuit), 3), np.random.default_rng(1).normal(size=32)
    value, p, h = lambda p: KL().from_probs(machine.probs(p), costs, BernoulliPrior()).loss, machine.init(jax.random.key(1)), 1e-5
    gradient = np.asarray(jax.grad(value)(p))
    for at in [(0, 0), (1, 3), (2, 4)]:
        step = jnp.zeros_like(p).at[at].set(h)
        assert (value(p + step) - value(p - step)) / (2 * h) == pytest.approx(gradient[at], abs=1e-7)


def test_samples_come_from_the_mixture_and_are_independent():
    "Two far parts: neighbouring draws agree on the part half of the time, not more and not less."
    machine = Mixture(BornMachine(product(6)), 2)
    p = jnp.stack([jnp.full(6, 0.3), jnp.full(6, jnp.pi - 0.3)])
    drawn = machine.sample(p, jax.random.key(2), 20_000)
    q = np.asarray(machine.probs(p))
    counts = np.bincount(np.asarray(index_from_weights(drawn)), minlength=64) / 20_000
    assert (np.abs(counts - q) < 5 * np.sqrt(q * (1 - q) / 20_000) + 1e-4).all()
    part = np.asarray(drawn).sum(1) > 0
    assert abs((part[1:] == part[:-1]).mean() - 0.5) < 5 * 0.5 / np.sqrt(20_000)


def test_two_products_hold_two_modes_that_one_cannot():
    "Parity-free bimodal target: one product pays ln 2, a mixture of two next to nothing."
    costs = 20. * np.minimum((1 - np.asarray(all_weights(5))).sum(1), (1 + np.asarray(all_weights(5))).sum(1)) / 2
    evidence = np.logaddexp.reduce(-costs) - 5 * np.log(2)
    gaps = []
    for k in (1, 2):
        machine = Mixture(BornMachine(product(5)), k)
        found = fit(machine, CostTable(costs), objective=KL(), n_steps=300, key=jax.random.key(0), n_seeds=4, progress=False)
        gaps.append(min(float(free_energy(machine.probs(p), jnp.asarray(-costs), BernoulliPrior()) + evidence) for p in found.params))
    assert gaps[0] == pytest.approx(np.log(2), abs=0.02) and gaps[1] < 0.02


@pytest.mark.parametrize("source", [Mixture(BornMachine(product(5)), 2), Symmetrised(BornMachine(staircase(5, 1)), BiNN((2, 1, 1)))], ids=["mixture", "symmetrised"])
def test_parts_may_be_of_any_kind(source):
    "A mixture of mixtures, and of symmetrised circuits: table, logarithm, words and samples are of one distribution."
    machine, every = Mixture(source, 3), np.asarray(all_weights(5))
    p = machine.init(jax.random.key(4))
    q = np.mean([source.probs(one) for one in p], 0)
    np.testing.assert_allclose(machine.probs(p), q, atol=1e-12)
    np.testing.assert_allclose(np.exp(machine.log_prob(p, every)), q, atol=1e-12)
    sets = np.random.default_rng(0).integers(0, 2, (8, 5))
    np.testing.assert_allclose(machine.words(p, sets)[0], [q @ np.prod(np.where(s, every, 1), 1) for s in sets], atol=1e-12)
    np.testing.assert_allclose(machine.pair_means(p), every.T @ (q[:, None] * every), atol=1e-12)
    counts = np.bincount(np.asarray(index_from_weights(machine.sample(p, jax.random.key(5), 20_000))), minlength=32) / 20_000
    assert (np.abs(counts - q) < 5 * np.sqrt(q * (1 - q) / 20_000) + 1e-4).all()


def test_it_can_be_symmetrised():
    binn = BiNN((2, 1, 1))
    machine = Symmetrised(Mixture(BornMachine(product(binn.n_weights)), 3), binn)
    p, every = machine.init(jax.random.key(3)), all_weights(binn.n_weights)
    np.testing.assert_allclose(np.exp(machine.log_prob(p, every)), machine.probs(p), atol=1e-12)
    np.testing.assert_allclose(machine.means(p), machine.probs(p) @ every, atol=1e-12)


def test_wrong_numbers_and_keys_are_refused():
    for number in (0, -2):
        with pytest.raises(ValueError, match=f"n_circuits={number}"): Mixture(BornMachine(product(2)), number)
    with pytest.raises(TypeError, match="n_circuits must be an integer"): Mixture(BornMachine(product(2)), 1.5)
    machine = Mixture(BornMachine(product(2)), 3)
    with pytest.raises(ValueError, match="key must be a jax.random.key"): machine.init(0)
    p = machine.init(jax.random.key(0))
    for call in (machine.probs, machine.means, lambda p: machine.log_prob(p, jnp.ones(2)), lambda p: machine.sample(p, jax.random.key(0), 5)):
        with pytest.raises(ValueError, match=r"params must have shape \(3, 2\) \(circuits, angles\)"): call(p[:2])
        with pytest.raises(ValueError, match="params must hold numbers, got dtype complex"): call(p + 1j)
    np.testing.assert_array_equal(machine.means(p.tolist()), machine.means(p))
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1"): machine.sample(p, jax.random.key(0), 0)
    with pytest.raises(ValueError, match="key must be a jax.random.key"): machine.sample(p, 0, 5)
    with pytest.raises(TypeError, match="source must be a Distribution"): Mixture(product(2), 2)
    for circuit in (product(40), staircase(40, 1)):
        with pytest.raises(ValueError, match="use log_prob or sample"): Mixture(BornMachine(circuit), 2).probs(jnp.zeros((2, *circuit.param_shape)))


@pytest.mark.parametrize("estimator", [ParameterShift(64), SPSA(64), ScoreFunction(64), Exact()], ids=lambda e: type(e).__name__)
def test_every_estimator_trains_it(estimator):
    costs = CostTable(np.random.default_rng(0).normal(size=16) * 3)
    objective = MMD() if isinstance(estimator, (ParameterShift, SPSA)) else KL()
    found = fit(Mixture(BornMachine(product(4)), 2), costs, objective=objective, estimator=estimator, n_steps=40, key=jax.random.key(0), progress=False)
    losses = np.asarray(found.history["loss"][0])
    assert losses[-10:].mean() < losses[:10].mean()


def test_rare_networks_have_their_probability_in_single_precision():
    machine = Mixture(BornMachine(product(2)), 2)
    p = jnp.full((2, 2), 4e-4, jnp.float32)
    np.testing.assert_allclose(machine.probs(p)[1], 4e-8, rtol=1e-3)
