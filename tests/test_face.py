"""`import qhn`: its names, where they live, what it costs, what `help` says, and what it answers to a name that it lacks."""
import ast
import inspect
import io
import re
import subprocess
import sys
import time
import tokenize
from pathlib import Path
from textwrap import dedent

import pytest

import qhn

ROOT = Path(__file__).parent.parent
FACE = ast.parse((ROOT / "qhn" / "__init__.py").read_text())
names = pytest.mark.parametrize("name", qhn.__all__)


def run(code): return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def test_a_name_comes_once_and_hides_no_module():
    "A module directly in the package becomes an attribute of it when it is imported, in place of a name that it shares."
    written = [name for names in qhn._NAMES.values() for name in names.split()]
    assert len(written) == len(set(written)) == len(qhn.__all__)
    parts = {path.stem for path in (ROOT / "qhn").iterdir()}
    assert not parts & set(written)


def test_type_checkers_see_the_same_names():
    "Their imports under TYPE_CHECKING say what the table says."
    table = {name: f"qhn.{module}" for name, module in qhn._HOMES.items()}
    (static,) = [node for node in FACE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = {alias.name: node.module for node in static.body for alias in node.names if alias.asname == alias.name}
    assert imports == table


def exporting():
    "Public name -> the modules that export it, from their `__all__`s."
    found = {}
    for path in sorted((ROOT / "qhn").rglob("[!_]*.py")):
        module = ".".join(path.relative_to(ROOT / "qhn").with_suffix("").parts)
        lists = [node.value for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
        for name in ast.literal_eval(lists[0]) if lists else (): found.setdefault(name, []).append(module)
    return found


def test_names_live_where_the_table_says():
    "Where they do not, this prints the table as it should be, to be put into the notebook of the face."
    homes = exporting()
    correct = {name: module if module in homes.get(name, ()) else homes.get(name, ["nowhere"])[0] for name, module in qhn._HOMES.items()}
    rows = {module: " ".join(name for name in correct if correct[name] == module) for module in correct.values()}
    assert correct == qhn._HOMES, "\n" + "\n".join(f'    "{module}": "{names}",' for module, names in rows.items())


@names
def test_name_resolves(name):
    found = getattr(qhn, name)
    assert found.__name__ == name and found.__module__ == f"qhn.{qhn._HOMES[name]}"
    assert vars(qhn)[name] is found, "it is looked up once"


def test_dir_lists_the_names_and_nothing_else():
    assert set(dir(qhn)) == {*qhn.__all__, "__version__"}
    assert 40 <= len(qhn.__all__) <= 66


def test_import_is_light():
    "No package beyond the standard library, before a name is used; a name brings what it needs."
    code = """
import sys
before = set(sys.modules)
import qhn
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
dir(qhn), qhn.__version__, hasattr(qhn, "nothing")
print(*sorted(tops - sys.stdlib_module_names), "jax" in sys.modules)
qhn.BiNN
print("jax" in sys.modules)
"""
    assert run(code).splitlines() == ["qhn False", "True"]


def test_import_is_fast():
    "Of a processor, the best of three: JAX alone takes half a second."
    code = "import time; start = time.process_time(); import qhn; print(time.process_time() - start)"
    assert min(float(run(code)) for _ in range(3)) < 0.1


def test_all_names_at_once():
    code = "from qhn import *; print(fit.__module__, Exact.__name__); from qhn import fit as again, cli; print(again is fit, cli.__name__)"
    assert run(code).splitlines() == [f"qhn.{qhn._HOMES['fit']} Exact", "True qhn.cli"]


@pytest.mark.parametrize("name, says", [
    ("fitt", "nearest: fit"), ("bornmachine", "nearest: BornMachine"), ("posterior_prediction", "nearest: posterior_predictive"),
    ("Zebra", r"dir\(qhn\) lists")])
def test_unknown_name(name, says):
    with pytest.raises(AttributeError, match=says): getattr(qhn, name)
    assert not hasattr(qhn, name)


def test_module_that_was_not_imported():
    assert "qhn.cli is a module: import it by `import qhn.cli`" in qhn._unknown("cli")


def test_unknown_name_in_an_import():
    with pytest.raises(ImportError, match="zebra"): exec("from qhn import zebra")


def written(obj):
    "Name of an argument or field -> its comment, told from the syntax tree and the tokens of its source."
    source = dedent(inspect.getsource(inspect.unwrap(obj)))
    node = ast.parse(source).body[0]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    if isinstance(node, ast.ClassDef): places = {part.target.id: part for part in node.body if isinstance(part, ast.AnnAssign)}
    else: places = {part.arg: part for part in ast.walk(node.args) if isinstance(part, ast.arg) and part.lineno > node.lineno}
    return {name: comments[part.end_lineno] for name, part in places.items() if part.end_lineno in comments}


def unwrapped(text): return text.replace("\n        ", " ") + "\n"


def parts(name):
    "What a public name stands for: a function, or a class that is made from its fields or by its `__init__`, and its methods."
    obj = getattr(qhn, name)
    if not isinstance(obj, type): return {obj: obj}
    made = obj.__init__ if "__init__" in vars(obj) and obj.__init__.__code__.co_filename != "<string>" else obj
    functions = [getattr(part, "__func__", part) for part in vars(obj).values()]
    methods = [part for part in functions if inspect.isfunction(part) and part.__doc__ and part.__code__.co_filename != "<string>"]
    return {obj: made} | {method: method for method in methods}


@names
def test_help_tells_what_comments_say(name):
    "Each comment of an argument is in the docstring, after its argument, and once; so is that of a result."
    for obj, source in parts(name).items():
        taken = inspect.signature(obj).parameters
        for argument, comment in written(source).items():
            if argument not in taken: continue    # an attribute that a class merely has
            assert unwrapped(obj.__doc__).count(f"\n    {argument}: {comment}\n") == 1, (obj, argument)
        node = ast.parse(dedent(inspect.getsource(inspect.unwrap(source)))).body[0]
        if isinstance(node, ast.FunctionDef) and obj is source and node.returns:
            line = inspect.getsource(inspect.unwrap(source)).splitlines()[node.returns.end_lineno - 1]
            if "# " in line: assert unwrapped(obj.__doc__).endswith(f"\n\nReturns:\n    {line.rpartition('# ')[2].removeprefix('-> ')}\n")


def test_help_in_a_terminal():
    "In a process of its own, as a user asks."
    asked = {"fit": "n_seeds", "BiNN": "layer_sizes", "KL": "weight", "HardwareSampler": "shots", "BernoulliPrior": "prob_plus"}
    shown = run("import qhn\n" + "\n".join(f"help(qhn.{name}); print('====')" for name in asked)).split("====")
    for text, argument in zip(shown, asked.values()): assert re.search(rf"Arguments:\n(.*\n)*?[ |]+{argument}: \S", text)


@names
def test_help_fits_a_terminal(name):
    "What is appended is wrapped."
    for obj in parts(name): assert all(len(line) < 80 for line in (obj.__doc__ or "").partition("Arguments:")[2].splitlines())


def test_describing_is_cheap():
    "Some hundred calls of Python functions for a name, once its module's lines are read."
    def calls(obj):
        qhn._comments(obj)
        counted = []
        sys.setprofile(lambda frame, event, arg: counted.append(event) if event == "call" else None)
        try: qhn._comments(obj)
        finally: sys.setprofile(None)
        return len(counted)
    assert max(calls(getattr(qhn, name)) for name in qhn.__all__) < 1000


def test_described_once():
    before = qhn.fit.__doc__
    assert qhn._described(qhn.fit).__doc__ is before and before.count("Arguments:") == 1


def test_without_sources(monkeypatch):
    "A package of compiled files alone has docstrings as they are written, or none where Python left them out."
    monkeypatch.setattr("linecache.getlines", lambda *args: [])
    assert not qhn._comments(qhn.fit) and not qhn._comments(qhn.KL)
    def bare(): pass
    assert qhn._described(bare).__doc__ is None


def test_home_page_needs_one_import():
    "Its example takes qhn by its face, with JAX and optax beside it."
    cells = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell))]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert "qhn" in imported and {name.partition(".")[0] for name in imported} <= {"qhn", "jax", "optax"}
    assert not [node for node in nodes if isinstance(node, ast.ImportFrom)]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "qhn"}
    assert used <= set(qhn.__all__)


@pytest.mark.parametrize("name", qhn.__all__)
def test_help_names_the_arguments_that_are_taken_and_no_others(name):
    "Each with its comment, in their order: attributes that a class merely has are no arguments."
    found = getattr(qhn, name)
    told = re.findall(r"^    (\w+): ", found.__doc__.partition("Arguments:")[2].partition("Returns:")[0], re.M)
    assert told == [argument for argument in inspect.signature(found).parameters if argument[0] != "_"]


def test_a_name_that_is_not_public_is_told_with_its_module():
    with pytest.raises(AttributeError, match="from qhn.engine.interface import Dense"): qhn.Dense
    with pytest.raises(AttributeError, match="from qhn.circuits.gates import register"): qhn.register
