"""Processes that are killed at any moment, and go on: `python tests/faults/kills.py NAME [KILLS [SEED]]`, with NAME one of fit, train, study, hardware.

A program is first run in peace. Then it is killed by SIGKILL, after a part of the processor time that it took in peace, drawn by a seeded generator,
and started again; after one to four kills it may end. Its result must be that of the first run bit for bit, the folder must hold the same files, and
no job may have been paid twice. `python tests/faults/kills.py progress [KILLS [SEED]]` kills a study of full size after 10 to 40 seconds of processor
time, and counts what is new on disk at each restart.

Programs are started by forking a process that has imported everything and computed nothing, so that few seconds go into imports."""
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

LIMIT = 600    # seconds of processor time after which a program hangs


def digest(*arrays): return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


# ---- the programs: each works in a folder, and returns what must be the same

def run_fit(folder):
    import jax
    import qhn
    costs = np.random.default_rng(0).normal(size=2**8)
    result = qhn.fit(qhn.BornMachine(qhn.brickwork(8, 3)), costs, n_steps=600, n_seeds=3, key=jax.random.key(0), progress=False,
                     checkpoint=qhn.Checkpoint(folder / "checkpoints", every=0))
    return digest(result.params, *result.history.values())


def run_train(folder):
    from qhn.cli import app
    rows = [f"{a},{a * a % 7},{'xy'[a % 3 == 0]}" for a in range(60)]
    if not (folder / "table.csv").exists(): (folder / "table.csv").write_text("\n".join(["a,b,kind", *rows]))
    if not (folder / "model.qhn").exists():    # else it was killed after its last act
        app(["train", str(folder / "table.csv"), "--label", "kind", "--hidden", "4", "--steps", "100", "--quiet", "--out", str(folder / "model.qhn")],
            standalone_mode=False)
    return hashlib.sha256((folder / "model.qhn").read_bytes()).hexdigest()


def tiny():
    "Two tasks and four methods, of a few seconds."
    from qhn.experiments.claims import QUICK_ROUNDS
    return replace(QUICK_ROUNDS[0], methods=QUICK_ROUNDS[0].methods[:4])


def run_study(folder):
    from qhn.studies import study
    units = study.run_study(tiny(), folder / "units", progress=False)
    return digest(*[unit[name] for unit in units.values() for name in sorted(unit)])


class Cloud(dict):
    "Results of jobs that outlive their clients: a file for each that was paid, which is there at once."
    def __init__(self, folder): self.folder = folder
    def __contains__(self, tag): return (self.folder / f"{tag}.npz").exists()

    def __setitem__(self, tag, ended):
        np.savez(self.folder / "new.npz", seconds=ended[0], bits=ended[1])
        os.replace(self.folder / "new.npz", self.folder / f"{tag}.npz")

    def __getitem__(self, tag):
        with np.load(self.folder / f"{tag}.npz") as file: return float(file["seconds"]), file["bits"]


def run_hardware(folder):
    from qhn.hardware import run, sampler
    cloud = folder.parent / f"{folder.name}-cloud"
    cloud.mkdir(exist_ok=True)
    begin = sampler.LocalService.__init__
    def begin_with_cloud(service, *arguments):
        begin(service, *arguments)
        service.results = Cloud(cloud)
    sampler.LocalService.__init__ = begin_with_cloud
    plan = run.Plan(backend="aer", n_train=20, hidden=(), layers=2, simulation_steps=20, steps=3, shots=50, final_shots=100)
    report = run.hardware_run(plan, folder / "run", progress=False)
    return digest(report.params) + json.dumps({name: list(map(float, score)) for name, score in report.scores.items()})


def paid(folder):
    "What was paid for, and whether no job was paid for twice: a tag is of a run, a job and an attempt."
    cloud = Cloud(folder.parent / f"{folder.name}-cloud")
    tags = [path.stem for path in cloud.folder.glob("qhn-*.npz")]
    jobs = [tag.split("-")[:3] for tag in tags]
    assert all(jobs.count(job) == 1 for job in jobs), f"paid twice: {sorted(tags)}"
    return sorted(digest(cloud[tag][1]) for tag in tags)


PROGRAMS = {"fit": run_fit, "train": run_train, "study": run_study, "hardware": run_hardware}


# ---- starting and killing

def prepare():
    "Import what the programs need, so that a fork has it; nothing is computed, which would start threads."
    import qhn.cli, qhn.experiments.claims, qhn.hardware.run, qhn.inference.fit, qhn.table_model, qhn.table_report  # noqa: E401
    import jax
    # a folder of compiled programs: else most kills would hit the compiler
    for option, value in (("dir", tempfile.mkdtemp(prefix="qhn-compiled-")), ("max_size", -1)): jax.config.update(f"jax_compilation_cache_{option}", value)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    import qhn.problem.tables, qhn.studies.study, qhn.baselines.chains, sklearn.datasets, sklearn.model_selection, qiskit_aer  # noqa: E401, F401


def start(program, folder, answer):
    "The process of a program, whose answer goes to a file."
    sys.stdout.flush()
    if pid := os.fork(): return psutil.Process(pid)
    status = 1
    try:
        text = program(folder)
        answer.write_text(text or "")
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally: os._exit(status)


def ended(process, seconds=LIMIT):
    "Processor time of a process that has ended by itself, or None if it was killed after so many seconds of it."
    used = 0.
    while True:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
        if pid:
            assert status == 0, f"the program ended with status {status}"
            return used
        with contextlib.suppress(psutil.Error): used = sum(process.cpu_times()[:2])
        if used >= seconds:
            process.send_signal(signal.SIGKILL)
            os.waitpid(process.pid, 0)
            assert seconds < LIMIT, "the program hangs"
            return None
        time.sleep(0.002)


def names(folder):
    "Of all files; the steps at which checkpoints were written depend on the pace."
    return sorted(re.sub(r"step-\d+", "step", str(path.relative_to(folder))) for path in folder.rglob("*"))


def campaign(name, n_kills, seed=0, home=None):
    "Kill a program so many times; returns the number of kills, and of runs that went through some of them to the end."
    program, rng = PROGRAMS[name], np.random.default_rng(seed)
    home = Path(home or tempfile.mkdtemp(prefix="qhn-kills-"))
    calm, answer = home / "calm", home / "answer"
    calm.mkdir()
    warm = home / "warm"
    warm.mkdir()
    ended(start(program, warm, answer))    # compiles
    seconds = ended(start(program, calm, answer))
    expected, files = answer.read_text(), names(calm)
    kills = runs = 0
    while kills < n_kills:
        folder = home / f"killed-{runs}"
        folder.mkdir()
        for _ in range(min(rng.integers(1, 5), n_kills - kills)):
            answer.unlink(missing_ok=True)
            if ended(start(program, folder, answer), rng.uniform(0, 1) * seconds) is not None: break
            kills += 1
        ended(start(program, folder, answer))
        assert answer.read_text() == expected, f"{name}: another result after {kills} kills"
        assert names(folder) == files, f"{name}: {sorted(set(names(folder)) ^ set(files))} after {kills} kills"
        if name == "hardware": assert paid(folder) == paid(calm)
        runs += 1
    shutil.rmtree(home, ignore_errors=True)
    return kills, runs


# ---- a study of full size

def full(folder):
    from qhn.experiments.claims import ROUNDS
    from qhn.studies import study
    study.run_study(replace(ROUNDS[0], methods=ROUNDS[0].methods[1:2]), folder / "units", progress=False)


def stored(folder):
    "Trials and splits that are on disk."
    n = 0
    for path in (folder / "units").glob("[!.]*.npz"):
        with np.load(path) as file: n += len(file.files) - 1 if ".begun." in path.name else len(file["validation"]) + len(file["log_loss"])
    return n


def progress(n_kills, seed=0, least=10., most=40.):
    "Trials and splits that are new on disk after each life."
    folder, rng, counts = Path(tempfile.mkdtemp(prefix="qhn-progress-")), np.random.default_rng(seed), [0]
    for _ in range(n_kills):
        if ended(start(full, folder, folder / "answer"), rng.uniform(least, most)) is not None: break
        counts.append(stored(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return np.diff(counts).tolist()


if __name__ == "__main__":
    name, n_kills, seed = sys.argv[1], *map(int, [*sys.argv[2:], *("50", "0")[len(sys.argv) - 2:]])
    prepare()
    if name == "progress":
        new = progress(n_kills, seed)
        print(f"{sum(count > 0 for count in new)} of {len(new)} lives left something new: {new}")
    else: print("{} kills, {} runs resumed to the same bits, no stray file, nothing paid twice".format(*campaign(name, n_kills, seed)))
