"""Random circuits and what two other simulators say of them: PennyLane's default.qubit, and plain numpy gate by gate."""
import math
from functools import partial

import jax
import numpy as np
import pennylane as qml
from hypothesis import strategies as st

from qhn.circuits.ansatz import Ansatz, Entangler, Rotation
from qhn.circuits.gates import GATES

TWO_WIRES = [name for name, gate in GATES.items() if gate.n_wires == 2]

# The same programs, compiled in half the time: most tests run theirs once.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})


def random_ansatz(rng, max_qubits, rich=False):
    "Three to nine moments, empty ones too; pairs of neighbours or any, in any order and either direction, repeated or not. Rich: of all gates, also on some wires."
    n, reach = rng.integers(1, max_qubits + 1), 1 if rng.random() < 0.7 else max_qubits
    pairs = [(c, t) for c in range(n) for t in range(n) if 0 < abs(c - t) <= reach]
    def moment(k):
        if rng.random() < (0.7 if k == 0 else 0.4):
            gate = str(rng.choice(["RX", "RY", "RZ"]))
            some = rich and rng.random() < 0.5
            return Rotation(gate, tuple(map(int, rng.permutation(n)[:rng.integers(n + 1)])) if some else None)
        some = rng.integers(len(pairs), size=rng.integers(n + 1)) if pairs else ()
        return Entangler(str(rng.choice(TWO_WIRES if rich else ["CNOT", "CNOT", "CZ"])), tuple(pairs[k] for k in some))
    return Ansatz(int(n), tuple(moment(k) for k in range(rng.integers(3, 10))))


@st.composite
def circuits(draw, max_qubits=8, rich=False):
    "A random ansatz with angles: generic ones beyond a turn, or multiples of π/4, where amplitudes vanish."
    # One seed rather than many small draws: hypothesis favours the least of each, which would leave few gates that matter.
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ansatz = random_ansatz(rng, max_qubits, rich)
    return ansatz, rng.uniform(-7, 7, ansatz.param_shape) if rng.random() < 0.7 else rng.integers(-9, 9, ansatz.param_shape) * math.pi / 4


def pennylane_state(ansatz, params):
    "All amplitudes by PennyLane."
    @qml.qnode(qml.device("default.qubit", wires=ansatz.n_qubits))
    def node():
        ansatz.circuit(np.asarray(params))
        return qml.state()
    return np.asarray(node())


PAULI = {"RX": np.array([[0, 1], [1, 0]]), "RY": np.array([[0, -1j], [1j, 0]]), "RZ": np.diag([1, -1])}


def numpy_state(ansatz, params):
    "All amplitudes from the moments, with one axis per wire."
    n, angles = ansatz.n_qubits, iter(np.ravel(params))
    psi = np.zeros((2,) * n, complex)
    psi[(0,) * n] = 1
    for moment in ansatz.moments:
        if isinstance(moment, Rotation):
            for wire in range(n) if moment.wires is None else moment.wires:
                angle = next(angles)
                matrix = math.cos(angle / 2) * np.eye(2) - 1j * math.sin(angle / 2) * PAULI[moment.gate]
                psi = np.moveaxis(np.tensordot(matrix, psi, (1, wire)), 0, wire)
        else:
            for control, target in moment.pairs:
                on = tuple(1 if wire == control else slice(None) for wire in range(n))
                axis = target - (target > control)    # of psi[on], which lacks the control's axis
                psi[on] = np.flip(psi[on], axis) if moment.gate == "CNOT" else psi[on] * np.array([1, -1]).reshape(-1, *[1] * (n - 2 - axis))
    return psi.reshape(-1)


def schmidt_ranks(state):
    "Rank of a state across each cut."
    n = len(state).bit_length() - 1
    spectra = [np.linalg.svd(state.reshape(2**cut, -1), compute_uv=False) for cut in range(1, n)]
    return [int((s > 1e-9).sum()) for s in spectra]


def bits(n):
    "All bit strings in basis order, (2**n, n)."
    return np.array(list(np.ndindex(*(2,) * n)))


def directional_derivative(value, params, direction, h=1e-3):
    "Central difference of fourth order along `direction`."
    step = h * direction
    return (8 * (value(params + step) - value(params - step)) - (value(params + 2*step) - value(params - 2*step))) / (12 * h)
