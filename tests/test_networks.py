"""Packed networks against enumeration, sampled predictions and integer arithmetic; their files; and the sign as an activation."""
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save as as_bytes

import qhn
from qhn.archive import Kind, write_archive
from qhn.inference.estimator import Problem
from qhn.posterior.networks import PackedNetworks, load_networks, pack_networks
from qhn.posterior.predictive import posterior_predictive, posterior_predictive_from_samples
from qhn.problem.bits import all_weights, weights_from_index
from qhn.problem.costs import as_target
from qhn.problem.symmetry import Symmetry

KEY, RNG = jax.random.key(0), np.random.default_rng(0)
KINDS = {
    "two classes": qhn.BiNN((2, 2, 1)),
    "three classes": qhn.BiNN((2, 1, 3), jnp.sin, 0.7),
    "no hidden layer": qhn.BiNN((3, 2), logit_scale=2.0),
    "two hidden layers": qhn.BiNN((2, 1, 2, 1), jax.nn.silu),
    "signs": qhn.BiNN((2, 2, 1), qhn.sign, 0.5),
    "signs, two hidden layers": qhn.BiNN((1, 2, 1, 2), qhn.sign),
    "a number": qhn.BiNN((2, 2, 1), likelihood=qhn.Gaussian(0.3)),
    "two numbers, signs": qhn.BiNN((2, 1, 2), qhn.sign, 0.5, qhn.Gaussian((0.3, 2.0))),
}


def signs(*shape, seed=0): return np.random.default_rng(seed).choice([-1.0, 1.0], shape)


def points(kind, n_inputs, n=30):
    "Real ones, more than a block of them; or ±1, where a unit often sums to 0."
    return signs(n, n_inputs, seed=1) if kind == "±1" else np.random.default_rng(1).normal(size=(n, n_inputs))


def assert_same(found, expected):
    if isinstance(found, np.ndarray): found, expected = (found,), (expected,)
    for part, wanted in zip(found, expected): np.testing.assert_allclose(part, wanted, atol=1e-6)


@pytest.mark.parametrize("x", ["±1", "real"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_networks_predict_what_enumeration_says(kind, x):
    binn = KINDS[kind]
    q, x = np.random.default_rng(2).dirichlet(np.full(2**binn.n_weights, 0.2)), points(x, binn.layer_sizes[0])
    packed = pack_networks(binn, all_weights(binn.n_weights), q)
    assert_same(packed.predict(x), posterior_predictive(binn, q, x))


@pytest.mark.parametrize("x", ["±1", "real"])
@pytest.mark.parametrize("binn", [qhn.BiNN((70, 20, 9, 4), qhn.sign, 0.3), qhn.BiNN((64, 300, 2), jnp.tanh, 0.1)], ids=["sign", "tanh"])
def test_samples_predict_what_their_mean_says(binn, x):
    "More inputs than a word has bits, more units and points than a block takes, and every third network twice."
    weights, x = signs(12, binn.n_weights), points(x, binn.layer_sizes[0], 300)
    weights = np.concatenate([weights, weights[::3]])
    packed = pack_networks(binn, weights)
    assert len(packed) == 12 and sorted(packed.probs) == [1 / 16] * 8 + [2 / 16] * 4
    assert_same(packed.predict(x), posterior_predictive_from_samples(binn, weights, x).probs)


@pytest.mark.parametrize("n_inputs", [1, 8, 63, 64, 65, 200])
def test_exclusive_or_is_the_product_to_the_last_bit(n_inputs):
    "The mean of a number is the output itself, here an integer."
    binn = qhn.BiNN((n_inputs, n_inputs + 1, 3), qhn.sign, likelihood=qhn.Gaussian())
    weights, x = signs(1, binn.n_weights), signs(40, n_inputs, seed=1)
    (w, b), (v, c) = [(np.asarray(w, int), np.asarray(b, int)) for w, b in binn.unpack(weights[0])]
    units = np.where(x.astype(int) @ w.T + b < 0, -1, 1)
    packed = pack_networks(binn, weights)
    np.testing.assert_array_equal(packed.predict(x).mean, units @ v.T + c)
    np.testing.assert_array_equal(packed.predict(x).epistemic, 0)
    nearly = np.concatenate([x, np.full((1, n_inputs), 0.5)])    # one row that is not ±1: unpacked signs for all
    np.testing.assert_array_equal(packed.predict(nearly)[0][:-1], packed.predict(x)[0])


@pytest.mark.parametrize("seed", range(20))
def test_no_probability_is_more_than_one(seed):
    "Where all networks are sure, and their rounded shares sum to a little more than one, which scikit-learn would refuse."
    binn, x = qhn.BiNN((5, 2), logit_scale=400.), np.ones((1, 5))
    every = np.asarray(all_weights(12), float)
    sure = np.exp(np.asarray(binn.log_probs(every, x)))[:, 0, 0] == 1
    shares = np.random.default_rng(seed).random(len(every)) * sure
    w, q = every[sure], np.float32(shares / shares.sum())
    packed = pack_networks(binn, w, shares[sure])
    found = [packed.predict(x), packed.uncertainty(x).probs, posterior_predictive(binn, q, np.float32(x)),
             posterior_predictive_from_samples(binn, np.float32(w), np.float32(x)).probs]
    for probs in found: assert np.max(probs) <= 1 and np.allclose(np.sum(probs, 1), 1, atol=1e-5)
    found = posterior_predictive(binn, q, np.float32(x), log=True), posterior_predictive_from_samples(binn, np.float32(w), np.float32(x), log=True).probs
    for log_probs in found: assert np.max(log_probs) <= 0


@pytest.mark.parametrize("sizes", [(2, 2, 1), (7, 1), (5, 2, 1)])
def test_bytes_are_the_number_of_the_network(sizes):
    "Wire 0 is the most significant bit of the first byte; the bits behind the last wire are 0."
    binn = qhn.BiNN(sizes)
    numbers = np.random.default_rng(0).permutation(2**binn.n_weights)[:50]
    packed = pack_networks(binn, weights_from_index(numbers, binn.n_weights))
    spare = -binn.n_weights % 8
    assert [int.from_bytes(row.tobytes(), "big") for row in packed.bits] == [int(number) << spare for number in numbers]
    np.testing.assert_array_equal(packed.weights, weights_from_index(numbers, binn.n_weights))
    assert packed.bits.nbytes == 50 * -(-binn.n_weights // 8) and packed.nbytes == packed.bits.nbytes + 8 * 50


def test_shares_are_added_and_sum_to_one():
    binn, w = qhn.BiNN((3, 1)), np.asarray(all_weights(4))
    packed = pack_networks(binn, w[[5, 9, 5, 2, 9, 5, 7]], [1, 2, 1, 0.5, 2, 1, 0])
    np.testing.assert_array_equal(packed.weights, w[[9, 5, 2]])
    np.testing.assert_allclose(packed.probs, np.array([4, 3, 0.5]) / 7.5)
    few = pack_networks(binn, w[[5, 9, 5, 2, 9, 5, 7]], k=2)
    np.testing.assert_array_equal(few.weights, w[[5, 9]])
    np.testing.assert_allclose(few.probs, [0.6, 0.4])
    assert len(pack_networks(binn, w, k=1000)) == 16


def test_of_equal_counts_the_first_that_were_drawn_stay():
    "Not the first in the order of the bits, which would favour +1 on the first wires."
    weights = signs(60, 21)
    np.testing.assert_array_equal(pack_networks(qhn.BiNN((20, 1)), weights, k=25).weights, weights[:25])


# --- what training returns --------------------------------------------------------------------------------------------

X, Y = RNG.normal(size=(20, 2)), np.tile([0, 1], 10)


@pytest.fixture(scope="module")
def result():
    return qhn.fit(qhn.BornMachine(qhn.staircase(5, 1)), qhn.BiNN((2, 1, 1)), (X, Y), n_steps=5, key=KEY, n_seeds=2, progress=False)


def test_the_most_probable_networks_of_a_result(result):
    probs = np.asarray(result.distribution.probs(result.best()))
    five = result.networks(5)
    np.testing.assert_allclose(five.probs, np.sort(probs)[:-6:-1] / np.sort(probs)[-5:].sum(), atol=1e-12)
    np.testing.assert_array_equal(five.weights, all_weights(5)[np.argsort(-probs)[:5]])
    every = result.networks(1000)
    assert len(every) == 32 and abs(every.probs.sum() - 1) < 1e-12
    np.testing.assert_allclose(every.predict(X), result.predict(X), atol=1e-6)


def test_the_networks_of_a_result_that_are_drawn_most_often(result):
    drawn = [tuple(w) for w in np.asarray(result.sample(KEY, 200), int)]
    counts = {w: drawn.count(w) for w in drawn}
    packed = result.networks(4, key=KEY, n_samples=200)
    most = sorted(counts.values())[:-5:-1]
    np.testing.assert_allclose(packed.probs, np.array(most) / sum(most))
    assert [counts[tuple(w)] for w in packed.weights.tolist()] == most
    np.testing.assert_allclose(result.networks(200, key=KEY, n_samples=200).predict(X), result.predict(X, key=KEY, n_samples=200), atol=1e-6)


def test_networks_are_refused_with_a_way_out(result):
    with pytest.raises(ValueError, match="k must be an integer of at least 1, got k=0"): result.networks(0)
    wide = qhn.fit(qhn.BornMachine(qhn.product(21)), qhn.BiNN((20, 1)), (RNG.normal(size=(4, 20)), Y[:4]), estimator=qhn.ScoreFunction(4), n_steps=1, key=KEY, n_seeds=1, progress=False)
    with pytest.raises(ValueError, match=r"key must be a jax.random.key, got key=None; networks of more than 16 weights are drawn"): wide.networks(3)
    assert 1 < len(wide.networks(3, key=KEY, n_samples=50)) <= 3


# --- files ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_networks_come_back_from_a_file(kind, tmp_path):
    binn = KINDS[kind]
    packed = pack_networks(binn, signs(20, binn.n_weights), np.arange(1, 21))
    x = points("real", binn.layer_sizes[0])
    for again in (load_networks(packed.save(tmp_path / "a.qhn")), pickle.loads(pickle.dumps(packed))):
        for name in vars(packed): np.testing.assert_array_equal(vars(again)[name], vars(packed)[name])
        np.testing.assert_array_equal(again.predict(x)[0], packed.predict(x)[0])


def test_no_jax_where_networks_are_used(tmp_path):
    binn = KINDS["signs"]
    packed = pack_networks(binn, signs(20, binn.n_weights))
    path = packed.save(tmp_path / "a.qhn")
    code = (f"import sys; import qhn.posterior.networks; from qhn import load_networks; p = load_networks({str(path)!r}); q = p.predict([[1, -1], [0.2, 3]]).tolist(); "
            f"p.save({str(tmp_path / 'b.qhn')!r}); print(q, [m for m in ('jax', 'jaxlib', 'pandas', 'scipy', 'sklearn', 'matplotlib') if m in sys.modules])")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(qhn.__file__).parent.parent).stdout
    assert printed.strip() == f"{packed.predict([[1, -1], [0.2, 3]]).tolist()} []"
    assert as_bytes_of(tmp_path / "b.qhn") == as_bytes_of(path)


def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path):
    "Every byte of it changed, one after the other, and every length cut."
    whole = pack_networks(qhn.BiNN((2, 1)), all_weights(3)[:2]).save(tmp_path / "a.qhn").read_bytes()
    other = tmp_path / "b.qhn"
    for place in range(len(whole)):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:]):
            other.write_bytes(content)
            try: load_networks(other)
            except ValueError as error: assert str(other) in str(error)
            else: assert as_bytes_of(other) == as_bytes_of(tmp_path / "a.qhn")    # white space of the heading


def as_bytes_of(path):
    packed = load_networks(path)
    return packed.bits.tobytes() + packed.probs.tobytes() + repr((packed.layer_sizes, packed.activation, packed.logit_scale, packed.noise)).encode()


@pytest.mark.parametrize("content, reason", [
    (b"", "is empty"), (b"label,x\n1,2\n" * 20, "is not a file that `PackedNetworks.save` wrote"),
    (as_bytes({"0": np.zeros(2)}), "is a safetensors file, but not one that `PackedNetworks.save` wrote$"),
    (as_bytes({}, {"qhn networks format": "2"}), "has format 2, and this version of qhn reads up to 1; install a newer one"),
    (as_bytes({}, {"qhn format": "1"}), r"not one that `PackedNetworks.save` wrote; use load\(path\)")], ids=["empty", "text", "foreign", "newer", "of save"])
def test_other_files_are_refused(content, reason, tmp_path):
    (tmp_path / "a.qhn").write_bytes(content)
    with pytest.raises(ValueError, match=reason): load_networks(tmp_path / "a.qhn")


def test_load_says_what_reads_packed_networks(tmp_path):
    path = pack_networks(qhn.BiNN((2, 1)), all_weights(3)).save(tmp_path / "a.qhn")
    with pytest.raises(ValueError, match=r"not one that `save` wrote; use load_networks\(path\)"): qhn.load(path)
    with pytest.raises(FileNotFoundError): load_networks(tmp_path / "none.qhn")


GOOD = {"layer_sizes": [2, 1], "activation": "tanh", "logit_scale": 1.0, "noise": None}


@pytest.mark.parametrize("told, reason", [
    (GOOD | {"activation": "__import__"}, "activation must be one of tanh"), (GOOD | {"layer_sizes": [9, 1]}, "bits must hold 2 bytes"),
    (GOOD | {"noise": [-1.0]}, "noise must be None, or a positive number"), (GOOD | {"logit_scale": "x"}, ""),
    (GOOD | {"more": 1}, "more"), ({}, "noise"), (GOOD | {"layer_sizes": 3}, "")])
def test_a_file_of_ours_that_makes_no_sense_is_refused(told, reason, tmp_path):
    "With checksums that agree."
    arrays = {"bits": np.zeros((2, 1), np.uint8), "probs": np.full(2, 0.5)}
    path = write_archive(tmp_path / "a.qhn", Kind("qhn networks", 1, "", ""), arrays, told)
    with pytest.raises(ValueError, match=f"holds what this version of qhn cannot make: .*{reason}"): load_networks(path)


def test_shares_that_do_not_sum_to_one_are_refused():
    for probs in ([0.5, 0.4], [1.5, -0.5], [1.0], [np.nan, 1]):
        with pytest.raises(ValueError, match="probs must hold a share for each of the 2 networks, which sum to 1"): PackedNetworks(np.zeros((2, 1), np.uint8), np.array(probs), (2, 1))


# --- the sign as an activation ----------------------------------------------------------------------------------------

def test_the_slope_of_the_sign_is_that_of_hard_tanh():
    t = jnp.concatenate([jnp.linspace(-3, 3, 31), jnp.array([-1.0, 1.0])])
    inside = jnp.where(abs(abs(t) - 1) > 1e-9, jax.vmap(jax.grad(jax.nn.hard_tanh))(t), 1)    # at ±1 hard tanh has none
    for slope in (jax.vmap(jax.grad(qhn.sign)), jax.jit(jax.vmap(jax.jacfwd(qhn.sign)))): np.testing.assert_array_equal(slope(t), inside)
    np.testing.assert_array_equal(qhn.sign(t), np.where(np.asarray(t) < 0, -1, 1))
    assert qhn.sign(jnp.float32(0)).dtype == jnp.float32 and qhn.sign(0.0) == 1


def test_a_network_of_signs_is_pickled_and_kept_by_name(tmp_path):
    binn = KINDS["signs"]
    for again in (pickle.loads(pickle.dumps(binn)), qhn.load(qhn.save(binn, tmp_path / "a.qhn"))): assert again == binn and again.activation is qhn.sign
    assert qhn.load(qhn.save(qhn.BiNN((2, 2, 1), jnp.sign), tmp_path / "b.qhn")).activation is jnp.sign


def test_a_standard_form_predicts_alike_where_units_sum_to_zero():
    "It would not if flips were counted as symmetries of the sign, which is +1 at 0."
    binn, x = qhn.BiNN((1, 2, 1), qhn.sign), np.array([[-1.0], [1.0]])
    w = all_weights(binn.n_weights)
    np.testing.assert_array_equal(binn.logits(Symmetry(binn).canonical(w), x), binn.logits(w, x))
    assert Symmetry(binn).n_moves == 2


def test_the_straight_through_slope_leaves_the_gradient_unbiased():
    "The mean of 400 estimates is the exact gradient; and there is a slope."
    binn = qhn.BiNN((2, 1, 1), qhn.sign)
    machine = qhn.BornMachine(qhn.staircase(5, 1))
    problem = Problem(machine, as_target(binn, (X, Y)), qhn.BernoulliPrior(), qhn.KL())
    params, exact = machine.init(KEY), qhn.Exact()
    expected = exact(exact.prepare(problem), params, KEY).gradient
    estimator, keys = qhn.ScoreFunction(8, slope=True), jax.random.split(KEY, 400)
    found = np.asarray(jax.jit(jax.vmap(lambda key: estimator(problem, params, key).gradient))(keys))
    assert abs((found.mean(0) - expected) / (found.std(0) / 20 + 1e-9)).max() < 4.5
    assert jnp.all(jax.grad(lambda w: binn.logits(w, X[:1])[0, 0])(jnp.full(5, 0.3)) != 0)    # jnp.sign has none at the first three
