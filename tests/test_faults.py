"What survives kills, signals and a second process: a few of each here, many by the commands in tests/faults and with --slow."
import contextlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qhn.disk import held

FAULTS = Path(__file__).parent / "faults"
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")


def said(*words, **options):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# ---- kills

@posix
def test_a_killed_training_goes_on_to_the_same_bits(): assert "3 kills" in said(FAULTS / "kills.py", "fit", 3)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("name", ["fit", "train", "study", "hardware"])
def test_fifty_kills(name): assert "50 kills" in said(FAULTS / "kills.py", name, 50)


# ---- memory

CASES = runpy.run_path(str(FAULTS / "memory.py"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is Linux's")
@pytest.mark.parametrize("name", CASES["CASES"])
def test_guards_expect_what_is_taken(name):
    "Within 20 %, at sizes of hundreds of megabytes."
    expected, taken = CASES["measured"](name)
    assert taken / 1.2 < expected < 1.2 * taken


# ---- signals

COMMAND = """
import os, signal, sys
import qhn.studies.compare
from qhn.cli import main
real, calls, number = qhn.studies.compare.fit, [], getattr(signal, sys.argv[1])
def fit(*arguments, **options):
    calls.append(1)
    if len(calls) == 2: os.kill(os.getpid(), number)
    return real(*arguments, **options)
qhn.studies.compare.fit = fit
sys.argv[:2] = ["qhn"]
main()
"""
SMALL = ["--dataset", "moons", "--n-train", "20", "--hidden", "", "--ansatz", "staircase", "--layers", "1", "--seeds", "2", "--steps", "5"]


@posix
@pytest.mark.parametrize("name, status", [("SIGTERM", 143), pytest.param("SIGHUP", 129, marks=pytest.mark.slow)])
def test_a_signal_ends_a_command_with_whole_files(name, status, tmp_path):
    "The first of four runs is finished, and kept; the folder is new."
    done = subprocess.run([sys.executable, "-c", COMMAND, name, "compare", *SMALL, "--out", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and {path.name for path in (tmp_path / "out").iterdir()} == {"angles.npz", "compare.csv"}
    with np.load(tmp_path / "out" / "angles.npz") as file: assert file.files == ["settings", "MLE"]


HALF = """
import os, signal, sys
import qhn.inference.fit
from qhn.cli import main
real = qhn.inference.fit.run_chunk
def run_chunk(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return real(*arguments)
qhn.inference.fit.run_chunk = run_chunk
sys.argv[0] = "qhn"
main()
"""


@posix
def test_half_a_training_is_no_model(tmp_path):
    "A signal within `fit`, which ends well with what it has."
    (tmp_path / "table.csv").write_text("\n".join(["a,kind", *(f"{a},{'xy'[a % 2]}" for a in range(40))]))
    done = subprocess.run([sys.executable, "-c", HALF, "train", tmp_path / "table.csv", "--hidden", "", "--out", tmp_path / "model.qhn"], capture_output=True, text=True)
    assert done.returncode == 143 and "interrupted" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


# ---- two processes on one folder

def table(folder):
    (folder / "table.csv").write_text("\n".join(["a,kind", *(f"{a},{'xy'[a % 2]}" for a in range(40))]))
    return folder / "table.csv"


def train_first(folder):
    from typer.testing import CliRunner
    from qhn.cli import app
    assert CliRunner().invoke(app, ["train", str(table(folder)), "--hidden", "", "--steps", "2", "--out", str(folder / "model.qhn")]).exit_code == 0


def run_first(folder):
    from qhn.hardware.run import Plan, hardware_run
    plan = Plan(backend="aer", dataset="moons", hidden=(), n_train=20, layers=1, simulation_steps=1, final_shots=20)
    hardware_run(plan, folder / "run", progress=False)


WRITERS = {    # the words of a command, what is held, and what must be there before
    "train": (["train", "{}/table.csv", "--hidden", "", "--out", "{}/model.qhn"], "model.qhn", table),
    "predict": (["predict", "{}/model.qhn", "{}/table.csv", "--out", "{}/rows.csv"], "rows.csv", train_first),
    "evaluate": (["evaluate", "{}/model.qhn", "{}/table.csv", "--picture", "{}/r.png"], "r.png", train_first),
    "compare": (["compare", *SMALL, "--out", "{}/out"], "out", None),
    "hardware run": (["hardware", "run", "--backend", "aer", "--hidden", "", "--n-train", "20", "--layers", "1", "--out", "{}/run"], "run/journal.jsonl", None),
    "hardware resume": (["hardware", "resume", "{}/run"], "run/journal.jsonl", run_first),
    "hardware fetch": (["hardware", "fetch", "{}/run"], "run/journal.jsonl", run_first),
    "study claims": (["study", "claims", "--quick", "--out", "{}/study"], "study/study", None),
}
READERS = {"datasets", "rerun", "study restarts", "hardware status"}    # write nothing


@pytest.mark.parametrize("name", WRITERS)
def test_a_second_process_is_told_who_holds_the_folder(name, tmp_path):
    "As a first one of the same command would hold it."
    from typer.testing import CliRunner
    from qhn.cli import app
    words, place, before = WRITERS[name]
    if before: before(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    files = {path.name for path in tmp_path.rglob("*")}
    holder = "import sys; from qhn.disk import held\nwith held(sys.argv[1], 'it'): print('held', flush=True); sys.stdin.read()"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(subprocess.Popen([sys.executable, "-c", holder, tmp_path / place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert first.stdout.readline() == "held\n"
        done = CliRunner().invoke(app, [word.format(tmp_path) for word in words])
        assert done.exit_code == 1 and f"is in use by process {first.pid} on " in done.output, done.output
        first.kill()
    left = {path.name for path in tmp_path.rglob("*")} - files
    assert left <= {Path(f".{Path(place).name}.lock").name}    # of the one that was killed
    with held(tmp_path / place, "it"): pass    # free again
    assert not list(tmp_path.rglob(".*"))


def test_every_command_is_known_to_write_or_not():
    from qhn.cli import app
    def commands(group, before=()):
        for command in group.registered_commands: yield " ".join([*before, command.name])
        for inner in group.registered_groups: yield from commands(inner.typer_instance, [*before, inner.name])
    assert set(commands(app)) == READERS | set(WRITERS)


# ---- the same bytes everywhere

BYTES = """
import hashlib, os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[2])])    # before XLA counts its threads
import jax, numpy as np, qhn
from typer.testing import CliRunner
from qhn.cli import app
model = qhn.BornMachine(qhn.brickwork(10, 3))
costs = np.random.default_rng(0).normal(size=2**10)
for estimator in (qhn.Exact(), qhn.ScoreFunction(200)):
    result = qhn.fit(model, costs, n_steps=20, n_seeds=2, key=jax.random.key(0), estimator=estimator, progress=False)
    print(hashlib.sha256(np.asarray(result.params).tobytes()).hexdigest())
    print(hashlib.sha256(np.asarray(model.sample(result.params[0], jax.random.key(1), 1000)).tobytes()).hexdigest())
from pathlib import Path
home = Path(sys.argv[1])
def call(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, (words, done.output, done.exception)
    print(words[0], hashlib.sha256(done.stdout.replace(str(home), "").encode()).hexdigest())
(home / "table.csv").write_text("\\n".join(["a,b,kind", *(f"{a},{a * a % 7},{'xyz'[a % 3]}" for a in range(60))]))
call("train", home / "table.csv", "--hidden", "4", "--steps", 20, "--out", home / "m.qhn")
call("predict", home / "m.qhn", home / "table.csv", "--out", home / "rows.csv")
call("evaluate", home / "m.qhn", home / "table.csv", "--alone")
call("compare", "--dataset", "moons", "--n-train", 20, "--hidden", "1", "--layers", 2, "--seeds", 2, "--steps", 10, "--out", home / "out")
for path in sorted(home.rglob("*.*")):
    if path.is_file(): print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="two cores, to which processes can be kept")
def test_the_same_bytes_with_one_thread_and_with_two(tmp_path):
    "In processes of their own, where texts are hashed anew."
    told = []
    for n_threads in (1, 2):
        (tmp_path / str(n_threads)).mkdir()
        environment = os.environ | {"PYTHONHASHSEED": str(n_threads), "JAX_ENABLE_X64": "0", "COLUMNS": "200"}
        told.append(said("-c", BYTES, tmp_path / str(n_threads), n_threads, env=environment).splitlines())
    assert len(told[0]) == 14 and told[0] == told[1]
