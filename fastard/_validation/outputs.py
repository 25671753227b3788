"""May each output have its own variance, with these arguments and these targets?"""

from typing import Any

import numpy as np

from fastard._arrays import Array
from fastard._validation.data import ROUNDING, units
from fastard._validation.options import choice

VARIANCES = ("shared", "own")


def output_variances(value: Any, observation_variance: Any, objective: str, **of_signal: Any) -> bool:
    """Whether the outputs have their own variances; refuses arguments of `fit` that do not go with them."""
    choice("output_variances", value, VARIANCES)
    if value == "shared":
        return False
    for name, given in of_signal.items():
        if given is not None:
            raise ValueError(
                f"{name} must be left out with output_variances='own', where each output's signal_variance is what its "
                "targets make most likely; bounds, start and prior of noise_variance are of its ratio to that"
            )
    if observation_variance is not None:
        raise ValueError(
            "observation_variance does not go with output_variances='own': known variances are in units of y squared, and are "
            "no multiple of each output's own variance; train a model for each output, or use noise_groups"
        )
    if objective != "log_marginal_likelihood":
        raise ValueError(
            f"objective must be 'log_marginal_likelihood' with output_variances='own', got {objective!r}; train a model for "
            "each output, or scale the columns of y alike"
        )
    return True


def outputs_that_vary(y: Array, rest: Array) -> Array:
    """The mean squares (m,) of what the mean leaves of the targets y (n, m), ``rest`` (n, m): of each output something."""
    with np.errstate(all="ignore"):
        squares: Array = np.mean(rest**2, axis=0)
    idle = np.flatnonzero(np.abs(rest).max(axis=0) <= ROUNDING * np.abs(y).max(axis=0))
    if idle.size:
        raise ValueError(
            f"column {int(idle[0])} of y has no variance of its own, as output_variances='own' needs: it is constant, or the "
            "mean explains all of it; leave it out"
        )
    units(squares.tolist(), y, lambda column: f"column {column} of y")
    return squares


def no_known_variances(given: Any) -> None:
    """Refuse known variances of new targets where each output has its own."""
    if given is not None:
        raise ValueError(
            "observation_variance is not for a model whose outputs have their own variances, which was trained without; add "
            "them to the squares of the standard deviations"
        )
