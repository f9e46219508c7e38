"""The installed package holds qhn and nothing else, imports only what it declares, and is what the notebooks export."""
import ast
import html
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from nbconvert.filters import markdown2html

import qhn

ROOT = Path(__file__).parent.parent
MODULES = sorted(p for p in (ROOT / "qhn").rglob("*.py") if p.name not in ("_modidx.py", "__main__.py"))


def name_of_module(path):
    "`problem.datasets` for qhn/problem/datasets.py, `__init__` for qhn/__init__.py."
    return ".".join(path.relative_to(ROOT / "qhn").with_suffix("").parts)


modules = pytest.mark.parametrize("path", MODULES, ids=name_of_module)
PROVIDES = {"version": "version", "description": "description", "keywords": "keywords", "license": "license", "authors": "author",
            "readme": "long_description", "classifiers": "classifiers", "urls": "project_urls", "dependencies": "install_requires",
            "optional-dependencies": "extras_require", "scripts": "entry_points", "entry-points": "entry_points"}


@pytest.fixture
def settings():
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


@pytest.fixture
def setup(monkeypatch):
    "What setup.py hands to setuptools."
    given = {}
    monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=lambda **kw: given.update(kw)))
    runpy.run_path(str(ROOT / "setup.py"))
    return given


def name_of(requirement): return re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")


def imported(path):
    "The modules that a file imports, wherever in it."
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import): yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[:-node.level] if node.level else ()
            module = ".".join([*package, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from names if (ROOT / module.replace(".", "/")).is_dir() else [module]


def chapters(contents):
    "The notebooks of the sidebar in their order, those of its sections too."
    for entry in contents:
        if isinstance(entry, dict): yield from chapters(entry.get("contents", ()))
        else: yield entry


def reading_order():
    "Module name -> its place in the sidebar."
    contents = yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["sidebar"]["contents"]
    texts = [(ROOT / "nbs" / name).read_text() for name in chapters(contents) if name.endswith(".ipynb")]
    exports = [re.search(r"#\|\s*default_exp\s+([\w.]+)", text) for text in texts]
    return {m[1]: i for i, m in enumerate(exports) if m}


def test_only_qhn_is_packaged(setup):
    folders = {path.parent.relative_to(ROOT) for path in MODULES}
    assert set(setup["packages"]) == {".".join(folder.parts) for folder in folders}, "a part without an __init__.py would be left out"


def test_types_are_for_users_too(setup):
    "PEP 561: the marker is there, and goes with the package."
    assert setup["package_data"] == {"qhn": ["py.typed"]} and (ROOT / "qhn" / "py.typed").is_file()


def test_setup_provides_what_pyproject_calls_dynamic(setup):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dynamic"]) == PROVIDES.keys()
    assert all(setup[field] for field in PROVIDES.values())
    assert setup["entry_points"]["console_scripts"] == ["qhn=qhn.cli:main"]


def test_readme_of_the_package_points_into_the_repository(setup, settings):
    "Every link and picture, as a Markdown renderer sees them, leads to a file that this version has; code is left alone."
    text = setup["long_description"]
    shown = html.unescape(markdown2html(text))
    links = re.findall(r'(?:href|src)="([^"]+)"', shown)
    mine = [link for link in links if link.startswith(settings["git_url"] + "/")]
    assert all(re.match(r"https?://|#|mailto:", link) for link in links) and len(mine) > 20
    for link in mine:
        kind, tag, path = link.removeprefix(settings["git_url"] + "/").split("/", 2)
        assert (kind, tag) == ("raw" if path.endswith(".png") else "blob", f"v{settings['version']}") and (ROOT / path.partition("#")[0]).is_file(), link
    assert re.findall(r"^```.*?^```", text, re.M | re.S) == re.findall(r"^```.*?^```", (ROOT / "README.md").read_text(), re.M | re.S)


def test_source_archive_holds_what_setup_reads():
    assert "settings.ini" in (ROOT / "MANIFEST.in").read_text()


def test_citation_is_of_this_version(settings):
    "The keys that the Citation File Format 1.2.0 requires, and what settings.ini says as well."
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["cff-version"] == "1.2.0" and cited["title"] == f"{settings['lib_name']}: {settings['description']}"
    assert [author["name"] for author in cited["authors"]] == [settings["author"]]
    assert (cited["version"], cited["license"], cited["repository-code"]) == (settings["version"], settings["license"], settings["git_url"])
    assert cited["keywords"] == settings["keywords"].split() and cited["url"] == settings["doc_host"] + settings["doc_baseurl"]


def test_one_version(setup, settings):
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert qhn.__version__ == setup["version"] == settings["version"] == latest


@modules
def test_imports_are_declared(path, settings):
    kinds = [kind for kind in settings if kind.endswith("requirements") and not kind.startswith(("dev", "bench"))]    # the package's own, and its extras
    declared = {name_of(r) for kind in kinds for r in settings[kind].split()}
    provided = packages_distributions()
    for top in {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names - {"qhn"}:
        assert declared & {d.lower().replace("_", "-") for d in provided[top]}, f"{top} is not among the requirements of settings.ini"


@modules
def test_imports_point_up_the_reading_order(path):
    place, name = reading_order(), name_of_module(path)
    used = {module.removeprefix("qhn.") for module in imported(path) if module.startswith("qhn.")}
    above = {m for m in place if name in place and place[m] < place[name]}
    assert used <= (set() if name == "plots" else above)


def test_every_module_has_a_notebook():
    "The mark of a part, an `__init__.py` that holds nothing, needs none."
    marks = {path for path in MODULES if path.name == "__init__.py" and not path.read_text().strip()}
    assert {name_of_module(path) for path in MODULES if path not in marks} == reading_order().keys()


def test_import_needs_no_development_tool_and_leaves_jax_alone():
    code = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {{'nbdev', 'fastcore', 'execnb', 'ghapi', 'nbformat', 'nbconvert', 'pytest', 'hypothesis'}}: raise ImportError(name)
sys.meta_path.insert(0, Absent())
for name in {[name_of_module(path) for path in MODULES if path.stem != "__init__"]}: importlib.import_module('qhn.' + name)
import jax
assert not jax.config.jax_enable_x64, 'x64 is the user\\'s choice'
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_notebooks_are_clean_and_exported(tmp_path):
    "What nbdev_export and nbdev_clean would write is what stands here."
    for name in ("settings.ini", "pyproject.toml"): shutil.copy(ROOT / name, tmp_path)
    for name in ("nbs", "qhn"): shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    code = ("from nbdev.doclinks import nbdev_export; from nbdev.clean import nbdev_clean; "
            "nbdev_export.__wrapped__(); nbdev_clean.__wrapped__()")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    written = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.suffix in (".py", ".ipynb", ".toml")]
    stale = [p.as_posix() for p in written if not (ROOT / p).is_file() or (ROOT / p).read_bytes() != (tmp_path / p).read_bytes()]
    assert not stale, "run nbdev_export and nbdev_clean, and commit what they write"


def bounds(path): return dict(line.split("==") for line in path.read_text().splitlines() if not line.startswith("#"))
def numbers(version): return [int(part) for part in version.split(".")]


@pytest.mark.parametrize("name", ["lowest", "newest"])
def test_constraints_are_those_of_the_settings(name, settings):
    "The lowest are the bounds themselves, whatever zeros stand at their end; the newest are no lower."
    held = bounds(ROOT / "tests" / f"constraints-{name}.txt")
    asked = dict(re.match(r"([\w-]+)>=([\d.]+)", requirement).groups() for requirement in settings["requirements"].split())
    assert held.keys() == asked.keys()
    for package, least in asked.items():
        ours = numbers(held[package])
        wanted = numbers(least) + [0] * (len(ours) - len(numbers(least)))
        assert ours == wanted if name == "lowest" else ours >= wanted, package


def test_the_second_set_of_versions_keeps_the_bounds(settings):
    asked = {name_of(requirement): requirement for requirement in settings["requirements"].split()}
    lines = [line for line in (ROOT / "tests" / "requirements-newest-qiskit.txt").read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        if name_of(line) in asked and "==" not in line: assert line == asked[name_of(line)]
