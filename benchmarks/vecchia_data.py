"""Trainings on real data of many points: time, and how well the held-out rows are predicted, by neighbours.

``python -m benchmarks.vecchia_data --data FOLDER`` prints the tables of docs/design/many_points.md. FOLDER has the UCI sets
(CSV, gzipped or not), and beside each a ``.test_mask.csv`` with a column for each split; the first one is taken.

``--exact`` adds the exact predictions with the parameters that ``fit_vecchia`` has found, where the matrix has room, and on
some of the rows the exact fit beside `fit_vecchia`'s.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np

from benchmarks.many_points import Clock, pair, points
from benchmarks.report import describe_machine, markdown

SETS = ("kin40k", "pol")
PAIRS = ((64, 16), (128, 32))
PREDICTED_FROM = (64, 128, 256)
_MOST_EXACT = 20_000


def load(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised inputs and targets: those of training, then those held out in the first split."""
    table, mask = (_read(folder, f"{name}{part}.csv") for part in ("", ".test_mask"))
    held_out = mask[:, 0] == 1.0
    center, scale = table[~held_out].mean(axis=0), table[~held_out].std(axis=0)
    scale[np.ptp(table[~held_out], axis=0) == 0.0] = 1.0
    table = (table - center) / scale
    training, test = table[~held_out], table[held_out]
    return training[:, :-1], training[:, -1], test[:, :-1], test[:, -1]


def _read(folder, name):
    path = folder / name
    lines = path.read_text() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes()).decode()
    rows = lines.splitlines()
    return np.loadtxt(rows[not rows[0].lstrip("-")[:1].isdigit() :], delimiter=",")


def judged(mean: np.ndarray, deviation: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """RMSE, mean log density and the share within the central 95 % interval."""
    residual = (y - mean) / deviation
    density = -0.5 * residual**2 - np.log(deviation) - 0.5 * np.log(2.0 * np.pi)
    return float(np.sqrt(np.mean((y - mean) ** 2))), float(density.mean()), float(np.mean(np.abs(residual) < 1.96))


def row_of(name, what, training, predicting, found) -> list[object]:
    """One of the table's."""
    rmse, density, coverage = found
    return [name, what, training, predicting, f"{rmse:.4f}", f"{density:.3f}", f"{coverage:.3f}"]


def trained(name: str, data, neighbors: int, block_size: int) -> tuple[list[list[object]], object]:
    """A row for each number of neighbours that predictions take, and the model."""
    import fastard

    X, y, X_test, y_test = data
    clock = Clock()
    model = fastard.fit_vecchia(X, y, neighbors=neighbors, block_size=block_size, rng=0)
    training = pair(clock.read())
    rows = []
    for count in PREDICTED_FROM:
        model.predict(X_test[:64], return_std=True, include_noise=True, neighbors=count)  # what is prepared once
        clock = Clock()
        mean, deviation = model.predict(X_test, return_std=True, include_noise=True, neighbors=count)
        found = judged(mean, deviation, y_test)
        rows.append(row_of(name, f"{neighbors}+{block_size}, from {count}", training, pair(clock.read()), found))
        training = ""
    return rows, model


def exact(name: str, data, model) -> list[object]:
    """The exact predictions with the parameters of the model: all fixed, so that nothing is trained."""
    import fastard

    X, y, X_test, y_test = data
    fixed = {"signal_variance_bounds": "fixed", "noise_variance_bounds": "fixed", "length_scale_bounds": "fixed"}
    clock = Clock()
    same = fastard.fit(
        X, y, kernel=model.kernel, length_scale=model.length_scale, signal_variance=model.signal_variance,
        noise_variance=model.noise_variance, **fixed,
    )  # fmt: skip
    factoring, clock = pair(clock.read()), Clock()
    mean, deviation = same.predict(X_test, return_std=True, include_noise=True)
    found = judged(mean, deviation, y_test)
    return row_of(name, "exact, the same parameters", factoring, pair(clock.read()), found)


def subset(name: str, data, n: int) -> list[list[object]]:
    """The exact fit of some of the rows, at random, and that of `fit_vecchia`."""
    import fastard

    X, y, X_test, y_test = data
    some = np.random.default_rng(0).choice(len(X), n, replace=False)
    clock = Clock()
    model = fastard.fit(X[some], y[some], kernel="matern52")
    training, clock = pair(clock.read()), Clock()
    found = judged(*model.predict(X_test, return_std=True, include_noise=True), y_test)
    result = [row_of(name, f"exact fit of {n} rows", training, pair(clock.read()), found)]
    rows, _ = trained(name, (X[some], y[some], X_test, y_test), *PAIRS[0])
    return result + [[row[0], f"{row[1]}, of these {n}", *row[2:]] for row in rows]


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vecchia_data", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the UCI sets")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--exact", action="store_true", help="the exact model beside it; minutes")
    parser.add_argument("--subset", type=int, default=2000, help="rows of the exact fit (default: 2000)")
    arguments = parser.parse_args(argv)
    import fastard

    X, y, _ = points(3000)
    fastard.fit_vecchia(X, y, rng=0).predict(X[:100], return_std=True)  # compiled
    print(describe_machine(), end="\n\n")
    headings = ["data", "model", "training, s", "predictions, s", "RMSE", "log density", "within 95 %"]
    rows: list[list[object]] = []
    begun = time.perf_counter()
    for name in arguments.sets:
        data = load(arguments.data, name)
        for neighbors, block_size in PAIRS:
            of_pair, model = trained(name, data, neighbors, block_size)
            rows += of_pair
            print(f"{name}, {neighbors}+{block_size}: {model!r}, {time.perf_counter() - begun:.0f} s", flush=True)
        if arguments.exact:
            rows += subset(name, data, arguments.subset)
            if len(data[0]) <= _MOST_EXACT:
                rows.append(exact(name, data, model))
    print(f"\n{markdown(headings, rows)}")


if __name__ == "__main__":
    main()
