"""The hardware run against simulators and noise models of 5 and 16 qubits: bits, noise, gradients, messages. No test needs an account."""
import dataclasses
import json
import math
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from qiskit.circuit import Measure
from qiskit.circuit.library import XGate
from qiskit.providers import QiskitBackendNotFoundError
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import Target
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError, IBMRuntimeError

from packaging.requirements import Requirement

from qhn.problem.bits import all_weights, index_from_weights
import qhn.hardware.run as qhn_run
import qhn.hardware.sampler as qhn_sampler
from qhn.hardware import backends
from qhn.hardware import readout
from qhn.circuits.ansatz import Ansatz, Entangler, Rotation, brickwork, product, staircase
from qhn.problem.network import BiNN
from qhn.distributions.born import BornMachine
from qhn.objectives.elbo import KL, NoDivergence
from qhn.problem.prior import BernoulliPrior
from qhn.inference.shots import SPSA, ParameterShift
from qhn.inference.gradients import Exact
from qhn.inference.estimator import Problem
from qhn.problem.costs import as_target
from qhn.hardware.sampler import HardwareSampler, RuntimeService, qpu_seconds
from qhn.hardware.backends import (compile_circuit, noise_model, open_backend, qiskit_circuit,
                                   used_part)
from qhn.inference.callbacks import StopTraining
from qhn.inference.fit import fit
from qhn.hardware.jobs import JobCancelled, JobError, JobFailed, JobTimeout, QueueTooLong, Status
from qhn.hardware.journal import read_journal
from qhn.objectives.mmd import MMD

ONES = np.array([0.05, 0.25, 0.45, 0.65, 0.9])                     # a different P(1) on every wire
ANGLES = 2 * np.arcsin(np.sqrt(ONES))                        # of product(5)


def frequencies(weights): return (np.asarray(weights) < 0).mean(-2)


def histogram(weights, n): return np.bincount(np.asarray(index_from_weights(jnp.asarray(weights))), minlength=2**n) / len(weights)


@pytest.fixture(scope="module")
def manila(): return open_backend("fake:manila", 5)


# --- bits -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("backend, layout", [("aer", None), ("fake:manila", None), ("fake:manila", (3, 0, 4, 1, 2)), ("fake:manila", (4, 3, 2, 1, 0)),
                                             ("fake:guadalupe", (15, 0, 7, 11, 4)), ("pennylane:default.qubit", None),
                                             ("pennylane:lightning.qubit", None), pytest.param("pennylane:qiskit.aer", None, marks=pytest.mark.plugin)])
def test_column_is_wire(backend, layout):
    with HardwareSampler(product(5), backend, layout=layout) as sampler:
        weights = sampler.sample_batch(np.stack([ANGLES, ANGLES[::-1]]), 1500)
        wrong = sampler.calibrate(1500)
    assert weights.shape == (2, 1500, 5) and set(np.unique(weights)) == {-1, 1}
    if layout is not None: assert sampler.layout == layout
    for seen, ones in zip(frequencies(weights), (ONES, ONES[::-1])):
        expected = ones * (1 - wrong[:, 1]) + (1 - ones) * wrong[:, 0]        # of the noise, readout is all but a percent
        assert np.abs(seen - expected).max() < 4 * np.sqrt(0.5 / 1500) + 0.01


@pytest.mark.plugin
def test_column_is_wire_through_pennylanes_remote_device(manila):
    import pennylane as qml
    with HardwareSampler(product(5), qml.device("qiskit.remote", wires=5, backend=manila)) as sampler:
        weights = sampler.sample(ANGLES, jax.random.key(0), 1500)
    assert np.abs(frequencies(weights) - ONES).max() < 0.1
    halves = frequencies(weights[:750]), frequencies(weights[750:])           # grouped by outcome, these would differ by far more
    assert np.abs(halves[0] - halves[1]).max() < 4 * np.sqrt(0.5 / 750)


def test_a_hundred_qubits():
    "Pairs of wires in equal states: each pair's two bits agree, whatever simulates them."
    ansatz = Ansatz(100, (Rotation("RY"), Entangler("CNOT", tuple((j, j + 1) for j in range(0, 100, 2))), Rotation("RZ")))
    params = np.zeros(ansatz.param_shape)
    params[:100:2] = np.pi / 2
    with HardwareSampler(ansatz, "aer") as sampler: weights = sampler.sample_batch([params], 40)[0]
    np.testing.assert_array_equal(weights[:, ::2], weights[:, 1::2])
    assert np.abs(weights.mean()) < 4 / np.sqrt(50 * 40)


@pytest.mark.parametrize("make", [lambda manila: AerSimulator.from_backend(manila), lambda manila: AerSimulator(noise_model=NoiseModel.from_backend(manila)), lambda manila: GenericBackendV2(5, seed=1),
                                  lambda manila: GenericBackendV2(5, noise_info=False, seed=1)])
def test_column_is_wire_on_backend_objects(manila, make):
    "A simulator with noise, and devices of a maker that we do not know, one of them silent about its gates' durations."
    with HardwareSampler(product(5), make(manila)) as sampler: weights = sampler.sample_batch([ANGLES], 1500)[0]
    assert np.abs(frequencies(weights) - ONES).max() < 0.12


def test_wires_keep_their_bits_when_the_compiler_has_to_swap(manila):
    "Pairs far apart on a line of five qubits: wires move, bits do not."
    ansatz = Ansatz(5, (Rotation("RY"), Entangler("CNOT", ((0, 4), (4, 2), (1, 3), (3, 0))), Rotation("RY")))
    params = np.random.default_rng(1).uniform(-3, 3, ansatz.param_shape)
    compiled = compile_circuit(ansatz, manila.target, (0, 1, 2, 3, 4))
    assert compiled.circuit.layout.final_index_layout() != compiled.circuit.layout.initial_index_layout(filter_ancillas=True)
    with HardwareSampler(ansatz, "fake:manila", layout=(0, 1, 2, 3, 4)) as sampler: weights = sampler.sample_batch([params], 4000)[0]
    exact = BornMachine(ansatz).probs(jnp.asarray(params))
    means, noisy = np.asarray(exact @ all_weights(5)), np.asarray(weights).mean(0)
    assert np.abs(noisy - means).max() < 0.35                                  # damped by noise,
    assert np.corrcoef(noisy, means)[0, 1] > 0.95                              # but each mean on its own wire


@pytest.mark.parametrize("ansatz", [brickwork(5, 3), staircase(5, 1), Ansatz(4, (Rotation("RX"), Entangler("CZ", ((0, 3), (1, 2))), Rotation("RY")))])
def test_total_variation_to_exact_within_sampling_error(ansatz):
    params, n = np.random.default_rng(0).uniform(-3, 3, ansatz.param_shape), ansatz.n_qubits
    exact = np.asarray(BornMachine(ansatz).probs(jnp.asarray(params)))
    with HardwareSampler(ansatz, "aer") as sampler: weights = sampler.sample_batch([params], 20000)[0]
    chance = [0.5 * np.abs(np.random.default_rng(k).multinomial(20000, exact) / 20000 - exact).sum() for k in range(200)]
    assert 0.5 * np.abs(histogram(weights, n) - exact).sum() < np.mean(chance) + 4 * np.std(chance)


def test_each_job_has_shots_of_its_own_and_a_restart_repeats_them(tmp_path):
    def two(folder):
        with HardwareSampler(product(5), "aer", folder=folder, seed=3) as sampler: return [sampler.sample_batch([ANGLES, ANGLES], 200) for _ in range(2)]
    first, second = two(tmp_path / "a")
    assert (first[0] != first[1]).any() and (first != second).any()
    np.testing.assert_array_equal(two(tmp_path / "b"), [first, second])
    np.testing.assert_array_equal(two(tmp_path / "a"), [first, second])


# --- circuits ---------------------------------------------------------------------------------------------------------

def test_gates_without_effect_are_left_out():
    assert qiskit_circuit(brickwork(5, 3)).count_ops() == {"ry": 15, "rz": 10, "cx": 4, "measure": 5, "barrier": 1}
    assert len(qiskit_circuit(brickwork(5, 3)).parameters) == 25


def test_angles_go_where_the_compiled_circuit_wants_them(manila):
    "More than ten angles, so that names sort differently from numbers; one row of them is gone."
    ansatz = brickwork(4, 3)
    compiled = compile_circuit(ansatz, manila.target)
    assert [f"θ[{k}]" for k in compiled.columns] == [angle.name for angle in compiled.circuit.parameters]
    assert sorted(compiled.columns) == list(range(20))


def test_noise_is_the_same_when_the_device_is_cut(manila):
    compiled = compile_circuit(staircase(3, 1), manila.target)
    small, target = used_part(compiled, manila.target)
    values = np.random.default_rng(0).uniform(-3, 3, len(compiled.columns))
    def outcome(circuit, model):
        bound = circuit.assign_parameters(values)
        place = {bound.find_bit(step.clbits[0]).index: bound.find_bit(step.qubits[0]).index for step in bound if step.name == "measure"}
        bound.remove_final_measurements()
        bound.save_probabilities([place[j] for j in range(3)], label="p")
        return AerSimulator(noise_model=model, method="density_matrix").run(bound).result().data()["p"]
    cut, full = noise_model(target), NoiseModel.from_backend(manila)
    np.testing.assert_allclose(outcome(small.circuit, cut), outcome(compiled.circuit, full), atol=1e-12)
    used = sorted({compiled.circuit.find_bit(q).index for step in compiled.circuit if step.name != "barrier" for q in step.qubits})
    for k, qubit in enumerate(used):
        np.testing.assert_array_equal(cut._local_readout_errors[(k,)].probabilities, full._local_readout_errors[(qubit,)].probabilities)


@pytest.mark.parametrize("backend", ["aer", "fake:manila", "pennylane:default.qubit"])
@pytest.mark.parametrize("n, moments", [(1, (Rotation("RZ"),)), (3, (Rotation("RZ"),)), (3, (Entangler("CNOT", ((0, 1),)),)), (1, ()), (3, ())], ids=str)
def test_circuits_without_an_angle_that_a_bit_can_notice(backend, n, moments):
    "Each setting of no angles is a circuit of its own, and every bit is 0, but for noise."
    ansatz = Ansatz(n, moments)
    with HardwareSampler(ansatz, backend) as sampler:
        weights = sampler.sample_batch(np.full((4, *ansatz.param_shape), 0.3), 60)
        wrong = sampler.calibrate(60)
    assert weights.shape == (4, 60, n) and wrong.shape == (n, 2)
    assert weights.mean() == 1 if backend != "fake:manila" else weights.mean() > 0.8


def test_the_compiler_may_leave_no_angle_and_the_service_still_gets_every_circuit(manila):
    "An RZ at the end is no angle for a bit; IBM's sampler is handed one circuit for each setting."
    compiled = compile_circuit(Ansatz(2, (Rotation("RZ"),)), manila.target)
    assert compiled.columns.dtype.kind == "i" and not len(compiled.columns)
    pubs = compiled.pubs({"circuit": "ansatz", "params": np.zeros((3, 2))})
    assert [len(pub) for pub in pubs] == [1] * 3
    assert qhn_sampler._read_bits(qhn_sampler._ibm_sampler(manila, None).run(pubs, shots=20).result()).shape == (3, 20, 2)


# --- gradients --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("objective", [NoDivergence(), MMD()])
def test_parameter_shift_on_shots_is_exact_within_four_standard_errors(objective):
    ansatz, costs = brickwork(3, 2, final_rz=False), np.random.default_rng(0).gamma(2, size=8)
    params = jnp.asarray(np.random.default_rng(1).uniform(-3, 3, ansatz.param_shape))
    target, prior, estimator = as_target(costs), BernoulliPrior(), ParameterShift(400)
    exact = Exact()(Exact().prepare(Problem(BornMachine(ansatz), target, prior, objective)), params, jax.random.key(0)).gradient
    with HardwareSampler(ansatz, "aer") as sampler:
        angles = estimator.settings(sampler, params, jax.random.key(0))
        samples = sampler.sample_batch(np.concatenate([angles] * 12), 400).reshape(12, len(angles), 400, 3)
        problem = Problem(sampler, target, prior, objective)
        gradients = np.stack([estimator.estimate(problem, params, jnp.asarray(s), jax.random.key(0)).gradient for s in samples])
    assert len(angles) == 1 + 2 * 9
    error = gradients.std(0, ddof=1) / np.sqrt(12)
    assert (np.abs(gradients.mean(0) - exact) < 4 * error + 1e-9).all()


def test_spsa_on_shots_is_its_expectation_within_four_standard_errors():
    ansatz, costs, c = product(3), np.random.default_rng(0).gamma(2, size=8), 0.2
    params = np.random.default_rng(1).uniform(-3, 3, ansatz.param_shape)
    machine, target, estimator = BornMachine(ansatz), as_target(costs), SPSA(2000, c, 40)
    with HardwareSampler(ansatz, "aer") as sampler:
        angles = estimator.settings(sampler, jnp.asarray(params), jax.random.key(1))
        samples = jnp.asarray(sampler.sample_batch(angles, 2000))
    problem = Problem(sampler, target, BernoulliPrior(), NoDivergence())
    found = estimator.estimate(problem, jnp.asarray(params), samples, jax.random.key(1)).gradient
    signs = (np.asarray(angles[:40]) - params) / c
    value = lambda theta: np.asarray(machine.probs(jnp.asarray(theta)))
    up, down = (np.stack([value(params + sign * c * s) for s in signs]) for sign in (1, -1))
    expected = np.tensordot((up - down) @ costs / (2 * c), signs, 1) / 40
    spread = np.sqrt(sum(q @ costs**2 - (q @ costs)**2 for q in (up, down)).sum() / 2000) / (2 * c * 40)
    assert np.abs(found - expected).max() < 4 * spread


def test_fit_trains_on_shots_and_improves():
    costs = np.random.default_rng(0).gamma(2, size=8)
    with HardwareSampler(product(3), "aer") as sampler:
        result = fit(sampler, costs, objective=NoDivergence(), n_steps=25, key=jax.random.key(0), n_seeds=2, noise=0.1, progress=False)
        assert isinstance(result.info["estimator"], SPSA)
        assert len(sampler.journal.attempts) == 25                           # one job a step, all seeds in it
    assert (result.history["expected_nll"][:, -5:].mean(1) < result.history["expected_nll"][:, :5].mean(1)).all()


def test_shots_follow_a_schedule():
    with HardwareSampler(product(2), "aer") as sampler:
        fit(sampler, np.arange(4.), objective=NoDivergence(), estimator=SPSA(lambda step: 10 + 10 * step), n_steps=3, key=jax.random.key(0), progress=False)
        assert [np.load(sampler.journal.path / f"{a.tag}.npz")["array"].shape for a in sampler.journal.attempts] == [(2, 10, 2), (2, 20, 2), (2, 30, 2)]


def test_elbo_refuses_shots_and_says_why():
    with HardwareSampler(product(3), "aer") as sampler, pytest.raises(TypeError, match="KL needs an explicit distribution with log_prob.*use MMD"):
        fit(sampler, np.ones(8), objective=KL(), key=jax.random.key(0))


# --- budget, crash, resumption ----------------------------------------------------------------------------------------

def test_budget_ends_training_and_a_larger_one_goes_on(tmp_path):
    def train(**kwargs):
        with HardwareSampler(product(5), "fake:manila", **kwargs) as sampler:
            return fit(sampler, np.arange(32.), objective=NoDivergence(), estimator=SPSA(50), n_steps=5, key=jax.random.key(0), progress=False), sampler.usage()
    whole, _ = train()
    short, usage = train(folder=tmp_path, max_qpu_seconds=8)
    assert short.interrupted and short.n_steps == 3 and "budget spent" in short.info["stopped"] and usage["qpu_s"] == "8"
    rest, usage = train(folder=tmp_path)
    np.testing.assert_array_equal(rest.params, whole.params)
    assert usage["qpu_s"] == "13"                                              # five jobs, none of them twice
    with HardwareSampler(product(5), "fake:manila", max_qpu_seconds=1) as sampler, pytest.raises(StopTraining, match="budget spent"): sampler.sample_batch([ANGLES], 50)


def test_a_folder_belongs_to_one_run(tmp_path):
    with HardwareSampler(product(5), "fake:manila", folder=tmp_path, layout=(0, 1, 2, 3, 4)) as sampler:
        with pytest.raises(RuntimeError, match="in use"): HardwareSampler(product(5), "fake:manila", folder=tmp_path)
    with HardwareSampler(product(5), "fake:manila", folder=tmp_path) as again: assert again.layout == sampler.layout
    with pytest.raises(ValueError, match="settings differ.*ansatz"): HardwareSampler(product(4), "fake:manila", folder=tmp_path)


# --- readout ----------------------------------------------------------------------------------------------------------

NO_WHEEL = sys.version_info >= (3, 13) and find_spec("mthree") is None    # there it has to be compiled


@pytest.mark.parametrize("invert", [readout.invert_readout, pytest.param(readout.invert_readout_m3, marks=pytest.mark.skipif(NO_WHEEL, reason="mthree has wheels up to Python 3.12"))])
def test_readout_inversion_against_the_full_matrix(invert):
    rng, n = np.random.default_rng(0), 3
    wrong, seen = rng.uniform(0, 0.2, (n, 2)), np.asarray(all_weights(n))[np.repeat(np.arange(8), rng.integers(1, 60, 8))]
    full = np.ones((1, 1))
    for e0, e1 in wrong: full = np.kron(full, [[1 - e0, e1], [e0, 1 - e1]])
    expected = np.linalg.solve(full, histogram(seen, n))
    found = invert(seen, wrong)
    np.testing.assert_allclose(found.shares, expected[np.asarray(index_from_weights(jnp.asarray(found.weights)))], atol=1e-5)
    assert abs(found.shares.sum() - 1) < 1e-5


def test_inverted_readout_gives_the_expectation_of_the_noiseless_measurement():
    wrong = np.array([[0.02, 0.08]] * 5)
    rng = np.random.default_rng(0)
    clean = np.where(rng.uniform(size=(50000, 5)) < ONES, -1, 1)
    seen = np.where(rng.uniform(size=clean.shape) < np.where(clean > 0, wrong[:, 0], wrong[:, 1]), -clean, clean)
    mended = readout.invert_readout(seen, wrong)
    assert np.abs(mended.shares @ (mended.weights < 0) - ONES).max() < 4 * 0.5 / math.sqrt(50000) / 0.9
    assert np.abs(frequencies(seen) - ONES).max() > 0.03


# --- messages ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def home(tmp_path, monkeypatch):
    "A machine without an account and without a network."
    import qiskit_ibm_runtime.accounts.management as management
    monkeypatch.setattr(management, "_DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(tmp_path / "accounts.json"))
    for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_CHANNEL", "QISKIT_IBM_INSTANCE", "QISKIT_IBM_URL"): monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_no_account(home):
    with pytest.raises(ValueError, match="^no IBM Quantum account on this machine; save one with .*or run on a noise model"): HardwareSampler(product(5), "least_busy")


def test_an_empty_token_in_the_environment_is_none(home):
    home.setenv("QISKIT_IBM_TOKEN", "")
    with pytest.raises(ValueError, match="^no IBM Quantum account on this machine"): HardwareSampler(product(5), "least_busy")


def save_accounts(tmp_path, **tokens):
    "Accounts on disk, the first of them the default one."
    saved = {name: {"channel": "ibm_quantum_platform", "token": token, "url": "https://cloud.ibm.com", "is_default_account": not k}
             for k, (name, token) in enumerate(tokens.items())}
    (tmp_path / "accounts.json").write_text(json.dumps(saved))


def test_only_the_account_that_would_be_used_is_looked_at(home, tmp_path):
    import qiskit_ibm_runtime
    home.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", lambda instance: f"the service of {instance}")
    save_accounts(tmp_path, good="x" * 44, other="")
    assert backends._account() == "the service of None" and backends._account("crn:1") == "the service of crn:1"
    save_accounts(tmp_path, empty="", other="x" * 44)
    with pytest.raises(ValueError, match="has an empty token; save it again"): backends._account()


def test_empty_token(home):
    home.setenv("QISKIT_IBM_TOKEN", "  ")
    with pytest.raises(ValueError, match="has an empty token; save it again"): HardwareSampler(product(5), "ibm_torino")


def test_no_network_is_not_blamed_on_the_token(home):
    import socket
    def unreachable(*args, **kwargs): raise socket.gaierror(-2, "Name or service not known")
    home.setattr(socket, "getaddrinfo", unreachable)
    home.setenv("QISKIT_IBM_TOKEN", "x" * 44)
    with pytest.raises(ConnectionError, match="cannot be reached: no network") as caught: HardwareSampler(product(5), "ibm_torino")
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("backend, kwargs, message", [
    ("fake:atlantis", {}, "must name one of .*algiers, .*got 'fake:atlantis'"), ("fake:", {}, "must name one of"), ("azure:x", {}, "backend must be 'aer'"),
    ("pennylane:nowhere", {}, "must name an installed device that needs no more than its wires, got 'pennylane:nowhere'"), (3, {}, "backend must be a name, .*got int"),
    ("aer", {"options": {"twirling": {"enable_gats": True}}}, "options must be options of IBM's SamplerV2.*enable_gats"),
    ("aer", {"options": {"dynamical_decouplin": {}}}, "dynamical_decouplin"), ("aer", {"shots": 0}, "shots must be an integer of at least 1, got shots=0"),
    ("aer", {"shots": 2.5}, "shots must be an integer of at least 1, got shots=2.5"), ("aer", {"max_qpu_seconds": -1}, "max_qpu_seconds must be a number of seconds"),
    ("aer", {"layout": (0, 1, 2, 3, 3)}, "layout must be 5 different qubits"), ("aer", {"layout": (0, 1, 2, 3, -4)}, "layout must be 5 different qubits"),
    ("aer", {"layout": (0, 1, 2, 3, 4.5)}, "layout must be 5 different qubits"), ("pennylane:default.qubit", {"options": {}}, "layout and options are for Qiskit"),
    ("pennylane:default.qubit", {"max_qpu_seconds": 60}, "max_qpu_seconds is for devices that tell their seconds.*got max_qpu_seconds=60; leave it out"),
    ("fake:manila", {"layout": (0, 1, 2, 3, 9)}, "layout must be 5 different qubits of the device, 0 to 4, got layout=.0, 1, 2, 3, 9."),
    ("fake:manila", {"layout": (0, 1)}, "layout must be 5 different qubits")])
def test_one_clear_message_before_any_job(backend, kwargs, message):
    with pytest.raises((TypeError, ValueError), match=message): HardwareSampler(product(5), backend, **kwargs)


def test_too_few_qubits():
    import pennylane as qml
    with pytest.raises(ValueError, match="has 6 weights and needs as many qubits, but fake_manila has 5; take a larger device or a smaller network"): HardwareSampler(product(6), "fake:manila")
    noisy = NoiseModel.from_backend(open_backend("fake:manila", 5))
    for simulator in (AerSimulator(method="density_matrix"), AerSimulator.from_backend(open_backend("fake:manila", 5)), AerSimulator(noise_model=noisy, method="matrix_product_state")):
        with pytest.raises(ValueError, match="has 70 weights and needs as many qubits, but aer_simulator.* has"): HardwareSampler(product(70), simulator)
    with HardwareSampler(product(70), AerSimulator(method="matrix_product_state")) as sampler: assert sampler.sample_batch(np.zeros((1, 70)), 20).shape == (1, 20, 70)
    with pytest.raises(ValueError, match="must have wires=6, numbered from 0"): HardwareSampler(product(6), qml.device("default.qubit", wires=5))
    with pytest.raises(ValueError, match="must have wires=2, numbered from 0"): HardwareSampler(product(2), qml.device("default.qubit", wires=[1, 0]))


@pytest.mark.parametrize("params, message", [(ANGLES, r"shape \(B, 5\)"), (np.zeros((0, 5)), "one set of angles"), (ANGLES[None] * np.nan, "finite angles")])
def test_bad_angles(params, message):
    with HardwareSampler(product(5), "aer") as sampler:
        with pytest.raises(ValueError, match=message): sampler.sample_batch(params)
        with pytest.raises(ValueError, match="n_samples must be an integer of at least 1"): sampler.sample_batch([ANGLES], 0)
        assert not sampler.journal.attempts


# --- IBM's service, played by a stand-in ------------------------------------------------------------------------------

class FakeJob:
    seconds, pending = 1.5, False
    def __init__(self, name, result, states, error=None): self.name, self.bits, self.states, self.error = name, result, list(states), error
    def job_id(self): return self.name
    def status(self): return self.states.pop(0) if len(self.states) > 1 else self.states[0]
    def usage(self): return self.seconds
    def metrics(self): return {"usage": {"status": "pending"}} if self.pending else {}
    def error_message(self): return self.error
    def result(self): return self.bits


class FakeRuntime:
    "IBM's client as far as we use it: a device whose sampler runs pubs on Aer, and a service that knows jobs by id and by tag."
    def __init__(self, device, states=("QUEUED", "RUNNING", "DONE"), error=None):
        self.name, self.num_qubits, self.target, self.service = "ibm_stand_in", device.num_qubits, device.target, self
        self.submitted, self.by_tag, self.options, self.states, self.error, self.down, self.lose = {}, {}, [], [states], error, 0, 0
    def active_instance(self): return "crn:stand-in"
    def status(self): return SimpleNamespace(pending_jobs=7)
    def job(self, name):
        if self.down: self.down -= 1; raise self.unreachable()
        return self.submitted[name]
    def jobs(self, limit, job_tags, descending, instance):
        assert instance == "crn:stand-in"
        return [self.submitted[name] for name in self.by_tag.get(job_tags[0], [])]
    def unreachable(self):
        error = RuntimeError("Please check that you are using a valid API token."); error.__cause__ = ConnectionError("no route to host")
        return error
    def sampler(self, device, options):
        self.options.append(options)
        return SimpleNamespace(run=self.run)
    def run(self, pubs, shots):
        from qiskit_aer.primitives import SamplerV2
        name, states = f"job-{len(self.submitted)}", self.states.pop(0) if len(self.states) > 1 else self.states[0]
        self.submitted[name] = FakeJob(name, SamplerV2(seed=1).run(pubs, shots=shots).result(), states, self.error)
        self.by_tag.setdefault(self.options[-1]["environment"]["job_tags"][-1], []).append(name)
        if self.lose: self.lose -= 1; raise self.unreachable()
        return self.submitted[name]


@pytest.fixture
def stand_in(manila, monkeypatch):
    def make(*args, **kwargs):
        device = FakeRuntime(manila, *args, **kwargs)
        monkeypatch.setattr(qhn_sampler, "_ibm_sampler", device.sampler)
        return device
    return make


def quick(device, **kwargs): return HardwareSampler(product(5), device, poll=0., **kwargs)


def test_ibm_job_has_bits_tag_options_and_usage(stand_in):
    device, options = stand_in(), {"twirling": {"enable_gates": True}, "environment": {"log_level": "INFO", "job_tags": ["mine"]}}
    with quick(device, options=options) as sampler:
        weights = sampler.sample_batch([ANGLES], 2000)[0]
        attempt, = sampler.journal.attempts
        assert isinstance(sampler.service, RuntimeService) and sampler.backend == "ibm_stand_in"
    assert np.abs(frequencies(weights) - ONES).max() < 4 * np.sqrt(0.25 / 2000)
    assert (attempt.id, attempt.state, attempt.seconds) == ("job-0", "done", 1.5)
    assert attempt.estimate == pytest.approx(qpu_seconds(1, 2000), rel=0.05)
    assert device.options[-1] == {"twirling": {"enable_gates": True}, "environment": {"log_level": "INFO", "job_tags": ["mine", attempt.tag]}}
    assert options["environment"]["job_tags"] == ["mine"]


@pytest.mark.parametrize("told", [None, 0])    # by older clients and by newer ones, while IBM is counting
def test_seconds_that_ibm_does_not_tell_are_charged_as_estimated(stand_in, monkeypatch, told):
    monkeypatch.setattr(FakeJob, "seconds", told)
    with quick(stand_in(), max_qpu_seconds=4) as sampler:
        sampler.sample_batch([ANGLES], 2000)
        assert sampler.journal.used == sampler.journal.attempts[0].estimate > 3
        with pytest.raises(StopTraining, match="budget spent"): sampler.sample_batch([ANGLES], 2000)


@pytest.mark.parametrize("told, pending, charged", [(0, False, False), (0, True, True), (None, False, True), (0.5, False, False)])
def test_failed_jobs_are_charged_what_ibm_has_counted(stand_in, monkeypatch, told, pending, charged):
    monkeypatch.setattr(FakeJob, "seconds", told); monkeypatch.setattr(FakeJob, "pending", pending)
    with quick(stand_in(("ERROR",), "broken"), retries=0) as sampler:
        with pytest.raises(JobFailed): sampler.sample_batch([ANGLES], 50)
        attempt, = sampler.journal.attempts
        assert attempt.seconds == (attempt.estimate if charged else told)


def test_a_state_that_is_not_known_ends_the_run_in_a_sentence(stand_in):
    with quick(stand_in(("PAUSED",))) as sampler, pytest.raises(JobError, match="tells of a job as 'PAUSED', a state that this version does not know"):
        sampler.sample_batch([ANGLES], 50)


def test_the_instance_is_that_of_the_device(stand_in):
    device = stand_in()
    device._instance = "crn:of the device"    # the client has listed devices of other instances since
    with quick(device) as sampler: assert sampler.service.instance == "crn:of the device"


def test_results_that_are_read_only_once_are_refused(stand_in):
    with pytest.raises(ValueError, match="environment.private=True; leave it out"): quick(stand_in(), options={"environment": {"private": True}})


@pytest.mark.parametrize("installed, refused", [("0.47.0", True), ("0.47.1", True), ("0.46.1", False), ("0.48.0", False), ("0.51.0", False)])
def test_a_client_that_turns_the_bits_around_is_refused_before_anything_is_submitted(stand_in, monkeypatch, tmp_path, installed, refused):
    device = stand_in()
    if not refused: quick(device, folder=tmp_path).sample_batch([ANGLES], 50)
    monkeypatch.setattr(qhn_sampler, "version", lambda name: installed)
    submitted = len(device.submitted)
    if refused:
        with pytest.raises(RuntimeError, match=rf"^qiskit-ibm-runtime {installed} returns the bits of each shot in reverse.*pip install \"qiskit-ibm-runtime>=0.45,!=0.47"):
            quick(device, folder=tmp_path)
        assert not list(tmp_path.iterdir()) and len(device.submitted) == submitted
        with HardwareSampler(product(5), "aer") as sampler: sampler.sample_batch([ANGLES], 20)    # what runs here is read right
    else: quick(device).sample_batch([ANGLES], 50)


def test_the_client_that_is_refused_is_not_installed():
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(Path(__file__).parent.parent / "settings.ini")
    wanted, = (Requirement(word) for word in parser["DEFAULT"]["requirements"].split() if word.startswith("qiskit-ibm-runtime"))
    assert not wanted.specifier.contains("0.47.0") and wanted.specifier.contains("0.46.1") and wanted.specifier.contains("0.51.0")


def test_a_layout_with_a_faulty_qubit_is_refused():
    target = Target(num_qubits=3)
    target.add_instruction(XGate(), {(q,): None for q in range(3)})
    target.add_instruction(Measure(), {(q,): None for q in (0, 1)})
    with pytest.raises(ValueError, match=r"with \[2\], which the device does not measure"): compile_circuit(product(3), target, (0, 1, 2))


@pytest.mark.parametrize("options", [None, {"twirling": {"enable_gates": True}, "dynamical_decoupling": {"enable": True}}])
def test_ibms_own_sampler_returns_bits_that_we_read(manila, options):
    compiled, payload = compile_circuit(product(5), manila.target, (3, 0, 4, 2, 1)), {"circuit": "ansatz", "params": [ANGLES, -ANGLES], "shots": 500}
    bits = qhn_sampler._read_bits(qhn_sampler._ibm_sampler(manila, options).run(compiled.pubs(payload), shots=500).result())
    assert bits.shape[::2] == (2, 5) and bits.shape[1] >= 500
    assert np.abs(bits.mean(1) - ONES).max() < 0.15    # noise, and 500 shots; columns are 0.2 apart


@pytest.mark.parametrize("error", [IBMRuntimeError, IBMNotAuthorizedError])
@pytest.mark.parametrize("where", ["run", "jobs", "job"])
def test_what_ibm_refuses_is_said_in_one_sentence(stand_in, monkeypatch, where, error):
    device = stand_in()
    def refuse(*args, **kwargs): raise error("The minutes of\n this month are used up")
    monkeypatch.setattr(device, where, refuse)
    with quick(device) as sampler, pytest.raises(JobError, match="^IBM Quantum refuses: The minutes of this month are used up. Finished jobs"):
        sampler.sample_batch([ANGLES], 50)


def test_devices_are_looked_up_and_listed_only_on_failure(monkeypatch):
    class Account:
        def __init__(self, error=None): self.error, self.listed = error, 0
        def backend(self, name, **kwargs):
            if self.error: raise self.error
            return name
        def least_busy(self, **kwargs): return self.backend("the idle one")
        def backends(self):
            self.listed += 1
            return [SimpleNamespace(name="ibm_a"), SimpleNamespace(name="ibm_b")]
    def ask(name, error=None):
        account = Account(error)
        monkeypatch.setattr(backends, "_account", lambda instance: account)
        try: return backends._ibm(name, 9)
        finally: listed.append(account.listed)
    listed = []
    assert (ask("ibm_a"), ask("least_busy")) == ("ibm_a", "the idle one") and listed == [0, 0]
    unknown, down = QiskitBackendNotFoundError("No backend matches the criteria."), RuntimeError("Check your token.")
    down.__cause__ = ConnectionError("no route to host")
    with pytest.raises(ValueError, match="backend must be a device that the account may use, got 'ibm_z'; the account may use: ibm_a, ibm_b"): ask("ibm_z", unknown)
    with pytest.raises(ValueError, match="backend must be a device with 9 qubits or more that is online, got 'least_busy'"): ask("least_busy", unknown)
    for name in ("ibm_a", "least_busy"):
        with pytest.raises(ConnectionError, match="IBM Quantum cannot be reached"): ask(name, down)
        with pytest.raises(JobError, match="IBM Quantum refuses: no access."): ask(name, IBMNotAuthorizedError("no access"))


@pytest.mark.parametrize("shape, accepted", [((1, 50, 5), True), ((1, 64, 5), True), ((1, 49, 5), False), ((2, 50, 5), False), ((1, 50, 4), False)])
def test_bits_have_the_shape_that_was_asked_for(shape, accepted):
    with HardwareSampler(product(5), "aer") as sampler:
        sampler.service.run = lambda payload: np.zeros(shape, np.uint8)
        if accepted: assert sampler.sample_batch([ANGLES], 50).shape == (1, 50, 5)
        else:
            with pytest.raises(ValueError, match=r"the device must return bits of shape \(1, 50, 5\), got"): sampler.sample_batch([ANGLES], 50)


def test_lost_reply_is_found_by_its_tag(stand_in):
    device = stand_in()
    device.lose = 1
    with quick(device) as sampler: sampler.sample_batch([ANGLES], 50)
    assert len(device.submitted) == 1


def test_broken_connection_is_asked_again(stand_in):
    device = stand_in()
    device.down = 2
    with quick(device) as sampler: sampler.sample_batch([ANGLES], 50)
    device.down = 99
    with quick(device) as sampler, pytest.raises(ConnectionError, match="cannot be reached"): sampler.sample_batch([ANGLES], 50)


def test_failed_job_is_submitted_anew_and_counted(stand_in):
    device = stand_in(error="1517: too hot")
    device.states = [("QUEUED", "ERROR"), ("DONE",)]
    with quick(device) as sampler:
        sampler.sample_batch([ANGLES], 50)
        assert [a.state for a in sampler.journal.attempts] == ["failed", "done"] and sampler.journal.used == 3
        assert sampler.journal.attempts[0].detail == "1517: too hot"


@pytest.mark.parametrize("states, kwargs, error", [(("ERROR",), {"retries": 0}, JobFailed), (("QUEUED", "CANCELLED"), {}, JobCancelled),
                                                   (("QUEUED",), {"max_queue": 0.}, QueueTooLong), (("RUNNING",), {"timeout": 0.}, JobTimeout)])
def test_other_ends_of_a_job(stand_in, states, kwargs, error):
    with quick(stand_in(states), **kwargs) as sampler, pytest.raises(error): sampler.sample_batch([ANGLES], 50)


def test_crash_between_submission_and_result_pays_once(stand_in, tmp_path):
    device = stand_in(("QUEUED",))
    with quick(device, folder=tmp_path, max_queue=0.) as sampler, pytest.raises(QueueTooLong): sampler.sample_batch([ANGLES], 50)
    for job in device.submitted.values(): job.states = ["DONE"]
    with quick(device, folder=tmp_path) as sampler: sampler.sample_batch([ANGLES], 50)
    assert len(device.submitted) == 1 and read_journal(tmp_path)[2][-1].state == "done"


def test_least_busy_stays_the_device_of_the_run(stand_in, monkeypatch, tmp_path):
    device, asked = stand_in(), []
    def ibm(name, n_qubits, instance): asked.append((name, instance)); return device
    monkeypatch.setattr(backends, "_ibm", ibm)
    for _ in range(2):
        with quick("least_busy", folder=tmp_path) as sampler: assert sampler.backend == "ibm_stand_in"
    assert asked == [("least_busy", None), ("ibm_stand_in", "crn:stand-in")]
    monkeypatch.setattr(FakeRuntime, "active_instance", lambda self: "crn:other")
    with pytest.raises(ValueError, match="instance was 'crn:stand-in', got 'crn:other'"): quick("least_busy", folder=tmp_path)


def test_a_device_has_a_budget_of_sixty_seconds_unless_another_is_given(stand_in):
    for given, expected in ((None, 60), (5, 5), (math.inf, math.inf)):
        with quick(stand_in(), max_qpu_seconds=given) as sampler: assert sampler.budget.max_qpu_seconds == expected
    with HardwareSampler(product(5), "aer") as sampler: assert sampler.budget.max_qpu_seconds == math.inf


def test_waiting_is_told_with_the_queue_and_what_is_left(stand_in):
    told = []
    with quick(stand_in(), report=told.append) as sampler: sampler.sample_batch([ANGLES], 50)
    assert told == ["job 0 (job-0) is queued (7 jobs wait for ibm_stand_in). 0.0 of 60 QPU seconds used, 57.5 left", "job 0 (job-0) is running. 0.0 of 60 QPU seconds used, 57.5 left"]


def test_averaged_spsa_asks_for_all_its_directions_in_one_job():
    costs = np.random.default_rng(0).gamma(2, size=8)
    with HardwareSampler(product(3), "aer") as sampler:
        result = fit(sampler, costs, objective=MMD(), estimator=SPSA(200, 0.2, n_directions=3), n_steps=2, key=jax.random.key(0), n_seeds=2, progress=False)
        assert [np.load(sampler.journal.path / f"{a.tag}.npz")["array"].shape for a in sampler.journal.attempts] == [(2 * 2 * 3, 200, 3)] * 2
    assert np.isfinite(result.history["loss"]).all()


def test_a_run_goes_on_where_angles_come_out_a_little_different(tmp_path):
    "As on another machine: the last digit of an angle is not the run's identity."
    def ask(angles):
        with HardwareSampler(product(5), "aer", folder=tmp_path) as sampler: return sampler.sample_batch([angles], 50)
    first = ask(ANGLES.astype(np.float32))
    np.testing.assert_array_equal(ask(np.nextafter(ANGLES.astype(np.float32), 4)), first)
    with pytest.raises(ValueError, match="payload of job 0 differs"): ask(ANGLES + 0.01)


# --- runs from a shell ------------------------------------------------------------------------------------------------

TINY = qhn_run.Plan(backend="aer", n_train=20, hidden=(), layers=2, simulation_steps=20, steps=3, shots=50, final_shots=100)
FINAL, STEP = qpu_seconds(1, 100), qpu_seconds(2, 50)


def run(plan, folder, seconds=None, **kwargs): return qhn_run.hardware_run(plan, folder, seconds, progress=False, **kwargs)


def test_run_resumes_to_the_same_report(tmp_path):
    whole = qhn_run.hardware_run(TINY, tmp_path / "a", progress=False)
    assert list(whole.scores) == ["simulation", "device", "device, fine-tuned"] and whole.stopped is None
    again = qhn_run.hardware_run(qhn_run.stored_plan(tmp_path / "a"), tmp_path / "a", progress=False)
    assert again.scores == whole.scores
    np.testing.assert_array_equal(again.params, whole.params)
    status = qhn_run.hardware_status(tmp_path / "a")
    assert (status["backend"], status["done"], status["failed"]) == ("aer", 5, 0)
    assert qhn_run.hardware_fetch(tmp_path / "a") == []


PLAIN = dataclasses.replace(TINY, steps=0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "A run that has ended, made once: its folder and its report."
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, run(PLAIN, folder)


@pytest.mark.parametrize("part", ["x_train", "y_train", "x_test", "y_test"])
def test_a_run_goes_on_with_its_own_data_alone(part, monkeypatch, tmp_path, finished):
    "Other numbers under the same name are refused before a job; the last digits may differ."
    plan, given, first = PLAIN, PLAIN.problem()[0], finished[1]
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    jobs = read_journal(tmp_path)[2]
    def become(values): monkeypatch.setattr(qhn_run, "load_dataset", lambda *args, **kwargs: dataclasses.replace(given, **{part: values}))
    values = getattr(given, part)
    become(1 - values if part[0] == "y" else values[::-1])
    with pytest.raises(ValueError, match=rf"^{part} differs from that of the run in .* numbers: {part}\[0.*Go on with the {part} that began the run, or start a new one in a new folder"): run(plan, tmp_path)
    assert read_journal(tmp_path)[2] == jobs
    become(values if part[0] == "y" else values + 1e-12)
    for one, other in zip(run(plan, tmp_path).scores["device"], first.scores["device"], strict=True): assert one == pytest.approx(other)


def test_shots_are_fetched_without_the_data(monkeypatch, tmp_path, finished):
    "A file of data may be gone when the device has finished; its shots are stored all the same."
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    tag = read_journal(tmp_path)[2][0].tag
    shots = np.load(tmp_path / f"{tag}.npz")["array"]
    (tmp_path / f"{tag}.npz").unlink()
    lines = (tmp_path / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(line for line in lines if '"done"' not in line))    # as before the device had finished
    monkeypatch.setattr(qhn_run, "load_dataset", lambda *args, **kwargs: pytest.fail("the data were asked for"))
    monkeypatch.setattr(qhn_sampler.LocalService, "find", lambda self, tag: [tag])
    monkeypatch.setattr(qhn_sampler.LocalService, "status", lambda self, job: Status("done"))
    monkeypatch.setattr(qhn_sampler.LocalService, "result", lambda self, job: shots)
    assert qhn_run.hardware_fetch(tmp_path) == [0]
    np.testing.assert_array_equal(np.load(tmp_path / f"{tag}.npz")["array"], shots)


@pytest.mark.parametrize("change", [{"mle": True}, {"simulation_steps": 21}, {"learning_rate": 0.1}, {"n_train": 30}, {"final_shots": 50}, {"steps": 4}])
def test_a_run_goes_on_with_its_own_plan_alone(change, tmp_path, finished):
    "Also where somebody has written the plan in the folder anew: the journal knows."
    (name, value), = change.items()
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    other, was = dataclasses.replace(PLAIN, **change), getattr(PLAIN, name)
    with pytest.raises(ValueError, match=f"holds another run: {name} was {was}, got {value}; resume that one, or give a new folder"): run(other, tmp_path)
    stored = json.loads((tmp_path / "plan.json").read_text())
    for edit in (lambda: (tmp_path / "plan.json").write_text(json.dumps(stored | change)), (tmp_path / "plan.json").unlink):
        edit()
        with pytest.raises(ValueError, match=f"settings differ.*{name} was {was}, got {value}.*start a new one in a new folder"): run(other, tmp_path)


def on_stand_in(stand_in, monkeypatch, *args):
    device = stand_in(*args)
    monkeypatch.setattr(backends, "_ibm", lambda name, n_qubits, instance: device)
    return device, dataclasses.replace(TINY, backend="least_busy")


def test_a_run_on_ibm_has_a_budget_and_says_its_cost(stand_in, monkeypatch, tmp_path, capsys):
    device, plan = on_stand_in(stand_in, monkeypatch)
    report = qhn_run.hardware_run(plan, tmp_path / "a", poll=0.)
    said = capsys.readouterr().out
    assert f"ibm_stand_in: the whole run needs about {2 * FINAL + 3 * STEP:.0f} QPU seconds; 0.0 of 60 QPU seconds used, 60.0 left" in said
    assert "job 0 (job-0) is queued (7 jobs wait for ibm_stand_in). 0.0 of 60 QPU seconds used" in said and "kept for the end" in said
    assert report.stopped is None and report.usage == "7.5 of 60 QPU seconds used, 52.5 left"
    assert qhn_run.hardware_status(tmp_path / "a")["max_qpu_seconds"] == 60
    with pytest.raises(ValueError, match="max_qpu_seconds must be a number of seconds"): run(TINY, tmp_path / "c", -1)


@pytest.mark.parametrize("affordable", [0, 1, 2])
def test_a_budget_that_ends_the_training_leaves_seconds_for_the_last_sampling(affordable, stand_in, monkeypatch, tmp_path):
    "And with a larger budget the run goes on, to the angles of one that was never stopped."
    monkeypatch.setattr(FakeJob, "seconds", None)    # charged as estimated
    device, plan = on_stand_in(stand_in, monkeypatch)
    short = run(plan, tmp_path, 2 * FINAL + affordable * STEP + 0.1, poll=0.)
    assert list(short.scores) == ["simulation", "device", "device, fine-tuned"][:3 if affordable else 2] and "budget spent" in short.stopped
    assert len(device.submitted) == 1 + affordable + (affordable > 0)
    again = run(qhn_run.stored_plan(tmp_path), tmp_path, poll=0.)
    assert again.scores == short.scores and len(device.submitted) == 1 + affordable + (affordable > 0)
    rest = run(plan, tmp_path, 60, poll=0.)
    assert rest.stopped is None and len(device.submitted) == 1 + 3 + 1 + (affordable > 0)
    np.testing.assert_allclose(rest.params, run(plan, tmp_path / "b", 60, poll=0.).params)


def test_a_run_that_cannot_pay_the_first_sampling_says_so(stand_in, monkeypatch, tmp_path):
    device, plan = on_stand_in(stand_in, monkeypatch)
    report = run(plan, tmp_path, 1)
    assert list(report.scores) == ["simulation"] and "budget spent" in report.stopped and not device.submitted


def test_a_run_that_crashes_anywhere_pays_once(stand_in, monkeypatch, tmp_path):
    "The program dies after an answer of the service, each time a later one, and is started again with the same command."
    device, plan = on_stand_in(stand_in, monkeypatch)
    calm, left = run(plan, tmp_path / "calm", poll=0.), math.inf
    class Crash(BaseException): pass
    def dying(answer):
        def ask(*args, **kwargs):
            nonlocal left
            said, left = answer(*args, **kwargs), left - 1
            if left < 0: raise Crash
            return said
        return ask
    for name in ("run", "job", "jobs", "status"): monkeypatch.setattr(FakeRuntime, name, dying(getattr(FakeRuntime, name)))
    for left in (1, 4, 12, math.inf):    # after a submission that no one noted, while waiting, in the middle of the training
        try: stormy = run(plan, tmp_path / "stormy", poll=0.)
        except Crash: continue
    assert left == math.inf and len(device.submitted) == 2 * 5 and stormy.scores == calm.scores
    np.testing.assert_array_equal(stormy.params, calm.params)


def test_angles_are_kept_when_a_job_fails_for_good(stand_in, monkeypatch, tmp_path):
    device, plan = on_stand_in(stand_in, monkeypatch)
    device.states = [("DONE",)] * 3 + [("CANCELLED",), ("DONE",)]
    with pytest.raises(JobCancelled): run(plan, tmp_path, poll=0.)
    kept = np.array(json.loads((tmp_path / "tuned.json").read_text()))
    start = np.array(json.loads((tmp_path / "simulated.json").read_text()))
    assert kept.shape == start.shape and (kept != start).any()
    assert run(plan, tmp_path, poll=0.).stopped is None and len(device.submitted) == 6


def test_a_run_of_other_versions_goes_on_when_told_to(tmp_path, finished):
    "Nothing is submitted, nor forgotten, where it is refused."
    folder = shutil.copytree(finished[0], tmp_path / "run")
    made = json.loads((folder / "made.json").read_text())
    assert made["settings"]["backend"] == "aer" and {"qhn", "jax", "jaxlib", "numpy", "optax"} <= made["versions"].keys()
    (folder / "made.json").write_text(json.dumps(made | {"versions": made["versions"] | {"jax": "0.1.7"}}))
    before = (folder / "journal.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"run .* was written with jax 0.1.7 \(here .*or go on all the same with hardware_run\(..., anyway=True\), or with --anyway"): run(PLAIN, folder)
    assert run(PLAIN, folder, anyway=True).stopped is None and (folder / "journal.jsonl").read_bytes() == before



def test_options_and_layout_of_a_plan_reach_the_device(stand_in, monkeypatch, tmp_path):
    device, plan = on_stand_in(stand_in, monkeypatch)
    plan = dataclasses.replace(plan, steps=0, readout=True, layout=(3, 1, 2), options={"twirling": {"enable_gates": True}})
    report = run(plan, tmp_path, poll=0.)
    assert list(report.scores) == ["simulation", "device", "device, readout inverted"] and qhn_run.stored_plan(tmp_path) == plan
    assert device.options[-1]["twirling"] == {"enable_gates": True} and read_journal(tmp_path)[1]["layout"] == [3, 1, 2]


def test_score_by_hand():
    data, binn, *_ = TINY.problem()
    weights = np.random.default_rng(0).choice([-1., 1.], (40, binn.n_weights))
    found = readout.score(binn, data, weights)
    costs = np.array([-float(binn.log_likelihood(jnp.asarray(w), data.x_train, data.y_train)) for w in weights])
    each = np.stack([np.exp(np.asarray(binn.log_probs(jnp.asarray(w), data.x_test))) for w in weights])
    loss = lambda p: -np.log(p.mean(0)[np.arange(len(data.y_test)), data.y_test]).mean()
    rng = np.random.default_rng(1)
    again = [rng.integers(0, 40, 40) for _ in range(2000)]    # another bootstrap, of many more draws than the fifty
    right = lambda p: (p.mean(0).argmax(1) == data.y_test).mean()
    for one, statistic, of in zip(found, (np.mean, right, loss), (costs, each, each)):
        assert one.value == pytest.approx(statistic(of))
        assert one.error == pytest.approx(np.std([statistic(of[rows]) for rows in again]), rel=0.35)
    assert found.accuracy.value == pytest.approx((each.mean(0).argmax(1) == data.y_test).mean())


def test_score_with_readout_inverted_is_that_of_the_signed_shares():
    data, binn, *_ = TINY.problem()
    wrong, weights = np.array([[0.02, 0.1]] * binn.n_weights), np.random.default_rng(0).choice([-1., 1.], (60, binn.n_weights))
    found, inverted = readout.score(binn, data, weights, wrong), readout.invert_readout(weights, wrong)
    costs = -np.asarray(binn.log_likelihood(jnp.asarray(inverted.weights), data.x_train, data.y_train))
    votes = inverted.shares @ np.exp(np.asarray(binn.log_probs(jnp.asarray(inverted.weights), data.x_test))).reshape(len(costs), -1)
    answers = np.exp(np.asarray(binn.log_probs(jnp.asarray(inverted.weights), data.x_test)))
    votes = votes.reshape(len(data.y_test), -1).clip(answers.min(0), answers.max(0))
    assert found.expected_nll.value == pytest.approx(inverted.shares @ costs)
    assert found.log_loss.value == pytest.approx(-np.log((votes / votes.sum(1, keepdims=True))[np.arange(len(votes)), data.y_test]).mean())
    free = readout.score(binn, data, weights, np.zeros((binn.n_weights, 2)))    # nothing to undo: shots as they are
    for one, other in zip(free, readout.score(binn, data, weights)): assert one == pytest.approx(other)


def test_a_vote_that_shares_below_zero_have_spoilt_costs_no_more_than_the_worst_network():
    "Readout so bad that its inverse turns votes negative: the log loss is finite, and within that of the networks."
    data, binn, *_ = TINY.problem()
    binn = BiNN(binn.layer_sizes, logit_scale=20.)
    weights = np.where(np.random.default_rng(0).uniform(size=(60, binn.n_weights)) < 0.3, -1., 1.)
    wrong = np.full((binn.n_weights, 2), 0.4)
    inverted = readout.invert_readout(weights, wrong)
    own = np.exp(np.asarray(binn.log_probs(jnp.asarray(inverted.weights), data.x_test)))[:, np.arange(len(data.y_test)), data.y_test]
    assert ((inverted.shares @ own) < 0).any()
    found = readout.score(binn, data, weights, wrong).log_loss
    assert np.isfinite(found).all() and 0 < found.value <= -np.log(own.min(0)).mean()


@pytest.mark.parametrize("module", ["qhn.hardware.backends", "qhn.hardware.sampler", "qhn.hardware.readout", "qhn.hardware.run", "qhn.posterior.calibration", "qhn.posterior.predictive", "qhn.posterior.importance", "qhn.posterior.diagnose", "qhn.hardware.jobs", "qhn.baselines.variational", "qhn.baselines.chains"])
def test_heavy_libraries_are_imported_where_they_are_used(module):
    heavy = "sklearn", "qiskit", "qiskit_aer", "qiskit_ibm_runtime", "pennylane", "arviz_base", "arviz_stats", "matplotlib", "pandas", "mthree"
    code = f"import sys, qhn.inference.fit; before = set(sys.modules); import {module}; print(sorted(set({heavy}) & sys.modules.keys() - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_newest_set_lacks_the_plugin_alone():
    "tests/requirements-newest-qiskit.txt names all that the package needs, but PennyLane's plugin."
    root, name = Path(__file__).parent, lambda line: re.split("[<>=]", line)[0]
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(root.parent / "settings.ini")
    named = {name(line) for line in (root / "requirements-newest-qiskit.txt").read_text().splitlines() if not line.startswith("#")}
    assert {name(word) for word in parser["DEFAULT"]["requirements"].split()} - named == {"pennylane-qiskit"}


def test_command_stops_at_its_budget_and_resumes(tmp_path):
    from typer.testing import CliRunner
    from qhn.cli import app
    call = lambda *words: CliRunner().invoke(app, ["hardware", *map(str, words)])
    short = call("run", "--backend", "fake:manila", "--n-train", 20, "--hidden", "", "--layers", 1, "--steps", 2, "--shots", 20, "--final-shots", 40,
                 "--max-qpu-seconds", 6, "--out", tmp_path)
    assert short.exit_code == 1 and "budget spent" in short.stderr and f"`qhn hardware resume {tmp_path} --max-qpu-seconds SECONDS`" in short.stderr
    assert "2.5 of 6 QPU seconds used, 3.5 left" in short.stdout
    assert "qpu_seconds     2.5" in call("status", tmp_path).stdout
    assert "budget spent" in call("resume", tmp_path).stderr                  # the budget is the run's, not the command's
    assert "qpu_seconds     2.5" in call("status", tmp_path).stdout
    whole = call("resume", tmp_path, "--max-qpu-seconds", 60)
    assert whole.exit_code == 0 and "device, fine-tuned" in whole.stdout
    assert call("fetch", tmp_path).stdout == "0 jobs fetched\n"
    for words in (("resume", tmp_path / "absent"), ("status", tmp_path / "absent"), ("run", "--backend", "fake:nowhere", "--out", tmp_path / "b")):
        refused = call(*words)
        assert refused.exit_code == 2 and refused.stderr.startswith("qhn: ") and not (tmp_path / "b").exists()
