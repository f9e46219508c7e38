"`from_csv` on awkward files: what pandas reads, or the truth written beside each file; and what is refused, with its place."
import io
import os
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from qhn.problem import tables
from qhn.problem.datasets import from_csv, load_dataset


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
    "the same name twice": ("u,u,kind\n" + ROWS, ("u", "u")),
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
    data = read(labelled(*labels))
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
    "semicolons": ("u;v;kind\n0.5;3;a\n", "separated by commas, got 'u;v;kind'"),
    "tabs": ("0.5\t3\ta\n1.5\t1\tb\n", "separated by commas"),
    "semicolons and decimal commas": ("0,5;a\n1,5;b\n" * 3, "got labels such as '5;a'"),
    "tabs and decimal commas": ("0,5\ta\n1,5\tb\n" * 3, r"got labels such as '5\\ta'"),
    "decimal commas in quotes": (ROWS + '"0,5",1,a\n', "line 7, column 1: expected a finite number, got '0,5'; write numbers as 1234.5"),
    "thousands": ("u,v,kind\n" + ROWS + '"1,000",1,a\n', r"line 8, column 1 \('u'\): .* got '1,000'; write numbers as 1234.5"),
    "underscores": (ROWS + "1_1,2,a\n", "line 7, column 1: expected a finite number, got '1_1'"),
    "unit": (ROWS + "5cm,2,a\n", "line 7, column 1: .* got '5cm'; write numbers as 1234.5, without units"),
    "too large for 32 bits": (ROWS + "1e200,2,a\n", "line 7, column 1: .* got '1e200'; scale the column"),
    "too large for 64 bits": (ROWS + "1e999,2,a\n", "got '1e999'; scale the column"),
    "a comment above": ("# made by hand\n" + ROWS, "line 1: expected at least one feature and a label"),
    "a comment below": (ROWS + "# the end\n", "line 7: expected 3 columns, as in the first line, got 1"),
    "separators at the end of rows": ("u,v,kind\n" + ROWS.replace("\n", ",\n"), "line 2: expected 3 columns, as in the first line, got 4"),
    "separators at the end of all": (("u,v,kind\n" + ROWS).replace("\n", ",\n"), "line 2, column 4.*: expected a label, got ''"),
    "short row": (ROWS + "0.5,3\n", "line 7: expected 3 columns.*got 2"),
    "long row after a line break": ('"u\nv",w,kind\n1,2,a\n1,2,3,a\n', "line 4: expected 3 columns.*got 4"),
    "gap after line breaks": ('u,v,kind\n1,2,"a\n\na"\n\n1,,b\n', r"line 6, column 2 \('v'\): expected a finite number, got ''"),
    "a gap before 0": (",0,1,a\n" + NUMBERED, "line 1, column 1: expected a finite number, got ''"),
    "open quotation mark": (ROWS + '1,2,"a\n', "a quotation mark is opened and never closed"),
    "second header": ("u,v,kind\n" + ROWS + "u,v,kind\n", r"line 8, column 1 \('u'\): .* got 'u'"),
    "units below the header": ("u,v,kind\ncm,kg,-\n" + ROWS, r"line 2, column 1 \('u'\): .* got 'cm'"),
    "words for features": ("red,3,a\nblue,1,b\n", "line 1, column 1: .* got 'red'"),
    "words for all features": ("red,big,a\nblue,small,b\n", r"line 2, column 1 \('red'\): .* got 'blue'"),
    "first row of other gaps": ("-,-,a\n" + ROWS, "got words for features and 'a', which is a class"),
    "an empty row inside": (ROWS + ",,\n" + ROWS, "line 7, column 3: expected a label, got ''; fill it in"),
    "an empty row below the header": ("u,v,kind\n,,\n" + ROWS, "line 2, column 3"),
    "nameless column of numbers": (",v,kind\n" + ROWS, "column 1 has no name; name it if it is a feature, delete it if it numbers the rows"),
    "nameless column with repeats": (",u,v,kind\n" + "".join(f"{k % 3},{row}\n" for k, row in enumerate(ROWS.split())), "column 1 has no name"),
    "index and labels alone": ("Unnamed: 0,kind\n0,a\n1,b\n", "holds row numbers and labels only"),
    "point or numbers of columns": ("0,1\n1,0\n2,1\n3,0\n", "line 1: '0,1' may be a point, or the header"),
    "point or numbers of three columns": ("0,1,2\n3,4,1\n5,6,2\n3,4,1\n", "line 1: '0,1,2' may be a point, or the header"),
    "16 bits a letter": (ROWS.encode("utf-16"), "line 1: not a text table in UTF-8; save it as CSV in UTF-8"),
    "16 bits a letter, no mark": (ROWS.encode("utf-16-le"), "line 1: not a text table in UTF-8"),
    "Latin": ((ROWS + "1,2,née\n").encode("latin-1"), "line 7: not a text table in UTF-8"),
    "years for names": ("2019,2020,label\n" + ROWS, "line 1: the label 'label' stands in this line alone; if the line holds the names of the columns, write them in words"),
    "real-valued targets": ("u,price\n" + "".join(f"{k},{k / 7:.3f}\n" for k in range(20)), "the last column must hold classes, got real numbers such as '0.143', 20 different ones in 20 rows; to predict numbers"),
    "real-valued targets without a header": ("1.5,0.25\n2.5,-1e-3\n3.5,7.125\n", "got real numbers such as '-1e-3', 3 different ones in 3 rows"),
    "a cell without end": ("u,v,kind\n" + "1" * 140_000 + ",2,a\n", "not a text table .field larger than field limit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(read, name):
    text, message = REFUSED[name]
    with pytest.raises(ValueError, match=r"(?s)table\.csv.*" + message): read(text)


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
    with pytest.warns(UserWarning, match=r"column 1 counts the rows, 0,1,2,\.\.\., and was left out; if it is a feature, give the columns names"):
        data = read(FRAME.to_csv(header=False))
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
    np.testing.assert_array_equal(tables._features(path, tables._read_cells(path).iloc[1:, :1], ["u"])[:, 0], values)


def test_a_warning_points_to_the_program_that_asked(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(FRAME.to_csv(header=False))
    for reader in (from_csv, load_dataset, tables.read_table):
        with pytest.warns(UserWarning, match="column 1 counts the rows") as caught: reader(path)
        assert [warning.filename for warning in caught] == [__file__]


def test_a_shuffled_index_is_no_feature(tmp_path):
    "What `frame.sample(frac=1).to_csv(header=False)` writes: one feature, and the numbers that the rows had."
    rng = np.random.default_rng(0)
    (tmp_path / "a.csv").write_text("\n".join(f"{k},{rng.normal():.3f},{k % 2}" for k in rng.permutation(40)))
    with pytest.warns(UserWarning, match="column 1 counts the rows"): assert from_csv(tmp_path / "a.csv").n_features == 1


@pytest.mark.parametrize("name", ["index", "Index", "id", "row"])
def test_a_named_column_that_numbers_the_rows_is_left_out_and_said(read, name):
    "What `frame.reset_index().to_csv(index=False)` writes."
    frame = FRAME.rename_axis(name).reset_index()
    with pytest.warns(UserWarning, match="column 1 counts the rows, 0,1,2,..., and was left out; if it is a feature, name it otherwise"):
        data = read(frame.to_csv(index=False))
    assert_holds(data, FRAME[["u", "v", "w"]], FRAME.kind.astype(str))
    frame[name] = FRAME.u    # which counts nothing
    assert read(frame.to_csv(index=False)).n_features == 4


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file names of any bytes")
def test_a_file_name_in_another_encoding_can_be_shown(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/Gr\xf6\xdfe.csv")    # Latin letters where UTF-8 is expected
    with open(path, "w") as file: file.write("u,v,kind\n" + ROWS)
    assert load_dataset(path).name.encode() == "Gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e.csv".encode()
