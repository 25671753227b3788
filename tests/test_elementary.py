"""The library's own exp and log1p against long double."""

import math

import numpy as np
import pytest

from fastard._numba import elementary as _elementary
from fastard._numba.jit import jit


@jit
def exp_each(x, result):
    for i in range(x.size):
        result[i] = _elementary.exp(x[i])


@jit
def log1p_each(x, result):
    for i in range(x.size):
        result[i] = _elementary.log1p(x[i])


def of_each(function, x):
    """Through a compiled loop, which LLVM vectorises, and one number at a time; both give the same."""
    result = np.empty_like(x)
    {_elementary.exp: exp_each, _elementary.log1p: log1p_each}[function](x, result)
    for i in range(0, x.size, 997):
        np.testing.assert_equal(function(float(x[i])), result[i])
    return result


def worst_ulp(actual, exact):
    rounded = exact.astype(np.float64)
    return float(np.max(np.abs(actual - exact) / np.spacing(np.abs(rounded))))


needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no longer than double on this platform"
)


@needs_long_double
@pytest.mark.parametrize("low", [-708.0, -40.0, -1.0, -1e-3, -1e-9, -1e-17])
def test_exp(low):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(low, 0.0, 200_003), -np.geomspace(1e-300, -low, 10_001)])
    assert worst_ulp(of_each(_elementary.exp, x), np.exp(x.astype(np.longdouble))) <= 1.0


@needs_long_double
def test_exp_at_the_edges_of_its_reduction():
    """Near odd multiples of ln(2) / 2, where the nearest power of 2 changes."""
    edges = -np.arange(1.0, 2043.0, 2.0) * math.log(2.0) / 2.0
    edges = edges[edges > -708.0]
    x = np.concatenate([edges, np.nextafter(edges, 0.0), np.nextafter(edges, -1e9), edges * (1 + 1e-12)])
    x = x[x >= -708.0]
    assert worst_ulp(of_each(_elementary.exp, x), np.exp(x.astype(np.longdouble))) <= 1.0


@needs_long_double
@pytest.mark.parametrize(
    ("low", "high"), [(1e-300, 1e-17), (1e-17, 1e-8), (1e-8, 1.0), (0.1, 10.0), (1.0, 1e17), (1e17, 1e300)]
)
def test_log1p(low, high):
    rng = np.random.default_rng(0)
    u = np.concatenate([np.exp(rng.uniform(math.log(low), math.log(high), 200_003)), np.geomspace(low, high, 10_001)])
    assert worst_ulp(of_each(_elementary.log1p, u), np.log1p(u.astype(np.longdouble))) <= 2.0


@needs_long_double
def test_log1p_at_the_edges_of_its_reduction():
    """Near sqrt(2) and the powers of two."""
    powers = 2.0 ** np.arange(0.0, 60.0)
    edges = np.concatenate([powers * math.sqrt(2.0), powers]) - 1.0
    u = np.concatenate([edges, np.nextafter(edges, 0.0), np.nextafter(edges, np.inf), edges + 1e-9])
    assert worst_ulp(of_each(_elementary.log1p, u), np.log1p(u.astype(np.longdouble))) <= 2.0


def test_exact_values():
    x = np.array([0.0, -0.0, -708.1, -745.0, -800.0, -1e6, -1e300, -np.inf])
    np.testing.assert_array_equal(of_each(_elementary.exp, x), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(of_each(_elementary.log1p, np.zeros(5)), np.zeros(5))
    np.testing.assert_array_equal(of_each(_elementary.log1p, np.full(5, 5e-324)), np.full(5, 5e-324))


def test_nan_stays_nan():
    """Also beside numbers, in whatever lane of a vector it stands."""
    for function, ordinary in ((_elementary.exp, -1.0), (_elementary.log1p, 1.0)):
        for position in range(20):
            x = np.full(20, ordinary)
            x[position] = np.nan
            result = of_each(function, x)
            assert np.isnan(result[position])
            assert np.isfinite(np.delete(result, position)).all()
        assert np.isnan(function(math.nan))


def test_monotone_where_it_matters():
    """exp(-s / 2) may not exceed 1, or a covariance would exceed the signal variance."""
    x = -np.geomspace(1e-320, 1e-10, 100_000)
    result = of_each(_elementary.exp, x)
    assert (result <= 1.0).all()
    assert (result > 0.999).all()
