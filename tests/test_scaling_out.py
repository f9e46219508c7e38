"""Training shared by devices and processes: the numbers of one device, refusals that say why, and no process left waiting for a dead one."""
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from qhn.circuits.ansatz import product, staircase
from qhn.problem.network import BiNN
from qhn.distributions.born import BornMachine
from qhn.inference.gradients import Exact
from qhn.inference.fit import fit
from qhn.inference.mesh import join_processes

WORKER = Path(__file__).with_name("scaling_out_worker.py")
KEY = jax.random.key(0)


def start(task, n_devices, *where):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={n_devices}", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, str(WORKER), task, *map(str, where)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(processes):
    "(exit status, what it printed, errors) of each; none is left running."
    try: outputs = [process.communicate(timeout=3600) for process in processes]    # one that waits for ever is a failure; how soon the others end is not measured here
    finally:
        for process in processes: process.kill()
    return [(process.returncode, [json.loads(line) for line in out.splitlines() if line.startswith("{")], errors) for process, (out, errors) in zip(processes, outputs)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pair(task, *more):
    "Two processes of two devices each, over loopback."
    where = f"127.0.0.1:{free_port()}"
    return [start(task, 2, where, 2, process, *more) for process in (0, 1)]


@pytest.fixture(scope="module")
def eight():
    (status, printed, errors), = finish([start("devices", 8)])
    assert status == 0, errors
    return printed[0]


def assert_same(a, b, since=0):
    # Adam divides by the gradient's size: rounding of the order 1e-16 in an angle without effect moves that angle by 1e-7, and nothing else.
    np.testing.assert_allclose(a["params"], b["params"], rtol=0, atol=1e-6)
    for name in ("loss", "expected_nll", "divergence", "loss_error", "grad_norm"):
        np.testing.assert_allclose(a[name], np.array(b[name])[:, since:], rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("shared, alone", [("seeds, samples, data", "alone"), ("exact seeds", "exact alone"), ("SPSA samples", "SPSA alone"),
                                           ("ParameterShift samples", "ParameterShift alone"), ("dense amplitudes", "dense alone")])
def test_eight_devices_give_the_numbers_of_one(eight, shared, alone):
    assert eight["n_devices"] == 8
    assert np.isfinite(eight[alone]["loss"]).all()
    assert_same(eight[shared], eight[alone])


def test_a_shared_run_goes_on_with_or_without_the_mesh(eight):
    assert_same(eight["resumed"], eight["alone"], since=6)
    assert_same(eight["resumed alone"], eight["alone"], since=6)


def test_the_result_is_on_one_device(eight): assert eight["devices of the result"] == [0]


def test_other_data_on_the_same_mesh_compile_nothing(eight): assert eight["compilations"] == 0


def test_no_device_holds_all_samples_or_all_data(eight):
    sizes = eight["step"]["sizes"]
    assert {10, 24} <= set(sizes) and not {40, 48} & set(sizes)    # 40 samples on 4 devices, 48 points on 2
    assert eight["step"]["all-reduce"] > 0 and eight["step"]["all-gather"] == 0


@pytest.mark.parametrize("what, text", [
    ("data", "ValueError: mesh has 5 devices along 'data', which do not divide the number of data points, 48; make it a multiple of 5, such as 50"),
    ("samples", "ValueError: mesh has 7 devices along 'samples', which do not divide n_samples of ScoreFunction(), 40; make it a multiple of 7, such as 42"),
    ("seeds", "ValueError: mesh has 8 devices along 'seeds', which do not divide n_seeds, 4; make it a multiple of 8, such as 8"),
    ("no samples", "ValueError: mesh has an axis 'samples', but there are no samples to divide"),
    ("name", "ValueError: mesh must have axes named 'seeds', 'samples', 'data' or 'amplitudes', got ['rows']"),
    ("three", "ValueError: the mesh axis 'amplitudes' must hold a power of two of devices, at most 2**2 for n_qubits=5, got 8; use a mesh of fewer devices"),
    ("two", "ValueError: mesh with an axis 'amplitudes' must have no other, got ('seeds', 'amplitudes')"),
    ("no state", "ValueError: mesh has an axis 'amplitudes', but there is no state vector to divide"),
    ("no mesh", "TypeError: mesh must be a jax.sharding.Mesh such as jax.make_mesh((8,), ('samples',)), got 8")])
def test_a_mesh_that_does_not_fit_is_refused(eight, what, text): assert eight["refused"][what].startswith(text)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory): return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def killed(checkpoints):
    "After calls that differ and the common run, twice, the second of two processes is killed."
    return finish(pair("killed", checkpoints))


def test_two_processes_give_the_numbers_of_one(eight, killed):
    for _, printed, errors in killed:
        assert len(printed) == 3, errors
        assert (printed[1]["n_processes"], printed[1]["n_devices"], printed[1]["local"]) == (2, 4, True)
        assert_same(printed[1], eight["alone"])
    assert killed[0][1][1] == killed[1][1][1]    # to the last bit in both


def test_two_processes_stop_at_one_step_and_share_a_checkpoint(killed, checkpoints):
    "A callback of the first alone wants to stop; the first alone writes, and both read."
    reasons = ["enough", "a callback of the first process ended the training"]
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000005.checkpoint", "step-00000012.checkpoint"]
    for (_, printed, errors), reason in zip(killed, reasons):
        assert len(printed) == 3, errors
        told = printed[2]
        assert (told.pop("n_steps"), told.pop("stopped"), told.pop("interrupted")) == (7, reason, False)
        assert told == {name: printed[1][name] for name in told}    # to the last bit


def test_processes_that_want_different_trainings_are_told_so(killed):
    for _, printed, errors in killed:
        assert printed, errors
        refused, text = printed[0], "ValueError: fit must be called alike in all processes that share a mesh, got another {} in some"
        assert refused.pop("alike") is None
        assert refused == {"n_steps": text.format("n_steps"), "rate": text.format("distribution, model, objective, estimator, optimizer, n_seeds or shape of the data"),
                           "data": text.format("data"), "key": text.format("key, params or state"),
                           "mesh": text.format("mesh")}


def assert_ended_with_a_message(status, errors, text="another task died"):
    "From the one that notices first: the sum that the other left, or the watch over it."
    assert status not in (0, None)
    assert "Gloo" in errors or "gloo" in errors or text in errors


def test_a_killed_process_ends_the_other(killed):
    (survivor, _, errors), (victim, _, _) = killed
    assert victim == -9
    assert_ended_with_a_message(survivor, errors)


def test_a_failing_process_ends_the_other():
    (victim, _, fault), (survivor, _, errors) = finish(pair("failed"))
    assert victim == 1 and "RuntimeError: a fault of its own" in fault
    assert_ended_with_a_message(survivor, errors)


def test_a_process_that_leaves_early_ends_the_other():
    (survivor, _, errors), _ = finish(pair("left"))
    assert_ended_with_a_message(survivor, errors, "Shutdown barrier has failed")


def test_what_the_others_wait_for_is_under_a_minute(monkeypatch):
    "For a sign of life, and for a process that has left."
    given = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda *where, **limits: given.update(limits))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    join_processes("10.0.0.1:1234", 2, 0)
    assert given["heartbeat_timeout_seconds"] == 20 and given["shutdown_timeout_seconds"] == 40
    join_processes("10.0.0.1:1234", 2, 0, patience=6, shutdown_timeout_seconds=6)
    assert given["heartbeat_timeout_seconds"] == given["shutdown_timeout_seconds"] == 6


@pytest.mark.parametrize("coordinator", ["10.0.0.1", "10.0.0.1:", "host:port"])
def test_a_coordinator_without_port_is_refused(coordinator):
    with pytest.raises(ValueError, match="coordinator must be 'host:port' of process 0"): join_processes(coordinator, 2, 0)


@pytest.mark.parametrize("n_seeds, error", [(1.5, TypeError), (0, ValueError), (True, TypeError), ("3", TypeError)])
def test_the_number_of_seeds_is_a_positive_integer(n_seeds, error):
    with pytest.raises(error, match="n_seeds must be an integer of at least 1, got n_seeds="):
        fit(BornMachine(staircase(3, 1)), np.zeros(8), n_steps=1, key=KEY, n_seeds=n_seeds)


def test_too_wide_for_exact_names_the_sampled_estimator():
    with pytest.raises(ValueError, match=r"Exact\(\) on 2\*\*650 networks .* use estimator=ScoreFunction\(\) instead"):
        fit(BornMachine(product(650)), BiNN((64, 10)), (np.zeros((4, 64)), np.zeros(4, int)), estimator=Exact(), n_steps=1, key=KEY)
