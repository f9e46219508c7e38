"""Trains every objective with every estimator that goes with it at fixed keys, and compares with what came of it before.

    python tests/structure/same_numbers.py --write tests/structure/numbers.json    # keep today's numbers
    python tests/structure/same_numbers.py tests/structure/numbers.json            # find them again, to 1e-6 relative
"""
import argparse
import json
from pathlib import Path

import jax
import numpy as np
import optax

from qhn import (
    KL, MMD, SPSA, BernoulliPrior, BiNN, BornMachine, Exact, Mixture, NoDivergence, ParameterShift, Renyi, SampleOnly, ScoreFunction, Stein,
    Symmetrised, brickwork, fit, product, staircase)

RELATIVE = 1e-6
OBJECTIVES = {
    "none": NoDivergence(), "kl": KL(), "kl weighted": KL(weight=optax.linear_schedule(0.5, 1.0, 4)), "mmd": MMD(),
    "mmd weighted": MMD(word_weights=(2,), weight=0.3), "renyi": Renyi(), "renyi 2": Renyi(order=2.0), "stein": Stein()}
ESTIMATORS = {
    "exact": Exact(), "score": ScoreFunction(n_samples=32), "score refined": ScoreFunction(n_samples=32, batch_size=8, analytic=True, slope=True),
    "shift": ParameterShift(n_samples=16), "spsa": SPSA(n_samples=16, n_directions=2)}


def distributions(binn):
    n = binn.n_weights
    return {"staircase": BornMachine(staircase(n, 1)), "samples": SampleOnly(BornMachine(brickwork(n, 2))),
            "symmetrised mixture": Symmetrised(Mixture(BornMachine(product(n)), 2), binn)}


def numbers() -> dict:  # "distribution, objective, estimator" -> parameters, losses and their errors after three steps
    binn, prior, found, rng = BiNN((2, 2, 1)), BernoulliPrior(0.6), {}, np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    for name, distribution in distributions(binn).items():
        for objective_name, objective in OBJECTIVES.items():
            for estimator_name, estimator in ESTIMATORS.items():
                try: result = fit(distribution, binn, (x, y), prior, objective=objective, estimator=estimator, n_steps=3,
                                  key=jax.random.key(7), n_seeds=2, progress=False)
                except TypeError: continue  # these do not go together
                finally: jax.clear_caches()  # a thousand programs would exhaust the process
                values = [np.square(result.params).reshape(2, -1).sum(1)]
                values += [result.history[k] for k in ("loss", "expected_nll", "divergence", "loss_error", "grad_norm")]
                found[f"{name}, {objective_name}, {estimator_name}"] = np.concatenate([np.ravel(v) for v in values]).tolist()
    return found


def main():
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", action="store_true", help="keep the numbers instead of comparing with them")
    given = parser.parse_args()
    now = numbers()
    if given.write:
        given.file.write_text(json.dumps(now))
        print(f"{len(now)} triples kept")
        return
    before, worst = json.loads(given.file.read_text()), {}
    for name in before.keys() & now.keys():
        a, b = np.array(before[name]), np.array(now[name])
        worst[name] = np.inf if a.shape != b.shape else np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-6))
    different = {name: value for name, value in worst.items() if not value <= RELATIVE}
    print(f"{len(worst)} triples compared, {len(different)} differ by more than {RELATIVE:g}; the largest difference is {max(worst.values()):.1e}")
    print(f"only before: {sorted(before.keys() - now.keys())}\nonly now: {sorted(now.keys() - before.keys())}")
    for name, value in sorted(different.items()): print(f"{value:.1e}  {name}")
    raise SystemExit(bool(different or before.keys() - now.keys()))


if __name__ == "__main__": main()
