"""What checkpoints cost: `python tests/faults/overhead.py [QUBITS [PAIRS]]` trains with and without them in turn, and prints the ratio of the medians."""
import sys
import tempfile
import time

import jax
import numpy as np

import qhn


def seconds(distribution, costs, checkpoint):
    "Wall time and processor time of a training of 1000 steps."
    began = time.perf_counter(), time.process_time()
    qhn.fit(distribution, costs, n_steps=1000, key=jax.random.key(0), estimator=qhn.Exact(), progress=False, checkpoint=checkpoint)
    return time.perf_counter() - began[0], time.process_time() - began[1]


if __name__ == "__main__":
    n, n_pairs = (int(word) for word in (sys.argv[1:] + ["17", "9"][len(sys.argv) - 1:]))
    distribution, costs = qhn.BornMachine(qhn.brickwork(n, 4)), np.random.default_rng(0).normal(size=2**n)
    plain, kept = [], []
    seconds(distribution, costs, None)    # compiles
    for _ in range(n_pairs):
        plain.append(seconds(distribution, costs, None))
        with tempfile.TemporaryDirectory() as folder: kept.append(seconds(distribution, costs, folder))
    wall, processor = np.median(kept, 0) / np.median(plain, 0) - 1
    print(f"{n} qubits, {n_pairs} pairs: {wall:+.1%} wall time, {processor:+.1%} processor time; a training takes {np.median(plain, 0)[0]:.1f} s")
