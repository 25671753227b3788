"""fastard against the other libraries, each in an environment of its own; absent ones are skipped.

An environment is a folder named after the library under ``--environments`` (or ``$FASTARD_PEERS``) with ``bin/python`` in it:
benchmarks/README.md says how to make them. The contestants live side by side and take turns; a peer's time is believed only
when its value and gradient agree with fastard's.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.implementations import IMPLEMENTATIONS, largest_array
from benchmarks.peer_libraries import PEERS
from benchmarks.report import describe_machine, markdown, milliseconds
from benchmarks.timing import BURST_SECONDS, best_times

SIZES = [(100, 5), (250, 5), (500, 10), (1000, 10), (1000, 50), (2000, 20)]
LIBRARIES = ["scikit-learn", *PEERS]
# GPy adds 1e-8 to the noise, 1e-6 of it here; an implementation that is wrong, or approximate, is out by far more.
_TOLERANCE = 1e-5
_LARGEST = 4 * 2**30

_START = "import sys; sys.path.append(sys.argv[1]); from benchmarks.peer_worker import serve; serve(sys.argv[2])"


class PeerError(RuntimeError):
    """A peer that failed, or that found something else than fastard."""


class Worker:
    """A library in its own process; see peer_worker.py for what it is asked."""

    def __init__(self, library: str, python: str) -> None:
        root = str(Path(__file__).resolve().parents[1])
        self.library = library
        self.process = subprocess.Popen(
            [python, "-W", "ignore", "-c", _START, root, library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **request):
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line or '{"error": "the process died"}')
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def build(self, n, d):
        return self.ask(build=[n, d])

    def burst(self):
        return self.ask(burst=BURST_SECONDS)["best"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def interpreters(environments: str | None) -> dict[str, str]:
    """Python of each contestant: this one for fastard and NumPy, and for scikit-learn where it has no folder."""
    found = dict.fromkeys(IMPLEMENTATIONS, sys.executable)
    for library in LIBRARIES if environments else []:
        python = Path(environments, library, "bin", "python")
        if python.exists():
            found[library] = str(python)
    return found


def check(ours: dict, theirs: dict) -> None:
    """Raise PeerError unless the two answers agree."""
    for what in ("value", "gradient"):
        a, b = np.array(theirs[what]), np.array(ours[what])
        difference = np.abs(a - b).max() / max(1.0, np.abs(b).max())
        if not difference <= _TOLERANCE:
            raise PeerError(f"its {what} differs from fastard's by {difference:.1e}")


def compete(workers: dict[str, Worker], n: int, d: int, total_seconds: float) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of every contestant that got through, fastard first, and why each of the others did not."""
    ours = workers["fastard"].build(n, d)
    racing, failures = {}, {}
    for library, worker in workers.items():
        try:
            if largest_array(library, n, d) > _LARGEST:
                raise PeerError("takes too much memory")
            check(ours, worker.build(n, d))
            racing[library] = worker.burst
        except PeerError as error:
            failures[library] = str(error)
    return best_times(racing, n, total_seconds), failures


def _milliseconds(name, best):
    if name not in best:
        return "–"
    text = milliseconds(best[name])
    return text if name == "fastard" else f"{text} ({best[name] / best['fastard']:.1f}×)"


def table(sizes, interpreters, total_seconds, progress=print):
    """The markdown table, and everything measured as a dictionary for JSON."""
    with contextlib.ExitStack() as stack:
        workers = {}
        for library, python in interpreters.items():
            workers[library] = Worker(library, python)
            stack.callback(workers[library].close)
        results, rows = [], []
        for n, d in sizes:
            best, failures = compete(workers, n, d, total_seconds)
            results.append({"n": n, "d": d, "seconds": best, "failures": failures})
            rows.append([n, d, *(_milliseconds(name, best) for name in workers)])
            progress(f"n = {n}, d = {d}: " + ", ".join(f"{name} {milliseconds(time)} ms" for name, time in best.items()))
            for name, failure in failures.items():
                progress(f"  {name}: {failure}")
        versions = {name: worker.build(10, 2)["version"] for name, worker in workers.items()}
    names = [f"{name} {versions[name]}" if name in LIBRARIES else name for name in workers]
    return markdown(["n", "d", *names], rows), {"versions": versions, "results": results}


class Peers:
    """How many times faster fastard is than each library that has an environment under ``$FASTARD_PEERS``."""

    params = (LIBRARIES, SIZES)
    param_names = ("library", "(n, d)")
    timeout = 600
    unit = "times faster"

    def setup(self, library, size):
        python = interpreters(os.environ.get("FASTARD_PEERS"))
        if library not in python:
            raise NotImplementedError(f"no environment for {library}")
        self.workers = {name: Worker(name, python[name]) for name in ("fastard", library)}

    def teardown(self, *_):
        for worker in self.workers.values():
            worker.close()

    def track_speedup_over_peer(self, library, size):
        best, _ = compete(self.workers, *size, total_seconds=5.0)
        return best[library] / best["fastard"] if library in best else float("nan")


def size(text: str) -> tuple[int, int]:
    """1000x10 as (1000, 10)."""
    n, d = text.split("x")
    return int(n), int(d)


def parser(**about) -> argparse.ArgumentParser:
    """The options of this script, which readme_table.py has too."""
    result = argparse.ArgumentParser(**about)
    result.add_argument("--environments", default=os.environ.get("FASTARD_PEERS"), help="the folder of environments")
    result.add_argument("--sizes", type=size, nargs="+", default=SIZES, metavar="NxD", help="such as 1000x10")
    result.add_argument("--seconds", type=float, default=10.0, help="time spent on each size (default: 10)")
    result.add_argument("--json", type=Path, help="write all figures to this file too")
    return result


def main():
    """The command line."""
    arguments = parser(prog="python -m benchmarks.peers", description=__doc__).parse_args()
    text, figures = table(arguments.sizes, interpreters(arguments.environments), arguments.seconds)
    machine = describe_machine()
    print(f"\n{machine}\n\n{text}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, **figures}, indent=1))


if __name__ == "__main__":
    main()
