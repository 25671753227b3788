"""One contestant in an environment of its own: reads requests, a JSON object a line, and answers each with one.

    {"build": [n, d]}      build the problem, evaluate once: {"value": ..., "gradient": [...], "version": ...}
    {"burst": seconds}     the best of as many calls in a row as fit: {"best": seconds}
    anything that fails    {"error": what}

``peers.py`` starts it. It runs in the peers' environments, so it must not need anything but NumPy and the one library.
"""

import json
import os
import sys

from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.peer_libraries import PEERS
from benchmarks.problems import make_problem
from benchmarks.report import version
from benchmarks.timing import best_of_burst


def serve(library: str) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints goes elsewhere
    build = {**IMPLEMENTATIONS, **PEERS}[library]
    evaluate = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "build" in request:
                evaluate = None  # the last problem's memory
                evaluate = build(make_problem(*request["build"]))
                value, gradient = evaluate()
                package = "numpy" if library.startswith("numpy") else library
                answer = {"value": float(value), "gradient": gradient.tolist(), "version": version(package)}
            else:
                answer = {"best": best_of_burst(evaluate, request["burst"])}
        except Exception as error:  # whatever a library raises is its result
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
