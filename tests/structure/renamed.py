"""Every public name that has moved or gone since an earlier commit, as a table for the changelog.

    python tests/structure/renamed.py b4edf4e

Names are those of the `__all__`s that nbdev writes, the public methods and fields of their classes, and the arguments of functions and
methods, as `fit(data)`. What has a new name shows as gone and as new: which of the new ones it became, only a reader knows.
"""
import argparse
import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def then(commit):
    "Path and text of every module as it was at a commit."
    def git(*command): return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in git("ls-tree", "-r", "--name-only", commit, "qhn").splitlines():
        if path.endswith(".py"): yield Path(path), git("show", f"{commit}:{path}")


def now():
    "Path and text of every module as it is."
    for path in sorted((ROOT / "qhn").rglob("*.py")): yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def public(modules):
    "Public name -> its modules; members of its classes as `Class.member`, arguments as `function(argument)`."
    found = {}
    for path, text in modules:
        if path.name in ("__init__.py", "_modidx.py"): continue
        body = ast.parse(text).body
        lists = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
        names = ast.literal_eval(lists[0]) if lists else []
        inner = [part for node in body if name_of(node) in names for part in parts(node, name_of(node))]
        for name in dict.fromkeys([*names, *inner]): found.setdefault(name, []).append(".".join(path.with_suffix("").parts))
    return found


def name_of(node): return node.target.id if isinstance(node, ast.AnnAssign) else getattr(node, "name", "_")


def parts(node, name):
    "The arguments of a function; the public methods, properties and fields of a class, with the arguments of methods."
    if isinstance(node, ast.FunctionDef):
        every = [argument for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]
        yield from (f"{name}({argument.arg})" for argument in every if argument.arg not in ("self", "cls"))
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        if name_of(part)[0] == "_": continue
        yield f"{name}.{name_of(part)}"
        yield from parts(part, f"{name}.{name_of(part)}")


def owner(name): return name.rpartition("(" if "(" in name else ".")[0]


def changes(before, after):
    "Names that moved, as (name, old modules, new modules); gone; and new. What belongs to a name goes and comes with it, untold."
    moved = [(name, before[name], after[name]) for name in before if not owner(name) and name in after and before[name] != after[name]]
    gone = [name for name in before if name not in after and (not owner(name) or owner(name) in after)]
    new = [name for name in after if name not in before and (not owner(name) or owner(name) in before)]
    return sorted(moved), sorted(gone), sorted(new)


def table(before, after):
    "Markdown: what moved, grouped by way, and what is gone or new."
    moved, gone, new = changes(before, after)
    ways = {}
    for name, old, fresh in moved: ways.setdefault((", ".join(old), ", ".join(fresh)), []).append(f"`{name}`")
    yield from ("| from | to | names |", "|---|---|---|")
    for (old, fresh), names in sorted(ways.items()): yield f"| `{old}` | `{fresh}` | {', '.join(names)} |"
    for title, names, places in (("Gone", gone, before), ("New", new, after)):
        yield from ("", f"{title}: {'' if names else 'nothing'}".rstrip(), "")
        for name in names: yield f"- `{name}` ({', '.join(f'`{place}`' for place in places[name])})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="with which this checkout is compared")
    given = parser.parse_args()
    print("\n".join(table(public(then(given.commit)), public(now()))))


if __name__ == "__main__": main()
