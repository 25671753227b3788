"""How near one evaluation is to what the machine can do: the floor, LAPACK alone, and the growth with n and d.

The floor is n^3 flops, what factoring and inverting cost, at the rate at which numpy.dot multiplies n x n matrices in the
same run. ``python -m benchmarks.limits`` prints everything as two tables; the asv class tracks a figure at a time.
"""

import argparse
from functools import partial

from benchmarks import blas
from benchmarks.implementations import fastard
from benchmarks.problems import make_problem
from benchmarks.report import describe_machine, markdown, milliseconds
from benchmarks.timing import Contestant, best_times, ratio_of_best

SIZES = [(100, 5), (250, 5), (500, 10), (1000, 10), (1000, 50), (2000, 20), (4000, 20)]
INPUTS = [1, 2, 5, 10, 20, 50, 100, 200]  # at n = 1000


def one_thread(n, d):
    """fastard and BLAS on one thread."""
    return Contestant(fastard(make_problem(n, d), n_threads=1), partial(blas.limited_to, 1))


def evaluation(n, d):
    """fastard as it comes."""
    return Contestant(fastard(make_problem(n, d)))


class Limits:
    """Ratios of best times, in turns; all but the speedup are better when smaller."""

    params = (SIZES,)
    param_names = ("(n, d)",)
    timeout = 600
    unit = "ratio"

    def track_time_over_floor(self, size):
        return 2.0 * ratio_of_best(evaluation(*size), Contestant(blas.product(size[0])), size[0])

    def track_time_over_lapack(self, size):
        return ratio_of_best(evaluation(*size), Contestant(blas.factor_and_invert(size[0])), size[0])

    def track_speedup_over_one_thread(self, size):
        return ratio_of_best(one_thread(*size), evaluation(*size), size[0])


class Dimension:
    """What one further dimension costs a pair of points, on one thread."""

    unit = "ns a pair"
    timeout = 600

    def track_nanoseconds_a_dimension(self, n=1000, few=10, many=50):
        contestants = {"few": one_thread(n, few), "many": one_thread(n, many)}
        best = best_times({name: contestant.burst for name, contestant in contestants.items()}, n, total_seconds=5.0)
        return 1e9 * (best["many"] - best["few"]) / (many - few) / (n * (n + 1) / 2)


def measure(n, d, total_seconds):
    """Seconds of every contestant at one size, in turns."""
    contestants = {
        "fastard": evaluation(n, d),
        "one thread": one_thread(n, d),
        "product": Contestant(blas.product(n)),
        "lapack": Contestant(blas.factor_and_invert(n)),
    }
    for contestant in contestants.values():
        contestant.call()
    return best_times({name: contestant.burst for name, contestant in contestants.items()}, n, total_seconds)


def table(sizes, total_seconds):
    """The limits as a markdown table."""
    rows = []
    for n, d in sizes:
        best = measure(n, d, total_seconds)
        ours, floor = best["fastard"], best["product"] / 2
        ratios = (ours / floor, ours / best["lapack"], best["one thread"] / ours)
        rows.append([n, d, *map(milliseconds, (ours, floor, best["lapack"])), *(f"{r:.2f}" for r in ratios)])
    times = ["fastard, ms", "floor, ms", "dpotrf + dpotri, ms"]
    return markdown(["n", "d", *times, "over the floor", "over LAPACK", "one thread over all"], rows)


def table_of_inputs(total_seconds, n=1000):
    """Time by the number of inputs, which take turns, as a markdown table."""
    contestants = {d: evaluation(n, d) for d in INPUTS}
    for contestant in contestants.values():
        contestant.call()
    best = best_times({d: contestant.burst for d, contestant in contestants.items()}, n, total_seconds)
    rows = [[d, milliseconds(seconds), f"{seconds / best[10]:.2f}"] for d, seconds in best.items()]
    return markdown(["inputs d", "fastard, ms", "over d = 10"], rows)


def growth(sizes=(4000, 8000), d=20, total_seconds=30.0):
    """t(8000) / t(4000): 8 is what n^3 says."""
    small, large = (evaluation(n, d) for n in sizes)
    return ratio_of_best(large, small, max(sizes), total_seconds)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="time spent on each size (default: 10)")
    parser.add_argument("--scaling", action="store_true", help="t(8000) / t(4000) instead of the tables; some minutes")
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    if arguments.scaling:
        print(f"t(8000) / t(4000) = {growth():.2f}")
    else:
        print(table(SIZES, arguments.seconds), table_of_inputs(len(INPUTS) * arguments.seconds), sep="\n\n")


if __name__ == "__main__":
    main()
