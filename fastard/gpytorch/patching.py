"""fastard's methods in GPyTorch's own class, and in BoTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from gpytorch.mlls import ExactMarginalLogLikelihood as _GPyTorchs

from fastard._patching import Patch
from fastard.gpytorch.fitting import fit_whole, has_options
from fastard.gpytorch.fully_bayesian import chains_patch, fully_bayesian_patch
from fastard.gpytorch.mll import _forward


@contextmanager
def patched() -> Iterator[None]:
    """Let ``gpytorch.mlls.ExactMarginalLogLikelihood`` itself evaluate by fastard, for code that makes its own.

    Inside, in all threads, every instance of GPyTorch's class does what :class:`ExactMarginalLogLikelihood` does; after the
    last exit all is as it was. Where BoTorch has been imported, its ``fit_gpytorch_mll``, under any name that a module has it,
    does what :func:`fit_gpytorch_mll` does, and its fully Bayesian models are sampled as by
    :func:`fit_fully_bayesian_model_nuts`.

    Examples
    --------
    >>> with fastard.gpytorch.patched():
    ...     fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    """
    with ExitStack() as stack:
        stack.enter_context(_PATCH.applied())
        if "botorch" in sys.modules:  # importing it would change GPyTorch's settings
            stack.enter_context(_botorch_patch().applied())
            patch = _fully_bayesian_patch()
            stack.enter_context(patch.applied())
            if patch.methods:
                stack.enter_context(chains_patch().applied())
        yield


_PATCH = Patch(_GPyTorchs, {"forward": _forward})


@cache
def _botorch_patch() -> Patch:
    """Puts fastard's search before the function that every exact fit of BoTorch's goes through.

    ``fit_gpytorch_mll`` itself is bound by name in many modules, the user's among them; what it calls stands in one place.
    """
    import botorch.fit

    botorchs = getattr(botorch.fit, "_fit_fallback", None)
    if botorchs is None or "_fit_fallback" not in botorch.fit.fit_gpytorch_mll.__code__.co_names:
        return Patch(botorch.fit, {})  # another version, which fits as ever, with fastard's evaluations

    def fit(mll: Any, **options: Any) -> Any:
        return mll if not has_options(options) and fit_whole(mll) else botorchs(mll, **options)

    return Patch(botorch.fit, {"_fit_fallback": fit})


_fully_bayesian_patch = cache(fully_bayesian_patch)
