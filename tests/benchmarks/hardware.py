"""A parameter-shift gradient of a 9-qubit circuit on the noise model of a 16-qubit device: all circuits as one job, against PennyLane's
plugin, which compiles and runs them one by one. Both run in this process, one after the other.

    python tests/benchmarks/hardware.py [--shots 1000] [--device guadalupe]
"""
import argparse
import time
import warnings

import jax
import numpy as np
import pennylane as qml

from qhn.ansatz import brickwork
from qhn.born import BornMachine
from qhn.gradients import ParameterShift
from qhn.hardware import HardwareSampler, open_backend

warnings.filterwarnings("ignore")


def frequencies(weights): return (np.asarray(weights) < 0).mean(-2)


def timed(sampler, angles, shots):
    start = time.perf_counter()
    weights = sampler.sample_batch(angles, shots)
    return time.perf_counter() - start, frequencies(weights)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=1000)
    parser.add_argument("--device", default="guadalupe")
    options = parser.parse_args()
    ansatz = brickwork(9, 3, final_rz=False)
    params = ansatz.init(jax.random.key(0))
    angles = np.asarray(ParameterShift(options.shots).settings(BornMachine(ansatz), params, jax.random.key(1)))
    start = time.perf_counter()
    fast = HardwareSampler(ansatz, f"fake:{options.device}")
    opened = time.perf_counter() - start
    fast_seconds, fast_ones = timed(fast, angles, options.shots)
    remote = qml.device("qiskit.remote", wires=9, backend=open_backend(f"fake:{options.device}", 9))
    plugin_seconds, plugin_ones = timed(HardwareSampler(ansatz, remote), angles, options.shots)
    print(f"{len(angles)} circuits of {options.shots} shots on the noise model of {options.device}, largest difference of a P(1): {np.abs(fast_ones - plugin_ones).max():.3f}")
    print(f"one batch: {fast_seconds:.1f} s, after {opened:.1f} s to compile, once; plugin: {plugin_seconds:.1f} s; ratio {plugin_seconds / fast_seconds:.1f}, "
          f"with compilation {plugin_seconds / (fast_seconds + opened):.1f}")


if __name__ == "__main__": main()
