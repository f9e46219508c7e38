"Rényi's bound and Stein's discrepancy against their definitions in plain numpy, their gradients by differences, and where they vanish."
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qhn.circuits.ansatz import staircase
from qhn.problem.costs import CostTable
from qhn.distributions.born import BornMachine
from qhn.objectives.divergences import Renyi, Stein, glauber_flows
from qhn.objectives.elbo import KL
from qhn.problem.prior import BernoulliPrior
from qhn.inference.gradients import ScoreFunction
from qhn.inference.fit import fit

PRIORS = [BernoulliPrior(), BernoulliPrior(0.3)]


def problem(n, prior, seed=0):
    rng = np.random.default_rng(seed)
    costs, q = 3 * rng.normal(size=2**n), rng.dirichlet(np.ones(2**n))
    bits = np.array(list(np.ndindex(*[2] * n)))
    p = np.broadcast_to(prior.prob_plus, n)
    joint = np.exp(-costs) * np.prod(np.where(bits == 0, p, 1 - p), 1)
    return costs, q, bits, joint / joint.sum(), np.log(joint.sum())


@pytest.mark.parametrize("prior", PRIORS, ids=["fair", "biased"])
@pytest.mark.parametrize("order", [0.2, 0.5, 0.9, 3.])
def test_renyi_is_its_definition(prior, order):
    costs, q, _, posterior, evidence = problem(4, prior)
    divergence = np.log((q**order * posterior**(1 - order)).sum()) / (order - 1)
    found = Renyi(order).from_probs(jnp.asarray(q), costs, prior)
    assert found.loss == pytest.approx(divergence - evidence, abs=1e-10)
    assert found.expected_nll + found.divergence == pytest.approx(float(found.loss)) and found.expected_nll == pytest.approx(q @ costs)
    assert Renyi(order).from_probs(jnp.asarray(posterior), costs, prior).loss == pytest.approx(-evidence, abs=1e-10)


def test_renyi_tends_to_the_free_energy():
    costs, q, *_ = problem(4, PRIORS[1])
    kl = float(KL().from_probs(jnp.asarray(q), costs, PRIORS[1]).loss)
    errors = [abs(float(Renyi(1 - h).from_probs(jnp.asarray(q), costs, PRIORS[1]).loss) - kl) for h in (1e-2, 1e-3)]
    assert errors[1] < errors[0] / 5 and errors[1] < 0.01


def test_renyi_where_q_has_holes():
    for order in (0.5, 2.):
        costs, q = np.zeros(8), jnp.zeros(8).at[2].set(1.)
        loss, slope = jax.value_and_grad(lambda q: Renyi(order).from_probs(q, costs, PRIORS[0]).loss)(q)
        assert loss == pytest.approx(np.log(8)) and np.isfinite(slope).all()


@pytest.mark.parametrize("prior", PRIORS, ids=["fair", "biased"])
def test_stein_is_its_definition(prior):
    "Sum over bits of u K u with the Gaussian-Hamming kernel written out, u from ratios of the posterior."
    n = 4
    costs, q, bits, posterior, _ = problem(n, prior)
    distance, expected = (bits[:, None] != bits).sum(-1), 0.
    pis = np.array([1.]) / n
    gram = np.mean([(1 - 2 * p)**distance for p in pis], 0)
    for j in range(n):
        flip = np.arange(2**n) ^ 2**(n - 1 - j)
        rate = posterior[flip] / (posterior + posterior[flip])
        u = (q * rate)[flip] - q * rate
        expected += u @ gram @ u
        np.testing.assert_allclose(glauber_flows(jnp.asarray(q), jnp.log(posterior))[j], u, atol=1e-12)
    assert Stein((1.,)).from_probs(jnp.asarray(q), costs, prior).loss == pytest.approx(expected, abs=1e-12)


def test_stein_vanishes_at_the_posterior_alone():
    costs, _, _, posterior, _ = problem(4, PRIORS[1])
    loss = lambda q: float(Stein().from_probs(jnp.asarray(q), costs, PRIORS[1]).loss)
    assert loss(posterior) < 1e-25
    for k in range(16): assert loss(0.99 * posterior + 0.01 * np.eye(16)[k]) > 1e-8


@pytest.mark.parametrize("objective", [Renyi(0.5), Renyi(2.), Stein()], ids=str)
def test_gradients_by_central_differences(objective):
    machine, costs = BornMachine(staircase(4, 1, final_rz=False)), problem(4, PRIORS[0])[0]
    value, p, h = lambda p: objective.from_probs(machine.probs(p), costs, PRIORS[0]).loss, machine.init(jax.random.key(1)), 1e-5
    gradient = np.asarray(jax.grad(value)(p))
    for at in np.ndindex(*p.shape):
        step = jnp.zeros_like(p).at[at].set(h)
        assert (value(p + step) - value(p - step)) / (2 * h) == pytest.approx(gradient[at], abs=1e-6)


@pytest.mark.parametrize("objective", [Renyi(0.5), Stein()], ids=str)
def test_training_finds_the_posterior(objective):
    "Two qubits and a circuit that can be anything."
    costs, _, _, posterior, _ = problem(2, PRIORS[0])
    machine = BornMachine(staircase(2, 2, final_rz=False))
    found = fit(machine, CostTable(costs), objective=objective, n_steps=1500, key=jax.random.key(0), n_seeds=6, progress=False)
    best = found.params[found.history["loss"][:, -1].argmin()]
    np.testing.assert_allclose(machine.probs(best), posterior, atol=0.01)


def test_refusals():
    for order in (0, -2, np.inf):
        with pytest.raises(ValueError, match="order must be positive"): Renyi(order)
    with pytest.raises(ValueError, match="word_weights"): Stein((0.,))
    with pytest.raises(TypeError, match="Renyi needs the probabilities of all networks"):
        fit(BornMachine(staircase(2, 1)), CostTable(np.zeros(4)), objective=Renyi(), estimator=ScoreFunction(8), n_steps=1, key=jax.random.key(0), progress=False)


@pytest.mark.parametrize("order", [0.98, 0.9899, 0.9901, 0.9999, 1, 1.0001, 1.0099, 1.0101, 1.5])
def test_close_to_order_one(order):
    "Against the formula in 50 digits, where the logarithm of the sum is all rounding."
    rng = np.random.default_rng(3)
    q, costs = rng.dirichlet(np.full(16, 0.3)), 5 * rng.normal(size=16)
    with localcontext(prec=50):
        joint = [Decimal(float(v)) for v in np.asarray(PRIORS[0].table(4)) - costs]
        exact = [Decimal(float(v)) / sum(map(Decimal, map(float, q))) for v in q]
        rest = 1 - Decimal(order)
        expected = -(sum(v * (rest * (j - v.ln())).exp() for v, j in zip(exact, joint))).ln() / rest if rest else sum(v * (v.ln() - j) for v, j in zip(exact, joint))
    assert Renyi(order).from_probs(jnp.asarray(q), costs, PRIORS[0]).loss == pytest.approx(float(expected), abs=1e-11)


def test_an_order_that_moves():
    rng = np.random.default_rng(4)
    q, costs = jnp.asarray(rng.dirichlet(np.ones(16))), rng.normal(size=16)
    moving = Renyi(lambda step: jnp.minimum(1, 0.5 + 0.005 * step))
    for step, order in ((0, 0.5), (40, 0.7), (100, 1.), (500, 1.)):
        at = jax.jit(jax.value_and_grad(lambda q, step: moving.from_probs(q, costs, PRIORS[0], step).loss))
        of = jax.value_and_grad(lambda q: Renyi(order).from_probs(q, costs, PRIORS[0]).loss)
        for a, b in zip(at(q, step), of(q)): np.testing.assert_allclose(a, b, atol=1e-12)
    kl = jax.grad(lambda q: KL().from_probs(q, costs, PRIORS[0]).loss)(q)
    slope = np.asarray(at(q, 100)[1] - kl)
    np.testing.assert_allclose(slope - slope.mean(), 0, atol=1e-12)    # a constant moves no normalised q
