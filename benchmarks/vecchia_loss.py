"""What the Vecchia likelihood loses, and what an evaluation costs: the figure that its defaults were chosen by.

The loss is the Kullback-Leibler divergence from the exact Gaussian process to its approximation, which needs no targets: half
the difference of the logarithms of the determinants of their covariances.

``python -m benchmarks.vecchia_loss`` prints the table of docs/design/many_points.md; ``--plot FILE`` draws it.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky

from benchmarks import timing
from benchmarks.report import describe_machine, markdown
from fastard._engine.terms import Term
from fastard._engine.vecchia import CHUNK, GRADIENT, LIKELIHOOD, Conditioned, evaluate_blocks
from fastard._vecchia.blocks import make_blocks
from fastard.kernels import Matern52

DIMENSIONS, NOISES = (2, 5, 10), (1e-4, 1e-2, 1.0)
PAIRS = ((30, 1), (32, 8), (64, 16), (64, 32), (128, 16), (128, 32), (256, 64))
REPEATS = 5

_TICKS = (0.5, 1, 2, 5, 10)


class Loss(NamedTuple):
    """Of one choice: nats per point that is conditioned, and microseconds of processor time a point for value and gradient."""

    d: int
    noise_variance: float
    neighbors: int
    block_size: int
    nats: float
    microseconds: float


def points(n: int, d: int, shortest: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Uniform in the unit cube, with length scales over a decade."""
    return np.random.default_rng([n, d]).uniform(size=(n, d)), np.geomspace(shortest, 10.0 * shortest, d)


def half_log_determinant(X: np.ndarray, length_scale: np.ndarray, noise_variance: float) -> float:
    """Of the exact covariance; plain SciPy."""
    U = X / length_scale
    squares = (U**2).sum(axis=1)
    K = np.maximum(squares[:, np.newaxis] + squares - 2.0 * U @ U.T, 0.0)
    r = np.sqrt(5.0 * K)
    K = (1.0 + r + 5.0 / 3.0 * K) * np.exp(-r)
    np.fill_diagonal(K, 1.0 + noise_variance)
    return float(np.log(cholesky(K, lower=True, overwrite_a=True, check_finite=False).diagonal()).sum())


def losses(n: int, d: int, noise_variance: float, pairs=PAIRS, shortest: float = 0.3) -> list[Loss]:
    """Of all pairs on the same points; the exact block's points, whose loss is none, are in neither figure."""
    X, length_scale = points(n, d, shortest)
    y = np.random.default_rng(0).standard_normal(n)[:, np.newaxis]
    term = Term(Matern52(), length_scale, 1.0)
    exact, found = half_log_determinant(X, length_scale, noise_variance), []
    for neighbors, block_size in pairs:
        blocks = make_blocks(X, length_scale, neighbors, block_size, np.random.default_rng(0), 2)
        ordered, first = np.ascontiguousarray(X[blocks.order]), blocks.first
        of_first = half_log_determinant(ordered[:first], length_scale, noise_variance)
        conditioned = Conditioned(blocks.starts[:-1], blocks.starts[1:], blocks.neighbors)

        def evaluate(wanted, ordered=ordered, conditioned=conditioned):
            sums = evaluate_blocks(term, ordered, y, None, noise_variance, conditioned, wanted=wanted, threads=1, chunk=CHUNK)
            if not isinstance(sums.log_likelihood, np.ndarray):
                raise RuntimeError("not positive definite")
            return float(sums.half_log_determinant.sum())

        nats = (evaluate(LIKELIHOOD) - (exact - of_first)) / (n - first)
        best = np.inf
        for _ in range(timing.repeats(REPEATS)):
            start = time.process_time()
            evaluate(GRADIENT)
            best = min(best, time.process_time() - start)
        found.append(Loss(d, noise_variance, neighbors, block_size, nats, 1e6 * best / (n - first)))
    return found


def table(found: list[Loss]) -> str:
    """A row for each kind of data, a column for each pair: the loss, and the cost below it."""
    pairs = list(dict.fromkeys((loss.neighbors, loss.block_size) for loss in found))
    rows: list[list[object]] = []
    for d, noise in dict.fromkeys((loss.d, loss.noise_variance) for loss in found):
        rows.append(
            [f"{d}, {noise:g}", *(f"{loss.nats:.2g}" for loss in found if (loss.d, loss.noise_variance) == (d, noise))]
        )
    for d in dict.fromkeys(loss.d for loss in found):
        best = [
            min(loss.microseconds for loss in found if (loss.d, loss.neighbors, loss.block_size) == (d, *pair))
            for pair in pairs
        ]
        rows.append([f"CPU µs, d = {d}", *(f"{value:.2g}" for value in best)])
    return markdown(["d, noise variance", *(f"{m}+{b}" for m, b in pairs)], rows)


def draw(found: list[Loss], path: str) -> None:
    """Loss by cost, a panel for each dimension, a line for each noise variance, a marker for each pair."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "fastard"
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    dimensions = list(dict.fromkeys(loss.d for loss in found))
    noises = list(dict.fromkeys(loss.noise_variance for loss in found))
    pairs = list(dict.fromkeys((loss.neighbors, loss.block_size) for loss in found))
    figure, panels = plt.subplots(1, len(dimensions), figsize=(10.0, 4.6), sharey=True, layout="constrained", squeeze=False)
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(noises)))
    markers = dict(zip(pairs, "xvosD^P*", strict=False))
    for axes, d in zip(panels[0], dimensions, strict=True):
        for noise, colour in zip(noises, colours, strict=True):
            own = [loss for loss in found if (loss.d, loss.noise_variance) == (d, noise)]
            blocks = sorted((loss for loss in own if loss.block_size > 1), key=lambda loss: loss.microseconds)
            axes.plot([loss.microseconds for loss in blocks], [loss.nats for loss in blocks], "-", color=colour, alpha=0.35)
            for loss in own:
                marker = markers[loss.neighbors, loss.block_size]
                axes.plot(loss.microseconds, loss.nats, marker, color=colour, markersize=7)
        axes.set(xscale="log", yscale="log", title=f"d = {d}", xlabel="CPU time of value and gradient, µs a point")
        axes.minorticks_off()
        axes.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
        axes.set_xlim(0.45, 12.0)
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("nats per point lost")
    handles = [
        Line2D([], [], color=colour, label=f"noise variance {noise:g}") for noise, colour in zip(noises, colours, strict=True)
    ]
    handles += [
        Line2D([], [], color="black", linestyle="", marker=markers[m, b], label=f"single, {m}" if b == 1 else f"{m}+{b}")
        for m, b in pairs
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vecchia_loss", description=__doc__)
    parser.add_argument("--points", type=int, default=5000, help="how many (default: 5000)")
    parser.add_argument("--dimensions", type=int, nargs="+", default=DIMENSIONS)
    parser.add_argument("--noises", type=float, nargs="+", default=NOISES, help="noise variances; the signal's is 1")
    parser.add_argument("--plot", metavar="FILE", help="draw loss by cost, SVG or PNG")
    arguments = parser.parse_args(argv)
    print(describe_machine(), end="\n\n")
    found = [loss for d in arguments.dimensions for noise in arguments.noises for loss in losses(arguments.points, d, noise)]
    print(table(found))
    if arguments.plot:
        draw(found, arguments.plot)


if __name__ == "__main__":
    main()
