"""Binary networks against plain loops, scikit-learn and enumeration."""
import copy
import itertools
import math
import multiprocessing
import os
import pickle

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from qhn.problem.bits import (all_weights, batch_size, check_memory, check_weights,
                              index_from_weights, weights_from_index)
from qhn.problem import bits
from qhn.problem import costs
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable, log_likelihood_table
from qhn.problem.symmetry import flip_unit, swap_units, unit_wires
from qhn.problem.costs import as_target

SIZES = [(3, 1), (2, 3), (2, 2, 1), (2, 1, 2, 2)]
sizes = pytest.mark.parametrize("layer_sizes", SIZES, ids=str)


def data(binn, n_points=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_points, binn.layer_sizes[0])), rng.integers(0, binn.n_classes, n_points)


def signs(binn, *shape, seed=1): return np.random.default_rng(seed).choice([-1.0, 1.0], size=(*shape, binn.n_weights))


def read_weights(layer_sizes, w):
    "The layout of the design, read from the wires one weight at a time: {(layer, to, from): weight}, {(layer, unit): bias}."
    wires, weight, bias = iter(w), {}, {}
    for layer in range(1, len(layer_sizes) - 1):
        for unit in range(layer_sizes[layer]):
            if layer == 1:
                for i in range(layer_sizes[0]): weight[1, unit, i] = next(wires)
            bias[layer, unit] = next(wires)
            for out in range(layer_sizes[layer + 1]): weight[layer + 1, out, unit] = next(wires)
    last = len(layer_sizes) - 1
    if last == 1:
        for out, i in itertools.product(range(layer_sizes[1]), range(layer_sizes[0])): weight[1, out, i] = next(wires)
    for out in range(layer_sizes[-1]): bias[last, out] = next(wires)
    assert next(wires, None) is None
    return weight, bias


def loop_logits(binn, w, point, activation=math.tanh):
    weight, bias = read_weights(binn.layer_sizes, w)
    h, last = list(point), len(binn.layer_sizes) - 1
    for layer in range(1, last + 1):
        total = [bias[layer, u] + sum(weight[layer, u, i] * v for i, v in enumerate(h)) for u in range(binn.layer_sizes[layer])]
        h = [binn.logit_scale * t if layer == last else activation(t) for t in total]
    return h


def loop_log_likelihood(binn, w, x, y):
    total = 0.0
    for point, label in zip(x, y):
        z = loop_logits(binn, w, point)
        if len(z) == 1: z = [0.0, z[0]]    # a sigmoid is a softmax against a logit of zero
        total += z[label] - math.log(sum(math.exp(v) for v in z))
    return total


def count_compilations(function):
    events = []
    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration": events.append(duration)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try: function()
    finally: jax.monitoring.unregister_event_duration_listener(listen)
    return len(events)


# ---- bits and weights

@pytest.mark.parametrize("n", [1, 2, 9, 31])
def test_index_and_weights_are_inverse(n):
    index = np.random.default_rng(n).integers(0, 2**n, 100)
    w = weights_from_index(index, n)
    np.testing.assert_array_equal(w, [[1 - 2 * int(b) for b in f"{i:0{n}b}"] for i in index])
    np.testing.assert_array_equal(index_from_weights(w), index)


def test_largest_index_without_64_bits():
    with jax.enable_x64(False):
        w = weights_from_index(np.array([2**31 - 1, 2**30]), 31)
        assert w.dtype == jnp.float32
        np.testing.assert_array_equal(index_from_weights(w), [2**31 - 1, 2**30])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
def test_weights_from_index_takes_any_integers_and_shape(dtype):
    w = weights_from_index(np.arange(6, dtype=dtype).reshape(2, 3), 3)
    np.testing.assert_array_equal(w.reshape(6, 3), [*itertools.product((1, -1), repeat=3)][:6])
    assert w.dtype == jnp.float64 and weights_from_index(dtype(0), 3, jnp.int8).dtype == jnp.int8


def test_all_weights_in_basis_order():
    np.testing.assert_array_equal(all_weights(4), [*itertools.product((1, -1), repeat=4)])


# ---- network

@sizes
def test_n_weights_counts_the_wires(layer_sizes):
    binn = BiNN(layer_sizes)
    weight, bias = read_weights(layer_sizes, range(binn.n_weights))   # fails if too few or too many
    assert binn.n_weights == len(weight) + len(bias)
    assert binn.n_classes == (2 if layer_sizes[-1] == 1 else layer_sizes[-1])


def test_sizes_of_the_contract():
    assert BiNN((16, 1)).n_weights == 17 and BiNN((2, 2, 1)).n_weights == 9 and BiNN((64, 28, 10)).n_weights == 2110


@sizes
def test_unpack_puts_each_wire_in_its_place(layer_sizes):
    binn = BiNN(layer_sizes)
    weight, bias = read_weights(layer_sizes, range(binn.n_weights))
    for layer, (w, b) in enumerate(binn.unpack(np.arange(binn.n_weights)), start=1):
        np.testing.assert_array_equal(w, [[weight[layer, u, i] for i in range(layer_sizes[layer - 1])] for u in range(layer_sizes[layer])])
        np.testing.assert_array_equal(b, [bias[layer, u] for u in range(layer_sizes[layer])])


@sizes
@pytest.mark.parametrize("logit_scale", [1.0, 0.3])
def test_logits_match_a_loop(layer_sizes, logit_scale):
    binn = BiNN(layer_sizes, logit_scale=logit_scale)
    w, (x, _) = np.random.default_rng(5).normal(size=(2, 3, binn.n_weights)), data(binn)   # logits take any real weights
    expected = [[[loop_logits(binn, v, point) for point in x] for v in row] for row in w]
    np.testing.assert_allclose(binn.logits(w, x), expected, rtol=0, atol=1e-12)


def test_activation_is_used():
    binn = BiNN((2, 2, 1), activation=jax.nn.relu)
    (w,), (x, _) = signs(binn, 1), data(binn)
    expected = [loop_logits(binn, w, point, activation=lambda t: max(t, 0)) for point in x]
    np.testing.assert_allclose(binn.logits(w, x), expected, rtol=0, atol=1e-12)


@sizes
def test_log_likelihood_matches_a_loop_and_scikit_learn(layer_sizes):
    binn = BiNN(layer_sizes, logit_scale=0.7)
    w, (x, y) = signs(binn, 4), data(binn)
    found = binn.log_likelihood(w, x, y)
    np.testing.assert_allclose(found, [loop_log_likelihood(binn, v, x, y) for v in w], rtol=0, atol=1e-11)
    for value, probs in zip(found, np.exp(binn.log_probs(w, x))):
        assert float(value) == pytest.approx(-log_loss(y, probs, normalize=False, labels=range(binn.n_classes)), abs=1e-10)


@sizes
def test_log_probs_are_normalised(layer_sizes):
    binn = BiNN(layer_sizes)
    log_probs = binn.log_probs(signs(binn, 2, 3), data(binn)[0])
    assert log_probs.shape == (2, 3, 7, binn.n_classes)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=0, atol=1e-14)


@pytest.mark.parametrize("layer_sizes, w", [((2, 1), (1.0, 1, 1)), ((2, 2), (1.0, 1, -1, -1, 1, 1))], ids=str)
@pytest.mark.parametrize("label", [0, 1])
def test_confident_logits_stay_finite(layer_sizes, w, label):
    binn, w, x = BiNN(layer_sizes, logit_scale=1e6), np.array(w), np.array([[3.0, 1.0]])
    value, slope = jax.value_and_grad(lambda v: binn.log_likelihood(v, x, np.array([label])))(w)
    z = loop_logits(binn, w, x[0])
    margin = z[0] if len(z) == 1 else z[1] - z[0]
    assert float(value) == pytest.approx(min(0.0, margin if label else -margin), rel=1e-12)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("labels", [np.uint8, np.int64, bool])
def test_label_dtypes_agree(labels):
    binn = BiNN((3, 1))
    w, (x, y) = signs(binn, 3), data(binn)
    np.testing.assert_array_equal(binn.log_likelihood(w, x, y.astype(labels)), binn.log_likelihood(w, x, y))
    np.testing.assert_array_equal(log_likelihood_table(binn, x, y.astype(labels)), log_likelihood_table(binn, x, y))


@pytest.mark.parametrize("layer_sizes", [(2, 2, 1), (2, 2, 3)], ids=str)
def test_gradient_at_mean_weights_matches_central_differences(layer_sizes):
    binn = BiNN(layer_sizes)
    (x, y), mean, eps = data(binn), np.random.default_rng(2).uniform(-1, 1, binn.n_weights), 1e-5
    f = lambda w: binn.log_likelihood(w, x, y)
    value = lambda w: loop_log_likelihood(binn, w, x, y)
    steps = np.eye(binn.n_weights) * eps
    expected = [(value(mean + step) - value(mean - step)) / (2 * eps) for step in steps]
    np.testing.assert_allclose(jax.jit(jax.grad(f))(mean), expected, rtol=0, atol=1e-8)


@sizes
def test_jit_equals_eager_and_binn_passes_through(layer_sizes):
    binn = BiNN(layer_sizes)
    w, (x, y) = signs(binn, 3), data(binn)
    eager = binn.log_likelihood(w, x, y)
    as_argument = jax.jit(lambda b, w, x, y: b.log_likelihood(w, x, y))(binn, w, x, y)
    as_static = jax.jit(BiNN.log_likelihood, static_argnums=0)(binn, w, x, y)
    np.testing.assert_allclose(as_argument, eager, rtol=1e-13); np.testing.assert_allclose(as_static, eager, rtol=1e-13)


def test_equal_networks_share_compiled_code():
    assert BiNN([np.int64(3), 1], logit_scale=np.float32(1)) == BiNN((3, 1)) and hash(BiNN([3, 1])) == hash(BiNN((3, 1)))
    assert BiNN((3, 1)) != BiNN((3, 1), logit_scale=2.0) and BiNN((3, 1)) != BiNN((3, 1), activation=jnp.sin)


def test_float32_is_kept():
    binn = BiNN((3, 1))
    x, y = data(binn)
    with jax.enable_x64(False):
        w = all_weights(binn.n_weights)
        assert w.dtype == binn.log_likelihood(w, x, y).dtype == log_likelihood_table(binn, x, y).dtype == jnp.float32
    assert log_likelihood_table(binn, x.astype(np.float32), y).dtype == jnp.float32   # dtype follows the features under x64 as well
    assert log_likelihood_table(binn, x, y).dtype == log_likelihood_table(binn, x.astype(int), y).dtype == jnp.float64


# ---- symmetries

@sizes
def test_flips_and_swaps_leave_the_likelihood(layer_sizes):
    binn = BiNN(layer_sizes)
    w, (x, y) = signs(binn, 20), data(binn)
    before, n_hidden = binn.log_likelihood(w, x, y), 0
    for layer, width in enumerate(layer_sizes[1:-1]):
        for unit in range(width):
            after = flip_unit(binn, w, layer, unit)
            assert (after != w).any(axis=1).all()
            np.testing.assert_allclose(binn.log_likelihood(after, x, y), before, rtol=0, atol=1e-11)
        for i, j in itertools.combinations(range(width), 2):
            after = swap_units(binn, w, layer, i, j)
            assert (np.asarray(after) != w).any()
            np.testing.assert_allclose(binn.log_likelihood(after, x, y), before, rtol=0, atol=1e-11)
            np.testing.assert_array_equal(swap_units(binn, after, layer, i, j), w)


def test_flip_of_an_even_activation_is_refused():
    binn = BiNN((2, 2, 1), activation=jnp.cos)
    w, (x, y) = signs(binn, 20), data(binn)
    flipped = np.array(w); flipped[:, unit_wires(binn, 0, 0)] *= -1
    assert not np.allclose(binn.log_likelihood(flipped, x, y), binn.log_likelihood(w, x, y))
    with pytest.raises(ValueError, match="activation must be odd .* got cos"): flip_unit(binn, w, 0, 0)


def test_wires_of_a_hidden_unit_are_neighbours():
    binn = BiNN((3, 4, 2))
    for unit in range(4): np.testing.assert_array_equal(unit_wires(binn, 0, unit), np.arange(6 * unit, 6 * unit + 6))


def test_flip_under_jit():
    binn = BiNN((2, 2, 1))
    w = signs(binn, 3)
    np.testing.assert_array_equal(jax.jit(lambda v: flip_unit(binn, v, 0, 1))(w), flip_unit(binn, w, 0, 1))


# ---- the table

@sizes
def test_table_matches_a_loop(layer_sizes):
    binn = BiNN(layer_sizes, logit_scale=0.8)
    x, y = data(binn)
    found = log_likelihood_table(binn, x, y)
    assert found.shape == (2**binn.n_weights,)
    step = max(1, 2**binn.n_weights // 256)
    strings = [*itertools.product((1, -1), repeat=binn.n_weights)][::step]   # basis order, all of them for small networks
    np.testing.assert_allclose(found[::step], [loop_log_likelihood(binn, w, x, y) for w in strings], rtol=0, atol=1e-11)


@pytest.mark.parametrize("budget", [1, 2**10, 2**40])
def test_batches_do_not_change_the_table(budget, monkeypatch):
    binn = BiNN((2, 2, 1), activation=lambda t: jnp.tanh(t))   # a new function each time: the budget is read at compilation
    x, y = data(binn, n_points=11)
    monkeypatch.setattr(bits, "BATCH_BYTES", budget)
    found = log_likelihood_table(binn, x, y)
    np.testing.assert_allclose(found, binn.log_likelihood(all_weights(9), x, y), rtol=0, atol=1e-11)


@settings(deadline=None)
@given(st.sampled_from(SIZES), st.integers(1, 10**7), st.sampled_from([4, 8]))
def test_batches_stay_within_the_budget(layer_sizes, n_points, itemsize):
    binn = BiNN(layer_sizes)
    x, y = jax.ShapeDtypeStruct((n_points, layer_sizes[0]), f"f{itemsize}"), jax.ShapeDtypeStruct((n_points,), int)
    found = []
    def at_points(x, y): found.append(batch_size(lambda w: binn.log_likelihood(w, x, y), binn.n_weights, x.dtype))
    jax.eval_shape(at_points, x, y)    # shapes are enough
    (batch,) = found
    assert 2**binn.n_weights % batch == 0
    assert batch == 1 or batch * n_points * max(layer_sizes[1:]) * itemsize <= bits.BATCH_BYTES
    assert batch == 2**binn.n_weights or batch * n_points * 8 * max(layer_sizes[1:]) * itemsize > bits.BATCH_BYTES    # nor are they far below it


def test_memory_of_the_table_is_bounded():
    binn = BiNN((10, 1))
    x, y = data(binn, n_points=5000)
    used = costs._table.lower(as_target(binn, (x, y))).compile().memory_analysis().temp_size_in_bytes
    assert used < 2**11 * 8 + 4 * bits.BATCH_BYTES < 2**11 * 5000 * 8   # far less than the logits of all networks


def test_other_data_of_the_same_shape_compile_nothing():
    binn = BiNN((3, 2, 1))
    first, second = data(binn, seed=0), data(binn, seed=1)
    assert count_compilations(lambda: log_likelihood_table(binn, *data(binn, n_points=13))) > 0   # the counter counts
    log_likelihood_table(binn, *first)
    assert count_compilations(lambda: log_likelihood_table(BiNN((3, 2, 1)), *second)) == 0


def test_table_jitted_by_the_caller_equals_eager():
    binn = BiNN((3, 2, 1))
    x, y = data(binn)
    np.testing.assert_allclose(jax.jit(log_likelihood_table)(binn, x, y), log_likelihood_table(binn, x, y), rtol=1e-13)


# ---- a table as a model

def test_cost_table_is_a_model():
    costs = np.random.default_rng(0).normal(size=16)
    model = CostTable(costs)
    assert model.n_weights == 4
    for i, w in enumerate(itertools.product((1, -1), repeat=4)): assert model.log_likelihood(np.array(w)) == -costs[i]
    np.testing.assert_array_equal(model.log_likelihood(all_weights(4).reshape(2, 8, 4), None, None), -costs.reshape(2, 8))
    np.testing.assert_array_equal(log_likelihood_table(model), -costs)


def test_cost_table_is_a_pytree():
    model = CostTable([1, 2, 3, 5])
    assert model.costs.dtype == jnp.float64 and len(jax.tree.leaves(model)) == 1
    assert float(jax.jit(lambda m: m.log_likelihood(jnp.array([-1.0, 1.0])))(model)) == -3
    slope = jax.grad(lambda m: m.log_likelihood(jnp.array([-1.0, 1.0])))(model)
    np.testing.assert_array_equal(slope.costs, [0, 0, -1, 0])
    several = jax.vmap(CostTable)(jnp.arange(8.0).reshape(2, 4))
    found = jax.vmap(lambda m: m.log_likelihood(jnp.array([1.0, -1.0])))(several)
    np.testing.assert_array_equal(found, [-1, -5])


# ---- bad input

BINN = BiNN((3, 1))
X, Y = data(BINN)


@pytest.mark.parametrize("call, error, message", [
    (lambda: BiNN((3,)), ValueError, r"layer_sizes must name at least inputs and outputs.*got layer_sizes=\(3,\)"),
    (lambda: BiNN((3, -2, 1)), ValueError, r"layer_sizes must be positive, got layer_sizes=\(3, -2, 1\)"),
    (lambda: BiNN((3.5, 1)), TypeError, r"layer_sizes must be a tuple of integers.*got \(3.5, 1\)"),
    (lambda: BiNN(3), TypeError, "layer_sizes must be a tuple of integers"),
    (lambda: BiNN((3, 1), activation=None), TypeError, "activation must be a function such as jnp.tanh, got None"),
    (lambda: BiNN((3, 1), logit_scale=0), ValueError, "logit_scale must be positive and finite, got logit_scale=0"),
    (lambda: BiNN((3, 1), logit_scale=-1.0), ValueError, "got logit_scale=-1.0"),
    (lambda: BiNN((3, 1), logit_scale=np.inf), ValueError, "got logit_scale=inf"),
    (lambda: BiNN((3, 1), logit_scale=np.nan), ValueError, "got logit_scale=nan"),
    (lambda: BINN.log_likelihood([1, 1, 1, 0], X, Y), ValueError, r"weights must be -1 or \+1, got 0"),
    (lambda: BINN.log_likelihood([1, 1, 1, np.nan], X, Y), ValueError, r"weights must be -1 or \+1, got nan"),
    (lambda: BINN.log_likelihood(np.ones(5), X, Y), ValueError, r"n_weights=4 entries along the last axis, got shape \(5,\)"),
    (lambda: BINN.logits(1.0, X), ValueError, r"n_weights=4 entries along the last axis, got shape \(\)"),
    (lambda: BINN.logits(np.ones(4), X[:, :2]), ValueError, r"x must have shape \(n_points, 3\).*got shape \(7, 2\)"),
    (lambda: BINN.logits(np.ones(4), X[0]), ValueError, r"x must have shape \(n_points, 3\).*got shape \(3,\)"),
    (lambda: BINN.log_likelihood(np.ones(4), X, Y - 1), ValueError, "y must hold labels 0 to 1"),
    (lambda: BINN.log_likelihood(np.ones(4), X, Y[:3]), ValueError, "y must hold one label for each of the 7 rows"),
    (lambda: log_likelihood_table(BINN, X * np.inf, Y), ValueError, "x must be finite"),
    (lambda: log_likelihood_table(BINN, X[:0], Y[:0]), ValueError, "at least one point"),
    (lambda: log_likelihood_table(BINN, X[:, :2], Y), ValueError, r"x must have shape \(n_points, 3\)"),
    (lambda: log_likelihood_table(BINN, X, Y[:, None]), ValueError, "y must hold one label"),
    (lambda: log_likelihood_table(BiNN((99, 1)), np.zeros((7, 99)), Y), ValueError,
     r"a table of 2\*\*100 log-likelihoods would take 2\*\*73 GiB.*use log_likelihood on sampled weights instead"),
    (lambda: log_likelihood_table(None, X, Y), TypeError, "model must be a BiNN or a CostTable, got NoneType"),
    (lambda: all_weights(99), ValueError, r"all 2\*\*99 networks.*use weights_from_index on a batch of numbers instead"),
    (lambda: weights_from_index(0, 32), ValueError, "n must lie between 1 and 31, got n=32: .* overflows a 32-bit integer"),
    (lambda: index_from_weights(np.ones(32)), ValueError, "n must lie between 1 and 31, got n=32"),
    (lambda: weights_from_index(0, 0), ValueError, "n must lie between 1 and 31, got n=0"),
    (lambda: weights_from_index([1, -1], 3), ValueError, "index must lie between 0 and .* = 7, got -1"),
    (lambda: weights_from_index(8, 3), ValueError, "got 8"),
    (lambda: weights_from_index(1.0, 3), TypeError, "index must hold integers, got dtype float64"),
    (lambda: check_weights(np.zeros((2, 3)), 3), ValueError, r"weights must be -1 or \+1"),
    (lambda: unit_wires(BINN, 0, 0), ValueError, r"one of the 0 hidden layers of layer_sizes=\(3, 1\)"),
    (lambda: unit_wires(BiNN((2, 2, 1)), -1, 0), ValueError, "layer=-1"),
    (lambda: swap_units(BiNN((2, 2, 1)), np.ones(9), 0, 0, 2), ValueError, "unit must lie between 0 and 1, got unit=2"),
    (lambda: flip_unit(BiNN((2, 2, 1)), np.ones(8), 0, 0), ValueError, "n_weights=9"),
    (lambda: CostTable(np.zeros(6)), ValueError, r"costs must have 2\*\*n entries.*got shape \(6,\)"),
    (lambda: CostTable([1.0]), ValueError, r"got shape \(1,\)"),
    (lambda: CostTable(np.array(1.0)), ValueError, r"got shape \(\)"),
    (lambda: CostTable([0.0, np.nan]), ValueError, "costs must be finite, got nan"),
    (lambda: CostTable(np.zeros(8)).log_likelihood([1, 1]), ValueError, "n_weights=3"),
])
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message): call()


def test_static_errors_are_raised_under_jit_and_values_pass():
    with pytest.raises(ValueError, match="n_weights=4"): jax.jit(BINN.log_likelihood)(np.ones(5), X, Y)
    with pytest.raises(ValueError, match="one label for each"): jax.jit(BINN.log_likelihood)(np.ones(4), X, Y[:3])
    half = np.full(4, 0.5)
    assert float(jax.jit(BINN.log_likelihood)(half, X, Y)) == pytest.approx(loop_log_likelihood(BINN, half, X, Y), abs=1e-12)


def test_memory_is_compared_with_what_is_left(monkeypatch):
    "Of the machine, beside what others use; a small array is not worth the question."
    monkeypatch.setattr("qhn.memory.memory_limit", lambda: 16 * 2**30)
    for left in (2**30, 2**40):
        monkeypatch.setattr("qhn.memory.memory_left", lambda: left)
        least = min(left, 16 * 2**30)
        check_memory(least, "an array", "a smaller one")
        part = "1 GiB that are left of the " if left == 2**30 else ""
        with pytest.raises(ValueError, match=f"an array would take .* GiB, more than the {part}16 GiB of this machine; use a smaller one instead"):
            check_memory(least + 1, "an array", "a smaller one")
    monkeypatch.setattr("qhn.memory.memory_left", lambda: pytest.fail("asked"))
    check_memory(1000, "an array", "a smaller one")


# ---- numbers that JAX narrows: integers of 64 bits, floats beyond 32 bits, halves

BIG = [2**40, 1, 2**32, 3]    # the lower 32 bits are 0, 1, 0, 3
HUGE = [2**70, 1, 2**64, 3]   # more than NumPy's integers hold
WAYS = {"int64": lambda v: np.array(v), "uint64": lambda v: np.array(v, np.uint64), "list": lambda v: v, "tuple": tuple,
        "object": lambda v: np.array(v, object), "series": pd.Series, "longdouble": lambda v: np.array(v, np.longdouble)}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("values, way", [*itertools.product([BIG], WAYS), (HUGE, "list"), (HUGE, "object")], ids=str)
def test_costs_of_any_integer_keep_their_order(values, way, x64):
    with jax.enable_x64(x64):
        model = CostTable(WAYS[way](values))
        assert model.costs.dtype == jnp.result_type(float)
        np.testing.assert_array_equal(model.costs, np.array(values, float).astype(model.costs.dtype))
        assert log_likelihood_table(model).argmax() == 1    # the least cost, not the one that wrapped to 0


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("way", ["int64", "object", "list", "frame"])
def test_features_of_any_integer_are_the_same_as_floats(way, x64):
    binn, (_, y) = BiNN((3, 1), logit_scale=1e-9), data(BINN)
    x = np.random.default_rng(0).integers(-5 * 10**9, 5 * 10**9, (7, 3))
    given = {"int64": x, "object": x.astype(object), "list": x.tolist(), "frame": pd.DataFrame(x)}[way]
    w = signs(binn, 3)
    expected = [loop_log_likelihood(binn, v, x.astype(float), y) for v in w]
    with jax.enable_x64(x64):
        target = as_target(binn, (given, y))
        for found in (binn.log_likelihood(w, given, y), log_likelihood_table(binn, given, y)[index_from_weights(w)], -target.costs(w)):
            np.testing.assert_allclose(found, expected, rtol=1e-12 if x64 else 1e-5)
        assert target.data[1].dtype.kind == "i"    # labels stay integers


def test_weights_of_64_bits_do_not_wrap():
    binn = BiNN((3, 1))
    with jax.enable_x64(False):
        np.testing.assert_allclose(binn.logits(np.array([2**33, 1, 1, 1]), np.eye(3)), [[2**33 + 1], [2], [2]])
        for wrapped in ([2**32 + 1, 1], [2**32 - 1, 1]):    # 1 and -1 in 32 bits
            with pytest.raises(ValueError, match=r"weights must be -1 or \+1, got 4294967"): index_from_weights(np.array(wrapped))


def test_data_of_other_models_do_not_wrap():
    class Sum:
        n_weights = 2
        def log_likelihood(self, weights, x): return (weights * x).sum(-1)
    with jax.enable_x64(False):
        assert as_target(Sum(), (np.array([2**40, 3]),)).costs(jnp.array([1.0, -1.0])) == -(2.0**40 - 3)
        assert as_target(Sum(), (np.array([2, 3]),)).data[0].dtype == jnp.int32
        with pytest.raises(ValueError, match=r"data\[0\] must fit into float32, at most 3.4e\+38, got data\[0\]\[1\]=1e\+200"):
            as_target(Sum(), (np.array([1, 1e200]),))


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_halves_are_summed_in_single_precision(half):
    rng, binn = np.random.default_rng(0), BiNN((2, 1))
    x, y, w = rng.normal(size=(100_000, 2)).astype(half), rng.integers(0, 2, 100_000), np.array([1.0, -1, 1])
    x = np.asarray(x, half)
    z = (2 * y - 1) * (x.astype(float) @ w[:2] + w[2])
    expected = -np.logaddexp(0, -z).sum()
    with jax.enable_x64(False):
        for given in (x, jnp.asarray(x)):
            found = (binn.log_likelihood(w, given, y), log_likelihood_table(binn, given, y)[2], jax.jit(binn.log_likelihood)(w, given, y),
                     -as_target(binn, (given, y)).costs(w), binn.log_likelihood(w.astype(half), given, y))
            for value in found: assert value.dtype == jnp.float32 and float(value) == pytest.approx(expected, rel=1e-5)
        assert CostTable(x[:8, 0]).costs.dtype == jnp.float32


@pytest.mark.parametrize("call, message", [
    (lambda: BINN.logits(np.ones(4), np.array([[1, 2, 3], [1, -1e200, 3]])), r"x must fit into float32, at most 3.4e\+38, got x\[1, 1\]=-1e\+200; scale x"),
    (lambda: BINN.log_likelihood(np.ones(4), X * 1e200, Y), r"x must fit into float32.*got x\[0, 0\]="),
    (lambda: log_likelihood_table(BINN, X * 1e200, Y), "x must fit into float32"),
    (lambda: as_target(BINN, (X * 1e200, Y)), "x must fit into float32"),
    (lambda: BINN.logits(np.array([1, 1, 1e300, 1]), X), r"weights must fit into float32.*got weights\[2\]=1e\+300"),
    (lambda: CostTable([0, 1e39]), r"costs must fit into float32.*got costs\[1\]=1e\+39"),
    (lambda: CostTable([0, 10**400]), "costs must hold numbers below 1.8e308, got a larger integer"),
    (lambda: CostTable([0, None]), r"costs must hold numbers, got costs\[1\]=None of type NoneType"),
    (lambda: CostTable(["0", "1"]), "costs must hold numbers, got dtype <U1"),
    (lambda: CostTable([0, 1j]), "costs must hold numbers, got dtype complex128"),
    (lambda: BINN.logits(np.ones(4), jnp.ones((7, 3)) * 1j), "x must hold real numbers, got dtype complex64"),
    (lambda: all_weights(3, np.uint8), "dtype must be a type of floats or of signed integers, which can hold -1, got dtype="),
    (lambda: weights_from_index([1, 2], 3, bool), "dtype must be a type of floats or of signed integers"),
])
def test_what_32_bits_cannot_hold_is_refused_by_name(call, message):
    with jax.enable_x64(False), pytest.raises((ValueError, TypeError), match=message): call()


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float16, jnp.bfloat16, np.float32])
def test_all_weights_of_any_signed_type(dtype):
    found = all_weights(3, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(np.asarray(found, float), [*itertools.product((1, -1), repeat=3)])


# ---- networks travel to other processes

@jax.jit
def softsign(t): return t / (1 + jnp.abs(t))


def cubic(t): return t**3


ACTIVATIONS = [jnp.tanh, jnp.sin, jnp.sign, jax.nn.relu, jax.nn.silu, jax.nn.gelu, jax.nn.softplus, jax.nn.hard_tanh, jax.nn.leaky_relu,
               jax.lax.tanh, softsign, cubic]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy, *(lambda b, p=p: pickle.loads(pickle.dumps(b, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1))])
def test_a_copy_is_the_same_network(activation, carry):
    binn = BiNN((2, 2, 1), activation, logit_scale=0.5)
    other = carry(binn)
    assert type(other) is BiNN and other == binn and hash(other) == hash(binn) and repr(other) == repr(binn)
    assert other.activation is activation    # so that compiled code is found again


def test_a_lambda_can_be_copied_and_says_why_it_cannot_be_pickled():
    binn = BiNN((2, 2, 1), lambda t: t)
    assert copy.deepcopy(binn) == binn
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"): pickle.dumps(binn)


def test_workers_of_joblib_and_multiprocessing_get_the_network():
    binn = BiNN((3, 2, 1))
    with multiprocessing.get_context("spawn").Pool(1) as pool: found = [pool.apply(copy.copy, (binn,))]
    found += joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(copy.copy)(binn)])
    for network in found: assert network == binn and network.activation is jnp.tanh
