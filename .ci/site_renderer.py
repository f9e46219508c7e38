"""How the site shows what the package exports: signatures and fields as they stand in the source, and one line for each public method.

nbdev would print live objects: addresses of functions, JAX's inner names, the `*args` of a NamedTuple. settings.ini names what stands here
(`renderer`, `procs`), and the command that stages the site puts this folder on PYTHONPATH. The package does not ship it.
"""
import ast
import dataclasses
import inspect
import re
from copy import deepcopy
from functools import lru_cache
from textwrap import dedent

from nbdev.config import get_config
from nbdev.process import Processor
from nbdev.showdoc import BasicMarkdownRenderer


@lru_cache
def definitions() -> list:  # (syntax tree, the lines of its file, the file from the top of the repository)
    "Every function and class of the package, in subpackages too."
    found, cfg = [], get_config()
    for path in sorted(cfg.lib_path.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tops = [node for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        found += [(node, text.splitlines(), path.relative_to(cfg.config_path).as_posix()) for node in tops]
    return found


def definition(symbol):  # None if the package does not define it
    "A symbol's entry of `definitions`. The docstring decides between two of one name: a notebook's own symbols know no module."
    home, name = (getattr(symbol, "__module__", None) or "").partition(".")[0], getattr(symbol, "__qualname__", None)
    if home not in ("__main__", get_config().lib_path.name): return None
    named = [found for found in definitions() if found[0].name == name]
    text = inspect.cleandoc(symbol.__doc__ or "")
    return next((found for found in named if ast.get_docstring(found[0]) == text), named[0] if named else None)


def heading(node, lines) -> str:
    "The source of a function up to its body: parameters with their comments."
    first = node.body[0]
    written = lines[node.lineno - 1:first.lineno]
    written[-1] = written[-1].encode()[:first.col_offset].decode()
    return dedent("\n".join(written)).rstrip()


def fields(node, lines):  # name, line
    "The fields of a class, a line each, with their comments."
    for field in (part for part in node.body if isinstance(part, ast.AnnAssign)):
        comment = lines[field.end_lineno - 1].encode()[field.end_col_offset:].decode().strip()
        yield field.target.id, f"    {ast.unparse(field)},  {comment}".rstrip()


def parents(cls) -> list:  # of entries of `definitions`
    "The class itself and those of its bases that the package defines, nearest first."
    return list(filter(None, map(definition, cls.__mro__)))


def signature(cls) -> str:
    "How an object of the class is made: the parameters of its `__init__`, or its fields, those of its bases first."
    made = [(part, lines) for node, lines, _ in parents(cls) for part in node.body if getattr(part, "name", "") == "__init__"]
    if made: return re.sub(r"^def __init__\(\s*self,? ?", f"class {cls.__name__}(", heading(*made[0])).rstrip(":")
    held = dict(field for node, lines, _ in reversed(parents(cls)) for field in fields(node, lines))
    if dataclasses.is_dataclass(cls): held = {name: held[name] for name in inspect.signature(cls).parameters}  # a base may declare more
    return "\n".join([f"class {cls.__name__}(", *held.values(), ")"]) if held else f"class {cls.__name__}()"


def methods(cls) -> str:
    "One line for each public method and property, each with the anchor that nbdev's links expect."
    found = {}
    for node, lines, _ in parents(cls):
        for part in (part for part in node.body if isinstance(part, ast.FunctionDef)): found.setdefault(part.name, (part, lines))
    return "\n".join(entry(cls, *part) for name, part in found.items() if name[0] != "_" or name == "__call__")


def entry(cls, method, lines) -> str:
    "A method as a line of a list. The dot keeps nbdev from linking its name to a function of the same name."
    last = lines[method.end_lineno - 1].encode()[method.end_col_offset:].decode()    # behind a body of one line
    comment = re.search(r"(?<=[:\s])#\s*(.*)$", heading(method, lines)) or re.match(r"\s*#\s*(.*)$", last)    # of what it returns
    says = (ast.get_docstring(method) or (comment[1] if comment else "")).partition("\n")[0]
    parameters = deepcopy(method.args)
    for parameter in ast.walk(parameters):
        if isinstance(parameter, ast.arg): parameter.annotation = None
    given = "(" + re.sub(r"^(self|cls)(, )?", "", ast.unparse(parameters)) + ")"
    if any("property" in ast.unparse(decorator) for decorator in method.decorator_list): given = ""
    shown = (cls.__name__ + "()" if method.name == "__call__" else "." + method.name) + given
    return f"- [`{shown}`]{{#{cls.__name__.lower()}.{method.name}}}{says and ': ' + plain(says)}"


def plain(text) -> str:
    "A docstring says `2*n` and means it: outside code a star is a star."
    return re.sub(r"(`[^`]*`)|\*", lambda found: found[1] or r"\*", text)


class Renderer(BasicMarkdownRenderer):
    "An entry of the site: heading, link to the source, signature, docstring, methods. What the package does not define is nbdev's to show."
    def __init__(self, sym, name=None, title_level=3):
        self.found = definition(sym)
        if self.found is None: super().__init__(sym, name=name, title_level=title_level)
        else: self.sym, self.nm, self.title_level = sym, name or self.found[0].name, title_level    # it would evaluate annotations as well

    def _repr_markdown_(self):
        if self.found is None: return super()._repr_markdown_()
        (node, lines, path), cfg = self.found, get_config()
        is_class = isinstance(node, ast.ClassDef)
        shown = (signature(self.sym) if is_class else heading(node, lines)).replace("`", "")    # nbdev links what stands in backticks
        link = f"[source]({cfg.git_url}/blob/{cfg.branch}/{path}#L{node.lineno})"
        first, _, rest = plain(ast.get_docstring(node) or "").partition("\n")
        block = f'<div class="signature">\n\n```python\n{shown}\n```\n\n</div>'    # nbs/styles.css knows the class
        parts = ["---", link + '{target="_blank" style="float:right; font-size:smaller"}', "#" * self.title_level + " " + self.nm,
                 block, first and f"*{first}*", rest.strip(), methods(self.sym) if is_class else ""]
        return "\n\n".join(filter(None, parts)) + "\n"

    __repr__ = __str__ = _repr_markdown_


class EntriesFirst(Processor):
    "Each exported cell's entries above its source, in the order of definition. nbdev moves one of several, and turns the others round."
    def begin(self):
        cells = self.nb.cells
        for cell in [cell for cell in cells if cell.cell_type == "code" and "exports" in cell.directives_]:
            end = cell.idx_ + 1
            while end < len(cells) and getattr(cells[end], "has_sd", False): end += 1
            cells[cell.idx_:end] = [*reversed(cells[cell.idx_ + 1:end]), cell]
