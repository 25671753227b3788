"""The derivative of weighted covariances by the points, against complex steps of the plain covariance."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data

from fastard._engine.cross import point_gradient
from fastard._engine.terms import Term


@pytest.mark.parametrize(("q", "n", "d"), [(1, 1, 1), (7, 61, 3), (65, 3, 9), (3, 1025, 2), (4, 5, 0)])
@pytest.mark.parametrize(("targets", "shared"), [(1, True), (2, False)])
def test_against_complex_steps(kernel, q, n, d, targets, shared):
    name, kernel_object, shape = kernel
    X, Z = data(q, d)[0], data(n, d, seed=1)[0]
    length_scale = np.geomspace(0.7, 2.0, d)
    Q = np.random.default_rng(2).standard_normal((targets, 1 if shared else q, n))
    truth = np.zeros((targets, q, d))
    for p in range(d):
        moved = X.astype(complex)
        moved[:, p] += 1e-30j
        truth[:, :, p] = (Q * naive.covariance([naive.Term(name, length_scale, 1.7, shape)], moved, Z).imag / 1e-30).sum(
            axis=2
        )
    term = Term(kernel_object, length_scale, 1.7)
    G = point_gradient(term, Q, X, Z, threads=2)
    assert_agree(G, truth, 1e-12)
    np.testing.assert_array_equal(G, point_gradient(term, Q, X, Z, threads=1))


def test_at_a_point_of_the_data(kernel):
    X, _ = data(20, 3)
    term = Term(kernel[1], np.ones(3), 1.0)
    assert np.isfinite(point_gradient(term, np.ones((1, 1, 20)), X, X, threads=1)).all()
    alone = point_gradient(term, np.ones((1, 1, 1)), X[:1], X[:1], threads=1)
    np.testing.assert_array_equal(alone, 0.0)
