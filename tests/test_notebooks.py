"""Every notebook is a test: `pytest -k elbo` runs one. Each gets a process of its own, as x64 set in one must not reach the next.
`IN_TEST`, which nbdev sets too, keeps them from submitting jobs to a paid device."""
import atexit
import multiprocessing
import os
import sys
from pathlib import Path

import nbdev.test
import pytest
from nbdev.test import nbdev_test

ROOT = Path(__file__).parent.parent
NBS = ROOT / "nbs"
NOTEBOOKS = sorted(p for p in NBS.rglob("*.ipynb") if not any(part[0] in "._" for part in p.relative_to(NBS).parts))
FASTER = "--xla_backend_optimization_level=1"    # than the tests' programs: notebooks train, for thousands of steps

# A server that has imported once what most notebooks import forks a process for each of them, where the system has it.
PROCESSES = multiprocessing.get_context("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn")
PROCESSES.set_forkserver_preload(["nbdev.test", "jax", "optax", "pandas", "matplotlib.pyplot", "sklearn.datasets", "sklearn.linear_model", "pennylane"])


def in_its_process(notebook, slow, printed):
    os.environ |= {"IN_TEST": "1", "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {FASTER}"}
    with open(printed, "wb") as file:
        for stream in (1, 2): os.dup2(file.fileno(), stream)
    sys.argv = ["nbdev_test"]
    try: nbdev_test.__wrapped__(path=str(notebook), flags="slow" if slow else "", n_workers=0)
    finally: atexit._run_exitfuncs()    # which a forked process leaves out


def run(notebook, slow, printed):
    process = PROCESSES.Process(target=in_its_process, args=(notebook, slow, printed))
    process.start()
    process.join()
    if process.exitcode: pytest.fail(f"{notebook.name} did not run to its end:\n{printed.read_text()}", pytrace=False)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.relative_to(NBS).with_suffix("").as_posix())
def test_notebook(notebook, slow, tmp_path): run(notebook, slow, tmp_path / "printed")


def test_nbdev_test_would_run_the_same(monkeypatch):
    "The same notebooks with the same cells left out, so that nothing is gained by a second run of them all."
    ran = []
    monkeypatch.setattr(nbdev.test, "parallel", lambda function, files, **options: ran.append((files, options)) or [(True, 0.0)] * len(files))
    nbdev_test.__wrapped__()
    for notebook in NOTEBOOKS: nbdev_test.__wrapped__(path=str(notebook), n_workers=0)
    (together, options), *alone = ran
    assert together == NOTEBOOKS == [notebook for (notebook,), _ in alone]
    for part in ("skip_flags", "force_flags", "basepath"): assert all(each[part] == options[part] for _, each in alone)


@pytest.mark.slow
def test_hardware_page_runs_on_another_device(tmp_path):
    "One name is all that changes: here to a noise model with other gates and other qubits."
    page = (NBS / "hardware" / "run.ipynb").read_text()
    old, new = (f'BACKEND = \\"fake:{name}\\"' for name in ("fez", "brisbane"))
    assert page.count(old) == 1
    (tmp_path / "page.ipynb").write_text(page.replace(old, new))
    run(tmp_path / "page.ipynb", slow=False, printed=tmp_path / "printed")
