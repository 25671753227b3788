"""Predictions from nearest neighbours, or the error that says where a covariance is not positive definite."""

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine import local
from fastard._engine.evaluate import Failure
from fastard._engine.local import LocalPosterior, LocalPredictions, local_posterior
from fastard.exceptions import NotPositiveDefiniteError

__all__ = ["LocalPosterior", "local_posterior", "predict", "predict_left_out"]


def predict(
    model: LocalPosterior,
    points: Array,
    neighbors: int,
    noise: float,
    noise_of_points: Array | None,
    threads: int,
    leaves_out: bool = False,
) -> tuple[Array, Array]:
    """Means (q, T) and standard deviations (q,) at the points (q, d), each from so many training points nearest to it.

    ``noise`` and, where given, ``noise_of_points`` (q,) are added to the variances; a standard deviation is 0 where rounding
    left no positive one. With all training points, the exact Gaussian process. Where the covariance of a point's neighbours is
    not positive definite, it ``leaves_out`` those that are not independent of others, or there is an error.
    """
    return _found(local.predict(model, points, neighbors, noise, noise_of_points, threads, leaves_out))


def predict_left_out(
    model: LocalPosterior, rows: NDArray[np.int64], neighbors: int, threads: int, leaves_out: bool = False
) -> tuple[Array, Array]:
    """The same at some of the training points, without their noise, each from the others."""
    return _found(local.predict_left_out(model, rows, neighbors, threads, leaves_out))


def _found(found: LocalPredictions | Failure) -> tuple[Array, Array]:
    if isinstance(found, Failure):
        raise NotPositiveDefiniteError(found.row, found.nearest_row, found.distance)
    return found.mean, found.deviation
