"""What the structure of the package is, in figures, and what it is to be: read from the sources, nothing is imported.

    python tests/structure/count.py [FOLDER OF A CHECKOUT] [--check] [--where]

`--check` ends with 1 if a figure is worse than its limit, `--where` names the places. A limit is what was reached: it only ever
moves towards what is wanted.
"""
import argparse
import ast
import json
import re
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

FACE, COMMAND_LINE, HARDWARE = {"__init__"}, {"cli"}, {"hardware", "jobs", "backends", "sampler", "run"}
ENGINE = {"engine", "mps", "pairs", "dense"}


BOUNDS = {    # what is measured: (limit, below which nothing falls again; what is wanted)
    "underscore names imported across modules": (0, 0),
    "imports of them": (0, 0),
    "hasattr and getattr, but in face, command line, hardware": (4, 6),
    "engine names compared outside the engine": (0, 0),
    "lines of the largest module": (400, 400),
    "nodes of the syntax tree a line, 90th percentile": (22, 22),
    "code lines over 110 columns": (0, 0),
    "exported cells, median lines": (10, 10),
    "exported cells over 15 lines, per cent": (15, 15),
    "exported lines without an example, longest": (60, 60),
    "examples an exported cell": (2, 2),
    "public functions that raise and do not say so": (0, 0),
    "public members without a docstring": (0, 0),
    "names that the home page imports": (0, 0),
    "modules that it imports": (1, 1),
}
AT_LEAST = {"examples an exported cell"}    # a bound from below; all others are from above


class Row(NamedTuple):
    measure: str
    value: float
    where: list = []      # what counts

    @property
    def limit(self): return BOUNDS[self.measure][0]

    @property
    def wanted(self): return BOUNDS[self.measure][1]

    def misses(self, bound): return self.value < bound if self.measure in AT_LEAST else self.value > bound


class Module(NamedTuple):
    name: str             # dotted, from the package on
    lines: list
    tree: ast.Module

    @property
    def rooms(self): return set(self.name.split("."))


class Cell(NamedTuple):
    kind: str             # "exported", "imports" (exported or not) or "example"
    lines: list           # without directives


def modules(root):
    "Every module of the package, those of its parts too, but nbdev's index."
    for path in sorted((root / "qhn").rglob("*.py")):
        if path.name == "_modidx.py": continue
        text = path.read_text(encoding="utf-8")
        yield Module(".".join(path.relative_to(root / "qhn").with_suffix("").parts), text.splitlines(), ast.parse(text))


def notebooks(root):
    "Name and code cells of every notebook that exports something."
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        if any(part[0] in "._" for part in path.relative_to(root / "nbs").parts): continue
        sources = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        cells = [cell for source in sources if (cell := read_cell(source))]
        if any(cell.kind == "exported" for cell in cells): yield path.relative_to(root / "nbs").as_posix(), cells


def read_cell(source):
    "None for a cell that holds directives, magics and comments alone, or is hidden."
    if re.search(r"^#\|\s*hide$", source, re.M): return None
    exported = re.search(r"^#\|\s*export", source, re.M)
    lines = [line for line in source.splitlines() if line.strip() and not re.match(r"#\||[%!]", line)]
    body = ast.parse("\n".join(lines)).body
    if not body: return None
    if all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in body): return Cell("imports", lines)
    return Cell("exported" if exported else "example", lines)


def private_imports(every):
    "Names with a leading underscore that a module takes from another: (where, name)."
    for module in every:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ImportFrom) or not (node.level or (node.module or "").startswith("qhn")): continue
            names = [alias.name for alias in node.names if re.match(r"_[^_]", alias.name)]
            yield from ((module.name, name) for name in names)


def guesses(every):
    "Calls of `hasattr` and `getattr`, but in the face, the command line and the hardware."
    for module in every:
        if module.rooms & (FACE | COMMAND_LINE | HARDWARE): continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
                yield f"{module.name}:{node.lineno}"


def engine_names(every):
    'Comparisons with "mps" or "dense" outside the engine.'
    for module in every:
        if module.rooms & ENGINE: continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Compare): continue
            texts = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            if texts & {"mps", "dense"}: yield f"{module.name}:{node.lineno}"


def nodes_a_line(every):
    "For every line that holds code, how many nodes of the syntax tree begin on it."
    for module in every:
        counts = {}
        def count(node, line):
            line = getattr(node, "lineno", line)
            if line: counts[line] = counts.get(line, 0) + 1
            for child in ast.iter_child_nodes(node): count(child, line)
        count(module.tree, 0)
        yield from counts.values()


def wide_lines(every):
    "Lines wider than 110 columns on which no string stands."
    for module in every:
        texts = [node for node in ast.walk(module.tree) if isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, str)]
        strings = {line for node in texts for line in range(node.lineno, node.end_lineno + 1)}
        yield from (f"{module.name}:{i}" for i, line in enumerate(module.lines, 1) if len(line) > 110 and i not in strings)


def longest_runs(books):
    "For every notebook, its most exported lines without an example between: (lines, notebook)."
    for name, cells in books:
        run, longest = 0, 0
        for cell in cells:
            if cell.kind == "exported": run += len(cell.lines)
            if cell.kind == "example": run = 0
            longest = max(longest, run)
        yield longest, name


def functions(module):
    "(name, node) of the module's functions and of its classes' methods, private ones too."
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef): yield node.name, node
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(part, ast.FunctionDef): yield f"{node.name}.{part.name}", part


def raises(node): return any(isinstance(part, ast.Raise) and part.exc for part in ast.walk(node))


def called(node):
    "The names of the functions and methods that a function calls."
    for part in ast.walk(node):
        if not isinstance(part, ast.Call): continue
        if isinstance(part.func, ast.Name): yield part.func.id
        if isinstance(part.func, ast.Attribute): yield part.func.attr


def checks(every):
    "The names of the functions that check and raise, by themselves or through others that do."
    bodies = {name.split(".")[-1]: node for module in every for name, node in functions(module) if "check" in name}
    found = {name for name, node in bodies.items() if raises(node)}
    while more := {name for name, node in bodies.items() if found & set(called(node))} - found: found |= more
    return found


def raising(every):
    "(function, whether its docstring names an error) of the public functions and methods that raise, or call a check."
    known = checks(every)
    for module in every:
        for name, node in functions(module):
            if any(part[0] == "_" for part in name.split(".")): continue
            if not raises(node) and not known & set(called(node)): continue
            yield f"{module.name}.{name}", bool(re.search(r"\b[A-Z]\w*(Error|Exception|Interrupt)\b", ast.get_docstring(node) or ""))


def undocumented(every):
    "Public functions, classes, methods and properties without a docstring. A method has that of a base class as well."
    classes = {node.name: node for module in every for node in module.tree.body if isinstance(node, ast.ClassDef)}
    def inherited(owner, name):
        bases = [classes[base.id] for base in owner.bases if isinstance(base, ast.Name) and base.id in classes]
        said = {part.name for base in bases for part in base.body if isinstance(part, ast.FunctionDef) and ast.get_docstring(part)}
        return name in said or any(inherited(base, name) for base in bases)
    for module in every:
        own = [(node.name, node) for node in module.tree.body if isinstance(node, ast.ClassDef)]
        for name, node in own + list(functions(module)):
            if any(part[0] == "_" for part in name.split(".")) or ast.get_docstring(node): continue
            owner, _, method = name.rpartition(".")
            if not (owner and inherited(classes[owner], method)): yield f"{module.name}.{name}"


def home_page(root):
    "The modules and the names that the example of the home page imports from the package."
    cells = json.loads((root / "nbs" / "index.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    nodes = [node for source in sources for node in ast.walk(ast.parse(re.sub(r"^%.*", "", source, flags=re.M)))]
    taken = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "qhn"]
    whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names if alias.name.split(".")[0] == "qhn"]
    return {node.module for node in taken} | set(whole), [alias.name for node in taken for alias in node.names]


def rows(root):
    "Every figure."
    every, books = list(modules(root)), list(notebooks(root))
    exported = [cell for _, cells in books for cell in cells if cell.kind == "exported"]
    examples = [cell for _, cells in books for cell in cells if cell.kind == "example"]
    lengths = [len(cell.lines) for cell in exported]
    long = [length for length in lengths if length > 15]
    private = sorted(private_imports(every))
    nodes = sorted(nodes_a_line(every))
    largest = max(every, key=lambda module: len(module.lines))
    longest = sorted(longest_runs(books), reverse=True)
    guessed, engines, wide, bare = (list(places(every)) for places in (guesses, engine_names, wide_lines, undocumented))
    silent = [name for name, says in raising(every) if not says]
    page_modules, page_names = home_page(root)
    return [
        Row("underscore names imported across modules", len({name for _, name in private})),
        Row("imports of them", len(private), [f"{where}: {name}" for where, name in private]),
        Row("hasattr and getattr, but in face, command line, hardware", len(guessed), guessed),
        Row("engine names compared outside the engine", len(engines), engines),
        Row("lines of the largest module", len(largest.lines), [largest.name]),
        Row("nodes of the syntax tree a line, 90th percentile", nodes[int(0.9 * len(nodes))]),
        Row("code lines over 110 columns", len(wide), wide),
        Row("exported cells, median lines", statistics.median(lengths)),
        Row("exported cells over 15 lines, per cent", 100 * len(long) / len(lengths)),
        Row("exported lines without an example, longest", longest[0][0], [f"{name}: {lines}" for lines, name in longest]),
        Row("examples an exported cell", len(examples) / len(exported)),
        Row("public functions that raise and do not say so", len(silent), silent),
        Row("public members without a docstring", len(bare), bare),
        Row("names that the home page imports", len(page_names), page_names),
        Row("modules that it imports", len(page_modules), sorted(page_modules)),
    ]


def table(every, where):
    yield f"{'measure':62}{'value':>8}{'limit':>8}{'wanted':>8}"
    for row in every:
        numbers = "".join(f"{round(number, 1):>8g}" for number in (row.value, row.limit, row.wanted))
        mark = " worse than its limit" if row.misses(row.limit) else " to do" if row.misses(row.wanted) else ""
        yield f"{row.measure:62}{numbers}{mark}"
        yield from (f"    {place}" for place in row.where if where)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).parent.parent.parent, help="folder of a checkout")
    parser.add_argument("--check", action="store_true", help="end with 1 if a figure is worse than its limit")
    parser.add_argument("--where", action="store_true", help="name the places")
    given = parser.parse_args()
    found = rows(given.root)
    print("\n".join(table(found, given.where)))
    if given.check: sys.exit(any(row.misses(row.limit) for row in found))


if __name__ == "__main__": main()
