"""Circuits from PennyLane and OpenQASM and back, against PennyLane's matrices and Qiskit's own simulator, and on to a device."""
import math

import numpy as np
import pennylane as qml
import pytest
from circuits import circuits, pennylane_state
from hypothesis import given, settings
from qiskit import QuantumCircuit, qasm2, qasm3
from qiskit.quantum_info import Statevector

from qhn.circuits.ansatz import Ansatz, Entangler, Rotation, brickwork, hardware_efficient, staircase
from qhn.circuits.gates import GATES, Gate, X, Y, fixed, register
from qhn.circuits.openqasm import from_openqasm, to_openqasm
from qhn.circuits.translate import pennylane_params, read_qiskit
from qhn.distributions.born import BornMachine
from qhn.hardware.backends import qiskit_circuit
from qhn.hardware.sampler import HardwareSampler
from qhn.problem.bits import index_from_weights

RNG = np.random.default_rng(0)
WIRES = range(3)


def some(*shape): return RNG.uniform(-3, 3, shape)


def chain(kind, n_angles):
    "A gate on each neighbouring pair in both directions, behind rotations that make it matter."
    def circuit(angles, more):
        for wire in WIRES: qml.RY(angles[wire], wire); qml.RZ(angles[wire + 3], wire)
        for k, pair in enumerate(((0, 1), (2, 1))): kind(*more[k], wires=pair)
        for wire in WIRES: qml.RX(angles[wire + 6], wire)
    return circuit, (some(9), some(2, n_angles))


def shuffled_labels(angles):
    "Wires are met in another order than that of their numbers."
    qml.RY(angles[0], 2)
    qml.CNOT([2, 0])
    qml.Barrier(WIRES)
    qml.Identity(1)
    qml.RX(angles[1], 1)
    qml.adjoint(qml.CRY(angles[2], [0, 1]))
    qml.GlobalPhase(0.3)
    qml.PhaseShift(angles[3], 2)
    qml.ctrl(qml.RX(angles[4], 1), 2)


PENNYLANE = {
    "basic": (qml.BasicEntanglerLayers, (some(2, 3),), {"wires": WIRES}),
    "strong": (qml.StronglyEntanglingLayers, (some(2, 3, 3),), {"wires": WIRES}),
    "two-design": (qml.SimplifiedTwoDesign, (some(3), some(2, 2, 2)), {"wires": WIRES}),
    "embedding": (qml.AngleEmbedding, (some(3),), {"wires": WIRES, "rotation": "Y"}),
    "labels": (shuffled_labels, (some(5),), {}),
    **{gate.name: (*chain(getattr(qml, gate.pennylane or gate.name), int(gate.has_angle)), {}) for gate in GATES.values() if gate.n_wires == 2},
    **{kind.__name__: (*chain(kind, n), {}) for kind, n in ((qml.CRot, 3), (qml.ControlledPhaseShift, 1), (qml.MultiRZ, 1))},
}


@pytest.mark.parametrize("name", PENNYLANE)
def test_the_state_is_pennylanes(name):
    circuit, args, kwargs = PENNYLANE[name]
    ansatz, params = Ansatz.from_pennylane(circuit, 3, *args, **kwargs), pennylane_params(circuit, 3, *args, **kwargs)
    theirs = qml.matrix(circuit, wire_order=WIRES)(*args, **kwargs)[:, 0]
    ours = pennylane_state(ansatz, params)
    np.testing.assert_allclose(abs(np.vdot(theirs, ours)), 1, atol=1e-12)        # one phase for all amplitudes
    assert params.shape == ansatz.param_shape


def test_our_engine_has_pennylanes_probabilities():
    weights = some(2, 3, 3)
    @qml.qnode(qml.device("default.qubit", wires=["c", "a", "b"]))
    def node():
        qml.StronglyEntanglingLayers(weights, wires=["a", "b", "c"])
        return qml.probs()
    machine = BornMachine(Ansatz.from_pennylane(node))    # wires in the order of the device
    np.testing.assert_allclose(machine.probs(pennylane_params(node)), node(), atol=1e-6)


def test_each_angle_is_one_parameter():
    "A change of one angle of the tape is the change of one parameter."
    def circuit(*angles):
        for k, wire in enumerate((0, 1, 0, 1)): (qml.RY, qml.RZ)[k // 2](angles[k], wire)
        qml.IsingXX(angles[4], [0, 1])
    angles = some(5)
    params = pennylane_params(circuit, 2, *angles)
    for k in range(5):
        moved = pennylane_params(circuit, 2, *(angles + 0.1 * (np.arange(5) == k)))
        np.testing.assert_allclose(np.sort(abs(moved - params)), [0, 0, 0, 0, 0.1], atol=1e-12)


@given(circuits(max_qubits=5, rich=True))
@settings(max_examples=25)
def test_layers_do_what_the_gates_did(case):
    ansatz, params = case
    read = Ansatz.from_pennylane(ansatz.circuit, ansatz.n_qubits, params)
    assert sorted(op.gate for op in read.operations) == sorted(op.gate for op in ansatz.operations)
    again = pennylane_params(ansatz.circuit, ansatz.n_qubits, params)
    np.testing.assert_allclose(pennylane_state(read, again), pennylane_state(ansatz, params), atol=1e-10)


@pytest.mark.parametrize("ansatz", [brickwork(5, 3), staircase(4, 2), hardware_efficient(5, 2), staircase(1, 1)], ids=["brickwork", "staircase", "hardware", "one"])
def test_our_own_circuits_come_back_as_they_were(ansatz):
    params = np.arange(ansatz.n_params) / 10
    read = Ansatz.from_pennylane(ansatz.circuit, ansatz.n_qubits, params)
    assert [op[:3] for op in read.operations] == [op[:3] for op in ansatz.operations]    # but for the moments, of which there may be fewer
    np.testing.assert_array_equal(pennylane_params(ansatz.circuit, ansatz.n_qubits, params), params)


def test_templates_have_as_few_layers_as_they_can():
    layers = qml.StronglyEntanglingLayers(some(3, 6, 3), wires=range(6))
    assert [m.gate for m in Ansatz.from_pennylane(layers).moments] == ["RZ", "RY", "RZ", "CNOT"] * 3


def measured_inside():
    qml.RY(0.1, 0)
    m = qml.measure(0)
    qml.cond(m, qml.RX)(0.2, 1)


@pytest.mark.parametrize("circuit, message", [
    (lambda: (qml.RY(0.1, 0), qml.Hadamard(1)), r"operation 1 of the circuit, Hadamard on wires \[1\], cannot be read: Hadamard"),
    (lambda: qml.PauliX("q"), r"operation 0 of the circuit, PauliX on wires \['q'\]"),
    (lambda: qml.QFT([0, 1]), r"operation 0 of the circuit, QFT on wires \[0, 1\], cannot be read: Hadamard"),
    (lambda: qml.Toffoli([0, 1, 2]), "Toffoli on wires"),
    (lambda: qml.SingleExcitation(0.1, [0, 1]), "SingleExcitation on wires"),
    (measured_inside, r"operation 1 of the circuit, MidMeasureMP on wires \[0\]"),
    (lambda: qml.DepolarizingChannel(0.1, 0), "DepolarizingChannel on wires"),
], ids=range(7))
def test_what_cannot_be_expressed_is_named(circuit, message):
    with pytest.raises(ValueError, match=message): Ansatz.from_pennylane(circuit)


# OpenQASM

@given(circuits(max_qubits=4, rich=True))
@settings(max_examples=15)
def test_text_and_back(case):
    ansatz, params = case
    text = to_openqasm(ansatz, params)
    read, angles = from_openqasm(text)
    np.testing.assert_allclose(pennylane_state(read, angles), pennylane_state(ansatz, params), atol=1e-10)
    assert read.n_params == ansatz.n_params


def test_qiskit_reads_the_text_with_the_same_probabilities():
    ansatz = Ansatz(3, (Rotation("RY"), Entangler("RYY", [(0, 2)]), Rotation("RX", (1,)), Entangler("CRX", [(2, 1)]), Entangler("SWAP", [(0, 1)])))
    params = some(ansatz.n_params)
    circuit = qasm3.loads(to_openqasm(ansatz, params)).remove_final_measurements(inplace=False)
    theirs = Statevector(circuit).reverse_qargs().probabilities()    # qubit 0 is their least significant
    np.testing.assert_allclose(BornMachine(ansatz).probs(params), theirs, atol=1e-6)


def test_version_two():
    circuit = QuantumCircuit(3)
    circuit.u(0.3, 0.4, 0.5, 0); circuit.cp(0.6, 0, 2); circuit.rxx(0.7, 2, 1); circuit.ryy(0.8, 0, 1); circuit.p(0.9, 2); circuit.crx(1.1, 1, 2)
    ansatz, angles = from_openqasm(qasm2.dumps(circuit))
    theirs = Statevector(circuit).reverse_qargs().data
    np.testing.assert_allclose(abs(np.vdot(theirs, pennylane_state(ansatz, angles))), 1, atol=1e-12)
    assert {op.gate for op in ansatz.operations} == {"RZ", "RY", "CNOT", "RXX", "RYY", "CRX"}


@pytest.mark.parametrize("text", ["OPENQASM 2.0; qreg q[2]; gate cry(a) x, y { U(a, 0, 0) x; CX x, y; } cry(0.4) q[0], q[1];",
                                  "OPENQASM 3.0; qubit[2] q; gate cry(a) x, y { U(a, 0, 0) x; ctrl @ U(pi, 0, pi) x, y; } cry(0.4) q[0], q[1];"], ids=[2, 3])
def test_a_gate_is_known_by_what_it_does_and_not_by_its_name(text):
    "Here `cry` is something else."
    ansatz, angles = from_openqasm(text)
    half = np.array([math.cos(0.2), 0, 0, math.sin(0.2)])    # CNOT behind a turned control
    np.testing.assert_allclose(BornMachine(ansatz).probs(angles), half**2, atol=1e-6)


@pytest.mark.parametrize("body, message", [("h q[0];", "operation 0 of the circuit, h on wires"),
                                           ("reset q[0];", "operation 0 of the circuit, reset on wires"),
                                           ("c[0] = measure q[0]; ry(0.1) q[0];", "ry comes behind a measurement"),
                                           ("c[1] = measure q[0]; c[0] = measure q[1];", "got wire 0 into bit 1, wire 1 into bit 0"),
                                           ("if (c[0]) { ry(0.1) q[0]; }", "if_else on wires")])
def test_what_no_ansatz_holds_is_named(body, message):
    with pytest.raises(ValueError, match=message): from_openqasm(f'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; {body}'.replace("; ", ";\n"))


@pytest.mark.parametrize("pairs, message", [([(0, 1), (1, 0)], "wire 0 into bit 1, wire 1 into bit 0"), ([(2, 0), (0, 2), (1, 1)], "wire 2 into bit 0"), ([(0, 0), (1, 0)], "wire 1 into bit 0")])
def test_a_circuit_of_qiskit_keeps_the_order_of_its_bits(pairs, message):
    "Where another order would be read as the same, weights would come from the wrong wires."
    circuit = QuantumCircuit(3, 3)
    for wire in range(3): circuit.ry(0.1 + wire, wire)
    for wire, bit in pairs: circuit.measure(wire, bit)
    with pytest.raises(ValueError, match=f"the measurements must keep the order of the wires, got .*{message}"): read_qiskit(circuit)


def test_bits_in_order_may_lie_anywhere():
    circuit = QuantumCircuit(3, 9)
    for wire, bit in ((2, 8), (0, 1), (1, 5)): circuit.ry(0.1 + wire, wire), circuit.measure(wire, bit)
    assert read_qiskit(circuit)[0] == 3


# names and devices

@pytest.fixture
def nameless():
    "A gate of one's own that only this package knows."
    register(Gate("XY", (fixed(X),), (Y,)))
    yield Ansatz(2, (Rotation("RY"), Entangler("XY", [(0, 1)])))
    del GATES["XY"]


def test_a_gate_without_a_name_elsewhere_says_so(nameless):
    with pytest.raises(ValueError, match="gate 'XY' is unknown to PennyLane, got pennylane=''; give it the name"): nameless.circuit(np.zeros(2))
    for way in (qiskit_circuit, lambda ansatz: to_openqasm(ansatz, np.zeros(2)), HardwareSampler):
        with pytest.raises(ValueError, match="gate 'XY' is unknown to Qiskit, got qiskit=''; give it the name"): way(nameless)


@pytest.mark.parametrize("backend", ["aer", qml.device("default.qubit", wires=3, seed=0)], ids=["aer", "pennylane"])
def test_what_came_from_pennylane_reaches_a_device(backend):
    @qml.qnode(qml.device("default.qubit", wires=3))
    def node(weights):
        qml.StronglyEntanglingLayers(weights, wires=range(3))
        return qml.probs()
    weights, shots = some(1, 3, 3), 4000
    ansatz, params = Ansatz.from_pennylane(node, 3, weights), pennylane_params(node, 3, weights)
    with HardwareSampler(ansatz, backend, shots=shots) as device: weights_drawn = device.sample_batch(params[None])[0]
    q = np.asarray(node(weights))
    shares = np.bincount(np.asarray(index_from_weights(weights_drawn)), minlength=8) / shots
    assert (abs(shares - q) < 5 * np.sqrt(q * (1 - q) / shots) + 1e-3).all()


def test_what_came_from_text_reaches_a_noise_model():
    "Of five qubits: a state that is nearly one bit string, which reads differently from either end."
    text = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[3];\nry(3.1415926) q[0];\ncx q[0], q[2];'
    ansatz, params = from_openqasm(text)
    ansatz = Ansatz(3, (*ansatz.moments, Entangler("CNOT", [(2, 1), (2, 1)])))
    with HardwareSampler(ansatz, "fake:manila", shots=300) as device: weights = device.sample_batch(params[None])[0]
    assert ((weights < 0).mean(0) > 0.8).tolist() == [True, False, True]
