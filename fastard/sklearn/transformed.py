"""The wrapper that bayesian-optimization puts around a scikit-learn kernel: the kernel of transformed points.

Its ``wrap_kernel(kernel, transform)`` makes a subclass of the kernel's class for each kernel; ``transform`` rounds integers
and makes categories one-hot. The wrapper is recognised by its code, without importing the library.
"""

import functools
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import RBF

_MODULE = "bayes_opt.parameter"


@functools.cache
def _code_of_call(wrap_kernel: Callable[..., Any]) -> CodeType | None:
    """The code of ``__call__`` in the wrapper's classes, None where that is not the kernel of transformed points."""

    def transform(points: Any) -> Any:
        return points**2 + 1.0

    kernel, X, Y = RBF(0.7), np.array([[0.0], [0.3]]), np.array([[0.1]])
    try:
        wrapped = wrap_kernel(kernel, transform)
        code: CodeType = vars(type(wrapped))["__call__"].__code__
        results = wrapped(X, Y), *wrapped(X, eval_gradient=True)
    except (TypeError, AttributeError, KeyError):  # another version's
        return None
    expected = kernel(transform(X), transform(Y)), *kernel(transform(X), eval_gradient=True)
    same = "transform" in code.co_freevars and all(map(np.array_equal, results, expected))
    return code if same else None


def unwrap(cls: type) -> tuple[type, list[Callable[[Any], Any]]]:
    """The kernel's class inside of the wrappers, and their transforms in the order in which points go through them."""
    transforms = []
    while cls.__module__ == _MODULE:
        wrap_kernel = getattr(sys.modules.get(_MODULE), "wrap_kernel", None)
        code = None if wrap_kernel is None else _code_of_call(wrap_kernel)
        call: Any = vars(cls).get("__call__")
        if code is None or getattr(call, "__code__", None) is not code:
            break
        transforms.append(dict(zip(call.__code__.co_freevars, call.__closure__, strict=True))["transform"].cell_contents)
        cls = cls.__bases__[0]
    return cls, transforms
