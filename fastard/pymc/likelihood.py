"""marginal_likelihood(): one evaluation of value and gradient as an operation of PyTensor's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._objectives.likelihood import LogMarginalLikelihood, or_minus_infinity
from fastard.kernels import Kernel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ArviZ speaks of its own future
    import pymc
    import pytensor.tensor as pt
    from pytensor.gradient import DisconnectedType, grad_not_implemented
    from pytensor.graph.op import Op


def marginal_likelihood(
    name: str,
    X: ArrayLike,
    y: ArrayLike,
    *,
    length_scale: Any,
    signal_variance: Any = 1.0,
    noise_variance: Any,
    shape: Any = None,
    kernel: str | Kernel = "rbf",
    observation_variance: ArrayLike | None = None,
    n_threads: int | None = None,
) -> Any:
    """Add a Gaussian process of mean zero, marginalised over its functions, to the PyMC model whose context is open.

    It is what ``pymc.gp.Marginal(cov_func=...).marginal_likelihood(name, X, y, sigma)`` adds to the model's log density, with
    value and gradient by one evaluation of fastard's.

    Parameters
    ----------
    name : str
        Of the term, a ``pymc.Potential``.
    X, y, kernel, observation_variance, n_threads
        As for :func:`fastard.log_marginal_likelihood`; arrays of numbers. The mean of y is taken to be zero. Where PyMC has
        chains in processes side by side, ``n_threads=1`` keeps them out of each other's way.
    length_scale : float, array-like or PyTensor variable, shape () or (d,)
        In units of the columns of X.
    signal_variance, noise_variance : float or PyTensor variable
        In units of y squared; PyMC's ``sigma`` is the root of the noise's variance.
    shape : float or PyTensor variable, optional
        The shape parameter of the rational quadratic; by default the kernel object's own.

    Returns
    -------
    pytensor variable
        The log marginal likelihood, in nats: -inf where the covariance is not positive definite in float64, which a sampler
        rejects.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it. PyMC's own where no model's context is open.

    Notes
    -----
    First derivatives only, so that ``pymc.find_hessian`` cannot be used.
    """
    objective = LogMarginalLikelihood(X, y, kernel=kernel, observation_variance=observation_variance, n_threads=n_threads)
    d, kernel = objective.X.shape[1], objective.kernel
    validate.about_shape("shape", shape, kernel)
    own_shape = np.array(kernel) if shape is None else shape
    parts = {"length_scale": d, "signal_variance": 1, "noise_variance": 1, "shape": len(kernel)}
    given = [pt.as_tensor_variable(part) for part in (length_scale, signal_variance, noise_variance, own_shape)]
    for (part, size), variable in zip(parts.items(), given, strict=True):
        validate.shape_of_variable(part, variable.type.shape, size)
    natural = pt.concatenate([pt.broadcast_to(part, (size,)) for part, size in zip(given, parts.values(), strict=True)])
    return pymc.Potential(name, _Evaluation(objective)(pt.cast(pt.log(natural), "float64"))[0])


class _Evaluation(Op):
    """Value and gradient at theta, the logarithms (d + 2 + p,)."""

    itypes = (pt.dvector,)
    otypes = (pt.dscalar, pt.dvector)

    def __init__(self, objective: LogMarginalLikelihood) -> None:
        self.objective = objective

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        value, outputs[1][0] = or_minus_infinity(self.objective, inputs[0])
        outputs[0][0] = np.asarray(value)

    def L_op(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        if not isinstance(output_gradients[1].type, DisconnectedType):
            return [grad_not_implemented(self, 0, inputs[0], "fastard has first derivatives only")]
        return [output_gradients[0] * outputs[1]]
