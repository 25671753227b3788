"""How a scikit-learn estimator is trained: its data, its likelihood, the search over theta."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from fastard._arrays import Array, read_only
from fastard._blas import one_blas_thread
from fastard._engine.evaluate import Evaluation, evaluate
from fastard._engine.sizes import side_by_side
from fastard._engine.terms import central
from fastard._engine.workspace import Workspace
from fastard._numba.threads import default_threads, thread_map
from fastard._validation import min_length_scales
from fastard.sklearn.compiled import search_compiled
from fastard.sklearn.original import _SKLEARN_METHODS
from fastard.sklearn.recognition import Covariance, UnsupportedKernelError

# A search ends when a step lowers the loss by less than this part of it; scikit-learn takes SciPy's default.
_LEAST_FALL, _SKLEARN_LEAST_FALL = 1e-10, 1e7 * float(np.finfo(float).eps)


class _Data:
    """Training data as the engine takes them, and the likelihood of a covariance on them.

    ``X`` is the covariance's. Raises UnsupportedKernelError where they do not fit together, or scikit-learn takes others.
    """

    def __init__(self, X: Array, y: Any, alpha: Any) -> None:
        if not self.takes(X, y, alpha):
            raise UnsupportedKernelError("the targets or alpha are not numbers, one for each point")
        self.X = X
        self.y = read_only(np.ascontiguousarray(y, dtype=np.float64).reshape(self.X.shape[0], -1))
        self.noise_diagonal = np.asarray(alpha, dtype=np.float64)
        self.center = central(self.X)
        self.least = min_length_scales(self.X)

    @staticmethod
    def takes(X: Any, y: Any, alpha: Any) -> bool:
        alpha = np.asarray(alpha)
        numbers = y.dtype.kind in "fiub" and alpha.dtype.kind in "fiu" and bool(np.isfinite(alpha).all())
        return numbers and len(y) == len(X) and alpha.shape in ((), (len(X),))

    def evaluate(
        self, covariance: Covariance, theta: Array | None, workspace: Workspace, *, gradient: bool, threads: int
    ) -> Evaluation:
        """Raises UnsupportedKernelError where a parameter is out of fastard's range."""
        terms, noise = covariance.at(theta, self.least)
        return evaluate(
            terms,
            self.X,
            self.y,
            self.noise_diagonal + noise,
            workspace,
            gradient=gradient,
            threads=threads,
            center=self.center,
        )


def _search(estimator: Any, covariance: Covariance, data: _Data) -> tuple[Array, float, Workspace, bool]:
    """The best theta that the estimator's optimiser finds from its starts, and minus the log marginal likelihood there.

    Also a workspace to be used again, and whether scikit-learn may have to warn that theta is at a bound.
    """
    bounds = estimator.kernel_.bounds
    restarts = estimator.n_restarts_optimizer
    draws = (estimator._rng.uniform(bounds[:, 0], bounds[:, 1]) for _ in range(restarts))
    starts: Iterable[Array] = itertools.chain([estimator.kernel_.theta], draws)  # each is drawn when its search begins
    own_optimizer = callable(estimator.optimizer)
    threads = default_threads()
    n, m = data.y.shape
    if not own_optimizer:
        starts = list(starts)
        found = search_compiled(
            covariance, data.X, data.y, data.noise_diagonal, data.least, starts, bounds, _SKLEARN_LEAST_FALL, threads
        )
        if found is not None:
            return *found, _is_near(found[0], bounds)
    workspace = Workspace(n, m)

    def search(start: Array, workspace: Workspace, threads: int) -> tuple[Array, float]:
        def loss(theta: ArrayLike, eval_gradient: bool = True) -> Any:
            theta = np.asarray(theta, dtype=np.float64)
            if own_optimizer:
                estimator.kernel_.theta = theta  # as theirs, for whoever looks
            try:
                evaluation = data.evaluate(covariance, theta, workspace, gradient=eval_gradient, threads=threads)
            except UnsupportedKernelError:
                theirs = _SKLEARN_METHODS["log_marginal_likelihood"](estimator, theta, eval_gradient)
                return (-theirs[0], -theirs[1]) if eval_gradient else -theirs
            value = evaluation.log_marginal_likelihood
            return (-value, -covariance.gradient(theta, evaluation)) if eval_gradient else -value

        if own_optimizer:
            theta, value = estimator.optimizer(loss, start, bounds=bounds)
            return theta, float(np.min(value))
        return _minimize(loss, start, bounds)

    at_a_time, threads_each = side_by_side(n, 1 + restarts, threads)
    if own_optimizer:
        optima = dict(enumerate(search(start, workspace, threads) for start in starts))
    elif at_a_time == 1:
        with one_blas_thread():
            optima = dict(enumerate(search(start, workspace, threads) for start in starts))
    else:
        optima, drawn = {}, list(starts)

        def search_some(indices: Iterator[int]) -> None:
            own = Workspace(n, m)
            for i in indices:
                optima[i] = search(drawn[i], own, threads_each)

        with one_blas_thread():
            thread_map(at_a_time, 1 + restarts, search_some, threads_each)
    theta, value = optima[int(np.argmin([optima[i][1] for i in range(1 + restarts)]))]
    return theta, value, workspace, True


def _is_near(theta: Array, bounds: Array) -> bool:
    """Whether a parameter may be what scikit-learn calls close to its bound: a cheap look, no less strict than its own."""
    return bool((np.abs(bounds - theta[:, np.newaxis]) <= 1e-7 + 1e-4 * np.abs(bounds)).any())


def _minimize(loss: Any, start: Array, bounds: Array) -> tuple[Array, float]:
    """scikit-learn's search, L-BFGS-B, but not stopped by a plateau: there, rounding decides where its rule ends a search.

    On energy (Matérn 5/2) scikit-learn's rule ends 0.003 nats below its own optimum or above, this one 5e-5 above, for 141
    evaluations in place of 109; on yacht, and on the made-up data of benchmarks/scikit_learn.py, it takes 0 to 3 more.
    """
    values: list[float] = []

    def accepted(intermediate_result: Any) -> None:
        values.append(float(intermediate_result.fun))

    result = minimize(
        loss, start, method="L-BFGS-B", jac=True, bounds=bounds, callback=accepted, options={"ftol": _LEAST_FALL}
    )
    falls = [(before - after) / max(abs(before), abs(after), 1.0) for before, after in itertools.pairwise(values)]
    if not any(fall <= _SKLEARN_LEAST_FALL for fall in falls):  # where scikit-learn would be content we warn of nothing
        _check_optimize_result("lbfgs", result)
    return result.x, result.fun
