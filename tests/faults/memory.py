"""What the memory guards expect beside what a process takes: `python tests/faults/memory.py [NAME ...]` prints a table.

Each call runs in a process of its own, once at a small size, so that libraries are loaded and programs of its kind compiled, then at the size that
is measured. The peak is what the system counts, above what the process held before."""
import json
import os
import subprocess
import sys

# name: (made before, call at size k, a small size, the size that is measured)
CASES = {
    "all networks": ("from qhn.problem.bits import all_weights", "all_weights(k).block_until_ready()", 4, 22),
    "table of costs": ("from qhn import BiNN; from qhn.problem.costs import log_likelihood_table; x, y = np.ones((1, 1)), np.ones(1, int)",
                       "log_likelihood_table(BiNN((1, k, 1)), x, y).block_until_ready()", 3, 8),
    "prior's table": ("from qhn import BernoulliPrior", "jnp.asarray(BernoulliPrior(0.3).table(k)).block_until_ready()", 4, 26),
    "probabilities, matrix product": ("from qhn import brickwork; from qhn.engine.interface import MPS",
                                      "MPS(brickwork(k, 3)).probs(np.full(brickwork(k, 3).param_shape, 0.3)).block_until_ready()", 8, 26),
    "state, matrix product": ("from qhn import brickwork; from qhn.engine.interface import MPS",
                              "MPS(brickwork(k, 3)).statevector(np.full(brickwork(k, 3).param_shape, 0.3)).block_until_ready()", 8, 25),
    "probabilities, dense": ("from qhn import brickwork; from qhn.engine.interface import Dense",
                             "Dense(brickwork(k, 2)).probs(np.full(brickwork(k, 2).param_shape, 0.3)).block_until_ready()", 8, 24),
    "state, dense": ("from qhn import brickwork; from qhn.engine.interface import Dense",
                     "Dense(brickwork(k, 2)).statevector(np.full(brickwork(k, 2).param_shape, 0.3)).block_until_ready()", 8, 24),
    "samples": ("from qhn import brickwork; from qhn.engine.interface import MPS; c = brickwork(20, 3)",
                "MPS(c).sample(np.full(c.param_shape, 0.3), jax.random.key(0), k).block_until_ready()", 100, 700_000),
    "points": ("from qhn.problem.datasets import load_dataset", "load_dataset('moons', n_train=k)", 100, 4_000_000),
    "kernel": ("from qhn.objectives.mmd import kernel; w = np.ones((20_000, 8))", "kernel(w[:k], w[:k]).block_until_ready()", 10, 6000),
    "training, exact": ("import qhn; t = {k: jnp.arange(2.**k) for k in (8, 22)}",
                        "qhn.fit(qhn.BornMachine(qhn.brickwork(k, 3)), t[k], n_steps=2, key=jax.random.key(0), n_seeds=2, estimator=qhn.Exact(), progress=False)", 8, 22),
    "draws of chains": ("import qhn; from qhn.baselines.chains import gibbs; from qhn.problem.costs import CostTable; t = CostTable(np.arange(2.**8))",
                        "gibbs(t, n_steps=k, key=jax.random.key(0), progress=False, n_seeds=20)", 10, 400_000),
    "orbits": ("import qhn; from qhn.problem.symmetry import Symmetry, _orbits", "_orbits(qhn.BiNN((k, 2, 1)))", 1, 8),
    "functions": ("import qhn; from qhn.problem.symmetry import function_labels; x = np.random.default_rng(0).normal(size=(4, 30))",
                  "function_labels(qhn.BiNN((k, 1)), x[:, :k])", 3, 22),
}
MEASURE = """
import json, sys, gc
import jax, jax.numpy as jnp, numpy as np
import qhn.memory
expected = []
def note(n_bytes, what, instead): expected.append(int(n_bytes))
def status(name): return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name + ":"))
exec(sys.argv[1])
import qhn.engine.interface, qhn.inference.fit, qhn.problem.symmetry, qhn.objectives.mmd, qhn.baselines.chains
for module in list(sys.modules.values()):
    if (getattr(module, "__name__", "") or "").startswith("qhn") and hasattr(module, "check_memory"): module.check_memory = note
for k in json.loads(sys.argv[3]):
    gc.collect()
    expected.clear()
    with open("/proc/self/clear_refs", "w") as file: file.write("5")
    before = status("VmRSS")
    exec(sys.argv[2])
print(json.dumps([max(expected), status("VmHWM") - before]))
"""


def measured(name):
    "Bytes that the guard of a case expects, and bytes that it takes."
    setup, call, *sizes = CASES[name]
    # a process of one arena: what threads keep for later would count as taken
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", MEASURE, setup, call, json.dumps(sizes)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(f"{'call':32} {'expected':>9} {'taken':>9}  ratio")
    for name in sys.argv[1:] or CASES:
        try: expected, taken = measured(name)
        except AssertionError as error:
            print(f"{name:32} {error}")
            continue
        print(f"{name:32} {expected / 2**20:6.0f} MB {taken / 2**20:6.0f} MB  {expected / taken:.2f}", flush=True)
