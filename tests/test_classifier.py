"""The estimators against scikit-learn: its conformance tests, its tools around them, and what it predicts."""
import json
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import polars
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import qhn
from qhn.circuits.ansatz import staircase
from qhn.classifier import QHNClassifier, QHNRegressor, distinct_rows
from qhn.problem.dealing import separate_scale
from qhn.objectives.mmd import MMD

QUICK = {"n_steps": 50, "n_restarts": 1, "n_samples": 100, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True, as_frame=True)
    return X, y.map(dict(enumerate(["setosa", "versicolor", "virginica"])))


@pytest.fixture(scope="module")
def trained(iris): return QHNClassifier(**QUICK).fit(*iris)


@pytest.fixture(scope="module")
def regressor(): return QHNRegressor(**QUICK | {"n_steps": 200}).fit(*load_diabetes(return_X_y=True, as_frame=True))


CONFORMANCE = """
import json
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import check_estimator
from qhn.classifier import QHNClassifier, QHNRegressor
outcomes = lambda tested: [(each["check_name"], each["status"], str(each["exception"]))
                           for each in check_estimator(tested, on_skip=None, on_fail=None)]
print(json.dumps([outcomes({ours}), outcomes({plain})]))
"""


@pytest.mark.parametrize("ours, plain", [("QHNClassifier()", "LogisticRegression()"), ("QHNRegressor()", "Ridge()")], ids=["classifier", "regressor"])
def test_scikit_learns_conformance_tests(ours, plain):
    "Each is passed; what is skipped is skipped in scikit-learn's own linear model too. A process of its own compiles in earnest: each program runs thousands of times."
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLA_", "JAX_"))}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CONFORMANCE.format(ours=ours, plain=plain)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    of_ours, of_theirs = json.loads(done.stdout)
    assert not [outcome for outcome in of_ours if outcome[1] not in ("passed", "skipped")]
    def skipped(outcomes): return {name for name, status, _ in outcomes if status == "skipped"}
    assert skipped(of_ours) <= skipped(of_theirs)
    assert len(of_ours) >= 40


def test_no_tag_asks_for_leniency():
    for estimator, kind in ((QHNClassifier(), "classifier_tags"), (QHNRegressor(), "regressor_tags")):
        tags = estimator.__sklearn_tags__()
        assert not (tags.non_deterministic or tags.no_validation or tags._skip_test or getattr(tags, kind).poor_score)


def test_weights_are_repetitions_to_the_last_bit(iris):
    X, y = iris[0].to_numpy(), iris[1].to_numpy()
    times = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = QHNClassifier(**QUICK).fit(X, y, sample_weight=times)
    order = np.random.default_rng(1).permutation(times.sum())
    repeated = QHNClassifier(**QUICK).fit(np.repeat(X, times, axis=0)[order], np.repeat(y, times)[order])
    np.testing.assert_array_equal(weighted.predict_proba(X), repeated.predict_proba(X))


def test_units_are_those_of_scikit_learn():
    X, times = np.random.default_rng(0).lognormal(size=(50, 3)), np.random.default_rng(1).integers(1, 5, 50)
    scaler = StandardScaler().fit(X, sample_weight=times)
    units = separate_scale(X, times)
    np.testing.assert_allclose((units.centre, units.scale), (scaler.mean_, scaler.scale_))


def test_equal_rows_of_different_classes_stay_apart():
    rows = distinct_rows(np.zeros((4, 1)), np.array([0, 1, 0, 1]), np.array([1, 2, 3, 0.5]))
    assert rows.y.tolist() == [0, 1] and rows.weights.tolist() == [4, 2.5]


def test_in_a_grid_search_on_two_workers(iris):
    "Also the winner's settings, and the pipeline around it."
    pipeline = make_pipeline(StandardScaler(), QHNClassifier(**QUICK))
    search = GridSearchCV(pipeline, {"qhnclassifier__hidden": [(), (8,)]}, cv=2, n_jobs=2).fit(*iris)
    assert search.best_params_ == {"qhnclassifier__hidden": (8,)}    # without a hidden layer ±1 weights are too coarse for four features


def test_in_cross_validation_and_calibration(iris):
    assert cross_val_score(QHNClassifier(**QUICK), *iris, cv=2).mean() > 0.8
    calibrated = CalibratedClassifierCV(QHNClassifier(**QUICK), cv=2).fit(*iris)
    assert calibrated.score(*iris) > 0.9 and calibrated.classes_.tolist() == ["setosa", "versicolor", "virginica"]


def test_behind_a_column_transformer():
    "Words become columns before the estimator sees them."
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"colour": rng.choice(["red", "blue"], 200), "size": rng.normal(size=200)})
    y = np.where((table["colour"] == "red") ^ (rng.random(200) < 0.05), "ripe", "unripe")
    columns = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    assert make_pipeline(columns, QHNClassifier(**QUICK)).fit(table, y).score(table, y) > 0.9


def test_polars_frames(iris):
    X, y = iris
    model = QHNClassifier(**QUICK).fit(polars.from_pandas(X), y)
    assert list(model.feature_names_in_) == list(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.predict(polars.from_pandas(X)), model.predict(X))


@pytest.mark.parametrize("kept", ["pickle", "joblib", "qhn"])
@pytest.mark.parametrize("kind", ["trained", "regressor"])
def test_what_is_kept_predicts_the_same(kept, kind, request, tmp_path, iris):
    model, path = request.getfixturevalue(kind), tmp_path / "model"
    X = iris[0] if kind == "trained" else load_diabetes(as_frame=True).data
    if kept == "pickle": again = pickle.loads(pickle.dumps(model))
    elif kept == "joblib": again = joblib.load(joblib.dump(model, path)[0])
    else: again = qhn.load(qhn.save(model, path))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.sample_networks(3, 0), model.sample_networks(3, 0))
    assert list(again.feature_names_in_) == list(X) and again.get_params() == model.get_params()
    assert clone(again).get_params() == model.get_params()


def test_return_std_has_the_noise_in_it(regressor):
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    mean, std = regressor.predict(X, return_std=True)
    assert (std > regressor.noise_).all() and abs((np.abs(y - mean) < 2 * std).mean() - 0.954) < 0.04
    np.testing.assert_array_equal(mean, regressor.predict(X))


@pytest.mark.parametrize("setting", [{"objective": "selbo"}, {"objective": "mle"}, {"objective": MMD(root=True)}, {"ansatz": "staircase"},
                                     {"ansatz": lambda n: staircase(n, 1)}, {"symmetrise": True}, {"activation": "sign"},
                                     {"logit_scale": 0.7}, {"temperature": 0.1}, {"scale": False}, {"hidden": 4}, {"hidden": (4, 4)}], ids=lambda setting: next(iter(setting)))
def test_each_setting_trains(setting):
    "Two well separated clouds."
    X, y = make_classification(60, 3, n_informative=3, n_redundant=0, n_clusters_per_class=1, class_sep=2, random_state=0)
    model = QHNClassifier(**QUICK | {"hidden": 3} | setting).fit(X, y)
    assert model.score(X, y) > 0.9
    if setting.get("logit_scale"): assert model.logit_scale_ == 0.7


def test_ten_thousand_rows_by_minibatches():
    X, y = make_classification(10_000, 5, n_informative=5, n_redundant=0, n_clusters_per_class=1, class_sep=2, random_state=0)
    model = QHNClassifier(**QUICK | {"hidden": 4}).fit(X, y)
    assert model.score(X, y) > LogisticRegression().fit(X, y).score(X, y) - 0.03
