"""What can go wrong that is nobody's bad input."""

import numpy as np


class NotPositiveDefiniteError(np.linalg.LinAlgError):
    """The covariance is not positive definite to working precision, so it has no Cholesky factor.

    Attributes
    ----------
    row : int
        The row of X at which the factorisation failed.
    """

    def __init__(self, row: int) -> None:
        self.row = row
        super().__init__(
            f"the covariance is not positive definite to working precision: the pivot of row {row} of X is not a positive "
            "number. Rows up to there are (nearly) equal in units of the length scales; raise noise_variance (or "
            "observation_variance), drop duplicate rows, or lower length_scale. fastard adds no jitter of its own."
        )

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self.row,)
