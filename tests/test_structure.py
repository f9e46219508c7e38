"""What the structure of the package has reached is not lost again; `python tests/structure/count.py --where` and that of prose.py name
the places."""
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COUNT, RENAMED, PROSE = (runpy.run_path(str(ROOT / "tests" / "structure" / name)) for name in ("count.py", "renamed.py", "prose.py"))


@pytest.fixture(scope="module")
def found(): return {row.measure: row for row in COUNT["rows"](ROOT)}


@pytest.mark.parametrize("measure", COUNT["BOUNDS"])
def test_not_worse_than_before(found, measure):
    row = found[measure]
    assert not row.misses(row.limit), f"{measure}: {row.value:g}, and it was {row.limit:g}\n" + "\n".join(map(str, row.where))


def test_every_figure_has_its_bounds(found): assert found.keys() == COUNT["BOUNDS"].keys()


def cell(source): return COUNT["read_cell"](source)


@pytest.mark.parametrize("source, kind, lines", [
    ("#| exports\ndef f(): return 1", "exported", 1), ("#| export\nimport jax\nfrom jax import jit", "imports", 2), ("import jax", "imports", 1),
    ("%timeit f()\nassert f() == 1\n\n!ls", "example", 1), ("#| exporti\nx = 1\n\ny = 2", "exported", 2)])
def test_cells_are_told_apart(source, kind, lines):
    assert (cell(source).kind, len(cell(source).lines)) == (kind, lines)


@pytest.mark.parametrize("source", ["#| default_exp fit", "%config x = 1", "# words alone", "", "#| hide\nassert x"])
def test_cells_that_do_nothing_do_not_count(source): assert cell(source) is None


MODULE = '''
from .bits import _private, public
from ..bits import _other as other

def _check_shape(x):
    if x: raise ValueError(f"shape, got {x=}")

def silent(x):
    "Twice x."
    _check_shape(x)
    return 2 * x

def says(x):
    "Twice x. `ValueError`: an x."
    _check_shape(x)
    return getattr(x, "twice", 2 * x) if x == "mps" else 2

class Base:
    "Base."
    def told(self):
        "Told."

class Own(Base):
    "Own."
    def told(self): return 1
    def bare(self): return 2
'''


def test_figures_of_a_small_package(tmp_path):
    "A package of one part with one module, and its notebook, counted by hand."
    notebook = {"cells": [{"cell_type": "code", "source": [source]} for source in ["#| exports\na = 1\nb = 2", "#| exporti\nc = 3", "assert a", "#| exports\nd = 1"]]}
    for folder in ("qhn/part", "nbs/part"): (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "qhn" / "part" / "small.py").write_text(MODULE)
    (tmp_path / "nbs" / "part" / "small.ipynb").write_text(COUNT["json"].dumps(notebook))
    home = {"cells": [{"cell_type": "code", "source": ["import jax, qhn\n", "from qhn.part.small import says, silent"]}]}
    (tmp_path / "nbs" / "index.ipynb").write_text(COUNT["json"].dumps(home))
    found = {row.measure: row for row in COUNT["rows"](tmp_path)}
    values = {measure: row.value for measure, row in found.items()}
    assert values["underscore names imported across modules"] == values["imports of them"] == 2
    assert values["hasattr and getattr, but in face, command line, hardware"] == values["engine names compared outside the engine"] == 1
    assert values["lines of the largest module"] == len(MODULE.splitlines()) and values["code lines over 110 columns"] == 0
    assert values["exported cells, median lines"] == 1 and values["exported lines without an example, longest"] == 3
    assert values["examples an exported cell"] == pytest.approx(1 / 3)
    assert found["public functions that raise and do not say so"].where == ["part.small.silent"]
    assert found["public members without a docstring"].where == ["part.small.Own.bare"]
    assert found["names that the home page imports"].where == ["says", "silent"] and found["modules that it imports"].where == ["qhn", "qhn.part.small"]


def test_what_was_renamed():
    "A class that moved, an argument and a method with another name, a function that is gone with its arguments, and one that stays."
    def module(name, text): return Path("qhn") / f"{name}.py", f"__all__ = {[word for word in ('Own', 'lost', 'kept', 'fresh') if word in text]}\n{text}"
    before = [module("old", "class Own:\n    size: int\n    def first(self, a): pass\ndef lost(x): pass"), module("same", "def kept(data, *, key): pass")]
    after = [module("part/young", "class Own:\n    size: int\n    def second(self, a): pass\ndef fresh(x): pass"), module("same", "def kept(problem, *, key): pass")]
    moved, gone, new = RENAMED["changes"](RENAMED["public"](before), RENAMED["public"](after))
    assert moved == [("Own", ["qhn.old"], ["qhn.part.young"])]
    assert gone == ["Own.first", "kept(data)", "lost"] and new == ["Own.second", "fresh", "kept(problem)"]


def test_prose_and_assertions():
    "Sentences and lines are no longer than they were, and no chapter asserts less."
    done = subprocess.run([sys.executable, ROOT / "tests" / "structure" / "prose.py", "--check"], capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("text, wanted", [
    ("# A title\n\n> One line", [2]), ("One two. Three!\nFour five?", [2, 1, 2]), ("- One two\n- three\n1. four.", [2, 1, 1]),
    ("By 0.5 %, e.g. `a. b` and $a. b$.", [6]), ("As [Ott et al. (1901)](https://doi.org/1) and @two2 say.", [5]), ("By [a link](x.ipynb#y), of Ott et al. [@one1; @two2].", [9]),
    ("Then\n\n$$a. b$$\n\nwhere it ends.\n\n| a | b |\n|---|---|\n| c | d |", [5]), ("So\n\n$$a.$$\n\nThe next.", [2, 2]), ("```python\none two\n```\nThree (four five.) Six.", [3, 1]),
    ("<!-- caption -->\n**Figure 1.** One two.", []), ("::: {.note}\nOne *two.* Three\n:::", [2, 1])])
def test_words_of_sentences(text, wanted):
    assert [n for n in map(PROSE["words"], PROSE["sentences"](text)) if n] == wanted


@pytest.mark.parametrize("source, kind, asserts", [
    ("assert f(1) == 1, g\n%matplotlib inline\ntest_eq(f(1), 1)", "shown", 2), ("#| code-fold: true\ntest_fail(f)\nx.test_y()", "", 1), ("#| exports\ndef f(x):\n    assert x", "exported", 1),
    ("#| hide\nassert x", "", 1), ("#| echo: false\nfor x in y: assert x", "", 1), ("%%time\nassert x", "shown", 0), ("#| include: false\nx", "", 0), ("with a:\n    !ls\n", "shown", 0),
    ("assert (f(1)\n        != f(2))", "shown", 1)])
def test_kinds_and_assertions_of_cells(source, kind, asserts):
    assert (PROSE["kind"](source), PROSE["asserts"](source)) == (kind, asserts)


def test_figures_of_a_small_book(tmp_path):
    def cell(kind, source): return {"cell_type": kind, "source": source.splitlines(True)}
    cells = [cell("markdown", f"{'so ' * 46}.\n\nOne two."), cell("code", f"#| fig-alt: {'x' * 99}\nx = '{'y' * 90}'\nassert x"), cell("code", f"#| exports\ny = '{'y' * 110}'")]
    (tmp_path / "nbs" / "part").mkdir(parents=True)
    (tmp_path / "nbs" / "part" / "small.ipynb").write_text(json.dumps({"cells": cells}))
    assert [(value, [place.value for place in places]) for _, value, places in PROSE["rows"](tmp_path)] == [(24, []), (1, [46]), (1, [96]), (1, [116])]
    found = PROSE["counted"](tmp_path)
    assert found == {"part/small.ipynb": 1} and not PROSE["lost"](found, found)
    assert PROSE["lost"]({"part/small.ipynb": 2, "gone.ipynb": 1}, found) == ["part/small.ipynb: 1 assertions, and it had 2", "gone.ipynb: 0 assertions, and it had 1"]
