"""Value and gradient of the exact free energy: ours beside other simulators, in one run.

    pip install -e ".[dev,bench]"
    python tests/benchmarks/exact_step.py [--qubits 9 13 17 20] [--repeats 11] [--without tensorcircuit-ng ...]

The problem: brickwork of 4 layers, complex128, F = Σ p (E + log p + n ln 2) for 2^n costs E and a uniform prior. All contestants must agree
on F and on its gradient to 1e-8 before a clock starts. Then they take turns, in rounds, so that a busy moment of the machine hits all alike.
Even so, on a machine that others use a step of a millisecond finds a quiet moment and a step of a second does not: trust ratios of a quiet one.
A first call traces and compiles where there is something to compile; with tensorcircuit-ng and default.qubit it takes minutes.

lightning.qubit has no reverse mode through probabilities, but the gradient of F is that of the expectation of the diagonal observable ∂F/∂p at
fixed ∂F/∂p. It runs three times: as QNodes, as a user writes it; through the device's own methods, with the gates that do not change kept; and by
its bare C++ kernels, fed with prepared lists, which is a bound on what any Python around them could reach.

pytest does not collect this file. It measures, and fails only on a wrong number.
"""
import argparse
import os
import time
from importlib import metadata, util

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
from scipy.sparse import csr_matrix

from qhn.distributions.born import BornMachine
from qhn.circuits.ansatz import brickwork
from qhn.problem.network import BiNN
from qhn.problem.costs import log_likelihood_table
from qhn.problem.datasets import load_dataset
from qhn.objectives.elbo import KL
from qhn.problem.prior import BernoulliPrior

TOLERANCE = 1e-8  # of values in nats and gradients in nats per radian
BURST = 0.1  # seconds that one timing should last at least: many short steps are timed together, so that none is merely lucky
TARGETS = {(9, "lightning"): 10, (17, "lightning"): 20, (17, "tensorcircuit"): 2.5}  # times our step


def exact_step(probabilities):
    "Compiled value and gradient of the free energy, from a JAX function of the angles that gives all probabilities."
    return jax.jit(jax.value_and_grad(lambda params, costs: KL().from_probs(probabilities(params), costs, BernoulliPrior()).loss))


def jax_contestant(probabilities, costs):
    step = exact_step(probabilities)
    return lambda params: jax.block_until_ready(step(params, costs))


def ours(ansatz, costs):
    return jax_contestant(lambda params: BornMachine(ansatz).probs(params), costs)


def tensorcircuit_ng(ansatz, costs):
    import tensorcircuit as tc

    tc.set_backend("jax")
    tc.set_dtype("complex128")

    def probabilities(params):
        circuit = tc.Circuit(ansatz.n_qubits)
        for op in ansatz.operations:
            angle = {} if op.angle is None else {"theta": params[op.angle]}
            getattr(circuit, op.gate.lower())(*op.wires, **angle)
        state = circuit.state()
        return tc.backend.real(state) ** 2 + tc.backend.imag(state) ** 2  # twice as fast here as its own abs(state)**2

    return jax_contestant(probabilities, costs)


def default_qubit(ansatz, costs):
    @qml.qnode(qml.device("default.qubit", wires=ansatz.n_qubits), diff_method="backprop")
    def probabilities(params):
        ansatz.circuit(params)
        return qml.probs(wires=range(ansatz.n_qubits))

    return jax_contestant(probabilities, costs)


def free_energy(p, costs):
    "F and ∂F/∂p up to a constant, which the normalisation of p makes invisible; numpy, not the package."
    slope = costs + np.log(np.maximum(p, np.finfo(p.dtype).tiny)) + np.log(len(p))
    return p @ slope, slope


def diagonal(n_qubits):
    "Function from 2^n numbers to the observable with these on its diagonal."
    columns, ends = np.arange(2**n_qubits), np.arange(2**n_qubits + 1)
    return lambda entries: qml.SparseHamiltonian(csr_matrix((entries, columns, ends)), wires=range(n_qubits))


def lightning_qnode(ansatz, costs):
    device, observable, costs = qml.device("lightning.qubit", wires=ansatz.n_qubits), diagonal(ansatz.n_qubits), np.asarray(costs)

    @qml.qnode(device, diff_method=None)
    def probabilities(params):
        ansatz.circuit(params)
        return qml.probs(wires=range(ansatz.n_qubits))

    @qml.qnode(device, diff_method="adjoint")
    def expectation(params, entries):
        ansatz.circuit(params)
        return qml.expval(observable(entries))

    def step(params):
        value, slope = free_energy(probabilities(np.asarray(params)), costs)
        return value, qml.grad(expectation, argnums=0)(qml.numpy.array(params, requires_grad=True), slope)

    return step


def lightning_device(ansatz, costs):
    device, observable, costs = qml.device("lightning.qubit", wires=ansatz.n_qubits), diagonal(ansatz.n_qubits), np.asarray(costs)
    gates = qml.tape.make_qscript(ansatz.circuit)(np.zeros(ansatz.param_shape)).operations
    n_params = np.prod(ansatz.param_shape)

    def step(params):
        angles = iter(np.ravel(params).tolist())
        bound = [type(gate)(next(angles), gate.wires) if gate.num_params else gate for gate in gates]
        (p,) = device.execute([qml.tape.QuantumScript(bound, [qml.probs(wires=range(ansatz.n_qubits))])])
        value, slope = free_energy(p, costs)
        expectation = qml.tape.QuantumScript(bound, [qml.expval(observable(slope))], trainable_params=range(n_params))
        return value, np.reshape(device.compute_derivatives(expectation), ansatz.param_shape)

    return step


def lightning_kernels(ansatz, costs):
    from pennylane_lightning.lightning_qubit_ops import StateVectorC128
    from pennylane_lightning.lightning_qubit_ops.algorithms import VectorJacobianProductC128, create_ops_listC128

    costs, n_params = np.asarray(costs), int(np.prod(ansatz.param_shape))
    gates = qml.tape.make_qscript(ansatz.circuit)(np.zeros(ansatz.param_shape)).operations
    names, wires = [gate.name for gate in gates], [gate.wires.tolist() for gate in gates]
    none, forward, no_matrix = [[]] * len(gates), [False] * len(gates), [np.zeros(0, complex)] * len(gates)
    product = VectorJacobianProductC128()

    def step(params):
        angles = iter(np.ravel(params).tolist())
        arguments = [[next(angles)] if gate.num_params else [] for gate in gates]
        state, psi = StateVectorC128(ansatz.n_qubits), np.empty(2**ansatz.n_qubits, complex)
        state.resetStateVector()
        for name, on, argument in zip(names, wires, arguments): getattr(state, name)(on, False, argument)
        state.getState(psi)
        value, slope = free_energy(psi.real**2 + psi.imag**2, costs)
        operations = create_ops_listC128(names, arguments, wires, forward, no_matrix, none, none)
        half = product(state, operations, slope * psi, list(range(n_params)))  # ⟨∂F/∂p ψ|∂ψ⟩, whose real part is half the gradient
        return value, 2 * half.real.reshape(ansatz.param_shape)

    return step


CONTESTANTS = {  # name: (how to make its step, most qubits)
    "ours": (ours, 99),
    "lightning.qubit, QNodes": (lightning_qnode, 99),
    "lightning.qubit, device": (lightning_device, 99),
    "lightning.qubit, kernels": (lightning_kernels, 99),
    "tensorcircuit-ng": (tensorcircuit_ng, 99),
    "default.qubit, jit": (default_qubit, 13),
}


def problem(n_qubits):
    "Ansatz, angles and the costs of a logistic network of n weights on 50 random points."
    ansatz, rng = brickwork(n_qubits, 4), np.random.default_rng(n_qubits)
    x, y = rng.normal(size=(50, n_qubits - 1)), rng.integers(0, 2, 50)
    return ansatz, ansatz.init(jax.random.key(n_qubits)), -log_likelihood_table(BiNN((n_qubits - 1, 1)), x, y)


def first_calls(names, n_qubits):
    "Steps, and the seconds of the first call of each; stops if a contestant disagrees with ours."
    ansatz, params, costs = problem(n_qubits)
    steps, seconds, expected = {}, {}, None
    for name in names:
        start = time.perf_counter()
        steps[name] = CONTESTANTS[name][0](ansatz, costs)
        value, gradient = steps[name](params)
        seconds[name] = time.perf_counter() - start
        found = np.append(np.ravel(gradient), value)
        expected = found if expected is None else expected
        if not (error := abs(found - expected).max()) <= TOLERANCE:
            raise SystemExit(f"{name} differs from ours by {error:.1e} at {n_qubits} qubits; nothing was timed")
    return steps, params, seconds


def time_in_turns(steps, params, repeats):
    "Seconds of a step, one number per round; every other round runs backwards, and each turn begins with a step that does not count."
    times = {name: [] for name in steps}
    bursts = {name: max(1, round(BURST / burst_time(step, params, 1))) for name, step in steps.items()}
    for turn in range(repeats):
        for name in list(steps)[:: -1 if turn % 2 else 1]:
            times[name].append(burst_time(steps[name], params, bursts[name]) / bursts[name])
    return times


def burst_time(step, params, n_steps):
    step(params)
    start = time.perf_counter()
    for _ in range(n_steps): step(params)
    return time.perf_counter() - start


def line(*cells):
    print("| " + " | ".join(f"{cell:{'<26' if i == 1 else '>9'}}" for i, cell in enumerate(cells)) + " |", flush=True)


def print_steps(n_qubits, times, first):
    for name in times:
        target = next((t for (n, start), t in TARGETS.items() if n == n_qubits and name.startswith(start)), None)
        ratios = [f(times[name]) / f(times["ours"]) for f in (np.median, np.min)]
        line(n_qubits, name, f"{1e3 * np.median(times[name]):.3f}", f"{1e3 * min(times[name]):.3f}", f"{first[name]:.2f}",
             *(f"{ratio:.1f}" for ratio in ratios), f"≥ {target}" if target else "")


def table_seconds():
    "Seconds of the first and of the second table of 2^17 networks on all of digits 0 and 1, 4×4."
    data = load_dataset("digits-01")
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    if x.shape != (360, 16): raise SystemExit(f"digits-01 must have 360 points of 16 features for this measurement, got shape {x.shape}")
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        jax.block_until_ready(log_likelihood_table(BiNN((16, 1)), x.astype(np.float64), y))
        seconds.append(time.perf_counter() - start)
    return seconds


def temporary_states(n_qubits):
    "Temporary memory of our compiled step, in units of the state's own size."
    ansatz = brickwork(n_qubits, 4)
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in (ansatz.param_shape, (2**n_qubits,))]
    compiled = exact_step(lambda params: BornMachine(ansatz).probs(params)).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes / (16 * 2**n_qubits)


def arguments():
    parser = argparse.ArgumentParser(description="Time the exact free energy's value and gradient beside other simulators.")
    parser.add_argument("--qubits", type=int, nargs="+", default=[9, 13, 17, 20], help="sizes to run (default 9 13 17 20)")
    parser.add_argument("--repeats", type=int, default=11, help="rounds, in each of which every contestant has its turn (default 11)")
    parser.add_argument("--without", nargs="+", default=[], choices=list(CONTESTANTS)[1:], help="contestants to leave out")
    args = parser.parse_args()
    if min(args.qubits) < 2: parser.error(f"--qubits must be at least 2, got {min(args.qubits)}")
    if args.repeats < 1: parser.error(f"--repeats must be at least 1, got {args.repeats}")
    if "tensorcircuit-ng" not in args.without and util.find_spec("tensorcircuit") is None:
        parser.error('tensorcircuit-ng is not installed: pip install -e ".[dev,bench]", or --without tensorcircuit-ng')
    return args


def print_machine():
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("qhn", "jax", "pennylane", "pennylane-lightning"))
    load = f", load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    print(f"{versions}; {os.cpu_count()} cores{load}\n")


def main():
    args = arguments()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)  # a first call must compile
    print_machine()
    seconds = table_seconds()  # first, while nothing of it is compiled
    line("qubits", "contestant", "step, ms", "least, ms", "first, s", "÷ ours", "least ÷", "target")
    line(*["-" * 9, "-" * 26] + ["-" * 9] * 6)
    for n_qubits in args.qubits:
        names = [name for name, (_, most) in CONTESTANTS.items() if n_qubits <= most and name not in args.without]
        steps, params, first = first_calls(names, n_qubits)
        print_steps(n_qubits, time_in_turns(steps, params, args.repeats), first)
    print("\nstep: median over the rounds; least: the fastest round; first: the first call, tracing and compilation included (ours at 17: < 5 s)")
    print(f"log-likelihood table, 2^17 networks, 360 points: {seconds[0]:.2f} s with compilation (target < 3), {seconds[1]:.2f} s again")
    print(f"temporary memory of our compiled step at 20 qubits: {temporary_states(20):.2f} times the state (target ≤ 4)")


if __name__ == "__main__":
    main()
