"Models of one's own: how they travel through JAX, and the memory that their tables take."
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qhn.problem.bits import all_weights, batch_size, of_all_networks
from qhn.problem.costs import (CostTable, Model, Target, as_target, carried,
                               log_likelihood_table, tabulate)
from qhn.problem.network import BiNN


@dataclass(frozen=True)
class Field:
    "A frozen dataclass with an array, which has no hash."
    strength: np.ndarray
    @property
    def n_weights(self): return len(self.strength)
    def log_likelihood(self, weights): return weights @ self.strength


class Layers:
    "A plain class with arrays in lists of dictionaries, and a number."
    def __init__(self, n, scale=1.0): self.parts, self.scale, self.name = [{"field": np.arange(n, dtype=float)}, [np.ones(n)]], scale, "layers"
    @property
    def n_weights(self): return len(self.parts[1][0])
    def log_likelihood(self, weights): return self.scale * (weights @ (self.parts[0]["field"] + self.parts[1][0]))


class Outer:
    "An object in an object, and an index that is worked out once."
    def __init__(self, inner): self.inner, self.n_weights = inner, inner.n_weights
    @cached_property
    def order(self): return np.argsort(-np.arange(self.n_weights))
    def log_likelihood(self, weights): return self.inner.log_likelihood(weights[..., self.order])


class Slotted:
    __slots__ = ("n_weights",)
    def __init__(self, n): self.n_weights = n
    def log_likelihood(self, weights): return weights.sum(-1)


class Named(NamedTuple):
    n_weights: int
    strength: np.ndarray
    def log_likelihood(self, weights): return weights @ self.strength


class Derived(Model):
    n_weights = 2
    def log_likelihood(self, weights): return weights.sum(-1)


MODELS = {"dataclass": Field(np.array([0.5, -1.0, 2.0])), "lists": Layers(3), "nested": Outer(Layers(3)), "slots": Slotted(3), "tuple": Named(3, np.ones(3)),
          "derived": Derived(), "jax arrays": Field(jnp.array([0.5, -1.0, 2.0])), "network": BiNN((2, 1)), "table": CostTable(np.arange(8.0))}


@pytest.mark.parametrize("name", MODELS)
def test_an_object_comes_back_from_jax_as_it_was(name):
    model = MODELS[name]
    assert isinstance(model, Model)
    kept = carried(model)
    assert kept.obj is model
    again = jax.tree.map(lambda leaf: leaf, kept).obj
    assert type(again) is type(model) and again.n_weights == model.n_weights
    assert jax.tree.structure(carried(again)) == jax.tree.structure(kept) and hash(jax.tree.structure(kept)) is not None


@pytest.mark.parametrize("name", [name for name in MODELS if name != "network"])
def test_tables_of_any_model(name):
    model = MODELS[name]
    want = np.asarray(model.log_likelihood(all_weights(model.n_weights)))
    np.testing.assert_allclose(log_likelihood_table(model), want, rtol=1e-13)
    np.testing.assert_allclose(tabulate(as_target(model)).model.costs, -want, rtol=1e-13)


def test_arrays_changed_in_place_are_seen():
    for model, array in ((Layers(3), lambda m: m.parts[0]["field"]), (outer := Outer(Layers(3)), lambda m: m.inner.parts[1][0]), (Field(np.ones(3)), lambda m: m.strength)):
        before = np.asarray(log_likelihood_table(model))
        array(model)[1] = 7.0
        after = np.asarray(log_likelihood_table(model))
        np.testing.assert_allclose(after, model.log_likelihood(np.asarray(all_weights(model.n_weights))), rtol=1e-13)
        assert not np.allclose(before, after)


def test_attributes_changed_in_place_are_seen_and_arrays_compile_nothing_new():
    traces, model = [], Layers(3)
    @jax.jit
    def costs(target):
        traces.append(1)
        return target.costs(jnp.ones(3))
    assert float(costs(as_target(model))) == -6
    model.parts[1][0][:] = 2.0
    assert float(costs(as_target(model))) == -9 and len(traces) == 1
    model.scale = 2.0
    assert float(costs(as_target(model))) == -18 and len(traces) == 2
    assert float(costs(as_target(Layers(3, scale=2.0)))) == -12 and len(traces) == 2    # another object, the same class and scale


def test_a_target_is_a_pytree():
    target = as_target(Layers(3))
    doubled = jax.tree.map(lambda leaf: 2 * leaf, target)
    assert type(doubled) is Target and float(doubled.costs(jnp.ones(3))) == -12
    slope = jax.grad(lambda target: target.costs(jnp.ones(3)))(jax.tree.map(jnp.asarray, target))
    np.testing.assert_array_equal(slope.model.parts[0]["field"], -np.ones(3))


class Holds:
    n_weights = 1
    def __init__(self, value): self.value = value
    def log_likelihood(self, weights): return weights.sum(-1)


class UnhashableSlots:
    __slots__, __hash__ = ("n_weights",), None
    def __init__(self): self.n_weights = 1
    def log_likelihood(self, weights): return weights.sum(-1)


class Indexed:
    "Reads its own array with numpy, which JAX cannot trace."
    def __init__(self): self.order = np.array([1, 0])
    n_weights = 2
    def log_likelihood(self, weights): return weights.sum(-1) * np.linalg.norm(np.asarray(self.order))


@pytest.mark.parametrize("model, message", [(Holds({1}), "must be made of arrays and of hashable values, got a set"), (Holds(np.array(["a"])), "hashable values, got a ndarray"),
                                            (Holds(Holds(bytearray())), "got a bytearray"), (UnhashableSlots(), "got a UnhashableSlots"),
                                            (Indexed(), "log_likelihood of Indexed must compute with jax.numpy")])
def test_what_cannot_be_carried_is_named(model, message):
    with pytest.raises(TypeError, match=message): as_target(model)


@pytest.mark.parametrize("n_points", [1, 1000])
def test_memory_of_any_table_is_bounded(n_points):
    "Independent of how many networks there are, but for the table itself."
    class Squares:
        def __init__(self, n): self.features = np.ones((n_points, n))
        @property
        def n_weights(self): return self.features.shape[1]
        def log_likelihood(self, weights, y): return -((weights @ self.features.T - y)**2).sum(-1)
    for n in (12, 18):
        target = as_target(Squares(n), (np.zeros(n_points),))
        used = tabulate.lower(target).compile().memory_analysis().temp_size_in_bytes
        assert used < 2**n * 8 + 2**23


def test_a_batch_grows_where_networks_need_little():
    assert batch_size(lambda w: w.sum(-1), 5) == 32 and batch_size(lambda w: w, 5) == 32 and 2**30 > batch_size(lambda w: w.sum(-1), 30) * 30 * 4
    wide, narrow = (batch_size(lambda w, k=k: jnp.tanh(w @ jnp.ones((20, k))).sum(-1), 20) for k in (1000, 100))
    assert wide < narrow and wide * 1000 * 8 <= 2**20 < 2 * narrow * 100 * 8
    looped = batch_size(lambda w: jax.lax.scan(lambda c, _: ((c @ jnp.ones((20, 1000))).sum(-1, keepdims=True) * w, None), w, length=3)[0], 20)
    assert looped * 1000 * 8 <= 2**20    # arrays inside a loop count


def test_answers_of_any_shape_in_basis_order():
    def answer(w): return jnp.stack([w.sum(-1), w.prod(-1)], -1)
    np.testing.assert_array_equal(of_all_networks(answer, 6), answer(all_weights(6)))
