"""Predictions of smooth data without noise: how often a point's neighbours are singular, and how large the errors are.

``python -m benchmarks.vecchia_noiseless`` prints the table of docs/design/many_points.md: `fit_vecchia` with noise fixed at 0,
then predictions from exactly 64 and 256 neighbours, where these are positive definite, and by default.
"""

import argparse
import time
import warnings

import numpy as np

from benchmarks.report import describe_machine, markdown

CASES = (
    ("matern52", 1, 1500),
    ("matern52", 2, 3000),
    ("rbf", 2, 3000),
    ("rbf", 3, 4000),
    ("matern52", 5, 4000),
    ("rbf", 5, 4000),
)
QUERIES = 1000


def waves(X: np.ndarray) -> np.ndarray:
    """Smoother than the kernels."""
    return np.sin(3.0 * X).sum(axis=1) + np.cos(2.0 * X.sum(axis=1))


def exactly(model, points: np.ndarray, neighbors: int) -> np.ndarray:
    """Means from so many neighbours; NaN where they are singular. One by one, because one of them ends the call."""
    import fastard

    found = np.full(len(points), np.nan)
    for i, point in enumerate(points):
        try:
            found[i] = model.predict(point[np.newaxis], neighbors=neighbors)[0]
        except fastard.NotPositiveDefiniteError:
            continue
    return found


def row_of(kernel: str, d: int, n: int, queries: int = QUERIES) -> list[object]:
    """One of the table's."""
    import fastard

    X, points = np.random.default_rng(0).uniform(size=(n, d)), np.random.default_rng(1).uniform(size=(queries, d))
    model = fastard.fit_vecchia(X, waves(X), kernel=kernel, rng=0, noise_variance=0.0, noise_variance_bounds="fixed")
    row: list[object] = [f"{kernel}, {d}, {n}"]
    for neighbors in (64, 256):
        errors = exactly(model, points, neighbors) - waves(points)
        there = np.isfinite(errors)
        row += [f"{1.0 - there.mean():.1%}", f"{np.sqrt(np.mean(errors[there] ** 2)):.1e}" if there.any() else ""]
    model.predict(points[:8], return_std=True)
    begun = time.process_time()
    mean, deviation = model.predict(points, return_std=True)
    took = time.process_time() - begun
    errors = mean - waves(points)
    return [
        *row, f"{np.sqrt(np.mean(errors**2)):.1e}", f"{np.abs(errors).max():.1e}", f"{np.sqrt(np.mean(deviation**2)):.1e}",
        f"{1e3 * took / len(points):.2f}",
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    argparse.ArgumentParser(prog="python -m benchmarks.vecchia_noiseless", description=__doc__).parse_args(argv)
    print(describe_machine(), end="\n\n")
    headings = ["kernel, inputs, points", "singular, 64", "RMSE, 64", "singular, 256", "RMSE, 256", "RMSE, default"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # standard deviations of 0
        rows = [row_of(*case) for case in CASES]
    print(markdown([*headings, "largest error", "predicted", "CPU ms a point"], rows))


if __name__ == "__main__":
    main()
