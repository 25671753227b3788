"""Compiling ahead of time: warmup(); and beside a command, in a process of its own."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import config

from fastard._arrays import read_only
from fastard._numba.cache import compiling_is_shown, writable_place
from fastard._numba.threads import default_threads
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
    from fastard._training.fit import fit

    X = np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    fit(X, np.sin(X), kernel=kernel, max_iterations=1, n_threads=1, **options)
    _compile_waiting(kernel)


def _compile_waiting(kernel: str | Kernel) -> None:
    """What threads need, by enough to be shared out."""
    from fastard._objectives.covariances import covariance

    many = np.linspace(0.0, 1.0, 400)[:, np.newaxis]
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


# What follows is for the command line alone. Numba compiles under the GIL, so that threads do not help: a second process
# compiles what a command needs last, and the command, which goes on as it would alone, finds what is done in the cache.

_CHILD = """\
import sys
sys.path[:] = {path!a}
from fastard._warmup import compile_beside
compile_beside({kernel!r})
"""

_FLAGS = {"isolated": "-I", "ignore_environment": "-E", "no_user_site": "-s", "no_site": "-S", "dont_write_bytecode": "-B"}


@contextlib.contextmanager
def compiling_beside(kernel: str, n_threads: int | None = None) -> Iterator[subprocess.Popen[bytes] | None]:
    """A process that compiles meanwhile, which ends with the block; None where it would not help: one thread, no cache that
    it could write, or the code is there."""
    from fastard._engine.descent import search_is_cached

    child = None
    executable = os.path.basename(sys.executable or "").lower()
    if (
        executable.startswith(("python", "pypy"))
        and not getattr(sys, "frozen", False)
        and not config.DISABLE_JIT
        and min(n_threads or 2, default_threads()) > 1
        and writable_place()
        and not search_is_cached()
    ):
        flags = [flag for name, flag in _FLAGS.items() if getattr(sys.flags, name)]
        command = [sys.executable, *flags, "-c", _CHILD.format(path=[*map(str, sys.path)], kernel=kernel)]
        windows = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        nowhere = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, creationflags=windows)
    if child is None:
        yield None
        return
    with child:
        try:
            yield child
        finally:
            child.kill()


def compile_beside(kernel: str) -> None:
    """In that process: what a command needs last and takes long, in the order in which it is needed."""
    from fastard._engine.descent import compile_search
    from fastard._engine.hessian import Derivatives
    from fastard._engine.posterior import DEVIATION, posterior, predict
    from fastard._engine.terms import Term

    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)  # where no core is free, the command goes first
    one, X = np.ones(1), np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    term = Term(BY_NAME[kernel](), one, 1.0)
    compile_search()
    _compile_waiting(kernel)
    predict(posterior(term, X, X, np.eye(8), one, one), read_only(X), DEVIATION, 1.0, None, 1)
    Derivatives(term, X, 1.0, np.eye(3), 1).times(np.ones((1, 8)))


def _end_with_parent() -> None:
    """Its end of the pipe is closed when it ends, however it does."""
    sys.stdin.read()
    os._exit(1)
