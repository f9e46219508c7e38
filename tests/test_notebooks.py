"""Every notebook is a test: `pytest -k 04_elbo` runs one. Each gets a process of its own, as x64 set in one must not reach the next.
`IN_TEST`, which nbdev sets too, keeps them from submitting jobs to a paid device."""
import os
import subprocess
import sys
from pathlib import Path

import nbdev.test
import pytest
from nbdev.test import nbdev_test

ROOT = Path(__file__).parent.parent
NBS = ROOT / "nbs"
NOTEBOOKS = sorted(p for p in NBS.rglob("*.ipynb") if not any(part[0] in "._" for part in p.relative_to(NBS).parts))
RUN = "import sys; from nbdev.test import nbdev_test; nbdev_test.__wrapped__(path=sys.argv[1], flags=sys.argv[2], n_workers=0)"


def run(notebook, slow):
    done = subprocess.run([sys.executable, "-c", RUN, notebook, "slow" if slow else ""], cwd=ROOT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"IN_TEST": "1"})
    if done.returncode: pytest.fail(f"{notebook.name} did not run to its end:\n{done.stdout}", pytrace=False)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.relative_to(NBS).with_suffix("").as_posix())
def test_notebook(notebook, slow): run(notebook, slow)


def test_nbdev_test_would_run_the_same(monkeypatch):
    "The same notebooks with the same cells left out, so that nothing is gained by a second run of them all."
    ran = []
    monkeypatch.setattr(nbdev.test, "parallel", lambda function, files, **options: ran.append((files, options)) or [(True, 0.0)] * len(files))
    nbdev_test.__wrapped__()
    for notebook in NOTEBOOKS: nbdev_test.__wrapped__(path=str(notebook), n_workers=0)
    (together, options), *alone = ran
    assert together == NOTEBOOKS == [notebook for (notebook,), _ in alone]
    for part in ("skip_flags", "force_flags", "basepath"): assert all(each[part] == options[part] for _, each in alone)


def test_hardware_page_runs_on_another_device(tmp_path):
    "One name is all that changes: here to a noise model with other gates and other qubits."
    page = (NBS / "09_hardware.ipynb").read_text()
    old, new = (f'BACKEND = \\"fake:{name}\\"' for name in ("fez", "brisbane"))
    assert page.count(old) == 1
    (tmp_path / "page.ipynb").write_text(page.replace(old, new))
    run(tmp_path / "page.ipynb", slow=False)
