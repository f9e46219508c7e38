"""What the site's pages have that the notebooks do not: processors that settings.ini names (`procs`), and pages made when the site is staged.

nbdev runs `nbs/api.qmd.py` and `nbs/llms.txt.py`, and stages what they print. So nothing here can be older than the notebooks.
"""
import ast
import json
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import yaml
from execnb.nbio import mk_cell
from nbdev.config import get_config
from nbdev.frontmatter import _md2dict
from nbdev.process import Processor

from make_readme import CAPTION, cite, install, references
from site_renderer import plain


class CaptionsOnce(Processor):
    "Without the captions that .ci/readable.py wrote below the figures: Quarto sets them itself, and numbers each figure that has a label."
    def begin(self): self.number = 0

    def cell(self, cell):
        if cell.cell_type == "markdown" and cell.source.startswith(CAPTION): cell.source = None
        elif cell.cell_type == "code" and re.search(r"^#\|\s*fig-cap:", cell.source, re.M): self.label(cell)

    def label(self, cell):
        self.number += 1
        if not re.search(r"^#\|\s*label:", cell.source, re.M): cell.source = f"#| label: fig-number-{self.number}\n{cell.source}"


class Head(Processor):
    "A description for search engines, the list of what the page cites, and below the title a line of links: run it, take it, its version."
    def begin(self):
        text = "\n".join(cell.source for cell in self.nb.cells)
        said = self.nb.frontmatter_ | {"description-meta": bare(self.nb.frontmatter_["description"])}
        cited = [f"@{key}" for key, reference in references().items() if cite(reference).partition("](")[2] in text]
        if cited: said["nocite"] = ", ".join(cited)
        self.nb.cells[0].source = f"---\n{yaml.safe_dump(dict(said), allow_unicode=True, width=1000)}---\n"
        self.nb.cells.insert(1, mk_cell(links(Path(self.nb.path_)), "markdown"))


def bare(text) -> str:
    "A line of Markdown without its marks."
    return re.sub(r"[`*$\\]", "", re.sub(r"\[([^][]*)\]\([^)]*\)", r"\1", text))


def links(path) -> str:
    "The line below a page's title. A browser saves what has the attribute `download`, if it comes from the site itself: see `beside_pages`."
    cfg = get_config()
    path = path.resolve()
    repository, file = cfg.git_url.removeprefix("https://github.com/"), quote(path.relative_to(cfg.config_path).as_posix())
    colab = f"https://colab.research.google.com/github/{repository}/blob/{cfg.branch}/{file}"
    copy = f"{cfg.doc_host}{cfg.doc_baseurl}/{quote(path.relative_to(cfg.nbs_path).as_posix())}"
    return f'::: {{.run}}\n[Run in Colab]({colab}) · [Download]({copy}){{download="{path.name}"}} · version {cfg.version}\n:::'


def beside_pages(site):
    "Copy each notebook into the rendered site, beside its page."
    for _, name, *_ in books(): shutil.copy(get_config().nbs_path / name, Path(site) / name)


def books():
    "Path from nbs/, title, one line and module of every notebook, in the order of the sidebar."
    cfg = get_config()
    site = yaml.safe_load((cfg.nbs_path / "_quarto.yml").read_text(encoding="utf-8"))["website"]
    for section, name in listed(site["sidebar"]["contents"]):
        if not name.endswith(".ipynb"): continue
        cells = json.loads((cfg.nbs_path / name).read_text(encoding="utf-8"))["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
        said = _md2dict(next(source for kind, source in sources if kind == "markdown"))
        module = next((found[1] for kind, source in sources if (found := re.match(r"#\|\s*default_exp\s+(\S+)", source))), None)
        yield section, name, said["title"], said["description"], module


def listed(contents, section=""):
    "Section and name of the sidebar's pages, without its links into pages."
    for entry in contents:
        if isinstance(entry, dict): yield from listed(entry.get("contents", ()), entry.get("section"))
        else: yield section, entry


def first_lines(module) -> dict:
    "Name -> first line of the docstring, of what a module defines."
    path = get_config().lib_path / (module.replace(".", "/") + ".py")
    nodes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return {node.name: (ast.get_docstring(node) or "").partition("\n")[0] for node in nodes}


def face() -> dict:
    "Public name -> module: the table in qhn/__init__.py, which nbs/face.ipynb writes."
    tree = ast.parse((get_config().lib_path / "__init__.py").read_text(encoding="utf-8"))
    def table(node): return isinstance(node, (ast.Assign, ast.AugAssign)) and "_NAMES" in ast.unparse(node).partition("=")[0]
    tables = [ast.literal_eval(node.value) for node in tree.body if table(node)]
    return {name: module for found in tables for module, names in found.items() for name in names.split()}


def api() -> str:
    "The index of public names, as a table in Markdown: name, what it is, the chapter that defines it."
    cfg = get_config()
    pages = {module: (name, title) for _, name, title, _, module in books() if module}
    homes = face()
    rows = ["| name | what it is | chapter |", "|:---|:------|:---|"]
    for name in sorted(homes, key=str.lower):
        page, title = pages[homes[name]]
        says = plain(re.sub(r"\s*`\w*(?:Error|Interrupt)`.*", "", first_lines(homes[name])[name])).replace("|", r"\|")
        rows.append(f"| [`{name}`]({page}#{name.lower()}) | {says} | [{title}]({page}) |")
    return f"All names are those of `import {cfg.lib_name}`, version {cfg.version}.\n\n" + "\n".join(rows)


def llms() -> str:
    "What the site holds, for programs that read it: https://llmstxt.org."
    cfg = get_config()
    parts, last = [f"# {cfg.title}\n\n> {cfg.description}"], None
    for section, name, title, line, _ in books():
        if section != last: parts.append(f"\n## {section or 'Pictures and files'}\n" if section or last is not None else "")
        last = section
        parts.append(f"- [{title}]({cfg.doc_host}{cfg.doc_baseurl}/{name.removesuffix('.ipynb')}.html): {bare(line)}")
    return "\n".join(parts)


if __name__ == "__main__": beside_pages(sys.argv[1])
