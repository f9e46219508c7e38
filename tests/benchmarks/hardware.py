"""The 108 circuits of a parameter-shift gradient, 9 qubits and 3 layers with every angle shifted both ways, on the noise model of a 16-qubit
device: all as one job, against PennyLane's plugin, which compiles and runs them one by one. Both run in this process, one after the other.

    python tests/benchmarks/hardware.py [--shots 1000] [--device guadalupe]
"""
import argparse
import math
import time
import warnings
from datetime import date

import jax
import numpy as np
import pennylane as qml

from qhn.circuits.ansatz import brickwork
from qhn.hardware.sampler import HardwareSampler
from qhn.hardware.backends import open_backend

warnings.filterwarnings("ignore")
TARGET = 12


def frequencies(weights): return (np.asarray(weights) < 0).mean(-2)


def timed(sampler, angles, shots):
    start, cpu = time.perf_counter(), time.process_time()
    weights = sampler.sample_batch(angles, shots)
    return time.perf_counter() - start, time.process_time() - cpu, frequencies(weights)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=1000)
    parser.add_argument("--device", default="guadalupe")
    options = parser.parse_args()
    ansatz = brickwork(9, 3)
    params = np.asarray(ansatz.init(jax.random.key(0)))
    turns = math.pi / 2 * np.eye(params.size).reshape(-1, *params.shape)
    angles = np.concatenate([params + turns, params - turns])
    start = time.perf_counter()
    fast = HardwareSampler(ansatz, f"fake:{options.device}")
    opened = time.perf_counter() - start
    fast_seconds, fast_cpu, fast_ones = timed(fast, angles, options.shots)
    remote = qml.device("qiskit.remote", wires=9, backend=open_backend(f"fake:{options.device}", 9))
    plugin_seconds, plugin_cpu, plugin_ones = timed(HardwareSampler(ansatz, remote), angles, options.shots)
    ratio = plugin_seconds / fast_seconds
    print(f"{date.today()}: {len(angles)} circuits of {options.shots} shots on the noise model of {options.device}, largest difference of a P(1): {np.abs(fast_ones - plugin_ones).max():.3f}")
    print(f"one batch: {fast_seconds:.1f} s, after {opened:.1f} s to compile, once; plugin: {plugin_seconds:.1f} s; with compilation {plugin_seconds / (fast_seconds + opened):.1f} times as long")
    print(f"processor time: {fast_cpu:.1f} s and {plugin_cpu:.1f} s, {plugin_cpu / fast_cpu:.1f} times as much")
    print(f"ratio {ratio:.1f}, wanted at least {TARGET}: {'reached' if ratio >= TARGET else 'missed'}")
    if ratio < TARGET: raise SystemExit(1)


if __name__ == "__main__": main()
