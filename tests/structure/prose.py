"""How long the sentences of the book are, how wide its code, and how many assertions each chapter makes: read from the notebooks.

    python tests/structure/prose.py [FOLDER OF A CHECKOUT] [--check] [--where] [--store]

`--check` ends with 1 if a figure is worse than its limit, or a chapter asserts less than tests/structure/asserts.json holds.
`--where` names the places, worst first; `--store` writes today's numbers of assertions into that file. A limit is what was reached:
it only ever moves towards what is wanted.

A sentence ends at . ! ? and with its paragraph, list item or heading. Code, a formula, a citation count as one word each; code blocks, tables
and the captions that .ci/readable.py repeats do not count.
"""
import argparse
import ast
import json
import re
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
STORE = Path(__file__).with_name("asserts.json")

LIMITS = {    # what is measured: (limit, what is wanted)
    "words a sentence, median": (18, 18),
    "sentences over 45 words": (0, 0),
    "lines of shown examples over 88 columns": (0, 0),
    "lines of exported cells over 110 columns": (0, 0),
}
ABBREVIATIONS = re.compile(r"\b(al|e\.g|i\.e|cf|vs|etc|approx|resp|no|eq|fig|pp?|[A-Z])\.$", re.I)
END = re.compile(r"[.!?][\"'’”)\]*_]*(?=\s)")


class Place(NamedTuple):
    value: int
    chapter: str
    text: str


def chapters(root):
    "Name and cells of every notebook, those of its parts too."
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        name = path.relative_to(root / "nbs")
        if any(part[0] in "._" for part in name.parts): continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield name.as_posix(), [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


def formula(match) -> str:
    "A displayed formula as a word. A sentence may end with it, or go on below it."
    full = match[1].rstrip().endswith(".")
    return " FORMULA. " if full else " FORMULA " if re.match(r"\s*[a-z(]", match.string[match.end():]) else " FORMULA\n\n"


def plain(text) -> str:
    "Markdown as running words: one word for code, a formula, a citation."
    text = re.sub(r"^[ \t]*(```+|~~~+).*?^[ \t]*\1", "\n\n", text, flags=re.M | re.S)
    text = re.sub(r"<!--.*?-->|</?[a-zA-Z][^>\n]*>", " ", text, flags=re.S)
    text = re.sub(r"`[^`\n]*`", "CODE", text)
    text = re.sub(r"\s*\$\$(.*?)\$\$[ \t]*\n*", formula, text, flags=re.S)
    text = re.sub(r"(?<![\\$])\$(?![$\s])(?:[^$\n]|\n(?!\s*\n))+?\$", "FORMULA", text)
    text = re.sub(r"\[[^][]*?,? \(?\d{4}[a-z]?\)?\]\(https?:[^)\s]*\)|(?<![\w.])@[A-Za-z][\w:-]*\w", "CITATION", text)
    text = re.sub(r"!?\[([^][]*)\]\([^)\s]*\)(\{[^}]*\})?", r"\1", text)
    text = re.sub(r"^[ \t]*(\|.*|:::.*|-{3,})$", "", text, flags=re.M)
    text = re.sub(r"^#{1,6}\s.*$", "\n\n", text, flags=re.M)
    return re.sub(r"^[ \t]*(?:[-*+]|\d+[.)])[ \t]+|^>[ \t]*", "\n\n", text, flags=re.M)


def sentences(text):
    "The sentences of a cell of Markdown."
    if text.startswith("<!-- caption -->"): return
    for block in re.split(r"\n[ \t]*\n", plain(text)):
        start = 0
        for match in END.finditer(block):
            if match[0][0] == "." and ABBREVIATIONS.search(block[:match.start() + 1]): continue
            yield " ".join(block[start:match.end()].split())
            start = match.end()
        yield " ".join(block[start:].split())


def words(sentence) -> int: return len(re.findall(r"\S*\w\S*", sentence))


def directives(source) -> dict: return dict(re.findall(r"^#\|\s*([\w-]+):?[ \t]*(.*?)\s*$", source, re.M))


def kind(source) -> str:
    "exported, shown, or neither: hidden, folded, without its source."
    said = directives(source)
    if said.keys() & {"export", "exports", "exporti"}: return "exported"
    hidden = said.keys() & {"hide", "default_exp"} or {"include": "false"}.items() <= said.items()
    folded = "true" in (said.get("code-fold"), said.get("hide_input")) or said.get("echo") == "false"
    return "" if hidden or folded else "shown"


def wide(root, which, limit):
    "The lines of cells of a kind that are longer than a limit."
    for name, cells in chapters(root):
        for source in (source for cell_type, source in cells if cell_type == "code" and kind(source) == which):
            lines = (line for line in source.splitlines() if not line.startswith("#|"))
            yield from (Place(len(line), name, line.strip()) for line in lines if len(line) > limit)


def parsed(source):
    "The syntax tree of a cell, its magics and shell commands left out."
    try: return ast.parse(source)
    except SyntaxError: pass
    if re.match(r"\s*%%", source): return ast.parse("")
    lines = [re.sub(r"^(\s*)[%!](?!=).*", r"\1pass", line) for line in source.splitlines()]
    return ast.parse("\n".join(lines))


def asserts(source) -> int:
    "The `assert` statements and calls of `test_*` in a cell of code."
    nodes = list(ast.walk(parsed(source)))
    calls = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return sum(isinstance(node, ast.Assert) for node in nodes) + sum(name.startswith("test_") for name in calls)


def counted(root) -> dict:
    "Chapter -> its assertions."
    return {name: sum(asserts(source) for cell_type, source in cells if cell_type == "code") for name, cells in chapters(root)}


def lost(stored, found) -> list:
    "The chapters that assert less than was stored, or are gone."
    return [f"{name}: {found.get(name, 0)} assertions, and it had {number}" for name, number in stored.items() if found.get(name, 0) < number]


def prose(root) -> list:
    "Every sentence of the book, longest first."
    said = [(name, sentence) for name, cells in chapters(root) for cell_type, text in cells if cell_type == "markdown" for sentence in sentences(text)]
    return sorted((Place(words(sentence), name, sentence) for name, sentence in said if words(sentence)), reverse=True)


def rows(root):
    "Measure, value, places of every figure."
    every = prose(root)
    examples, exported = sorted(wide(root, "shown", 88), reverse=True), sorted(wide(root, "exported", 110), reverse=True)
    long = [place for place in every if place.value > 45]
    yield "words a sentence, median", statistics.median(place.value for place in every) if every else 0, []
    yield "sentences over 45 words", len(long), long
    yield "lines of shown examples over 88 columns", len(examples), examples
    yield "lines of exported cells over 110 columns", len(exported), exported


def table(found, gone, where):
    yield f"{'measure':44}{'value':>8}{'limit':>8}{'wanted':>8}"
    for measure, value, places in found:
        limit, wanted = LIMITS[measure]
        mark = " worse than its limit" if value > limit else " to do" if value > wanted else ""
        yield f"{measure:44}{value:>8g}{limit:>8g}{wanted:>8g}{mark}"
        yield from (f"    {place.value:>4} {place.chapter}: {place.text}" for place in places if where)
    yield from gone


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?", default=ROOT, help="folder of a checkout")
    parser.add_argument("--check", action="store_true", help="end with 1 if a figure is worse than its limit")
    parser.add_argument("--where", action="store_true", help="name the places")
    parser.add_argument("--store", action="store_true", help="write the numbers of assertions")
    given = parser.parse_args()
    found, number = list(rows(given.root)), counted(given.root)
    if given.store: STORE.write_text(json.dumps(number, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    gone = lost(json.loads(STORE.read_text(encoding="utf-8")), number)
    print("\n".join(table(found, gone, given.where)))
    if given.check: sys.exit(bool(gone) or any(value > LIMITS[measure][0] for measure, value, _ in found))


if __name__ == "__main__": main()
