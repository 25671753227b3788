"""fastard's method in GPyTorch's own class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpytorch.mlls import ExactMarginalLogLikelihood as _GPyTorchs

from fastard._patching import Patch
from fastard.gpytorch.mll import _forward


@contextmanager
def patched() -> Iterator[None]:
    """Let ``gpytorch.mlls.ExactMarginalLogLikelihood`` itself evaluate by fastard, for code that makes its own.

    Inside, in all threads, every instance of GPyTorch's class does what :class:`ExactMarginalLogLikelihood` does; after the
    last exit all is as it was.

    Examples
    --------
    >>> with fastard.gpytorch.patching.patched():
    ...     fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    """
    with _PATCH.applied():
        yield


_PATCH = Patch(_GPyTorchs, {"forward": _forward})
