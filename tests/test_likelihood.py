"Likelihoods against scipy and scikit-learn, through networks, tables, training and prediction."
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss

from qhn.circuits.ansatz import product
from qhn.problem.bits import all_weights
from qhn.distributions.born import BornMachine
from qhn.problem.costs import log_likelihood_table
from qhn.problem.datasets import Dataset
from qhn.problem.points import check_targets
from qhn.inference.fit import fit
from qhn.problem.likelihood import Categorical, Gaussian, Likelihood
from qhn.problem.network import BiNN
from qhn.problem.symmetry import function_labels

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Poisson(Likelihood):
    "Counts with a rate of exp(output)."
    def log_prob(self, outputs, y):
        z = outputs[..., 0]
        return y * z - jnp.exp(z) - jax.scipy.special.gammaln(y + 1.0)
    def mean(self, outputs): return jnp.exp(outputs)
    def variance(self, outputs): return jnp.exp(outputs)


@pytest.mark.parametrize("noise", [0.3, 2, (0.5, 1.5), np.array([0.5, 1.5])], ids=str)
def test_gaussian_is_that_of_scipy(noise):
    outputs, y = RNG.normal(size=(4, 6, 2)), RNG.normal(size=(6, 2))
    want = stats.norm.logpdf(y, outputs, noise).sum(-1)
    np.testing.assert_allclose(Gaussian(noise).log_prob(outputs, y), want, rtol=1e-12)
    np.testing.assert_allclose(Gaussian(noise).log_likelihood(outputs, y), want.sum(-1), rtol=1e-12)
    np.testing.assert_array_equal(Gaussian(noise).mean(outputs), outputs)
    np.testing.assert_allclose(Gaussian(noise).variance(outputs), np.broadcast_to(np.square(noise), outputs.shape))


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_classes_have_the_moments_of_their_indicators(n_outputs):
    outputs = RNG.normal(size=(5, n_outputs))
    p = np.asarray(Categorical().mean(outputs))
    y = RNG.integers(0, p.shape[1], 5)
    assert p.shape == (5, max(2, n_outputs)) == (5, Categorical().n_classes(n_outputs))
    assert float(Categorical().log_likelihood(outputs, y)) == pytest.approx(-log_loss(y, p, normalize=False, labels=range(p.shape[1])), rel=1e-12)
    np.testing.assert_allclose(Categorical().variance(outputs), p - p**2, rtol=1e-12)


@pytest.mark.parametrize("likelihood, y", [(Gaussian(0.7), RNG.normal(size=9)), (Poisson(), RNG.integers(0, 5, 9))], ids=["Gaussian", "Poisson"])
def test_a_likelihood_goes_through_table_and_training(likelihood, y):
    binn, x = BiNN((2, 1), likelihood=likelihood), RNG.normal(size=(9, 2))
    table = np.asarray(log_likelihood_table(binn, x, y))
    z = np.asarray(all_weights(3)) @ np.c_[x, np.ones(9)].T
    want = stats.norm.logpdf(y, z, 0.7) if isinstance(likelihood, Gaussian) else stats.poisson.logpmf(y, np.exp(z))
    np.testing.assert_allclose(table, want.sum(1), rtol=1e-10)
    found = fit(BornMachine(product(3)), binn, (x, y), n_steps=300, key=jax.random.key(0), n_seeds=4, progress=False)
    evidence = np.logaddexp.reduce(table) - 3 * np.log(2)
    assert found.history["loss"][:, -1].min() == pytest.approx(-evidence, abs=0.5)


def test_several_outputs_are_independent_given_the_network():
    binn, x, y = BiNN((2, 2, 3), likelihood=Gaussian((0.5, 1.0, 2.0))), RNG.normal(size=(8, 2)), RNG.normal(size=(8, 3))
    w = RNG.choice([-1.0, 1.0], (5, binn.n_weights))
    want = stats.norm.logpdf(y, np.asarray(binn.logits(w, x)), (0.5, 1.0, 2.0)).sum((1, 2))
    np.testing.assert_allclose(binn.log_likelihood(w, x, y), want, rtol=1e-12)


@pytest.mark.parametrize("layer_sizes", [(3, 1), (2, 3)])
def test_features_make_the_outputs_of_a_linear_network(layer_sizes):
    binn, x = BiNN(layer_sizes, logit_scale=0.3), RNG.normal(size=(6, layer_sizes[0]))
    w = RNG.normal(size=(4, binn.n_weights))
    want = np.einsum("skf,nf->snk", w[:, binn.output_wires], binn.features(x))
    assert binn.is_linear and sorted(binn.output_wires.ravel()) == list(range(binn.n_weights))
    np.testing.assert_allclose(binn.logits(w, x), want, rtol=0, atol=1e-12)
    assert not BiNN((2, 1, 1)).is_linear


def test_functions_of_numbers_keep_their_common_shift():
    "Shifting all logits is no change to a softmax, and one to a mean."
    x = np.zeros((1, 1))    # only the two biases are seen
    classes, numbers = (function_labels(BiNN((1, 2), likelihood=likelihood), x).max() + 1 for likelihood in (Categorical(), Gaussian()))
    assert (classes, numbers) == (3, 4)


def test_a_data_set_may_hold_real_targets():
    data = Dataset(np.ones((3, 2)), [1.0, 2.0, 3.0], np.ones((1, 2)), [0.5], "line", ("a", "b"))
    assert data.y_train.dtype == float and data.n_classes == 0 and "targets" in repr(data)
    assert BiNN((2, 1), likelihood=Gaussian()).log_likelihood(np.ones(3), *data.train).shape == ()


X = np.zeros((2, 1))


@pytest.mark.parametrize("call, error, message", [
    (lambda: Gaussian(0), ValueError, "noise must be positive and finite"),
    (lambda: Gaussian(np.inf), ValueError, "noise must be positive and finite"),
    (lambda: Gaussian(()), ValueError, "noise must be positive and finite"),
    (lambda: Gaussian("loud"), ValueError, "noise must hold numbers, got 'loud'"),
    (lambda: Gaussian((1.0, 2.0)).check(X, [0, 1], 1), ValueError, "noise must be one number, or one for each of the 1 outputs"),
    (lambda: Gaussian().check(X, [0.0, np.nan], 1), ValueError, r"y must be finite, got y\[1\]=nan"),
    (lambda: Gaussian().check(X, [0.0], 1), ValueError, r"y must hold 1 real number for each of the 2 rows of x, got shape \(1,\)"),
    (lambda: Gaussian().check(X, ["a", "b"], 1), ValueError, "y must hold numbers"),
    (lambda: check_targets(X[0], [0.0]), ValueError, "x must have shape"),
    (lambda: BiNN((1, 1), likelihood=Gaussian), TypeError, r"likelihood must be Categorical\(\), Gaussian\(noise\) or a Likelihood of your own"),
    (lambda: BiNN((1, 1), likelihood=Gaussian()).n_classes, TypeError, "class probabilities need a likelihood of classes"),
    (lambda: BiNN((1, 1), likelihood=Gaussian()).log_probs(np.ones(2), X), TypeError, "class probabilities need a likelihood of classes"),
    (lambda: BiNN((1, 2, 1)).output_wires, ValueError, "linear in the weights only without hidden layers"),
    (lambda: BiNN((1, 1)).features(np.ones((2, 3))), ValueError, r"x must have shape \(n_points, 1\)"),
])
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message): call()


def test_a_likelihood_with_an_array_is_refused():
    @dataclass(frozen=True)
    class Offset(Likelihood):
        offset: np.ndarray
        def log_prob(self, outputs, y): return outputs[..., 0] * 0
    with pytest.raises(TypeError, match="likelihood must be hashable"): BiNN((1, 1), likelihood=Offset(np.ones(2)))
