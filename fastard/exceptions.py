"""Numerical failures, as distinct from bad arguments."""

import numpy as np

_REMEDY = "Raise noise_variance (or observation_variance), drop or average (nearly) duplicate rows, or lower length_scale"


class NotPositiveDefiniteError(np.linalg.LinAlgError):
    """The covariance is not positive definite to working precision, so it has no Cholesky factor.

    Attributes
    ----------
    row : int
        The row of X at which the factorisation failed.
    nearest_row : int or None
        The nearest of the rows before it, where that is known.
    distance : float
        Between the two, in length scales; 0 where they are equal. NaN without a ``nearest_row``.
    """

    def __init__(
        self, row: int, nearest_row: int | None = None, distance: float = float("nan"), remedy: str = _REMEDY
    ) -> None:
        self.row, self.nearest_row, self.distance, self._remedy = row, nearest_row, distance, remedy
        super().__init__(
            f"the covariance is not positive definite to working precision: {where(row, nearest_row, distance)}. {remedy}. "
            "fastard adds no jitter of its own."
        )

    def __reduce__(self) -> tuple[type, tuple[int, int | None, float, str]]:
        return type(self), (self.row, self.nearest_row, self.distance, self._remedy)


def where(row: int, nearest_row: int | None, distance: float) -> str:
    """Which rows of X are to blame, in words."""
    if nearest_row is not None and distance == 0.0:
        return f"rows {nearest_row} and {row} of X are equal and have no noise"
    text = f"the rows before it leave nothing of the variance of row {row} of X but rounding errors"
    return text if nearest_row is None else f"{text} (row {nearest_row} is {distance:.2g} length scales away)"
