"""A newcomer's path, timed: an empty folder, a virtual environment, the package, a model of a CSV file, its predictions, a picture.

    python tests/benchmarks/newcomer.py [--keep FOLDER]

Packages are downloaded unless pip has them in its cache. The table is scikit-learn's wine with a column of words and some gaps, so this
script needs no package itself: the new environment writes it. Ends with status 1 if a command fails, or if all of it takes over 5 minutes.

pytest does not collect this file.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 300    # seconds

TABLES = """
from sklearn.datasets import load_wine
wine = load_wine(as_frame=True)
table = wine.data.round(2).assign(cork=["natural" if hue > 1 else "cap" for hue in wine.data.hue])
table["cultivar"] = [["Barolo", "Grignolino", "Barbera"][k] for k in wine.target]
table.loc[[4, 70, 140], "magnesium"] = None
table[::2].to_csv("train.csv", index=False, sep=";")
table[1::2].to_csv("test.csv", index=False)
"""


def timed(what, *command, folder, environment):
    "Run a command, print its seconds, return them."
    print(f"\n{what}\n$ {' '.join(map(str, command)) if what != 'tables' else '...'}", flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode: sys.exit(f"{what} ended with status {done.returncode}")
    return seconds


def path(folder):
    "The seconds of every step."
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    scripts = folder / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    steps = {"environment": (sys.executable, "-m", "venv", ".venv"),
             "install": (scripts / "python", "-m", "pip", "install", "--quiet", ROOT),
             "tables": (scripts / "python", "-c", TABLES),
             "train": (scripts / "qhn", "train", "train.csv", "--label", "cultivar", "--missing", "drop", "--out", "wine.qhn"),
             "predict": (scripts / "qhn", "predict", "wine.qhn", "test.csv", "--missing", "mean", "--out", "predictions.csv"),
             "evaluate": (scripts / "qhn", "evaluate", "wine.qhn", "test.csv", "--train", "train.csv", "--missing", "mean", "--picture", "reliability.png")}
    return {what: timed(what, *command, folder=folder, environment=environment) for what, command in steps.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which is kept")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()): sys.exit(f"{folder} is not empty")
        seconds = path(folder)
    print(f"\n{os.cpu_count()} cores")
    for what, took in seconds.items(): print(f"{what:12} {took:6.1f} s")
    total = sum(seconds.values())
    print(f"{'in all':12} {total:6.1f} s, of {LIMIT} s")
    sys.exit(total > LIMIT)


if __name__ == "__main__": main()
