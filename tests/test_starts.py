"""Starting angles and confined circuits, against a plain numpy product distribution, its flips and bits pushed through the gates."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import numpy_state, random_ansatz

from qhn.circuits.gates import GATES, Gate, X, fixed, register
from qhn.circuits.ansatz import (Ansatz, Entangler, Rotation, brickwork, confined, from_product,
                                 hardware_efficient, product, staircase, symmetric_start)

GROUPS = [(0, 1, 2), (3, 4)]     # wire 5 in none
ANGLES = np.random.default_rng(0).uniform(-3, 3, (2, 6))
RY, RZ = Rotation("RY"), Rotation("RZ")


def product_table(angles):
    "Probabilities of independent bits, wire 0 most significant."
    table = np.ones(1)
    for a in angles: table = np.kron(table, [np.cos(a / 2)**2, np.sin(a / 2)**2])
    return table


def averaged(table, groups):
    "The mean of a table over the flips of every group of wires."
    table = table.reshape([2] * 6)
    for wires in groups: table = (table + np.flip(table, wires)) / 2
    return table.ravel()


def distribution(ansatz, params): return np.abs(numpy_state(ansatz, np.asarray(params)))**2


@pytest.mark.parametrize("ansatz", [product(6), *(brickwork(6, L, rz) for L in (1, 2, 5) for rz in (True, False)), staircase(6, 0),
                                    staircase(6, 3), hardware_efficient(6, 2), confined(staircase(6, 2), GROUPS)])
def test_from_product_copies_the_product(ansatz):
    for params, angles in zip(from_product(ansatz, ANGLES), ANGLES, strict=True):
        np.testing.assert_allclose(distribution(ansatz, params), product_table(angles), atol=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_from_product_is_exact_on_every_circuit_that_it_takes(seed):
    "Random moments: it takes exactly the circuits whose last RY is followed by no CNOT."
    ansatz = random_ansatz(np.random.default_rng(seed), 4)
    angles = np.random.default_rng(seed).uniform(-3, 3, ansatz.n_qubits)
    acting = [m.gate for m in ansatz.moments if m.gate == "RY" or (m.gate == "CNOT" and m.pairs)]
    if acting and acting[-1] == "RY":
        np.testing.assert_allclose(distribution(ansatz, from_product(ansatz, angles)), product_table(angles), atol=1e-12)
    else:
        with pytest.raises(ValueError, match="no CNOT follows"): from_product(ansatz, angles)


def test_from_product_refuses_a_gate_that_moves_the_zero_state():
    register(Gate("XX", (fixed(X),), (X,)))
    try:
        for moments in ((Entangler("XX", [(0, 1)]), RY), (Entangler("CNOT", [(0, 1)]), Rotation("RX"), Entangler("XX", [(0, 1)]), RY, RZ)):
            with pytest.raises(ValueError, match="before its last RY, where all angles are 0, got gate='XX'"): from_product(Ansatz(2, moments), [1., 2.])
        with pytest.raises(ValueError, match="moves bits"): from_product(Ansatz(2, (RY, Entangler("XX", [(0, 1)]))), [1., 2.])
        assert from_product(Ansatz(2, (Entangler("XX", []), RY)), [1., 2.]).shape == (2,)
    finally: del GATES["XX"]


def test_from_product_keeps_precision_batch_and_gradient():
    ansatz = staircase(6, 1)
    assert from_product(ansatz, ANGLES.reshape(1, 2, 6)).shape == (1, 2, 4 * 6)
    assert from_product(ansatz, np.float32(ANGLES)).dtype == jnp.float32
    np.testing.assert_array_equal(ansatz.view(from_product(ansatz, [0, 1, 2, 3, 0, 1]))["RY 2"], [0., 1, 2, 3, 0, 1])    # integers are angles too
    assert jnp.issubdtype(from_product(ansatz, [0] * 6).dtype, jnp.floating)
    slope = jax.jit(jax.grad(lambda a: from_product(ansatz, a).sum()))(ANGLES)
    np.testing.assert_array_equal(slope, np.ones((2, 6)))


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("final_rz", [True, False])
def test_symmetric_start_averages_over_the_flips(n_layers, final_rz):
    ansatz = confined(staircase(6, n_layers, final_rz), GROUPS)
    for params, angles in zip(symmetric_start(ansatz, ANGLES), ANGLES, strict=True):
        np.testing.assert_allclose(distribution(ansatz, params), averaged(product_table(angles), GROUPS), atol=1e-12)


def flipped_with(head, pairs):
    "Wires that are 1 after the CNOTs if only `head` was."
    bits = np.arange(6) == head
    for c, t in pairs: bits[t] ^= bits[c]
    return tuple(np.flatnonzero(bits))


@pytest.mark.parametrize("before", [(), (Entangler("CZ", ((0, 1), (2, 5))), Rotation("RX"))])
@pytest.mark.parametrize("pairs, heads", [
    ([(j, j + 1) for j in range(5)], [0]),           # the whole register
    ([(0, 1), (2, 3), (4, 5)], [0, 2, 4]),           # bricks
    ([(5, 3), (3, 1), (4, 0)], [4, 5]),              # upwards, over a distance
    ([(0, 1), (0, 2), (0, 3)], [0]),                 # a fan
    ([(1, 2), (0, 1)], [0]),                         # in this order wire 2 is not reached
    ([(2, 3), (3, 2), (0, 1)], [0]),                 # a ring has no head
])
def test_symmetric_start_flips_what_the_last_cnots_flip(before, pairs, heads):
    for split in (0, 1):    # in one moment, or in two with an empty one between
        cnots = (Entangler("CNOT", pairs[:split]), Entangler("CZ", ()), Entangler("CNOT", pairs[split:]))
        ansatz = Ansatz(6, (*before, RY, RZ, *cnots, RY))
        expected = averaged(product_table(ANGLES[0]), [flipped_with(h, pairs) for h in heads])
        np.testing.assert_allclose(distribution(ansatz, symmetric_start(ansatz, ANGLES[0])), expected, atol=1e-12)


@pytest.mark.parametrize("ansatz", [
    product(6), staircase(6, 0), brickwork(6, 1), confined(staircase(6, 1), []),
    Ansatz(6, (RY, RZ, Entangler("CNOT", ((0, 2), (1, 2))), RY)),                                # one wire hit twice
    Ansatz(6, (RY, RZ, Entangler("CNOT", ((0, 1),)), Entangler("CZ", ((0, 1),)), RY)),           # a CZ tells the branches apart
    Ansatz(6, (RZ, RY, Entangler("CNOT", ((0, 1),)), RY)),
    Ansatz(6, (RY, Entangler("CNOT", ((0, 1),)), RZ, Entangler("CNOT", ((1, 2),)), RY)),
    Ansatz(6, (Entangler("CNOT", ((0, 1),)), RY)),
])
def test_symmetric_start_refuses_other_circuits(ansatz):
    with pytest.raises(ValueError, match=r"CNOTs that hit no wire twice .* use confined\(staircase"): symmetric_start(ansatz, ANGLES)


def test_confined_keeps_only_pairs_within_a_group():
    kept = [m.pairs for m in confined(brickwork(6, 2), GROUPS).moments if isinstance(m, Entangler)]
    assert kept == [((1, 2), (3, 4)), ((0, 1),)]
    assert confined(staircase(6, 2), [range(6)]) == staircase(6, 2)
    assert confined(staircase(6, 2), [np.array([3, 4]), np.arange(3)]) == confined(staircase(6, 2), GROUPS)


@pytest.mark.parametrize("groups, message", [
    ([(0, 1), (1, 2)], "share wires"), ([(0, 0)], "share wires"), ([(0, 6)], "wires 0 to 5, got wire 6"), ([(-1, 0)], "got wire -1"),
    ([(0.7, 1)], "groups of integers"), ((0, 1), "groups of integers"), (None, "groups of integers")])
def test_confined_refuses_bad_groups(groups, message):
    with pytest.raises(ValueError, match=message): confined(staircase(6, 1), groups)


@pytest.mark.parametrize("angles, message", [(np.zeros(5), r"shape \(\.\.\., 6\).*got shape \(5,\)"), (0.3, r"got shape \(\)"),
                                             (np.zeros(6, complex), "dtype complex128; give real numbers")])
def test_starts_refuse_bad_angles(angles, message):
    for start in (from_product, symmetric_start):
        with pytest.raises(ValueError, match=message): start(staircase(6, 1), angles)
