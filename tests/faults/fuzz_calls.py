"""A valid call of every public callable, of sizes so small that thousands of them take seconds."""
import functools
import tempfile
from pathlib import Path
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd
import pennylane as qml
from fuzz_values import array, flag, key, labels, number, probs, sets, signs, size, text, thing

import qhn
from qhn.posterior.networks import pack_networks
from qhn.problem.symmetry import Symmetry

# Declared for others to build on: none of them is called by itself.
ABSTRACT = {"Likelihood", "Prior", "Distribution", "Samples", "LogProb", "Table", "Words", "Remote", "Shiftable", "Divergence"}


class Call(NamedTuple):
    function: Callable
    arguments: dict[str, Any]         # name to what is `Given`
    answer: Callable = lambda it: it  # what of the result is compared
    named: dict[str, str] = {}        # argument to a regular expression of other words for it in messages
    warns: bool = False               # whether the valid call warns, which is told then


CALLS: dict[str, Call] = {}


def add(name, function, /, answer=lambda it: it, named={}, **arguments): CALLS[name] = Call(function, arguments, answer, named)


@functools.cache
def folder(): return Path(tempfile.mkdtemp(prefix="qhn-fuzz-"))


# dyadic numbers, which half precision holds exactly
X = [[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5], [0.0, 1.0]]
Y = [0, 1, 1, 0]
Q = [0.25, 0.125, 0.125, 0.25, 0.0625, 0.0625, 0.125, 0.0]
W = [[1, 1, -1], [-1, 1, 1], [1, -1, -1], [-1, -1, 1], [1, 1, 1]]
LOG_L = [-1.5, -2.0, -0.5, -1.0, -3.0, -2.5, -0.25, -4.0]
COSTS = [1.5, 2.0, 0.5, 1.0, 3.0, 2.5, 0.25, 4.0]
ANGLES = [0.5, -1.0, 2.0]
P = [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.125, 0.875]]

net, deep = qhn.BiNN((2, 1)), qhn.BiNN((1, 1, 1))
machine, prior = qhn.BornMachine(qhn.product(3)), qhn.BernoulliPrior(0.25)
x, q, params = array(X), probs(Q), array(ANGLES)
doubles = array(X, allowed=("beyond single precision",))    # computed with in double precision
data = thing((np.array(X, np.float32), np.array(Y)), same=((X, Y), (pd.DataFrame(X), pd.Series(Y)), (np.array(X, ">f8"), np.array(Y, np.int8))))
table, model = thing(machine, allowed=("a class",)), thing(net)
PRIOR = dict(prior=thing(prior))
SIZES = {"n_qubits": r"\bn\b|wires|register", "n": "n_weights|networks|n_qubits|prob_plus"}


def shown(axes):
    "The numbers that are drawn."
    heights = [patch.get_height() for patch in axes.patches]
    lines = [line.get_ydata() for line in axes.lines]
    plt.close(axes.figure)
    return [heights, *lines]


add("sorted_posterior", qhn.sorted_posterior, shown, {"posterior": "approximations"}, posterior=q,
    approximations=thing({"q": np.array(Q)}, optional=True), top=size(4, allowed=("'3'", "b'3'")))    # as Matplotlib, it takes texts for numbers
add("all_weights", qhn.all_weights, named=SIZES, n=size(3), dtype=thing(np.float32, same=("float32", np.dtype("f4")), mixed=True))
add("sign", qhn.sign, named={"t": "t"}, t=array(ANGLES))

add("Categorical", qhn.Categorical, repr)
add("Gaussian", qhn.Gaussian, repr, noise=number(0.5, 0.5, allowed=("[1.0, 2.0]",)))
add("Gaussian of several", qhn.Gaussian, repr, noise=array([0.5, 0.25]))
add("BiNN", qhn.BiNN, lambda it: (it.layer_sizes, it.logit_scale, it.n_weights),
    layer_sizes=thing((2, 3, 1), same=([2, 3, 1], np.array([2, 3, 1]), (np.int8(2), np.uint8(3), 1))), activation=thing(jnp.tanh, allowed=("a class",)),
    logit_scale=number(2.0, 0.5), likelihood=thing(qhn.Categorical()))
add("BiNN.unpack", net.unpack, weights=array(W[0]))
add("BiNN.logits", net.logits, weights=array(W[:2]), x=x)
add("BiNN.log_probs", net.log_probs, weights=array(W[:2]), x=x)
add("BiNN.log_likelihood", net.log_likelihood, weights=signs(W[:2]), x=x, y=labels(Y), row_weights=array([1, 2, 0.5, 0], optional=True))
add("BiNN.log_likelihood of numbers", qhn.BiNN((2, 1), likelihood=qhn.Gaussian(0.5)).log_likelihood, weights=signs(W[:2]), x=x, y=array([0.5, 1, -1, 0.25]))
add("BiNN.features", net.features, x=x)

add("CostTable", qhn.CostTable, lambda it: it.costs, costs=array(COSTS))
add("CostTable.log_likelihood", qhn.CostTable(np.array(COSTS, np.float32)).log_likelihood, weights=signs(W))
add("log_likelihood_table", lambda model, x, y: qhn.log_likelihood_table(model, x, y), named={"x": "data", "y": "data"}, model=model, x=x, y=labels(Y))
CALLS["log_likelihood_table of a pair"] = Call(lambda model, data: qhn.log_likelihood_table(model, data), dict(model=model, data=data), named={"data": r"\bx\b|\by\b"})

add("BernoulliPrior", qhn.BernoulliPrior, lambda it: it.table(3), prob_plus=array([0.25, 0.5, 0.75], optional=True, mixed=False))
add("BernoulliPrior of one number", qhn.BernoulliPrior, lambda it: it.table(2), prob_plus=number(0.25, 0.0, optional=True))
add("BernoulliPrior of odds", lambda log_odds: qhn.BernoulliPrior(log_odds=log_odds), lambda it: it.table(3), log_odds=array([0.5, -1, 2], optional=True))
add("BernoulliPrior.log_prob", prior.log_prob, weights=signs(W))
add("BernoulliPrior.sample", prior.sample, named=SIZES, key=key(), n_samples=size(3), n=size(3))
add("BernoulliPrior.table", prior.table, named=SIZES, n=size(3))
add("BernoulliPrior.means", prior.means, named=SIZES, n=size(3))
add("BernoulliPrior.entropy", prior.entropy, named=SIZES, n=size(3))
add("BernoulliPrior.natural_params", prior.natural_params, named=SIZES, n=size(3))
add("BernoulliPrior.cross_entropy", prior.cross_entropy, q=q)
add("BernoulliPrior.cross_entropy_of_means", prior.cross_entropy_of_means, means=array([0.5, -0.25, 1]))

moments = (qhn.Rotation("RY"), qhn.Entangler("CNOT", ((0, 1),)), qhn.Rotation("RZ"))
add("Rotation", qhn.Rotation, repr, gate=text("RY"), wires=thing((0, 1), same=([0, 1], np.array([0, 1]), range(2)), optional=True, allowed=("an empty list",)))
add("Entangler", qhn.Entangler, repr, gate=text("CNOT"), pairs=thing(((0, 1), (1, 2)), same=([(0, 1), (1, 2)], np.array([[0, 1], [1, 2]])), allowed=("an empty list", "a dictionary")))
add("Ansatz", qhn.Ansatz, repr, SIZES, n_qubits=size(3), moments=thing(moments, same=(list(moments),), allowed=("an empty list",)))
add("product", qhn.product, repr, SIZES, n_qubits=size(3))
for shape, least in (("staircase", 0), ("brickwork", 1), ("hardware_efficient", 0)):
    more = {} if shape == "hardware_efficient" else {"final_rz": flag(False)}
    add(shape, getattr(qhn, shape), repr, SIZES, n_qubits=size(3), n_layers=size(1, least), **more)
stairs = qhn.staircase(3, 1)
add("Ansatz.init", stairs.init, key=key(), noise=number(0.5, 0.0, optional=True))
add("Ansatz.view", qhn.product(3).view, params=params)
add("Ansatz.flatten", qhn.product(3).flatten, parts=thing({"RY 1": np.array(ANGLES, np.float32)}, same=([np.array(ANGLES)],)))


def circuit(theta):
    qml.RY(theta, 0)
    qml.CNOT((0, 1))


quantum = dict(circuit=thing(circuit, allowed=("a class",)), n_wires=size(2, optional=True, mixed=True), theta=number(0.5, mixed=True))
add("Ansatz.from_pennylane", lambda circuit, n_wires, theta: qhn.Ansatz.from_pennylane(circuit, n_wires, theta), repr, {"theta": "angle|circuit"}, **quantum)
add("pennylane_params", lambda circuit, n_wires, theta: qhn.pennylane_params(circuit, n_wires, theta), named={"theta": "angle|circuit"}, **quantum)
add("to_openqasm", qhn.to_openqasm, ansatz=thing(qhn.product(3)), params=params)
PROGRAM = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; ry(0.5) q[0]; cx q[0], q[1];'
add("from_openqasm", qhn.from_openqasm, repr, text=text(PROGRAM))

add("BornMachine", qhn.BornMachine, repr, ansatz=thing(qhn.product(3)), engine=thing(None, optional=True, allowed=("a class",)))
add("Bernoulli", qhn.Bernoulli, repr, n_qubits=size(3))
add("Mixture", qhn.Mixture, repr, source=table, n_circuits=size(2))
add("Symmetrised", qhn.Symmetrised, repr, source=thing(qhn.BornMachine(qhn.product(4))), binn=thing(deep))
add("SampleOnly", qhn.SampleOnly, repr, source=table)
EACH = dict(
    sample=dict(key=key(), n_samples=size(4)), sample_and_log_prob=dict(key=key(), n_samples=size(4)), entropy_estimate=dict(key=key(), n_samples=size(4, 2)),
    log_prob=dict(weights=signs(W)), probs={}, means={}, pair_means={}, words=dict(sets=sets([[0, 1, 1], [1, 1, 1]])))
DISTRIBUTIONS = {
    "BornMachine": (machine, params, EACH), "BornMachine of a staircase": (qhn.BornMachine(stairs), array(np.linspace(-2, 2, stairs.n_params).round(2)), ("sample", "log_prob", "probs")),
    "Bernoulli": (qhn.Bernoulli(3), array([ANGLES]), EACH), "SampleOnly": (qhn.SampleOnly(machine), params, ("sample",)),
    "Mixture": (qhn.Mixture(machine, 2), array([ANGLES, ANGLES[::-1]]), EACH)}
for name, (distribution, given, methods) in DISTRIBUTIONS.items():
    for method in methods: add(f"{name}.{method}", getattr(distribution, method), params=given, **EACH[method])
add("BornMachine.init", machine.init, key=key(), noise=number(0.5, 0.0, optional=True))
add("BornMachine.coins", machine.coins, params=params)
add("BornMachine.mmd2", machine.mmd2, params=params, means=array([0.5, -0.25, 1]), word_probs=array([0.25, 0.125]))
symmetric = qhn.Symmetrised(qhn.BornMachine(qhn.product(4)), deep)
four = array([0.5, -1, 2, 0.25])
for method, more in dict(sample=EACH["sample"], probs={}, log_prob=dict(weights=signs([[1, 1, -1, 1], [-1, 1, 1, -1]]))).items():
    add(f"Symmetrised.{method}", getattr(symmetric, method), params=four, **more)
exact = qml.device("default.qubit", wires=2)


@qml.qnode(exact)
def node(theta):
    qml.RY(theta[0], 0)
    qml.RY(theta[1], 1)
    return qml.probs(wires=[0, 1])


add("QNodeDistribution", qhn.QNodeDistribution, lambda it: (it.param_shape, it.n_qubits), {"wires": "label"}, qnode=thing(node, allowed=("a class",)),
    param_shape=thing((2,), same=([2], np.array([2]), (np.int8(2),)), allowed=("an empty list",)), wires=size(2, optional=True, mixed=True))
quantum_node = qhn.QNodeDistribution(node, (2,))
add("QNodeDistribution.probs", quantum_node.probs, params=array([0.5, -1]))
add("QNodeDistribution.sample", quantum_node.sample, params=array([0.5, -1]), **EACH["sample"])
add("QNodeDistribution.log_prob", quantum_node.log_prob, params=array([0.5, -1]), weights=signs([[1, -1], [-1, 1]]))

for function in (qhn.log_evidence, qhn.exact_posterior): add(function.__name__, function, log_likelihoods=array(LOG_L, allowed=("minus infinity in it",)), temperature=number(2.0, 0.5), **PRIOR)
add("free_energy", qhn.free_energy, q=q, log_likelihoods=array(LOG_L, allowed=("minus infinity in it",)), **PRIOR)
words = array([1, 2], allowed=("beyond single precision",))
add("kernel", qhn.kernel, weights=signs(W), others=signs(W[:2]), word_weights=words)
add("mmd2_of", qhn.mmd2_of, named={"word_weights": "word"}, distribution=table, params=params, word_weights=words, key=key(optional=True), n_sets=size(10), **PRIOR)
add("NoDivergence", qhn.NoDivergence, repr)
add("KL", qhn.KL, repr, weight=number(0.5, 0.0))
add("MMD", qhn.MMD, repr, word_weights=words, weight=number(0.5, 0.0), root=flag(False))
add("Renyi", qhn.Renyi, repr, order=number(0.5, 0.5))
add("Stein", qhn.Stein, repr, word_weights=words)
for objective in (qhn.KL(), qhn.MMD(), qhn.Renyi(), qhn.Stein(), qhn.NoDivergence()):
    add(f"{type(objective).__name__}.from_probs", objective.from_probs, q=q, costs=array(COSTS), **PRIOR)
add("KL.from_samples", qhn.KL().from_samples, costs=array(COSTS[:5]), weights=signs(W), log_q=array(LOG_L[:5], allowed=("minus infinity in it",)), **PRIOR)
add("MMD.from_samples", lambda costs, weights, prior: qhn.MMD().from_samples(costs, weights, None, prior), costs=array(COSTS[:5]), weights=signs(W), **PRIOR)

add("Exact", qhn.Exact, repr)
add("ScoreFunction", qhn.ScoreFunction, repr, n_samples=size(4, 3), batch_size=size(2, 2, optional=True), analytic=flag(False), slope=flag(False))
add("ParameterShift", qhn.ParameterShift, repr, n_samples=size(4, 3), circuits_at_once=size(2))
add("SPSA", qhn.SPSA, repr, n_samples=size(4, 3), perturbation=number(0.5, 0.5), n_directions=size(2), common=flag(False))
add("EarlyStopping", qhn.EarlyStopping, lambda it: (it.patience, it.min_delta, it.window), patience=size(3), min_delta=number(0.5, 0.0), window=size(2, optional=True))
add("Checkpoint", qhn.Checkpoint, repr, {"folder": "checkpoint"}, folder=text("runs", same=(), allowed=("another", "empty")), every=number(0.5, 0.0), keep=size(2))

optimizer = optax.adam(0.05)
TRAINING = dict(distribution=table, model=model, data=data, prior=thing(prior), key=key())
SETTINGS = dict(
    objective=thing(qhn.KL()), estimator=thing(qhn.Exact(), optional=True), optimizer=thing(optimizer, allowed=("a class",)), n_steps=size(2), n_seeds=size(1),
    params=array(ANGLES, optional=True), noise=number(0.5, 0.0, optional=True), progress=flag(False, mixed=True), callbacks=thing((), optional=True, same=([],), allowed=("an empty list", "a list of it")),
    checkpoint=thing(None, optional=True, mixed=True), mesh=thing(None, optional=True), state=thing(None, optional=True))
TOLD = {"data": r"\bx\b|\by\b|model", "params": "state|noise", "model": "costs", "n_seeds": "params", "noise": "params|start"}
for left_out in ("params", "noise"):
    settings = {name: given for name, given in SETTINGS.items() if name != left_out}
    add(f"fit without {left_out}", qhn.fit, lambda result: result.params, TOLD, **TRAINING, **settings)
add("fit of sampled gradients", functools.partial(qhn.fit, progress=False, estimator=qhn.ScoreFunction(8), optimizer=optimizer), lambda result: result.params, TOLD, **TRAINING, n_steps=SETTINGS["n_steps"])


@functools.cache
def result(): return qhn.fit(machine, net, (np.array(X, np.float32), np.array(Y)), key=jax.random.key(0), n_steps=3, progress=False, n_seeds=2)


@functools.cache
def packed(): return pack_networks(net, np.array(W), k=3)


PATH = {"path": "file|folder|[Dd]irectory"}
add("FitResult.sample", lambda **given: result().sample(**given), key=key(), n_samples=size(4))
add("FitResult.predict", lambda **given: result().predict(**given), x=x, key=key(optional=True), n_samples=size(4, 2))
add("FitResult.networks", lambda **given: result().networks(**given).weights, k=size(2), key=key(optional=True), n_samples=size(4))
add("PackedNetworks.predict", lambda x: packed().predict(x), x=doubles)
add("PackedNetworks.uncertainty", lambda x: packed().uncertainty(x), x=doubles)
add("load_networks", lambda path: qhn.load_networks(path), lambda it: it.weights, PATH, path=text(str(folder() / "networks"), same=(folder() / "networks",), allowed=("another", "empty")))
packed().save(folder() / "networks")
add("save", qhn.save, str, PATH | {"obj": "object|holds|stored|keeps"}, obj=thing(machine, mixed=True), path=text(str(folder() / "model.qhn"), same=(folder() / "model.qhn",), allowed=("another", "empty")))
add("load", qhn.load, repr, PATH, path=text(str(folder() / "made.qhn"), same=(folder() / "made.qhn",), allowed=("another", "empty")), own=thing({}, optional=True, allowed=("a dictionary", "an empty list")))
qhn.save(machine, folder() / "made.qhn")

binary = thing(net)
add("posterior_predictive", qhn.posterior_predictive, binn=binary, q=q, x=x, log=flag(False))
add("posterior_predictive of numbers", functools.partial(qhn.posterior_predictive, qhn.BiNN((2, 1), likelihood=qhn.Gaussian(0.5))), q=q, x=x)
add("predictive_uncertainty", qhn.predictive_uncertainty, binn=binary, q=q, x=x)
add("log_loss", qhn.log_loss, predictive=probs(P), y=labels(Y), log=flag(False))
add("log_loss of logarithms", functools.partial(qhn.log_loss, log=True), predictive=array(np.log2(P) * 0 + np.log(P), allowed=("minus infinity in it",)), y=labels(Y))
add("accuracy", qhn.accuracy, predictive=probs(P), y=labels(Y))
add("expected_calibration_error", qhn.expected_calibration_error, predictive=probs(P), y=labels(Y), n_bins=size(3), adaptive=flag(False), label=size(1, 0, optional=True))

CSV = folder() / "table.csv"
CSV.write_text("a,b,class\n" + "".join(f"{i},{i % 3 + 0.5},{'yes' if i % 2 else 'no'}\n" for i in range(12)))
reading = dict(label=text("class", optional=True, mixed=True), missing=text("refuse"), target=text("class"))
add("read_table", qhn.read_table, lambda it: it.y, PATH | {"label": "column"}, path=text(str(CSV), same=(CSV,), allowed=("another", "empty")), **reading)
add("learn_columns", qhn.learn_columns, lambda it: it.feature_names, table=thing(pd.DataFrame({"a": [1.0, 2, 3], "b": [0.5, 0, 1]}), allowed=("a class",)))
add("load_dataset", functools.partial(qhn.load_dataset, noise=0.25), lambda it: it.x_train, {"name": "data set"}, name=text("xor"), seed=size(0, 0), n_train=size(4, 2, optional=True))

ESTIMATOR = dict(
    hidden=thing((), same=([],), mixed=True), n_steps=size(2), learning_rate=number(0.125, 0.0), n_restarts=size(1), n_samples=size(4), n_layers=size(1), logit_scale=number(2.0, 0.5),
    temperature=number(0.5, 0.5, optional=True), symmetrise=flag(False), scale=flag(True), verbose=flag(False), objective=text("elbo"), activation=text("tanh"), ansatz=text("product"),
    callbacks=thing((), optional=True, allowed=("an empty list",)))


SKLEARNS = "a number as text in it", "bytes", "beyond single precision"


def learned(kind):
    "Settings to what a fitted estimator predicts."
    def fitted(X=np.array(X, np.float32), y=np.array(Y), **settings):
        estimator = kind(**{"n_steps": 2, "n_restarts": 1, "n_samples": 4, "hidden": (), "logit_scale": 2.0, "random_state": 0} | settings).fit(X, y)
        return estimator.predict(np.array([[0.5, 0.25]]))
    return fitted


for kind, y in ((qhn.QHNClassifier, labels(Y, mixed=True, allowed=("object array",))), (qhn.QHNRegressor, array([0.5, 1, -1, 0.25], allowed=SKLEARNS))):
    add(kind.__name__, learned(kind), named={"logit_scale": "non-finite", "temperature": "non-finite"}, **ESTIMATOR)
    # scikit-learn converts X and y by its own rules, which its check_estimator asks for, and in its own words
    add(f"{kind.__name__}.fit", learned(kind), named={"X": ".", "y": "."}, X=array(X, allowed=SKLEARNS), y=y)

def shots_of(**given):
    with qhn.HardwareSampler(**given) as sampler: return sampler.shots


AER = qml.device("default.qubit", wires=2, seed=0)
add("HardwareSampler", shots_of, ansatz=thing(qhn.product(2)), backend=thing(AER, mixed=True), shots=size(4), seed=size(0, 0))
