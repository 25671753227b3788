"""Errors of the factorisation beside LAPACK's own, both against 80-bit arithmetic on the same covariance matrix."""

import numpy as np
import pytest
from scipy.linalg.lapack import dpotrf, dpotri

import fastard
from fastard._engine import workspace as workspaces
from fastard._engine.evaluate import evaluate
from fastard._engine.terms import Term

pytestmark = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no longer than double here")

N, D = 200, 2
LENGTH_SCALE = np.array([1.0, 1.3])


def long_inverse(K):
    """K^-1 and ln|K| by a Cholesky factorisation in long double."""
    n = len(K)
    A = K.astype(np.longdouble)
    L = np.zeros_like(A)
    for j in range(n):
        column = A[j:, j] - L[j:, :j] @ L[j, :j]
        L[j, j] = np.sqrt(column[0])
        L[j + 1 :, j] = column[1:] / L[j, j]
    inverse = np.eye(n, dtype=np.longdouble)
    for j in range(n):
        inverse[j] = (inverse[j] - L[j, :j] @ inverse[:j]) / L[j, j]
    return inverse.T @ inverse, 2.0 * np.log(np.diag(L)).sum()


def gradient(inverse, K, X, y):
    """d l / d ln length_scale from K^-1, in the precision of K^-1."""
    alpha = inverse @ y.astype(inverse.dtype)
    weights = (np.outer(alpha, alpha) - inverse) * K.astype(inverse.dtype)
    squares = ((X[:, None, :] - X[None, :, :]).astype(inverse.dtype) / LENGTH_SCALE) ** 2
    return 0.5 * np.einsum("jk,jki->i", weights, squares)


def relative(found, expected):
    return float(np.linalg.norm((found - expected).astype(float)) / np.linalg.norm(expected.astype(float)))


@pytest.fixture(scope="module")
def problems():
    """24 of them, condition numbers from 1e4 to 1e12."""
    result = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        X = 0.4 * rng.standard_normal((N, D))
        y = np.sin(3.0 * X[:, 0]) + 0.1 * rng.standard_normal(N)
        noise = 200.0 * 10.0 ** -(4.0 + 8.0 * seed / 23.0)
        K = fastard.covariance(X, length_scale=LENGTH_SCALE) + noise * np.eye(N)
        inverse, log_determinant = long_inverse(K)
        expected = (np.tril(inverse), gradient(inverse, K, X, y), np.array([log_determinant]))
        F, _ = dpotrf(np.asfortranarray(K), lower=1)
        log_determinant = np.array([2.0 * np.log(np.diag(F)).sum()])
        F, _ = dpotri(F, lower=1)
        whole = np.tril(F) + np.tril(F, -1).T
        theirs = (np.tril(F), gradient(whole, K, X, y), log_determinant)
        result.append((X, y, noise, expected, [relative(a, b) for a, b in zip(theirs, expected, strict=True)]))
    return result


def test_the_condition_numbers(problems):
    """As announced: the largest eigenvalue is some 200 times a mean correlation, the least is the noise."""
    X, _, noise, _, _ = problems[0]
    eigenvalues = np.linalg.eigvalsh(fastard.covariance(X, length_scale=LENGTH_SCALE) + noise * np.eye(N))
    assert 3e3 < eigenvalues[-1] / eigenvalues[0] < 3e4
    X, _, noise, _, _ = problems[-1]
    assert 1e11 < eigenvalues[-1] / noise < 1e13


@pytest.mark.parametrize("sizes", [(24, 24), (48, 48), (72, 72), (96, 96), (120, 120), (72, 144), (96, 192)])
def test_errors_are_near_those_of_lapack(problems, sizes, monkeypatch):
    """Within 4 times, in the median over the problems, for every block size that any n is given."""
    monkeypatch.setattr(workspaces, "sizes", lambda n: sizes)
    ratios = []
    for X, y, noise, expected, theirs in problems:
        workspace = workspaces.Workspace(N, 1)
        term = Term(fastard.RBF(), LENGTH_SCALE, 1.0)
        found = evaluate([term], X, y[:, np.newaxis], noise, workspace, gradient=True, threads=1)
        ours = (
            np.tril(workspace.matrix.T),
            found.gradients[0].log_length_scale,
            np.array([2.0 * workspace.logs[0].sum()]),
        )
        errors = [relative(a, b) for a, b in zip(ours, expected, strict=True)]
        ratios.append([e / max(t, 1e-17) for e, t in zip(errors, theirs, strict=True)])
    of_inverse, of_gradient, of_log_determinant = np.median(ratios, axis=0)
    assert of_inverse <= 4.0
    assert of_gradient <= 4.0
    assert of_log_determinant <= 4.0
