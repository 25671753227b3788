"""Compiling ahead of time: warmup()."""

import contextlib
from typing import Any

import numpy as np

from fastard._numba.cache import compiling_is_shown
from fastard.kernels import BY_NAME, Kernel


def warmup(kernel: str | Kernel | None = None, *, progress: bool = False) -> None:
    """Compile, or load from the cache, what the likelihood, training and prediction need, so that no later call waits for it.

    Training includes means with coefficients and leave-one-out. Sums of kernels, variances of each output's own, standard
    errors and :func:`fastard.fit_vecchia` compile more when they are first used.

    Without a cached copy this takes many seconds; with one, a fraction of a second.

    Parameters
    ----------
    kernel : str or kernel object, optional
        As for :func:`fastard.log_marginal_likelihood`. All kernels by default.
    progress : bool, default False
        Whether to print the name of each kernel, on stderr, before it is compiled.

    Raises
    ------
    ValueError, TypeError
        For an unknown kernel.
    """
    import sys

    from fastard._validation import as_kernel

    with compiling_is_shown() if progress else contextlib.nullcontext():
        for chosen in [kind() for kind in BY_NAME.values()] if kernel is None else [as_kernel(kernel)]:
            if progress:
                print(f"fastard: compiling {type(chosen).__name__}", file=sys.stderr)
            compile_training(chosen)
            for objective in ("log_marginal_likelihood", "loo"):
                compile_training(chosen, objective=objective, mean="linear")
            compile_predictions(chosen)
            compile_derivatives(chosen)


def compile_training(kernel: str | Kernel, **options: Any) -> None:
    """What ``fit`` needs with such ``options``, by a small one."""
    from fastard._objectives.covariances import covariance
    from fastard._training.fit import fit

    X = np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    fit(X, np.sin(X), kernel=kernel, max_iterations=1, n_threads=1, **options)
    many = np.linspace(0.0, 1.0, 400)[:, np.newaxis]  # enough to be shared out, which compiles the waiting
    covariance(many, many, length_scale=1.0, kernel=kernel, n_threads=2)


def compile_predictions(kernel: str | Kernel) -> None:
    """What ``predict`` needs."""
    from fastard._training.fit import fit

    X = np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    model = fit(X, np.sin(X), kernel=kernel, max_iterations=1, n_threads=1)
    for points in (X[:1], np.repeat(X, 8, axis=0)):  # a few, and many, are solved for differently
        model.predict(points, return_std=True)


def compile_derivatives(kernel: str | Kernel) -> None:
    """What ``covariance_vjp``, leave-one-out and ``predict_gradient`` need."""
    from fastard._objectives.covariances import covariance_vjp
    from fastard._objectives.leave_one_out import loo_log_predictive_density
    from fastard._training.fit import fit

    X = np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    covariance_vjp(np.ones((8, 8)), X, length_scale=1.0, kernel=kernel)
    loo_log_predictive_density(X, X[:, 0], length_scale=1.0, kernel=kernel, eval_gradient=True)
    fit(X, np.sin(X), kernel=kernel, max_iterations=1, n_threads=1).predict_gradient(X)
