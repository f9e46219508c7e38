"`qhn train`, `qhn predict`, `qhn evaluate` as a user runs them: tables with words, gaps and semicolons, and what is wrong with them."
import io
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import qhn
import qhn.cli
from qhn.files import load
from qhn.posterior.networks import pack_networks
from qhn.posterior.predictive import predictive_uncertainty_from_samples
from qhn.problem.likelihood import Gaussian

QUICK = ["--steps", "25", "--restarts", "1", "--hidden", "3"]


def command(*arguments):
    "Status, output, errors; an unexpected error is raised."
    done = CliRunner().invoke(qhn.cli.app, list(map(str, arguments)), env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    if done.exception and not isinstance(done.exception, SystemExit): raise done.exception
    return done.exit_code, done.stdout, done.stderr


def refused(message, *arguments):
    "Status 2, one line on standard error, nothing on standard output."
    status, out, error = command(*arguments)
    assert (status, out) == (2, ""), (out, error)
    assert error.startswith("qhn: ") and error.count("\n") == 1 and "Traceback" not in error
    assert message in error, error


def birds(n, seed):
    "Two kinds that differ in a length, in an island and in a mass with gaps; a name for each bird."
    rng = np.random.default_rng(seed)
    kind = rng.choice(["Adelie", "Gentoo"], n)
    is_large = kind == "Gentoo"
    return pd.DataFrame({"bird": [f"N{i}" for i in range(n)], "bill": (40 + 6 * is_large + rng.normal(0, 2, n)).round(2),
                         "island": np.where(rng.random(n) < 0.8, np.where(is_large, "Biscoe", "Dream"), "Torgersen"),
                         "mass": (3700 + 1300 * is_large + rng.normal(0, 300, n)).round(), "kind": kind})


def write(table, path, **options):
    table.to_csv(path, index=False, **options)
    return path


@pytest.fixture(scope="module")
def flock(tmp_path_factory):
    "A folder with train.csv, which has gaps and German signs, test.csv, and the model of the first."
    folder = tmp_path_factory.mktemp("flock")
    with_gaps = birds(80, 0)
    with_gaps.loc[[3, 9], "mass"] = np.nan
    write(with_gaps, folder / "train.csv", sep=";", decimal=",")
    write(birds(60, 1), folder / "test.csv")
    status, out, error = command("train", folder / "train.csv", *QUICK, "--missing", "drop", "--out", folder / "deep" / "down" / "birds.qhn")
    assert status == 0, error
    return folder, folder / "deep" / "down" / "birds.qhn", out, error


def predictions(flock, file, *options):
    status, out, error = command("predict", flock[1], file, *options)
    assert status == 0, error
    return pd.read_csv(io.StringIO(out), index_col="line"), error


def test_what_training_says(flock):
    folder, path, out, error = flock
    assert "train.csv: 78 rows, predicts 'kind'" in out and "Adelie, Gentoo" in out and re.search(r"training   loss \d+\.\d+ nats", out)
    assert "used       bill, island, mass" in out and "5-3-1, 22 weights" in out and f"written to {path}" in out
    for said in ("semicolons", "2 of 80 rows have missing values", "line 5, 11", "'island' becomes 3 features", "'bird'"): assert said in error, error
    notes = error.splitlines()
    assert all(line.startswith("note: ") for line in notes) and len(set(notes)) == len(notes)


def test_predictions_are_those_of_the_networks_in_jax(flock):
    "From the file of the model: the columns by hand, and the doubt by `predictive_uncertainty_from_samples`."
    told, _ = predictions(flock, flock[0] / "test.csv")
    estimator, test = qhn.load(flock[1]).estimator, birds(60, 1)
    x = np.column_stack([test.bill, *(test.island == name for name in ("Biscoe", "Dream", "Torgersen")), test.mass]).astype(float)
    x = (x - estimator.units_.centre) / estimator.units_.scale
    network, packed = estimator.result_.problem.target.model, estimator.networks_
    drawn = np.repeat(packed.weights, np.rint(packed.probs * 1000).astype(int), axis=0)
    p = np.exp(np.asarray(network.log_probs(drawn.astype(float), x))).mean(0)
    np.testing.assert_allclose(told[["p_Adelie", "p_Gentoo"]], p, atol=2e-6)
    assert (told["class"] == np.array(["Adelie", "Gentoo"])[p.argmax(1)]).all() and list(told.index) == list(range(2, 62))
    doubt = predictive_uncertainty_from_samples(network, drawn, x)
    np.testing.assert_allclose(told.epistemic_share, np.asarray(doubt.epistemic / doubt.total), atol=2e-5)
    assert (told["class"].to_numpy() == test.kind).mean() > 0.9


def test_columns_go_by_their_names(flock, tmp_path):
    "Another order, one more column, none of the label, tabs."
    expected, _ = predictions(flock, flock[0] / "test.csv")
    other = birds(60, 1).drop(columns="kind").assign(price=3)[["price", "mass", "island", "bill"]]
    found, error = predictions(flock, write(other, tmp_path / "other.csv", sep="\t"))
    pd.testing.assert_frame_equal(found, expected)
    assert "note: columns not used: 'price'" in error and "tabs" in error


@pytest.mark.parametrize("change, options, message", [
    (lambda t: t.rename(columns={"bill": "Bills", "mass": "weight"}), [], "the rows have no column 'bill', and 1 more; the nearest is 'Bills'"),
    (lambda t: t.drop(columns="island"), [], "the rows have no column 'island'"),
    (lambda t: t.assign(island=["Biscoo", *t.island[1:]]), [], "line 2, column 'island': got 'Biscoo', which training did not hold; the nearest is 'Biscoe'; --unknown zero"),
    (lambda t: t.assign(mass=[*t.mass[:-1], 1e200]), [], "line 61, column 'mass': expected a finite number, got '1e+200'"),
    (lambda t: t.assign(mass=["heavy", *t.mass[1:]]), [], "line 2, column 'mass': expected a finite number, got 'heavy'"),
    (lambda t: t.assign(mass=[None, *t.mass[1:]]), [], "line 2, column 'mass': got nan, a missing value; fill it in, or give --missing mean"),
    (lambda t: t, ["--missing", "guess"], "missing must be 'refuse' or 'mean'"),
    (lambda t: t, ["--unknown", "guess"], "unknown must be 'refuse' or 'zero'"),
], ids=["renamed", "missing", "unknown word", "1e200", "word for a number", "gap", "no policy of gaps", "no policy of words"])
def test_refused_rows(flock, tmp_path, change, options, message):
    file = write(change(birds(60, 1)), tmp_path / "new.csv")
    refused(message, "predict", flock[1], file, "--out", tmp_path / "p.csv", *options)
    assert not (tmp_path / "p.csv").exists()


def test_gaps_and_unknown_words_by_request(flock, tmp_path):
    "A gap is the mean of training, or its most frequent word; an unknown word is no word."
    base = birds(3, 2)
    train = pd.read_csv(flock[0] / "train.csv", sep=";", decimal=",").dropna()
    odd = base.assign(mass=[None, *base.mass[1:]], island=[base.island[0], "Atlantis", base.island[2]])
    by_hand = base.assign(mass=[train.mass.mean(), *base.mass[1:]])
    found, error = predictions(flock, write(odd, tmp_path / "odd.csv"), "--missing", "mean", "--unknown", "zero")
    expected, _ = predictions(flock, write(by_hand, tmp_path / "hand.csv"))
    np.testing.assert_allclose(found.iloc[[0, 2], 1:], expected.iloc[[0, 2], 1:], atol=1e-5)
    assert "missing values of 'mass': 1" in error and "'island' holds what training did not: 'Atlantis'" in error


def test_other_units_are_a_remark(flock, tmp_path):
    "A column in another unit is predicted, and said."
    _, error = predictions(flock, write(birds(5, 2).assign(mass=1e12), tmp_path / "far.csv"))
    assert "lie far from the training data, in standard deviations: 'mass' by" in error and error.count("lie far") == 1 and "warn" not in error.lower()


def test_out_quiet_and_json(flock, tmp_path):
    file, out = flock[0] / "test.csv", tmp_path / "new" / "p.csv"
    status, text, error = command("predict", flock[1], file, "--out", out, "--quiet")
    assert (status, text, error) == (0, "", "")
    pd.testing.assert_frame_equal(pd.read_csv(out, index_col="line"), predictions(flock, file)[0])
    status, text, error = command("predict", flock[1], file, "--json")
    told = json.loads(text)
    assert (status, error, told["rows"]) == (0, "", 60) and told["notices"] == ["columns not used: 'bird', 'kind'"]
    assert told["predictions"][0].keys() == {"line", "class", "p_Adelie", "p_Gentoo", "epistemic_share"}
    told = json.loads(command("predict", flock[1], file, "--json", "--out", out)[1])
    assert told["predictions"] == str(out)
    assert command("predict", flock[1], file, "--out", out)[1] == f"60 predictions written to {out}\n"


def test_evaluation_by_hand(flock, tmp_path):
    "scikit-learn's scores of the predictions, and of its own logistic regression."
    folder, model = flock[:2]
    picture = tmp_path / "pictures" / "r.png"
    status, text, _ = command("evaluate", model, folder / "test.csv", "--train", folder / "train.csv", "--missing", "drop", "--picture", picture, "--json")
    # the file of training has commas for points, the other points: each file is read for itself
    told = json.loads(text)
    assert status == 0 and told["rows"] == 60 and told["picture"] == str(picture) and picture.read_bytes()[1:4] == b"PNG"
    scores, y = told["scores"], birds(60, 1).kind
    p = predictions(flock, folder / "test.csv")[0]
    assert scores["this model"]["accuracy"] == pytest.approx(accuracy_score(y, p["class"]))
    assert scores["this model"]["log loss"] == pytest.approx(log_loss(y, p[["p_Adelie", "p_Gentoo"]]), abs=1e-5)
    def features(t): return pd.get_dummies(t[["bill", "mass", "island"]], dtype=float)
    train, test = pd.read_csv(folder / "train.csv", sep=";", decimal=",").dropna(), birds(60, 1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features(train), train.kind)
    assert scores["logistic regression"]["log loss"] == pytest.approx(log_loss(y, linear.predict_proba(features(test))), rel=1e-4)
    assert scores["16 straight-through networks"]["accuracy"] > 0.9


def test_the_file_of_training_is_found(flock, tmp_path):
    "By its name and its bytes: the report is that of --train; a changed file, or one far away, is not taken."
    folder, model = flock[:2]
    status, text, error = command("evaluate", model, folder / "test.csv")
    named = command("evaluate", model, folder / "test.csv", "--train", folder / "train.csv", "--missing", "drop")
    assert status == 0 and text == named[1] and "logistic" in text and f"trained on {folder / 'train.csv'}, as the model was" in error
    far = write(birds(60, 1), tmp_path / "test.csv")
    moved = tmp_path / "moved" / "m.qhn"
    moved.parent.mkdir()
    moved.write_bytes(Path(model).read_bytes())
    for content in (None, "changed"):
        if content: (tmp_path / "train.csv").write_text(content)
        status, text, error = command("evaluate", moved, far)
        assert status == 0 and "this model" in text and "logistic" not in text and "note: give --train FILE" in error
    (tmp_path / "train.csv").write_bytes((folder / "train.csv").read_bytes())
    assert "logistic" in command("evaluate", moved, far)[1]


def test_the_file_of_training_is_read_as_it_was(flock, tmp_path):
    "Another separator, no names in the first line: the test file's options are not its."
    train = write(birds(60, 3).drop(columns="bird"), tmp_path / "train.csv", header=False, sep="|")
    status, _, error = command("train", train, "--label", "3", "--no-header", "--sep", "|", "--missing", "drop", *QUICK, "--out", tmp_path / "m.qhn")
    assert status == 0, error
    names = [column.name for column in load(tmp_path / "m.qhn").columns.used]
    test = birds(60, 1).drop(columns="bird").dropna()
    test.columns = [*names[:3], "3"] if len(names) == 3 else test.columns
    label = load(tmp_path / "m.qhn").columns.label
    test = test.rename(columns={test.columns[3]: label})
    status, text, error = command("evaluate", tmp_path / "m.qhn", write(test, tmp_path / "test.csv", sep=";"), "--sep", ";")
    assert status == 0 and "logistic" in text, error


def test_an_odd_file_of_training_is_told(flock, tmp_path):
    test = write(birds(60, 1), tmp_path / "test.csv")
    error = command("evaluate", flock[1], test, "--train", test, "--missing", "drop")[2]
    assert "trained on the rows that they are judged on" in error and f"{test} is not the file that the model was trained on" in error
    assert "trained on" not in command("evaluate", flock[1], test, "--train", flock[0] / "train.csv", "--missing", "drop")[2]


def test_many_numbers_as_classes_are_told(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=120).round(3), "mass": np.tile(np.arange(40), 3)})
    assert "the label has 40 classes, all of them numbers; to predict a number, give --regress" in command(
        "train", write(table, tmp_path / "t.csv"), "--label", "mass", *QUICK, "--out", tmp_path / "m.qhn")[2]


def test_evaluation_alone(flock):
    status, text, error = command("evaluate", flock[1], flock[0] / "test.csv", "--alone", "--quiet")
    assert status == 0 and "this model" in text and "logistic" not in text and error == ""
    assert "these are the rows of training" in command("evaluate", flock[1], flock[0] / "train.csv", "--alone", "--missing", "drop")[2]


def test_a_model_names_no_folder(flock):
    "A file that is passed on says nothing of where it was made."
    assert load(flock[1]).source[:4:2] == ("train.csv", "drop") and str(flock[0]).encode() not in Path(flock[1]).read_bytes()


def test_refused_evaluations(flock, tmp_path):
    table = birds(10, 3)
    refused("the rows have no column 'kind', which is what is predicted", "evaluate", flock[1], write(table.drop(columns="kind"), tmp_path / "a.csv"))
    strange = write(table.assign(kind=["Emperor", *table.kind[1:]]), tmp_path / "b.csv")
    refused("line 2, column 'kind': expected one of 'Adelie', 'Gentoo', got 'Emperor'", "evaluate", flock[1], strange)
    refused("out must be another file", "evaluate", flock[1], strange, "--picture", strange)
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "b.csv"]


@pytest.fixture(scope="module")
def weigher(flock):
    "A model of the mass."
    path = flock[0] / "mass.qhn"
    status, text, error = command("train", flock[0] / "train.csv", *QUICK, "--regress", "--label", "mass", "--missing", "drop", "--out", path, "--json")
    assert (status, error) == (0, ""), error
    return path, json.loads(text)


def test_numbers(flock, weigher):
    path, told = weigher
    assert told["rows"] == 78 and told["label"] == "mass" and told["classes"] == [] and told["noise"] > 0 and told["left_out"].keys() == {"bird"}
    p = pd.read_csv(io.StringIO(command("predict", path, flock[0] / "test.csv")[1]), index_col="line")
    assert list(p) == ["mean", "std", "epistemic_share"] and p.epistemic_share.between(0, 1).all()
    np.testing.assert_allclose((1 - p.epistemic_share) * p["std"]**2, told["noise"]**2, rtol=1e-4)
    scored = json.loads(command("evaluate", path, flock[0] / "test.csv", "--train", flock[0] / "train.csv", "--missing", "drop", "--json")[1])["scores"]
    y, ours = birds(60, 1).mass.to_numpy(), scored["this model"]
    p = p.reset_index(drop=True)
    assert ours["R²"] == pytest.approx(r2_score(y, p["mean"]), abs=1e-4)
    assert ours["log density"] == pytest.approx(norm(p["mean"], p["std"]).logpdf(y).mean(), abs=1e-4)
    assert ours["within 2 std"] == pytest.approx((abs(y - p["mean"]) < 2 * p["std"]).mean())
    train, test = pd.read_csv(flock[0] / "train.csv", sep=";", decimal=",").dropna(), birds(60, 1)
    def features(t): return pd.get_dummies(t[["bill", "island", "kind"]], dtype=float)
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(features(train), train.mass)
    assert scored["ridge regression"]["RMSE"] == pytest.approx(np.sqrt(((y - ridge.predict(features(test)))**2).mean()), rel=1e-6)


def test_a_picture_of_numbers_is_refused_before_the_work(flock, weigher, monkeypatch):
    monkeypatch.setattr("qhn.table_report.evaluate_table", lambda *a: pytest.fail("the work began"))
    refused("a reliability picture is of classes", "evaluate", weigher[0], flock[0] / "test.csv", "--picture", flock[0] / "no.png")
    refused("'odd' is not supported", "evaluate", flock[1], flock[0] / "test.csv", "--picture", flock[0] / "no.odd")
    assert not list(flock[0].glob("no.*"))


def test_a_model_is_not_replaced_unasked(flock, monkeypatch):
    before = flock[1].read_bytes()
    monkeypatch.setattr("qhn.table_model.train_table", lambda *a: pytest.fail("training began"))
    refused("exists; give --force to replace it, or another --out", "train", flock[0] / "train.csv", "--missing", "drop", "--out", flock[1])
    refused("out must be a file, got the folder", "train", flock[0] / "train.csv", "--out", flock[0])
    refused("out must lie in a folder", "train", flock[0] / "train.csv", "--out", flock[1] / "model.qhn")
    refused("out must be another file", "train", flock[0] / "train.csv", "--out", flock[0] / "train.csv", "--force")
    assert flock[1].read_bytes() == before


@pytest.mark.parametrize("arguments, message", [
    ([], "--missing drop or --missing mean"), (["--label", "kin"], "has no column 'kin'; the nearest is 'kind'"),
    (["--label", "bill", "--missing", "drop"], "give --regress"), (["--missing", "zero"], "missing must be"), (["--hidden", "a"], "hidden must be comma-separated numbers"),
    (["--missing", "drop", "--ansatz", "ring"], "ansatz must be one of"), (["--missing", "drop", "--objective", "map"], "objective must be one of"),
    (["--missing", "drop", "--steps", "0"], "--steps must be an integer of at least 1, got 0"), (["--temperature", "0"], "temperature must be positive"), (["--sep", "ab"], "sep must be one character"),
    (["--missing", "drop", "--hidden", "0"], "hidden must be"), (["--missing", "drop", "--layers", "0", "--ansatz", "staircase"], "--layers must be an integer of at least 1, got 0"),
    (["--missing", "keep"], "--missing must be refuse, drop or mean, got 'keep'"), (["--missing", "drop", "--layers", "2"], "use --ansatz staircase"), (["--missing", "drop", "--seed", "-1"], "--seed must be 0 or more, got -1"),
    (["--missing", "drop", "--restarts", "0"], "--restarts must be an integer of at least 1, got 0"), (["--missing", "drop", "--label", "kind", "--regress"], "expected a finite number to predict"),
])
def test_refused_training(flock, tmp_path, arguments, message):
    refused(message, "train", flock[0] / "train.csv", *arguments, "--out", tmp_path / "m.qhn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [
    lambda p: p.write_bytes(b""), lambda p: p.write_text("a,b\n1,2\n"), lambda p: p.write_bytes(os.urandom(300)), lambda p: p.mkdir(), lambda p: None,
    lambda p: qhn.save({"a": 1}, p), lambda p: pack_networks(qhn.BiNN((2, 1)), np.ones((1, 3))).save(p),
    lambda p: qhn.save(qhn.BiNN((2, 1), likelihood=Gaussian()), p),
], ids=["empty", "a table", "noise", "a folder", "absent", "another thing", "networks", "a network"])
def test_what_is_no_model(flock, tmp_path, make):
    path = tmp_path / "other.qhn"
    make(path)
    for command_ in ("predict", "evaluate"): refused("other.qhn", command_, path, flock[0] / "test.csv")


def test_a_damaged_model(flock, tmp_path):
    whole = bytearray(flock[1].read_bytes())
    (tmp_path / "short.qhn").write_bytes(whole[:-9])
    whole[-5] ^= 1
    (tmp_path / "bit.qhn").write_bytes(whole)
    refused("cut short", "predict", tmp_path / "short.qhn", flock[0] / "test.csv")
    refused("was altered", "predict", tmp_path / "bit.qhn", flock[0] / "test.csv")
    refused("absent.csv", "predict", flock[1], tmp_path / "absent.csv")


@pytest.mark.parametrize("name", ["train", "predict", "evaluate"])
def test_help_has_examples(name):
    status, text, _ = command(name, "--help")
    assert status == 0 and "Examples:" in text and text.count(f"qhn {name} ") >= 2


def test_completion_is_there(): assert "--install-completion" in command("--help")[1]


# ---- the same again

@pytest.fixture
def small(tmp_path):
    "A folder with a table and the model of it."
    write(birds(30, 5), tmp_path / "train.csv")
    assert command("train", tmp_path / "train.csv", *QUICK, "--label", "kind", "--out", tmp_path / "a.qhn")[0] == 0
    return tmp_path


def test_a_model_is_repeated_bit_for_bit(small, flock, monkeypatch):
    assert command("rerun", small / "a.qhn")[:2] == (0, "the same, bit for bit\n")
    (small / "train.csv").rename(small / "renamed.csv")
    status, out, _ = command("rerun", small / "a.qhn", "--json")
    assert status == 0 and json.loads(out) == {"same": True, "answer": "the same, bit for bit", "within": 0.0, "different": [], "notices": []}
    status, out, _ = command("rerun", flock[1], "--train", flock[0] / "train.csv")    # gaps, German signs, another folder
    assert (status, out) == (0, "the same, bit for bit\n")


def test_what_cannot_be_the_same_is_said(small):
    status, out, _ = command("rerun", small / "a.qhn", "--train", write(birds(30, 6), small / "b.csv"))
    assert status == 1 and "b.csv is not the file of training" in out and "another data" in out
    (small / "train.csv").write_text((small / "train.csv").read_text() + "N99,40.0,Dream,3000.0,Adelie\n")
    status, out, _ = command("rerun", small / "a.qhn", "--json")
    assert status == 1 and "train.csv has changed since" in json.loads(out)["answer"]
    (small / "train.csv").unlink()
    refused("the file of training, train.csv, is not beside", "rerun", small / "a.qhn")
    qhn.save(qhn.BornMachine(qhn.product(2)), small / "own.qhn")
    refused("holds a BornMachine of code of your own, which no file can hold; `qhn rerun` repeats what `qhn train` and `qhn compare` wrote", "rerun", small / "own.qhn")
    refused("holds no angles.npz: give the folder that `qhn compare` wrote", "rerun", small)
    refused("within must be positive", "rerun", small / "a.qhn", "--within", 0)


def test_what_differs_is_named(small):
    "As if another version had trained with another seed: the numbers differ, and the reasons are said."
    model = load(small / "a.qhn")
    result = model.estimator.result_
    made = result.made._replace(versions=result.made.versions | {"jax": "0.1.2"}, machine=result.made.machine | {"processor": "abacus"})
    model.estimator.result_ = replace(result, made=made, history=result.history | {"loss": result.history["loss"] * (1 + 1e-5)})
    qhn.save(model, small / "near.qhn")
    status, out, _ = command("rerun", small / "near.qhn")
    assert status == 0 and out.startswith("the same within 1e-05\n  jax was 0.1.2, is ") and "processor was abacus, is" in out
    status, out, _ = command("rerun", small / "near.qhn", "--within", 1e-7)
    assert status == 1 and out.startswith("not the same: apart by 1e-05 of the largest number")


@pytest.mark.parametrize("is_apart", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["in this process", "in another"])
def test_a_comparison_is_repeated(tmp_path, monkeypatch, is_apart):
    def here(words, **options): return SimpleNamespace(returncode=command(*words[3:])[0], stderr="")    # as `python -m qhn` does, without the start
    if not is_apart: monkeypatch.setattr(subprocess, "run", here)
    write(birds(40, 7)[["bill", "mass", "kind"]], tmp_path / "birds.csv")
    options = "--label", "kind", "--objectives", "elbo", "--layers", 1, "--steps", 5, "--seeds", 2, "--n-train", 20
    assert command("compare", "--dataset", tmp_path / "birds.csv", *options, "--quiet", "--out", tmp_path / "there")[0] == 0
    assert command("rerun", tmp_path / "there")[:2] == (0, "the same, bit for bit\n")
    write(birds(40, 8)[["bill", "mass", "kind"]], tmp_path / "birds.csv")
    status, out, _ = command("rerun", tmp_path / "there")
    assert status == 1 and out.startswith("not the same: apart by") and "another data" in out


def test_each_file_is_hashed_once(small, monkeypatch):
    from qhn import table_model
    hashed, true = [], table_model.source_of
    monkeypatch.setattr(table_model, "source_of", lambda path, *rest: hashed.append(Path(path).name) or true(path, *rest))
    monkeypatch.chdir(small)
    test = write(birds(20, 9), small / "test.csv")
    for options in (["--train", small / "train.csv"], []):
        hashed.clear()
        assert command("evaluate", small / "a.qhn", test, *options, "--json")[0] == 0
        assert sorted(hashed) == ["test.csv", "train.csv"]
    for name in ("x.csv", "y.csv"): (small / name).write_text("another size")
    (small / "train.csv").rename(small / "new.csv")
    hashed.clear()
    assert table_model.find_source(load(small / "a.qhn").source, small, ".", small) .name == "new.csv" and hashed == ["new.csv"]


def test_rows_without_a_header_are_told_so(flock, tmp_path):
    (path := tmp_path / "bare.csv").write_text("N1,41.5,Biscoe,3800\nN2,46.5,Dream,4800\n")
    refused(f"{path}: the rows have no column 'bill', and 2 more; the file has no header: write 'bill', 'island', 'mass' in a first line", "predict", flock[1], path)
    refused("the file has no header: write one in a first line", "evaluate", flock[1], path, "--alone")


def test_a_dash_is_a_gap_where_numbers_are_asked_for(flock, tmp_path):
    "Also in a file of one row, whose column holds no number."
    for mass in ("-", ""):
        (path := tmp_path / "one.csv").write_text(f"bill,island,mass\n41.5,Biscoe,{mass}\n")
        refused(f"{path}, line 2, column 'mass': got", "predict", flock[1], path)
        assert command("predict", flock[1], path, "--missing", "mean")[1] == command("predict", flock[1], tmp_path / "one.csv", "--missing", "mean", "--quiet")[1]
