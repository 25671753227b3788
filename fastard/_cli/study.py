"""One study of a dataset: train on a part of its rows, judge the predictions on the rest."""

import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, NamedColumns
from fastard._cli.formats import TableError
from fastard._cli.tables import Dataset
from fastard._limits import memory
from fastard._model.effects import Effects
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.sensitivity import SobolIndices
from fastard._model.summary import Summary
from fastard._model.trend import MeanCoefficients
from fastard._progress import Callback
from fastard._training.fit import fit
from fastard._vecchia.accuracy import Accuracy
from fastard._vecchia.fit import fit_vecchia
from fastard._vecchia.model import VecchiaGaussianProcess
from fastard._warmup import compile_training
from fastard.kernels import BY_NAME

_SHARES_POINTS = 128  # of the quadrature, for two digits

_MOST_COLUMNS, _MOST_WORK = 20, 4e7  # of shares and effects that take seconds: 10 columns and 2000 points, say


class TooLargeError(MemoryError):
    """The exact model does not fit the memory; the message is one line and names the remedy."""


@dataclass(frozen=True)
class HeldOut:
    """How well rows that were not trained on are predicted, in units of the target."""

    n: int
    rmse: float
    rmse_of_mean: float  # of predicting the mean of the training targets
    mean_log_predictive_density: float  # nats per row, noise included


@dataclass(frozen=True)
class Study:
    """A trained model and all that a report says of it."""

    model: GaussianProcess | VecchiaGaussianProcess
    training: Dataset
    held_out: HeldOut | None
    predicted: tuple[Array, Array, Array] | None  # of the rows held out the targets, means and standard deviations
    seconds: float  # of training

    @property
    def includes_compilation(self) -> bool:
        """Whether the seconds do: what the exact training needs is compiled before."""
        return isinstance(self.model, VecchiaGaussianProcess)

    @cached_property
    def accuracy(self) -> Accuracy | None:
        """What is lost, where the training was not exact."""
        return self.model.accuracy() if isinstance(self.model, VecchiaGaussianProcess) else None

    @cached_property
    def summary(self) -> Summary:
        """What the model says."""
        return self.model.summary()

    @cached_property
    def coefficients(self) -> MeanCoefficients | None:
        """Of the mean, where it has some."""
        model = self.model
        return None if isinstance(model, VecchiaGaussianProcess) or model._trend is None else model.mean_coefficients()

    @cached_property
    def shares(self) -> SobolIndices | None:
        """Of the variance, where they take seconds; without standard deviations."""
        return self.model.sobol(n_samples=0, n_points=_SHARES_POINTS) if self._is_small(self.model) else None

    @cached_property
    def effects(self) -> Effects | None:
        """Main effects, where they take seconds."""
        return self.model.effects() if self._is_small(self.model) else None

    @staticmethod
    def _is_small(model: GaussianProcess | VecchiaGaussianProcess) -> TypeGuard[GaussianProcess]:
        n, d = model._X.shape
        return isinstance(model, GaussianProcess) and 0 < d <= _MOST_COLUMNS and n * n * d <= _MOST_WORK

    @property
    def kernel_name(self) -> str:
        """As ``fit`` takes it."""
        return next(name for name, kind in BY_NAME.items() if type(self.model.kernel) is kind)

    @property
    def by_relevance(self) -> list[int]:
        """Indices of the inputs, the most relevant first."""
        order: list[int] = np.argsort(-self.model.relevance, kind="stable").tolist()
        return order

    @property
    def input_spread(self) -> Array:
        """Standard deviation of each input in the training rows."""
        spread: Array = np.std(self.training.X, axis=0)
        return spread


def split(data: Dataset, test_fraction: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Rows to train on and rows to hold out, drawn at random; at least one is held out where the fraction is not 0."""
    n = data.y.size
    n_test = max(1, round(test_fraction * n)) if test_fraction > 0.0 else 0
    if n - n_test < 2:
        kept = f" with {n_test} held out" if n_test else ""
        remedy = "; --test-fraction 0 holds none out" if n >= 2 else ""
        raise TableError(f"too few rows: {n} in all{kept}, and training needs at least 2{remedy}")
    if n_test == 0:
        return data, None
    order = np.random.default_rng(seed).permutation(n)
    needed = _last_of_levels(data, order)  # nothing can be predicted of a category that was not trained with
    drawn = order[~np.isin(order, needed)][:n_test]
    if drawn.size == 0:
        raise TableError("each row has a category of its own, so that none can be held out; --test-fraction 0 holds none out")
    return data.rows(np.setdiff1d(order, drawn)), data.rows(np.sort(drawn))


def _last_of_levels(data: Dataset, order: NDArray[np.int64]) -> list[int]:
    """For each level of each category the last row of it, in a given order of the rows."""
    last: dict[tuple[int, Any], int] = {}
    for j in data.categorical:
        last |= {(j, data.X[row, j]): int(row) for row in order}
    return [*last.values()]


def study(
    training: Dataset,
    test: Dataset | None,
    *,
    callback: Callback,
    kernel: str = "rbf",
    n_restarts: int = 0,
    seed: int = 0,
    n_threads: int | None = None,
    mean: str = "constant",
    mean_estimation: Literal["ml", "reml"] = "ml",
    neighbors: int | None = None,
) -> Study:
    """Train and judge. With ``neighbors``, by ``fit_vecchia`` with so many; otherwise exactly, and what is compiled lazily is
    compiled before the clock starts."""
    X, y = NamedColumns(training.X, training.input_names), training.y
    model: GaussianProcess | VecchiaGaussianProcess
    if neighbors is None:
        _check_memory(y.size)
        compile_training(kernel, mean=mean, mean_estimation=mean_estimation)
    began = time.perf_counter()
    if neighbors is None:
        names = training.input_names
        model = fit(
            X,
            y,
            categorical=[names[j] for j in training.categorical],
            periodic={names[j]: period for j, period in training.periodic},
            kernel=kernel,
            mean=mean,
            mean_estimation=mean_estimation,
            n_restarts=n_restarts,
            rng=seed,
            callback=callback,
            n_threads=n_threads,
        )
    else:
        model = fit_vecchia(X, y, kernel=kernel, neighbors=neighbors, rng=seed, callback=callback, n_threads=n_threads)
    seconds = time.perf_counter() - began
    model.target_names = [training.target_name]
    if test is None:
        return Study(model, training, None, None, seconds)
    predictions, std = model.predict(test.X, return_std=True, include_noise=True)
    return Study(model, training, _judge(training.y, test.y, predictions, std), (test.y, predictions, std), seconds)


def _check_memory(n: int) -> None:
    need, there = 8 * n * n, memory()
    if there is not None and need > there:
        raise TooLargeError(
            f"exact training on {n} rows needs {need / 2**30:.3g} GiB of memory, where {there / 2**30:.3g} GiB are available; "
            "--vecchia trains on all of them by an approximation, and says what it loses; or take fewer rows"
        )


def _judge(training: Array, test: Array, mean: Array, std: Array) -> HeldOut:
    """Targets, and predictions of those of the test."""
    error = test - mean
    log_density = -0.5 * (error / std) ** 2 - np.log(std) - 0.5 * math.log(2.0 * math.pi)
    return HeldOut(
        n=test.size,
        rmse=_root_mean_square(error),
        rmse_of_mean=_root_mean_square(test - training.mean()),
        mean_log_predictive_density=float(np.mean(log_density)),
    )


def _root_mean_square(values: Array) -> float:
    return math.sqrt(float(np.mean(values**2)))
