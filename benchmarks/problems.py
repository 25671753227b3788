"""Made-up regression problems, the same in every process and for every implementation."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

KERNELS = ("rbf", "matern12", "matern32", "matern52", "matern72", "rational_quadratic")


class Hyperparameters(NamedTuple):
    """Natural parameters; ``shape`` is the rational quadratic's and of no meaning to the others."""

    length_scale: np.ndarray
    signal_variance: float
    noise_variance: float
    shape: float


class Problem:
    """Data, a kernel by name, and where to evaluate: ``theta`` in fastard's order, natural logarithms."""

    def __init__(self, X: np.ndarray, y: np.ndarray, kernel: str, theta: np.ndarray) -> None:
        self.X, self.y, self.kernel, self.theta = X, y, kernel, theta

    @cached_property
    def natural(self) -> Hyperparameters:
        """exp(theta): the very numbers that fastard takes, so that an error is never one of converting parameters."""
        d = self.X.shape[1]
        values = np.exp(self.theta)
        shape = float(values[d + 2]) if values.size > d + 2 else 1.0
        return Hyperparameters(values[:d], float(values[d]), float(values[d + 1]), shape)

    @property
    def parameters(self) -> dict[str, Any]:
        """The natural ones by name, but for the shape."""
        return {name: value for name, value in self.natural._asdict().items() if name != "shape"}


def make_problem(n: int, d: int, kernel: str = "rbf", noise_variance: float = 1e-2) -> Problem:
    """n points in d dimensions of falling relevance.

    Length scales grow with sqrt(d), so that neighbours stay correlated and K stays far from a diagonal in any dimension.
    """
    random = np.random.default_rng(20_000 * d + n)
    X = random.standard_normal((n, d))
    y = np.sin(X @ np.geomspace(1.0, 0.1, d) / np.sqrt(d)) + 0.1 * random.standard_normal(n)
    length_scale = np.sqrt(d) * np.geomspace(0.7, 4.0, d)
    shape = [1.3] if kernel == "rational_quadratic" else []
    return Problem(X, y, kernel, np.log([*length_scale, 1.5, noise_variance, *shape]))


def smooth_data(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Data for whole fits: a smooth function of the first three of d inputs, and noise; the target is standardised."""
    random = np.random.default_rng([n, d, seed])
    X = random.uniform(size=(n, d))
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + X[:, 2] * X[:, 0] + 0.1 * random.standard_normal(n)
    return X, (y - y.mean()) / y.std()
