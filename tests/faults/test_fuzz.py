"""Every public callable, called with good, equivalent and bad arguments: each answer is right, or an error of ours that names the argument.

`python tests/faults/fuzz.py [EXAMPLES]` counts the outcomes.
"""
import inspect
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fuzz
from fuzz_calls import ABSTRACT, CALLS

import qhn

HERE = Path(__file__).parent
EXAMPLES, SLOW_EXAMPLES = 10, 2000    # of each callable; ten for each of 134 take some 20 seconds of a core


@pytest.fixture(scope="module", autouse=True)
def single_precision():
    "As users have it: there 64-bit numbers are narrowed."
    with jax.enable_x64(False): yield


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    "Some texts are names of files and folders."
    monkeypatch.chdir(tmp_path)


def name_of(call): return call.split(" ")[0].split(".")[0]


def test_every_public_name_has_a_call():
    assert {name_of(call) for call in CALLS} | ABSTRACT >= set(qhn.__all__)
    for name in ABSTRACT: assert inspect.isclass(getattr(qhn, name))


def judged(name, n_examples):
    @settings(max_examples=n_examples, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def example(data):
        chosen = fuzz.drawn(name, lambda sequence: data.draw(st.sampled_from(sequence)))
        what, why = fuzz.outcome(name, chosen)
        assert what in fuzz.FINE, f"{what}: {fuzz.told(name, chosen)}: {why}"
    example()


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.arguments])
def test_answers_are_right_or_errors_name_the_argument(name): judged(name, EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.arguments])
def test_each_variant_of_each_argument(name):
    for chosen in fuzz.every(name):
        what, why = fuzz.outcome(name, chosen)
        assert what in fuzz.FINE, f"{what}: {fuzz.told(name, chosen)}: {why}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.arguments])
def test_two_thousand_examples(name): judged(name, SLOW_EXAMPLES)


def test_a_wrong_answer_is_told():
    "The judge itself: what it calls wrong, unnamed, internal and silent."
    calls = {"wrong": lambda x: np.asarray(x).dtype.itemsize, "silent": lambda x: np.asarray(x, float) / 0 * 0, "internal": lambda x: np.zeros(2) @ np.zeros(3)}
    from fuzz_calls import Call, array
    from fuzz_values import Variant
    chosen = {"x": (Variant("same", "double", lambda v, _: v.astype(float)), 0)}
    said = {"wrong": "silently wrong", "silent": "silent NaN", "internal": "internal"}
    for name, function in calls.items():
        CALLS[name] = Call(function, {"x": array([1.0, 2.0])})
        fuzz._PLAIN[name] = [np.asarray(4)]
        with np.errstate(all="ignore"): assert fuzz.outcome(name, chosen)[0] == said[name]
        del CALLS[name]


CONFIGURATIONS = {"debugging NaN": {"JAX_DEBUG_NANS": "1"}, "warnings are errors": {"PYTHONWARNINGS": "error"}}
VALID = """
import sys, warnings; sys.path.insert(0, {here!r})
with warnings.catch_warnings():
    warnings.simplefilter("ignore")    # of other packages, while they are imported
    import fuzz
warnings.filterwarnings("ignore", "Explicitly requested dtype complex128")    # which is PennyLane's
bad = []
for name in fuzz.CALLS:
    try: fuzz.plain(name)
    except Exception as error: bad.append(f"{{name}}: {{type(error).__name__}}: {{str(error)[:300]}}")
assert not bad, "\\n".join(bad)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_valid_calls_under_a_strict_configuration(name, tmp_path):
    run = subprocess.run([sys.executable, "-c", VALID.format(here=str(HERE))], capture_output=True, text=True, env=os.environ | CONFIGURATIONS[name], cwd=tmp_path)
    assert not run.returncode, run.stderr
