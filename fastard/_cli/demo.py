"""The demonstration: train on a function whose answer is known, check the answer and the gradient, and time an evaluation.

The borehole function is the flow of water through a borehole between two aquifers, in m3 a year: Worley, Deterministic
uncertainty analysis, ORNL-6428 (1987); Morris, Mitchell & Ylvisaker, Technometrics 35 (1993), 243-255.
"""

import math
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from fastard._arrays import Array
from fastard._cli import baseline
from fastard._cli.report import Grid, show, show_study
from fastard._cli.study import Study, study
from fastard._cli.tables import Dataset
from fastard._objectives.likelihood import log_marginal_likelihood
from fastard._progress import progress

LEAST_ROWS = 50  # fewer do not tell the weakest relevant input from the others

_RANGES = {
    "rw": (0.05, 0.15),  # radius of the borehole, m
    "r": (100.0, 50_000.0),  # radius of influence, m
    "Tu": (63_070.0, 115_600.0),  # transmissivity of the upper aquifer, m2 / year
    "Hu": (990.0, 1110.0),  # head of the upper aquifer, m
    "Tl": (63.1, 116.0),  # transmissivity of the lower aquifer, m2 / year
    "Hl": (700.0, 820.0),  # head of the lower aquifer, m
    "L": (1120.0, 1680.0),  # length of the borehole, m
    "Kw": (9855.0, 12_045.0),  # hydraulic conductivity of the borehole, m / year
}

_NOISE = 1.0  # standard deviation added to the flow, which has one of 46

# Known from the function itself (a variance analysis gives r, Tu and Tl less than 2e-5 of the variance together).
_STRONGEST, _IRRELEVANT = "rw", {"r", "Tu", "Tl"}

_STEP = 1e-5  # in the logarithms: truncation and rounding both cost the central difference about 1e-10

_TOLERANCE = 1e-7

_ROUNDS, _CLOCK_LIMIT = 25, 3.0  # of timing, the second in seconds

_TIMED_ROWS = 2000  # at most: NumPy holds 256 MB for each array of n x n x d there


def borehole(X: Array) -> Array:
    """Flow of water at points (n, 8), in m3 a year."""
    rw, r, Tu, Hu, Tl, Hl, L, Kw = X.T
    log_ratio = np.log(r / rw)
    flow: Array = 2.0 * np.pi * Tu * (Hu - Hl) / (log_ratio * (1.0 + Tu / Tl) + 2.0 * L * Tu / (rw**2 * Kw))
    return flow


def sample(n: int, random: np.random.Generator) -> Dataset:
    """Flow with noise at points drawn uniformly from the ranges."""
    low, high = np.array(list(_RANGES.values())).T
    X = random.uniform(low, high, size=(n, low.size))
    return Dataset(X, borehole(X) + _NOISE * random.standard_normal(n), list(_RANGES), "flow (m3/year)")


def run(n: int, n_threads: int | None) -> bool:
    """The whole demonstration; whether everything came out as it should."""
    print(f"The borehole function: {n} random points, 8 inputs, noise of standard deviation {_NOISE:g} added to the flow.\n")
    random = np.random.default_rng(0)
    training, test = sample(n, random), sample(1000, random)
    with progress() as callback:
        result = study(training, test, callback=callback, n_threads=n_threads)
    show_study(result)
    verdicts = [
        _check_relevance(result),
        _check_noise(result),
        _check_prediction(result),
        _check_gradient(result, n_threads),
    ]
    print()
    _time(result, n_threads)
    return all(verdicts)


def _verdict(good: bool, text: str) -> bool:
    print(f"{'ok    ' if good else 'FAILED'}  {text}")
    return good


def _check_relevance(result: Study) -> bool:
    names = [result.training.input_names[i] for i in result.by_relevance]
    good = names[0] == _STRONGEST and set(names[-3:]) == _IRRELEVANT
    return _verdict(good, f"relevance: rw first and r, Tu, Tl last is right; found {', '.join(names)}")


def _check_noise(result: Study) -> bool:
    found = math.sqrt(result.model.noise_variance)
    allowed = 4.0 / math.sqrt(2.0 * result.training.y.size)  # four standard errors
    return _verdict(abs(found / _NOISE - 1.0) < allowed, f"noise: {_NOISE:g} was added; found {found:.3f}")


def _check_prediction(result: Study) -> bool:
    assert result.held_out is not None
    error, spread = result.held_out.rmse, result.held_out.rmse_of_mean
    return _verdict(
        error < 0.1 * spread, f"prediction: held-out error {error:.3g} of a spread of {spread:.3g}, noise included"
    )


def _check_gradient(result: Study, n_threads: int | None) -> bool:
    """At long length scales and some noise; at the optimum it would be 0."""
    variance = np.var(result.training.y)
    theta = np.log(np.r_[3.0 * result.input_spread, variance, 0.1 * variance])

    def value(theta: Array) -> float:
        return _evaluate(result, np.exp(theta), n_threads)[0]

    gradient = _evaluate(result, np.exp(theta), n_threads)[1]
    steps = _STEP * np.eye(theta.size)
    differences = np.array([(value(theta + step) - value(theta - step)) / (2.0 * _STEP) for step in steps])
    deviation = float(np.max(np.abs(gradient - differences)) / np.max(np.abs(differences)))
    text = f"gradient: {theta.size} entries against central differences, largest relative deviation {deviation:.1e}"
    return _verdict(deviation < _TOLERANCE, text)


def _evaluate(result: Study, parameters: Array, n_threads: int | None) -> tuple[float, Array]:
    """fastard's value and gradient at [length scales ..., signal variance, noise variance]."""
    X, y = result.training.X, result.training.y
    return log_marginal_likelihood(
        X,
        y - y.mean(),
        length_scale=parameters[:-2],
        signal_variance=parameters[-2],
        noise_variance=parameters[-1],
        eval_gradient=True,
        n_threads=n_threads,
    )


def _time(result: Study, n_threads: int | None) -> None:
    """One evaluation by fastard and by plain NumPy, in turns, the quickest of each."""
    model, X, y = result.model, result.training.X[:_TIMED_ROWS], result.training.y[:_TIMED_ROWS]
    parameters = np.r_[model.length_scale, model.signal_variance, model.noise_variance]

    def ours() -> tuple[float, Array]:
        return _evaluate(result, parameters, n_threads)

    def plain() -> tuple[float, Array]:
        return baseline.log_marginal_likelihood(X, y - y.mean(), parameters[:-2], parameters[-2], parameters[-1])

    memory = [_peak_memory(call) for call in (ours, plain)]  # and nothing is left to load before the clock starts
    quickest = [math.inf, math.inf]
    end = time.perf_counter() + _CLOCK_LIMIT
    for _ in range(_ROUNDS):
        for which, call in enumerate((ours, plain)):
            began = time.perf_counter()
            call()
            quickest[which] = min(quickest[which], time.perf_counter() - began)
        if time.perf_counter() > end:
            break
    rows = [
        (name, f"{1e3 * seconds:.2f} ms", f"{peak / 2**20:.1f} MiB")
        for name, seconds, peak in zip(("fastard", "NumPy, n x n x d"), quickest, memory, strict=True)
    ]
    rows.append(("ratio", f"{quickest[1] / quickest[0]:.1f}", f"{memory[1] / memory[0]:.1f}"))
    n, d = X.shape
    show(Grid(f"One evaluation, value and gradient, n = {n}, d = {d}", "<>>", ("", "time", "peak memory"), rows))


def _peak_memory(call: Callable[[], object]) -> int:
    """Bytes of arrays that a call holds at most beside what was there before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
