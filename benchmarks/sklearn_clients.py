"""What programs that build on scikit-learn's regressor find with ours in its place: the final regret, and the time.

``python -m benchmarks.sklearn_clients`` minimises each function with each client from every seed twice, once with
scikit-learn's regressor and once with fastard's: the same first points, the same random numbers, the same number of steps.
scikit-optimize's ``gp_minimize`` (expected improvement) and bayesian-optimization's ``BayesianOptimization`` are run plain
and under ``fastard.sklearn.patched()``.

The regret of a run is the least value that it found minus the function's minimum. The two sides are compared seed by seed:
the mean of the differences (fastard's minus scikit-learn's; positive where ours is worse) with its 95 % interval from
Student's t, and the p value of Wilcoxon's signed-rank test, two-sided. Seeds from which both sides went through the same
points, to 1e-4 of the box, count as no difference: what is left between their regrets is rounding, whose sign says nothing.
The other seeds' runs parted where rounding decided between two nearly equal optima; Wilcoxon's test is of those, and p is
1 where there are none. How far a client parts from itself is what ``--control`` shows: scikit-learn's class on both sides,
and the function's values changed by 1e-12 on one.

BLAS is held to one thread, for both sides: on these small matrices more are slower. The time is that of whole runs, the
client's own included, the mean over the seeds, both sides in turns.
"""

import argparse
import contextlib
import sys
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks import timing
from benchmarks.report import describe_machine, markdown, version
from benchmarks.timing import repeats

FIRST = 5
STEPS = {"Branin": 20, "Hartmann-6": 20}
SEEDS = 10


def branin(x):
    """Two variables, three minima of one depth. Dixon & Szegő (1978)."""
    a, b = x
    return (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10


_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_SCALES = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(x):
    """Six variables, one global minimum among six. Dixon & Szegő (1978)."""
    return -_WEIGHTS @ np.exp(-(_SCALES * (np.asarray(x) - _CENTRES) ** 2).sum(axis=1))


class Function(NamedTuple):
    """What is minimised."""

    call: Callable
    box: list[tuple[float, float]]
    minimum: float


FUNCTIONS = {
    "Branin": Function(branin, [(-5.0, 10.0), (0.0, 15.0)], 0.39788735772973816),
    "Hartmann-6": Function(hartmann6, [(0.0, 1.0)] * 6, -3.322368011415515),
}


class Run(NamedTuple):
    """The points in order, their values, and the seconds of it all."""

    points: np.ndarray
    values: np.ndarray
    seconds: float


def gp_minimize(function, seed, steps, *, ours):
    """scikit-optimize."""
    import skopt

    from fastard.sklearn import patched

    with patched() if ours else contextlib.nullcontext():
        start = time.perf_counter()
        result = skopt.gp_minimize(
            function.call,
            function.box,
            n_calls=steps,
            n_initial_points=FIRST,
            n_points=1000,
            acq_func="EI",
            random_state=seed,
        )
        seconds = time.perf_counter() - start
    return Run(np.array(result.x_iters), np.array(result.func_vals), seconds)


def bayesian_optimization(function, seed, steps, *, ours):
    """bayesian-optimization."""
    from bayes_opt import BayesianOptimization

    from fastard.sklearn import patched

    names = [f"x{i}" for i in range(len(function.box))]
    optimizer = BayesianOptimization(
        lambda **x: -function.call([x[name] for name in names]),
        dict(zip(names, function.box, strict=True)),
        random_state=seed,
        verbose=0,
    )
    with patched() if ours else contextlib.nullcontext():
        start = time.perf_counter()
        optimizer.maximize(init_points=FIRST, n_iter=steps - FIRST)
        seconds = time.perf_counter() - start
    points = [[step["params"][name] for name in names] for step in optimizer.res]
    return Run(np.array(points), np.array([-step["target"] for step in optimizer.res]), seconds)


CLIENTS = {"gp_minimize": ("skopt", gp_minimize), "BayesianOptimization": ("bayes_opt", bayesian_optimization)}


class Comparison(NamedTuple):
    """Runs by seed, one side beside the other."""

    theirs: list[Run]
    ours: list[Run]
    function: Function

    def regrets(self, runs):
        """One a run."""
        return np.array([run.values.min() - self.function.minimum for run in runs])

    def row(self):
        """The table's cells, from the regrets on."""
        theirs, ours = self.regrets(self.theirs), self.regrets(self.ours)
        width = np.ptp(self.function.box, axis=1)
        pairs = zip(self.theirs, self.ours, strict=True)
        same = np.array([np.abs((a.points - b.points) / width).max() <= 1e-4 for a, b in pairs])
        difference = np.where(same, 0.0, ours - theirs)
        spread = stats.t.ppf(0.975, len(same) - 1) * stats.sem(difference)
        p = 1.0 if not difference[~same].any() else stats.wilcoxon(difference[~same]).pvalue
        seconds = [sum(run.seconds for run in runs) for runs in (self.theirs, self.ours)]
        return [
            f"{theirs.mean():.3g}",
            f"{ours.mean():.3g}",
            f"{difference.mean():+.2g} ± {spread:.2g}",
            f"{p:.2f}",
            f"{sum(same)} of {len(same)}",
            *(f"{total / len(same):.2f}" for total in seconds),
            f"{seconds[0] / seconds[1]:.1f}",
        ]


def compare(client, function, steps, seeds, *, control=False):
    """Both sides from every seed, in turns. The control's other side is scikit-learn's too."""
    other = function._replace(call=lambda x: function.call(x) * (1.0 + 1e-12)) if control else function
    theirs, ours = [], []
    for seed in seeds:
        theirs.append(client(function, seed, steps, ours=False))
        ours.append(client(other, seed, steps, ours=not control))
    return Comparison(theirs, ours, function)


HEADINGS = [
    "client",
    "function",
    "steps",
    "regret, scikit-learn",
    "regret, fastard",
    "difference",
    "p",
    "same points",
    "scikit-learn, s",
    "fastard, s",
    "ratio",
]


def table(clients=CLIENTS, functions=FUNCTIONS, *, control=False, progress=lambda line: None):
    """The comparisons as a markdown table, of the clients that are installed."""
    from threadpoolctl import threadpool_limits

    rows = []
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bounds reached, points proposed twice
        for name in clients:
            package, client = CLIENTS[name]
            try:
                __import__(package)
            except ImportError:
                progress(f"{package} is not installed")
                continue
            for title in functions:
                function = FUNCTIONS[title]
                steps = STEPS[title] if timing.EFFORT > 0.0 else FIRST + 2
                client(function, 0, FIRST + 1, ours=True)  # compiled, and warm
                for is_control in (False, True) if control else (False,):
                    compared = compare(client, function, steps, range(repeats(SEEDS)), control=is_control)
                    rows.append([name + (" (control)" if is_control else ""), title, steps, *compared.row()])
                    progress(", ".join(map(str, rows[-1])))
                    for side in (compared.theirs, compared.ours):
                        progress("  " + " ".join(f"{regret:.6g}" for regret in compared.regrets(side)))
    return markdown(HEADINGS, rows)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sklearn_clients", description=__doc__)
    parser.add_argument(
        "--control", action="store_true", help="scikit-learn's class against itself too, values changed by 1e-12"
    )
    arguments = parser.parse_args()
    versions = ", ".join(f"{p} {version(p)}" for p in ("scikit-learn", "scikit-optimize", "bayesian-optimization"))
    print(f"{describe_machine()}; {versions}", end="\n\n", flush=True)
    print(table(control=arguments.control, progress=lambda line: print(line, file=sys.stderr, flush=True)))


if __name__ == "__main__":
    main()
