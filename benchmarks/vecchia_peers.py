"""`fit_vecchia` beside GPBoost's Vecchia; `vecchia_inducing` has inducing points.

Each in a process of its own, in an environment that is a folder named after it under ``--environments``, see
benchmarks/README.md; what is absent is skipped. ``python -m benchmarks.vecchia_peers --environments FOLDER`` prints

- evaluations of the likelihood with equal neighbours and one point a block: GPBoost has no public gradient, so that its value
  alone is beside our value and gradient;
- whole fits, judged by the exact log marginal likelihood, or beyond 10 000 points by Vecchia's with 512 neighbours.

What takes longer than ``--limit`` seconds is ended, and said to.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.many_points import Clock, best, pair, points
from benchmarks.report import describe_machine, markdown, version

NEIGHBORS = (20, 30)
DIMENSIONS = 10
NOISE_VARIANCE = 0.01
JUDGES = 512, 64  # neighbours and block size


def fastard_evaluation(n: int, neighbors: int, block_size: int = 1) -> dict:
    """Value and gradient."""
    import fastard

    X, y, length_scale = points(n)
    objective = fastard.VecchiaLogLikelihood(
        X, y, kernel="matern52", length_scale=length_scale, neighbors=neighbors, block_size=block_size
    )
    theta = np.log([*length_scale, 1.0, NOISE_VARIANCE])
    objective(theta)
    return {"times": best(lambda: objective(theta)), "version": version("fastard")}


def gpboost_evaluation(n: int, neighbors: int) -> dict:
    """The value alone; a changed parameter each time, because it may keep what it has computed."""
    import gpboost

    X, y, length_scale = points(n)
    model = gpboost_model(gpboost, X, neighbors)
    parameters = np.array([NOISE_VARIANCE, 1.0, *length_scale])
    model.neg_log_likelihood(parameters, y)
    scales = iter(1.0 + 1e-9 * np.arange(1, 1000))
    return {"times": best(lambda: model.neg_log_likelihood(parameters * next(scales), y), 2), "version": version("gpboost")}


def gpboost_model(gpboost, X, neighbors, ordering="random"):
    """Matern 5/2 with a range for each input, which are the length scales."""
    return gpboost.GPModel(
        gp_coords=X, cov_function="matern_ard", cov_fct_shape=2.5, likelihood="gaussian", gp_approx="vecchia",
        num_neighbors=neighbors, vecchia_ordering=ordering,
    )  # fmt: skip


def fastard_fit(n: int, neighbors: int | None = None) -> dict:
    """With so many neighbours and single points, or the defaults."""
    import fastard

    options = {} if neighbors is None else {"neighbors": neighbors, "block_size": 1}
    X, y, _ = points(3000)
    fastard.fit_vecchia(X, y, rng=0, **options)  # compiled
    X, y, _ = points(n)
    clock = Clock()
    model = fastard.fit_vecchia(X, y - y.mean(), rng=0, **options)
    found = [*model.length_scale, model.signal_variance, model.noise_variance]
    return {"times": clock.read(), "parameters": np.array(found).tolist(), "steps": model.n_evaluations}


def gpboost_fit(n: int, neighbors: int) -> dict:
    """Its defaults."""
    import gpboost

    X, y, _ = points(n)
    clock = Clock()
    model = gpboost_model(gpboost, X, neighbors)
    model.fit(y=y - y.mean())
    times = clock.read()
    noise, signal, *ranges = np.ravel(model.get_cov_pars(format_pandas=False)).tolist()
    return {"times": times, "parameters": [*ranges, signal, noise], "steps": model._get_num_optim_iter()}


def judge(n: int, parameters: list[float]) -> dict:
    """The log marginal likelihood: exact up to 10 000 points, beyond that Vecchia's with very many neighbours."""
    import fastard

    X, y, _ = points(n)
    *length_scale, signal, noise = parameters
    scales, targets = np.array(length_scale), y - y.mean()
    if n <= 10_000:
        value = fastard.log_marginal_likelihood(
            X, targets, kernel="matern52", length_scale=scales, signal_variance=signal, noise_variance=noise
        )
        return {"value": value}
    neighbors, block_size = JUDGES
    objective = fastard.VecchiaLogLikelihood(
        X, targets, kernel="matern52", length_scale=scales, neighbors=neighbors, block_size=block_size
    )
    return {"value": objective(np.log(parameters))[0]}


class Runner:
    """Calls of a module's functions in processes of other environments."""

    def __init__(self, environments: str | None, limit: float, module: str = "vecchia_peers") -> None:
        self.environments, self.limit, self.module = environments, limit, module

    def __call__(self, library: str, function: str, *arguments) -> dict:
        python = Path(sys.executable)
        if library != "fastard":
            python = Path(self.environments or "", library, "bin", "python")
            if not self.environments or not python.exists():
                return {"error": "no environment"}
        code = (
            f"import json, os, sys; answers = os.fdopen(os.dup(1), 'w'); os.dup2(2, 1); from benchmarks import {self.module}; "
            f"print(json.dumps({self.module}.{function}(*json.loads(sys.argv[1]))), file=answers)"
        )
        try:
            child = subprocess.run(
                [str(python), "-W", "ignore", "-c", code, json.dumps(arguments)],
                cwd=Path(__file__).resolve().parents[1],
                capture_output=True,
                text=True,
                check=False,
                timeout=self.limit,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"more than {self.limit:g} s"}
        return json.loads(child.stdout) if child.returncode == 0 else {"error": child.stderr.strip().splitlines()[-1]}


def evaluations(run: Runner, sizes: list[int]) -> str:
    """Seconds, wall / processors, and how many times as long GPBoost's take."""
    rows: list[list[object]] = []
    for n in sizes:
        for neighbors in NEIGHBORS:
            ours, theirs = (
                run("fastard", "fastard_evaluation", n, neighbors),
                run("GPBoost", "gpboost_evaluation", n, neighbors),
            )
            row: list[object] = [n, neighbors, pair(ours["times"])]
            if "error" in theirs:
                row += [theirs["error"], ""]
            else:
                row += [pair(theirs["times"]), f"{theirs['times'][1] / ours['times'][1]:.0f}"]
            rows.append(row)
    return markdown(["n", "neighbours", "fastard, value + gradient, s", "GPBoost, value, s", "times, CPU"], rows)


def fits(run: Runner, n: int, progress=print) -> str:
    """Seconds, and the log marginal likelihood of what each ends with."""
    rows: list[list[object]] = []
    contestants = [("fastard", "fastard_fit", ())]
    for neighbors in NEIGHBORS:
        contestants += [("fastard", "fastard_fit", (neighbors,)), ("GPBoost", "gpboost_fit", (neighbors,))]
    for library, function, options in contestants:
        found = run(library, function, n, *options)
        name = f"{library}, {options[0]} neighbours, single points" if options else f"{library}, defaults"
        row = [n, name, found.get("error", "")]
        if "error" not in found:
            judged_as = run("fastard", "judge", n, found["parameters"])
            row = [n, name, pair(found["times"]), found["steps"], judged_as.get("error") or f"{judged_as['value']:.1f}"]
        rows.append(row + [""] * (5 - len(row)))
        progress(*rows[-1], flush=True)
    return markdown(["n", "fit", "seconds", "evaluations, iterations", "log likelihood"], rows)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vecchia_peers", description=__doc__)
    parser.add_argument("--environments", default=os.environ.get("FASTARD_PEERS"), help="the folder of environments")
    parser.add_argument("--sizes", type=int, nargs="*", default=[20_000], help="points of the evaluations (default: 20000)")
    parser.add_argument("--fits", type=int, nargs="*", default=[20_000], help="points of whole fits (default: 20000)")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for anything (default: 600)")
    arguments = parser.parse_args(argv)
    run = Runner(arguments.environments, arguments.limit)
    print(f"{describe_machine()}\nSeconds are of the wall, two threads / of the processors.\n")
    if arguments.sizes:
        print(evaluations(run, arguments.sizes), flush=True)
    for n in arguments.fits:
        print(f"\n{fits(run, n)}", flush=True)


if __name__ == "__main__":
    main()
