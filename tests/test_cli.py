"The command as a user runs it: files, table, errors, interruption."
import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import qhn.cli
from qhn.ansatz import staircase
from qhn.born import BornMachine
from qhn.inference import TrainingDiverged

SMALL = ["--dataset", "moons", "--n-train", "40", "--hidden", "1", "--ansatz", "staircase", "--layers", "1", "--seeds", "3", "--steps", "20"]


def qhn_compare(*arguments):
    done = CliRunner().invoke(qhn.cli.app, ["compare", *map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    if done.exception and not isinstance(done.exception, SystemExit): raise done.exception
    return done.exit_code, done.output


def rows_of(folder): return list(csv.DictReader((folder / "compare.csv").open()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "new" / "folder"
    status, text = qhn_compare(*SMALL, "--out", folder)
    assert status == 0
    return folder, text


def test_files_and_table(finished):
    folder, text = finished
    assert sorted(f.name for f in folder.iterdir()) == ["angles.npz", "compare.csv", "compare.png"]
    assert (folder / "compare.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    for label in ("MLE", "ELBO", "SELBO", "mean field", "exact posterior"): assert label in text


def test_measures_by_hand(finished):
    "Every measure of one run, recomputed with numpy from the angles that were written."
    folder, _ = finished
    angles = np.load(folder / "angles.npz")
    settings = json.loads(str(angles["settings"]))
    assert settings["seed"] == 0 and settings["steps"] == 20
    data = qhn.cli.load_dataset("moons", n_train=40, seed=0)
    binn = qhn.cli.network_for(data, (1,))
    every = 1 - 2 * np.array(list(np.ndindex(*[2] * 5)))
    costs = -np.array([float(binn.log_likelihood(jnp.asarray(w, float), data.x_train, data.y_train)) for w in every])
    q = np.asarray(BornMachine(staircase(5, 1)).probs(jnp.asarray(angles["SELBO"][1])))
    row = next(r for r in rows_of(folder) if (r["run"], r["seed"]) == ("SELBO", "1"))
    kl = np.sum(q * np.log(np.maximum(q, 1e-300))) + 5 * np.log(2)
    evidence = np.log(np.mean(np.exp(-costs)))
    near = q[costs <= 1.01 * costs.min()].sum()
    predictive = sum(p * np.exp(np.asarray(binn.log_probs(jnp.asarray(w, float), data.x_test))) for p, w in zip(q, every))
    log_loss = -np.log(predictive[np.arange(len(data.y_test)), data.y_test]).mean()
    expected = {"train_nll": q @ costs, "kl": kl, "elbo": -q @ costs - kl, "gap": evidence + q @ costs + kl, "success": 1 - (1 - near)**100,
                "test_accuracy": (predictive.argmax(1) == data.y_test).mean(), "test_log_loss": log_loss}
    for name, value in expected.items(): assert float(row[name]) == pytest.approx(value, abs=2e-4), name


def test_exact_posterior_row(finished):
    last = rows_of(finished[0])[-1]
    assert last["run"] == "exact posterior" and abs(float(last["gap"])) < 1e-4


def test_same_seed_same_bytes(finished, tmp_path):
    qhn_compare(*SMALL, "--out", tmp_path)
    assert (tmp_path / "compare.csv").read_bytes() == (finished[0] / "compare.csv").read_bytes()


def test_own_csv(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    lines = ["height,width,kind"] + [f"{a},{b},{'big' if a + b > 0 else 'small'}" for a, b in x]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    status, text = qhn_compare("--dataset", tmp_path / "own.csv", "--objectives", "elbo", "--layers", 2, "--seeds", 3, "--steps", 5, "--out", tmp_path)
    assert status == 0 and "MLE" not in text and {r["run"] for r in rows_of(tmp_path)} == {"ELBO", "mean field", "exact posterior"}
    (tmp_path / "own.csv").write_text("\n".join(lines[:5] + ["1.0,abc,big"] + lines[5:]))
    status, text = qhn_compare("--dataset", tmp_path / "own.csv", "--out", tmp_path)
    assert status == 2 and "line 6" in text and "column 2" in text


@pytest.mark.parametrize("arguments, message", [
    (["--dataset", "iris"], "digits"), (["--objectives", "map"], "mle, elbo, selbo"), (["--objectives", ""], "objectives"),
    (["--ansatz", "ladder"], "brickwork, staircase, hardware-efficient"), (["--layers", "-1"], "n_layers=-1"), (["--seeds", "0"], "seeds=0"),
    (["--steps", "0"], "steps=0"), (["--learning-rate", "nan"], "learning_rate=nan"), (["--word-weights", "1,x"], "word_weights"),
    (["--word-weights", "-1"], "word_weights"), (["--hidden", "0"], "layer_sizes"), (["--hidden", "9"], "stops at 22"),
    (["--logit-scale", "0"], "logit_scale"), (["--n-train", "100000"], "n_train"), (["--dataset", "absent.csv"], "absent.csv"),
])
def test_refused_in_one_line_before_training(monkeypatch, tmp_path, arguments, message):
    monkeypatch.setattr(qhn.cli, "fit", lambda *a, **k: pytest.fail("training began"))
    status, text = qhn_compare("--out", tmp_path, *arguments)
    assert status == 2 and text.startswith("qhn: ") and message in text
    assert "Traceback" not in text and list(tmp_path.iterdir()) == []


def test_unwritable_folder_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(qhn.cli, "fit", lambda *a, **k: pytest.fail("training began"))
    (tmp_path / "file").write_text("")
    status, text = qhn_compare("--out", tmp_path / "file")
    assert status == 2 and "out must be a folder" in text and str(tmp_path / "file") in text


def interrupt_at(monkeypatch, run, error):
    "Let the run number `run` (from 0) of a comparison be hit by `error`."
    real, calls = qhn.cli.fit, []

    def hit(*arguments, **options):
        calls.append(options)
        if len(calls) <= run: return real(*arguments, **options)
        raise error
    monkeypatch.setattr(qhn.cli, "fit", hit)


def test_ctrl_c_keeps_finished_runs(monkeypatch, tmp_path):
    interrupt_at(monkeypatch, 1, KeyboardInterrupt)
    status, text = qhn_compare(*SMALL, "--out", tmp_path)
    assert status == 130 and {r["run"] for r in rows_of(tmp_path)} == {"MLE"}
    assert np.load(tmp_path / "angles.npz")["MLE"].shape == (3, 4, 5)
    assert not list(tmp_path.glob(".*"))


def test_divergence_says_step_and_seed(monkeypatch, tmp_path):
    interrupt_at(monkeypatch, 1, TrainingDiverged("training turned non-finite at step 7, seed 2", None))
    status, text = qhn_compare(*SMALL, "--out", tmp_path)
    assert status == 1 and "step 7, seed 2" in text and {r["run"] for r in rows_of(tmp_path)} == {"MLE"}


def test_lists_datasets():
    done = CliRunner().invoke(qhn.cli.app, ["datasets"])
    assert done.exit_code == 0 and {"moons", "circles", "xor", "breast-cancer"} <= set(done.output.split())
