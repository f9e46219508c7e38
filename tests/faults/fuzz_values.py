"""One grammar of arguments: what may stand in the place of a valid value, and what has to come of it.

A value of a valid call is a `Given`: what it is, and its kind. `variants` lists what may be put in its place. Each is

    "same"   the same numbers in another container or type: the answer has to be that of the plain call
    "bad"    can mean nothing: it has to be refused
    "odd"    may mean something else: an answer without NaN, or a refusal
"""
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse


class Given(NamedTuple):
    value: Any
    kind: str
    least: float = -np.inf    # of a number
    optional: bool = False    # whether None means something
    same: tuple = ()          # other values that mean the same
    allowed: tuple = ()       # labels of variants that mean something here
    mixed: bool = False       # whether something of another kind may be meant: a schedule, a table


class Variant(NamedTuple):
    sort: str
    label: str
    make: Any     # (value, place) to what is put in its place


def array(values, kind="numbers", dtype=np.float32, **more): return Given(np.asarray(values, dtype), kind, **more)
def signs(values, **more): return array(values, "signs", **more)
def probs(values, **more): return array(values, "probs", **more)
def labels(values, **more): return array(values, "labels", np.int32, **more)
def sets(values, **more): return array(values, "sets", np.int32, **more)
def size(value, least=1, **more): return Given(value, "size", least, **more)
def number(value, least=-np.inf, **more): return Given(value, "number", least, **more)
def flag(value, **more): return Given(value, "flag", **more)
def key(seed=0, **more): return Given(jax.random.key(seed), "key", **more)
def thing(value, **more): return Given(value, "thing", **more)
def text(value, **more): return Given(value, "text", **more)


def _entry(array, place, value):
    changed = np.array(array, float if array.dtype.kind in "iub" and isinstance(value, float) else array.dtype)
    if isinstance(value, (str, type(None))): changed = changed.astype(object)
    if isinstance(value, complex): changed = changed.astype(complex)
    if changed.ndim == 0: return np.asarray(value)
    changed.flat[place % max(1, changed.size)] = value
    return changed


def _large(array, place, value): return _entry(np.asarray(array, float), place, value)


def _masked(array, place):
    mask = np.zeros(array.shape, bool)
    mask.flat[place % max(1, array.size)] = True
    return np.ma.masked_array(array, mask)


def _strided(array, place):
    doubled = np.repeat(array, 2, axis=-1)
    return doubled[..., ::2]


def _frame(array, place): return pd.Series(array) if array.ndim == 1 else pd.DataFrame(array)
def _polars(array, place): return pl.Series(array) if array.ndim == 1 else pl.DataFrame(array)
def _read_only(array, place):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _ragged(array, place): return [[1.0], [1.0, 2.0], *([[1.0]] * max(0, len(array) - 2))]


def _containers(array):
    yield "list", lambda a, _: a.tolist()
    yield "tuple", lambda a, _: tuple(map(tuple, a)) if a.ndim == 2 else tuple(a)
    yield "jax array", lambda a, _: jnp.asarray(a)
    yield "object array", lambda a, _: a.astype(object)
    yield "array without masked entries", lambda a, _: np.ma.masked_array(a)
    yield "strided", _strided
    yield "read only", _read_only
    yield "Fortran order", lambda a, _: np.asfortranarray(a)
    if array.ndim in (1, 2):
        yield "pandas", _frame
        yield "polars", _polars


FLOATS = "f8", ">f4", ">f8", "f2", "g"
WHOLE = "i8", "i1", ">i4", ">i8", "u1", "u8"


def _types(array, kind):
    floats, whole = array.astype(float), array.astype(float) == np.round(array.astype(float))
    if kind != "labels":
        for dtype in FLOATS:
            if (floats.astype(dtype).astype(float) == floats).all(): yield dtype, lambda a, _, dtype=dtype: a.astype(dtype)
    if whole.all():
        for dtype in WHOLE:
            if dtype[-2] == "u" and floats.min() < 0: continue
            yield dtype, lambda a, _, dtype=dtype: a.astype(dtype)
        if set(np.unique(floats)) <= {0, 1}: yield "bool", lambda a, _: a.astype(bool)


BAD_ENTRIES = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "complex": 1j, "None": None, "a text": "x", "a number as text": "1"}


def _bad_arrays(kind):
    for label, value in BAD_ENTRIES.items(): yield f"{label} in it", lambda a, place, value=value: _entry(a, place, value)
    yield "complex type", lambda a, _: a.astype(complex) if a.ndim else a + 0j
    yield "a masked entry", _masked
    yield "texts", lambda a, _: np.full(a.shape, "x")
    yield "bytes", lambda a, _: np.full(a.shape, b"1")
    yield "dates", lambda a, _: np.full(a.shape, np.datetime64("2020-01-01"))
    yield "sparse", lambda a, _: sparse.csr_array(np.atleast_2d(a))
    yield "ragged", _ragged
    yield "a function", lambda a, _: np.sin
    yield "a dictionary", lambda a, _: {"a": 1}
    yield "a text", lambda a, _: "x"
    yield "an object", lambda a, _: object()
    yield "a generator", lambda a, _: (row for row in a)
    if kind == "signs":
        yield "a bit", lambda a, place: _entry(a, place, 0)
        yield "a mean", lambda a, place: _entry(a, place, 0.5)
        yield "a wrapped integer", lambda a, place: _entry(a.astype(np.int64), place, 2**32 + 1)
    if kind == "probs":
        yield "a negative one", lambda a, place: _entry(a, place, -0.25)
        yield "a sum of two", lambda a, _: 2 * a
        yield "one as integers of more", lambda a, _: np.ones(a.shape, int)
    if kind == "labels":
        yield "a negative label", lambda a, place: _entry(a, place, -1)
        yield "a large label", lambda a, place: _entry(a, place, 99)
        yield "a wrapped label", lambda a, place: _entry(a.astype(np.int64), place, 2**32)
        yield "half labels", lambda a, _: a + 0.5
        yield "one-hot", lambda a, _: np.eye(2, dtype=int)[a % 2]
    if kind in ("numbers", "signs", "probs"):
        yield "beyond single precision", lambda a, place: _large(a, place, 1e200)


def _odd_arrays(kind):
    yield "another shape", lambda a, _: a[None]
    yield "one entry less", lambda a, _: a[..., :-1] if a.ndim else a
    yield "one row less", lambda a, _: a[:-1] if a.ndim else a
    yield "flat", lambda a, _: a.ravel()
    yield "empty", lambda a, _: a[:0] if a.ndim else a
    yield "transposed", lambda a, _: a.T
    yield "a scalar", lambda a, _: a.flat[0] if a.size else a
    yield "zeros", lambda a, _: np.zeros_like(a)
    yield "constant", lambda a, _: np.ones_like(a)
    yield "negated", lambda a, _: -a
    yield "large", lambda a, place: _large(a, place, 1e30)
    yield "tiny", lambda a, place: _large(a, place, 1e-42)
    yield "a long integer", lambda a, place: _entry(a.astype(object), place, 2**70) if a.ndim else 2**70
    yield "64-bit integers", lambda a, place: np.full(a.shape, 2**40)


def _of_array(given):
    array, kind = given.value, given.kind
    for label, make in (*_containers(array), *_types(array, kind)): yield Variant("same", label, make)
    for label, make in _bad_arrays(kind): yield Variant("odd" if given.mixed else "bad", label, make)
    for label, make in _odd_arrays(kind): yield Variant("odd", label, make)


def _of_size(given):
    for kind in (np.int8, np.int32, np.int64, np.uint8, np.uint64): yield Variant("same", kind.__name__, lambda v, _, kind=kind: kind(v))
    yield Variant("same", "0-d", lambda v, _: np.array(v))
    for bad in (given.least - 1, -1000, 1.5, float("nan"), "3", b"3", True, [2, 2], 1j, object(), np.int8(-3)):
        yield Variant("odd" if given.mixed else "bad", repr(bad)[:12], lambda v, _, bad=bad: bad)
    yield Variant("odd", "a float", lambda v, _: float(v))
    yield Variant("odd", "one more", lambda v, _: v + 1)


def _of_number(given):
    value = given.value
    same = [np.float64, np.asarray]
    if float(np.float32(value)) == value: same += [np.float32, np.float16]
    if value == int(value): same += [int, np.int64]
    for kind in same: yield Variant("same", kind.__name__, lambda v, _, kind=kind: kind(v))
    bad = [float("nan"), "x", [1.0, 2.0], 1j, object(), np.ma.masked, -np.inf, "1"]
    if given.least > -np.inf: bad.append(given.least - 0.5)
    for value in bad: yield Variant("odd" if given.mixed else "bad", repr(value)[:12], lambda v, _, value=value: value)
    for odd in (np.inf, 1e200, 1e-200, True, Fraction(1, 2), 2**70): yield Variant("odd", repr(odd)[:12], lambda v, _, odd=odd: odd)


def _of_flag(given):
    yield Variant("same", "numpy", lambda v, _: np.bool_(v))
    for bad in ("x", "no", 2, 0.5, [1], object(), np.nan): yield Variant("odd" if given.mixed else "bad", repr(bad)[:12], lambda v, _, bad=bad: bad)
    for odd in (0, 1): yield Variant("odd", repr(odd), lambda v, _, odd=odd: odd)


def _of_key(given):
    bad = {"a seed": lambda v, _: 0, "an old key": lambda v, _: jax.random.PRNGKey(0), "keys": lambda v, _: jax.random.split(v), "a text": lambda v, _: "x",
           "numbers": lambda v, _: np.array([0, 1]), "a class": lambda v, _: jax.random.key}
    for label, make in bad.items(): yield Variant("bad", label, make)


def _of_thing(given):
    bad = {"a number": 3, "a text": "no such thing", "an object": object(), "NaN": np.nan, "a class": type(given.value), "a dictionary": {"a": 1}, "a list of it": [given.value],
           "another": jnp.ones(3), "an empty list": []}
    for label, value in bad.items():
        yield Variant("odd" if given.mixed else "bad", label, lambda v, _, value=value: value)
    for value in given.same: yield Variant("same", repr(value)[:20], lambda v, _, value=value: value)


def _of_text(given):
    for label, value in {"a number": 3, "bytes": b"x", "an object": object(), "a list": ["x"], "another": "no such thing", "empty": ""}.items():
        yield Variant("odd" if given.mixed else "bad", label, lambda v, _, value=value: value)
    for value in given.same: yield Variant("same", repr(value)[:20], lambda v, _, value=value: value)


_OF = {"size": _of_size, "number": _of_number, "flag": _of_flag, "key": _of_key, "thing": _of_thing, "text": _of_text}


def variants(given) -> list[Variant]:
    "What may stand in the place of a value."
    none = Variant("odd" if given.optional or given.mixed else "bad", "None", lambda v, _: None)
    found = [*_OF.get(given.kind, _of_array)(given), none]
    return [variant._replace(sort="odd") if variant.label in given.allowed else variant for variant in found]
