"""Predictions from nearest neighbours, or the error that says where a covariance is not positive definite."""

from fastard._arrays import Array
from fastard._engine import local
from fastard._engine.evaluate import Failure
from fastard._engine.local import LocalPosterior, local_posterior
from fastard.exceptions import NotPositiveDefiniteError

__all__ = ["LocalPosterior", "local_posterior", "predict"]


def predict(
    model: LocalPosterior, points: Array, neighbors: int, noise: float, noise_of_points: Array | None, threads: int
) -> tuple[Array, Array]:
    """Means (q, T) and standard deviations (q,) at the points (q, d), each from so many training points nearest to it.

    ``noise`` and, where given, ``noise_of_points`` (q,) are added to the variances; a standard deviation is 0 where rounding
    left no positive one. With all training points, the exact Gaussian process.
    """
    found = local.predict(model, points, neighbors, noise, noise_of_points, threads)
    if isinstance(found, Failure):
        raise NotPositiveDefiniteError(found.row, found.nearest_row, found.distance)
    return found.mean, found.deviation
