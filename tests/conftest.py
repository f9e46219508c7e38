"""What all tests share: the --slow option, double precision, no deadlines, and a drawing backend that needs no screen."""
import os

os.environ["MPLBACKEND"] = "Agg"  # before anything imports pyplot

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)  # the oracles are compared to ten digits; notebooks run in processes of their own

# The first example of a property compiles, so that a deadline would measure XLA; the same examples on every run keep a failure in reach.
hypothesis.settings.register_profile("qhn", deadline=None, derandomize=True)
hypothesis.settings.load_profile("qhn")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the notebook cells marked `#| slow`")


@pytest.fixture
def slow(request) -> bool:
    return request.config.getoption("--slow")
