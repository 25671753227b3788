"""What all tests share: data, the table of kernels, and one meaning of "agrees"."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  # so that its BLAS is there, beside NumPy's
import threadpoolctl

import fastard

ROOT = Path(fastard.__file__).resolve().parents[1]  # of the package under test, which may be installed elsewhere
SOURCE = Path(__file__).resolve().parents[1]  # of these tests, and of the pages

# One row a kernel: its name, the object, its shape parameters.
KERNELS = [
    pytest.param(("rbf", fastard.RBF(), ()), id="rbf"),
    pytest.param(("matern12", fastard.Matern12(), ()), id="matern12"),
    pytest.param(("matern32", fastard.Matern32(), ()), id="matern32"),
    pytest.param(("matern52", fastard.Matern52(), ()), id="matern52"),
    pytest.param(("matern72", fastard.Matern72(), ()), id="matern72"),
    pytest.param(("rational_quadratic", fastard.RationalQuadratic(0.7), (0.7,)), id="rational_quadratic"),
]


# By their files: what leaves the edit loop, see CONTRIBUTING.
MARKED = {
    "integration": (
        *("sklearn", "sklearn_agreement", "sklearn_clients", "gpytorch", "botorch", "botorch_fitting", "real_data"),
        *("bayes_calibration", "botorch_fully_bayesian"),
    ),
    "process": ("processes", "surroundings", "cache", "cpu_shapes", "cluster"),
    "benchmarks": ("benchmarks",),
    "pages": ("docs",),
}


def pytest_collection_modifyitems(items):
    for item in items:
        for marker, files in MARKED.items():
            if item.path.stem.removeprefix("test_") in files:
                item.add_marker(marker)


# The files that are about threads, BLAS's own among them, or about what is left behind of them.
BLAS_AS_IT_IS = (
    *("batch", "bits", "blas", "cluster", "many_cores", "pool", "processes", "restarts", "state", "surroundings"),
    *("fit_vecchia", "vecchia_likelihood"),
)
BLAS = threadpoolctl.ThreadpoolController()


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread(request):
    """In all other files: the plain formulas are many small calls, whose threads spin while they wait.

    On two cores that are busy it makes them five times slower. Child processes have the threads that a user's have.
    """
    if request.path.stem.removeprefix("test_") in BLAS_AS_IT_IS:
        yield
    else:
        with BLAS.limit(limits=1, user_api="blas"):
            yield


@pytest.fixture
def several_blas_threads():
    """So that a limit shows, and one that stays behind, on a machine with one core too."""
    with threadpoolctl.threadpool_limits(limits=3, user_api="blas"):
        yield


@pytest.fixture(params=KERNELS)
def kernel(request):
    """(name, object, shape parameters)."""
    return request.param


@pytest.fixture
def several_torch_threads():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def jax_in_float64():
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def assert_agree(actual, expected, tolerance=1e-10):
    """max |a - b| <= tolerance * max(1, max |b|)."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    if expected.size:
        error = np.max(np.abs(actual - expected))
        allowed = tolerance * max(1.0, np.max(np.abs(expected)))
        assert error <= allowed, f"differ by {error:.3g}, {allowed:.3g} allowed"


def data(n, d, m=1, seed=0):
    """X (n, d) and y (n,) or (n, m), standard normal."""
    rng = np.random.default_rng([seed, n, d, m])
    X = rng.standard_normal((n, d))
    return X, (rng.standard_normal(n) if m == 1 else rng.standard_normal((n, m)))


def run_python(script, *, timeout=240, **environment):
    """Run a script in a fresh interpreter; its standard output. An environment variable of None is removed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name, value in environment.items():
        env.pop(name, None)
        if value is not None:
            env[name] = str(value)
    result = subprocess.run([sys.executable, "-P", "-c", script], env=env, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout
