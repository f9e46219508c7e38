"""How far the package goes: time and memory as qubits, seeds and depth grow, each beside what it should keep up with, in one run.

    pip install -e ".[dev]"
    python tests/benchmarks/scaling.py [--only floor mmd ...] [--sizes 64 128 ...] [--repeats 5] [--double]

memory  24 qubits, exact free energy and gradient in complex64: peak memory of a process of its own
steps   64 to 4,096 qubits: one score-function step, value and gradient; at every third size also the exact MMD² and all ⟨Z_j⟩; slope of the log-log
        fit from the smallest size, where the fixed cost of a call still weighs, and from the middle one
floor   exact free energy and gradient beside Σ p (E + log p) alone, differentiated by the real and imaginary parts of a given state vector, with
        the result written over the last one: fresh memory of that size would cost as much as the arithmetic
seeds   30 seeds × 500 steps at 13 qubits: one call of `fit` beside 30 compiled calls one after the other; compilations of a second `fit`
mmd     exact MMD² and gradient at 650 qubits
dense   reversible gradient of the dense path beside plain autodiff of the same steps: time, and temporary memory

Contestants that compute the same thing must agree before a clock starts. Then all of a table take turns, in rounds, every other one backwards,
so that a busy moment of the machine hits all alike. Ratios and slopes are taken within a round, and the median of them counts. Everything runs
in single precision, JAX's default, unless --double is given; `floor` runs in both, `memory` in complex64 always. On whatever device JAX offers.

pytest does not collect this file. It measures, and fails only on a wrong number.
"""
import argparse
import datetime
import math
import os
import pathlib
import platform
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qhn.distributions.born import BornMachine
from qhn.engine.dense import plain_statevector
from qhn.engine.interface import Dense, choose
from qhn.engine.cores import bond_dims
from qhn.circuits.ansatz import brickwork, hardware_efficient, product, staircase
from qhn.problem.network import BiNN
from qhn.problem.datasets import moons
from qhn.objectives.elbo import KL
from qhn.problem.prior import BernoulliPrior
from qhn.inference.gradients import Exact, ScoreFunction
from qhn.problem.costs import as_target
from qhn.inference.estimator import Problem
from qhn.inference.fit import fit
from qhn.inference.state import init
from qhn.objectives.mmd import mmd2_of

BURST = 0.05  # seconds that one timing should last at least: many short steps are timed together, so that none is merely lucky
GIB = 2**30


# What is timed, and how


def ready(function, *args):
    return lambda: jax.block_until_ready(function(*args))


def burst_time(step, n_steps):
    start = time.perf_counter()
    for _ in range(n_steps): step()
    return time.perf_counter() - start


def time_in_turns(steps, repeats):
    "Seconds of a step by name, one number per round; all are compiled, and a turn of short steps begins with one that does not count."
    bursts = {name: max(1, round(BURST / burst_time(step, 1))) for name, step in steps.items()}
    times = {name: [] for name in steps}
    for turn in range(repeats):
        for name in list(steps)[:: -1 if turn % 2 else 1]:
            if bursts[name] > 1: steps[name]()
            times[name].append(burst_time(steps[name], bursts[name]) / bursts[name])
    return {name: np.array(seconds) for name, seconds in times.items()}


def ratio(times, name, other):
    return np.median(times[name] / times[other])


def require_close(what, found, expected, tolerance):
    "Largest difference in units of the largest entry of its array; stops if it is beyond the tolerance."
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    if not (error := max(np.max(abs(a - b)) / np.max(abs(b)) for a, b in pairs)) <= tolerance:
        raise SystemExit(f"{what} differ by {error:.1e}, more than {tolerance:.0e}; nothing was timed")
    return error


# What is printed


def row(*cells, width=24):
    print("| " + " | ".join(f"{cell:{f'<{width}' if i == 0 else '>14'}}" for i, cell in enumerate(cells)) + " |", flush=True)


def head(title, *cells):
    print(f"\n{title}\n")
    row(*cells)
    row("-" * 24, *["-" * 14] * (len(cells) - 1))


def ms(seconds):
    return f"{1e3 * np.median(seconds):.3f}", f"{1e3 * seconds.min():.3f}"


def judge(what, found, most, least=None, unit=""):
    wanted, reached = (f"≤ {most}", found <= most) if least is None else (f"{least} to {most}", least <= found <= most)
    print(f"target: {what} {found:.3g}{unit}, wanted {wanted}{unit}: {'reached' if reached else 'missed'}", flush=True)


# Peak memory at 24 qubits


def free_energy(probabilities):
    "Compiled value and gradient of the free energy, from a JAX function of the angles that gives all probabilities."
    return jax.jit(jax.value_and_grad(lambda params, costs: KL().from_probs(probabilities(params), costs, BernoulliPrior()).loss))


def random_costs(n_qubits, dtype):
    return np.random.default_rng(n_qubits).standard_normal(2**n_qubits, dtype)


def host_peak():
    "Bytes this process held at most; the kernel's own mark where there is one, since getrusage's survives from the process that started it."
    status = pathlib.Path("/proc/self/status")
    for entry in status.read_text().splitlines() if status.exists() else []:
        if entry.startswith("VmHWM:"): return 1024 * int(entry.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_memory(n_qubits):
    "Bytes with JAX alone, at the peak of the step, and by XLA's account; on an accelerator also those of its memory. In a fresh process."
    jax.block_until_ready(jax.jit(jnp.sum)(jnp.ones(3, jnp.float32)))
    before, ansatz = host_peak(), brickwork(n_qubits, 4)
    params, costs = ansatz.init(jax.random.key(0)), jnp.asarray(random_costs(n_qubits, np.float32))
    compiled = free_energy(lambda params: BornMachine(ansatz).probs(params)).lower(params, costs).compile()
    value, gradient = jax.block_until_ready(compiled(params, costs))
    if not (jnp.isfinite(value) and jnp.isfinite(gradient).all()): raise SystemExit(f"free energy or gradient at {n_qubits} qubits is not finite")
    account, on_device = compiled.memory_analysis(), jax.devices()[0].memory_stats() or {}
    planned = account.temp_size_in_bytes + account.argument_size_in_bytes + account.output_size_in_bytes
    return before, host_peak(), planned, on_device.get("peak_bytes_in_use")


def memory(args):
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # for the new process: it takes what it needs, beside this one
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool: before, peak, planned, on_device = pool.submit(peak_memory, 24).result()
    head("Memory of the exact free energy and its gradient, 24 qubits, brickwork 4, complex64", "GiB", "JAX alone", "peak", "of the step", "XLA's account")
    row("host", *(f"{b / GIB:.3f}" for b in (before, peak, peak - before, planned)))
    if on_device is not None: row(jax.devices()[0].device_kind, "", f"{on_device / GIB:.3f}", "", "")
    judge("peak", (peak - before if on_device is None else on_device) / GIB, 4, unit=" GiB")
    judge("XLA's account", planned / GIB, 4, unit=" GiB")


# Time against the number of qubits


@dataclass(frozen=True)
class Field:
    "Costs that are a sum over weights: next to nothing beside the circuit."
    n_weights: int

    def log_likelihood(self, weights, field): return weights @ field


def field(n_qubits):
    return jnp.asarray(np.random.default_rng(n_qubits).normal(size=n_qubits), float)


def score_step(ansatz, params):
    n, machine = ansatz.n_qubits, BornMachine(ansatz)
    step = jax.jit(lambda target, prior, params, key: ScoreFunction(128)(Problem(machine, target, prior, KL()), params, key))
    return ready(step, as_target(Field(n), (field(n),)), BernoulliPrior(), params, jax.random.key(n))


def mmd_step(ansatz, params):
    return ready(jax.jit(jax.value_and_grad(lambda params, prior: mmd2_of(BornMachine(ansatz), params, prior)[0])), params, BernoulliPrior())


def means_step(ansatz, params):
    return ready(jax.jit(jax.value_and_grad(lambda params, field: BornMachine(ansatz).means(params) @ field)), params, field(ansatz.n_qubits))


FAMILIES = {"brickwork 4": lambda n: brickwork(n, 4), "staircase 1": lambda n: staircase(n, 1), "product": product}
QUANTITIES = {"score function, 128 samples": score_step, "exact MMD²": mmd_step, "all ⟨Z_j⟩": means_step}


def finite_step(make, ansatz):
    step = make(ansatz, ansatz.init(jax.random.key(ansatz.n_qubits)))
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(step())): raise SystemExit(f"not finite at {ansatz.n_qubits} qubits; nothing was timed")
    return step


def slope(sizes, rounds):
    "Median over the rounds of the slope of the log-log fit."
    return np.median(np.polyfit(np.log(sizes), np.log(rounds), 1)[0])


def steps(args):
    every = sorted(args.sizes)
    sizes = {quantity: every if make is score_step else every[::3] for quantity, make in QUANTITIES.items()}    # compiling takes longer than measuring
    keys = [(quantity, family, n) for quantity in QUANTITIES for family in FAMILIES for n in sizes[quantity]]
    times = time_in_turns({key: finite_step(QUANTITIES[key[0]], FAMILIES[key[1]](key[2])) for key in keys}, args.repeats)
    for quantity, ns in sizes.items():
        head(f"Value and gradient, ms: {quantity}", "qubits", *(cell for family in FAMILIES for cell in (family, "least")))
        for n in ns: row(n, *(cell for family in FAMILIES for cell in ms(times[quantity, family, n])))
        rounds = {family: np.stack([times[quantity, family, n] for n in ns]) for family in FAMILIES}
        for first in sorted({0, (len(ns) - 1) // 2}): row(f"slope from {ns[first]}", *(cell for r in rounds.values() for cell in (f"{slope(ns[first:], r[first:]):.2f}", "")))
        for family, r in rounds.items(): judge(f"{quantity}, {family}: slope from {ns[0]:,} to {ns[-1]:,} qubits", slope(ns, r), 1.2, 0.8)


# The exact free energy over the floor


def floor_step():
    "Value and gradient of Σ p (E + log p) from the real and imaginary parts of a state vector; takes an old gradient to write over."
    def value(re, im, costs):
        p = re**2 + im**2
        return p @ (costs + jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)))
    return jax.jit(lambda re, im, costs, *last: jax.value_and_grad(value, (0, 1))(re, im, costs), donate_argnums=(3, 4), keep_unused=True)


def over_itself(step, *args):
    "The step, again and again, with its last gradient's memory for the next."
    last = [jnp.zeros_like(args[0]), jnp.zeros_like(args[1])]
    def again():
        value, last[:] = step(*args, *last)
        return jax.block_until_ready((value, last))
    return again


def floor_contest(n_qubits, dtype):
    "Both steps, and by how much their results differ once the floor's gradient has been pulled back to the angles."
    ansatz, costs = brickwork(n_qubits, 4), jnp.asarray(random_costs(n_qubits, dtype))
    params, ours, floor = ansatz.init(jax.random.key(n_qubits)).astype(dtype), free_energy(lambda params: BornMachine(ansatz).probs(params)), floor_step()
    state = lambda params: (lambda psi: (psi.real, psi.imag))(choose(ansatz, "probs").statevector(params))
    (re, im), pull_back = jax.vjp(state, params)
    value, gradient = floor(re, im, costs, jnp.zeros_like(re), jnp.zeros_like(im))
    expected = value + n_qubits * math.log(2), pull_back(gradient)[0]    # the uniform prior's cross term, a constant
    error = require_close("free energy and floor", ours(params, costs), expected, 1e-8 if dtype == np.float64 else 1e-2)
    return {"ours": ready(ours, params, costs), "floor": over_itself(floor, re, im, costs)}, error


def floor(args):
    head("Exact free energy and gradient, brickwork 4, ms", "qubits, precision", "ours", "ours, least", "floor", "floor, least", "ours ÷ floor", "differ by")
    verdicts = []
    for n in args.qubits:
        for dtype, label in ((np.float32, "complex64"), (np.float64, "complex128")):
            with jax.enable_x64(dtype == np.float64):
                contest, error = floor_contest(n, dtype)
                times = time_in_turns(contest, args.repeats)
            verdicts.append((f"{n} qubits, {label}: ours ÷ floor", ratio(times, "ours", "floor"), 2.5))
            row(f"{n}, {label}", *ms(times["ours"]), *ms(times["floor"]), f"{verdicts[-1][1]:.2f}", f"{error:.0e}")
    for verdict in verdicts: judge(*verdict)


# Many seeds at once, and a second fit


def compilations():
    "A list that grows by one with every compilation."
    events = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: events.append(event) if "backend_compile" in event else None)
    return events


def seeds(args):
    machine, network, optimizer, key = BornMachine(brickwork(13, 4)), BiNN((2, 3, 1)), optax.adam(0.05), jax.random.key(0)
    first, second = (moons(n_train=60, seed=seed) for seed in (0, 1))
    starts, events = list(init(machine, optimizer, key, 30).params), compilations()
    def train(data, key=key, n_steps=500, **more):
        return fit(machine, network, (data.x_train, data.y_train), estimator=Exact(), optimizer=optimizer, n_steps=n_steps, key=key, progress=False, **more)
    together, alone = train(first, n_seeds=30, n_steps=10), train(first, params=starts[-1], n_steps=10)
    require_close("trainings together and alone", alone.history["loss"][0], together.history["loss"][-1], 1e-3)
    before = len(events)
    train(second, jax.random.key(1), n_seeds=30)
    again = len(events) - before
    times = time_in_turns({"one call": lambda: train(first, n_seeds=30), "30 calls": lambda: [train(first, params=start) for start in starts]}, min(args.repeats, 3))
    head("30 seeds × 500 exact steps, 13 qubits, brickwork 4", "", "s", "least, s", "one ÷ 30 calls")
    for name, seconds in times.items(): row(name, f"{np.median(seconds):.2f}", f"{seconds.min():.2f}", f"{ratio(times, name, '30 calls'):.2f}")
    judge("one call ÷ 30 compiled calls", ratio(times, "one call", "30 calls"), 0.7)
    judge(f"compilations of a second fit with other data, after {before} in the first two:", again, 0)


# Exact MMD² at 650 qubits


def mmd(args):
    ansatze = {"brickwork 4": brickwork(650, 4), "brickwork 6": brickwork(650, 6), "staircase 2": staircase(650, 2)}
    times = time_in_turns({name: finite_step(mmd_step, ansatz) for name, ansatz in ansatze.items()}, args.repeats)
    head("Exact MMD² and gradient, 650 qubits", "circuit", "bond dimension", "ms", "least, ms")
    for name, seconds in times.items(): row(name, max(bond_dims(ansatze[name])), *ms(seconds))
    judge("brickwork 4, 650 qubits", np.median(times["brickwork 4"]), 1, unit=" s")


# The dense path's gradient against depth


def dense_contest(n_qubits, n_layers):
    "Compiled reversible and plain steps; the plain one is the package's own run of the circuit, without the gradient written for it."
    ansatz, costs = hardware_efficient(n_qubits, n_layers), field(2**n_qubits)
    params, square = ansatz.init(jax.random.key(n_qubits)), lambda psi: psi.real**2 + psi.imag**2
    ways = {"reversible": lambda params: Dense(ansatz).probs(params), "plain": lambda params: square(plain_statevector(ansatz, params))}
    compiled = {name: free_energy(way).lower(params, costs).compile() for name, way in ways.items()}
    require_close("reversible and plain gradient", *(run(params, costs) for run in compiled.values()), 1e-9 if params.dtype == np.float64 else 1e-3)
    states = {name: run.memory_analysis().temp_size_in_bytes / (2 * params.dtype.itemsize * 2**n_qubits) for name, run in compiled.items()}
    return {name: ready(run, params, costs) for name, run in compiled.items()}, states


def dense(args):
    head("Dense path, hardware_efficient, value and gradient, ms; memory in state vectors", "qubits, layers", "reversible", "least", "plain", "plain, least",
         "plain ÷ ours", "memory", "plain's memory")
    held = {}
    for n in (16, 18):
        for n_layers in (8, 32):
            contest, states = dense_contest(n, n_layers)
            times, held[n, n_layers] = time_in_turns(contest, min(args.repeats, 3)), states["reversible"]
            row(f"{n}, {n_layers}", *ms(times["reversible"]), *ms(times["plain"]), f"{ratio(times, 'plain', 'reversible'):.2f}",
                *(f"{states[name]:.1f}" for name in ("reversible", "plain")))
    for n in (16, 18): judge(f"{n} qubits: memory at 32 ÷ at 8 layers", held[n, 32] / held[n, 8], 1.1)


PARTS = {part.__name__: part for part in (memory, steps, floor, seeds, mmd, dense)}


def arguments():
    parser = argparse.ArgumentParser(description="Time and memory against qubits, seeds and depth.")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS), help="parts to run (default all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64 * 2**k for k in range(7)], help="qubits of `steps` (default 64 128 ... 4096)")
    parser.add_argument("--qubits", type=int, nargs="+", default=[20, 22], help="qubits of `floor` (default 20 22)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5; at most 3 where a step takes seconds)")
    parser.add_argument("--double", action="store_true", help="double precision wherever a part does not set its own")
    args = parser.parse_args()
    if len(set(args.sizes)) < 4 or min(args.sizes) < 30: parser.error(f"--sizes must be four or more, of at least 30 qubits, got {args.sizes}")
    if min(args.qubits) < 2: parser.error(f"--qubits must be at least 2, got {min(args.qubits)}")
    if args.repeats < 1: parser.error(f"--repeats must be at least 1, got {args.repeats}")
    return args


def load():
    return f"load average {os.getloadavg()[0]:.1f}"


def print_machine(double):
    info = pathlib.Path("/proc/cpuinfo")
    model = [entry.partition(":")[2].strip() for entry in info.read_text().splitlines() if entry.startswith("model name")] if info.exists() else []
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("qhn", "jax", "jaxlib"))
    device = jax.devices()[0]
    print(f"{datetime.date.today()}; {versions}; {'double' if double else 'single'} precision; device: {device.platform}, {device.device_kind}; "
          f"{(model or [platform.machine()])[0]}, {os.cpu_count()} cores, {load()} at the start", flush=True)


def main():
    args, start = arguments(), time.perf_counter()
    jax.config.update("jax_enable_x64", args.double)
    jax.config.update("jax_enable_compilation_cache", False)
    print_machine(args.double)
    for name, part in PARTS.items():
        if name in args.only: part(args)
    print(f"\n{time.perf_counter() - start:.0f} s in all, {load()} at the end; ms: median over the rounds, least: the fastest round")


if __name__ == "__main__":
    main()
