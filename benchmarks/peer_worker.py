"""One contestant in an environment of its own: reads requests, a JSON object a line, and answers each with one.

    {"build": [n, d]}      build the problem, evaluate once: {"value": ..., "gradient": [...], "version": ...}
    {"fit": [n, d, seed]}  a whole fit to made-up data: {"length_scale": [...], ..., "seconds": ..., "version": ...}
    {"burst": seconds}     the best of as many calls in a row as fit, of the last of the two: {"best": seconds}
    anything that fails    {"error": what}

``peers.py`` and ``fits.py`` start it. It runs in the peers' environments, so it must not need anything but NumPy and the
one library.
"""

import json
import os
import sys
import time

import numpy as np

from benchmarks.fit_libraries import FITS
from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.peer_libraries import PEERS
from benchmarks.problems import make_problem, smooth_data
from benchmarks.report import version
from benchmarks.timing import best_of_burst


def serve(library: str) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints goes elsewhere
    package = "numpy" if library.startswith("numpy") else library
    call = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "build" in request:
                call = None  # the last problem's memory
                call = {**IMPLEMENTATIONS, **PEERS}[library](make_problem(*request["build"]))
                value, gradient = call()
                answer = {"value": float(value), "gradient": gradient.tolist(), "version": version(package)}
            elif "fit" in request:
                call = None
                call = FITS[library](*smooth_data(*request["fit"]))
                start = time.perf_counter()
                found = call()
                answer = {"seconds": time.perf_counter() - start, "version": version(package)}
                answer |= {name: np.asarray(value, dtype=float).tolist() for name, value in found._asdict().items()}
            else:
                answer = {"best": best_of_burst(call, request["burst"])}
        except Exception as error:  # whatever a library raises is its result
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
