"Columns learned in training and matched in new rows: scikit-learn's encoders, other orders, other files, and back from disk."
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from qhn.files import load, save
from qhn.problem.columns import Column, learn_columns
from qhn.problem.datasets import from_csv
from qhn.problem.dealing import separate_scale
from qhn.problem.tables import read_rows, read_table

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"length": RNG.normal(40, 5, 30).round(1), "island": RNG.choice(["Biscoe", "Dream", "Torgersen"], 30),
                      "mass": RNG.integers(2000, 6000, 30), "sex": RNG.choice(["female", "male"], 30)})
NUMBERS, WORDS = ["length", "mass"], ["island", "sex"]
COLUMNS = learn_columns(FRAME)


def theirs(train, new, missing=False):
    "scikit-learn's features of new rows, in the order of the columns."
    number, word = (SimpleImputer(strategy="mean"), SimpleImputer(strategy="most_frequent")) if missing else ("passthrough", "passthrough")
    parts = [(name, number if name in NUMBERS else make_pipeline(word, OneHotEncoder(sparse_output=False, handle_unknown="ignore")), [name]) for name in FRAME]
    return ColumnTransformer(parts).fit(train).transform(new)


def test_a_matrix_is_scikit_learns():
    np.testing.assert_array_equal(COLUMNS.matrix(FRAME), theirs(FRAME, FRAME))
    assert COLUMNS.feature_names == ("length", "island=Biscoe", "island=Dream", "island=Torgersen", "mass", "sex=female", "sex=male")
    hot = pd.get_dummies(FRAME, prefix_sep="=", dtype=float)
    np.testing.assert_array_equal(COLUMNS.matrix(FRAME), hot[list(COLUMNS.feature_names)])


def test_missing_values_are_filled_in_as_in_training():
    gappy = FRAME.mask(RNG.random(FRAME.shape) < 0.2)
    learned = learn_columns(gappy)
    np.testing.assert_allclose(learned.matrix(gappy, missing="mean"), theirs(gappy, gappy, missing=True), rtol=1e-14)
    np.testing.assert_allclose(learned.matrix(gappy[:5], missing="mean"), theirs(gappy, gappy[:5], missing=True), rtol=1e-14)
    with pytest.raises(ValueError, match="a missing value; fill it in, or give missing=\"mean\""): learned.matrix(gappy)


@pytest.mark.parametrize("seed", range(5))
def test_columns_are_matched_by_name(seed):
    rng = np.random.default_rng(seed)
    more = FRAME.assign(species="Adelie", age=3.0, id=range(30))
    shuffled = more[rng.permutation(more.columns)]
    np.testing.assert_array_equal(COLUMNS.matrix(shuffled), COLUMNS.matrix(FRAME))
    said, = COLUMNS.notices_on(shuffled)
    assert said.startswith("columns not used: ") and all(repr(name) in said for name in ("species", "age", "id"))
    assert COLUMNS.notices_on(FRAME) == ()


def test_a_file_and_a_frame_are_the_same(tmp_path):
    FRAME.assign(kind=["a", "b"] * 15).to_csv(tmp_path / "train.csv", index=False)
    table = read_table(tmp_path / "train.csv")
    columns = learn_columns(table)
    assert columns.used == COLUMNS.used and columns.label == "kind"
    np.testing.assert_array_equal(columns.matrix(table), COLUMNS.matrix(FRAME))
    FRAME[["sex", "mass", "island", "length"]].to_csv(tmp_path / "new.csv", sep=";", decimal=",", index=True)
    np.testing.assert_array_equal(columns.matrix(read_rows(tmp_path / "new.csv")), COLUMNS.matrix(FRAME))
    for row in range(3):    # one row tells nothing of what its columns are
        FRAME[row:row + 1].to_csv(tmp_path / "one.csv", index=False)
        np.testing.assert_array_equal(columns.matrix(read_rows(tmp_path / "one.csv")), COLUMNS.matrix(FRAME[row:row + 1]))


def test_a_file_without_a_header_is_matched_by_place(tmp_path):
    (tmp_path / "train.csv").write_text("".join(f"{k},{k % 7 + 0.5},{k % 5},{'ab'[k % 2]}\n" for k in range(20)))
    columns = learn_columns(read_table(tmp_path / "train.csv"))
    (tmp_path / "new.csv").write_text("20,0.5,3\n21,1.5,4\n")
    np.testing.assert_array_equal(columns.matrix(read_rows(tmp_path / "new.csv")), [[0.5, 3], [1.5, 4]])
    (tmp_path / "new.csv").write_text("0.5,3\n1.5,4\n")    # without the index: nobody knows
    with pytest.raises(ValueError, match="go by their place|no column 'x3'"): columns.matrix(read_rows(tmp_path / "new.csv"))


@pytest.mark.parametrize("change, how, message", [
    (lambda f: f.drop(columns="length"), {}, "the rows have no column 'length'"),
    (lambda f: f.rename(columns={"island": "Island"}), {}, "no column 'island'; the nearest is 'Island'"),
    (lambda f: f.rename(columns={"island": "isle", "sex": "sexe"}), {}, "no column 'island', and 1 more; the nearest is 'isle'"),
    (lambda f: f.set_axis(["a", "b", "c", "d"], axis=1), {}, "no column 'length', and 3 more; the columns are 'a', 'b', 'c', 'd'"),
    (lambda f: f.assign(mass=[*f.mass[:29], 1e200]), {}, r"row 29, column 'mass': expected a finite number, got 1e\+200"),
    (lambda f: f.assign(mass=np.inf), {}, "row 0, column 'mass': expected a finite number, got inf"),
    (lambda f: f.assign(mass="heavy"), {"missing": "mean"}, "row 0, column 'mass': expected a finite number, got 'heavy'"),
    (lambda f: f.assign(mass=None), {}, "row 0, column 'mass': got None, a missing value"),
    (lambda f: f.assign(island=" ?"), {}, r"row 0, column 'island': got ' \?', a missing value"),
    (lambda f: f.assign(island="Bisco"), {}, "row 0, column 'island': got 'Bisco', which training did not hold; the nearest is 'Biscoe'"),
    (lambda f: f.assign(island=7), {}, "row 0, column 'island': got 7, which training did not hold"),
    (lambda f: pd.concat([f, f[["sex"]]], axis=1), {}, "rows must have columns of different names, got 'sex' twice"),
    (lambda f: f, {"missing": "drop"}, "missing must be 'refuse' or 'mean'"),
    (lambda f: f, {"unknown": "drop"}, "unknown must be 'refuse' or 'zero'"),
])
def test_rows_that_do_not_fit_are_refused_with_their_place(change, how, message):
    with pytest.raises(ValueError, match=message): COLUMNS.matrix(change(FRAME), **how)


def test_the_line_of_a_file_is_named(tmp_path):
    (tmp_path / "new.csv").write_text("sex,mass,island,length\nmale,4000,Dream,39\n\nmale,4000,Dream,1e200\n")
    with pytest.raises(ValueError, match=r"line 4, column 'length': expected a finite number, got '1e200'"): COLUMNS.matrix(read_rows(tmp_path / "new.csv"))


def test_an_unknown_word_is_zero_when_asked_for():
    new = FRAME.assign(island=["Coulman"] * 3 + list(FRAME.island[3:]))
    np.testing.assert_array_equal(COLUMNS.matrix(new, unknown="zero"), theirs(FRAME, new))
    assert COLUMNS.notices_on(new) == ("'island' holds what training did not: 'Coulman'",)


@pytest.mark.parametrize("values, why", [
    ([f"P{k}" for k in range(30)], "30 different words in 30 rows"), (["2007-11-11", "2007-11-16"] * 15, "it holds dates"),
    (["11.11.2007", "16.11.07"] * 15, "it holds dates"), (pd.to_datetime(["2007-11-11", "2007-11-16"] * 15), "it holds dates"),
    (["Anvers"] * 30, "it holds 'Anvers' only"), ([None] * 16 + ["a", "b"] * 7, "more than half of it is missing"), ([np.nan] * 30, "more than half of it is missing"),
])
def test_columns_of_no_use_are_left_out_and_said(values, why):
    columns = learn_columns(FRAME.assign(odd=values))
    assert columns.used == COLUMNS.used and [name for name, _ in columns.left_out] == ["odd"] and why in columns.left_out[0][1]
    assert columns.notices[0].startswith("column 'odd' is left out: ")
    np.testing.assert_array_equal(columns.matrix(FRAME), COLUMNS.matrix(FRAME))    # nor are they asked for
    with pytest.raises(ValueError, match="no column can be used: 'odd': "): learn_columns(pd.DataFrame({"odd": values}))


def test_too_many_words_are_left_out():
    many = pd.DataFrame({"u": np.arange(303.0), "code": [f"c{k // 3}" for k in range(303)]})
    assert learn_columns(many).left_out == (("code", "it has 101 different words, more than 100"),)
    assert len(learn_columns(many[:300]).feature_names) == 101


def test_true_and_false_are_words():
    frame = pd.DataFrame({"flag": [True, False] * 4})
    assert learn_columns(frame).used == (Column("flag", ("False", "True"), "False"),)


def test_no_table_is_refused():
    with pytest.raises(TypeError, match="rows of a table must be a Table or a DataFrame, got ndarray"): learn_columns(np.ones((3, 2)))
    with pytest.raises(TypeError, match="got list"): COLUMNS.matrix([[1, 2]])


def test_columns_and_scaling_come_back_from_disk(tmp_path):
    scaling = separate_scale(COLUMNS.matrix(FRAME))
    again = load(save({"columns": COLUMNS, "scaling": scaling}, tmp_path / "columns.qhn"))
    assert again["columns"] == COLUMNS and hash(again["columns"]) == hash(COLUMNS)
    x = again["scaling"](again["columns"].matrix(FRAME))
    np.testing.assert_array_equal(x, scaling(COLUMNS.matrix(FRAME)))
    np.testing.assert_array_equal(x, StandardScaler().fit_transform(COLUMNS.matrix(FRAME)))


def test_the_palmer_penguins(tmp_path):
    "A real table with words and gaps, beside what pandas reads."
    spec = importlib.util.find_spec("palmerpenguins")
    if spec is None: pytest.skip("palmerpenguins is not installed")
    path = Path(spec.submodule_search_locations[0]) / "data" / "penguins.csv"
    truth = pd.read_csv(path)
    with pytest.raises(ValueError, match=r"line 5, column 3 \('bill_length_mm'\): expected a finite number, got 'NA'; fill it in"): read_table(path)
    table = read_table(path, missing="drop")
    whole = truth.dropna()
    columns = learn_columns(table)
    assert table.label == "species" and list(table.y) == list(whole.species) and (table.features.index == whole.index + 2).all()
    hot = pd.get_dummies(whole.drop(columns="species"), prefix_sep="=", dtype=float)
    np.testing.assert_array_equal(columns.matrix(table), hot[list(columns.feature_names)])
    data = from_csv(path, missing="mean")
    assert (len(data.y_train) + len(data.y_test), data.n_features, data.class_names) == (344, 10, ("Adelie", "Chinstrap", "Gentoo"))
    assert np.isfinite(data.inputs(whole)).all() and len(data.inputs(read_rows(path).features.dropna())) == 333
    raw = path.with_name("penguins-raw.csv")
    columns = learn_columns(read_table(raw, missing="mean"))
    assert dict(columns.left_out) == {"Region": "it holds 'Anvers' only", "Stage": "it holds 'Adult, 1 Egg Stage' only", "Date Egg": "it holds dates",
                                      "Individual ID": "it has 190 different words in 344 rows"}


@pytest.mark.parametrize("words", [["1,234.50", "17.20"], ["12.5%", "3%"], ["€ 12", "€ 7"]])
def test_amounts_are_no_words(words):
    frame = FRAME.assign(price=[word.replace("7", str(7 + k)).replace("12", str(12 + k)) for k, word in enumerate(words * 15)])
    if words[0] == "12.5%": frame["price"] = [f"{k}.5%" for k in range(30)]
    with pytest.raises(ValueError, match="column 'price': expected numbers or words, got .*; write numbers as 1234.5, without units"): learn_columns(frame)
    assert dict(learn_columns(FRAME.assign(cabin=[f"C{k}" for k in range(30)])).left_out)["cabin"].startswith("it has 30 different words")


@pytest.mark.parametrize("name", ["PassengerId", "customer_id", "id", "ID", "index"])
def test_numbers_of_rows_are_no_features(name):
    numbers = np.random.default_rng(1).permutation(9000)[:30]
    learned = learn_columns(FRAME.assign(**{name: numbers}))
    assert learned.used == COLUMNS.used and dict(learned.left_out) == {name: "its whole numbers, all different, number the rows"}
    assert learn_columns(FRAME.assign(**{name: numbers % 5})).feature_names[-1] == name
    assert learn_columns(FRAME.assign(paid=numbers)).feature_names[-1] == "paid"


@pytest.mark.parametrize("labelled", [True, False])
def test_an_index_that_training_did_not_hold_does_not_shift_the_columns(labelled, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(20, 4))).assign(kind=["a", "b"] * 10)
    frame.to_csv(tmp_path / "train.csv", index=False, header=False)
    columns = learn_columns(read_table(tmp_path / "train.csv"))
    new = frame if labelled else frame.drop(columns="kind")
    new.to_csv(tmp_path / "new.csv", index=False, header=False)
    np.testing.assert_array_equal(columns.matrix(read_rows(tmp_path / "new.csv")), frame.iloc[:, :4])
    new.to_csv(tmp_path / "new.csv", header=False)
    for ask in (columns.matrix, columns.notices_on):
        with pytest.raises(ValueError, match="go by their place"): ask(read_rows(tmp_path / "new.csv"))


def test_an_index_that_training_held_is_expected(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4))).assign(kind=["a", "b"] * 10)
    frame.to_csv(tmp_path / "train.csv", header=False)
    columns = learn_columns(read_table(tmp_path / "train.csv"))
    frame[5:9].to_csv(tmp_path / "new.csv", header=False)
    np.testing.assert_array_equal(columns.matrix(read_rows(tmp_path / "new.csv")), frame.iloc[5:9, :4])
    frame[5:9].to_csv(tmp_path / "new.csv", header=False, index=False)
    with pytest.raises(ValueError, match="first column of training numbered the rows"): columns.matrix(read_rows(tmp_path / "new.csv"))
