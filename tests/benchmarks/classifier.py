"""QHNClassifier on five tables beside logistic regression, an ensemble of 16 straight-through networks, and itself with entanglement.

    pip install -e ".[dev]"
    python tests/benchmarks/classifier.py [--tables iris wine ...] [--seeds 5] [--folds 5] [--grid]

Each seed makes its own stratified folds and trains with its own random numbers; of the digits, which are larger, a seed takes one fold.
Medians over all fits, with the least and the largest in brackets. Seconds include compilation, of which the first fit of a table has most.

ensemble     16 networks of the same sizes, straight-through gradients, cosine-decayed Adam. It gets the seconds that the fit beside it took:
             five sixths to choose the scale of its logits among five on a fifth of the training rows, the rest to train with the best one
staircase    the same classifier with one layer of entangling gates, on the first fold of each seed; not on the digits
temperature  the same classifier at a temperature of 1, where the loss is minus the bound on the evidence; as above

--grid instead compares `logit_scale="evidence"` with a search over eight scales by 3-fold cross-validation on the training rows: log loss on
the test rows, and seconds. On the first fold of each seed, not on the digits.

pytest does not collect this file.
"""
import argparse
import os
import time
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qhn.baselines.variational import straight_through
from qhn.classifier import QHNClassifier
from qhn.inference.scale import Scaled
from qhn.posterior.calibration import expected_calibration_error
from qhn.posterior.networks import pack_networks

SCALES = 0.1, 0.25, 0.5, 1.0, 2.0


def penguins():
    "Species of the Palmer penguins: rows with gaps left out, words as columns of 0 and 1."
    from palmerpenguins import load_penguins
    table = load_penguins().dropna()
    return pd.get_dummies(table.drop(columns=["species", "year"]), dtype=float).to_numpy(), table["species"].to_numpy()


TABLES = {"breast cancer": lambda: load_breast_cancer(return_X_y=True), "wine": lambda: load_wine(return_X_y=True),
          "iris": lambda: load_iris(return_X_y=True), "penguins": penguins, "digits": lambda: load_digits(return_X_y=True)}


def splits(name, X, y, seed, n_folds):
    "The folds of a seed."
    folds = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y))[:n_folds]
    return folds[:1] if name == "digits" else folds


def judged(y, probs):
    return (probs.argmax(1) == y).mean(), log_loss(y, probs, labels=np.arange(probs.shape[1])), expected_calibration_error(probs, y)


class StraightThroughEnsemble:
    "16 networks, in so many seconds."
    def __init__(self, like, seconds, seed):
        self.network = like.result_.problem.target.model
        self.seconds, self.key, self.chunk = seconds, jax.random.key(seed), 50

    def trained(self, x, y, scale, deadline, n_steps):
        "Train until the deadline, in chunks; the optimiser object depends on the number of steps alone."
        optimizer, state, done = self.optimizer(n_steps), {"key": self.key, "n_seeds": 16}, 0
        plain = type(self.network)(self.network.layer_sizes, self.network.activation)
        model = Scaled(plain, jnp.float32(scale))
        while done < n_steps and (not done or time.perf_counter() < deadline):
            result = straight_through(model, (x, y, jnp.ones(len(x))), optimizer=optimizer, n_steps=self.chunk, progress=False, **state)
            state, done = {"state": result.state}, done + self.chunk
        return pack_networks(plain, np.where(np.asarray(result.params[:, 0]) < 0, -1, 1), None), done

    optimizers: dict = {}
    def optimizer(self, n_steps):
        if n_steps not in self.optimizers: self.optimizers[n_steps] = optax.adam(optax.cosine_decay_schedule(0.03, n_steps, 0.05))
        return self.optimizers[n_steps]

    def fit(self, x, y):
        start = time.perf_counter()
        a, b, y_a, y_b = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
        deadlines = start + self.seconds * np.arange(1, 7) / 6
        self.steps, found = [], {}
        for scale, deadline in zip(SCALES, deadlines):
            networks, done = self.trained(a, y_a, scale, deadline, 1000)
            found[scale] = log_loss(y_b, self.probs(networks, b, scale), labels=np.arange(y.max() + 1))
            self.steps.append(done)
        self.scale = min(found, key=found.get)
        self.networks, done = self.trained(x, y, self.scale, deadlines[-1], 1000)
        self.steps.append(done)
        self.took = time.perf_counter() - start
        return self

    def probs(self, networks, x, scale): return replace(networks, logit_scale=scale).predict(x)

    def predict_proba(self, x): return self.probs(self.networks, x, self.scale)


def compare(name, n_seeds, n_folds):
    "Rows of the table: contestant, accuracy, log loss, ECE, seconds."
    X, y = TABLES[name]()
    classes, y = np.unique(y, return_inverse=True)
    rows = []
    for seed in range(n_seeds):
        for fold, (train, test) in enumerate(splits(name, X, y, seed, n_folds)):
            def add(who, model, seconds, x=X[test]): rows.append((who, *judged(y[test], model.predict_proba(x)), seconds))
            start = time.perf_counter()
            linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X[train], y[train])
            add("logistic regression", linear, time.perf_counter() - start)
            start = time.perf_counter()
            ours = QHNClassifier(random_state=seed).fit(X[train], y[train])
            seconds = time.perf_counter() - start
            add("QHNClassifier", ours, seconds)
            units = StandardScaler().fit(X[train])
            ensemble = StraightThroughEnsemble(ours, seconds, seed).fit(np.float32(units.transform(X[train])), y[train])
            add("16 straight-through networks", ensemble, ensemble.took, units.transform(X[test]))
            if fold == 0 and name != "digits":
                for twin, setting in (("staircase", {"ansatz": "staircase"}), ("temperature 1", {"temperature": 1.0})):
                    start = time.perf_counter()
                    other = QHNClassifier(random_state=seed, **setting).fit(X[train], y[train])
                    add(f"QHNClassifier, {twin}", other, time.perf_counter() - start)
    return pd.DataFrame(rows, columns=["", "accuracy", "log loss", "ECE", "seconds"])


def shown(table):
    "Median [least, largest] by contestant."
    def text(values): return f"{values.median():.3f} [{values.min():.3f}, {values.max():.3f}]"
    return table.groupby("", sort=False).agg(text)


def search(name, n_seeds):
    "Evidence beside a grid search: log loss and seconds of both."
    X, y = TABLES[name]()
    rows = []
    for seed in range(n_seeds):
        train, test = splits(name, X, y, seed, 1)[0]
        QHNClassifier(n_steps=50, random_state=seed).fit(X[train], y[train])    # compiles what both share
        start = time.perf_counter()
        ours = QHNClassifier(random_state=seed).fit(X[train], y[train])
        ours_took = time.perf_counter() - start
        start = time.perf_counter()
        grid = {"logit_scale": list(np.geomspace(0.1, 3, 8))}
        searched = GridSearchCV(QHNClassifier(random_state=seed), grid, scoring="neg_log_loss", cv=3).fit(X[train], y[train])
        losses = [log_loss(y[test], model.predict_proba(X[test])) for model in (ours, searched)]
        rows.append((*losses, losses[0] / losses[1], ours_took, (time.perf_counter() - start) / ours_took,
                     ours.logit_scale_, searched.best_params_["logit_scale"]))
    return pd.DataFrame(rows, columns=["evidence", "grid", "ratio", "seconds", "times as long", "scale", "grid's scale"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--grid", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    pd.set_option("display.width", 200)
    print(f"{os.cpu_count()} cores, jax {jax.__version__}")
    for name in asked.tables:
        if asked.grid and name == "digits": continue
        table = search(name, asked.seeds).median().round(3).to_frame("median").T if asked.grid else shown(compare(name, asked.seeds, asked.folds))
        print(f"\n{name}\n{table.to_string()}", flush=True)


if __name__ == "__main__": main()
