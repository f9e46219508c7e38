"""Make the chapters readable in Jupyter and on GitHub: citations as links, captions below figures, numbers in references to figures.

    python .ci/readable.py           # rewrites the notebooks in nbs/
    python .ci/readable.py --check   # names those that are not as they would be written
"""
import json
import re
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent))
from make_readme import CITATION, ROOT, cite, directives, references

MARK = "<!-- caption -->"
LEAVE = re.compile(r"(^(?:```+|~~~+).*?^(?:```+|~~~+)|`[^`\n]*`|\$\$.*?\$\$|(?<![\\$])\$(?![$\s])[^$\n]+\$)", re.M | re.S)


def source(cell): return "".join(cell["source"])
def options(cell): return directives(SimpleNamespace(cell_type=cell["cell_type"], source=source(cell)))
def caption(cell): return cell["cell_type"] == "markdown" and source(cell).startswith(MARK)


def figure(cell) -> bool:
    "A code cell that shows a picture with a caption."
    if cell["cell_type"] != "code": return False
    opts = options(cell)
    shown = any(mime.startswith("image/") for o in cell["outputs"] for mime in o.get("data", {}))
    return shown and "fig-cap" in opts and "hide" not in opts and opts.get("include") != "false"


def linked(text, refs, figures, name) -> str:
    "Text with its citations as links and its figures numbered; code and maths stay as they are."
    def numbered(match):
        if match[2] not in figures: raise KeyError(f"{name} has no figure with the label {match[2]}")
        return f"[{match[1]} {figures[match[2]]}](#{match[2]})"

    def part(piece):
        piece = re.sub(r"\[([^][]*@[\w:-]+[^][]*)\](?!\()", r"(\1)", piece)
        piece = CITATION.sub(lambda m: cite(refs[m[1]]) if m[1] in refs else m[0], piece)
        return re.sub(r"\[([Ff]igure)[^]\n]*\]\(#(fig-[\w-]+)\)", numbered, piece)
    return "".join(p if i % 2 else part(p) for i, p in enumerate(LEAVE.split(text)))


def written(path) -> str:
    "The notebook as it should be."
    nb, refs = json.loads(path.read_text(encoding="utf-8")), references()
    cells = [cell for cell in nb["cells"] if not caption(cell)]
    figures = {options(c).get("label", i): i for i, c in enumerate(filter(figure, cells), 1)}
    name, made, number = path.relative_to(ROOT).as_posix(), [], 0
    for cell in cells:
        made.append(cell)
        if cell["cell_type"] == "markdown":
            cell["source"] = linked(source(cell), refs, figures, name).splitlines(True)
        elif cell["cell_type"] == "code":
            cell["source"] = re.sub(r"^#\|\s*fig-cap:.*$", lambda m: linked(m[0], refs, figures, name), source(cell), flags=re.M).splitlines(True)
        if figure(cell):
            number += 1
            ident = sha256(str(cell.get("id", number)).encode()).hexdigest()[:8]
            text = f"{MARK}\n*Figure {number}. {options(cell)['fig-cap']}*"
            made.append({"cell_type": "markdown", "id": ident, "metadata": {}, "source": text.splitlines(True)})
    nb["cells"] = made
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def stale() -> list:  # of paths
    "The notebooks that are not as they would be written."
    paths = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    return [p for p in paths if p.read_text(encoding="utf-8") != written(p)]


def main():
    found = stale()
    for path in found: print(path.relative_to(ROOT).as_posix())
    if "--check" in sys.argv[1:]: sys.exit(bool(found))
    for path in found: path.write_text(written(path), encoding="utf-8")


if __name__ == "__main__": main()
