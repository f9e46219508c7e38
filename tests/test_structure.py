"""What the structure of the package has reached is not lost again; `python tests/structure/count.py --where` names the places."""
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COUNT, RENAMED = (runpy.run_path(str(ROOT / "tests" / "structure" / name)) for name in ("count.py", "renamed.py"))


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


@pytest.mark.parametrize("source", ["#| default_exp fit", "%config x = 1", "# words alone", ""])
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
