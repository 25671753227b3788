"""evaluate(), the engine: several terms, frozen length scales, value only, and a workspace used again."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data

import fastard
from fastard._engine.evaluate import evaluate
from fastard._engine.terms import Term
from fastard._engine.workspace import Workspace
from fastard._numba import symbols

DIAGONAL = 0.1

# One less, as many and one more than the tiles of 48 and 64 rows that there have been, once and twice.
EDGES = [1, 2, 47, 48, 49, 63, 64, 65, 97, 129]


def rows(y):
    return y.reshape(len(y), -1)


def expected(terms, X, y, diagonal):
    value = naive.log_marginal_likelihood(terms, X, y, diagonal)
    return value, naive.weights(terms, X, y, diagonal), naive.gradients(terms, X, y, diagonal)


def check(terms, twins, X, y, diagonal, workspace=None):
    workspace = Workspace(len(X), rows(y).shape[1]) if workspace is None else workspace
    found = evaluate(terms, X, rows(y), diagonal, workspace, gradient=True, threads=2)
    value, (alpha, Q), gradients = expected(twins, X, y, diagonal)
    assert found.failure is None
    assert_agree(found.log_marginal_likelihood, value)
    assert_agree(found.alpha, alpha)
    assert_agree(found.diagonal_weights, np.diagonal(Q))
    d = X.shape[1]
    assert len(found.gradients) == len(terms)
    for got, gradient in zip(found.gradients, gradients, strict=True):
        assert_agree(got.log_length_scale, gradient[:d])
        assert_agree(got.log_signal_variance, gradient[d])
        assert_agree(got.log_shape, gradient[d + 1 :])
    return found


@pytest.mark.parametrize("n", EDGES)
@pytest.mark.parametrize("m", [1, 3])
def test_one_term(kernel, n, m):
    name, kernel_object, shape = kernel
    X, y = data(n, 3, m)
    scales = np.array([0.5, 1.0, 2.0])
    check([Term(kernel_object, scales, 1.7)], [naive.Term(name, scales, 1.7, shape)], X, y, DIAGONAL)


@pytest.mark.parametrize("n", EDGES)
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("known", [False, True], ids=["number", "array"])
def test_two_terms(kernel, n, m, known):
    """A second term of another kernel, other length scales and some of the columns, in another order."""
    name, kernel_object, shape = kernel
    X, y = data(n, 4, m)
    diagonal = np.random.default_rng(n).uniform(0.05, 0.2, n) if known else DIAGONAL
    first, second = np.array([0.5, 1.0, 2.0, 1.5]), np.array([3.0, 0.7, 0.6, 0.9])
    terms = [
        Term(fastard.RBF(), first, 1.7),
        Term(kernel_object, second, 0.6, columns=np.array([3, 1])),
    ]
    twins = [naive.Term("rbf", first, 1.7), naive.Term(name, second, 0.6, shape, columns=(1, 3))]
    found = check(terms, twins, X, y, diagonal)
    assert found.gradients[1].log_length_scale[0] == 0.0
    assert found.gradients[1].log_length_scale[2] == 0.0
    check(terms[::-1], twins[::-1], X, y, diagonal)


def test_three_terms():
    X, y = data(70, 3)
    kernels = [
        ("rational_quadratic", fastard.RationalQuadratic(0.7), (0.7,)),
        ("matern12", fastard.Matern12(), ()),
        ("rational_quadratic", fastard.RationalQuadratic(3.0), (3.0,)),
    ]
    scales = np.random.default_rng(0).uniform(0.5, 2.0, (3, 3))
    terms = [Term(kernel, scale, 0.5) for (_, kernel, _), scale in zip(kernels, scales, strict=True)]
    twins = [naive.Term(name, scale, 0.5, shape) for (name, _, shape), scale in zip(kernels, scales, strict=True)]
    check(terms, twins, X, y, DIAGONAL)


def test_columns_of_one_term(kernel):
    name, kernel_object, shape = kernel
    X, y = data(65, 4)
    scales = np.array([0.5, 1.0, 2.0, 1.5])
    check(
        [Term(kernel_object, scales, 1.7, columns=np.array([2, 0]))],
        [naive.Term(name, scales, 1.7, shape, columns=(0, 2))],
        X,
        y,
        DIAGONAL,
    )


@pytest.mark.parametrize("free", [(), (0,), (2,), (0, 3), (1, 2, 3), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("columns", [None, (0, 2, 3)], ids=str)
@pytest.mark.parametrize("two", [False, True], ids=["one_term", "two_terms"])
def test_frozen_length_scales(kernel, free, columns, two):
    """Frozen ones have the derivative 0; the free ones' do not change, nor does anything else."""
    name, kernel_object, shape = kernel
    X, y = data(66, 4)
    scales = np.array([0.5, 1.0, 2.0, 1.5])
    is_free = np.isin(np.arange(4), free)
    term = Term(kernel_object, scales, 1.7, is_free, None if columns is None else np.array(columns))
    terms, twins = [term], [naive.Term(name, scales, 1.7, shape, columns)]
    if two:
        terms.append(Term(fastard.Matern32(), scales[::-1].copy(), 0.3))
        twins.append(naive.Term("matern32", scales[::-1], 0.3))
    found = evaluate(terms, X, rows(y), DIAGONAL, Workspace(66, 1), gradient=True, threads=2)
    value, (alpha, Q), gradients = expected(twins, X, y, DIAGONAL)
    gradients[0][:4][~is_free] = 0.0
    assert_agree(found.log_marginal_likelihood, value)
    assert_agree(found.alpha, alpha)
    assert_agree(found.diagonal_weights, np.diagonal(Q))
    assert_agree(found.gradients[0].log_length_scale, gradients[0][:4])
    assert (found.gradients[0].log_length_scale[~is_free] == 0.0).all()
    assert_agree(found.gradients[0].log_signal_variance, gradients[0][4])
    assert_agree(found.gradients[0].log_shape, gradients[0][5:])
    if two:
        assert_agree(found.gradients[1].log_length_scale, gradients[1][:4])


@pytest.mark.parametrize("n", [2, 65, 129])
@pytest.mark.parametrize("two", [False, True], ids=["one_term", "two_terms"])
def test_value_only_is_the_same_value_to_the_bit(kernel, n, two):
    X, y = data(n, 3)
    terms = [Term(kernel[1], np.array([0.5, 1.0, 2.0]), 1.7)]
    if two:
        terms.append(Term(fastard.Matern52(), np.ones(3), 0.3))
    both = evaluate(terms, X, rows(y), DIAGONAL, Workspace(n, 1), gradient=True, threads=1)
    alone = evaluate(terms, X, rows(y), DIAGONAL, Workspace(n, 1), gradient=False, threads=1)
    assert alone.log_marginal_likelihood == both.log_marginal_likelihood
    assert_agree(alone.alpha, both.alpha)  # by back substitution here, carried through the sweep there
    assert alone.gradients == ()


@pytest.mark.parametrize("n", [1, 65, 129])
def test_what_the_workspace_holds_afterwards(kernel, n):
    """The Cholesky factor after a value alone, the inverse after a gradient: what a trained model keeps."""
    name, kernel_object, shape = kernel
    X, y = data(n, 3)
    workspace = Workspace(n, 1)
    term, twin = Term(kernel_object, np.ones(3), 1.7), naive.Term(name, np.ones(3), 1.7, shape)
    K = naive.noisy_covariance([twin], X, DIAGONAL)
    evaluate([term], X, rows(y), DIAGONAL, workspace, gradient=False, threads=1)
    assert_agree(np.tril(workspace.matrix.T), np.linalg.cholesky(K))
    evaluate([term], X, rows(y), DIAGONAL, workspace, gradient=True, threads=1)
    assert_agree(np.tril(workspace.matrix.T), np.tril(np.linalg.inv(K)))


def test_workspace_is_used_again(kernel):
    """Nothing is left over: NaN and another problem in the buffer change no bit."""
    name, kernel_object, shape = kernel
    X, y = data(129, 3)
    term, twin = Term(kernel_object, np.ones(3), 1.7), naive.Term(name, np.ones(3), 1.7, shape)
    fresh = check([term], [twin], X, y, DIAGONAL)
    workspace = Workspace(129, 1)
    buffer = workspace.buffer
    workspace.matrix[...] = np.nan
    for _ in range(2):
        again = check([term], [twin], X, y, DIAGONAL, workspace)
        assert again.log_marginal_likelihood == fresh.log_marginal_likelihood
        np.testing.assert_array_equal(again.alpha, fresh.alpha)
        np.testing.assert_array_equal(again.gradients[0].log_length_scale, fresh.gradients[0].log_length_scale)
        other = Term(fastard.Matern12(), np.full(3, 0.1), 9.0)
        evaluate([other, term], X, rows(y), DIAGONAL, workspace, gradient=False, threads=2)
        workspace.matrix[::2] = np.inf
    assert workspace.buffer is buffer


def test_inputs_are_left_alone():
    X, y = data(70, 3, 2)
    diagonal, scales = np.full(70, 0.1), np.ones(3)
    arrays = [X, y, diagonal, scales]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    evaluate([Term(fastard.RBF(), scales, 1.0)], X, y, diagonal, Workspace(70, 2), gradient=True, threads=2)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("n", "row"), [(2, 1), (65, 64), (129, 70), (129, 128)])
def test_failed_pivot_is_reported_by_its_row(n, row, gradient):
    """Points without covariance, and one equal to the first: its pivot is exactly 0. No exception from in here."""
    X = 1e6 * np.arange(float(n))[:, None]
    X[row] = X[0]
    workspace = Workspace(n, 1)
    term = Term(fastard.RBF(), np.ones(1), 1.0)
    found = evaluate([term], X, np.ones((n, 1)), 0.0, workspace, gradient=gradient, threads=1)
    assert found.failure == (row, 0, 0.0)
    found = evaluate([term], X, np.ones((n, 1)), 0.5, workspace, gradient=gradient, threads=1)
    assert found.failure is None
    assert_agree(
        found.log_marginal_likelihood,
        naive.log_marginal_likelihood([naive.Term("rbf", np.ones(1))], X, np.ones(n), 0.5),
    )


def test_the_tasks_of_an_evaluation_count_no_references():
    """One array made in them, and each slice of each row costs two atomic operations: a third of the time at n = 50."""
    objective = fastard.LogMarginalLikelihood(np.linspace(0.0, 1.0, 20)[:, np.newaxis], np.ones(20))
    objective(np.zeros(3))
    tasks = ("pairs.fill_tile", "pairs.contract_tile", "sweep.pivot", "sweep.panel", "sweep.update", "sweep.pivot_inverse")
    for task in tasks:
        assert not symbols._dispatchers[f"fastard._engine.loops.{task}"].targetoptions["_nrt"], task
