"""The pages as they are published: what nbdev stages for Quarto, and how wide it is in a browser. Tests of the notebooks see none of this."""
import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

import qhn
import rendered
import test_site as site

fcntl = pytest.importorskip("fcntl")    # a lock between the workers of a run
ROOT, NBS, notebooks = site.ROOT, site.NBS, site.notebooks
STAGE = "import nbdev.quarto as q; q._ensure_quarto = lambda: None; q.nbdev_proc_nbs.__wrapped__(n_workers=0)"    # without its download of Quarto
BROWSERS = ("google-chrome", "chromium", "chromium-browser")


@pytest.fixture(scope="session")
def staged(tmp_path_factory):
    "The folder of staged notebooks, made once for all workers of a test run."
    base = tmp_path_factory.getbasetemp()
    top = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "staged"
    with open(top.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (top / "_proc" / "done").exists(): stage(top)
    return top / "_proc"


def stage(top):
    shutil.rmtree(top, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in (".ci", "nbs", "qhn"): shutil.copytree(ROOT / name, top / name, ignore=ignore)
    for name in ("settings.ini", "pyproject.toml"): shutil.copy(ROOT / name, top)
    subprocess.run([sys.executable, top / ".ci" / "readable.py"], cwd=top, check=True)
    path = os.pathsep.join([str(top), str(top / ".ci")])
    done = subprocess.run([sys.executable, "-c", STAGE], cwd=top, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode: pytest.fail(f"staging failed:\n{done.stderr[-3000:]}", pytrace=False)
    (top / "_proc" / "done").touch()


def page(staged, path): return nbformat.v4.reads((staged / path.relative_to(NBS)).read_text(encoding="utf-8")).cells


def entries(cells):
    "The name and the Markdown of each entry of the API."
    for cell in cells:
        name = re.search(r"^show_doc\((.*)\)", cell.source, re.M) if cell.cell_type == "code" else None
        if name: yield name[1], cell.outputs[0].data["text/markdown"]


def fences(text): return re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S)


def exported(path, name):
    "What the package exports under a name that a notebook documents."
    module = re.search(r"#\|\s*default_exp\s+([\w.]+)", path.read_text(encoding="utf-8"))[1]
    return getattr(importlib.import_module(f"qhn.{module}"), name)


def ours(cls): return [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "qhn"]


def parameters(symbol):
    "The names with which a symbol is called or made, from the imported package."
    made = not inspect.isclass(symbol) or any({"__init__", "_fields"} & vars(base).keys() for base in ours(symbol))
    if made and not getattr(symbol, "_is_protocol", False): return list(inspect.signature(symbol).parameters)
    return [name for base in reversed(ours(symbol)) for name in inspect.get_annotations(base)]


@notebooks
def test_entries_are_plain_text(staged, path):
    "No live object, no link in code, no inner name of JAX."
    for name, text in entries(page(staged, path)):
        assert name[0] != "_", f"{name} is private and has an entry"
        for code in fences(text):
            found = re.findall(r"0x[0-9a-f]{4,}|\]\(http|__main__|jaxlib|jax\._src|<\w+[^>]* at |<function|<class|`", code)
            assert not found, f"{name}: {found} in\n{code}"


@notebooks
def test_pages_hold_no_address_of_an_object(staged, path):
    outputs = [str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for c in page(staged, path) for o in c.get("outputs", [])]
    assert not re.findall(r" at 0x[0-9a-f]{4,}|__main__", "\n".join(outputs))


@notebooks
def test_signatures_are_those_of_the_package(staged, path):
    "Each parses, and names the parameters that Python knows: `inspect` is the oracle."
    for name, text in entries(page(staged, path)):
        code, symbol = fences(text)[0], exported(path, name)
        if inspect.isclass(symbol): code = code.strip().replace("class ", "def ", 1) + ("" if "(" in code else "()") + ":"
        parsed = ast.parse(code + " ...").body[0]
        found = parsed.args
        named = [arg.arg for arg in [*found.posonlyargs, *found.args, found.vararg, *found.kwonlyargs, found.kwarg] if arg]
        assert (parsed.name, named) == (name, parameters(symbol)), text


@notebooks
def test_public_methods_are_listed(staged, path):
    for name, text in entries(page(staged, path)):
        symbol = exported(path, name)
        if not inspect.isclass(symbol): continue
        members = {key: value for base in reversed(ours(symbol)) for key, value in vars(base).items() if key[0] != "_" or key == "__call__"}
        public = {key for key, value in members.items() if isinstance(value, property) or hasattr(value, "func") or getattr(value, "__name__", "") == key}
        listed = re.findall(r"^- \[`[^`]*`\]\{#[^}]*\.(\w+)\}", text, re.M)
        assert sorted(listed) == sorted(public - set(getattr(symbol, "_fields", ()))), name


@notebooks
def test_first_lines_hold_no_stars(staged, path):
    "`2**n` breaks the italics in which nbdev sets a docstring: write 2ⁿ."
    for name, text in entries(page(staged, path)):
        lines = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S).replace("\\", "").splitlines()
        assert not [line for line in lines if "2**" in line], name


@notebooks
def test_anchors_are_unique(staged, path):
    "A heading that is also an exported name would take that entry's anchor. A class and a function of one name in small letters share one."
    cells = page(staged, path)
    text, api = "\n\n".join(c.source for c in cells if c.cell_type == "markdown"), dict(entries(cells))
    found = [site.pandoc_id(heading) for heading in site.headings(text)] + list({name.lower() for name in api})
    found += re.findall(r"\]\{#([^}\s]+)", "\n".join(api.values()))
    assert len(found) == len(set(found)), f"twice on the page: {sorted(a for a in set(found) if found.count(a) > 1)}"


@notebooks
def test_entries_stand_above_their_source(staged, path):
    "In the order of the notebook, and each before the cell that defines it."
    cells, seen = page(staged, path), []
    for cell in cells:
        name = re.search(r"^show_doc\((.*)\)", cell.source, re.M)
        if name: seen.append(name[1])
        elif "Exported source" in cell.source:
            defined = [node.name for node in ast.parse(cell.source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"]
            assert seen[len(seen) - len(defined):] == defined


@notebooks
def test_captions_stand_once(staged, path):
    "Quarto writes them, with numbers for figures that have labels; what refers to a figure finds it. Citations in captions are links."
    cells = page(staged, path)
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    figures = [site.directives(c) for c in cells if c.cell_type == "code" and "fig-cap" in site.directives(c)]
    labels = [said.get("label", "") for said in figures]
    assert site.readable.CAPTION not in text
    assert all(label.startswith("fig-") for label in labels) and len(set(labels)) == len(labels)
    assert set(re.findall(r"\]\(#(fig-[\w-]+)\)", text)) <= set(labels)
    for said in figures: assert not set(site.make_readme.CITATION.findall(said["fig-cap"])) & site.make_readme.references().keys()


@notebooks
def test_head_of_a_page(staged, path):
    "Title and description, and a line of links: to Colab, to a copy of the notebook, with the version."
    raw, line = page(staged, path)[:2]
    front = yaml.safe_load(raw.source.strip().strip("-"))
    title, said = re.fullmatch(r"# ([^\n]+)\n\n> ([^\n]+)\n*", next(c.source for c in site.read(path) if c.cell_type == "markdown")).groups()
    assert (raw.cell_type, front["title"], front["description"]) == ("raw", title, said)
    assert front["description-meta"] and not re.search(r"[`*$]|\]\(", front["description-meta"])
    cfg = site.make_readme.settings()
    file = f"qhn-developers/qhn/blob/{cfg['branch']}/nbs/{path.relative_to(NBS).as_posix()}"
    copy = f"{cfg['doc_host']}{cfg['doc_baseurl']}/{path.relative_to(NBS).as_posix()}"
    assert f"(https://colab.research.google.com/github/{file})" in line.source and f"version {cfg['version']}" in line.source
    assert f'({copy}){{download="{path.name}"}}' in line.source
    assert "google.colab" not in "".join(cell.source for cell in page(staged, path)), "the cell for Colab is shown"


def test_what_a_page_offers_to_download(staged, tmp_path):
    "Lies in the rendered site, as it is in the repository."
    for path in site.NOTEBOOKS: (tmp_path / path.relative_to(NBS)).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, staged.parent / ".ci" / "site_pages.py", tmp_path], cwd=staged.parent, check=True)
    copies = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.ipynb")}
    assert copies == {path.relative_to(NBS): path.read_bytes() for path in site.NOTEBOOKS}


@notebooks
def test_what_a_page_cites_is_listed(staged, path):
    "Pandoc writes the list of references from the keys that the head names."
    cells = page(staged, path)
    named = yaml.safe_load(cells[0].source.strip().strip("-")).get("nocite", "")
    text = "\n".join(c.source for c in cells[1:])
    linked = [key for key, reference in site.make_readme.references().items() if site.make_readme.cite(reference).partition("](")[2] in text]
    assert re.findall(r"@([\w:-]+)", named) == linked


def test_index_of_names(staged):
    "Every public name, once, with the page and the entry that define it, and what it is."
    rows = re.findall(r"^\| \[`(\w+)`\]\(([\w/]+\.ipynb)#([\w]+)\) \| (.+) \| \[([^]]+)\]\(([\w/]+\.ipynb)\) \|$", (staged / "api.qmd").read_text(encoding="utf-8"), re.M)
    assert [row[0] for row in rows] == sorted(qhn.__all__, key=str.lower)
    for name, where, anchor, says, title, link in rows:
        path = NBS / where
        assert link == where and title == site.headings(site.markdown(path))[0] and anchor == name.lower() in site.documented(path)
        assert inspect.getdoc(getattr(qhn, name)).startswith(says.replace("\\", "")), name
    front = yaml.safe_load((staged / "api.qmd").read_text(encoding="utf-8").split("---")[1])
    assert front["title"] == "Index of names" and front["description"]


def test_list_for_programs(staged):
    "llms.txt names every page, with its line."
    text = (staged / "llms.txt").read_text(encoding="utf-8")
    found = re.findall(r"^- \[[^]]+\]\(https://qhn-developers\.github\.io/qhn/([\w/]+)\.html\): .+$", text, re.M)
    assert sorted(found) == sorted(path.relative_to(NBS).with_suffix("").as_posix() for path in site.NOTEBOOKS) and text.startswith("# qhn\n\n> ")
    assert (staged / "404.qmd").is_file() and (staged / "favicon.svg").is_file()


@pytest.mark.chromium
def test_pages_fit_the_window(staged, tmp_path):
    "On a telephone and on a desk: no page scrolls sideways, nothing juts out of its column, no table of words has to be scrolled, no image is missing."
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium and "QHN_NEEDS_CHROMIUM" in os.environ: pytest.fail("no Chromium was found, and QHN_NEEDS_CHROMIUM asks for one")
    if not chromium: pytest.skip("no Chromium was found: the width of the pages is not tested")
    styles = (NBS / "styles.css").read_text(encoding="utf-8")
    pages = {path.relative_to(NBS).as_posix(): rendered.page(page(staged, path), styles) for path in site.NOTEBOOKS}
    index = nbformat.v4.new_markdown_cell((staged / "api.qmd").read_text(encoding="utf-8").split("---\n", 2)[2])
    pages["api.qmd"] = rendered.page([index], styles)
    found = rendered.measure(pages, (390, 1280), chromium, tmp_path)
    drawn = sum("image/png" in o.get("data", {}) for path in site.NOTEBOOKS for c in page(staged, path) for o in c.get("outputs", []))
    assert len(found) == 2 * len(pages) and sum(look["images"] for look in found) >= 2 * drawn
    wrong = [f"{look['name']} at {look['width']} pixels: {look['scroll']} wide, {look['wide']}, cut {look['cut']}, missing {look['missing']}"
             for look in found if look["scroll"] != look["width"] or look["wide"] or look["cut"] or look["missing"]]
    assert not wrong, "\n".join(wrong)
    (home,) = [look for look in found if (look["name"], look["width"]) == ("index.ipynb", 1280)]
    head = 150    # Quarto's bar, the title and the line below it
    assert home["lines"][1] + head < 900 and sum(home["picture"]) / 2 + head < 900, "the home page's lines and picture are not on the first screen"


def test_renderer_finds_sources_in_subpackages(tmp_path):
    "And shows text of the source: the names of defaults, the comments of fields, what is inherited, stars as stars."
    inner = tmp_path / "toy" / "sub"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent): (folder / "__init__.py").touch()
    (inner / "deep.py").write_text('''
from dataclasses import dataclass
import math

@dataclass
class Base:
    "What both have."
    f: object = math.sin   # a function

    def shared(self, x: "absent.Type", *, y=math.cos):
        "Known to `all`."

@dataclass
class Thing(Base):
    "The 2*n of it."
    n: int = 3   # some

    @property
    def half(self): return self.n / 2
''')
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nlib_name = toy\nlib_path = toy\nnbs_path = .\nbranch = main\ngit_url = https://example.org/toy\nrenderer = site_renderer.Renderer\n")
    code = "from nbdev.showdoc import show_doc; from toy.sub.deep import Thing; print(show_doc(Thing)._repr_markdown_())"
    path = os.pathsep.join([str(tmp_path), str(ROOT / ".ci")])
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True).stdout
    assert "(https://example.org/toy/blob/main/toy/sub/deep.py#L14)" in shown
    assert fences(shown) == ["class Thing(\n    f: object = math.sin,  # a function\n    n: int = 3,  # some\n)\n"]
    assert re.search(r'<div class="signature">\n\n```python\n.*?\n```\n\n</div>', shown, re.S)    # which styles.css lets scroll
    assert r"*The 2\*n of it.*" in shown and "- [`.half`]{#thing.half}\n" in shown
    assert "- [`.shared(x, *, y=math.cos)`]{#thing.shared}: Known to `all`.\n" in shown
