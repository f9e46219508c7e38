"The study's statistics against hand-worked values and scipy, its splits, its resumption, and restarts against brute force."
import csv
import importlib.util
import multiprocessing
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

import qhn.experiments.claims
import qhn.cli
import qhn.studies.compare
import qhn.problem.datasets
import qhn.studies.methods
import qhn.studies.protocol
import qhn.studies.study
from qhn.circuits.ansatz import staircase
from qhn.problem.network import BiNN
from qhn.problem.costs import CostTable, log_likelihood_table
from qhn.distributions.born import BornMachine
from qhn.experiments.claims import (METHODS, METHODS_THREE, METHODS_TWO, ROUNDS, ROUND_TWO,
                                    TASKS, study_claims)
from qhn.objectives.elbo import KL, NoDivergence
from qhn.problem.prior import BernoulliPrior
from qhn.inference.fit import fit
from qhn.studies.methods import (Baseline, Enumerated, Outcome, Trained, best_networks, cooling,
                                 vanishing)
from qhn.objectives.mmd import MMD
from qhn.posterior.predictive import posterior_predictive
from qhn.studies.protocol import (RANGES, Protocol, Task, Trial, features_in_order, network,
                                  pool_of, split, trials)
from qhn.studies.restarts import read_costs, restarts, shares
from qhn.studies.statistics import (best_start, compare_methods, holm, paired, read_splits,
                                    split_means, write_splits)
from qhn.studies.study import measure_runs, run_study, scaled_predictive, scaled_table
from qhn.distributions.symmetrised import Symmetrised
from qhn.studies.trainability import GradientStudy, gradient_variance
from qhn.studies.workers import _shares, run_apart

SMALL = Task("small", "moons", 20, (1,), (("label_noise", 0.1),))
TINY = Protocol((SMALL,), METHODS[:1] + METHODS[3:5], n_splits=3, n_inits=2, n_steps=20, n_trials=2, n_tuning_splits=2)
TRIAL = Trial(0.05, 1.5, 0.5, (1, 2))


@pytest.mark.parametrize("given, expected", [
    ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),    # Holm by hand: 4 x .005, 3 x .01, 2 x .03, then .04 lifted to .06
    ([0.5, 0.4, 0.9], [1, 1, 1]), ([0.02], [0.02]), ([0.03, 0.03], [0.06, 0.06]), ([], []), ([0, 1], [0, 1]),
])
def test_holm_by_hand(given, expected): np.testing.assert_allclose(holm(given), expected)


@pytest.mark.parametrize("wrong", [[1.1], [-0.1], [np.nan], [[0.1]]])
def test_holm_refuses(wrong):
    with pytest.raises(ValueError, match="between 0 and 1"): holm(wrong)


def test_paired_agrees_with_scipy():
    d = np.random.default_rng(0).normal(0.3, 1, 30)
    ours = paired(d, 50_000)
    interval = stats.bootstrap((d,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    np.testing.assert_allclose([ours.low, ours.high], interval, atol=0.02)
    p = stats.permutation_test((d, 0 * d), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=50_000, rng=np.random.default_rng(2)).pvalue
    assert ours.p_value == pytest.approx(p, abs=0.01)
    assert ours.effect == pytest.approx(d.mean() / d.std(ddof=1))


def test_signs_of_three_by_hand():
    "Differences 1, 2, 3: of eight sign patterns two are as extreme."
    assert paired([1., 2., 3.], 100_000).p_value == pytest.approx(2 / 8, abs=0.01)


def test_clustering_is_respected():
    "Noise shared by the starts of a split: treated as independent runs it would be found significant far too often."
    rng, wrong, right = np.random.default_rng(0), 0, 0
    for _ in range(200):
        runs = rng.normal(size=(10, 1)) + 0.1 * rng.normal(size=(10, 5))
        right += paired(runs.mean(1), 400).p_value < 0.05
        wrong += paired(runs.ravel(), 400).p_value < 0.05
    assert right / 200 < 0.10 and wrong / 200 > 0.25


def studied(shift, rng):
    split_noise = rng.normal(size=30)
    of = lambda d: {"log_loss": 0.5 + 0.2 * split_noise - d + 0.02 * rng.normal(size=30), "success": 0.5 + d + 0.02 * rng.normal(size=30)}
    return {("task", "MLE"): of(0), ("task", "ELBO"): of(shift), ("task", "SELBO"): of(0)}


def test_planted_effect_is_found_and_null_is_not():
    by_cell = {(c.method, c.outcome): c for c in compare_methods(studied(0.05, np.random.default_rng(0)), ("task",), ("ELBO", "SELBO"))}
    for outcome, sign in (("log_loss", -1), ("success", 1)):
        planted = by_cell["ELBO", outcome]
        assert planted.verdict == "better" and min(sign * planted.low, sign * planted.high) > 0
        assert by_cell["SELBO", outcome].verdict == "no difference shown"
    worse = compare_methods(studied(-0.05, np.random.default_rng(0)), ("task",), ("ELBO", "SELBO"))
    assert {c.verdict for c in worse if c.method == "ELBO"} == {"worse"}


def test_correction_spans_the_whole_family():
    found = compare_methods(studied(0.004, np.random.default_rng(3)), ("task",), ("ELBO", "SELBO"))
    np.testing.assert_allclose([c.adjusted_p for c in found], holm([c.p_value for c in found]))
    assert len(found) == 4


def test_hypercube_uses_every_slice_once():
    for n in (1, 7, 21):
        for name, (low, high) in RANGES.items():
            places = [np.log(getattr(t, name) / low) / np.log(high / low) * n for t in trials(n)]
            assert sorted(int(p) for p in places) == list(range(n))
    assert trials(21) == trials(21)


@pytest.mark.parametrize("task", [t for t in TASKS if t.pool], ids=lambda t: t.dataset)
def test_tuning_and_test_points_are_apart(task):
    whole = pool_of(task)
    tuning_rows, test_rows = ({tuple(r) for r in x} for x in (whole.x_train, whole.x_test))
    assert not tuning_rows & test_rows
    for tuning, pool in ((True, whole.x_train), (False, whole.x_test)):
        data = split(task, 2, tuning)
        assert len(data.y_train) == task.n_train and len(data.y_train) + len(data.y_test) == len(pool)
        every = np.concatenate([data.x_train, data.x_test])
        scale = pool.std(0).sum() / every.std(0).sum()    # one factor and one shift away from the rows of the pool
        np.testing.assert_allclose(np.sort((every - every.mean(0)) * scale, 0), np.sort(pool - pool.mean(0), 0), atol=1e-9)


def test_generators_draw_other_points_for_tuning():
    assert not np.allclose(split(TASKS[0], 0).x_train, split(TASKS[0], 0, tuning=True).x_train)
    with pytest.raises(ValueError, match="number=1000"): split(TASKS[0], 1000)


def test_scaled_network_is_the_binn():
    data = split(SMALL, 0)
    binn = BiNN((2, 1, 1), logit_scale=0.7)
    np.testing.assert_allclose(scaled_table(network(SMALL, data), 0.7, *data.train), log_likelihood_table(binn, *data.train), atol=1e-10)


@pytest.mark.parametrize("label, objective", [("MLE", NoDivergence()), ("ELBO", KL(0.5)), ("SELBO", MMD((1, 2), 0.5))])
def test_training_is_that_of_fit(label, objective):
    "The study's vmapped loop, on costs divided by the weight, ends where `fit` with that weight ends."
    method = next(m for m in METHODS if m.label == label)
    data = split(SMALL, 0)
    table = scaled_table(network(SMALL, data), TRIAL.logit_scale, *data.train)
    keys, machine = jax.random.split(jax.random.key(5), 2), BornMachine(staircase(5, 3, final_rz=False))
    ours = method.find(TRIAL, network(SMALL, data), jnp.tile(table, (2, 1)), keys, 40)
    reference = fit(machine, CostTable(-table), objective=objective, optimizer=qhn.studies.compare._adam(TRIAL.learning_rate), n_steps=40, key=jax.random.key(0),
                    n_seeds=2, params=jnp.stack([machine.init(k) for k in keys]), progress=False)
    np.testing.assert_allclose(ours.q, jnp.stack([machine.probs(p) for p in reference.params]), atol=1e-5)


def test_trials_take_circuits_and_starts_in_turn():
    found = trials(8, circuits=("a", "b"), starts=(None, 0.1))
    assert [(t.circuit, t.start) for t in found[:4]] == [("a", None), ("b", None), ("a", 0.1), ("b", 0.1)] and found[4:6] != found[:2]
    plain = trials(8)
    assert [(t.learning_rate, t.logit_scale, t.weight, t.word_weights) for t in found] == [(t.learning_rate, t.logit_scale, t.weight, t.word_weights) for t in plain]


def test_a_schedule_is_that_of_fit():
    "Cooling from 4 to 1 at half time, on a symmetrised circuit, against `fit` with an optax schedule."
    method, data, keys = Trained("", KL, "staircase 3", symmetrised=True, schedule=cooling), split(SMALL, 0), jax.random.split(jax.random.key(5), 2)
    binn = network(SMALL, data)
    table = log_likelihood_table(binn, *data.train)
    ours = method.find(replace(TRIAL, weight=1.), binn, jnp.tile(table, (2, 1)), keys, 40)
    machine = Symmetrised(BornMachine(staircase(5, 3, final_rz=False)), binn)
    reference = fit(machine, CostTable(-table), objective=KL(lambda step: jnp.maximum(1., 4 - 6 * step / 40)), optimizer=qhn.studies.compare._adam(TRIAL.learning_rate), n_steps=40,
                    key=jax.random.key(0), n_seeds=2, params=jnp.stack([machine.init(k) for k in keys]), progress=False)
    np.testing.assert_allclose(ours.q, jnp.stack([machine.probs(p) for p in reference.params]), atol=1e-5)
    np.testing.assert_allclose(ours.loss, [KL().from_probs(machine.probs(p), -table, BernoulliPrior()).loss for p in reference.params], atol=1e-4)


def test_a_weight_that_vanishes_ends_in_the_expected_cost():
    data, keys = split(SMALL, 0), jax.random.split(jax.random.key(5), 2)
    table = log_likelihood_table(network(SMALL, data), *data.train)
    found = Trained("", KL, schedule=vanishing).find(replace(TRIAL, weight=1.), network(SMALL, data), jnp.tile(table, (2, 1)), keys, 40)
    np.testing.assert_allclose(found.loss, -found.q @ table, atol=1e-9)


@pytest.mark.parametrize("task", [replace(SMALL, hidden=(2,)), replace(TASKS[4], n_train=20)], ids=["hidden", "none"])
def test_predictions_by_orbits(task):
    data = split(task, 0)
    binn = BiNN(network(task, data).layer_sizes, logit_scale=0.7)
    q = jax.random.dirichlet(jax.random.key(0), jnp.ones(2**binn.n_weights), (2,))
    np.testing.assert_allclose(scaled_predictive(network(task, data), 0.7, q, data.x_test), posterior_predictive(binn, q, data.x_test), atol=1e-9)


def test_features_in_order():
    "A path on which neighbours are alike: three groups of two equal features come out side by side; labels and test labels do not matter."
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 40, 1))
    x = np.concatenate([a, b, c, a, b, c], 1)
    data = qhn.problem.datasets.Dataset(x[:20], np.arange(20) % 2, x[20:], np.arange(20) % 2, "x", tuple("abcABC"), ("0", "1"))
    ordered, names = features_in_order(data).x_train, features_in_order(data).feature_names
    assert [n.lower() for n in names[::2]] == [n.lower() for n in names[1::2]]
    assert all((ordered[:, k] == ordered[:, k + 1]).all() for k in (0, 2, 4))
    task = next(t for t in ROUND_TWO.tasks if t.in_order)
    plain, moved = split(replace(task, in_order=False), 1), split(task, 1)
    assert sorted(map(tuple, plain.x_test.T)) == sorted(map(tuple, moved.x_test.T)) and (plain.y_test == moved.y_test).all()


def test_rounds_share_no_test_split():
    splits = [p.first_split + k for p in ROUNDS for k in range(p.n_splits)]
    assert len(splits) == len(set(splits)) == 90
    assert all(m.tuned_as is None or m.tuned_as in {o.label for o in p.methods} for p in ROUNDS for m in p.methods)
    seen = []
    tiny = replace(TINY, first_split=7, methods=TINY.methods[1:2])
    real = qhn.studies.study.split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qhn.studies.study, "split", lambda task, number, tuning=False: (seen.append((number, tuning)), real(task, number, tuning))[1])
        qhn.studies.study.run_unit(tiny, SMALL, tiny.methods[0])
    assert {n for n, tuning in seen if not tuning} == {7, 8, 9}


def test_baselines_on_a_table():
    data, keys = split(SMALL, 0), jax.random.split(jax.random.key(1), 2)
    table = jnp.asarray(np.random.default_rng(0).normal(size=32))
    for method in (m for m in METHODS_TWO if isinstance(m, Baseline)):
        q = np.asarray(replace(method, n_steps=5000 if method.label == "Gibbs" else method.n_steps).find(replace(TRIAL, weight=1.), network(SMALL, data), jnp.tile(table, (2, 1)), keys, 40).q)
        np.testing.assert_allclose(q.sum(1), 1, atol=1e-6)
        if method.label == "Gibbs": assert np.abs(q - np.asarray(jax.nn.softmax(table))).sum(1).max() < 0.15
        if method.label == "simulated annealing": assert (np.asarray(table)[q.argmax(1)] > table.max() - 1e-6).all() and q.max() == 1


def _note_cores(path):
    path.write_text(" ".join(map(str, sorted(os.sched_getaffinity(0)))) if hasattr(os, "sched_getaffinity") else "")


def test_tasks_apart_are_tasks_together(tmp_path):
    protocol = replace(TINY, tasks=(SMALL, replace(SMALL, name="other", n_train=10)), methods=METHODS[3:4])
    rounds = {tmp_path / "apart": protocol, tmp_path / "second": replace(protocol, first_split=9)}
    found, together = run_apart(rounds, 2, progress=False, beside=(partial(_note_cores, tmp_path / "cores"),)), run_study(protocol, tmp_path / "together", progress=False)
    assert found.keys() == rounds.keys() and found[tmp_path / "second"].keys() == together.keys()
    for pair in together: np.testing.assert_allclose(found[tmp_path / "apart"][pair]["log_loss"], together[pair]["log_loss"], atol=1e-5)
    if hasattr(os, "sched_getaffinity"):
        assert {int(core) for core in (tmp_path / "cores").read_text().split()} in map(set, _shares(2))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not keep processes to cores")
def test_shares_of_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3, 5, 7, 11})
    assert sorted(sum(_shares(2), [])) == [2, 3, 5, 7, 11] and all(len(share) >= 2 for share in _shares(2))
    assert _shares(6) == [[2, 3, 5, 7, 11]] * 6


@pytest.mark.parametrize("methods", [METHODS[1:3], METHODS[:1]])
def test_a_round_without_comparison_is_refused_before_it_runs(tmp_path, methods):
    with pytest.raises(ValueError, match="rounds must each have the method 'MLE' and one of"): study_claims((TINY, replace(TINY, methods=methods)), None, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_unit_knows_what_made_it_and_refuses_other_versions(tmp_path):
    protocol = replace(TINY, methods=METHODS[3:4])
    run_study(protocol, tmp_path, progress=False)
    path = next(tmp_path.glob("*.npz"))
    with np.load(path) as file: arrays = {name: file[name] for name in file.files}
    made = json.loads(str(arrays["made"]))
    assert made["versions"]["numpy"] == np.__version__ and made["digests"] == json.loads(str(arrays["protocol"]))
    np.savez(path, **arrays | {"made": json.dumps(made | {"versions": made["versions"] | {"jaxlib": "0.1.7"}})})
    with pytest.raises(ValueError, match=r"written with jaxlib 0.1.7 \(here .*; install those, begin anew, or choose another folder, or delete that file"): run_study(protocol, tmp_path, progress=False)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "made"})    # of an older version of qhn
    run_study(protocol, tmp_path, progress=False)



@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_folder_of_another_protocol_is_refused_before_anything_runs(tmp_path, n_workers):
    protocol = replace(TINY, methods=METHODS[3:4])
    run_study(protocol, tmp_path / "units", progress=False)
    rounds = {tmp_path / "first": protocol, tmp_path / "units": replace(protocol, n_splits=2)}
    with pytest.raises(ValueError, match="another protocol"): run_apart(rounds, n_workers, progress=False, beside=(partial(_note_cores, tmp_path / "ran"),))
    assert not (tmp_path / "first").exists() and not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match="n_workers must be an integer of at least 1"): run_apart(rounds, 0)


def _fail(): raise ArithmeticError("on purpose")


def _sleep(path):
    time.sleep(3600)
    path.touch()


def test_an_error_ends_all_workers(tmp_path):
    with pytest.raises(ArithmeticError, match="on purpose"): run_apart({tmp_path / "units": replace(TINY, tasks=())}, 2, progress=False, beside=(partial(_sleep, tmp_path / "slept"), _fail))
    assert not (tmp_path / "slept").exists() and not multiprocessing.active_children()


_SLEEPERS = """
import os, signal, sys, time
from functools import partial
from pathlib import Path
from qhn.studies.protocol import Protocol
from qhn.studies.workers import run_apart
def sleep(path):
    path.write_text(str(os.getpid()))
    time.sleep(3600)
    path.with_suffix(".slept").touch()
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background ignores it
    folder = Path(sys.argv[1])
    run_apart({folder / "units": Protocol((), ())}, 2, progress=False, beside=tuple(partial(sleep, folder / name) for name in ("one", "two", "three")))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("sent", ["SIGINT", "SIGKILL"])
def test_no_worker_outlives_its_parent(tmp_path, sent):
    def running(path):
        try: os.kill(int(path.read_text()), 0)
        except ProcessLookupError: return False
        return True
    def until(happens):
        while not happens(): time.sleep(0.2)
    (tmp_path / "sleepers.py").write_text(_SLEEPERS)
    parent = subprocess.Popen([sys.executable, tmp_path / "sleepers.py", tmp_path], stderr=subprocess.DEVNULL)
    began = [tmp_path / "one", tmp_path / "two"]
    until(lambda: all(path.is_file() and path.read_text() for path in began))
    parent.send_signal(getattr(signal, sent))    # to the parent alone, as from a notebook
    until(lambda: parent.poll() is not None and not any(map(running, began)))
    assert parent.returncode != 0 and not (tmp_path / "three").exists()
    assert not list(tmp_path.glob("*.slept"))    # they were ended, and did not end by themselves


@pytest.mark.parametrize("n_workers, other", [(1, GradientStudy((4, 5), (1,), 3)), (2, GradientStudy((4,), (1,), 4))])
def test_gradients_of_another_study_are_refused(tmp_path, n_workers, other):
    tiny = replace(TINY, methods=METHODS[:2], n_splits=2)
    study_claims((tiny,), GradientStudy((4,), (1,), 3), tmp_path, progress=False)
    before = (tmp_path / "gradients.csv").read_text()
    study_claims((tiny,), GradientStudy((4,), (1,), 3), tmp_path, progress=False)
    with pytest.raises(ValueError, match="gradients.csv in the study's folder is of other widths, depths or numbers of starts"): study_claims((tiny,), other, tmp_path, progress=False, n_workers=n_workers)
    assert (tmp_path / "gradients.csv").read_text() == before
    with pytest.raises(ValueError, match="rounds must be one protocol or more"): study_claims((), None, tmp_path / "none")


def test_measures_by_hand():
    data, key = split(SMALL, 1), jax.random.split(jax.random.key(0), 2)
    found = measure_runs(METHODS[1], TRIAL, SMALL, data, key, 40)
    binn = BiNN((2, 1, 1), logit_scale=TRIAL.logit_scale)
    table = np.asarray(log_likelihood_table(binn, *data.train))
    q = np.asarray(METHODS[1].find(TRIAL, network(SMALL, data), jnp.tile(table, (2, 1)), key, 40).q)[1]
    every = 1. - 2 * np.array(list(np.ndindex(*[2] * 5)))
    votes = np.exp(np.asarray(binn.log_probs(jnp.asarray(every), data.x_test)))
    predictive = np.einsum("w,wnk->nk", q, votes)
    posterior, cold = (np.exp(t - t.max()) / np.exp(t - t.max()).sum() for t in (table, table / TRIAL.weight))
    mass = q[-table <= 1.01 * (-table).min()].sum()
    expected = {"log_loss": -np.log(predictive[np.arange(len(data.y_test)), data.y_test]).mean(), "success": 1 - (1 - mass)**100, "mass": mass,
                "accuracy": (predictive.argmax(1) == data.y_test).mean(), "gap": (q * np.log(q / posterior)).sum(), "train_nll": -q @ table,
                "target_gap": (q * np.log(q / cold)).sum(), "total_variation": np.abs(q - posterior).sum() / 2}
    for name, value in expected.items(): assert found[name][1] == pytest.approx(value, abs=1e-6), name


def test_steps_to_success_by_hand():
    outcome = Outcome(jnp.full((2, 8), 1 / 8), jnp.zeros(2), jnp.zeros((2, 20)).at[0, 4:].set(0.9))
    table = -jnp.arange(1., 9)
    assert np.asarray(qhn.studies.study._in_sample(outcome, table, table, 1.)["time_to_success"]).tolist() == [5 / 20, 1]


def test_ties_share():
    np.testing.assert_allclose(best_networks(jnp.array([-1., -3, -1, -2]), 1.), [0.5, 0, 0.5, 0])


def test_a_killed_study_goes_on(tmp_path, monkeypatch):
    "Identical bits, and nothing finished is computed again."
    straight, real, calls = run_study(TINY, tmp_path / "straight", progress=False), qhn.studies.study.run_unit, []

    def dies_at_second(protocol, task, method, *rest, **options):
        calls.append(method.label)
        if len(calls) == 2: raise KeyboardInterrupt
        return real(protocol, task, method, *rest, **options)
    monkeypatch.setattr(qhn.studies.study, "run_unit", dies_at_second)
    with pytest.raises(KeyboardInterrupt): run_study(TINY, tmp_path / "killed", progress=False)
    resumed = run_study(TINY, tmp_path / "killed", progress=False)
    assert calls == ["MLE", "exact posterior", "exact posterior", "best networks"]
    for pair, unit in straight.items():
        for name in unit: np.testing.assert_array_equal(unit[name], resumed[pair][name])
    assert not list((tmp_path / "killed").glob(".*"))
    monkeypatch.setattr(qhn.studies.study, "run_unit", lambda *a, **k: pytest.fail("computed again"))
    run_study(TINY, tmp_path / "killed", progress=False)
    with pytest.raises(ValueError, match="another protocol"): run_study(replace(TINY, n_steps=40), tmp_path / "killed", progress=False)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    "Import a module from its text, as from a file that somebody edits between two runs."
    def write(text):
        path = tmp_path / "mine" / "own_module.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("own_module", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "own_module", module)
        exec(compile(text, path, "exec"), module.__dict__)
        return module
    return write


_OWN = """
import jax, jax.numpy as jnp, optax
from dataclasses import dataclass
from functools import partial
import qhn.objectives.elbo
POWER = 1.
POWERS = jnp.ones(3)
def helper(table): return POWER * table
def calls(table, weight): return jax.nn.softmax(helper(table))
def arrays(table, weight): return jax.nn.softmax(POWERS[0] * table)
def defaults(table, weight, *, power=1.): return jax.nn.softmax(power * table)
def within(table, weight): return (lambda t: jax.nn.softmax(1. * t))(table)
@jax.jit
def jitted(table, weight): return jax.nn.softmax(helper(table))
plain = lambda table, weight: jax.nn.softmax(table * 1.)
def closed(power): return lambda table, weight: jax.nn.softmax(power * table)
bound = closed(1.)
def powered(table, weight, power): return jax.nn.softmax(power * table)
part = partial(powered, power=1.)
class Called:
    power = 1.
    def __call__(self, table, weight): return jax.nn.softmax(self.power * table)
called = Called()
class Better(Called): pass
inherited = Better()
def optimizer(rate): return optax.adam(rate, b1=0.9)
@dataclass(frozen=True)
class Objective(qhn.objectives.elbo.KL):
    def from_probs(self, q, costs, prior, step=0): return super().from_probs(q, 1. * costs, prior, step)
def falling(done): return 1. + done
"""
_ENUMERATED = ("calls", "arrays", "defaults", "within", "jitted", "plain", "bound", "part", "called", "inherited")
_EDITS = [("POWER = 1.", "POWER = 2.", {"calls", "jitted"}), ("jnp.ones", "jnp.zeros", {"arrays"}), ("power=1.): return", "power=2.): return", {"defaults"}), ("1. * t))", "2. * t))", {"within"}),
          ("table * 1.", "table + 1.", {"plain"}), ("closed(1.)", "closed(2.)", {"bound"}), ("powered, power=1.", "powered, power=2.", {"part"}), ("    power = 1.", "    power = 2.", {"called", "inherited"}),
          ("b1=0.9", "b1=0.8", {"optimizer"}), ("1. * costs", "2. * costs", {"objective"}), ("1. + done", "2. + done", {"schedule"}),
          ("POWER * table", "POWER + table", {"calls", "jitted"}), ("def falling", "# a comment, and lines further down\n\ndef falling", set())]


@pytest.mark.parametrize("old, new, changed", _EDITS, ids=[new.strip() for _, new, _ in _EDITS])
def test_a_method_is_known_by_its_content(own_module, old, new, changed):
    "Under the same label and the same name, whatever it is that was edited."
    def marks(text):
        module = own_module(text)
        methods = {name: Enumerated("own", getattr(module, name)) for name in _ENUMERATED}
        methods |= {"optimizer": Trained("own", KL, optimizer=module.optimizer), "objective": Trained("own", module.Objective), "schedule": Trained("own", KL, schedule=module.falling)}
        return {name: qhn.studies.study._fingerprint(TINY, SMALL, method) for name, method in methods.items()}
    assert old in _OWN
    before, after = marks(_OWN), marks(_OWN.replace(old, new))
    assert {name for name in before if before[name] != after[name]} == changed
    assert all({part for part in before[name] if before[name][part] != after[name][part]} == {"method"} for name in changed)


_ELSEWHERE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import jax, own_module
from qhn.experiments.claims import *
from qhn.studies.methods import *
from qhn.studies.protocol import *
from qhn.studies.study import _fingerprint
jax.config.update("jax_enable_x64", True)
"""
_MARKS = """
methods = Enumerated("own", own_module.among), Trained("own", own_module.Objective, optimizer=own_module.optimizer), *METHODS_TWO
marks = json.dumps([_fingerprint(ROUND_ONE, TASKS[k], method) for method in methods for k in (0, 4)])
"""


def test_another_process_knows_the_same_content(own_module, tmp_path):
    "Texts are hashed differently in every process, and sets come in another order."
    module = own_module(_OWN + 'def among(table, weight): return table if weight in {"one", "two", "three", "four", "five"} else -table')
    here = vars(qhn.experiments.claims) | vars(qhn.studies.methods) | vars(qhn.studies.protocol) | vars(qhn.studies.study) | {"own_module": module}
    exec(_MARKS, here)
    command = [sys.executable, "-c", _ELSEWHERE + _MARKS + "print(marks)", tmp_path / "mine"]
    there = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True).stdout
    assert there.strip() == here["marks"]


def test_what_cannot_be_known_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as file, pytest.raises(TypeError, match="protocol holds <_io.TextIOWrapper.*hand it over as numbers"):
        run_study(replace(TINY, methods=(Enumerated("own", lambda table, weight: file),)), tmp_path, progress=False)


@pytest.mark.parametrize("pool", [False, True])
def test_data_are_known_by_their_points(tmp_path, pool):
    "A file under the same name with other numbers, with other labels, with the same numbers written otherwise."
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    write = lambda x, y, form="{}": (tmp_path / "own.csv").write_text("\n".join(",".join(map(form.format, row)) + f",{'ab'[k]}" for row, k in zip(x, y)))
    task = Task("own", str(tmp_path / "own.csv"), 20, pool=pool)
    protocol = replace(TINY, tasks=(task,), methods=METHODS[3:4])
    write(x, y)
    before = run_study(protocol, tmp_path / "units", progress=False)["own", "exact posterior"]
    write(x, y, "{:.17e}")
    np.testing.assert_array_equal(run_study(protocol, tmp_path / "units", progress=False)["own", "exact posterior"]["log_loss"], before["log_loss"])
    for other in ((x**3, y), (x, 1 - y), (np.vstack([x[:1] + 1, x[1:]]), y)):
        write(*other)
        with pytest.raises(ValueError, match=r"another protocol \(not the same: data\)"): run_study(protocol, tmp_path / "units", progress=False)
    write(x**3, y)
    after = run_study(protocol, tmp_path / "new", progress=False)["own", "exact posterior"]
    assert not np.allclose(after["log_loss"], before["log_loss"])


def test_a_circuit_is_known_by_its_content(tmp_path, monkeypatch):
    protocol = replace(TINY, methods=(Trained("own", KL, "mine"), *METHODS[3:4]))
    monkeypatch.setitem(qhn.studies.methods.CIRCUITS, "mine", partial(staircase, n_layers=1))
    run_study(protocol, tmp_path, progress=False)
    monkeypatch.setitem(qhn.studies.methods.CIRCUITS, "mine", partial(staircase, n_layers=2))
    with pytest.raises(ValueError, match=r"small--own.npz .* \(not the same: circuits\)"): run_study(protocol, tmp_path, progress=False)


def test_a_borrowed_trial_is_known(tmp_path):
    "A unit that took over a trial is of another protocol once that trial is another."
    protocol = replace(TINY, methods=METHODS[3:4] + (replace(METHODS[4], tuned_as="exact posterior"),), n_trials=3)
    units = run_study(protocol, tmp_path, progress=False)
    path = tmp_path / "small--exact-posterior.npz"
    with np.load(path) as file: stored = dict(file)
    np.savez(path, **stored | {"chosen": (int(units["small", "exact posterior"]["chosen"]) + 1) % 3})
    with pytest.raises(ValueError, match=r"small--best-networks.npz .* \(not the same: trial\)"): run_study(protocol, tmp_path, progress=False)


def test_test_points_do_not_choose(monkeypatch):
    "With other test points the same trial is chosen."
    real = qhn.studies.study.split

    def spoiled(task, number, tuning=False):
        data = real(task, number, tuning)
        return data if tuning else replace(data, y_test=1 - data.y_test)
    before = qhn.studies.study.run_unit(TINY, SMALL, METHODS[0])
    monkeypatch.setattr(qhn.studies.study, "split", spoiled)
    after = qhn.studies.study.run_unit(TINY, SMALL, METHODS[0])
    assert before["chosen"] == after["chosen"] and not np.allclose(before["log_loss"], after["log_loss"])
    np.testing.assert_array_equal(before["success"], after["success"])


def test_nothing_compiles_again():
    "Another trial, another split: the same program."
    run = lambda trial, number: measure_runs(METHODS[0], trial, SMALL, split(SMALL, number), jax.random.split(jax.random.key(0), 2), 20)
    run(trials(3)[0], 0)
    programs = qhn.studies.methods._train, qhn.studies.study._scaled_table, qhn.studies.study._scaled_predictive
    before = [program._cache_size() for program in programs]
    run(trials(3)[1], 1)
    assert before == [program._cache_size() for program in programs]


def test_means_over_starts_and_the_best_start(tmp_path):
    unit = {name: np.array([[1., 5.], [4., 2.]]) for name in qhn.studies.protocol.MEASURES} | {"loss": np.array([[2., 1.], [0., 3.]])}
    assert best_start(unit)["log_loss"].tolist() == [[5.], [4.]]
    means = split_means({("task", "MLE"): unit})
    assert means["task", "MLE"]["log_loss"].tolist() == [3., 3.] and means["task", "MLE, best start"]["log_loss"].tolist() == [5., 4.]
    write_splits(tmp_path / "splits.csv", means)
    again = read_splits(tmp_path / "splits.csv")
    assert {k: v["log_loss"].tolist() for k, v in again.items()} == {k: v["log_loss"].tolist() for k, v in means.items()}


def test_gradient_variance_against_central_differences():
    machine, costs = BornMachine(staircase(3, 1, final_rz=False)), jnp.arange(8.)**2
    keys, h = jax.random.split(jax.random.key(0), 6), 1e-5
    value = lambda p: float(machine.probs(p) @ costs)
    slopes = []
    for key in keys:
        p = np.asarray(machine.init(key))
        steps = h * np.eye(p.size).reshape(p.size, *p.shape)
        slopes.append([(value(p + s) - value(p - s)) / (2 * h) for s in steps])
    assert gradient_variance(machine, NoDivergence(), costs, keys) == pytest.approx(np.var(slopes, axis=0, ddof=1).mean(), rel=1e-5)


def test_restarts_find_what_brute_force_finds():
    costs = np.random.default_rng(0).normal(size=16) + 5
    found = restarts(costs, n_restarts=12, n_layers=4, n_iterations=200)
    assert (found.excess >= -1e-12).all() and shares(found.excess)[1e-6] >= 0.5 and found.seconds > 0
    cut = restarts(costs, n_restarts=12, n_layers=4, n_iterations=1)
    assert (cut.iterations == 1).all() and cut.excess.mean() > found.excess.mean()
    assert shares(np.array([0, 5e-6, 5e-5, 1])) == {1e-6: 0.25, 1e-5: 0.5, 1e-4: 0.75, 1e-3: 0.75}


@pytest.mark.parametrize("text, message", [("1\n2\n3\n", "got 3"), ("", "got 0"), ("1\n", "got 1"), ("1\n\nnan\n2\n", "line 3"), ("1\n2\n3,4\n5", "line 3"), ("inf\n1", "line 1")])
def test_bad_tables_of_costs(tmp_path, text, message):
    path = tmp_path / "costs.txt"
    path.write_text(text)
    done = CliRunner().invoke(qhn.cli.app, ["study", "restarts", str(path)])
    assert done.exit_code == 2 and done.output.startswith("qhn: ") and message in done.output and len(done.output.strip().splitlines()) == 1


def test_unreadable_tables_of_costs(tmp_path):
    (tmp_path / "costs.bin").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="not a text file"): read_costs(tmp_path / "costs.bin")
    with pytest.raises(FileNotFoundError, match="absent"): read_costs(tmp_path / "absent")


def test_commands(tmp_path, monkeypatch):
    np.savetxt(tmp_path / "costs.txt", [3., 1, 2, 5])
    done = CliRunner().invoke(qhn.cli.app, ["study", "restarts", str(tmp_path / "costs.txt"), "--restarts", "3", "--layers", "2"])
    assert done.exit_code == 0 and "within 1e-06 of the minimum: 100.0% of 3 runs" in done.output
    two = replace(TINY, methods=METHODS_TWO[:3], first_split=5, starts=(None, 0.1))
    monkeypatch.setattr(qhn.experiments.claims, "QUICK_ROUNDS", (replace(TINY, methods=METHODS[:3]), two, replace(two, methods=METHODS_THREE[:2], first_split=9)))
    out = tmp_path / "study"
    done = CliRunner().invoke(qhn.cli.app, ["study", "claims", "--quick", "--out", str(out)], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "SELBO" in done.output and "success" in done.output
    assert {p.name for p in out.iterdir()} == {"units", "splits.csv", "comparisons.csv", "summary.csv", "tuning.csv", "gradients.csv", "claims.png", "round-2", "round-3"}
    for name, challengers in (("round-2", {"ELBO", "SELBO"}), ("round-3", {"ELBO"})):
        assert {p.name for p in (out / name).iterdir()} == {"units", "splits.csv", "comparisons.csv", "summary.csv", "tuning.csv", "claims.png"}
        with (out / name / "comparisons.csv").open(newline="") as file: assert {row["method"] for row in csv.DictReader(file)} == challengers
