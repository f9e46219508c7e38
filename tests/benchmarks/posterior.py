"""Exact posterior at 20 weights, and prediction from sampled networks: seconds, memory, and the floor below which no program could go.

    pip install -e .
    python tests/benchmarks/posterior.py [--qubits 20] [--points 400] [--repeats 5] [--double]

Each measurement runs in a process of its own, so that its peak memory is its own. Its first call, which compiles, is reported apart, and
is the one that a target is held against. Processor time is that of all cores together, and tells a busy machine from a slow program.
The floor of the prediction is its matrix product, 1,000 networks of 10 outputs times 10,000 points in batches that fit the cache, without the
softmax, the mean and the standard error that follow it. pytest does not collect this file. It measures, and fails only on a wrong number.
"""
import argparse
import multiprocessing
import time

import jax
import numpy as np
from scaling import GIB, head, host_peak, judge, load, print_machine, row

TARGETS = {"posterior": (20, 2), "summary": (None, None), "predictive": (5, None)}  # seconds of the first line's first call, GiB


def timed(function, repeats):
    "Seconds of the first call, the median of the others, the median of their processor seconds, and the last result."
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(function())
        seconds.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return seconds[0][0], *np.median(seconds[1:], axis=0), result


def posterior(args):
    "Table, evidence and posterior, then the predictive at the same points."
    from qhn.problem.network import BiNN
    from qhn.problem.costs import log_likelihood_table
    from qhn.problem.prior import BernoulliPrior
    from qhn.objectives.elbo import exact_posterior, log_evidence
    from qhn.posterior.predictive import posterior_predictive

    binn, rng = network(BiNN, args.qubits), np.random.default_rng(0)
    x, prior = rng.normal(size=(args.points, binn.layer_sizes[0])), BernoulliPrior()
    y = (x.sum(1) + 0.5 * rng.normal(size=args.points) > 0).astype(int)
    def exact():
        table = log_likelihood_table(binn, x, y)
        return log_evidence(table, prior), exact_posterior(table, prior)
    *seconds, (evidence, p) = timed(exact, args.repeats)
    if not abs(float(p.sum(dtype=float if args.double else None)) - 1) < 1e-4 or not np.isfinite(evidence): raise SystemExit("the posterior does not sum to one")
    predict = timed(lambda: posterior_predictive(binn, p, x), 1)[:-1]
    return {f"evidence and posterior, 2^{args.qubits} networks {binn.layer_sizes}, {args.points} points": seconds, "exact predictive at these points": predict}


def network(BiNN, n_weights):
    "A network of n weights with three hidden units or two, and two outputs, if the number allows it; else a logistic one."
    for hidden in (3, 2):
        if n_weights - 2 >= 5 * hidden and (n_weights - 2) % hidden == 0: return BiNN(((n_weights - 2) // hidden - 3, hidden, 2))
    return BiNN((n_weights - 1, 1))


def summary(args):
    "Copies, functions and correlations of the same posterior."
    from qhn.problem.network import BiNN
    from qhn.problem.costs import log_likelihood_table
    from qhn.problem.prior import BernoulliPrior
    from qhn.objectives.elbo import exact_posterior
    from qhn.problem.symmetry import symmetry_summary

    binn, rng = BiNN((4, 3, 1)), np.random.default_rng(0)
    x = rng.normal(size=(args.points, 4))
    p = exact_posterior(log_likelihood_table(binn, x, (x[:, 0] * x[:, 1] > 0).astype(int)), BernoulliPrior())
    *seconds, _ = timed(lambda: symmetry_summary(binn, p, x).best, 1)
    return {f"symmetry summary, 2^{binn.n_weights} networks {binn.layer_sizes}, {args.points} points": seconds}


def predictive(args):
    "Mean and standard error of 1,000 networks of 650 weights at 10,000 points."
    import jax.numpy as jnp

    from qhn.problem.network import BiNN
    from qhn.posterior.predictive import posterior_predictive_from_samples

    rng = np.random.default_rng(0)
    dtype = np.float64 if args.double else np.float32
    w, x = rng.choice([-1.0, 1.0], (1000, 650)).astype(dtype), rng.normal(size=(10_000, 64)).astype(dtype)
    *seconds, got = timed(lambda: posterior_predictive_from_samples(BiNN((64, 10)), w, x), args.repeats)
    if not np.allclose(np.asarray(got.probs).sum(-1), 1, atol=1e-4): raise SystemExit("the predictive does not sum to one")
    matrices, points = jnp.asarray(w[:, :640].reshape(250, 40, 64)), jnp.asarray(x.T)
    product = jax.jit(lambda matrices, points: jax.lax.map(lambda batch: (batch @ points).max(), matrices))
    *floor, _ = timed(lambda: product(matrices, points), args.repeats)
    return {"predictive, 1,000 networks of 650 weights, 10,000 points": seconds, "its matrix product alone": floor}


def in_own_process(name, args, queue):
    jax.config.update("jax_enable_x64", args.double)
    queue.put((globals()[name](args), host_peak() / GIB))


def arguments():
    parser = argparse.ArgumentParser(description="Time the exact posterior and prediction from samples.")
    parser.add_argument("--qubits", type=int, default=20, help="weights of the network whose posterior is exact (default 20)")
    parser.add_argument("--points", type=int, default=400, help="data points (default 400)")
    parser.add_argument("--repeats", type=int, default=5, help="calls after the first (default 5)")
    parser.add_argument("--double", action="store_true", help="double precision (default single, as JAX's)")
    args = parser.parse_args()
    if not 3 <= args.qubits <= 26: parser.error(f"--qubits must lie between 3 and 26, got {args.qubits}")
    if args.points < 1 or args.repeats < 1: parser.error("--points and --repeats must be at least 1")
    return args


def main():
    args, context, verdicts = arguments(), multiprocessing.get_context("spawn"), []
    print_machine(args.double)
    head("Exact posterior, and prediction from samples", "", "first call, s", "then, s", "processor, s", "peak, GiB")
    for name, (seconds, gib) in TARGETS.items():
        queue = context.Queue()
        process = context.Process(target=in_own_process, args=(name, args, queue))
        process.start()
        process.join()
        if process.exitcode: raise SystemExit(f"{name} failed")
        lines, peak = queue.get()
        for what, (first, later, cpu) in lines.items(): row(what, f"{first:.2f}", f"{later:.3f}", f"{cpu:.3f}", f"{peak:.2f}")
        if seconds: verdicts.append((f"{name}, first call", next(iter(lines.values()))[0], seconds, None, " s"))
        if gib: verdicts.append((f"{name}, peak memory of its process", peak, gib, None, " GiB"))
    print()
    for verdict in verdicts: judge(*verdict)
    print(f"{load()} at the end")


if __name__ == "__main__":
    main()
