"""scikit-learn's own methods and defaults, as they are before anything is patched."""

from __future__ import annotations

import functools
from typing import Any

from sklearn.gaussian_process import GaussianProcessRegressor as _SklearnRegressor
from sklearn.gaussian_process import kernels as sk

# scikit-learn's own methods, as they are before patch() puts ours in their place.
_SKLEARN_METHODS: dict[str, Any] = {
    name: vars(_SklearnRegressor)[name]
    for name in ("fit", "predict", "sample_y", "log_marginal_likelihood", "_constrained_optimization")
}


def _validated(estimator: Any, *arrays: Any, **options: Any) -> Any:
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # scikit-learn 1.5
        return estimator._validate_data(*arrays, **options)
    return validate_data(estimator, *arrays, **options)


class _Untrained(_SklearnRegressor):
    log_marginal_likelihood = _SKLEARN_METHODS["log_marginal_likelihood"]  # patch() does not reach it


@functools.cache
def _default_kernel() -> sk.Kernel:
    """The kernel that the installed scikit-learn takes for None: with fixed parameters before its version 1.9."""
    return _SKLEARN_METHODS["fit"](_Untrained(optimizer=None), [[0.0]], [0.0]).kernel_
