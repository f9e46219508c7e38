"""The site and README.md hold together: every link, citation, figure and sidebar entry resolves, and what is shown was run."""
import ast
import base64
import importlib.util
import json
import re
import xml.etree.ElementTree as ET
from configparser import ConfigParser
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
NBS = ROOT / "nbs"
NOTEBOOKS = sorted(p for p in NBS.rglob("*.ipynb") if not any(part[0] in "._" for part in p.relative_to(NBS).parts))
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.relative_to(NBS).with_suffix("").as_posix())



def step(name):
    "A module of .ci, which is not a package."
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_readme, readable = step("make_readme"), step("readable")
directives = make_readme.directives


def read(path): return nbformat.read(path, as_version=4).cells
def markdown(path): return "\n\n".join(c.source for c in read(path) if c.cell_type == "markdown") if path.suffix == ".ipynb" else path.read_text()
def code_cells(path): return [c for c in read(path) if c.cell_type == "code"]
def drawn(cell): return any(mime.startswith("image/") for o in cell.outputs for mime in o.get("data", {}))


def prose(text):
    "Markdown without code and without maths, where brackets and @ mean something else."
    for pattern in (r"^(```+).*?^\1", r"`[^`\n]*`", r"\$\$.*?\$\$", r"(?<![\\$])\$(?!\s)[^$]+?(?<!\s)\$"):
        text = re.sub(pattern, " ", text, flags=re.M | re.S)
    return text


def headings(text): return re.findall(r"^#{1,6}\s+(.*?)\s*$", re.sub(r"^(```+).*?^\1", "", text, flags=re.M | re.S), re.M)


def pandoc_id(heading):
    "The identifier that Quarto gives to a heading."
    given = re.search(r"\{#([\w.:-]+)[^}]*\}$", heading)
    if given: return given[1]
    bare = re.sub(r"\]\([^)]*\)|[^\w\s.-]", "", heading).lower()
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", bare.strip())) or "section"


def github_id(heading):
    "The identifier that GitHub gives to a heading."
    return re.sub(r"\s", "-", re.sub(r"\]\([^)]*\)|[^\w\s-]", "", heading).lower().strip())


def anchors(path):
    "What a link may point at in a page: headings, labels, and the names that a notebook documents."
    text = markdown(path)
    if path.suffix != ".ipynb": return {github_id(h) for h in headings(text)}
    return {pandoc_id(h) for h in headings(text)} | labels(path) | documented(path)


def labels(path):
    "The labels of a notebook's figures, tables, equations and sections, for cross-references."
    written = re.findall(r"\{#((?:fig|tbl|eq|sec)-[\w-]+)", markdown(path))
    return set(written) | {directives(c)["label"] for c in code_cells(path) if "label" in directives(c)}


def documented(path):
    "The names that a notebook exports, as identifiers: nbdev gives each a heading."
    exported = [ast.parse(c.source) for c in code_cells(path) if directives(c).keys() & {"export", "exports"}]
    return {node.name.lower() for tree in exported for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def links(path):
    text = prose(markdown(path))
    forms = (r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", r"^\[[^\]]+\]:\s*(\S+)", r"<(https?://[^>\s]+)>", r"<img src=\"([^\"]+)\"")
    return [link for form in forms for link in re.findall(form, text, re.M)]



def chapters(contents):
    "The notebooks of the sidebar in their order, those of its sections too, without its links into pages."
    for entry in contents:
        if isinstance(entry, dict): yield from chapters(entry.get("contents", ()))
        else: yield entry


def test_the_home_page_names_every_chapter_in_the_order_of_the_sidebar():
    listed = list(chapters(yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["sidebar"]["contents"]))
    reading = markdown(NBS / "index.ipynb").partition("## Where to read on")[2].partition("What entanglement gains")[0]
    assert re.findall(r"\]\(([\w/]+\.ipynb)\)", reading) == [chapter for chapter in listed if chapter not in ("index.ipynb", "api.qmd")]


def test_sidebar_shows_the_reading_paths():
    "Each links to its line on the home page, by its whole address: of others Quarto would make steps from page to page."
    contents = yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["sidebar"]["contents"]
    (paths,) = [entry["contents"] for entry in contents if isinstance(entry, dict) and entry["section"] == "Reading paths"]
    cfg = make_readme.settings()
    home = f"{cfg['doc_host']}{cfg['doc_baseurl']}/index.html"
    told = re.findall(r'^- <a id="([\w-]+)"></a>\*([\w ]+)\*: ', below(NBS / "index.ipynb", "reading-paths").replace(" - <a", "\n- <a"), re.M)
    assert [(path["href"], path["text"]) for path in paths] == [(f"{home}#{anchor}", name) for anchor, name in told] and len(paths) == 5


def test_home_page_says_how_to_cite():
    "A link near the top leads to the entry, which says what CITATION.cff says."
    text, cited = markdown(NBS / "index.ipynb"), yaml.safe_load((ROOT / "CITATION.cff").read_text())
    entry = dict(re.findall(r"^  (\w+) = \{+(.*?)\}+,$", text.partition("```bibtex\n")[2].partition("```")[0], re.M))
    assert "[to cite](#to-cite)" in text.partition("\n## ")[0]
    assert entry == {"title": cited["title"], "author": cited["authors"][0]["name"], "url": cited["repository-code"]}


def test_sidebar_lists_every_notebook_once():
    "The order is the sidebar's alone."
    listed = list(chapters(yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["sidebar"]["contents"]))
    assert listed[0] == "index.ipynb" and listed[-1] == "api.qmd"    # which nbs/api.qmd.py makes
    assert sorted(listed[:-1]) == sorted(p.relative_to(NBS).as_posix() for p in NOTEBOOKS)


@notebooks
def test_pages_are_named_as_their_notebooks(path):
    "nbdev drops the number of a chapter from its page's name, and any other number at the beginning as well."
    assert re.fullmatch(r"(\d\d[a-z]?_)?[a-z][a-z0-9_]*", path.stem)


def test_site_configuration_agrees_with_settings():
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT / "settings.ini")
    cfg, site = parser["DEFAULT"], yaml.safe_load((ROOT / "_quarto.yml").read_text())
    web = site["website"]
    assert (web["title"], web["description"], web["repo-branch"]) == (cfg["title"], cfg["description"], cfg["branch"])
    assert (web["site-url"], web["repo-url"]) == (cfg["doc_host"] + cfg["doc_baseurl"], cfg["git_url"])
    assert site["project"]["output-dir"] == cfg["doc_path"]
    assert (NBS / "_quarto.yml").readlink() == Path("../_quarto.yml")
    for name in (site["bibliography"], site["format"]["html"]["css"], web["favicon"], web["image"].lstrip("/")): assert (NBS / name).is_file()
    for name in site["project"]["resources"]: assert (NBS / name).is_file() or (NBS / f"{name}.py").is_file()    # nbdev stages what such a file prints


def test_references_are_complete():
    text = (NBS / "references.bib").read_text()
    keys, refs = re.findall(r"^@\w+\{([^,\s]+),", text, re.M), make_readme.references()
    assert sorted(keys) == sorted(refs), "an entry is written twice, or is not closed by a brace on a line of its own"
    for key, fields in refs.items():
        assert {"author", "title", "year"} <= fields.keys() and fields.keys() & {"doi", "url"}, f"@{key} lacks author, title, year, or a doi or url"


@pytest.mark.parametrize("path", [*NOTEBOOKS, *ROOT.glob("*.md")], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_resolve(path):
    for link in links(path):
        if re.match(r"https?://|mailto:", link): continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        if path.suffix == ".ipynb": assert target.is_relative_to(NBS), f"{link} leaves nbs/, which is all the site shows"
        if anchor: assert anchor in anchors(target), f"{link}: no such heading, label or exported name"


@notebooks
def test_citations_and_cross_references_resolve(path):
    cited = set(make_readme.CITATION.findall(prose(markdown(path))))
    captions = " ".join(directives(c).get("fig-cap", "") for c in code_cells(path))
    cited |= set(make_readme.CITATION.findall(prose(captions)))
    known = make_readme.references().keys() | labels(path)
    assert cited <= known, f"neither in references.bib nor a label of this notebook: {sorted(cited - known)}"


@notebooks
def test_title_cell_holds_the_title_and_one_line(path):
    "nbdev makes the first Markdown cell the head of the page, and drops what else it holds."
    first = next(c.source for c in read(path) if c.cell_type == "markdown")
    assert re.fullmatch(r"# [^\n]+\n\n> [^\n]+\n*", first)


def test_titles_tell_pages_apart():
    "A page is called by its title in a browser, followed by that of the site. The home page's is the site's."
    titles = [headings(markdown(path))[0] for path in NOTEBOOKS]
    assert len(set(titles)) == len(titles) and all(len(title) <= 60 for title in titles)
    assert headings(markdown(NBS / "index.ipynb"))[0] == make_readme.settings()["title"]


def shade(colour):
    "The relative luminance of a colour, as WCAG defines it."
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(k * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055)**2.4) for k, c in zip((0.2126, 0.7152, 0.0722), parts))


def test_colours_are_seen_in_both_themes():
    "What styles.css colours for both stands out from cosmo's white and from darkly's grey; what is for one theme says so."
    styles = re.sub(r"/\*.*?\*/", "", (NBS / "styles.css").read_text(), flags=re.S)
    both = [body for names, body in re.findall(r"([^{}]+)\{([^{}]*)\}", styles) if ".quarto-dark" not in names]
    assert not re.findall(r":[^;]*\b(?:white|black|rgba?|hsl)\b", " ".join(both))
    for colour in re.findall(r"#[0-9a-f]{6}\b", " ".join(both), re.I):
        for ground in ("#ffffff", "#222222"):
            dark, light = sorted([shade(colour), shade(ground)])
            assert (light + 0.05) / (dark + 0.05) >= 3, f"{colour} on {ground}"


def test_favicon_and_missing_page():
    svg = ET.fromstring((NBS / "favicon.svg").read_text())
    assert svg.tag.endswith("svg") and svg.attrib["viewBox"] == "0 0 32 32"
    text = (NBS / "404.qmd").read_text()
    targets = re.findall(r"\]\(/([^)]+)\)", text)    # a page that is shown under any address takes links from the top
    assert len(targets) == text.count("](") >= 3 and all((NBS / name).is_file() or (NBS / f"{name}.py").is_file() for name in targets)


@notebooks
def test_notebook_was_run(path):
    for cell in code_cells(path):
        assert "eval" not in directives(cell), f"a cell is switched off:\n{cell.source}"
        assert all(o.output_type != "error" for o in cell.outputs), f"a stored output is an error:\n{cell.source}"
        assert all(o.get("name") != "stderr" for o in cell.outputs), f"a stored output is a warning:\n{cell.source}"
        if "fig-cap" in directives(cell): assert drawn(cell), f"a figure is missing:\n{cell.source}"
        if shows_something(cell.source): assert cell.outputs, f"a cell was not run:\n{cell.source}"


def shows_something(source):
    "Whether a cell prints, outside of functions, or ends in an expression that is surely not None."
    if re.match(r"(?:#.*\n|\s)*[%!]", source): return False
    statements = list(ast.parse(source).body)
    last = statements[-1].value if statements and isinstance(statements[-1], ast.Expr) and source.strip()[-1:] != ";" else None
    while statements:
        statement = statements.pop()
        if isinstance(statement, (ast.For, ast.With)): statements += statement.body
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and ast.unparse(statement.value.func) == "print": return True
    return isinstance(last, (ast.Name, ast.Attribute, ast.BinOp, ast.Compare, ast.Tuple, ast.List, ast.Dict, ast.JoinedStr, ast.Subscript))


@notebooks
def test_no_control_characters(path):
    "A backslash that Python took for an escape leaves one in a formula, where nobody sees it."
    found = re.findall(r"[^\n]{0,20}[\x00-\x09\x0b-\x1f\x7f][^\n]{0,20}", markdown(path))
    assert not found


@notebooks
def test_figures_have_captions_and_descriptions(path):
    for cell in filter(drawn, code_cells(path)):
        for name in ("fig-cap", "fig-alt"): assert directives(cell).get(name), f"a figure lacks {name}:\n{cell.source}"


@notebooks
def test_figures_have_double_resolution(path):
    "And say how wide they are: a screen of today has two pixels where a figure of 100 dots an inch has one. Slow cells keep their pictures."
    for cell in (c for c in code_cells(path) if "slow" not in directives(c)):
        for output in (o for o in cell.outputs if "image/png" in o.get("data", {})):
            pixels = int.from_bytes(base64.b64decode(output.data["image/png"])[16:20], "big")
            assert pixels / 2 == pytest.approx(output.metadata.get("image/png", {}).get("width"), abs=1), cell.source


@notebooks
def test_results_fit_the_column(path):
    "A line of more than 85 characters is a table that was printed. Slow cells keep their outputs until they are run again."
    for cell in (c for c in code_cells(path) if "slow" not in directives(c)):
        for output in cell.outputs:
            data = output.get("data", {})
            text = output.get("text", "" if data.keys() - {"text/plain"} else data.get("text/plain", ""))
            wide = [line for line in text.splitlines() if len(line) > 85]
            assert not wide, wide


@notebooks
def test_imports_are_folded(path):
    "Cells of imports alone that are not exported; exported ones are not shown at all."
    for cell in code_cells(path):
        if re.match(r"(?:#.*\n|\s)*[%!]", cell.source) or directives(cell).keys() & {"export", "exports", "exporti", "hide"}: continue
        kinds = {type(node) for node in ast.parse(cell.source).body}
        if kinds and kinds <= {ast.Import, ast.ImportFrom}: assert directives(cell).get("code-fold") == "true", cell.source


@notebooks
def test_no_link_around_a_name_in_code(path):
    "nbdev links a name in backticks by itself, and of a link around it shows the raw Markdown."
    assert not re.findall(r"\[`[^`\n]*`\]\([^)\n]*\)", markdown(path))


@notebooks
def test_no_machine_paths(path):
    "Neither a home folder nor a temporary one, in what is written or in what was printed."
    found = re.findall(r"(?<![\w.:/])(?:/(?:home|root|tmp|work|Users|mnt|opt|var/folders)/[^\s\"'\\]*|[A-Z]:\\\\[^\s\"']*)|site-packages", text_of(path))
    assert not found


def text_of(path):
    texts = [c.source for c in read(path)]
    for output in (o for c in code_cells(path) for o in c.outputs):
        texts += [output.get("text", "")] + [str(v) for mime, v in output.get("data", {}).items() if not mime.startswith("image/p")]
    return "\n".join(texts)


QUESTIONS = json.loads((ROOT / "tests" / "site" / "questions.json").read_text(encoding="utf-8"))


def below(path, anchor):
    "What stands under a heading, up to the next of its level or above; without an anchor, what stands before the first section."
    parts = re.split(r"^(?=#{1,6} )", re.sub(r"^(```+).*?^\1", lambda m: m[0].replace("#", "\0"), markdown(path), flags=re.M | re.S), flags=re.M)
    level, kept = 0, []
    for part in parts:
        depth, title = re.match(r"(#*)[ ]?(.*)", part).groups()
        if level and len(depth) <= level: break
        if not level and depth and (pandoc_id(title) == anchor if anchor else len(depth) == 1): level = len(depth) if anchor else 6
        if level: kept.append(part)
    return " ".join("".join(kept).replace("\0", "#").split())


def pages(path):
    "The pages that the text of a page links to."
    return {(path.parent / link.partition("#")[0]).resolve() for link in links(path) if re.match(r"[\w./]+\.ipynb", link)}


@pytest.mark.parametrize("asked", QUESTIONS, ids=[asked["question"] for asked in QUESTIONS])
def test_questions_of_a_stranger_are_answered(asked):
    "Within two clicks of the home page, by links in the text: the sidebar would make it one."
    home = NBS / "index.ipynb"
    near = {home} | pages(home)
    near |= {path for page in near for path in pages(page)}
    for answer in asked["answers"]:
        path = NBS / answer["page"]
        assert path in near, f"{answer['page']} is more than two clicks from the home page"
        text = below(path, answer["anchor"])
        assert text, f"{answer['page']} has no heading {answer['anchor']}"
        assert answer["says"].lower() in text.lower(), f"{answer['page']}#{answer['anchor']} does not say: {answer['says']}"


def mentions_selbo(path):
    "The first cell of text that speaks of the surrogate, but the title and headings."
    texts = [c.source for c in read(path) if c.cell_type == "markdown" and not c.source.startswith(("# ", "<!-- caption -->"))]
    return next((text for text in texts if re.search(r"\bSELBO\b|surrogate ELBO", prose(re.sub(r"^#.*", "", text, flags=re.M)))), "")


@notebooks
def test_the_surrogate_is_explained_where_it_is_first_mentioned(path):
    "A link in the same cell to the page that says when it helps."
    wanted, text = NBS / "start" / "selbo.ipynb", mentions_selbo(path)
    targets = {(path.parent / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    assert not text or path == wanted or wanted in targets, text[:200]


def test_what_stands_under_a_heading(tmp_path):
    cells = ["# Title\n\n> line", "Lead.", "## One\n\n```sh\n# no heading\n```\n\nfirst", "### Inner\n\ndeep", "## Two\n\nsecond"]
    (tmp_path / "it.ipynb").write_text(json.dumps(made_up(*cells)))
    said = {anchor: below(tmp_path / "it.ipynb", anchor) for anchor in ("", "one", "inner", "two", "three")}
    assert said == {"": "# Title > line Lead.", "one": "## One ```sh # no heading ``` first ### Inner deep", "inner": "### Inner deep", "two": "## Two second", "three": ""}


def test_readme_is_fresh():
    made = make_readme.files()
    kept = {p.relative_to(ROOT).as_posix() for p in (ROOT / make_readme.PICTURES).glob("*")} | {"README.md"}
    stale = [p for p in made.keys() | kept if p not in made or p not in kept or (ROOT / p).read_bytes() != made[p]]
    assert not stale, "run `python .ci/make_readme.py`"


def test_readme_gives_the_two_commands():
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.M)
    assert commands == ["python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/qhn compare",
                        'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && .venv/bin/pytest']


def test_chapters_are_readable_everywhere():
    "In Jupyter and on GitHub too: citations are links, captions stand below figures."
    found = [path.relative_to(ROOT).as_posix() for path, _ in readable.stale()]
    assert not found, "run `python .ci/readable.py`"


def test_equations_are_numbered_in_order_and_found():
    found = list(readable.equations(readable.chapters()))
    assert not found, "\n".join(found)


TAGGED = {"a.ipynb": "$$x \\tag{1}$$ By equation (1), and $$y \\tag{2}$$ equations (1) and (2).", "part/b.ipynb": "[Equation (2)](../a.ipynb#end) and `by (7)`, (3) and $f(4)$."}


@pytest.mark.parametrize("name, old, new, wrong", [
    ("a.ipynb", "", "", []),
    ("a.ipynb", r"\tag{2}", r"\tag{3}", ["a.ipynb numbers its equations 1, 3;", "equation (2) of a.ipynb", "equation (2) of a.ipynb", "a.ipynb numbers equation (3), to which"]),
    ("a.ipynb", r"\tag{2}", r"\tag{1}", ["a.ipynb numbers its equations 1, 1;", "equation (2) of a.ipynb", "equation (2) of a.ipynb"]),
    ("a.ipynb", "By equation (1)", "By (3)", ["a.ipynb refers to equation (3) of a.ipynb"]),
    ("a.ipynb", "equations (1) and (2)", "and no more", []),    # the other chapter refers to the second
    ("part/b.ipynb", "[Equation (2)](../a.ipynb#end)", "equation (2)", ["part/b.ipynb refers to equation (2) of part/b.ipynb"]),
    ("part/b.ipynb", "(2)](../a", "(2)](../c", ["part/b.ipynb refers to equation (2) of c.ipynb"]),
    ("part/b.ipynb", "`by", r"$$z \tag{1}$$ `by", ["part/b.ipynb numbers equation (1), to which no text refers"])])
def test_faults_in_numbers_of_equations_are_found(name, old, new, wrong):
    found = list(readable.equations(TAGGED | {name: TAGGED[name].replace(old, new, 1)}))
    assert len(found) == len(wrong) and all(part in said for part, said in zip(wrong, found)), found


REFS = {"one1": {"author": "Ott, Eva", "year": "1901", "doi": "10.1/a(2)<3>"}, "two2": {"author": "Uhl, Ira and Ott, Eva", "year": "1902", "url": "https://example.org/2"}}
ONE, TWO = "https://doi.org/10.1/a%282%29%3C3%3E", "https://example.org/2"
FIGURES = {"fig-a": 1, "fig-b": 2}


@pytest.mark.parametrize("text, wanted", [
    ("As @one1 says.", f"As [Ott (1901)]({ONE}) says."),
    ("So [@one1].", f"So ([Ott, 1901]({ONE}))."),
    ("So [see @one1; @two2, chapter 3].", f"So (see [Ott, 1901]({ONE}); [Uhl & Ott, 1902]({TWO}), chapter 3)."),
    ("As [figure 7](#fig-b) and [Figure](#fig-a) show.", "As [figure 2](#fig-b) and [Figure 1](#fig-a) show."),
    ("[Figures 5 and 6](#fig-a)", "[Figures 1 and 2](#fig-a)"),
    ("As [@fig-b] and @fig-a show.", "As [figure 2](#fig-b) and [figure 1](#fig-a) show."),
    *[(text, text) for text in (
        "Code: `@one1` and `[figure 9](#fig-a)`.", "```python\n@one1\n[@two2]\n```", "$a @one1$ and $$\n[@one1]\n$$", "[by @one1](https://example.org/@two2)",
        "<https://example.org/@one1>", "me@one1.org", "an @unknown3 and [@unknown3; @one9]", "a [link](#heading), and 2 < 3 > 1", "It costs \\$5, or \\$6.")]])
def test_readable_text(text, wanted):
    assert readable.linked(text, REFS, FIGURES, "it") == wanted == readable.linked(wanted, REFS, FIGURES, "it")


def test_readable_text_names_what_is_missing():
    with pytest.raises(KeyError, match="it refers to fig-c"): readable.linked("[figure 1](#fig-c)", REFS, FIGURES, "it")


def made_up(*cells):
    "A notebook of sources: `(text, whether it draws)` is a code cell, a text alone is Markdown."
    picture = [{"data": {"image/png": "aQ=="}, "metadata": {}, "output_type": "display_data"}]
    def cell(i, source):
        if isinstance(source, str): return {"cell_type": "markdown", "id": f"cell-{i}", "metadata": {}, "source": source.splitlines(True)}
        code = {"cell_type": "code", "execution_count": None, "id": f"cell-{i}", "metadata": {}, "source": source[0].splitlines(True)}
        return code | {"outputs": picture if source[1] else []}
    return {"cells": [cell(i, source) for i, source in enumerate(cells)], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


CHAPTER = made_up("# It\n\n> A line", "See [figure 9](#fig-b), after @one1.",
                  ('#| label: fig-a\n#| fig-cap: "What \\"it\\" is, *so*: [@one1]."\nplot()', True), ("#| fig-cap: Plain, as @two2 has it.\n#| echo: false\nplot()", True),
                  ("#| output: false\n#| fig-cap: unseen\nplot()", True), ("#| hide\n#| fig-cap: unseen\nplot()", True), ("#| fig-cap: not drawn\nplot()", False),
                  ("#| label: fig-b\n#| slow\n#| fig-cap: 'One more'\nplot()", True), "The end.")


def sources(nb): return ["".join(cell["source"]) for cell in nb["cells"]]


def test_readable_notebook():
    "Each figure that is shown has its caption below it, numbered, without YAML's quotes and escapes; nothing else comes or goes."
    made = sources(readable.rewritten(CHAPTER, REFS))
    captions = [text for text in made if text.startswith(readable.CAPTION)]
    assert captions == [f'<!-- caption -->\n<a id="fig-a"></a>**Figure 1.** What "it" is, *so*: ([Ott, 1901]({ONE})).',
                        f"<!-- caption -->\n**Figure 2.** Plain, as [Uhl & Ott (1902)]({TWO}) has it.", '<!-- caption -->\n<a id="fig-b"></a>**Figure 3.** One more']
    assert made[1] == f"See [figure 3](#fig-b), after [Ott (1901)]({ONE})." and [made.index(text) for text in captions] == [3, 5, 10]
    caps = [yaml.safe_load(readable.OPTION.search(text)[1]) for text in made if "fig-cap" in text]
    assert [cap.partition(":")[0] for cap in caps] == ['What "it" is, *so*', "Plain, as [Uhl & Ott (1902)](https", "unseen", "unseen", "not drawn", "One more"]
    rest = [text for text in made if text not in captions]
    assert len(rest) == len(CHAPTER["cells"]) and [text.splitlines()[-1] for text in rest[2:]] == [text.splitlines()[-1] for text in sources(CHAPTER)[2:]]


def test_readable_notebook_again():
    "Writing again changes nothing, and a caption follows its figure; ids are unique and stay. A notebook of the old format has none."
    made = readable.rewritten(CHAPTER, REFS)
    assert readable.rewritten(json.loads(readable.dumped(made)), REFS) == made
    ids = [cell["id"] for cell in made["cells"]]
    assert len(set(ids)) == len(ids) and nbformat.validate(nbformat.from_dict(made)) is None
    moved = made | {"cells": [cell | {"source": ["#| fig-cap: New\n", "plot()"]} if i == 2 else cell for i, cell in enumerate(made["cells"])]}
    again = readable.rewritten(moved, REFS)
    assert sources(again)[3] == "<!-- caption -->\n**Figure 1.** New" and [cell["id"] for cell in again["cells"]] == ids
    old = made_up(("#| fig-cap: One\nplot()", True))
    del old["cells"][0]["id"]
    assert "id" not in readable.rewritten(old, REFS)["cells"][1]


def test_readable_install_line():
    "Of this package alone."
    lines = ["pip install qhn", "pip install git+https://example.org/old/qhn", "pip install mthree", "pip install .", "`pip install qhn`"]
    (made,) = sources(readable.rewritten(made_up("\n".join(["```sh", *lines, "```"])), REFS))
    assert made.splitlines()[1:-1] == [f"pip install {make_readme.install()}"] * 2 + lines[2:]


def test_readable_install_line_with_an_extra():
    "Anywhere in a text, of this package alone, and the same when written again."
    (made,) = sources(readable.rewritten(made_up('An extra: `pip install "qhn[arviz]"`, not `pip install "arviz-stats[xarray]"` or `pip install ".[dev]"`.'), REFS))
    line = f"pip install {make_readme.install(extra='arviz')}"
    assert made == f'An extra: `{line}`, not `pip install "arviz-stats[xarray]"` or `pip install ".[dev]"`.'
    assert readable.installed(made) == made


def test_readable_notebook_refuses_a_label_given_twice():
    twice = made_up(*[("#| label: fig-a\n#| fig-cap: One\nplot()", True)] * 2)
    with pytest.raises(ValueError, match="it gives a label to two figures: fig-a"): readable.rewritten(twice, REFS, "it")


class Shell:
    "What stands for a notebook's shell, and writes down what it is asked to do."
    def __init__(self, name): self.name, self.asked = name, []
    def __str__(self): return f"<{self.name}.Shell object>"
    def run_line_magic(self, name, line): self.asked.append(f"%{name} {line}")
    def system(self, line): self.asked.append(line)


@notebooks
def test_notebook_installs_itself_on_colab(path):
    "Its first cell that holds code, and that cell alone: what settings.ini says there, and nothing elsewhere."
    first, *others = [cell.source for cell in code_cells(path) if not re.fullmatch(r"(#.*\s*)*", cell.source)]
    shells = [Shell("google.colab._shell"), Shell("ipykernel.zmqshell")]
    for shell in shells: exec(first, {"get_ipython": lambda: shell})
    there, here = (shell.asked for shell in shells)
    assert there[0] == f"%pip install -q {make_readme.install(extra='dev')}" and not here
    assert not any("google.colab" in source for source in others)
    if needs_a_checkout(path): assert there[1].startswith("git clone ") and there[2].endswith(f"/{path.parent.relative_to(ROOT).as_posix()}")
    else: assert len(there) == 1


def needs_a_checkout(path):
    "Whether a notebook's code holds the name of a file that lies beside it, or of a folder of tables."
    texts = {node.value for cell in code_cells(path) if not re.match(r"(?:#.*\n|\s)*[%!]", cell.source)
             for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = [path.parent / text for text in texts if re.fullmatch(r"[\w./-]+", text)]
    return any(name.is_file() or [*name.glob("*.csv")] for name in names)


def test_readme_has_neither_caption_cells_nor_their_anchors(tmp_path):
    (tmp_path / "index.ipynb").write_text(json.dumps(readable.rewritten(CHAPTER, REFS)))
    text = make_readme.files(tmp_path / "index.ipynb")["README.md"].decode()
    assert readable.CAPTION not in text and "#fig-" not in text and text.count("One more") == 1 and "See figure 3, after [Ott (1901)]" in text


def test_home_page_installs_what_the_settings_say():
    "The repository, until there is a release."
    line = f"pip install {make_readme.install()}"
    assert re.findall(r"^pip install .*$", markdown(NBS / "index.ipynb"), re.M) == [line] == re.findall(r"^pip install .*$", (ROOT / "README.md").read_text(), re.M)


@pytest.mark.parametrize("said, wanted", [("", "git+https://example.org/p"), ("released = False\n", "git+https://example.org/p"), ("released = True\n", "toy")])
def test_install_line(tmp_path, said, wanted):
    (tmp_path / "settings.ini").write_text(f"[DEFAULT]\nlib_name = toy\ngit_url = https://example.org/p\n{said}")
    assert make_readme.install(tmp_path) == wanted
    assert make_readme.install(tmp_path, "more") == ('"toy[more]"' if wanted == "toy" else f'"toy[more] @ {wanted}"')
