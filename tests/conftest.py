"""What all tests share: the --slow option, double precision, no deadlines, programs that compile fast, and a drawing backend that needs no screen."""
import atexit
import contextlib
import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile

os.environ["MPLBACKEND"] = "Agg"  # before anything imports pyplot

# Tests compile thousands of programs and run most of them once: what XLA saves by optimising them it never earns back. All workers, notebooks
# and other processes that the tests start inherit this environment and share one folder of compiled programs, which goes with the run.
QUICK = ("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true", "--xla_cpu_use_fusion_emitters=false",
         "--xla_cpu_parallel_codegen_split_count=1")
if "QHN_TESTS" not in os.environ:
    os.environ |= {"QHN_TESTS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}  # a worker for each core: more threads only wait for each other
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    flags = " ".join([*QUICK, os.environ.get("XLA_FLAGS", "")])
    # XLA ends a process whose flags it does not know, as those of another version than today's may be.
    known = subprocess.run([sys.executable, "-c", "from jaxlib import xla_client; xla_client.make_cpu_client()"], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True)
    os.environ["XLA_FLAGS"] = flags if known.returncode == 0 else os.environ.get("XLA_FLAGS", "")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="qhn-compiled-")
        atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import hypothesis
import jax
import psutil
import pytest

jax.config.update("jax_enable_x64", True)  # the oracles are compared to ten digits; notebooks run in processes of their own

# The first example of a property compiles, so that a deadline would measure XLA; the same examples on every run keep a failure in reach.
hypothesis.settings.register_profile("qhn", deadline=None, derandomize=True)
hypothesis.settings.load_profile("qhn")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the notebook cells marked `#| slow`, and the tests marked slow")


def pytest_collection_modifyitems(config, items):
    "Notebooks first: they take longest, and a worker that is done takes over what another has left at its end."
    if not config.getoption("--slow"): items[:] = [item for item in items if not item.get_closest_marker("slow")]
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture
def slow(request) -> bool:
    return request.config.getoption("--slow")


this_process, programs = psutil.Process(), []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: programs.append(event) if event == "/jax/core/compile/backend_compile_duration" else None)


@pytest.fixture(autouse=True)
def few_programs():
    "A process that kept all programs would hold gigabytes at the end; those that are needed again lie in the folder."
    yield
    if len(programs) > 200 and this_process.memory_info().rss > 1.2 * 2**30:
        programs.clear()
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError): ctypes.CDLL("libc.so.6").malloc_trim(0)  # glibc would keep what is freed
