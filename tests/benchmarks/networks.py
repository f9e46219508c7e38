"""Packed networks: bytes, and rows a second by exclusive or and count, beside the same networks in single precision, with NumPy and with JAX.

    pip install -e .
    python tests/benchmarks/networks.py [--rows 10000] [--networks 16] [--repeats 7] [--all-cores]

Inputs are ±1 and hidden units are signs, so that the packed networks never multiply. All contestants average the class probabilities of the
same networks at the same rows, and must agree before a clock starts. Then they take turns, in rounds, every other one backwards; ratios are
taken within a round, and their median counts. The first call, which compiles, is not among them. `packed, numbers` are the same packed
networks at inputs that are not signs: their first layer unpacked, in double precision. All run on one core, unless --all-cores is given, which only
NumPy's matrix products and JAX can use. Each size runs in a process of its own. pytest does not collect this file. It measures, and fails only on a wrong number.
"""
import argparse
import multiprocessing
import os

import jax
import jax.numpy as jnp
import numpy as np
from scaling import head, load, print_machine, ratio, require_close, row, time_in_turns

SIZES = (64, 10), (64, 64, 10), (256, 256, 10), (784, 512, 10)


def in_single_precision(binn, weights, probs):
    "Prediction by NumPy's matrix products in float32: matrices unpacked once, rows in blocks of 256."
    layers = [tuple(np.asarray(part, np.float32) for part in layer) for layer in binn.unpack(weights)]
    def some(x):
        for i, (w, b) in enumerate(layers):
            x = w @ x + b[..., None]
            if i < len(layers) - 1: x = np.where(x < 0, np.float32(-1), np.float32(1))
        x *= np.float32(binn.logit_scale)
        shares = np.exp(x - x.max(1, keepdims=True))
        return np.einsum("b,bkn->nk", probs, shares / shares.sum(1, keepdims=True))
    return lambda x: np.concatenate([some(x[i:i + 256].T) for i in range(0, len(x), 256)])


def with_jax(binn, weights, probs):
    "The same compiled."
    predict = jax.jit(lambda w, x: jnp.tensordot(probs, jnp.exp(binn.log_probs(w, x)), 1))
    return lambda x: jax.block_until_ready(predict(weights, x))


def measure(sizes, args, queue):
    from qhn.posterior.networks import pack_networks
    from qhn.problem.network import BiNN, sign

    rng = np.random.default_rng(0)
    binn = BiNN(sizes, sign, logit_scale=sizes[-2]**-0.5)
    packed = pack_networks(binn, rng.choice([-1, 1], (args.networks, binn.n_weights)))
    weights, probs = packed.weights.astype(np.float32), packed.probs.astype(np.float32)
    x = rng.choice([-1, 1], (args.rows, sizes[0])).astype(np.float32)
    numbers, compiled = in_single_precision(binn, weights, probs), with_jax(binn, weights, probs)
    for found in (numbers(x), compiled(x)): require_close("predictions", found, packed.predict(x), 1e-4)
    steps = {"packed": lambda: packed.predict(x), "float32, NumPy": lambda: numbers(x), "float32, JAX": lambda: compiled(x),
             "packed, numbers": lambda: packed.predict(x / 2)}
    times = time_in_turns(steps, args.repeats)
    rates = [args.rows / np.median(times[name]) for name in steps]
    queue.put((packed.bits.nbytes, weights.nbytes, *rates, ratio(times, "float32, NumPy", "packed"), ratio(times, "float32, JAX", "packed")))


def arguments():
    parser = argparse.ArgumentParser(description="Bytes and rows a second of packed networks.")
    parser.add_argument("--rows", type=int, default=10_000, help="points at which each prediction is made (default 10000)")
    parser.add_argument("--networks", type=int, default=16, help="networks that predict together (default 16)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--all-cores", action="store_true", help="leave the matrix products all cores")
    args = parser.parse_args()
    if min(args.rows, args.networks, args.repeats) < 1: parser.error("--rows, --networks and --repeats must be at least 1")
    return args


def main():
    args, context = arguments(), multiprocessing.get_context("spawn")
    print_machine(False)
    if not args.all_cores: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # which new processes inherit
    head(f"{args.networks} networks at {args.rows} rows: bytes, rows a second, and how many times as fast packed ones are", "layers", "bytes packed", "bytes float32",
         "packed", "float32, NumPy", "float32, JAX", "packed, numbers", "than NumPy", "than JAX")
    for sizes in SIZES:
        queue = context.Queue()
        process = context.Process(target=measure, args=(sizes, args, queue))
        process.start()
        process.join()
        if process.exitcode: raise SystemExit(f"{sizes} failed")
        *counts, than_numpy, than_jax = queue.get()
        row("-".join(map(str, sizes)), *(f"{count:,.0f}" for count in counts), f"{than_numpy:.2f}", f"{than_jax:.2f}")
    print(f"\n{load()} at the end")


if __name__ == "__main__":
    main()
