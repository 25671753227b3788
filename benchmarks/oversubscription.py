"""More threads than cores: what evaluations cost that share them with others of their own process, and of another one.

Two figures a case, both over the same work done with one thread to a core: the time, and the processor time, which tells how
much is lost to waiting threads even where other programs keep the cores busy. ``python -m benchmarks.oversubscription`` prints
the table of docs/design/many_cores.md.
"""

import argparse
import statistics
from typing import NamedTuple

from benchmarks import timing
from benchmarks.children import Child
from benchmarks.report import describe_machine, markdown
from benchmarks.threads import CORES

SIZES = (300, 700, 1500)

# Answers "n threads seconds" by the seconds, and the processor's, that one evaluation of a series took.
_EVALUATE = """
import sys, time
import numpy as np
import fastard
from fastard._engine import sizes

if {lifted}:
    sizes.available_cores = fastard._validation.options.available_cores = lambda: 1024
objectives = {{}}

def objective(n, threads):
    if (n, threads) not in objectives:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, 10))
        objectives[n, threads] = fastard.LogMarginalLikelihood(X, np.sin(X[:, 0]), n_threads=threads)
        objectives[n, threads](np.zeros(12))
    return objectives[n, threads]

print("ready", flush=True)
for line in sys.stdin:
    n, threads, seconds = line.split()
    evaluate = objective(int(n), int(threads))
    count, start, used = 0, time.perf_counter(), time.process_time()
    while count == 0 or time.perf_counter() < start + float(seconds):
        evaluate(np.zeros(12))
        count += 1
    print((time.perf_counter() - start) / count, (time.process_time() - used) / count, flush=True)
"""


class Case(NamedTuple):
    """So many processes at once, with so many threads each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} × {self.threads}"


# Each case and what it is compared with, which takes all cores and no more.
CASES = [
    (Case(1, 4 * CORES), Case(1, CORES)),
    (Case(2, CORES), Case(2, max(1, CORES // 2))),
    (Case(2, 4 * CORES), Case(2, max(1, CORES // 2))),
]


def turn(children: list[Child], case: Case, n: int, seconds: float) -> tuple[float, float]:
    """Mean seconds, and the processor's, of one evaluation."""
    taking_part = children[: case.processes]
    for child in taking_part:
        child.send(f"{n} {case.threads} {seconds}")
    answers = [[float(word) for word in child.answer().split()] for child in taking_part]
    return statistics.fmean(answer[0] for answer in answers), statistics.fmean(answer[1] for answer in answers)


def ratios(children: list[Child], case: Case, fair: Case, n: int, rounds: int) -> tuple[float, float]:
    """The case's time over the fair one's, and processor time over processor time: medians of pairs of turns."""
    seconds = 0.25 * min(timing.EFFORT, 1.0)
    for one in (case, fair):
        turn(children, one, n, 0.0)
    pairs = [(turn(children, case, n, seconds), turn(children, fair, n, seconds)) for _ in range(timing.repeats(rounds))]
    return tuple(statistics.median(ours[i] / theirs[i] for ours, theirs in pairs) for i in range(2))  # type: ignore[return-value]


def table(sizes: tuple[int, ...] = SIZES, rounds: int = 20, *, lifted: bool = False) -> str:
    """Every case, a row a size; ``lifted``: without the limit of a call's threads to the cores there are."""
    children = [Child(_EVALUATE.format(lifted=lifted)) for _ in range(2)]
    try:
        rows = []
        for n in sizes:
            row: list[object] = [n]
            for case, fair in CASES:
                row += [f"{ratio:.2f}" for ratio in ratios(children, case, fair, n, rounds)]
            rows.append(row)
    finally:
        for child in children:
            child.close()
    headings = [part for case, fair in CASES for part in (f"{case} over {fair}", "processor time")]
    return markdown(["n", *headings], rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.oversubscription", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="pairs of turns (default: 20)")
    parser.add_argument("--lifted", action="store_true", help="without the limit of a call's threads to the cores there are")
    arguments = parser.parse_args()
    print(describe_machine(), "Processes × threads.", sep="\n", end="\n\n")
    print(table(rounds=arguments.rounds, lifted=arguments.lifted))


if __name__ == "__main__":
    main()
