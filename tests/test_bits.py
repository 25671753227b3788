"""The same bits from run to run, and whatever the number of threads. BLAS's own threads are left as they are."""

import numpy as np
import pytest
from conftest import data, run_python

import fastard

# Large enough that the work is shared among threads, and is no multiple of a tile's size.
N, D = 300, 11


def everything(n_threads, m=1):
    """Bytes of every result there is."""
    X, y = data(N, D, m)
    Q, Z = data(N, N, seed=3)[0], data(77, D, seed=4)[0]
    results = []
    for kernel in ("rbf", "matern12", "rational_quadratic"):
        options = {"length_scale": np.geomspace(0.5, 5.0, D), "kernel": kernel, "n_threads": n_threads}
        value, gradient = fastard.log_marginal_likelihood(X, y, eval_gradient=True, **options)
        results += [np.float64(value), gradient]
        results += [fastard.covariance(X, **options), fastard.covariance(X, Z, **options)]
        results += [fastard.covariance_vjp(Q, X, **options)]
    return b"".join(np.asarray(result).tobytes() for result in results)


@pytest.mark.parametrize("m", [1, 3])
def test_threads(m):
    expected = everything(1, m)
    for n_threads in (1, 2, 3, 5, None):
        for _ in range(3):
            assert everything(n_threads, m) == expected


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import test_bits
print(hashlib.sha256(test_bits.everything(None)).hexdigest())
"""


def test_processes_and_settings():
    """Neither a process of its own nor Numba's thread count or layer changes a bit."""
    import hashlib
    from pathlib import Path

    script = SCRIPT.format(tests=str(Path(__file__).parent))
    expected = hashlib.sha256(everything(None)).hexdigest()
    for environment in (
        {"NUMBA_NUM_THREADS": "1"},
        {"NUMBA_NUM_THREADS": "4", "NUMBA_THREADING_LAYER": "workqueue"},
        {"NUMBA_THREADING_LAYER": "omp"},
    ):
        assert run_python(script, **environment).strip() == expected
