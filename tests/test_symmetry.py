"The average over a network's symmetries against plain enumeration of the group, its samples, its gradient, and Jensen's inequality."
from itertools import permutations, product as every_choice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qhn.problem.bits import all_weights, index_from_weights
from qhn.circuits.ansatz import product, staircase
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable, log_likelihood_table
from qhn.problem.symmetry import unit_wires
from qhn.distributions.base import ClosedMMD, Remote, Samples, Shiftable
from qhn.distributions.born import BornMachine
from qhn.distributions.base import SampleOnly
from qhn.objectives.elbo import KL, NoDivergence, free_energy
from qhn.problem.prior import BernoulliPrior
from qhn.inference.shots import SPSA
from qhn.inference.fit import fit
from qhn.distributions.symmetrised import Symmetrised
from qhn.problem.symmetry import Symmetry

NETWORKS = [BiNN((2, 2, 1)), BiNN((1, 3, 1)), BiNN((1, 2, 2, 1)), BiNN((2, 2, 1), activation=jax.nn.relu), BiNN((4, 1))]


def images(binn, weights):
    "All networks that flips and permutations of hidden units make of one, from the wires of the units alone."
    found, odd = [np.asarray(weights, int)], binn.activation is jnp.tanh
    for layer, width in enumerate(binn.layer_sizes[1:-1]):
        wires, moved = [unit_wires(binn, layer, u) for u in range(width)], []
        for w in found:
            for order in permutations(range(width)):
                for signs in every_choice((1, -1) if odd else (1,), repeat=width):
                    new = w.copy()
                    for place, unit in enumerate(order): new[wires[place]] = signs[place] * w[wires[unit]]
                    moved.append(new)
        found = moved
    return np.array(found)


@pytest.mark.parametrize("binn", NETWORKS, ids=["2-2-1", "1-3-1", "1-2-2-1", "relu", "4-1"])
def test_average_is_that_over_the_group(binn):
    q = np.random.default_rng(0).dirichlet(np.ones(2**binn.n_weights))
    expected = q[np.asarray(index_from_weights(np.stack([images(binn, w) for w in np.asarray(all_weights(binn.n_weights))])))].mean(1)
    np.testing.assert_allclose(Symmetry(binn).average(q), expected, atol=1e-12)
    np.testing.assert_allclose(jax.jit(Symmetry(binn).average)(q), expected, atol=1e-12)
    np.testing.assert_allclose(Symmetry(binn).average(Symmetry(binn).average(q)), expected, atol=1e-12)


def test_its_gradient_by_central_differences():
    binn, machine = NETWORKS[0], Symmetrised(BornMachine(staircase(9, 1, final_rz=False)), NETWORKS[0])
    costs, p = np.random.default_rng(1).normal(size=512), machine.init(jax.random.key(0))
    value = lambda p: KL().from_probs(machine.probs(p), costs, BernoulliPrior()).loss
    gradient, h = np.asarray(jax.grad(value)(p)), 1e-5
    for at in [0, 13, 26]:
        step = jnp.zeros_like(p).at[at].set(h)
        assert (value(p + step) - value(p - step)) / (2 * h) == pytest.approx(gradient[at], abs=1e-7)


def test_free_energy_never_rises():
    binn = BiNN((2, 2, 1), logit_scale=2.)
    rng = np.random.default_rng(2)
    table = log_likelihood_table(binn, rng.normal(size=(20, 2)), rng.integers(0, 2, 20))
    for concentration in (0.01, 0.1, 1, 10):
        for q in rng.dirichlet(np.full(512, concentration), 5):
            assert free_energy(Symmetry(binn).average(q), table, BernoulliPrior()) <= free_energy(q, table, BernoulliPrior()) + 1e-9


@pytest.mark.parametrize("binn", NETWORKS[:4], ids=["2-2-1", "1-3-1", "1-2-2-1", "relu"])
def test_table_logarithm_means_and_samples_agree(binn):
    n = binn.n_weights
    machine = Symmetrised(BornMachine(staircase(n, 2, final_rz=False)), binn)
    assert machine.capabilities == machine.source.capabilities - {ClosedMMD}
    p, every = machine.init(jax.random.key(3)), all_weights(n)
    q = np.asarray(machine.probs(p))
    np.testing.assert_allclose(np.exp(machine.log_prob(p, every)), q, atol=1e-12)
    np.testing.assert_allclose(machine.means(p), q @ np.asarray(every), atol=1e-12)
    sets = np.random.default_rng(0).integers(0, 2, (12, n))
    words, errors = machine.words(p, sets)
    np.testing.assert_allclose(words, [q @ np.prod(np.where(s, every, 1), 1) for s in sets], atol=1e-12)
    assert (errors == 0).all()
    drawn = np.asarray(index_from_weights(machine.sample(p, jax.random.key(4), 20_000)))
    counts, likely = np.bincount(drawn, minlength=2**n), q * 20_000 > 20
    spread = np.sqrt(20_000 * q[likely] * (1 - q[likely]))
    assert (np.abs(counts[likely] - 20_000 * q[likely]) < 5 * spread).all()


class Device(Remote, Shiftable):
    "One network, again and again, from outside JAX."
    n_qubits, param_shape, frequencies = 9, product(9).param_shape, product(9).frequencies
    def _sample_batch(self, params, n_samples): return np.broadcast_to([1., 1, 1, -1, -1, 1, 1, 1, -1], (len(params), n_samples, 9))
    def usage(self): return {"QPU": "1 s"}


def test_a_symmetrised_device_is_shuffled_outside_jax():
    "Its shots are the copies of what the source measures, each as often as any other; the same again at the same shots."
    binn, device = BiNN((2, 2, 1)), Symmetrised(Device(), BiNN((2, 2, 1)))
    assert device.capabilities == {Remote, Shiftable} and device.usage() == {"QPU": "1 s"}
    weights = device.sample_batch(np.zeros((2, *product(9).param_shape)), 4000)
    assert weights.shape == (2, 4000, 9) and np.array_equal(weights, device.sample_batch(np.zeros((2, *product(9).param_shape)), 4000))
    kinds, counts = np.unique(weights.reshape(-1, 9), axis=0, return_counts=True)
    assert {tuple(k) for k in kinds} == {tuple(k) for k in Symmetry(binn).copies(Device().sample_batch(np.zeros((1, *product(9).param_shape)), 1)[0, 0])} and len(kinds) == 8
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)
    run = fit(device, CostTable(np.arange(512.)), objective=NoDivergence(), n_steps=2, key=jax.random.key(0), progress=False)
    assert run.n_steps == 2 and run.info["estimator"] == SPSA()


def test_shuffling_any_width():
    "A thousand weights: the logits stay, the copies differ, and every place of a unit is as likely as another."
    binn = BiNN((20, 40, 1))
    one = jnp.where(jax.random.bernoulli(jax.random.key(5), shape=(1, binn.n_weights)), 1., -1.)
    shuffled = Symmetry(binn).shuffle(jax.random.key(6), jnp.repeat(one, 50, 0))
    x = np.random.default_rng(3).normal(size=(5, 20))
    np.testing.assert_allclose(binn.logits(shuffled, x), np.repeat(binn.logits(one, x), 50, 0), atol=1e-10)
    assert len(np.unique(np.asarray(shuffled), axis=0)) == 50


def test_it_trains_where_a_product_cannot():
    "Two copies far apart: the symmetrised product reaches what a product misses by ln 2."
    binn = BiNN((1, 1, 1))
    costs = CostTable(10. * np.asarray([min(np.sum(w != [1, 1, 1, 1]), np.sum(w != [-1, -1, -1, 1])) for w in np.asarray(all_weights(4))]))
    run = lambda d: min(fit(d, costs, n_steps=300, key=jax.random.key(0), n_seeds=4, progress=False).history["loss"][:, -1])
    plain, symmetric = run(BornMachine(product(4))), run(Symmetrised(BornMachine(product(4)), binn))
    assert plain - symmetric == pytest.approx(np.log(2), abs=0.02)


def test_refusals():
    with pytest.raises(ValueError, match="n_weights=9 and n_qubits=4"): Symmetrised(BornMachine(product(4)), NETWORKS[0])
    with pytest.raises(ValueError, match=r"2\*\*9 entries"): Symmetry(NETWORKS[0]).average(np.ones(16) / 16)
    assert Symmetrised(SampleOnly(BornMachine(product(9))), NETWORKS[0]).capabilities == {Samples, Shiftable}
