"""Make README.md and its pictures from nbs/index.ipynb with nbconvert: Quarto is not installable everywhere.

    python .ci/make_readme.py

GitHub shows plain Markdown, so what only Quarto understands is put in plain words here: cell directives, citations,
cross-references, divs and attributes. `files` returns what would be written, so that a test can tell whether README.md is fresh.
"""
import base64
import configparser
import html
import re
from pathlib import Path
from urllib.parse import quote

import nbformat
import yaml
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "nbs" / "index.ipynb"
PICTURES = "nbs/readme_files"
HEADER = "<!-- Made from nbs/index.ipynb by .ci/make_readme.py: edit the notebook, not this file. -->\n\n"
CAPTION = "<!-- caption -->"    # begins a cell that .ci/readable.py made
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.M | re.S)
CITATION = re.compile(r"(?<![\w@`.])@([A-Za-z][\w:-]*\w)")


def directives(cell) -> dict:  # name -> value
    "The nbdev and Quarto directives of a code cell: its `#| name: value` lines."
    lines = re.findall(r"^#\|\s*([\w-]+):?[ \t]*(.*?)\s*$", cell.source, re.M) if cell.cell_type == "code" else []
    return {name: unquoted(value) for name, value in lines}


def unquoted(value) -> str:
    "The text of a directive's value: YAML, where it is in quotes."
    return str(yaml.safe_load(value)) if re.fullmatch(r"\".*\"|'.*'", value) else value


def settings(root=ROOT):  # a mapping of texts
    "What settings.ini says."
    parser = configparser.ConfigParser(delimiters=["="], interpolation=None)
    parser.read(root / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def install(root=ROOT, extra="") -> str:
    "What `pip install` takes: the repository, until settings.ini says `released = True`. With an extra, such as `arviz`, in quotes."
    cfg = settings(root)
    name, source = cfg["lib_name"], f"git+{cfg['git_url']}"
    released = cfg.getboolean("released", False)
    if extra: return f'"{name}[{extra}]"' if released else f'"{name}[{extra}] @ {source}"'
    return name if released else source


def references(path=ROOT / "nbs" / "references.bib") -> dict:  # key -> {field: text}
    "The entries of a BibTeX file whose fields stand one on a line."
    found = {}
    for key, body in re.findall(r"^@\w+\{([^,\s]+),\n(.*?)^\}", path.read_text(encoding="utf-8"), re.M | re.S):
        fields = re.findall(r"^\s*(\w+)\s*=\s*[{\"](.*)[}\"],?\s*$", body, re.M)
        found[key] = {name.lower(): re.sub("[{}]", "", text) for name, text in fields}
    return found


def cite(reference, inside=False) -> str:
    "A citation as a link: `[Liu & Wang (2018)](https://doi.org/...)`, and `[Liu & Wang, 2018](...)` inside parentheses."
    names = [name.split(",")[0].strip() for name in reference["author"].split(" and ")]
    who = " & ".join(names) if len(names) < 3 and "others" not in names else f"{names[0]} et al."
    where = f"https://doi.org/{quote(reference['doi'], safe='/:')}" if "doi" in reference else reference["url"]
    return f"[{who}, {reference['year']}]({where})" if inside else f"[{who} ({reference['year']})]({where})"


def cited(text, found) -> str:
    "Text with `@a` and `[@a; @b]` replaced by what `found(key, inside)` writes for them, inside parentheses or not; None leaves a key alone."
    def each(piece, inside): return CITATION.sub(lambda m: found(m[1], inside) or m[0], piece)

    def group(match):
        if not all(found(key, True) for key in CITATION.findall(match[1])): return match[0]
        lone = re.fullmatch(r"@fig-[\w-]+", match[1])
        return each(match[1], False) if lone else f"({each(match[1], True)})"

    return each(re.sub(r"\[([^][]*@[A-Za-z][^][]*)\](?!\()", group, text), False)


def plain(text, figures) -> str:
    "Markdown that GitHub understands from a piece of Quarto Markdown without code."
    refs = references()

    def resolve(key, inside):
        if key in figures: return f"figure {figures[key]}"
        if key in refs: return cite(refs[key], inside)
        raise KeyError(f"nbs/index.ipynb cites @{key}: no entry of nbs/references.bib and no figure of the notebook has this name")

    text = cited(text, resolve)
    text = re.sub(r"^:::+.*\n?", "", text, flags=re.M)  # a fenced div keeps what it holds
    text = re.sub(r"\[([Ff]igures? [^]\n]*)\]\(#fig-[^)]*\)", r"\1", text)  # GitHub drops anchors that are not headings
    text = re.sub(r"(?<=\))\{[^}]*\}|[ \t]*\{#(?:eq|sec|fig|tbl)-[^}]*\}", "", text)  # attributes and labels
    text = re.sub(r"(\]\()(?!https?:|#|\.\./)([^)\s]+)", r"\1nbs/\2", text)  # links start from nbs/, README.md lies above it
    return maths(text.replace("](../", "]("))


def maths(text) -> str:
    "GitHub's Markdown takes an escape in maths, such as `\\{`, for its own; in these forms it leaves it alone."
    def escaped(match): return re.search(r"\\[^\w\s]", match[1])
    text = re.sub(r"^\$\$(.*?)\$\$", lambda m: f"```math\n{m[1].strip()}\n```" if escaped(m) else m[0], text, flags=re.M | re.S)
    return re.sub(r"(?<![\\$])\$(?![$\s])([^$\n]+)\$", lambda m: f"$`{m[1]}`$" if escaped(m) else m[0], text)


def markdown(text, figures) -> str:
    "Plain Markdown from Quarto Markdown; code, in fences or backticks, stays as it is."
    return "".join(part if i % 2 else plain(part, figures) for i, part in enumerate(CODE.split(text)))


def png(output): return output.get("data", {}).get("image/png")


def picture(output, name, text) -> str:
    "A picture, as wide as it was drawn: one of double resolution says so in its metadata."
    width = output.metadata.get("image/png", {}).get("width")
    return f'<img src="{name}" width="{width}" alt="{html.escape(text)}">' if width else f"![{text}]({name})"


def readme_cells(nb, out):
    "The cells that README.md shows; the pictures among their outputs go to `out`, path -> bytes."
    drawn = [directives(cell) for cell in nb.cells if cell.cell_type == "code" and any(map(png, cell.outputs))]
    figures = {opts["label"]: i for i, opts in enumerate(drawn, 1) if "label" in opts}
    for cell in nb.cells:
        opts = directives(cell)
        if cell.cell_type == "raw" or "hide" in opts or opts.get("include") == "false": continue
        if cell.source.startswith(CAPTION): continue  # README.md has its own
        if cell.cell_type == "markdown":
            yield nbformat.v4.new_markdown_cell(markdown(cell.source, figures))
            continue
        cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
        if opts.get("output") == "false": cell.outputs = []
        for output in cell.outputs:
            if png(output):
                name = f"{PICTURES}/figure-{len(out) + 1}.png"
                out[name] = base64.b64decode(png(output))
                caption = markdown(opts.get("fig-cap", ""), figures)
                output.data = {"text/markdown": f"{picture(output, name, opts.get('fig-alt', ''))}\n\n*{caption}*"}
            else:
                output.get("data", {}).pop("text/html", None)  # GitHub drops its styles: the plain text is easier to read
        if opts.get("echo") != "false" and cell.source: yield cell
        else: yield from (nbformat.v4.new_markdown_cell(o.data["text/markdown"]) for o in cell.outputs if "text/markdown" in o.get("data", {}))


def files(index=INDEX) -> dict:  # path from the top of the repository -> bytes
    "README.md and its pictures, as they should be."
    nb, out = nbformat.read(index, as_version=4), {}
    nb.metadata["language_info"] = {"name": "python"}  # nbdev_clean drops it, and with it goes the language of the fences
    nb.cells = list(readme_cells(nb, out))
    body, _ = MarkdownExporter().from_notebook_node(nb)
    body = re.sub(r"[ \t]+$", "", body, flags=re.M)
    out["README.md"] = (HEADER + re.sub(r"\n{3,}", "\n\n", body).strip() + "\n").encode()
    return out


def main():
    made = files()
    for old in (ROOT / PICTURES).glob("*"):
        if old.relative_to(ROOT).as_posix() not in made: old.unlink()
    for path, content in made.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_bytes(content)
    print(f"made {', '.join(sorted(made))}")


if __name__ == "__main__": main()
