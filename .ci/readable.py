"""Make the chapters readable in Jupyter and on GitHub: citations as links, captions below figures, numbers in references to figures. And make
them run on Colab, which starts from a bare machine: the first cell that holds code installs the package there, and does nothing elsewhere.

    python .ci/readable.py           # rewrites the notebooks in nbs/
    python .ci/readable.py --check   # names those that are not as they would be written, and ends with 1 if there are any

Both end with 1 if equations are not numbered in order, or the text refers to one that is not there.

Writing a second time changes nothing. The site writes captions itself: `DropCaptions` in .ci/site_renderer.py takes these out again.
"""
import argparse
import json
import re
import sys
from hashlib import sha256
from posixpath import normpath
from pathlib import Path
from types import SimpleNamespace

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from make_readme import CAPTION, ROOT, cite, cited, directives, install, references, settings

CODE = r"^[ \t]*(?P<fence>```+|~~~+).*?^[ \t]*(?P=fence)|`[^`\n]*`|\$\$.*?\$\$|(?<![\\$])\$(?![$\s])(?:[^$\n]|\n(?!\s*\n))+?\$"
LINK = r"!?\[[^][]*\]\([^)\s]*\)|<(?:https?:|/?[a-z!])[^>\n]*>"
LEAVE = re.compile(f"{CODE}|(?P<link>{LINK})", re.M | re.S)
FIGURE = re.compile(r"\[(figures?)\b([^]\n]*)\]\(#(fig-[\w-]+)\)", re.I)
TAG = re.compile(r"\\tag\{([^}]*)\}")
EQUATION = re.compile(r"\b(?:equations?|by|from|in|of|see|with) \((\d+)\)(?: and \((\d+)\))?(?:\]\(([^)#\s]*)[^)\s]*\))?", re.I)
COLAB = "#| hide\n# On Colab: install what this notebook imports. Elsewhere: nothing."
OPTION = re.compile(r"^#\|\s*fig-cap:[ \t]*(.*?)[ \t]*$", re.M)


def read(path) -> dict: return json.loads(path.read_text(encoding="utf-8"))


def notebooks(root) -> list:
    "The paths of all notebooks, but copies that an editor keeps."
    found = sorted((root / "nbs").rglob("*.ipynb"))
    return [path for path in found if not any(part[0] in "._" for part in path.relative_to(root / "nbs").parts)]


def source(cell) -> str: return "".join(cell["source"])
def caption(cell) -> bool: return cell["cell_type"] == "markdown" and source(cell).startswith(CAPTION)
def options(cell) -> dict: return directives(SimpleNamespace(cell_type=cell["cell_type"], source=source(cell)))


def figure(cell) -> bool:
    "Whether a cell shows a picture with a caption."
    if cell["cell_type"] != "code" or not OPTION.search(source(cell)): return False
    opts = options(cell)
    drawn = any(mime.startswith("image/") for out in cell["outputs"] for mime in out.get("data", {}))
    return drawn and "hide" not in opts and "false" not in (opts.get("include"), opts.get("output"))


def said(cell) -> str:
    "The caption of a figure, without the quotes and escapes of YAML."
    return str(yaml.safe_load("cap: " + OPTION.search(source(cell))[1])["cap"])


def linked(text, refs, figures, name) -> str:
    "Text with its citations as links and its figures numbered. Code, maths and other links stay as they are."
    def number(label):
        if label not in figures: raise KeyError(f"{name} refers to {label}, and shows no figure with this label")
        return figures[label]

    def numbered(match):
        "`[figure 2](#fig-a)`; of `[figures 1 and 2](#fig-a)` both numbers move by as much."
        word, rest, label = match.groups()
        first = re.search(r"\d+", rest)
        moved = number(label) - int(first[0]) if first else 0
        rest = re.sub(r"\d+", lambda m: str(int(m[0]) + moved), rest) if first else f" {number(label)}"
        return f"[{word}{rest}](#{label})"

    def found(key, inside):
        if key.startswith("fig-"): return f"[figure {number(key)}](#{key})"
        return cite(refs[key], inside) if key in refs else None

    made, end = [], 0
    for match in LEAVE.finditer(text):
        made += [cited(text[end:match.start()], found), FIGURE.sub(numbered, match[0]) if match["link"] else match[0]]
        end = match.end()
    return "".join(made) + cited(text[end:], found)


def option(cell, refs, figures, name) -> str:
    "The source of a cell with the citations in its caption as links; quoted, where it was not, as YAML wants it for brackets and colons."
    text = said(cell)
    made = linked(text, refs, figures, name)
    if made == text: return source(cell)
    return OPTION.sub(lambda _: f"#| fig-cap: {json.dumps(made, ensure_ascii=False)}", source(cell), count=1)


def below(cell, number) -> dict:
    "The cell that repeats a figure's caption for Jupyter and GitHub. Its id is made from that of the figure: it stays the same."
    label = options(cell).get("label", "")
    anchor = f'<a id="{label}"></a>' if label else ""
    text = f"{CAPTION}\n{anchor}**Figure {number}.** {said(cell)}"
    ident = {"id": sha256(cell["id"].encode()).hexdigest()[:8]} if "id" in cell else {}
    return ident | {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(True)}


def rewritten(nb, refs, name="the notebook") -> dict:
    "A notebook as it should be."
    cells = [cell for cell in nb["cells"] if not caption(cell)]
    shown = [cell for cell in cells if figure(cell)]
    labels = [options(cell).get("label") for cell in shown]
    twice = {label for label in labels if label and labels.count(label) > 1}
    if twice: raise ValueError(f"{name} gives a label to two figures: {', '.join(sorted(twice))}")
    figures, made = {label: i for i, label in enumerate(labels, 1) if label}, []
    for cell in cells:
        text = source(cell)
        if cell["cell_type"] == "markdown": text = installed(linked(text, refs, figures, name))
        if cell["cell_type"] == "code" and OPTION.search(text): text = option(cell, refs, figures, name)
        made.append(cell if text == source(cell) else cell | {"source": text.splitlines(True)})
        if figure(cell): made.append(below(made[-1], len([c for c in made if figure(c)])))
    return nb | {"cells": made}


def installed(text) -> str:
    "Text that installs the package as settings.ini says: alone on its line, or anywhere with an extra in quotes."
    name = settings()["lib_name"]
    text = re.sub(rf"^pip install (?:git\+\S+/)?{name}$", lambda _: f"pip install {install()}", text, flags=re.M)
    extra = rf'pip install "{name}\[(\w+)\](?: @ git\+[^"\s]+)?"'
    return re.sub(extra, lambda match: f"pip install {install(extra=match[1])}", text)


def starting(nb, name) -> dict:
    "A notebook with the cell for Colab below its title."
    cells = [cell for cell in nb["cells"] if not source(cell).startswith(COLAB)]
    title = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "markdown")
    cell = {"id": "colab", "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells.insert(title + 1, cell | {"source": first(cells, name).splitlines(True)})
    return nb | {"cells": cells}


def first(cells, name) -> str:
    "What a notebook runs first on Colab. One that reads files of the repository also gets them, and moves to its own folder."
    cfg, folder = settings(), Path(name).parent
    lines = [COLAB, 'if "google.colab" in str(get_ipython()):', f"    get_ipython().run_line_magic('pip', 'install -q {install(extra='dev')}')"]
    if reads(cells, ROOT / folder):
        lines += [f"    get_ipython().system('git clone -q --depth 1 --branch {cfg['branch']} {cfg['git_url']} /content/{cfg['repo']}')",
                  f"    get_ipython().run_line_magic('cd', '-q /content/{cfg['repo']}/{folder.as_posix()}')"]
    return "\n".join(lines)


def reads(cells, folder) -> bool:
    "Whether the code of a notebook names a file that lies in the repository, or a folder of tables."
    named = {text for cell in cells if cell["cell_type"] == "code" for text in re.findall(r'"([\w./-]+)"', source(cell))}
    return any((folder / text).is_file() or any((folder / text).glob("*.csv")) for text in named)


def equations(texts):    # path from nbs/ -> the Markdown of a chapter
    "What is wrong with the numbers of the equations: those of tags, and those that a text refers to, in its own chapter or in one it links to."
    tags = {name: TAG.findall(text) for name, text in texts.items()}
    named = set()
    for name, text in texts.items():
        if tags[name] != [str(i) for i in range(1, len(tags[name]) + 1)]:
            yield f"{name} numbers its equations {', '.join(tags[name])}; they must be 1, 2, ... in their order"
        for first, second, link in EQUATION.findall(re.sub(CODE, " ", text, flags=re.M | re.S)):
            home = normpath(f"{Path(name).parent.as_posix()}/{link}") if link else name
            named |= {(home, number) for number in (first, second) if number}
            yield from (f"{name} refers to equation ({number}) of {home}, which has none of this number"
                        for number in (first, second) if number and number not in tags.get(home, ()))
    yield from (f"{name} numbers equation ({tag}), to which no text refers" for name in texts for tag in tags[name] if (name, tag) not in named)


def chapters(root=ROOT) -> dict:  # path from nbs/ -> text
    "The Markdown of every notebook."
    return {path.relative_to(root / "nbs").as_posix(): "\n\n".join(source(cell) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
            for path in notebooks(root)}


def dumped(nb) -> str: return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def stale(root=ROOT):  # of (path, text)
    "The notebooks that are not as they would be written, and what would be written."
    refs = references(root / "nbs" / "references.bib")
    for path in notebooks(root):
        nb = read(path)
        name = path.relative_to(root).as_posix()
        made = starting(rewritten(nb, refs, name), name)
        if made != nb: yield path, dumped(made)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?", default=ROOT, help="folder of a checkout")
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 if something would be written")
    given = parser.parse_args()
    found = list(stale(given.root))
    for path, text in found:
        print(path.relative_to(given.root).as_posix())
        if not given.check: path.write_text(text, encoding="utf-8")
    wrong = list(equations(chapters(given.root)))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong or given.check and found))


if __name__ == "__main__": main()
