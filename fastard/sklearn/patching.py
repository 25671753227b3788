"""fastard's methods in scikit-learn's own class."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sklearn.gaussian_process import GaussianProcessRegressor as _SklearnRegressor

from fastard._patching import Patch
from fastard.sklearn.original import _SKLEARN_METHODS
from fastard.sklearn.regressor import GaussianProcessRegressor

_FASTARD_METHODS = ("fit", "predict", "sample_y", "log_marginal_likelihood", "predict_gradient")

_PATCH = Patch(_SklearnRegressor, {name: vars(GaussianProcessRegressor)[name] for name in _FASTARD_METHODS})


def patch() -> None:
    """Give scikit-learn's own GaussianProcessRegressor fastard's methods, for code that imports that class itself.

    The class stays the same object, so that subclasses of it and models made before are computed by fastard too.
    :func:`unpatch` takes it back.
    """
    _PATCH.apply_for_good()


def unpatch() -> None:
    """Give scikit-learn's GaussianProcessRegressor its own methods back."""
    for name in _FASTARD_METHODS:
        if name in _SKLEARN_METHODS:
            setattr(_SklearnRegressor, name, _SKLEARN_METHODS[name])
        elif name in vars(_SklearnRegressor):
            delattr(_SklearnRegressor, name)


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """:func:`patch` for the length of a ``with`` block, in all threads; after the last exit, what it found is there again."""
    with _PATCH.applied():
        yield
