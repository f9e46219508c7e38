"qhn.problem.datasets against scikit-learn's own arrays, closed-form moments, and files with one thing wrong."
import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_moons

from qhn.problem.checks import as_array
from qhn.problem.datasets import (DATASETS, Dataset, breast_cancer, circles, diabetes, digits,
                                  from_csv, gaussian_mixture, load_dataset, moons, xor)
from qhn.problem.points import check_data, check_targets

NAMES = [*DATASETS, "digits-01", "digits-38", "digits-147"]


@pytest.mark.parametrize("name", NAMES)
def test_every_named_set_is_sound(name):
    data = load_dataset(name, seed=3)
    assert data.name == name
    for x, y in (data.train, data.test):
        assert x.shape == (len(y), data.n_features) and x.dtype == np.float64 and y.dtype.kind == ("i" if data.class_names else "f")
        assert np.isfinite(x).all() and (set(y) == set(range(data.n_classes)) if data.class_names else np.isfinite(y).all())
    assert data.task == ("regression" if name == "diabetes" else "classification")
    assert len(data.feature_names) == data.n_features and len(data.class_names) == data.n_classes


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes_and_another_seed_differs(name):
    one, same, other = (load_dataset(name, seed=seed) for seed in (1, 1, 2))
    for field in ("x_train", "y_train", "x_test", "y_test"):
        assert getattr(one, field).tobytes() == getattr(same, field).tobytes()
    assert one.x_train.tobytes() != other.x_train.tobytes()


def test_default_is_the_running_example():
    data = load_dataset()
    assert data.name == "digits-01" and data.n_features == 16 and data.image_shape == (4, 4) and data.class_names == ("0", "1")
    assert (len(data.y_train), len(data.y_test)) == (252, 108)


def test_gaussian_mixture_components():
    x, y = gaussian_mixture(n_train=30_000, n_test=1, seed=5).train
    centres = np.array([(-1, -2), (-2, 1), (1, 1), (2, -2)])
    nearest = ((x[:, None] - centres) ** 2).sum(-1).argmin(1)   # centres are >= 9 standard deviations apart
    np.testing.assert_array_equal(np.bincount(nearest), [15_000, 5_000, 5_000, 5_000])
    np.testing.assert_array_equal(y, nearest > 0)
    for k, centre in enumerate(centres):
        cluster = x[nearest == k]
        standard_error = np.sqrt(0.1 / len(cluster))
        np.testing.assert_allclose(cluster.mean(0), centre, atol=5 * standard_error)
        np.testing.assert_allclose(np.cov(cluster.T), 0.1 * np.eye(2), atol=5 * 0.1 * np.sqrt(2 / len(cluster)))


def test_xor_label_is_the_sign_of_the_product():
    x, y = xor(n_train=400, n_test=1, noise=0.1).train
    np.testing.assert_array_equal(y, (x.prod(1) < 0).astype(int))


def test_circles_classes_differ_by_radius():
    x, y = circles(n_train=400, n_test=1, noise=0.0, factor=0.5).train
    radius = np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(radius[y == 1].mean() / radius[y == 0].mean(), 0.5, atol=1e-3)


def test_moons_are_scikit_learns_standardised():
    data = moons(n_train=50, n_test=70, noise=0.2, seed=9)
    x, y = make_moons(50, noise=0.2, random_state=9)
    np.testing.assert_allclose(data.x_train, (x - x.mean(0)) / x.std(0), atol=1e-12)
    np.testing.assert_array_equal(data.y_train, y)
    assert data.x_test.mean(0) != pytest.approx([0, 0], abs=1e-3)   # test points are scaled by the training points


def test_label_noise_flips_the_stated_fraction_of_both_sets():
    clean, noisy = moons(200, 500, seed=4), moons(200, 500, label_noise=0.1, seed=4)
    np.testing.assert_array_equal(clean.x_train, noisy.x_train)
    assert (clean.y_train != noisy.y_train).sum() == 20
    assert min(np.bincount(noisy.y_test)) > 200 and len(noisy.y_test) == 500
    flipped = moons(200, 500, label_noise=1.0, seed=4)
    np.testing.assert_array_equal(flipped.y_train, 1 - clean.y_train)


@pytest.mark.parametrize("make", [gaussian_mixture, moons, circles, xor])
def test_training_points_do_not_depend_on_the_test_size(make):
    np.testing.assert_array_equal(make(40, 10).x_train, make(40, 300).x_train)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_digits_are_block_means_up_to_one_affine_map_per_pixel(size):
    data, bunch = digits((3, 8), size=size), load_digits()
    keep = np.isin(bunch.target, (3, 8))
    block = 8 // size
    pooled = np.array([[image[r * block:(r + 1) * block, c * block:(c + 1) * block].mean() for r in range(size) for c in range(size)]
                       for image in bunch.images[keep]])
    ours = np.r_[data.x_train, data.x_test]
    scale = pooled.std() / ours.std() if size == 1 else np.ptp(pooled, axis=0).max() / np.ptp(ours, axis=0).max()
    restored = ours * scale
    restored += pooled.mean(0) - restored.mean(0)
    np.testing.assert_allclose(np.sort(restored, axis=0), np.sort(pooled, axis=0), atol=1e-9)
    np.testing.assert_allclose(data.x_train.mean(0), 0, atol=1e-12)
    assert (data.x_train**2).mean() == pytest.approx(1)


def test_digits_labels_follow_the_order_of_classes():
    forward, backward = digits((0, 1), seed=2), digits((1, 0), seed=2)
    assert backward.class_names == ("1", "0")
    counts = {name: (forward.y_train == forward.class_names.index(name)).sum() for name in ("0", "1")}
    assert counts == {name: (backward.y_train == backward.class_names.index(name)).sum() for name in ("0", "1")}


def test_constant_pixels_become_zero():
    data = digits(tuple(range(10)), size=8)
    constant = (load_digits().data == load_digits().data[0]).all(0)
    assert constant.sum() == 3 and (data.x_train[:, constant] == 0).all() and (data.x_test[:, constant] == 0).all()


def test_breast_cancer_components_are_the_eigenvectors_of_the_training_correlation():
    data, (x, y) = breast_cancer(n_components=5, n_train=300, seed=7), load_breast_cancer(return_X_y=True)
    assert (len(data.y_train), len(data.y_test)) == (300, 269) and data.class_names == ("malignant", "benign")
    variances = data.x_train.var(0)
    np.testing.assert_allclose(np.corrcoef(data.x_train.T), np.eye(5), atol=1e-9)
    assert variances.mean() == pytest.approx(1)
    whole = np.linalg.eigvalsh(np.corrcoef(x.T))[::-1][:5]   # of all 569 points, so only close to those of 300
    np.testing.assert_allclose(variances / variances.sum(), whole / whole.sum(), atol=0.05)


@pytest.mark.parametrize("n_train", [None, 2, 50, 441])
def test_diabetes_is_scikit_learns_standardised_by_the_training_points(n_train):
    data, (x, y) = diabetes(n_train, seed=3), load_diabetes(return_X_y=True, scaled=False)
    assert len(data.y_train) == (309 if n_train is None else n_train) and len(data.y_train) + len(data.y_test) == 442
    assert data.y_train.mean() == pytest.approx(0) and data.y_train.std() == pytest.approx(1)
    np.testing.assert_allclose(data.x_train.mean(0), 0, atol=1e-12)
    pairs = np.c_[np.r_[data.x_train, data.x_test], np.r_[data.y_train, data.y_test]]
    raw, slopes = np.c_[x, y], np.ptp(np.c_[x, y], axis=0) / np.ptp(pairs, axis=0)
    if n_train != 2:    # of two points a column may be constant, and is then left as it is
        restored = pairs * slopes
        np.testing.assert_allclose(np.sort(restored - restored.min(0), axis=0), np.sort(raw - raw.min(0), axis=0), atol=1e-9)


def test_real_targets_are_asked_for():
    "By leaving out the names of classes; labels stay integers."
    data = Dataset(X, [0.5, -1.0, 2.0], X[:1], [0.0], "real", ("a", "b"))
    assert (data.task, data.n_classes, data.y_train.dtype) == ("regression", 0, np.float64) and "real targets" in repr(data)
    assert Dataset(X, np.array([1, 2, 2.5], object), X[:1], [0.0], "real", ("a", "b")).y_train.dtype == np.float64
    for pair, arrays in ((data.train, (data.x_train, data.y_train)), (data.test, (data.x_test, data.y_test))):
        assert pair[0] is arrays[0] and pair[1] is arrays[1]
    with pytest.raises(ValueError, match="class_names must name the classes of integer labels, got none"): Dataset(X, Y, X, Y, "real", ("a", "b"))
    with pytest.raises(ValueError, match=r"y\[0\]=0.5 is no class.*real numbers are targets of regression"):
        Dataset(X, [0.5, -1.0, 2.0], X, Y, "real", ("a", "b"), ("no", "yes"))
    with pytest.raises(ValueError, match=r"y must be finite, got y\[2\]=inf; drop such points"): Dataset(X, [0.5, 1.0, np.inf], X, Y / 2, "real", ("a", "b"))


@pytest.mark.parametrize("y", [[0.5, -1.0, 2.0], [0, 1, 5], np.array([1, 2, 2.5], object), np.float16([1, 2, 3])], ids=str)
def test_targets_are_any_numbers(y):
    assert check_targets(X, y) is None
    assert jax.jit(lambda x, y: (check_targets(x, y), y.sum())[1])(X, np.asarray(y, float)) is not None
    with pytest.raises(ValueError, match=r"1 real number for each of the 3 rows of x, got shape \(2,\)"): check_targets(X, y[:2])
    with pytest.raises(ValueError, match=r"2 real numbers for each of the 3 rows of x, got shape \(3,\)"): check_targets(X, y, 2)


@pytest.mark.parametrize("n_train", [20, 50, 200])
def test_small_training_sets_are_stratified_and_leave_the_rest(n_train):
    data = load_dataset("digits-01", n_train=n_train)
    assert len(data.y_train) == n_train and len(data.y_test) == 360 - n_train
    assert abs(data.y_train.mean() - 182 / 360) <= 1 / n_train


@pytest.mark.parametrize("call, message", [
    (lambda: load_dataset("mnist"), "unknown data set 'mnist'.*moons.*breast-cancer.*digits-01.*csv"),
    (lambda: load_dataset("digits-0"), r"two or more different digits.*\(0,\)"),
    (lambda: load_dataset("digits-01", n_train=360), "n_train must be at most 358.*n_train=360"),
    (lambda: load_dataset("digits-01", n_train=0), "n_train must be an integer of at least 2.*n_train=0"),
    (lambda: load_dataset("digits", n_train=9), "n_train must be an integer of at least 10.*n_train=9"),
    (lambda: digits(test_fraction=0.0), "test_fraction must lie between 0 and 1.*test_fraction=0.0"),
    (lambda: digits(size=5), "size must divide.*size=5"),
    (lambda: digits(seed=1.5), "seed must be an integer.*seed=1.5"),
    (lambda: breast_cancer(n_components=25, n_train=20), "at most 20.*20 training points.*n_components=25"),
    (lambda: moons(noise=float("nan")), "noise must lie between.*nan"),
    (lambda: moons(label_noise=-0.1), "label_noise must lie between 0 and 1.*label_noise=-0.1"),
    (lambda: moons(n_train=1), "n_train must be an integer of at least 2"),
    (lambda: xor(n_test=0), "n_test must be an integer of at least 1"),
    (lambda: diabetes(442), "n_train must be at most 441, which leaves one test point out of 442 points, got n_train=442"),
    (lambda: diabetes(1), "n_train must be an integer of at least 2, got n_train=1"),
    (lambda: circles(factor=2), "factor must lie between 0 and 1"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(TypeError if message.endswith("seed=1.5") else ValueError, match=message): call()


X, Y = np.array([[0.5, 1.0], [1.5, -1.0], [0.0, 2.0]]), np.array([0, 1, 1])


def spoil(row, column, value):
    x = X.copy(); x[row, column] = value
    return x


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("x, y, n_classes, message", [
    (spoil(1, 0, np.nan), Y, 2, r"x\[1, 0\]=nan"),
    (spoil(2, 1, -np.inf), Y, 2, r"x\[2, 1\]=-inf"),
    (X[:0], Y[:0], 2, r"at least one point.*\(0, 2\)"),
    (X[:, :0], Y, 2, r"one feature.*\(3, 0\)"),
    (X[0], Y, 2, r"\(n_points, n_features\).*\(2,\)"),
    (X, Y[:, None], 2, r"one label for each of the 3 rows.*\(3, 1\)"),
    (X, Y + 1, 2, r"0 to 1.*y\[1\]=2"),
    (X, Y - 1, 2, r"0 to 1.*y\[0\]=-1"),
    (X, Y - 1, None, r"y\[0\]=-1"),
    (X, Y.astype(float), 2, "integer labels.*float"),
    (X, Y * 0, None, "at least two classes, got 0 for all 3 points"),
])
def test_check_data_says_what_and_where(array, x, y, n_classes, message):
    with pytest.raises(ValueError, match=message): check_data(array(x), array(y), n_classes)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_check_data_accepts_good_data(array):
    assert check_data(array(X), array(Y)) is None
    assert check_data(array(X), array(Y * 0), n_classes=2) is None
    assert check_data(array(X), array(Y.astype(bool)), n_classes=2) is None


@pytest.mark.parametrize("x, message", [
    *[(make(X), rf"x must be a dense array, got a sparse {make.__name__}; write x.toarray\(\)")
      for make in (scipy.sparse.csr_matrix, scipy.sparse.csr_array, scipy.sparse.coo_array)],
    (BCOO.fromdense(jnp.asarray(X)), r"got a sparse BCOO; write x.todense\(\)"),
    (np.ma.masked_greater(X, 1.2), "x must have a value everywhere, got 2 masked entries; drop or fill in"),
    ([[1, 2], [3]] + [[4, 5]], "x must be an array, got rows of different lengths or shapes"),
    (X * 1j, "x must hold numbers, got dtype complex128"),
    (X.astype("datetime64[s]"), "x must hold numbers, got dtype datetime64"),
    (X.astype(str), "x must hold numbers, got dtype <U"),
    (X.astype(str).astype(object), r"got x\[0, 0\]=0.5 of type str; convert them with np.asarray\(x, float\)"),
    (pd.DataFrame(X, columns=["a", "b"]).assign(b=["red", "blue", "red"]), r"x must hold numbers, got x\[0, 1\]=red of type str"),
    (pd.DataFrame(X).replace(1.5, None).astype(object), r"got x\[1, 0\]=(None|nan)"),
    (None, r"\(n_points, n_features\), got shape \(\)"),
])
def test_features_that_are_not_plain_numbers(x, message):
    with pytest.raises(ValueError, match=message): check_data(x, Y)


@pytest.mark.parametrize("x", [X.tolist(), X.astype(object), pd.DataFrame(X), X.astype(np.float16), X.astype(np.longdouble), X > 1,
                               np.ma.masked_greater(X, 9), (10**25 * X.astype(object)).tolist(), jnp.asarray(X, jnp.bfloat16)], ids=lambda x: type(x).__name__)
def test_features_that_are(x):
    check_data(x, Y)
    found = as_array("x", x)
    assert found.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(found, np.asarray(x, float).astype(found.dtype))


@pytest.mark.parametrize("y, message, repair", [
    (["no", "yes", "yes"], r"got dtype <U3; number them with np.unique\(y, return_inverse=True\)\[1\]", True),
    (np.array(["no", "yes", "yes"], object), r"got dtype object; number them with np.unique\(y, return_inverse=True\)\[1\]", True),
    (pd.Series(["no", "yes", "yes"], dtype="category"), r"number them with np.unique\(y, return_inverse=True\)\[1\]", True),
    ([b"no", b"yes", b"yes"], r"number them with np.unique\(y, return_inverse=True\)\[1\]", True),
    ([0.0, 1.0, 1.0], r"got dtype float64; convert them with np.asarray\(y, int\)", True),
    (pd.Series([0.0, 1.0, 1.0]), r"convert them with np.asarray\(y, int\)", True),
    ([0.0, 0.5, 1.0], r"got dtype float64; y\[1\]=0.5 is no class; drop such points or label them first", False),
    ([0.0, np.nan, 1.0], r"y\[1\]=nan is no class", False),
    ([0.0, 1.0, np.inf], r"y\[2\]=inf is no class", False),
    (np.array(["no", None, "yes"], object), r"y\[1\]=None is no class", False),
    (np.array([0, None, 1], object), r"y\[1\]=None is no class", False),
    (np.array([0, 1, "a"], object), r"y\[2\]='a' is no class", False),
    (np.array(["a", 0, "b"], object), r"y\[1\]=0 is no class", False),
    (np.array(["a", "b", 0.5], object), r"y\[2\]=0.5 is no class", False),
    (np.ma.masked_equal([0, 1, 2], 2), "y must have a value everywhere, got 1 masked entries", False),
    ([[0, 1], [1], [1]], "y must be an array, got rows of different lengths", False),
])
def test_advice_for_labels_works(y, message, repair):
    with pytest.raises(ValueError, match="y must .*" + message.removeprefix("y must ")): check_data(X, y)
    if repair:    # do as the message says
        advice = message.split(" with ")[1].replace("\\", "")
        repaired = eval(advice, {"np": np, "y": y})
        check_data(X, repaired)
        np.testing.assert_array_equal(repaired, Y)


def test_data_sets_store_floats_whatever_they_are_given():
    whole = np.array([[3 * 10**9, 1], [0, 2], [5, 2**40]])
    for x in (whole, whole.tolist(), whole.astype(object), pd.DataFrame(whole)):
        data = Dataset(x, Y.tolist(), x, Y, "whole", ("a", "b"), ("no", "yes"))
        assert data.x_train.dtype == data.x_test.dtype == np.float64 and isinstance(data.y_train, np.ndarray)
        np.testing.assert_array_equal(data.x_train, whole)
    halves = X.astype(np.float16)
    assert Dataset(halves, Y, halves, Y, "halves", ("a", "b"), ("no", "yes")).x_train.dtype == np.float16


def test_heavy_libraries_are_loaded_where_they_are_used():
    code = "import sys, qhn.problem.network, qhn.problem.datasets; print(sorted({name.split('.')[0] for name in sys.modules} & {'pandas', 'sklearn', 'joblib', 'matplotlib'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_data_under_jit_looks_at_shapes_only():
    compiled = jax.jit(lambda x, y: (check_data(x, y, 2), x.sum())[1])
    assert np.isnan(compiled(spoil(0, 0, np.nan), Y + 5))
    with pytest.raises(ValueError, match="one label for each"): compiled(X, Y[:2])


def test_dataset_is_frozen_and_checks_itself():
    data = Dataset(X, Y, X, Y, "tiny", ("a", "b"), ("no", "yes"))
    with pytest.raises(dataclasses.FrozenInstanceError): data.x_train = X
    with pytest.raises(ValueError, match=r"got x\[0, 0\]=nan"): Dataset(X, Y, spoil(0, 0, np.nan), Y, "tiny", ("a", "b"), ("no", "yes"))
    with pytest.raises(ValueError, match="2 columns of x, got 1"): Dataset(X, Y, X, Y, "tiny", ("a",), ("no", "yes"))
    with pytest.raises(ValueError, match=r"y\[1\]=1"): Dataset(X, Y, X, Y, "tiny", ("a", "b"), ("no",))


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return path
    return write


ROWS = [(i / 7, 3.0 - i % 5, i % 3) for i in range(30)]


@pytest.mark.parametrize("header", ["", "length,width,kind\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("words", [("0", "1", "2"), ("10", "9", "2"), ("née", "oak", "ash")])
def test_csv_round_trip(table, header, encoding, end, words):
    text = header + "".join(f"{a!r}, {b!r},{words[k]}\n\n" for a, b, k in ROWS)
    data = from_csv(table(text.replace("\n", end), encoding), test_fraction=0.2)
    assert data.name == "table.csv" and data.feature_names == (("length", "width") if header else ("x1", "x2"))
    assert data.class_names == tuple(sorted(words, key=float if words[0].isdigit() else str))
    assert (len(data.y_train), len(data.y_test)) == (24, 6)
    x, y = np.array(ROWS)[:, :2], np.array([data.class_names.index(words[k]) for *_, k in ROWS])
    ours = np.r_[data.x_train, data.x_test]
    order, ours_order = np.argsort(x[:, 0]), np.argsort(ours[:, 0])
    np.testing.assert_array_equal(y[order], np.r_[data.y_train, data.y_test][ours_order])
    centred = lambda z: (z - z.mean(0)) / z.std(0)
    np.testing.assert_allclose(centred(ours[ours_order]), centred(x[order]), atol=1e-12)


def test_csv_by_name(table):
    path = table("".join(f"{a},{b},{k}\n" for a, b, k in ROWS))
    for name in (path, str(path)):
        data = load_dataset(name, n_train=12, seed=1)
        assert len(data.y_train) == 12 and set(data.y_train) == {0, 1, 2}


def test_csv_constant_column_becomes_zero(table):
    data = from_csv(table("".join(f"{a},7,{k}\n" for a, _, k in ROWS)))
    assert (data.x_train[:, 1] == 0).all() and (data.x_test[:, 1] == 0).all()


@pytest.mark.parametrize("text, message", [
    ("", "is empty"),
    ("\n  \n", "is empty"),
    ("a,b\n", "a header and no rows"),
    ("5\n6\n", "line 1: expected at least one feature and a label"),
    ("1,2,x\n1,2\n", "line 2: expected 3 columns.*got 2"),
    ("1,2,x\n\n1,2,3,y\n", "line 3: expected 3 columns.*got 4"),
    ("1,2,x\n1,two,y\n", "line 2, column 2: expected a finite number, got 'two'"),
    ("a,b,c\n1,2,x\n1,,y\n", r"line 3, column 2 \('b'\): expected a finite number, got ''"),
    ("1,2,x\n1,inf,y\n", "line 2, column 2.*got 'inf'"),
    ("nan,2,x\n1,3,y\n", "line 1, column 1.*got 'nan'"),
    ("1,b,x\n1,3,y\n", "line 1, column 2.*got 'b'"),
    ("1,2,x\n1,2, \n", "line 2, column 3: expected a label, got ''"),
    ("1,2,0\n1,2,1\n3,4,nan\n", "line 3, column 3: expected a label, got 'nan'"),
    ("1,2,x\n1,2,x\n", "at least two classes, got 'x' in all 2 rows"),
    ("1,2,x\n1,2,x\n1,3,y\n", "class 'y' has 1 of 3"),
    ("1,x\n2,0.5\n", "at least 2 points"),
    (b"\xff\xfe\x00\x01,3\n", "not a text table"),
])
def test_bad_csv_names_line_and_column(table, text, message):
    with pytest.raises(ValueError, match=message): from_csv(table(text))


def test_missing_csv(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a CSV file, but there is none at .*absent.csv"): load_dataset(tmp_path / "absent.csv")
    with pytest.raises(FileNotFoundError, match="must be a CSV file"): from_csv(tmp_path)


@pytest.mark.parametrize("x, advice, works", [
    ([["1.5"], ["2"]], r"x\[0, 0\]=1.5 of type str; convert them with np.asarray\(x, float\)", True),
    ([["red"], ["2"]], r"x\[0, 0\]=red of type str; drop such entries, or write them as numbers", False),
    ([[1.0], [None]], r"x\[1, 0\]=None of type NoneType; drop such entries", False),
])
def test_advice_for_features_works(x, advice, works):
    x = np.array(x, object)
    with pytest.raises(ValueError, match=advice): check_data(x, np.array([0, 1]))
    if works: check_data(np.asarray(x, float), np.array([0, 1]))
    else:
        with pytest.raises((TypeError, ValueError)): check_data(np.asarray(x, float), np.array([0, 1]))
