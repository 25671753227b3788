"""Whole fits beside other libraries', each in an environment of its own; absent ones are skipped.

    python -m benchmarks.fits --environments ~/peers

The contestants live side by side and take turns. Each ends where its own rule stops it, so a time says little without the
end: fastard computes the log marginal likelihood at what each found, for all alike, and the table tells how many nats the
worst of a library's fits is below the best of all. benchmarks/README.md says how to make the environments.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from benchmarks.fit_libraries import FITS
from benchmarks.peers import PeerError, Worker, size
from benchmarks.problems import smooth_data
from benchmarks.report import describe_machine, markdown, milliseconds
from benchmarks.timing import best_times

SIZES = [(50, 5), (100, 5), (200, 8), (500, 8), (1000, 10), (2000, 20)]
# gpflash adds a little to the diagonal for safety; a parameter misread is out by far more.
_TOLERANCE = 1e-5


def interpreters(environments: str | None) -> dict[str, str]:
    """Python of each contestant: that of its folder, or else this one, which may have the library or not."""
    folders = {library: Path(environments or "", library, "bin", "python") for library in FITS}
    return {library: str(path) if environments and path.exists() else sys.executable for library, path in folders.items()}


def end(X, y, answer: dict) -> float:
    """The log marginal likelihood where a fit ended, by fastard; PeerError unless the library says the same."""
    import fastard

    natural = {name: answer[name] for name in ("length_scale", "signal_variance", "noise_variance")}
    value = fastard.log_marginal_likelihood(X, y, **natural)
    if not abs(value - answer["value"]) <= _TOLERANCE * max(1.0, abs(value)):
        raise PeerError(f"gives {answer['value']:.8g} for parameters for which fastard gives {value:.8g}")
    return value


def race(workers: dict[str, Worker], n: int, d: int, seed: int, total_seconds: float):
    """Best seconds and end of each contestant's fit to one data set, and why each of the others has none."""
    X, y = smooth_data(n, d, seed)
    best, ends, failures = {}, {}, {}
    for library, worker in workers.items():
        try:
            answer = worker.ask(fit=[n, d, seed])
            ends[library] = end(X, y, answer)
            best[library] = answer["seconds"]
        except PeerError as error:
            failures[library] = str(error)
    # A fit that takes a good part of the time there is counts as it is: chance is small beside it.
    quick = {library: workers[library].burst for library, first in best.items() if first < 0.2 * total_seconds}
    for library, again in best_times(quick, n, total_seconds).items():
        best[library] = min(best[library], again)
    return best, ends, failures


def compete(workers: dict[str, Worker], n: int, d: int, seeds: int, total_seconds: float):
    """Mean over data sets of each contestant's best seconds, the most nats that it ended below the best, and failures."""
    races = [race(workers, n, d, seed, total_seconds / seeds) for seed in range(seeds)]
    failures = {library: what for *_, failed in races for library, what in failed.items()}
    through = [library for library in workers if library not in failures]
    mean = {library: sum(best[library] for best, *_ in races) / seeds for library in through}
    below = {library: max(max(ends.values()) - ends[library] for _, ends, _ in races) for library in through}
    return mean, below, failures


def _cell(library, mean, below):
    if library not in mean:
        return "–"
    ratio = "" if library == "fastard" else f"{mean[library] / mean['fastard']:.1f}×, "
    return f"{milliseconds(mean[library])} ms ({ratio}−{below[library]:.2g})"


def table(sizes, interpreters, seeds, total_seconds, patience, progress=print):
    """The markdown table, and everything measured as a dictionary for JSON."""
    with contextlib.ExitStack() as stack:
        workers, versions = {}, {}
        for library, python in interpreters.items():
            worker = Worker(library, python)
            stack.callback(worker.close)
            try:
                versions[library] = worker.ask(fit=[20, 3, 0])["version"]  # compiles and loads what it needs
                workers[library] = worker
            except PeerError as error:
                progress(f"{library} is left out: {error}")
        headings = [
            "n",
            "d",
            *(f"{name} {versions[name]}" if name not in ("fastard", "fastard.sklearn") else name for name in workers),
        ]
        present, results, rows = list(workers), [], []
        for n, d in sizes:
            mean, below, failures = compete(workers, n, d, seeds, total_seconds)
            results.append({"n": n, "d": d, "seconds": mean, "nats below": below, "failures": failures})
            rows.append([n, d, *(_cell(library, mean, below) for library in present)])
            progress(f"n = {n}, d = {d}: " + "; ".join(f"{library} {_cell(library, mean, below)}" for library in mean))
            for library, failure in failures.items():
                progress(f"  {library}: {failure}")
            for library in [library for library in workers if mean.get(library, 0.0) > patience]:
                progress(f"  {library} sits out what is larger")
                del workers[library]
    return markdown(headings, rows), {"versions": versions, "results": results}


def main():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", default=os.environ.get("FASTARD_PEERS"), help="the folder of environments")
    parser.add_argument("--sizes", type=size, nargs="+", default=SIZES, metavar="NxD", help="such as 500x8, d from 3 on")
    parser.add_argument("--only", nargs="+", choices=FITS, default=list(FITS), metavar="LIBRARY", help="beside fastard")
    parser.add_argument("--seeds", type=int, default=3, help="data sets of each size (default: 3)")
    parser.add_argument("--seconds", type=float, default=30.0, help="time spent on each size (default: 30)")
    parser.add_argument("--patience", type=float, default=20.0, help="who takes longer sits out larger sizes (default: 20 s)")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    arguments = parser.parse_args()
    chosen = {
        name: python for name, python in interpreters(arguments.environments).items() if name in ("fastard", *arguments.only)
    }
    text, figures = table(arguments.sizes, chosen, arguments.seeds, arguments.seconds, arguments.patience)
    machine = f"{describe_machine()}; load {os.getloadavg()[0]:.1f}"
    print(f"\n{machine}\n\n{text}\n\nIn brackets: over fastard's time, and how many nats below the best end of all, at worst.")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, **figures}, indent=1))


if __name__ == "__main__":
    main()
