"`from_csv` and `read_table` on awkward files: what pandas reads, or the truth written beside each file; and what is refused, with its place."
import importlib.util
import io
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from qhn.problem.columns import learn_columns
from qhn.problem.datasets import from_csv, load_dataset
from qhn.problem.tables import read_rows, read_table


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return from_csv(path, **options)
    return read


def points(data):
    "(label, features) of all points, in one order: features as they were scaled, of both sets."
    labels = [data.class_names[k] for k in np.r_[data.y_train, data.y_test]]
    return sorted(zip(labels, np.r_[data.x_train, data.x_test].tolist()))


def truth(x, labels, data):
    "The same of raw features, scaled by the mean and the spread of the points that `data` trains on."
    x, labels = np.asarray(x, float), np.asarray(labels)
    scaled = sorted(zip(labels.tolist(), x.tolist()))
    ours = np.array([row for _, row in points(data)])
    raw = np.array([row for _, row in scaled])
    for column in range(x.shape[1]):      # an affine map with positive slope, up to the order of equal labels
        slope, shift = np.polyfit(np.sort(raw[:, column]), np.sort(ours[:, column]), 1)
        assert slope > 0 or np.ptp(raw[:, column]) == 0
        raw[:, column] = slope * raw[:, column] + shift
    return sorted(zip((label for label, _ in scaled), raw.tolist()))


def assert_holds(data, x, labels):
    ours, expected = points(data), truth(x, labels, data)
    assert [label for label, _ in ours] == [label for label, _ in expected]
    np.testing.assert_allclose([row for _, row in ours], [row for _, row in expected], atol=1e-9)


X = [[0.5, 3], [1.5, 1], [2.5, 4], [3.5, 1], [4.5, 5], [5.5, 9]]
AB = ["a", "b"] * 3
ROWS = "0.5,3,a\n1.5,1,b\n2.5,4,a\n3.5,1,b\n4.5,5,a\n5.5,9,b\n"
NUMBERED = "".join(f"{k},{row}\n" for k, row in enumerate(ROWS.split()))
ONE = ROWS.replace("\n", "\r\n").encode("utf-8-sig")


def labelled(*labels): return "".join(f"{a},{b},{label}\n" for (a, b), label in zip(X, labels))


SAME = {    # files that hold the points X with the labels AB, and the names of the features
    "plain": (ROWS, ("x1", "x2")),
    "header": ("u,v,kind\n" + ROWS, ("u", "v")),
    "byte order mark and CRLF": (ONE, ("x1", "x2")),
    "byte order mark before a quoted header": ('\ufeff"u","v","kind"\n' + ROWS, ("u", "v")),
    "CR alone": (ROWS.replace("\n", "\r"), ("x1", "x2")),
    "no end of line": (ROWS.rstrip("\n"), ("x1", "x2")),
    "blank lines": ("\n  \n" + ROWS.replace("\n", "\n\n") + "\n\t\n", ("x1", "x2")),
    "a spreadsheet's empty rows": ("u,v,kind\n" + ROWS + ",,\n , ,\n", ("u", "v")),
    "spaces": ("u , v , kind \n" + ROWS.replace(",", " , "), ("u", "v")),
    "all quoted": ("".join('"' + row.replace(",", '","') + '"\n' for row in ROWS.split()), ("x1", "x2")),
    "separator in a quoted name": ('"u, in cm",v,kind\n' + ROWS, ("u, in cm", "v")),
    "line break in a quoted name": ('"u\nin cm",v,kind\n' + ROWS, ("u\nin cm", "v")),
    "doubled quotation marks": ('"the ""u""",v,kind\n' + ROWS, ('the "u"', "v")),
    "numbers in other ways": ("+.5,3.,a\n15e-1,1,b\n2.50,4.0,a\n0.35E1,01,b\n4.5,5,a\n5.5,9e0,b\n", ("x1", "x2")),
    "names of pixels": ("1_1,1_2,kind\n" + ROWS, ("1_1", "1_2")),
    "the same name twice": ("u,u,kind\n" + ROWS, ("u", "u.1")),
    "semicolons": (("u,v,kind\n" + ROWS).replace(",", ";"), ("u", "v")),
    "semicolons, no header": (ROWS.replace(",", ";"), ("x1", "x2")),
    "tabs": (("u,v,kind\n" + ROWS).replace(",", "\t"), ("u", "v")),
    "bars": (ROWS.replace(",", "|"), ("x1", "x2")),
    "spaces": (ROWS.replace(",", "   "), ("x1", "x2")),
    "spaces in front, behind and tabs between": ("u v kind\n" + "".join(f"  {row}\t \n" for row in ROWS.replace(",", " \t").splitlines()), ("u", "v")),
    "names in single quotes": ("'u' 'v' 'kind'\n" + ROWS.replace(",", " "), ("u", "v")),
    "semicolons and decimal commas": (("u,v,kind\n" + ROWS).replace(",", ";").replace(".", ","), ("u", "v")),
    "tabs and decimal commas": (ROWS.replace(",", "\t").replace(".", ","), ("x1", "x2")),
    "decimal commas in quotes everywhere": ("".join('"{}",{},{}\n'.format(*row.split(",")).replace(".", ",") for row in ROWS.split()), ("x1", "x2")),
    "R's table": ("u v kind\n" + "".join(f'"{k}" {row}\n' for k, row in enumerate(ROWS.replace(",", " ").splitlines(), 1)), ("u", "v")),
    "R's table of named rows": ("u v kind\n" + "".join(f'"row {k}" {row}\n' for k, row in enumerate(ROWS.replace(",", " ").splitlines(), 1)), ("u", "v")),
    "years for names": ("2019,2020,label\n" + ROWS, ("2019", "2020")),
    "a name missing": ("u,,kind\n" + ROWS, ("u", "x2")),
    "no name for the labels": ("u,v,\n" + ROWS, ("u", "v")),
    "NA is sodium": ("NA,v,kind\n" + ROWS, ("NA", "v")),
    "numbers of columns": ("0,1,2\n" + ROWS, ("0", "1")),
    "numbers of columns but the last": ("0,1,kind\n" + ROWS, ("0", "1")),
    "index and numbers of columns but the last": (",0,1,kind\n" + NUMBERED, ("0", "1")),
    "index": (",u,v,kind\n" + NUMBERED, ("u", "v")),
    "index and numbers of columns": (",0,1,2\n" + NUMBERED, ("0", "1")),
    "index read and written again": ("Unnamed: 0,u,v,kind\n" + NUMBERED, ("u", "v")),
    "index of an index": (",Unnamed: 0,u,v,kind\n" + "".join(f"{k},{row}\n" for k, row in enumerate(NUMBERED.split())), ("u", "v")),
    "index of shuffled rows": (",u,v,kind\n" + "".join(f"{7 * k % 6 + 3},{row}\n" for k, row in enumerate(ROWS.split())), ("u", "v")),
    "R's row names": ('"","u","v","kind"\n' + "".join(f'"{k}",{row}\n' for k, row in enumerate(ROWS.split(), 1)), ("u", "v")),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_points_written_in_many_ways(read, name):
    text, feature_names = SAME[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read(text)
    assert data.feature_names == feature_names
    assert_holds(data, X, AB)


ELSEWHERE = {    # the same points with the label where it must be looked for: text, arguments
    "first by its name": ("kind,u,v\n", {}),
    "first": ("what,u,v\n", {"label": "first"}),
    "by name": ("what,u,v\n", {"label": "what"}),
    "by place": ("what,u,v\n", {"label": 0}),
    "by place from the end": ("what,u,v\n", {"label": -3}),
    "by place as a text": ("what,u,v\n", {"label": "0"}),
    "no header": ("", {"label": 0}),
    "header, asked for": ("what,u,v\n", {"label": 0, "header": True}),
    "no header, asked for": ("", {"label": 0, "header": False}),
    "separator, asked for": ("what,u,v\n", {"label": 0, "sep": "comma"}),
    "decimal mark, asked for": ("what,u,v\n", {"label": 0, "decimal": "."}),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_label_is_found_wherever_it_stands(read, name):
    first, options = ELSEWHERE[name]
    rows = ["{2},{0},{1}\n".format(*row.split(",")) for row in ROWS.split()]
    data = read(first + "".join(rows), **options)
    assert data.feature_names == (("u", "v") if first else ("x2", "x3")) and data.columns.label == (first.split(",")[0] or "x1")
    assert_holds(data, X, AB)


MIXED = "".join(f"{0.5 + i % 7},{'red blue green'.split()[i % 3]},{'ab'[i % 2]}\n" for i in range(12))


def test_words_are_features(read):
    for text in ("size,colour,kind\n" + MIXED, MIXED):
        data = read(text)
        name = data.columns.used[1].name
        assert data.feature_names[1:] == (f"{name}=blue", f"{name}=green", f"{name}=red")
        assert f"{name!r} becomes 3 features, one for each of 'blue', 'green', 'red'" in data.notices
    assert read("red,big,a\nblue,small,b\n" * 6).feature_names == ("x1=blue", "x1=red", "x2=big", "x2=small")
    named = read("colour,size,kind\n" + "red,big,a\nblue,small,b\n" * 6)
    assert named.feature_names == ("colour=blue", "colour=red", "size=big", "size=small")


def test_what_was_guessed_is_said(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(",u;cm,v,kind\n".replace(",", "|") + NUMBERED.replace(",", "|"))
    assert read_table(path).notices == ("columns are separated by '|'", "column 1 ('x1') numbers the rows and is left out",
                                        "the label is column 4 ('kind'), by its name")
    path.write_text(ROWS.replace(",", ";").replace(".", ","))
    assert read_table(path).notices == ("columns are separated by semicolons", "the decimal mark is a comma",
                                        "the file has no header; columns are called by their place", "the label is column 3 ('x3'), the last one")
    assert read_table(path, "last", sep=";", decimal=",").notices[-1] == "the label is column 3 ('x3')"


GAPPY = "u,colour,kind\n1,red,a\n,red,b\n3,,a\n5,blue,b\n7,red,a\n9,blue,\n11,red,b\n"


def test_gaps_are_left_out_or_filled_in_when_asked_for(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(GAPPY)
    dropped = read_table(path, missing="drop")
    truth = pd.read_csv(path).dropna()
    np.testing.assert_array_equal(dropped.features.u, truth.u)
    assert list(dropped.features.colour) == list(truth.colour) and list(dropped.y) == list(truth.kind)
    assert "2 of 6 rows have missing values and are left out: line 3, 4" in dropped.notices
    with pytest.raises(ValueError, match=r"line 7, column 3 \('kind'\): expected a label, got ''"): read_table(path, missing="mean")
    path.write_text(GAPPY.replace("9,blue,\n", ""))
    filled = read_table(path, missing="mean")
    truth = pd.read_csv(path)
    np.testing.assert_allclose(filled.features.u, truth.u.fillna(truth.u.mean()))
    assert list(filled.features.colour) == list(truth.colour.fillna("red"))
    assert filled.notices[-2:] == ("missing values of 'u' are filled in: 1", "missing values of 'colour' are filled in: 1")
    assert read_table(path, missing="keep").features.isna().sum().tolist() == [1, 1]


def test_a_mean_is_that_of_the_training_points(tmp_path):
    path = tmp_path / "table.csv"
    rng = np.random.default_rng(0)
    u = rng.normal(size=60)
    path.write_text("u,kind\n" + "".join(f"{'' if k % 5 == 0 else repr(float(value))},{'ab'[k % 2]}\n" for k, value in enumerate(u)))
    data = from_csv(path, missing="mean")
    raw = data.scaling.inverse(data.x_train)[:, 0]
    seen = raw[[np.abs(u - value).min() < 1e-12 for value in raw]]
    np.testing.assert_allclose(data.columns.used[0].fill, seen.mean())
    assert len(seen) < len(raw) and np.isclose(raw, seen.mean()).sum() == len(raw) - len(seen)
    dropped = from_csv(path, missing="drop")
    assert len(dropped.y_train) + len(dropped.y_test) == 48


def test_a_number_to_predict_is_asked_for(tmp_path):
    path = tmp_path / "table.csv"
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"price": rng.normal(50, 20, 30), "size": rng.normal(size=30), "rooms": rng.integers(1, 5, 30)})
    frame.to_csv(path, index=False)
    data = from_csv(path, label="price", target="number")
    assert data.task == "regression" and data.feature_names == ("size", "rooms")
    answers = np.sort(np.r_[data.target_scaling.inverse(data.y_train), data.target_scaling.inverse(data.y_test)])
    np.testing.assert_allclose(answers, np.sort(frame.price))
    with pytest.raises(ValueError, match="'price' must hold classes, got real numbers.*; to predict numbers, give target=\"number\""): from_csv(path, label="price")
    with pytest.raises(ValueError, match="'rooms', may be what is to be predicted, or any other; give label="): from_csv(path, target="number")
    frame.rename(columns={"price": "target"}).to_csv(path, index=False)
    assert from_csv(path, target="number").columns.label == "target"
    frame[["size", "rooms", "price"]].to_csv(path, index=False, header=False)
    assert from_csv(path, target="number").columns.label == "x3"


def test_new_rows_go_through_the_scaling_of_training(tmp_path):
    (path := tmp_path / "table.csv").write_text("size,colour,kind\n" + MIXED * 3)
    data = from_csv(path)
    frame = pd.read_csv(path)
    ours = data.inputs(frame[["kind", "colour", "size"]])
    train = ours[[(row == data.x_train).all(1).any() for row in ours]]
    assert len(train) >= len(data.x_train)
    hot = pd.get_dummies(frame[["size", "colour"]], dtype=float)
    np.testing.assert_allclose(ours, (hot.to_numpy() - data.scaling.centre) / data.scaling.scale)
    np.testing.assert_array_equal(data.inputs(read_rows(path)), ours)


CLASSES = {    # labels of the six points, the classes in their order, and the class of each point
    "whole and decimal": (("1", "0.0", "1.0", "0", "1.", "-0"), ("0", "1"), "101010"),
    "pandas after a gap": (("1.0", "2.0") * 3, ("1", "2"), "121212"),
    "signs": (("+1", "-1", "1", "-1.0", "+1", "-1"), ("-1", "1"), None),
    "by value": (("10", "9", "10", "9", "100", "100"), ("9", "10", "100"), None),
    "fractions": (("0.5", "1.5", "0.5", "1.5", "10.5", "10.5"), ("0.5", "1.5", "10.5"), None),
    "zeros in front": (("007", "7", "007", "7", "007", "7"), ("007", "7"), None),
    "underscores": (("1_1", "11", "1_1", "11", "1_1", "11"), ("11", "1_1"), None),
    "17 digits": (("12345678901234567", "12345678901234568") * 3, ("12345678901234567", "12345678901234568"), None),
    "400 digits": (("9" * 400, "9" * 399 + "8") * 3, ("9" * 399 + "8", "9" * 400), None),
    "codes like exponents": (("1e5", "100000") * 3, ("100000", "1e5"), None),
    "versions": (("1.1", "1.10") * 3, ("1.1", "1.10"), None),
    "hexadecimal": (("0x1", "1") * 3, ("0x1", "1"), None),
    "other digits": (("١", "1") * 3, ("1", "١"), None),
    "words and numbers": (("no", "1", "no", "1.0", "no", "1"), ("1", "no"), None),
    "case": (("Rose", "rose") * 3, ("Rose", "rose"), None),
    "accents": (("née", "oak") * 3, ("née", "oak"), None),
    "true and false": (("True", "False") * 3, ("False", "True"), None),
    "plus and minus": (("+", "-") * 3, ("+", "-"), None),
    "separator in a label": (('"a, b"', "c") * 3, ("a, b", "c"), None),
    "line break in a label": (('"a\nb"', "c") * 3, ("a\nb", "c"), None),
    "semicolon in a label": (("drama; comedy", "war") * 3, ("drama; comedy", "war"), None),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_texts(read, name):
    labels, classes, expected = CLASSES[name]
    data = read(labelled(*labels), label="last")
    assert data.class_names == classes
    plain = {text: text.strip('"') for text in labels}
    whole = {"0.0": "0", "-0": "0", "1.0": "1", "1.": "1", "2.0": "2", "+1": "1", "-1.0": "-1"} if name in SIGNED else {}
    assert_holds(data, X, list(expected) if expected else [whole.get(plain[text], plain[text]) for text in labels])


SIGNED = ("signs", "words and numbers")


REFUSED = {
    "empty": ("", "is empty"),
    "commas alone": (",,\n,,\n", "is empty"),
    "header alone": ("u,v,kind\n", "holds a header and no rows"),
    "numbers of columns alone": ("0,1,2\n", "holds a header and no rows"),
    "one column": ("kind\na\nb\n", "line 1: expected at least one feature and a label, separated by commas, got 'kind'"),
    "thousands or decimal commas": ("u;v;kind\n" + "1,000;2;a\n2,500;3;b\n" * 3, "'1,000' may be a thousand or a decimal number; give decimal=','"),
    "decimal commas in quotes": (ROWS + '"0,5",1,a\n', "line 7, column 1: expected a finite number, got '0,5'; write numbers as 1234.5"),
    "thousands": ("u,v,kind\n" + ROWS + '"1,000",1,a\n', r"line 8, column 1 \('u'\): .* got '1,000'; write numbers as 1234.5"),
    "underscores": (ROWS + "1_1,2,a\n", "line 7, column 1: expected a finite number, got '1_1'"),
    "unit": (ROWS + "5cm,2,a\n", "line 7, column 1: .* got '5cm'; write numbers as 1234.5, without units"),
    "too large for 32 bits": (ROWS + "1e200,2,a\n", "line 7, column 1: .* got '1e200'; scale the column"),
    "too large for 64 bits": (ROWS + "1e999,2,a\n", "got '1e999'; scale the column"),
    "a comment above": ("# made by hand\n" + ROWS, "line 1: got a line of 1 cells where most have 3; if the table begins with line 2, delete"),
    "no label and nothing like one": ("u,v\n" + "".join(f"{k},{k / 7:.3f}\n" for k in range(20)), "no column looks like a label: the last one, 'v', holds real numbers such as '0.143', 20 different ones in 20 rows; give label=, a name or a place from 0; the columns are 'u', 'v'"),
    "a year": ("u,year\n" + "".join(f"{k},{2000 + k // 2}\n" for k in range(20)), "the last one, 'year', tells the time"),
    "counts": ("u,people\n" + "".join(f"{k},{k // 2}\n" for k in range(60)), "the last one, 'people', holds 30 different whole numbers"),
    "names of people": ("u,who\n" + "".join(f"{k},P{k}\n" for k in range(8)), "the last one, 'who', has 8 different values in 8 rows"),
    "a comment below": (ROWS + "# the end\n", "line 7: expected 3 columns, as in the first line, got 1"),
    "separators at the end of rows": ("u,v,kind\n" + ROWS.replace("\n", ",\n"), "line 2: expected 3 columns, as in the first line, got 4"),
    "separators at the end of all": (("u,v,kind\n" + ROWS).replace("\n", ",\n"), "line 2, column 4.*: expected a value, got ''"),
    "short row": (ROWS + "0.5,3\n", "line 7: expected 3 columns.*got 2"),
    "long row after a line break": ('"u\nv",w,kind\n1,2,a\n1,2,3,a\n', "line 4: expected 3 columns.*got 4"),
    "gap after line breaks": ('u,v,kind\n1,2,"a\n\na"\n\n1,,b\n', r"line 6, column 2 \('v'\): expected a finite number, got ''"),
    "a gap before 0": (",0,1,a\n" + NUMBERED, "line 1, column 1: expected a finite number, got ''"),
    "open quotation mark": (ROWS + '1,2,"a\n', "a quotation mark is opened and never closed"),
    "second header": ("u,v,kind\n" + ROWS + "u,v,kind\n", r"line 8, column 1 \('u'\): .* got 'u'"),
    "units below the header": ("u,v,kind\ncm,kg,-\n" + ROWS, r"line 2, column 1 \('u'\): .* got 'cm'"),
    "words for all features of two points": ("red,big,a\nblue,small,b\n", "'a' must hold at least two classes, got 'b' in all 1 rows"),
    "a word among numbers": (ROWS + "red,1,b\n", "line 7, column 1: .* got 'red'"),
    "first row of other gaps": ("-,-,a\n" + ROWS, "got words for features and 'a', which is a class"),
    "an empty row inside": (ROWS + ",,\n" + ROWS, "line 7, column 3: expected a label, got ''; fill it in"),
    "an empty row below the header": ("u,v,kind\n,,\n" + ROWS, "line 2, column 3"),
    "nameless column of numbers": (",v,kind\n" + ROWS, "column 1 has no name; name it if it is a feature, delete it if it numbers the rows"),
    "nameless column with repeats": (",u,v,kind\n" + "".join(f"{k % 3},{row}\n" for k, row in enumerate(ROWS.split())), "column 1 has no name"),
    "index and labels alone": ("Unnamed: 0,kind\n0,a\n1,b\n", "holds row numbers and labels only"),
    "an index without a name and labels alone": (",kind\n0,a\n1,b\n", "holds row numbers and labels only"),
    "point or numbers of columns": ("0,1\n1,0\n2,1\n3,0\n", "line 1: '0,1' may be a point, or the header"),
    "point or numbers of three columns": ("0,1,2\n3,4,1\n5,6,2\n3,4,1\n", "line 1: '0,1,2' may be a point, or the header"),
    "32 bits a letter": (ROWS.encode("utf-32"), "line 1: not a text table in UTF-8; save it as CSV in UTF-8"),
    "16 bits a letter, no mark": (ROWS.encode("utf-16-le"), "line 1: not a text table in UTF-8"),
    "Latin": ((ROWS + "1,2,née\n").encode("latin-1"), "line 7: not a text table in UTF-8"),
    "years that leave one out": ("2019,2021,label\n" + ROWS, "line 1: the label 'label' stands in this line alone; if the line holds the names of the columns, give header=True"),
    "real-valued targets": ("u,price\n" + "".join(f"{k},{k / 7:.3f}\n" for k in range(20)), "the last one, 'price', holds real numbers such as '0.143', 20 different ones in 20 rows; .*to predict numbers"),
    "real-valued targets without a header": ("1.5,0.25\n2.5,-1e-3\n3.5,7.125\n", "holds real numbers such as '0.25', 3 different ones in 3 rows"),
    "a cell without end": ("u,v,kind\n" + "1" * 140_000 + ",2,a\n", "not a text table .field larger than field limit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(read, name):
    text, message = REFUSED[name]
    with pytest.raises(ValueError, match=r"(?s)table\.csv.*" + message): read(text)


ASKED = {    # a wrong argument, or one that does not fit the file
    "a name like another": (dict(label="kin"), ValueError, "table.csv has no column 'kin'; the nearest is 'kind'"),
    "a name in capitals": (dict(label="KIND"), ValueError, "no column 'KIND'; the nearest is 'kind'"),
    "a name like no other": (dict(label="weather"), ValueError, "no column 'weather'; the columns are 'u', 'v', 'kind'"),
    "a place too far": (dict(label=3), ValueError, "label must be the place of a column, 0 to 2 .*got 3"),
    "no name at all": (dict(label=True), TypeError, "label must be a name, a place, 'first' or 'last', got True"),
    "a measurement": (dict(label="u"), ValueError, "the label 'u' must hold classes, got real numbers such as '0.5', 6 different ones in 6 rows; to predict numbers, give target"),
    "words as numbers": (dict(label="kind", target="number"), ValueError, r"line 2, column 3 \('kind'\): expected a finite number to predict, got 'a'"),
    "another separator": (dict(sep=";"), ValueError, "separated by semicolons, got 'u,v,kind'; sep= names another separator"),
    "two separators": (dict(sep=",;"), ValueError, "sep must be one character.*got sep=',;'"),
    "two decimal marks": (dict(decimal="both"), ValueError, "decimal must be '.' or ',', got decimal='both'"),
    "another decimal mark": (dict(decimal=","), ValueError, "line 2, column 1: got '0.5' where the decimal mark is a comma"),
    "no header": (dict(header=False, label="last"), ValueError, "line 1, column 1: expected a finite number, got 'u'"),
    "gaps": (dict(missing="median"), ValueError, "missing must be 'refuse', 'drop', 'mean' or 'keep', got missing='median'"),
    "target": (dict(target="word"), ValueError, "target must be 'class' or 'number', got target='word'"),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_wrong_argument_is_answered_with_a_way_out(read, name):
    options, error, message = ASKED[name]
    with pytest.raises(error, match=message): read("u,v,kind\n" + ROWS, **options)


# as pandas knows them, and a question mark; the empty file of one column shows that pandas takes each for a gap
GAPS = ["#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None",
        "n/a", "nan", "null"]


@pytest.mark.parametrize("gap", [*GAPS, "", " ", "?", "none", "inf", "-Infinity"])
def test_gaps_are_named_wherever_they_stand(read, gap):
    if gap in GAPS: assert pd.read_csv(io.StringIO(f"u\n{gap}\n"), skip_blank_lines=False).u.isna().all()
    what = f"got '{gap.strip()}'; fill it in"
    for first in ("", "u,v,kind\n"):
        line = 7 + bool(first)
        with pytest.raises(ValueError, match=rf"line {line}, column 3.*expected a label, {what}".replace("?;", "[?];").replace("'?'", "'[?]'")):
            read(first + ROWS + f"1,2,{gap}\n")
        with pytest.raises(ValueError, match=rf"line {line}, column 2.*expected a finite number, {what}".replace("'?'", "'[?]'")):
            read(first + ROWS + f"1,{gap},a\n")
    with pytest.raises(ValueError, match=rf"line 1, column 1: expected a finite number, {what}".replace("'?'", "'[?]'")):
        read(f"{gap},{gap},c\n" + ROWS)    # the first row of a file without a header is a point, even if all its values are missing


FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["u", "v", "w"]).assign(kind=[0, 1] * 10)


@pytest.mark.parametrize("columns", [["u", "kind"], ["u", "v", "w", "kind"]], ids=len)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("index", [True, False])
def test_what_pandas_writes_is_what_pandas_wrote(read, columns, named, index):
    frame = FRAME[columns] if named else FRAME[columns].set_axis(range(len(columns)), axis=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = read(frame.to_csv(index=index))
    assert len(data.y_train) + len(data.y_test) == 20 and data.n_features == len(columns) - 1
    assert data.feature_names == tuple(map(str, frame.columns[:-1]))
    assert_holds(data, FRAME[columns[:-1]], FRAME.kind.astype(str))
    assert len(caught) == (not named and not index and len(columns) == 2)   # 0,1 might be a point of class 1, and the reading is said


def test_an_index_without_a_header_is_left_out_and_said(read):
    data = read(FRAME.to_csv(header=False))
    assert "column 1 ('x1') numbers the rows and is left out; if it is a feature, write names in a first line" in data.notices
    assert_holds(data, FRAME[["u", "v", "w"]], FRAME.kind.astype(str))
    only = read("".join(f"{k},{'ab'[k > 9]}\n" for k in range(20)))    # the only feature there is
    assert_holds(only, np.arange(20.0)[:, None], ["a"] * 10 + ["b"] * 10)
    named = read("time,u,kind\n" + "".join(f"{k},{k % 3},{'ab'[k > 9]}\n" for k in range(20)))
    assert named.feature_names == ("time", "u")


def test_a_point_that_counts_is_a_point(read):
    rows = [(0, 1, "a"), (2, 5, "b"), (1, 1, "a"), (7, 0, "b")]
    assert_holds(read("".join(f"{u},{v},{kind}\n" for u, v, kind in rows)), [row[:2] for row in rows], [row[2] for row in rows])
    assert_holds(read("0.0,1\n1,0\n2,1\n3,0\n"), [[0], [1], [2], [3]], ["1", "0", "1", "0"])    # as the refusal of 0,1 advises


def test_the_index_does_not_tell_the_class(read):
    iris = load_iris(as_frame=True).frame    # sorted by class
    with_index, without = read(iris.to_csv()), read(iris.to_csv(index=False))
    np.testing.assert_array_equal(with_index.x_train, without.x_train)
    np.testing.assert_array_equal(with_index.y_test, without.y_test)
    assert with_index.feature_names == tuple(iris.columns[:-1]) and with_index.class_names == ("0", "1", "2")


def test_numbers_are_read_to_the_last_bit(tmp_path):
    values = np.random.default_rng(1).normal(size=40) * 10.0 ** np.arange(-20, 20)
    text = "u,kind\n" + "".join(f"{value!r},{k % 2}\n" for k, value in enumerate(values.tolist()))
    path = tmp_path / "table.csv"
    path.write_text(text)
    np.testing.assert_array_equal(read_table(path).features.u, values)


def test_a_warning_points_to_the_program_that_asked(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("0,1\n" + "".join(f"{k}.5,{'12'[k % 2]}\n" for k in range(20)))
    for reader in (from_csv, load_dataset, read_table):
        with pytest.warns(UserWarning, match="was read as the header") as caught: reader(path)
        assert [warning.filename for warning in caught] == [__file__]


def test_a_shuffled_index_is_no_feature(tmp_path):
    "What `frame.sample(frac=1).to_csv(header=False)` writes: one feature, and the numbers that the rows had."
    rng = np.random.default_rng(0)
    (tmp_path / "a.csv").write_text("\n".join(f"{k},{rng.normal():.3f},{k % 2}" for k in rng.permutation(40)))
    assert from_csv(tmp_path / "a.csv").n_features == 1


@pytest.mark.parametrize("name", ["index", "Index", "id", "row"])
def test_a_named_column_that_numbers_the_rows_is_left_out_and_said(read, name):
    "What `frame.reset_index().to_csv(index=False)` writes."
    frame = FRAME.rename_axis(name).reset_index()
    data = read(frame.to_csv(index=False))
    assert f"column 1 ({name!r}) numbers the rows and is left out; if it is a feature, name it otherwise" in data.notices
    assert_holds(data, FRAME[["u", "v", "w"]], FRAME.kind.astype(str))
    frame[name] = FRAME.u    # which counts nothing
    assert read(frame.to_csv(index=False)).n_features == 4


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file names of any bytes")
def test_a_file_name_in_another_encoding_can_be_shown(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/Gr\xf6\xdfe.csv")    # Latin letters where UTF-8 is expected
    with open(path, "w") as file: file.write("u,v,kind\n" + ROWS)
    assert load_dataset(path).name.encode() == "Gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e.csv".encode()


STATSMODELS = {    # the tables that statsmodels comes with: the label that is found, or why none is
    "anes96/anes96": "vote", "anes96/src/anes96": "reldist", "cancer/cancer": "'population', has 300 different values in 301 rows",
    "ccard/ccard": "OWNRENT", "ccard/src/ccard": "Selfempl", "china_smoking/china_smoking": "'smoking_no_cancer_no', has 8 different values in 8 rows",
    "co2/co2": "'co2', holds real numbers", "committee/committee": "'BILLS103', has 18 different values in 20 rows", "copper/copper": "'TIME', tells the time",
    "cpunish/cpunish": "'DEGREE', holds real numbers", "danish_data/data": "'ide', holds real numbers", "elec_equip/elec_equip": "'STS.M.I7.W.TOVT.NS0016.4.000', holds real numbers",
    "elnino/elnino": "'DEC', holds real numbers", "engel/engel": "'foodexp', holds real numbers", "fair/fair": "'affairs', holds real numbers", "fair/fair_pt": "naffairs",
    "fertility/fertility": "'2013', is empty", "grunfeld/grunfeld": "'year', tells the time", "grunfeld/src/grunfeld": "'year', tells the time", "heart/heart": "'age', holds real numbers",
    "interest_inflation/E6": "'R', holds real numbers", "interest_inflation/E6_jmulti": "'x2', holds real numbers", "longley/longley": "'YEAR', tells the time",
    "macrodata/macrodata": "'realint', holds real numbers", "macrodata/src/unemp": "line 1: got a line of 1 cells where most have 4; if the table begins with line 11, delete what stands above it",
    "modechoice/modechoice": "psize", "modechoice/src/TableF18-2": "PSIZE", "nile/nile": "'volume', has 85 different values in 100 rows", "randhie/randhie": "hlthp",
    "randhie/src/randhie": "line 2, column 28 ('ghindx'): expected a ", "scotland/scotvote": "'COUTAX_FEMALEUNEMP', holds real numbers",
    "scotland/src/scotland_population": "line 1: got a line of 2 cells where most have 14; if the table begins with line 18, delete", "scotland/src/scotvote": "'Var.42', holds real numbers",
    "spector/spector": "GRADE", "stackloss/stackloss": "'ACIDCONC', has 11 different values in 21 rows", "star98/star98": "'PERSPEN_PTRATIO_PCTAF', holds real numbers",
    "statecrime/statecrime": "'urban', holds real numbers", "strikes/strikes": "'iprod', holds real numbers", "sunspots/sunspots": "'SUNACTIVITY', holds real numbers",
}


def folder_of(package):
    "Where a package lies, if it is installed; it is not imported."
    spec = importlib.util.find_spec(package)
    if spec is None: pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0])


def beginning(path, tmp_path):
    "The first 1,000 lines of a long file."
    lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    (short := tmp_path / path.name).write_text("".join(lines[:1000]))
    return short


def test_all_tables_of_statsmodels_are_listed():
    root = folder_of("statsmodels") / "datasets"
    found = [*root.glob("*/*.csv"), *root.glob("*/src/*.csv")]
    assert sorted(path.relative_to(root).with_suffix("").as_posix() for path in found) == sorted(STATSMODELS) and len(STATSMODELS) == 39


@pytest.mark.parametrize("name", STATSMODELS)
def test_a_table_of_statsmodels_is_read_or_refused_with_the_reason(name, tmp_path):
    path = beginning(folder_of("statsmodels") / "datasets" / f"{name}.csv", tmp_path)
    expected = STATSMODELS[name]
    if " " in expected:
        with pytest.raises(ValueError) as caught: read_table(path)
        assert expected in str(caught.value) and str(path) in str(caught.value)
        return
    table = read_table(path)
    assert table.label == expected and any(f"({expected!r}), the last one" in notice for notice in table.notices)
    reader = dict(sep=r"\s+", quotechar="'") if name in ("anes96/anes96", "spector/spector", "anes96/src/anes96") else dict(sep=";" if name == "modechoice/modechoice" else ",")
    truth = pd.read_csv(path, **reader)[list(table.features)]
    np.testing.assert_array_equal(table.features.to_numpy(float), truth.to_numpy(float))
    assert learn_columns(table).feature_names == tuple(truth)


@pytest.mark.parametrize("name, label, classes", [
    ("committee/committee", "PRESTIGE", {"0", "1"}), ("modechoice/modechoice", "choice", {"0", "1"}), ("heart/heart", "censors", {"0", "1"}),
    ("cpunish/cpunish", 6, {"0", "1"}), ("interest_inflation/E6", "quarter", {"1", "2", "3", "4"}), ("grunfeld/grunfeld", "firm", 11),
])
def test_the_label_of_a_table_of_statsmodels_is_given(name, label, classes, tmp_path):
    table = read_table(beginning(folder_of("statsmodels") / "datasets" / f"{name}.csv", tmp_path), label)
    assert set(table.y) == classes or table.y.nunique() == classes


@pytest.mark.parametrize("name, label, message", [
    ("cancer/cancer", "population", "the label 'population' must hold classes, got 300 different values in 301 rows; to predict numbers"),
    ("china_smoking/china_smoking", "Location", "the label 'Location' must hold classes, got 8 different values in 8 rows"),
    ("engel/engel", "incme", "no column 'incme'; the nearest is 'income'"), ("statecrime/statecrime", "murder", "must hold classes, got real numbers such as '7.1'"),
])
def test_a_wrong_label_of_a_table_of_statsmodels_is_refused(name, label, message, tmp_path):
    with pytest.raises(ValueError, match=message): read_table(beginning(folder_of("statsmodels") / "datasets" / f"{name}.csv", tmp_path), label)


def test_numbers_to_predict_of_a_table_of_statsmodels(tmp_path):
    path = beginning(folder_of("statsmodels") / "datasets" / "statecrime" / "statecrime.csv", tmp_path)
    data = from_csv(path, label="murder", target="number")
    assert data.task == "regression" and data.n_features == 6 and "column 'state' is left out: it has" in " ".join(data.notices)


def test_rows_without_a_label_are_told(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("a,b,class\n" + "".join(f"{k},{k % 7},{'' if k in (3, 5) else 'xy'[k % 2]}\n" for k in range(20)))
    table = read_table(path, missing="drop")
    assert len(table.y) == 18 and "2 of 20 rows have no label and are left out: line 5, 7" in table.notices


TIMES = "a;b;uhrzeit;klasse\n" + "".join(f"0,{k + 12};-{k},5;12.3{k};{'ab'[k % 2]}\n" for k in range(8))


def test_columns_with_different_decimal_marks_are_asked_about(tmp_path):
    (path := tmp_path / "table.csv").write_text(TIMES)
    with pytest.raises(ValueError, match="column 1 holds numbers with commas, such as '0,12', and column 3 with points, such as '12.30'.*give decimal=','"): read_table(path)
    table = read_table(path, decimal=",")
    theirs = pd.read_csv(path, sep=";", decimal=",")
    np.testing.assert_array_equal(table.features[["a", "b"]], theirs[["a", "b"]])
    path.write_text(TIMES.replace("12.30", "1.234"))    # a point may part the thousands
    with pytest.raises(ValueError, match="got '1.234' where the decimal mark is a comma"): read_table(path, decimal=",")


def test_texts_read_as_missing_are_said(tmp_path):
    (path := tmp_path / "table.csv").write_text("alcohol,age,kind\n" + "None,31,a\nLow,.,b\nHigh,50,a\nLow,40,b\n" * 3)
    assert {"read as missing values of 'alcohol': 'None'", "read as missing values of 'age': '.'"} < set(read_table(path, missing="mean").notices)


def test_a_quoted_separator_far_below_counts(tmp_path):
    "Only the head of a long file is tried; where the cells are quoted, all of it."
    rows = [f'{k / 7:.3f};"{k % 3}, or ""so"";";{"ab"[k % 2]}' for k in range(900)]
    (path := tmp_path / "table.csv").write_text("u;v;kind\n" + "\n".join(rows))
    np.testing.assert_array_equal(read_table(path).features.u, pd.read_csv(path, sep=";").u)
    (path).write_text("u,v,kind\n" + "".join(f"{k / 7:.3f},{k},{k % 2}\n" for k in range(900)) + "1,2\n")
    with pytest.raises(ValueError, match="line 902: expected 3 columns"): read_table(path)


def test_dashes_in_columns_of_numbers_are_gaps_and_said(tmp_path):
    "Elsewhere they are words: the classes + and -."
    text = "size,sign,kind\n" + "".join(f"{'-' if k == 3 else k / 2},{'+-'[k % 2]},{'+-'[k // 2 % 2]}\n" for k in range(12))
    (path := tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match="line 5, column 1 .'size'.: expected a finite number, got ''; fill it in"): read_table(path)
    table = read_table(path, missing="mean")
    theirs = pd.read_csv(path, na_values={"size": "-"}, keep_default_na=False)
    np.testing.assert_allclose(table.features["size"], theirs["size"].fillna(theirs["size"].mean()))
    assert table.features.sign.tolist() == theirs.sign.tolist() and table.y.tolist() == theirs.kind.tolist()
    assert "a dash is read as a missing value in column 1" in table.notices


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_wide_texts_with_a_mark_are_read(encoding, tmp_path):
    text = "größe,n,kind\n" + ROWS
    (path := tmp_path / "table.csv").write_bytes((text if encoding == "utf-16" else "\ufeff" + text).encode(encoding))
    (plain := tmp_path / "plain.csv").write_text(text, encoding="utf-8")
    pd.testing.assert_frame_equal(read_table(path).features, read_table(plain).features)
    path.write_bytes(text.encode(encoding)[:-1] if encoding == "utf-16" else text.encode(encoding))
    with pytest.raises(ValueError, match="not a text table in UTF-8; save it as CSV in UTF-8"): read_table(path)


def test_packed_tables_are_named(tmp_path):
    frame = pd.DataFrame(X, columns=["u", "v"]).assign(kind=AB)
    for kind, ending in {"gzip": "gz", "bzip2": "bz2", "xz": "xz", "zip": "zip"}.items():
        frame.to_csv(path := tmp_path / f"table.csv.{ending}", index=False)
        with pytest.raises(ValueError, match=f"table.csv.{ending} is packed .{kind}.*; unpack it, or save the table as CSV"): read_table(path)


def test_what_a_column_refuses_names_its_file(tmp_path):
    (path := tmp_path / "table.csv").write_text("u,v,kind\n" + ROWS)
    columns = learn_columns(read_table(path))
    (new := tmp_path / "new.csv").write_text("u,v\n1,x\n")
    with pytest.raises(ValueError, match=r"new.csv, line 2, column 'v': expected a finite number, got 'x'"): columns.matrix(read_rows(new))
    with pytest.raises(ValueError, match="^row 0, column 'v'"): columns.matrix(pd.DataFrame({"u": [1.], "v": ["x"]}))    # no file
    path.write_text("u,v,kind\n1,2,a\n2,3,b\n")
    with pytest.raises(ValueError, match=r"table.csv: each class needs at least 2 points"): from_csv(path)
    with pytest.raises(ValueError, match="missing must be 'refuse', 'drop' or 'mean', got missing='keep'"): from_csv(path, missing="keep")
