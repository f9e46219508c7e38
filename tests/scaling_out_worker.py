"""One process of tests/test_scaling_out.py: `python scaling_out_worker.py TASK [host:port n_processes process]` prints one line of JSON for each thing it did."""
import json
import os
import re
import signal
import sys

import jax
import numpy as np
import optax

from qhn.circuits.ansatz import staircase
from qhn.problem.network import BiNN
from qhn.distributions.born import BornMachine
from qhn.engine.interface import Dense
from qhn.problem.datasets import moons
from qhn.objectives.elbo import KL
from qhn.problem.prior import BernoulliPrior
from qhn.inference.shots import SPSA, ParameterShift
from qhn.inference.gradients import Exact, ScoreFunction
from qhn.inference.estimator import Problem
from qhn.problem.costs import as_target
from qhn.inference.callbacks import StopTraining
from qhn.inference.fit import fit
from qhn.inference.state import init, step
from qhn.inference.mesh import join_processes, placed

DATA = moons(n_train=48, seed=0)
MACHINE, MODEL, ADAM = BornMachine(staircase(5, 1)), BiNN((2, 1, 1)), optax.adam(0.05)
DENSE = BornMachine(staircase(5, 1), engine=Dense)
AUTO, EXPLICIT = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit


def mesh_of(kind=AUTO, **axes):
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(kind,) * len(axes))


def run(mesh=None, estimator=ScoreFunction(40), n_steps=12, data=(DATA.x_train, DATA.y_train), machine=MACHINE, **options):
    if "state" not in options: options = {"key": jax.random.key(3), "n_seeds": 4, **options}
    return fit(machine, MODEL, data, estimator=estimator, optimizer=ADAM, n_steps=n_steps, mesh=mesh, progress=False, **options)


def numbers(result):
    return {"params": np.asarray(result.params).tolist(), **{name: np.asarray(values).tolist() for name, values in result.history.items()}}


def compilations(function):
    events = []
    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration": events.append(duration)
    jax.monitoring.register_event_duration_secs_listener(listen)
    function()
    return len(events)


def refusal(*args, **options):
    try: run(*args, **options)
    except (TypeError, ValueError) as error: return f"{type(error).__name__}: {error}"


def compiled_step():
    "Sizes of all arrays in a step that 4 x 2 devices share, and the messages between them."
    mesh, state = mesh_of(samples=4, data=2), init(MACHINE, ADAM, jax.random.key(0))
    with jax.set_mesh(mesh):
        problem, state = placed(mesh, Problem(MACHINE, as_target(MODEL, (DATA.x_train, DATA.y_train)), BernoulliPrior(), KL()), state)
        text = jax.jit(step, static_argnums=(1, 2)).lower(problem, ScoreFunction(40), ADAM, state).compile().as_text()
    shapes = re.findall(r"f64\[([\d,]+)\]", text)
    return {"sizes": sorted({int(size) for shape in shapes for size in shape.split(",")}), "all-reduce": text.count(" all-reduce("), "all-gather": text.count(" all-gather(")}


def devices():
    "Meshes of eight devices against one device."
    all_three = mesh_of(EXPLICIT, seeds=2, samples=2, data=2)
    half = run(all_three, n_steps=6)
    return {"n_devices": jax.device_count(), "alone": numbers(run()), "exact alone": numbers(run(estimator=Exact())),
            "seeds, samples, data": numbers(run(all_three)), "exact seeds": numbers(run(mesh_of(seeds=4), Exact())),
            "resumed alone": numbers(run(state=half.state, n_steps=6)), "resumed": numbers(run(all_three, state=half.state, n_steps=6)),
            "devices of the result": sorted({device.id for leaf in jax.tree.leaves(half.state) for device in leaf.devices()}),
            "compilations": compilations(lambda: run(all_three, data=(-DATA.x_train, DATA.y_train), key=jax.random.key(4), n_steps=5)),
            "step": compiled_step(),
            **{f"{type(e).__name__} {where}": numbers(run(mesh, e, 3)) for e in (SPSA(40), ParameterShift(40)) for where, mesh in (("alone", None), ("samples", mesh_of(samples=4, data=2)))},
            **{f"dense {where}": numbers(run(mesh, Exact(), machine=DENSE, n_seeds=2)) for where, mesh in (("alone", None), ("amplitudes", mesh_of(amplitudes=4)))},
            "refused": {"three": refusal(mesh_of(amplitudes=8), Exact(), machine=DENSE), "data": refusal(mesh_of(data=5)), "samples": refusal(mesh_of(samples=7)), "seeds": refusal(mesh_of(seeds=8)),
                        "no samples": refusal(mesh_of(samples=2), Exact()), "name": refusal(mesh_of(rows=2)), "no mesh": refusal(8), "no state": refusal(mesh_of(amplitudes=2)), "two": refusal(mesh_of(seeds=2, amplitudes=4), Exact(), machine=DENSE)}}


def shared_mesh(): return mesh_of(samples=2, data=jax.device_count() // 2)


def together():
    "The same run by all processes, with the whole result in each."
    result = run(shared_mesh())
    return {"n_devices": jax.device_count(), "n_processes": jax.process_count(), "local": all(leaf.is_fully_addressable for leaf in jax.tree.leaves(result.state)), **numbers(result)}


def different():
    "Both processes call `fit`, one time after the other with another argument in process 1."
    mesh, second = shared_mesh(), jax.process_index() == 1
    return {"n_steps": refusal(mesh, n_steps=3 + second), "rate": refusal(mesh, n_steps=3, objective=KL(1 + second)), "data": refusal(mesh, n_steps=3, data=(DATA.x_train + second, DATA.y_train)),
            "key": refusal(mesh, n_steps=3, key=jax.random.key(second)), "mesh": refusal(mesh_of(data=jax.device_count()) if second else mesh, n_steps=3), "alike": refusal(mesh, n_steps=3)}


def watched(folder):
    "What the first process wants is done by both; the common run in two calls, over a folder that both read."
    first = jax.process_index() == 0
    def stop(step, info, state):
        if first and step >= 8: raise StopTraining("enough", 7)
    ended = run(shared_mesh(), callbacks=[stop])
    for n_steps in (5, 12): result = run(shared_mesh(), n_steps=n_steps, checkpoint=folder)
    return {"n_steps": ended.n_steps, "stopped": ended.info["stopped"], "interrupted": ended.interrupted, **numbers(result)}


def killed(folder):
    "Calls that differ; the common run, and again with callbacks and checkpoints; then training for ever, in which process 1 is killed."
    print(json.dumps(different()), flush=True)
    print(json.dumps(together()), flush=True)
    print(json.dumps(watched(folder)), flush=True)
    mesh = shared_mesh()
    state = run(mesh).state
    while True:
        if jax.process_index() == 1 and state.step >= 36:
            os.kill(os.getpid(), signal.SIGKILL)
        state = run(mesh, state=state).state


def failed():
    "Process 0 fails, and process 1 calls `fit` without it."
    mesh = shared_mesh()
    if jax.process_index() == 0:
        raise RuntimeError("a fault of its own")
    run(mesh)


def left():
    "The common run; then process 1 leaves early, and process 0 calls `fit` without it."
    mesh = shared_mesh()
    run(mesh)
    if jax.process_index() == 1: sys.exit(3)
    run(mesh)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    task, *where = sys.argv[1:]
    if where: join_processes(where[0], int(where[1]), int(where[2]), patience=6, shutdown_timeout_seconds=6)
    if task == "devices": print(json.dumps(devices()))
    if task == "killed": killed(where[3])
    if task == "failed": failed()
    if task == "left": left()
