"The command as a user runs it: files, table, errors, interruption."
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import qhn.cli
import qhn.studies.compare
from qhn.circuits.ansatz import staircase
from qhn.distributions.born import BornMachine
from qhn.problem.datasets import load_dataset
from qhn.objectives.elbo import KL, NoDivergence
from qhn.inference.diverged import TrainingDiverged
from qhn.objectives.mmd import MMD

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


def test_json_and_quiet(finished, tmp_path):
    "The same numbers as in the files, on one line, or nothing."
    status, text = qhn_compare(*SMALL, "--out", tmp_path, "--json")
    told = json.loads(text)
    assert status == 0 and text.count("\n") == 1 and (told["dataset"], told["n_train"], told["folder"]) == ("moons", 40, str(tmp_path))
    assert "".join(told["conclusion"].split()) in "".join(finished[1].split()) and list(told["medians"])[-1] == "exact posterior"
    rows = [row for row in rows_of(tmp_path) if row["run"] == "ELBO"]
    for name, value in told["medians"]["ELBO"].items(): assert value == pytest.approx(np.median([float(row[name]) for row in rows]))
    assert rows_of(tmp_path) == rows_of(finished[0])
    assert qhn_compare(*SMALL, "--out", tmp_path, "--quiet") == (0, "")


def test_what_is_left_out_of_a_file_is_said(tmp_path):
    "As `qhn train` does; also in JSON."
    table = "a,b,day,kind\n" + "".join(f"{i},{i * i % 7},2020-01-0{1 + i % 9},{'xy'[i % 2]}\n" for i in range(20))
    (tmp_path / "own.csv").write_text(table)
    few = ["--ansatz", "staircase", "--layers", "1", "--seeds", "2", "--steps", "2", "--out", tmp_path / "out"]
    assert "note: column 'day' is left out" in qhn_compare("--dataset", tmp_path / "own.csv", "--label", "kind", *few)[1]
    told = json.loads(qhn_compare("--dataset", tmp_path / "own.csv", "--label", "kind", *few, "--json")[1])
    assert any("column 'day' is left out" in text for text in told["notices"])


def test_measures_by_hand(finished):
    "Every measure of one run, recomputed with numpy from the angles that were written."
    folder, _ = finished
    angles = np.load(folder / "angles.npz")
    settings = json.loads(str(angles["settings"]))
    assert settings["seed"] == 0 and settings["steps"] == 20
    data = load_dataset("moons", n_train=40, seed=0)
    binn = qhn.studies.compare.network_for(data, (1,))
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


def test_own_csv(tmp_path, monkeypatch):
    "With a name that the terminal cannot show."
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    lines = ["height,width,kind"] + [f"{a},{b},{'big' if a + b > 0 else 'small'}" for a, b in x]
    (tmp_path / "Größe.csv").write_text("\n".join(lines))
    status, text = in_terminal(monkeypatch, "ascii", "compare", "--dataset", tmp_path / "Größe.csv", "--objectives", "elbo", "--layers", 2, "--seeds", 3, "--steps", 5, "--out", tmp_path / "out")
    assert status == 0 and "MLE" not in text and {r["run"] for r in rows_of(tmp_path / "out")} == {"ELBO", "mean field", "exact posterior"}
    assert "Gro?e.csv: 3 weights" in text and "In short: " in text and "--------" in text
    (tmp_path / "own.csv").write_text("\n".join(lines[:5] + ["1.0,abc,big"] + lines[5:]))
    status, text = qhn_compare("--dataset", tmp_path / "own.csv", "--out", tmp_path)
    assert status == 2 and "line 6" in text and "column 2" in text


def test_a_file_is_read_as_it_is_said(monkeypatch, tmp_path):
    "Semicolons, decimal commas, a gap, and the label in the middle; the network of all rows but one is asked for."
    class Seen(Exception): pass
    def see(data, *others): raise Seen(data)
    monkeypatch.setattr(qhn.studies.compare, "compare", see)
    rows = [f"{a},5;{'big' if a > 9 else 'small'};{2*a},25" for a in range(20)]
    (tmp_path / "own.csv").write_text("\n".join(["height;kind;width", *rows, ";big;1,5"]))
    options = ["--label", "kind", "--missing", "drop", "--sep", ";", "--decimal", ","]
    done = CliRunner().invoke(qhn.cli.app, ["compare", "--dataset", str(tmp_path / "own.csv"), *options, "--out", str(tmp_path / "out")])
    data, = done.exception.args
    assert (len(data.y_train) + len(data.y_test), data.n_features, data.n_classes) == (20, 2, 2)
    assert "give --missing drop" in qhn_compare("--dataset", tmp_path / "own.csv", "--label", "kind", "--out", tmp_path)[1]


def test_a_module_that_runs():
    for module in ("qhn", "qhn.cli"):
        done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"qhn {qhn.__version__}\n")


@pytest.mark.parametrize("arguments, message", [
    (["--label", "kind"], "is for a file.csv"), (["--dataset", "iris"], "digits"), (["--objectives", "map"], "mle, elbo, selbo"), (["--objectives", ""], "objectives"),
    (["--ansatz", "ladder"], "brickwork, staircase, hardware-efficient"), (["--layers", "-1"], "--layers"), (["--seeds", "0"], "--seeds"),
    (["--steps", "0"], "--steps"), (["--learning-rate", "nan"], "--learning-rate must be positive and finite, got nan"), (["--word-weights", "1,x"], "--word-weights must be comma-separated numbers"),
    (["--word-weights", "-1"], "--word-weights"), (["--hidden", "0"], "--hidden"),
    (["--logit-scale", "0"], "--logit-scale"), (["--n-train", "100000"], "--n-train"), (["--dataset", "absent.csv"], "absent.csv"),
])
def test_refused_in_one_line_before_training(monkeypatch, tmp_path, arguments, message):
    monkeypatch.setattr(qhn.studies.compare, "fit", lambda *a, **k: pytest.fail("training began"))
    status, text = qhn_compare("--out", tmp_path, *arguments)
    assert status == 2 and text.startswith("qhn: ") and message in text
    assert "Traceback" not in text and list(tmp_path.iterdir()) == []


def test_beyond_the_width_where_all_networks_are_listed(tmp_path):
    "25 weights: the NLL, the ELBO and the log loss of a run, by networks of our own; two columns and a row less."
    status, text = qhn_compare("--dataset", "moons", "--n-train", "40", "--hidden", "6", "--ansatz", "staircase", "--layers", "1", "--seeds", "2",
                               "--steps", "5", "--objectives", "elbo", "--out", tmp_path)
    assert status == 0 and text.count("More than 22 weights") == 1 and "more than 22 weights: networks are drawn" in text
    table, _, told = text.partition("In short: ")
    assert "evidence" not in table and "best of" not in table and "log loss" in table and told.startswith("median ELBO")
    rows = rows_of(tmp_path)
    assert [r["run"] for r in rows] == ["ELBO"] * 2 + ["mean field"] * 2 and {r["gap"] for r in rows} == {"nan"}
    assert (tmp_path / "compare.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    data = load_dataset("moons", n_train=40, seed=0)
    binn, machine = qhn.studies.compare.network_for(data, (6,)), BornMachine(staircase(25, 1))
    w, log_q = machine.sample_and_log_prob(jnp.asarray(np.load(tmp_path / "angles.npz")["ELBO"][1]), jax.random.key(99), 4000)
    costs = -np.asarray(binn.log_likelihood(w, *data.train))
    values = costs + np.asarray(log_q) + 25 * np.log(2)
    p = np.exp(np.asarray(binn.log_probs(w, data.x_test))).mean(0)
    assert float(rows[1]["train_nll"]) == pytest.approx(costs.mean(), abs=5 * costs.std() / 1000**0.5)
    assert float(rows[1]["elbo"]) == pytest.approx(-values.mean(), abs=5 * values.std() / 1000**0.5)
    assert float(rows[1]["test_log_loss"]) == pytest.approx(-np.log(p[np.arange(1000), data.y_test]).mean(), abs=0.02)


def test_unwritable_folder_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(qhn.studies.compare, "fit", lambda *a, **k: pytest.fail("training began"))
    (tmp_path / "file").write_text("")
    status, text = qhn_compare("--out", tmp_path / "file")
    assert status == 2 and "out must be a folder" in text and str(tmp_path / "file") in text


def interrupt_at(monkeypatch, run, error):
    "Let the run number `run` (from 0) of a comparison be hit by `error`."
    real, calls = qhn.studies.compare.fit, []

    def hit(*arguments, **options):
        calls.append(options)
        if len(calls) <= run: return real(*arguments, **options)
        raise error
    monkeypatch.setattr(qhn.studies.compare, "fit", hit)


def test_ctrl_c_keeps_finished_runs(monkeypatch, tmp_path):
    interrupt_at(monkeypatch, 1, KeyboardInterrupt)
    status, text = qhn_compare(*SMALL, "--out", tmp_path)
    assert status == 130 and {r["run"] for r in rows_of(tmp_path)} == {"MLE"}
    assert np.load(tmp_path / "angles.npz")["MLE"].shape == (3, 20)
    assert not list(tmp_path.glob(".*"))


def test_other_results_are_not_replaced_unasked(finished, tmp_path):
    "Nor are files that are nobody's results, nor whole results by those of a run that is stopped."
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    def unchanged(): return {path.name: path.read_bytes() for path in out.iterdir()} == before
    status, text = qhn_compare(*SMALL, "--seed", 1, "--out", out)
    assert status == 2 and "seed was 0, got 1" in text and "--force" in text and unchanged()
    (tmp_path / "notes.txt").write_text("mine")
    status, text = qhn_compare(*SMALL, "--out", tmp_path, "--force")
    assert status == 2 and "out must be a new folder" in text and unchanged()
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 1, KeyboardInterrupt)
        assert qhn_compare(*SMALL, "--seed", 1, "--out", out, "--force")[0] == 130 and unchanged()
    assert qhn_compare(*SMALL, "--seed", 1, "--out", out, "--force")[0] == 0 and not unchanged()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "out"]


def test_divergence_says_step_and_seed(monkeypatch, tmp_path):
    interrupt_at(monkeypatch, 1, TrainingDiverged("training turned non-finite at step 7, seed 2", None))
    status, text = qhn_compare(*SMALL, "--out", tmp_path)
    assert status == 1 and "step 7, seed 2" in text and {r["run"] for r in rows_of(tmp_path)} == {"MLE"}


def test_lists_datasets():
    done = CliRunner().invoke(qhn.cli.app, ["datasets"])
    assert done.exit_code == 0 and {"moons", "circles", "xor", "breast-cancer"} <= set(done.output.split())


HEAVY = {"jax", "jaxlib", "numpy", "scipy", "sklearn", "matplotlib", "optax", "pandas", "pennylane", "qiskit", "qiskit_aer"}
COMPLETE = {"_QHN_COMPLETE": "complete_bash", "COMP_CWORD": "3"}


def loaded(code, **environment):
    "Which of the heavy libraries a fresh process has loaded after this code."
    code += f"\nimport sys\nprint('loaded', *sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


COMMAND = """
import sys
from qhn.cli import main
sys.argv = ["qhn", *{}]
try: main()
except SystemExit as done: assert not done.code, done.code
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["datasets"], ["compare", "--help"], ["hardware", "run", "--help"], ["study", "claims", "--help"]], ids=" ".join)
def test_help_loads_no_library(arguments): assert loaded(COMMAND.format(arguments)) == set()


def test_import_loads_no_library():
    assert loaded("import qhn") == loaded("import qhn.cli") == set()
    assert loaded("import qhn.studies.study, qhn.studies.restarts, qhn.studies.compare") <= HEAVY - {"matplotlib", "sklearn", "pandas", "pennylane", "qiskit"}


def qhn_script(*arguments, **environment):
    "The installed command in a process of its own: status, output and errors as bytes."
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONUTF8", "LC_ALL")}
    script = shutil.which("qhn", path=sysconfig.get_path("scripts"))
    done = subprocess.run([script, *map(str, arguments)], env=plain | {"COLUMNS": "80", "NO_COLOR": "1"} | environment, capture_output=True)
    return done.returncode, done.stdout, done.stderr


def test_version():
    assert qhn_script("--version") == (0, f"qhn {qhn.__version__}".encode() + os.linesep.encode(), b"")


@pytest.mark.parametrize("words, expected", [("--dataset m", ["moons"]), ("--dataset digits-", ["digits-01", "digits-38"]), ("--dataset o", ["own.csv"]), ("--ansatz s", ["staircase"]),
                                             ("--objectives mle,", ["mle,elbo", "mle,selbo"])])
def test_completion(tmp_path, monkeypatch, words, expected):
    (tmp_path / "own.csv").write_text(""); (tmp_path / "other.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    status, out, _ = qhn_script(_QHN_COMPLETE="complete_bash", COMP_WORDS=f"qhn compare {words}", COMP_CWORD="3", PYTHONPATH=os.environ.get("PYTHONPATH") or str(Path(qhn.__file__).parents[1]))
    assert (status, out.decode().split()) == (0, expected)
    assert loaded(COMMAND.format([]), **COMPLETE, COMP_WORDS=f"qhn compare {words}", PYTHONPATH=str(Path(qhn.__file__).parents[1])) == set()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_installs_completion(tmp_path):
    "As in a terminal: bash is found, its start file is extended, and a new bash has the completion."
    script = shutil.which("qhn", path=sysconfig.get_path("scripts"))
    run = lambda command: subprocess.run(["bash", "-c", command], env=os.environ | {"HOME": str(tmp_path), "NO_COLOR": "1"}, capture_output=True, text=True)
    shown, installed = run(f"{script} --show-completion; true"), run(f"{script} --install-completion; true")
    assert "_QHN_COMPLETE=complete_bash" in shown.stdout, shown
    assert "bash completion installed" in installed.stdout, installed
    assert "qhn" in run("source ~/.bashrc; complete -p qhn").stdout


def in_terminal(monkeypatch, encoding, *arguments):
    "`qhn` as the shell calls it, in a terminal of this encoding: status, and what was written to it."
    for name in ("stdout", "stderr"): monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    for name, value in (("COLUMNS", "80"), ("NO_COLOR", "1")): monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["qhn", *map(str, arguments)])
    with pytest.raises(SystemExit) as done: qhn.cli.main()
    for stream in (sys.stdout, sys.stderr): stream.flush()
    return done.value.code, b"".join(stream.buffer.getvalue() for stream in (sys.stdout, sys.stderr)).decode(encoding)


@pytest.mark.parametrize("encoding, shown", [("ascii", "Gro?e ?.csv"), ("latin-1", "Größe ?.csv"), ("utf-8", "Größe 網.csv")])
def test_what_a_terminal_cannot_show(monkeypatch, encoding, shown):
    "By the nearest characters; lines by dashes."
    status, text = in_terminal(monkeypatch, encoding, "compare", "--dataset", "Größe 網.csv")
    assert status == 2 and text.startswith("qhn: ") and shown in text and "\\" not in text
    status, text = in_terminal(monkeypatch, encoding, "compare", "--help")
    assert status == 0 and ("╭─ Options" in text) == (encoding == "utf-8") and "Options --" in text.replace("─", "-")


def test_a_process_in_an_ascii_terminal():
    status, out, err = qhn_script("--help", LANG="C", PYTHONIOENCODING="ascii")
    assert (status, err) == (0, b"") and out.isascii() and b"Usage: qhn" in out


def measures_of(gap, log_loss=None):
    gap = np.array(gap)
    return qhn.studies.compare.Measures(gap, gap, -gap, gap, gap, gap, gap if log_loss is None else np.array(log_loss))


def test_table_has_median_and_best_start():
    "Two of twenty starts are stuck: the mean says little, the median and the best start say what the run can do."
    from rich.console import Console
    gap = np.r_[np.full(18, 0.006), 22.6, 22.8]
    console = Console(width=80, file=io.StringIO())
    qhn.studies.compare.show_table({"mean field": measures_of(gap), "one": measures_of([0.25])}, {"mean field": 3}, "title", console)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    at = {words[-8]: words[-4] for words in lines if len(words) >= 8 and words[-8] in ("mean", "error", "median", "best")}
    assert at == {"mean": "2.28", "error": f"{gap.std(ddof=1) / np.sqrt(20):.2f}", "median": "0.01", "best": "0.01"}
    assert max(map(len, console.file.getvalue().splitlines())) <= 80
    assert ["one", "0.25", "0.25", "-0.25", "0.25", "0.25", "0.250", "0.250"] in lines


@pytest.mark.parametrize("gaps, stuck", [({"A": [0., 0.2], "B": [3.]}, "none"), ({"A": [1., 2.1, 2.], "B": [9., 0., 9.]}, "1 of 3 of A, 2 of 3 of B"), ({"B": [1e-9]}, "none")])
def test_the_sentence_below_the_table(gaps, stuck):
    "Order by the median gap, ties and single starts included; what is said of stuck starts can be counted."
    measures = {label: measures_of(gap) for label, gap in gaps.items()} | {"exact posterior": measures_of([-1e-7], [0.5])}
    text = qhn.studies.compare.conclusion(measures)
    order = sorted(gaps, key=lambda label: np.median(gaps[label]))
    assert "nearest first: " + ", ".join(f"{label} {np.median(gaps[label]):.2f}" for label in order) + " nats" in text
    assert f"above the least gap of their run: {stuck};" in text and f"log loss: {order[0]} " in text and "posterior 0.500." in text


def test_only_the_elbo_stands_beside_the_evidence():
    "Axes of their own for losses that cannot be compared."
    loss = lambda level: SimpleNamespace(history={"loss": np.linspace(level + 5, level, 30) + np.zeros((3, 1))})
    objectives = {"MLE": NoDivergence(), "ELBO": KL(), "tempered": KL(0.5), "SELBO": MMD(), "mean field": KL()}
    measures = {label: measures_of([0.1, 0.2, 0.3]) for label in objectives} | {"exact posterior": measures_of([0.])}
    figure = qhn.studies.compare.comparison_figure({label: loss(30.) for label in objectives}, objectives, measures, -28., "title")
    found = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes if ax.get_legend()]
    assert found == [["MLE"], ["ELBO", "mean field", "−log evidence"], ["tempered"], ["SELBO"], ["exact posterior"]]
    low, high = figure.axes[1].get_ylim()
    assert low < 28 < 30 < high


def options_of(app):
    "(name of the argument, spelling) of the options of all commands."
    import typer
    def leaves(command):
        for inner in getattr(command, "commands", {}).values(): yield from leaves(inner)
        if not hasattr(command, "commands"): yield from command.params
    return {(param.name, param.opts[0]) for param in leaves(typer.main.get_command(app)) if param.opts[0].startswith("--")}


def test_messages_know_the_spelling_of_all_options():
    "An option that is left out here would be called as Python calls it."
    from qhn.terminal import OPTIONS, as_options
    silent = {"help", "version", "install_completion", "show_completion", "as_json", "quiet", "x64", "quick", "alone", "regress", "train", "header", "anyway"}    # nothing is said of them
    for name, spelling in options_of(qhn.cli.app):
        if name in silent: continue
        assert "--" + OPTIONS[name].replace("_", "-") == spelling, name
        assert as_options(f"{name} must be 1, got {name}=2") == f"{spelling} must be 1, got 2"


@pytest.mark.parametrize("arguments, message", [
    (["--layers", "0"], "--layers must be an integer of at least 1, got 0"), (["--dataset", "nowhere.csv"], "expected a CSV file, but there is none at 'nowhere.csv'"),
    (["--logit-scale", "0"], "--logit-scale must be positive and finite, got 0.0"), (["--objectives", "vae"], "--objectives must be one of mle, elbo, selbo, got 'vae'"),
    (["--n-train", "0"], "--n-train must be an integer of at least 2, got 0"), (["--hidden", "0"], "--hidden must be positive")])
def test_a_message_spells_the_option(arguments, message, tmp_path):
    status, text = qhn_compare(*arguments, "--steps", "2", "--seeds", "2", "--out", tmp_path)
    assert status == 2 and message in text and "=" not in text.replace(">=", "")
