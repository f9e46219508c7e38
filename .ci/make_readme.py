"""Make README.md and its pictures from nbs/index.ipynb with nbconvert: Quarto is not installable everywhere.

    python .ci/make_readme.py

GitHub shows plain Markdown, so what only Quarto understands is put in plain words here: cell directives, citations,
cross-references, divs and attributes. `files` returns what would be written, so that a test can tell whether README.md is fresh.
"""
import base64
import html
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "nbs" / "index.ipynb"
PICTURES = "nbs/readme_files"
HEADER = "<!-- Made from nbs/index.ipynb by .ci/make_readme.py: edit the notebook, not this file. -->\n\n"
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.M | re.S)
CITATION = re.compile(r"(?<![\w@`.])@([A-Za-z][\w:-]*\w)")


def directives(cell) -> dict:  # name -> value
    "The nbdev and Quarto directives of a code cell: its `#| name: value` lines."
    lines = re.findall(r"^#\|\s*([\w-]+):?[ \t]*(.*?)\s*$", cell.source, re.M) if cell.cell_type == "code" else []
    return {name: value.strip("\"'") for name, value in lines}


def references(path=ROOT / "nbs" / "references.bib") -> dict:  # key -> {field: text}
    "The entries of a BibTeX file whose fields stand one on a line."
    found = {}
    for key, body in re.findall(r"^@\w+\{([^,\s]+),\n(.*?)^\}", path.read_text(encoding="utf-8"), re.M | re.S):
        fields = re.findall(r"^\s*(\w+)\s*=\s*[{\"](.*)[}\"],?\s*$", body, re.M)
        found[key] = {name.lower(): re.sub("[{}]", "", text) for name, text in fields}
    return found


def cite(reference) -> str:
    "A citation as a link: `[Liu & Wang (2018)](https://doi.org/...)`."
    names = [name.split(",")[0].strip() for name in reference["author"].split(" and ")]
    who = " & ".join(names) if len(names) < 3 and "others" not in names else f"{names[0]} et al."
    where = f"https://doi.org/{reference['doi']}" if "doi" in reference else reference["url"]
    return f"[{who} ({reference['year']})]({where})"


def plain(text, figures) -> str:
    "Markdown that GitHub understands from a piece of Quarto Markdown without code."
    refs = references()

    def resolve(match):
        key = match[1]
        if key in figures: return f"figure {figures[key]}"
        if key in refs: return cite(refs[key])
        raise KeyError(f"nbs/index.ipynb cites @{key}: no entry of nbs/references.bib and no figure of the notebook has this name")

    text = re.sub(r"\[([^][]*@[\w:-]+[^][]*)\](?!\()", r"(\1)", text)  # [@a; @b] -> (@a; @b)
    text = CITATION.sub(resolve, text)
    text = re.sub(r"^:::+.*\n?", "", text, flags=re.M)  # a fenced div keeps what it holds
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
        if cell.source.startswith("<!-- caption -->"): continue  # .ci/readable.py wrote it for Jupyter
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
