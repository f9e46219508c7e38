"""Random circuits and what two other simulators say of them: PennyLane's default.qubit, and plain numpy gate by gate."""
import math
from functools import partial

import jax
import numpy as np
import pennylane as qml
from hypothesis import strategies as st

from qhn.ansatz import Ansatz, Entangler, Rotation

# The same programs, compiled in half the time: most tests run theirs once.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})


@st.composite
def ansatze(draw, max_qubits=8, max_moments=6, neighbours=None):
    "Any moments on 1 to `max_qubits` wires, empty ones too; pairs in any order and either direction, repeated or not."
    n = draw(st.integers(1, max_qubits))
    if neighbours is None: neighbours = draw(st.booleans())
    pairs = [(c, t) for c in range(n) for t in range(n) if (abs(c - t) == 1 if neighbours else c != t)]
    some = st.lists(st.sampled_from(pairs), max_size=n).map(tuple) if pairs else st.just(())
    entangler = st.builds(Entangler, st.sampled_from(["CNOT", "CZ"]), some)
    moment = st.builds(Rotation, st.sampled_from(["RX", "RY", "RZ"])) | entangler
    return Ansatz(n, tuple(draw(st.lists(moment, max_size=max_moments))))


@st.composite
def circuits(draw, **options):
    "A random ansatz with angles: generic ones beyond a turn, or multiples of π/4, where amplitudes vanish."
    ansatz = draw(ansatze(**options))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    generic = draw(st.booleans())
    return ansatz, rng.uniform(-7, 7, ansatz.param_shape) if generic else rng.integers(-9, 9, ansatz.param_shape) * math.pi / 4


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
    n, rows = ansatz.n_qubits, iter(np.asarray(params))
    psi = np.zeros((2,) * n, complex)
    psi[(0,) * n] = 1
    for moment in ansatz.moments:
        if isinstance(moment, Rotation):
            for wire, angle in enumerate(next(rows)):
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
