"""Saved and loaded: what comes back is what was written, in another process too, and nothing else is read."""
import json
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors import safe_open
from safetensors.numpy import save as as_bytes
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import qhn
from qhn.archive import Kind, write_archive
from qhn.files import FORMAT, load, save
from qhn.posterior.networks import pack_networks

DATA = Path(__file__).parent / "data"
KEY = jax.random.key(0)
X, Y = np.random.default_rng(0).normal(size=(20, 2)), np.tile([0, 1], 10)
NETWORK = qhn.BiNN((2, 1, 1))


def trained(distribution, network=NETWORK, data=(X, Y), **more):
    return qhn.fit(distribution, network, data, n_steps=5, key=KEY, n_seeds=2, progress=False, **more)


MACHINE = qhn.BornMachine(qhn.staircase(5, 1))
RESULTS = {
    "circuit": lambda: trained(MACHINE),
    "mixture": lambda: trained(qhn.Mixture(MACHINE, 3), objective=qhn.Renyi(0.5)),
    "symmetrised": lambda: trained(qhn.Symmetrised(MACHINE, NETWORK), objective=qhn.MMD(root=True)),
    "samples alone": lambda: trained(qhn.SampleOnly(MACHINE), objective=qhn.MMD(), estimator=qhn.SPSA(16)),
    "score function": lambda: trained(MACHINE, estimator=qhn.ScoreFunction(16, slope=True), optimizer=optax.sgd(0.1, momentum=0.9)),
    "regression": lambda: trained(MACHINE, qhn.BiNN((2, 1, 1), jnp.sin, 2., qhn.Gaussian(0.3)), (X, X[:, 0]), prior=qhn.BernoulliPrior(np.linspace(0.2, 0.7, 5))),
    "table of costs": lambda: trained(MACHINE, np.arange(32.), None),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_comes_back_whole(kind, tmp_path):
    "Every array, setting and name, and what is drawn from it."
    result = RESULTS[kind]()
    again = load(save(result, tmp_path / "a.qhn"))
    assert again.summary() == result.summary() and again.info == result.info and again.distribution == result.distribution
    assert again.problem.objective == result.problem.objective and again.problem.target.data == ()
    np.testing.assert_array_equal(again.params, result.params)
    for name in result.history: np.testing.assert_array_equal(again.history[name], result.history[name])
    np.testing.assert_array_equal(again.sample(KEY, 20), result.sample(KEY, 20))
    np.testing.assert_array_equal(again.problem.prior.means(5), result.problem.prior.means(5))
    if kind != "table of costs": np.testing.assert_array_equal(again.predict(X, key=KEY)[0], result.predict(X, key=KEY)[0])


def test_training_goes_on_to_the_last_bit(tmp_path):
    half = trained(MACHINE, optimizer=(adam := optax.adam(0.05)))
    again = load(save(half, tmp_path / "half.qhn"))
    on, on_again = (qhn.fit(MACHINE, NETWORK, (X, Y), state=r.state, optimizer=adam, n_steps=5, progress=False) for r in (half, again))
    np.testing.assert_array_equal(on.params, on_again.params)
    with pytest.raises(ValueError, match="state comes from another kind of optimizer"):
        qhn.fit(MACHINE, NETWORK, (X, Y), state=again.state, optimizer=optax.sgd(0.1), n_steps=5, progress=False)


def test_another_process_reads_it(tmp_path):
    result = RESULTS["circuit"]()
    path = save(result, tmp_path / "a.qhn")
    code = f"import qhn; r = qhn.load({str(path)!r}); print(r, r.predict([[0.5, 1.0]]).tolist())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    told, _, numbers = printed.strip().rpartition(") ")
    assert f"{told})" == str(result)
    np.testing.assert_allclose(json.loads(numbers), result.predict([[0.5, 1.0]]), rtol=1e-5)    # it computes in single precision


def test_what_is_ones_own_is_handed_back(tmp_path):
    def wave(t): return jnp.sin(3 * t)
    path = save(trained(MACHINE, qhn.BiNN((2, 1, 1), wave)), tmp_path / "own.qhn")
    with pytest.raises(ValueError, match=r'holds your own wave, of which a file keeps the name alone; use load\(path, own=\{"wave": \.\.\.\}\)'): load(path)
    assert load(path, own={"wave": wave}).problem.target.model.activation is wave


def test_two_of_ones_own_with_one_name_are_refused(tmp_path):
    def one():
        def wave(t): return t
        return wave
    with pytest.raises(ValueError, match="two of your own things are called 'wave'"): save([one(), one()], tmp_path / "two.qhn")
    assert not list(tmp_path.iterdir())


def test_what_would_come_back_empty_is_refused(tmp_path):
    "A pipeline, a search, a subclass of one's own, at the root or within."
    class Mine(qhn.QHNClassifier): pass
    class Coins(qhn.Prior):
        def log_prob(self, weights): return 0 * weights.sum(-1)
    for thing in (make_pipeline(qhn.QHNClassifier()), GridSearchCV(qhn.QHNClassifier(), {"n_steps": [1]}), Mine()):
        for root in (thing, {"model": [thing]}):
            with pytest.raises(ValueError, match=f"a {type(thing).__name__} is nothing that a file can hold; save the QHNClassifier inside"): save(root, tmp_path / "a.qhn")
    with pytest.raises(ValueError, match="of your own Coins the name alone"): save(Coins(), tmp_path / "a.qhn")
    assert not list(tmp_path.iterdir())


def test_a_loaded_estimator_with_numpy_settings_is_fitted_again(tmp_path):
    model = qhn.QHNClassifier(n_steps=np.int64(3), learning_rate=np.float32(0.1), random_state=np.random.RandomState(0))
    again = load(save(model.fit(X, Y), tmp_path / "a.qhn"))
    assert (again.n_steps, again.learning_rate, again.random_state) == (3, np.float32(0.1), None) and isinstance(again.n_steps, np.int64)
    again.fit(X, Y)


def test_compiled_functions_are_kept_by_their_own_name(tmp_path):
    path = save(qhn.BiNN((2, 1, 1), jnp.arctan), tmp_path / "a.qhn")
    assert load(path, own={"arctan": jnp.arctan}).activation is jnp.arctan


def test_a_loaded_result_is_diagnosed_with_its_data_given_again(tmp_path):
    result = trained(MACHINE)
    again = load(save(result, tmp_path / "a.qhn"))
    with pytest.raises(ValueError, match=r"which a file does not hold; give what fit was given: diagnose\(key, data=\(x, y\)\)"): again.diagnose(KEY)
    told, expected = again.diagnose(KEY, n_temperatures=0, data=(X, Y)), result.diagnose(KEY, n_temperatures=0)
    assert (told.elbo, told.importance.log_mean) == (expected.elbo, expected.importance.log_mean)
    with pytest.raises(TypeError, match="k must be an integer of at least 1, got k=2.5"): again.networks(2.5)
    with pytest.raises(TypeError, match="k must be an integer"): pack_networks(NETWORK, np.ones((3, 5)), k=2.5)


def test_a_folder_is_no_file_and_a_missing_one_is_named(tmp_path):
    with pytest.raises(ValueError, match="is a folder; name the file in it that `save` wrote"): load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder: .*none"): save(MACHINE, tmp_path / "none" / "a.qhn")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link.qhn", tmp_path / "far" / "a.qhn"
    link.symlink_to(target)
    save(MACHINE, link)
    assert link.is_symlink() and target.is_file() and load(link) == MACHINE
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["a.qhn"]


def altered(content):
    "Files in which one thing is wrong, and what is said of them."
    n = int.from_bytes(content[:8], "little")
    text = content[8:8 + n]
    return {"empty": (b"", "is empty"), "half": (content[:len(content) // 2], "cut short"), "one byte less": (content[:-1], "cut short"),
            "a bit of an array": (content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], "was altered"),
            "another class": (content.replace(b"BornMachine", b"BornMachina"), "was altered"),
            "words": (b"label,x\n1,2\n" * 20, "is not a file that `save` wrote"), "a pickle": (pickle.dumps({"a": 1}) * 9, "is not a file that `save` wrote"),
            "another safetensors file": (as_bytes({"0": np.zeros(2)}), "not one that `save` wrote"),
            "a newer format": (as_bytes({"0": np.zeros(2)}, {"qhn format": str(FORMAT + 1)}), f"has format {FORMAT + 1}, and this version of qhn reads up to {FORMAT}"),
            "a format that is no number": (as_bytes({"0": np.zeros(2)}, {"qhn format": "x"}), "has format x"),
            "header alone": (content[:8 + n], "cut short") if text else None}


@pytest.mark.parametrize("kind", altered(b"\0" * 8))
def test_other_files_are_refused_by_their_reason(kind, tmp_path):
    whole = save(RESULTS["circuit"](), tmp_path / "whole.qhn").read_bytes()
    content, reason = altered(whole)[kind]
    (tmp_path / "other.qhn").write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught: load(tmp_path / "other.qhn")
    assert not re.search("header|deserializ|safetensor_error|buffer|offset", str(caught.value), re.IGNORECASE)    # the reader's own words


def test_a_file_that_names_a_class_of_others_makes_nothing(tmp_path):
    "With checksums that agree: no module is imported by a name from a file."
    told = {"object": {"is": "Popen", "fields": {"args": "true"}}, "own": []}    # as in files of format 1 and 2
    write_archive(tmp_path / "evil.qhn", Kind("qhn", 1, "save", "load"), {}, told)
    with pytest.raises(ValueError, match="it names 'Popen', which no file may hold"): load(tmp_path / "evil.qhn")


def test_no_data_are_in_the_file(tmp_path):
    path = save(RESULTS["circuit"](), tmp_path / "a.qhn")
    with safe_open(path, "numpy") as file: arrays = [file.get_tensor(name) for name in file.keys()]
    assert not any(a.shape[:1] == (len(X),) for a in arrays)


@pytest.mark.parametrize("path", sorted(DATA.glob("format-*.qhn")), ids=lambda p: p.stem)
def test_files_of_every_format_are_read(path):
    result = load(path)
    assert result.n_steps == 5 and result.distribution == MACHINE and result.predict(X[:3]).shape == (3, 2)


def test_there_is_a_file_of_each_format(): assert len(list(DATA.glob("format-*.qhn"))) == FORMAT


@pytest.mark.parametrize("kind", RESULTS)
def test_what_made_a_result_comes_back_and_is_in_the_heading(kind, tmp_path):
    result = RESULTS[kind]()
    path = save(result, tmp_path / "a.qhn")
    assert load(path).made == load(path).state.made == result.made and result.made.settings["n_steps"] == 5
    with safe_open(path, "numpy") as file: told = json.loads(file.metadata()["qhn"])
    assert told["made"]["versions"]["numpy"] == np.__version__ and {"qhn", "jax", "jaxlib", "optax", "scikit-learn", "Python"} <= told["made"]["versions"].keys()
    assert told["object"]["fields"]["made"]["is"] == "Made"


def test_a_loaded_result_refuses_other_data(tmp_path):
    "To go on with, and to be diagnosed by: in other units, or in another order."
    again = load(save(trained(MACHINE), tmp_path / "a.qhn"))
    for x, y in ((10 * X, Y), (X[::-1], Y[::-1])):
        with pytest.raises(ValueError, match="data are not those of the training .*; with a classifier or a regressor, use its diagnose"): again.diagnose(KEY, data=(x, y))
        with pytest.raises(ValueError, match="state comes from a training with another data"): trained_on(again.state, (x, y))
    assert trained_on(again.state, (X, Y)).n_steps == 6


def trained_on(state, data): return qhn.fit(MACHINE, NETWORK, data, state=state, n_steps=1, progress=False)


def test_another_of_ones_own_of_the_same_name_is_noticed(tmp_path):
    "Another number, another code, another enclosed value; not another comment."
    def waves(slope):
        def wave(t): return jnp.sin(slope * t)
        return wave
    path = save(qhn.BiNN((2, 1, 1), waves(3)), tmp_path / "own.qhn")
    def wave(t): return jnp.cos(3 * t)
    for other in (waves(4), wave):
        with pytest.warns(UserWarning, match="wave in own is not what .*own.qhn was saved with: its code or its numbers are others"): load(path, own={"wave": other})
    with warnings.catch_warnings(action="error"): load(path, own={"wave": waves(3)})


@pytest.mark.parametrize("kind", [qhn.QHNClassifier, qhn.QHNRegressor])
def test_a_loaded_estimator_is_diagnosed_in_the_units_of_its_user(kind, tmp_path):
    y = Y if kind is qhn.QHNClassifier else 50 + 10 * X[:, 0]
    model = kind(hidden=1, n_steps=5, n_restarts=1, random_state=0).fit(1000 * X, y)
    again, numbers = load(save(model, tmp_path / "a.qhn")), dict(n_temperatures=0, n_samples=50)
    with pytest.raises(ValueError, match="data are not those of the training"): again.result_.diagnose(KEY, data=(1000 * X, y))
    told, expected = (each.diagnose(1000 * X, y, random_state=1, **numbers) for each in (again, model))
    assert told.elbo == expected.elbo == model.result_.diagnose(jax.random.key(np.random.RandomState(1).randint(2**31 - 1)), **numbers).elbo
    with pytest.raises(ValueError, match="data are not those of the training"): again.diagnose(999 * X, y)
    if kind is qhn.QHNClassifier:
        with pytest.raises(ValueError, match="y holds .*7.*, which was no class of the training"): again.diagnose(1000 * X, np.full(20, 7))
