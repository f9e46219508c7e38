"""A type checker finds nothing in the package, and sees the names of the face as a user's editor does."""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_type_checker(tmp_path):
    "The package, beside the home page's example and a name that does not exist."
    example = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "home.py").write_text("\n".join([*example, "qhn.fitt", "reveal_type(qhn.BornMachine(qhn.product(9)).n_qubits)"]), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), "qhn", str(tmp_path / "home.py")]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
    errors = re.findall(r"^(\S+?):\d+: error: (.*?)\s+\[([\w-]+)\]$", printed, re.M)
    used = [text for path, text, _ in errors if path.endswith("home.py")]
    assert len(used) == 1 and 'has no attribute "fitt"' in used[0], printed
    assert 'Revealed type is "int"' in printed.replace("builtins.int", "int")
    assert not [path for path, _, _ in errors if not path.endswith("home.py")], printed
