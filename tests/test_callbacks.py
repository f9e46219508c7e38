"""What watches a training: callbacks that log and stop, and checkpoints from which a killed training goes on to the last bit."""
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save as as_bytes

import qhn
from qhn.archive import Kind, write_archive
from qhn.disk import fingerprint
from qhn.inference.callbacks import Callback, StopTraining
from qhn.inference.calls import told
from qhn.inference.diverged import TrainingDiverged

KEY, ADAM = jax.random.key(0), optax.adam(0.05)
X, Y = np.random.default_rng(0).normal(size=(20, 2)), np.tile([0, 1], 10)
NETWORK, MACHINE = qhn.BiNN((2, 1, 1)), qhn.BornMachine(qhn.staircase(5, 1))
ESTIMATORS = {"exact": qhn.Exact(), "sampled": qhn.ScoreFunction(16)}
trained = partial(qhn.fit, MACHINE, NETWORK, (X, Y), optimizer=ADAM, estimator=qhn.Exact(), n_steps=300, key=KEY, n_seeds=3, progress=False)


class Killed(BaseException):
    "Nothing in the package catches it."


class Device(qhn.Remote):
    "A stand-in whose samples depend on the angles alone."
    n_qubits, param_shape = 3, (6,)
    def _sample_batch(self, params, n_samples):
        flips = np.arange(3 * n_samples).reshape(n_samples, 3) % 7 > 3 + params[:, None, :3]
        return np.where(flips, -1., 1.)


@pytest.fixture
def clock(monkeypatch):
    "Time passes by so many seconds a look, so that a test chooses how long chunks are: `clock(seconds)`."
    def tick(seconds):
        drawn = seconds if callable(seconds) else lambda: seconds
        now = [0.]
        def look():
            now[0] += drawn()
            return now[0]
        monkeypatch.setattr(time, "perf_counter", look)
    tick(1e-6)
    return tick


def assert_same(a, b):
    "Every array of two results, to the last bit: angles, moments, keys and history."
    assert fingerprint(told((a.state, a.history))) == fingerprint(told((b.state, b.history)))
    assert (a.interrupted, a.info) == (b.interrupted, b.info)


def dies(at):
    def callback(step, info, state):
        if step >= at: raise Killed
    return callback


def names(folder): return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture(scope="module")
def whole(): return trained()


# --- callbacks --------------------------------------------------------------------------------------------------------

def test_every_step_is_told_once_in_chunks_that_grow(clock, whole):
    chunks, starts = [], []
    class Log(Callback):
        def on_start(self, step, info, state): starts.append((step, len(info["loss"])))
        def on_chunk(self, step, info, state): chunks.append((step, info, state))
    result = trained(callbacks=[Log()])
    assert_same(result, whole)
    assert starts == [(0, 0)] and [len(info["loss"]) for _, info, _ in chunks] == [1, 4, 16, 64, 215]
    assert [step for step, _, _ in chunks] == [1, 5, 21, 85, 300] == [int(state.step) for _, _, state in chunks]
    for name in result.history: np.testing.assert_array_equal(np.concatenate([info[name] for _, info, _ in chunks]).T, result.history[name])
    np.testing.assert_array_equal(chunks[-1][2].params, result.params)


def test_two_thousand_steps_are_a_dozen_calls(clock):
    calls = []
    trained(n_steps=2000, callbacks=[lambda step, info, state: calls.append(len(info["loss"]))])
    assert len(calls) == 12 and max(calls) == 256 and sum(calls) == 2000


@pytest.mark.parametrize("answer", [1, "yes", np.array([True]), 0.])
def test_an_answer_that_is_no_boolean_is_refused(answer):
    with pytest.raises(TypeError, match="a callback must return True, False or None, got"): trained(callbacks=[lambda step, info, state: answer])


class WithChunk:
    "Not a subclass."
    def on_chunk(self, step, info, state): return step >= 20


@pytest.mark.parametrize("callback, steps, reason", [
    (WithChunk(), 21, "a callback returned True at step 21"), (lambda step, info, state: info["loss"].min() < math.inf and step > 1, 5, "a callback returned True at step 5"),
    (lambda step, info, state: jnp.asarray(step > 1), 5, "a callback returned True at step 5"), (lambda step, info, state: jnp.asarray(False), 300, None)])
def test_true_ends_the_chunk_and_the_training(clock, callback, steps, reason):
    result = trained(callbacks=[callback])
    assert (result.n_steps, result.info.get("stopped"), result.interrupted) == (steps, reason, False)
    assert result.history["loss"].shape == (3, steps)


@pytest.mark.parametrize("asked, done", [(None, 85), (85, 85), (60, 60), (22, 22), (21, 21), (3, 21)])
def test_an_exception_goes_back_within_the_chunk(clock, asked, done):
    def stop(step, info, state):
        if step == 85: raise StopTraining("enough", asked)
    result = trained(callbacks=[stop])
    assert (result.n_steps, result.info["stopped"], result.interrupted) == (done, "enough", False)
    plain = trained(n_steps=done)
    np.testing.assert_array_equal(result.params, plain.params)
    np.testing.assert_array_equal(result.history["loss"], plain.history["loss"])


def test_all_are_asked_and_the_earliest_step_counts(clock):
    seen = []
    def at(step): return lambda now, info, state: (_ for _ in ()).throw(StopTraining(f"at {step}", step)) if now == 21 else None
    result = trained(callbacks=[at(20), at(9), lambda step, info, state: seen.append(step)])
    assert (result.n_steps, result.info["stopped"]) == (9, "at 9") and seen == [1, 5, 21]


def test_samples_from_outside_are_a_call_a_step():
    calls = []
    result = qhn.fit(Device(), np.arange(8.), objective=qhn.MMD(), n_steps=5, key=KEY, progress=False, callbacks=[lambda step, info, state: calls.append((step, len(info["loss"])))])
    assert calls == [(step, 1) for step in (1, 2, 3, 4, 5)] and result.n_steps == 5


def test_a_budget_that_is_spent_is_still_an_interruption():
    class Poor(Device):
        def sample_batch(self, params, n_samples): raise StopTraining("nothing left")
    result = qhn.fit(Poor(), np.arange(8.), objective=qhn.MMD(), n_steps=5, key=KEY, progress=False, callbacks=[WithChunk()])
    assert result.interrupted and result.info["stopped"] == "nothing left" and result.n_steps == 0


def test_a_callback_that_fails_loses_nothing(clock):
    with pytest.raises(ZeroDivisionError) as caught: trained(callbacks=[lambda step, info, state: 1 / (85 - step) > 2])
    assert caught.value.result.n_steps == 85 and caught.value.result.interrupted


def test_ctrl_c_in_a_callback(clock, tmp_path, whole):
    def press(step, info, state):
        if step == 21: raise KeyboardInterrupt
    result = trained(callbacks=[press], checkpoint=tmp_path)
    assert result.interrupted and result.n_steps == 21 and names(tmp_path) == ["step-00000021.checkpoint"]
    assert_same(trained(checkpoint=tmp_path), whole)


def diverging(**more):
    broken = qhn.KL(weight=lambda step: 1 / jnp.maximum(30 - step, 0))
    return trained(objective=broken, n_steps=60, **more)


def test_a_training_that_diverges_tells_its_good_steps(clock, tmp_path):
    seen = []
    for _ in range(2):    # the second time from the checkpoint
        with pytest.raises(TrainingDiverged, match="non-finite at step 30, seed 0") as caught:
            diverging(callbacks=[lambda step, info, state: seen.append((step, len(info["loss"])))], checkpoint=qhn.Checkpoint(tmp_path, every=0))
        assert caught.value.result.n_steps == 30 and np.isfinite(caught.value.result.history["loss"]).all()
    assert seen == [(1, 1), (5, 4), (21, 16), (30, 9)] and names(tmp_path)[-1] == "step-00000030.checkpoint"


def test_a_stop_before_the_bad_step_comes_first(clock):
    "Whether the two are in one chunk is for the clock to say."
    def stop(step, info, state):
        if step > 25: raise StopTraining("before", 25)
    result = diverging(callbacks=[stop])
    assert (result.n_steps, result.info["stopped"]) == (25, "before")


@pytest.mark.parametrize("given, error, text", [
    ([3], TypeError, "callbacks must hold objects with on_chunk"), ([qhn.EarlyStopping], TypeError, "got the class EarlyStopping"), (print, TypeError, "callbacks must be a list"),
    (qhn.EarlyStopping(5), TypeError, "callbacks must be a list, got a EarlyStopping"), ([qhn.Checkpoint("a"), qhn.Checkpoint("b")], ValueError, "checkpoint must be one, got 2")])
def test_what_is_no_callback_is_refused(given, error, text):
    with pytest.raises(error, match=text): trained(callbacks=given)


# --- early stopping ---------------------------------------------------------------------------------------------------

def by_hand(losses, patience, min_delta, window):
    "The step at which a training ends: (steps, seeds) losses, judged one after the other."
    best, best_step = None, None
    for step in range(window, len(losses) + 1):
        now = min(sum(losses[step - window:step, seed]) / window for seed in range(losses.shape[1]))
        if best is None or now < best - min_delta: best, best_step = now, step
        elif step - best_step >= patience: return step


@pytest.mark.parametrize("patience, min_delta, window", [(1, 0., 1), (7, 0., 1), (7, 0.3, 1), (20, 0., 10), (3, 0.1, 5), (2, 0., 12)])
@pytest.mark.parametrize("seed", range(4))
def test_early_stopping_against_the_rule_by_hand(patience, min_delta, window, seed):
    "Noise that falls, in chunks of random sizes; the numbers of seeds differ."
    rng = np.random.default_rng(seed)
    losses = 5 / np.arange(1, 200)[:, None] + 0.3 * rng.normal(size=(199, 1 + seed))
    expected, stopping = by_hand(losses, patience, min_delta, window), qhn.EarlyStopping(patience, min_delta, window)
    stopping.on_start(100, {"loss": losses[:0], "loss_error": losses[:0]}, None)    # a state that went before
    edges = [0, *np.sort(rng.choice(np.arange(1, 199), 12, replace=False)), 199]
    found = None
    for a, b in zip(edges, edges[1:]):
        try: stopping.on_chunk(100 + b, {"loss": losses[a:b], "loss_error": losses[a:b] * 0}, None)
        except StopTraining as stop:
            found = stop.step - 100
            break
    assert found == expected is not None


@pytest.mark.parametrize("estimator", ["exact", "sampled"])
def test_early_stopping_ends_at_the_same_step_whatever_the_chunks(clock, tmp_path, estimator):
    rng, results = np.random.default_rng(3), []
    for seconds in (1e-6, 0.05, lambda: rng.uniform(0, 0.1)):
        clock(seconds)
        results.append(trained(n_steps=3000, estimator=ESTIMATORS[estimator], callbacks=[qhn.EarlyStopping(40, 0.01)]))
    first = results[0]
    losses = first.history["loss"].T
    assert first.n_steps == by_hand(losses, 40, 0.01, 1 if estimator == "exact" else 10) < 3000
    for other in results[1:]: assert_same(first, other)
    clock(0.01)    # killed, and once more when all is done
    stopping = qhn.EarlyStopping(40, 0.01)
    with pytest.raises(Killed): trained(n_steps=3000, estimator=ESTIMATORS[estimator], checkpoint=qhn.Checkpoint(tmp_path, 0), callbacks=[stopping, dies(first.n_steps - 30)])
    for _ in range(2): assert_same(trained(n_steps=3000, estimator=ESTIMATORS[estimator], checkpoint=tmp_path, callbacks=[stopping]), first)


# --- checkpoints ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("estimator, seed", [("exact", 0), ("exact", 1), ("exact", 2), ("sampled", 0)])
def test_a_killed_training_ends_with_the_numbers_of_one_that_was_not(clock, tmp_path, estimator, seed):
    "Killed three times at random, in chunks of random sizes."
    rng, call = np.random.default_rng(seed), partial(trained, estimator=ESTIMATORS[estimator])
    expected = call()
    clock(lambda: rng.uniform(0, 0.05))
    for at in np.sort(rng.integers(1, 280, 3)):
        with pytest.raises(Killed): call(checkpoint=qhn.Checkpoint(tmp_path, every=0), callbacks=[dies(at)])
    assert_same(call(checkpoint=tmp_path), expected)


OPTIMIZERS = {
    "settings in the state": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=optax.linear_schedule(0.1, 0.01, 60)),
    "keys in the state": lambda: optax.chain(optax.add_noise(0.1, 0.5, 3), optax.sgd(0.02, momentum=0.9)),
    "a line search": optax.lbfgs}


@pytest.mark.parametrize("kind", [*list(OPTIMIZERS)[:2], pytest.param("a line search", marks=pytest.mark.slow)])
def test_all_that_an_optimiser_carries_comes_back(clock, tmp_path, kind):
    call = partial(trained, optimizer=OPTIMIZERS[kind](), n_steps=40, key=jax.random.key(1, impl="rbg"))
    with pytest.raises(Killed): call(checkpoint=qhn.Checkpoint(tmp_path, every=0), callbacks=[dies(20)])
    assert_same(call(checkpoint=tmp_path), call())


def test_single_precision_and_a_state_to_go_on_from(tmp_path, clock):
    with jax.enable_x64(False):
        half = trained(n_steps=50)
        call = partial(qhn.fit, MACHINE, NETWORK, (X, Y), optimizer=ADAM, estimator=qhn.Exact(), n_steps=40, state=half.state, progress=False)
        with pytest.raises(Killed): call(checkpoint=qhn.Checkpoint(tmp_path, every=0), callbacks=[dies(70)])
        result = call(checkpoint=tmp_path)
        assert_same(result, call())
    assert result.n_steps == 90 and result.history["loss"].shape == (3, 40) and result.params.dtype == np.float32


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import jax
jax.config.update("jax_enable_x64", True)
import qhn, test_callbacks
from qhn.disk import fingerprint
from qhn.inference.calls import told
print(fingerprint(told(test_callbacks.described())), flush=True)
whole, left = os.replace, [3]
def replace(part, path):
    left[0] -= 1
    if left[0]: return whole(part, path)
    os.kill(os.getpid(), signal.SIGKILL)    # with the third file written, and not yet named
os.replace = replace
test_callbacks.trained(checkpoint=qhn.Checkpoint({folder!r}, every=0))
"""


def test_a_process_that_is_killed_while_it_writes(tmp_path, whole):
    """By the system, between a write and the name: what is seen is whole, and another process goes on. Both describe alike
    whatever a call may hold, although Python hashes texts anew in each, and objects lie elsewhere."""
    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == fingerprint(told(described())), done.stderr
    assert done.returncode == -signal.SIGKILL, done.stderr
    unfinished, = [name for name in names(tmp_path) if ".part." in name]
    assert len(names(tmp_path)) == 4 and ".checkpoints.lock" in names(tmp_path)
    with warnings.catch_warnings(action="error"): assert_same(trained(checkpoint=tmp_path), whole)
    assert not [name for name in names(tmp_path) if name.startswith(".")]


@pytest.fixture
def folder(tmp_path, clock):
    "Of a training that was killed after 85 steps, with other people's files beside."
    with pytest.raises(Killed): trained(checkpoint=qhn.Checkpoint(tmp_path, every=0, keep=2), callbacks=[dies(300)])
    (tmp_path / "notes.txt").write_text("mine"), (tmp_path / "step-one.checkpoint").write_text("mine too")
    return tmp_path


OTHERS = ["notes.txt", "step-one.checkpoint"]


def test_the_last_are_kept_and_what_is_not_ours_is_left_alone(folder, whole):
    assert names(folder) == [*OTHERS[:1], "step-00000021.checkpoint", "step-00000085.checkpoint", *OTHERS[1:]]
    assert_same(trained(checkpoint=qhn.Checkpoint(folder, keep=1)), whole)
    assert names(folder) == [*OTHERS[:1], "step-00000300.checkpoint", *OTHERS[1:]]


DAMAGES = {"cut short": lambda content: content[:-40], "empty": lambda content: b"", "a bit": lambda content: content[:-5] + bytes([content[-5] ^ 4]) + content[-4:],
           "in the heading": lambda content: content.replace(b"optimizer", b"optimiser"), "foreign": lambda content: as_bytes({"0": np.zeros(2)}), "words": lambda content: b"a,b\n" * 99}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_passed_over_with_a_warning(folder, whole, damage):
    newest = folder / "step-00000085.checkpoint"
    newest.write_bytes(DAMAGES[damage](newest.read_bytes()))
    started = []
    class Look(Callback):
        def on_start(self, step, info, state): started.append((step, len(info["loss"])))
    with pytest.warns(UserWarning, match="checkpoint passed over: .*step-00000085.checkpoint"): result = trained(checkpoint=folder, callbacks=[Look()])
    assert started == [(21, 21)]
    assert_same(result, whole)


def test_damaged_files_alone_are_an_error(folder):
    for path in folder.glob("step-0*"): path.write_bytes(b"")
    with pytest.warns(UserWarning, match="is empty"), pytest.raises(ValueError, match="holds damaged files alone; restore one from a copy, or delete them to begin anew"): trained(checkpoint=folder)
    assert len(names(folder)) == 4
    for path in folder.glob("step-0*"): path.unlink()
    assert trained(checkpoint=folder, n_steps=3).n_steps == 3


def test_a_checkpoint_of_a_newer_version_is_told(folder):
    for path in folder.glob("step-0*"): write_archive(path, Kind("qhn checkpoint", 2, "", ""), {}, {})
    with pytest.warns(UserWarning, match="has format 2, and this version of qhn reads up to 1; install a newer one"), pytest.raises(ValueError): trained(checkpoint=folder)


def test_a_checkpoint_is_no_saved_result(folder):
    with pytest.raises(ValueError, match="not one that `save` wrote"): qhn.load(folder / "step-00000085.checkpoint")


OTHER_CALLS = {
    "distribution": dict(distribution=qhn.BornMachine(qhn.product(5))), "model": dict(model=qhn.BiNN((2, 1, 1), jax.nn.relu)), "data": dict(data=(X, 1 - Y)),
    "prior": dict(prior=qhn.BernoulliPrior(0.4)), "objective": dict(objective=qhn.KL(0.5)), "estimator": dict(estimator=qhn.ScoreFunction(8)),
    "optimizer": dict(optimizer=optax.adam(0.01)), "n_seeds": dict(n_seeds=2), "key, params, noise or state": dict(key=jax.random.key(1))}


@pytest.mark.parametrize("what", [*OTHER_CALLS, "noise", "schedule", "structure", "several"])
def test_another_call_is_refused_by_what_differs(folder, what):
    given = {"noise": dict(noise=0.1), "schedule": dict(objective=qhn.KL(optax.linear_schedule(0., 1., 5))), "structure": dict(optimizer=optax.sgd(0.1)),
             "several": dict(data=(X + 1, Y), objective=qhn.MMD(), n_seeds=4)}.get(what) or OTHER_CALLS[what]
    named = {"noise": ["key, params, noise or state"], "schedule": ["objective"], "structure": ["optimizer"], "several": ["data", "objective", "n_seeds"]}.get(what, [what])
    call = {**dict(distribution=MACHINE, model=NETWORK, data=(X, Y)), **trained.keywords, **given}
    with pytest.raises(ValueError) as caught: qhn.fit(**call, checkpoint=folder)
    assert f"is of another training, with another {', another '.join(named)}; make the call" in str(caught.value)
    assert len(names(folder)) == 4


def in_a_module(text, name="edited_between"):
    "What a file of one's own defines, imported anew."
    module = ModuleType(name)
    exec(text, vars(module))
    return module


OWN_PRIOR = "import qhn\nclass P(qhn.Prior):\n    def log_prob(self, w): return {} * w.sum(-1)\nthing = P()"
INHERITED = "import qhn\nclass P(qhn.Prior):\n    def log_prob(self, w): return {} * w.sum(-1)\nclass Q(P): pass\nthing = Q()"
EDITS = {"prior": OWN_PRIOR, "inherited": INHERITED, "property": "class A:\n    @property\n    def k(self): return {}\nthing = A()", "attribute": "class A: k = {}\nthing = A()",
         "call": "class A:\n    def __call__(self, t): return {} * t\nthing = A()", "static": "class A:\n    @staticmethod\n    def f(t): return {} * t\nthing = A()",
         "function": "def thing(t): return {} * t", "global": "K = {}\ndef thing(t): return K * t", "deep": "K = {}\ndef f(t): return (lambda s: K * s)(t)\ndef thing(t): return f(t)",
         "compiled": "import jax\nK = {}\n@jax.jit\ndef f(t): return K * t\ndef thing(t): return f(t)", "keyword": "def thing(t, *, k={}): return k * t"}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_edited_between_two_calls_is_another(name):
    "In the body, in what is inherited, in what is read."
    one, same, other = (in_a_module(EDITS[name].format(number)).thing for number in (3, 3, -3))
    assert fingerprint(told(one)) == fingerprint(told(same)) != fingerprint(told(other))


def test_a_prior_that_was_edited_is_refused(tmp_path):
    "A notebook's cell run again."
    priors = [in_a_module(OWN_PRIOR.format(number)).thing for number in (3, 3, -3)]
    for prior, steps in zip(priors[:2], (4, 8)): trained(prior=prior, n_steps=steps, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="with another prior; make the call"): trained(prior=priors[2], n_steps=12, checkpoint=tmp_path)


def test_fewer_steps_than_were_done_are_refused(folder):
    with pytest.raises(ValueError, match="has 85 steps already, got n_steps=80; ask for as many or more"): trained(n_steps=80, checkpoint=folder)


def test_a_finished_training_is_returned_and_a_longer_one_goes_on(tmp_path, whole, monkeypatch):
    assert_same(trained(checkpoint=tmp_path), whole)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(qhn.Exact, "prepare", lambda self, problem: pytest.fail("nothing is to be computed"))
        assert_same(trained(checkpoint=tmp_path), whole)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert_same(trained(checkpoint=tmp_path, n_steps=310), trained(n_steps=310))


def test_files_are_written_when_they_are_due(clock, tmp_path, monkeypatch):
    "A clock that a callback moves on: ten seconds a chunk."
    now = [0.]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    seen = []
    def pass_time(step, info, state): now[0] += 10.; seen.append((step, len(names(tmp_path))))
    trained(n_steps=1000, callbacks=[pass_time, qhn.Checkpoint(tmp_path, every=20., keep=9)])
    assert [step for step, _ in seen] == [1, 5, 21, 85, 341, 597, 853, 1000]
    assert names(tmp_path) == [f"step-{step:08d}.checkpoint" for step in (5, 85, 597, 1000)]


def test_a_disk_that_fails_loses_no_training(clock, tmp_path, monkeypatch):
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught: trained(checkpoint=tmp_path)
    assert caught.value.result.n_steps == 300 and names(tmp_path) == []


def test_samples_from_outside_go_on(tmp_path):
    call = partial(qhn.fit, Device(), np.arange(8.), objective=qhn.MMD(), n_steps=6, key=KEY, optimizer=ADAM, progress=False)
    with pytest.raises(Killed): call(checkpoint=qhn.Checkpoint(tmp_path, every=0), callbacks=[dies(4)])
    assert names(tmp_path)[-1] == "step-00000003.checkpoint"
    assert_same(call(checkpoint=tmp_path), call())


def described():
    "One of each kind that a call may hold."
    scale = 3.
    def wave(x): return jnp.sin(scale * x)
    class Own:
        def __init__(self): self.numbers, self.names = np.arange(3.), {"b", "a", "c"}
    return [MACHINE, qhn.Mixture(MACHINE, 2), qhn.Symmetrised(MACHINE, NETWORK), Device(), qhn.BiNN((2, 1, 1), wave), qhn.BiNN((2, 1, 1), jax.nn.relu), qhn.BernoulliPrior(np.full(5, 0.3)),
            qhn.KL(optax.cosine_decay_schedule(1., 10)), qhn.MMD(root=True), qhn.Renyi(0.5), qhn.SPSA(64), optax.lbfgs(), optax.chain(optax.clip(1.), optax.adamw(lambda step: 1 / (step + 2))),
            Own(), {1.5: None, "key": KEY}, partial(wave, 2.), jnp.zeros(2, jnp.bfloat16)]


@pytest.mark.parametrize("given, error, text", [
    (3, TypeError, "checkpoint must be a folder or a Checkpoint, got 3"), (lambda: qhn.Checkpoint("a", every=-1), ValueError, "every must be a number of seconds, at least 0"),
    (lambda: qhn.Checkpoint("a", every=math.nan), ValueError, "every must be"), (lambda: qhn.Checkpoint("a", keep=0), ValueError, "keep must be an integer of at least 1, got keep=0")])
def test_what_is_no_checkpoint_is_refused(given, error, text):
    with pytest.raises(error, match=text): trained(checkpoint=given() if callable(given) else given)
