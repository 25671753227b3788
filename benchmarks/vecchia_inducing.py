"""`fit_vecchia` beside inducing points: GPyTorch's SVGP and VNNGP, and SGPR by GPflow or GPyTorch.

Each in a process of its own, in an environment that is a folder named after it under ``--environments``, see
benchmarks/README.md; what is absent is skipped. ``python -m benchmarks.vecchia_inducing --environments FOLDER --data FOLDER``
prints, for kin40k and pol (the first split, standardised) and for the borehole function without noise at 100 000 points, the
seconds of training and predicting, and how well held-out rows are predicted. SVGP and VNNGP are trained for so many processor
seconds (``--seconds``), SGPR until its search ends, or twice the most of these are over.
"""

import argparse
import contextlib
import os
from pathlib import Path

import numpy as np

from benchmarks.many_points import Clock, pair, points
from benchmarks.report import describe_machine, markdown, version
from benchmarks.vecchia_data import judged, load
from benchmarks.vecchia_peers import Runner

SETS = ("kin40k", "pol", "borehole")
INDUCING, BATCH, RATE = 1024, 1024, 0.01  # of SVGP
INDUCING_OF_ALL = 512  # of SGPR, whose time grows with their square times n
NEAREST = (32,)  # neighbours of VNNGP, by default
BATCH_OF_NEAREST = 256
LEAST_NOISE = 1e-6  # variances; GPyTorch's own least is 1e-4

BOREHOLE = {  # Harper & Gupta 1983, as in Katzfuss, Guinness & Lawrence 2022
    "rw": (0.05, 0.15), "r": (100.0, 50000.0), "Tu": (63070.0, 115600.0), "Hu": (990.0, 1110.0), "Tl": (63.1, 116.0),
    "Hl": (700.0, 820.0), "L": (1120.0, 1680.0), "Kw": (9855.0, 12045.0),
}  # fmt: skip


def borehole(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs in the unit cube, and the flow of water through a borehole."""
    X = np.random.default_rng(seed).uniform(size=(n, len(BOREHOLE)))
    low, high = np.array(list(BOREHOLE.values())).T
    rw, r, Tu, Hu, Tl, Hl, L, Kw = (low + (high - low) * X).T
    logarithm = np.log(r / rw)
    return X, 2.0 * np.pi * Tu * (Hu - Hl) / (logarithm * (1.0 + 2.0 * L * Tu / (logarithm * rw**2 * Kw) + Tu / Tl))


def data_of(folder: str, name: str, n: int = 100_000) -> tuple[np.ndarray, ...]:
    """Standardised inputs and targets of training, then those held out: a fifth of n for the borehole."""
    if name != "borehole":
        return load(Path(folder), name)
    X, y = borehole(n + n // 5)
    X = (X - X[:n].mean(axis=0)) / X[:n].std(axis=0)
    y = (y - y[:n].mean()) / y[:n].std()
    return X[:n], y[:n], X[n:], y[n:]


def fastard_fit(folder: str, name: str, **options) -> dict:
    """With the defaults."""
    import fastard

    X, y, _ = points(3000)
    fastard.fit_vecchia(X, y, rng=0).predict(X[:100], return_std=True)  # compiled
    X, y, X_test, y_test = data_of(folder, name)
    clock = Clock()
    model = fastard.fit_vecchia(X, y, rng=0, **options)
    times, clock = clock.read(), Clock()
    mean, deviation = model.predict(X_test, return_std=True, include_noise=True)
    predicting = clock.read()
    return {
        "times": times, "predicting": predicting, "found": judged(mean, deviation, y_test), "steps": model.n_evaluations,
        "version": fastard.__version__,
    }  # fmt: skip


def svgp(folder: str, name: str, seconds: float) -> dict:
    """GPyTorch's inducing points, trained by Adam on batches for so many processor seconds; float32, as its documentation."""
    import gpytorch
    import torch

    def strategy(model, X):
        places = X[torch.randperm(len(X))[:INDUCING]].clone()
        distribution = gpytorch.variational.CholeskyVariationalDistribution(len(places))
        return gpytorch.variational.VariationalStrategy(model, places, distribution)

    def batches(model, X, y):
        for rows in torch.randperm(len(X)).split(BATCH):
            yield model(X[rows]), y[rows]

    return _variational(folder, name, seconds, strategy, batches)


def vnngp(folder: str, name: str, seconds: float, nearest: int) -> dict:
    """GPyTorch's nearest neighbours, as in its tutorial; the time of the search for them is no part of the seconds' limit."""
    import gpytorch

    variational = gpytorch.variational

    def strategy(model, X):
        distribution = variational.MeanFieldVariationalDistribution(len(X))
        return variational.NNVariationalStrategy(model, X, distribution, k=nearest, training_batch_size=BATCH_OF_NEAREST)

    def batches(model, X, y):
        for _ in range(model.variational_strategy._total_training_batches):
            found = model(None)
            yield found, y[model.variational_strategy.current_training_indices]

    return _variational(folder, name, seconds, strategy, batches)


def _variational(folder, name, seconds, strategy, batches) -> dict:
    """Adam on batches."""
    import gpytorch
    import torch

    torch.manual_seed(0)
    X, y, X_test, y_test = (torch.tensor(part, dtype=torch.float32) for part in data_of(folder, name))
    shuffled = torch.randperm(len(X))
    X, y = X[shuffled], y[shuffled]

    class Model(gpytorch.models.ApproximateGP):
        def __init__(self):
            super().__init__(strategy(self, X))
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(2.5, ard_num_dims=X.shape[1]))

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

        def __call__(self, x, **options):
            return self.variational_strategy(x, prior=False, **options)

    clock = Clock()
    model = Model()
    least = gpytorch.constraints.GreaterThan(LEAST_NOISE)
    likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=least)
    bound = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=len(X))
    optimizer = torch.optim.Adam([*model.parameters(), *likelihood.parameters()], lr=RATE)
    model.train()
    likelihood.train()
    prepared, seen = clock.read(), 0
    while clock.read()[1] - prepared[1] < seconds:
        for found, targets in batches(model, X, y):
            optimizer.zero_grad()
            (-bound(found, targets)).backward()
            optimizer.step()
            seen += len(targets)
            if clock.read()[1] - prepared[1] >= seconds:
                break
    times, clock = clock.read(), Clock()
    model.eval()
    likelihood.eval()
    with torch.no_grad():
        parts = [likelihood(model(rows)) for rows in X_test.split(BATCH)]
    mean, deviation = (torch.cat([getattr(part, what) for part in parts]).double().numpy() for what in ("mean", "stddev"))
    predicting = clock.read()
    found = judged(mean, deviation, y_test.double().numpy())
    return {
        "times": times, "predicting": predicting, "found": found, "steps": round(seen / len(X), 1),
        "version": version("gpytorch"),
    }  # fmt: skip


def gpflow_sgpr(folder: str, name: str, seconds: float) -> dict:
    """GPflow's SGPR by L-BFGS-B, as its documentation: inducing points too."""
    import gpflow

    X, y, X_test, y_test = data_of(folder, name)
    places = X[np.random.default_rng(0).choice(len(X), INDUCING_OF_ALL, replace=False)].copy()
    clock, steps = Clock(), [0]
    model = gpflow.models.SGPR((X, y[:, np.newaxis]), gpflow.kernels.Matern52(lengthscales=np.ones(X.shape[1])), places)

    def over(step, variables, values):
        steps[0] += 1
        if clock.read()[1] > seconds:
            raise StopIteration

    with contextlib.suppress(StopIteration):
        gpflow.optimizers.Scipy().minimize(
            model.training_loss, model.trainable_variables, step_callback=over, options={"maxiter": 10_000}
        )
    times, clock = clock.read(), Clock()
    mean, variance = model.predict_y(X_test)
    mean, deviation = mean.numpy()[:, 0], np.sqrt(variance.numpy()[:, 0])
    predicting = clock.read()
    return {
        "times": times, "predicting": predicting, "found": judged(mean, deviation, y_test), "steps": steps[0],
        "version": version("gpflow"),
    }  # fmt: skip


def row_of(label: str, library: str, found: dict) -> list[object]:
    """One of the table's."""
    if "error" in found:
        return [f"{library}, {label}", found["error"], "", "", "", "", ""]
    rmse, density, coverage = found["found"]
    return [
        f"{library} {found['version']}, {label}", pair(found["times"]), found["steps"], pair(found["predicting"]),
        f"{rmse:.3g}", f"{density:.3f}", f"{coverage:.3f}",
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vecchia_inducing", description=__doc__)
    parser.add_argument("--environments", default=os.environ.get("FASTARD_PEERS"), help="the folder of environments")
    parser.add_argument("--data", type=Path, required=True, help="folder with the UCI sets")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[5.0, 60.0, 300.0], help="of the processors, for each peer"
    )
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds for anything (default: 1200)")
    parser.add_argument("--nearest", type=int, nargs="+", default=NEAREST, help="neighbours of VNNGP")
    arguments = parser.parse_args(argv)
    run, folder = Runner(arguments.environments, arguments.limit, "vecchia_inducing"), str(arguments.data.resolve())
    print(f"{describe_machine()}\nSeconds are of the wall / of the processors.\n", flush=True)
    for name in arguments.sets:
        contestants = [("fastard", "defaults", "fastard_fit", ())]
        for seconds in arguments.seconds:
            contestants.append(("GPyTorch", f"SVGP, {INDUCING} points", "svgp", (seconds,)))
        for nearest in arguments.nearest:
            for seconds in arguments.seconds:
                contestants.append(("GPyTorch", f"VNNGP, {nearest} neighbours", "vnngp", (seconds, nearest)))
        contestants.append(("GPflow", f"SGPR, {INDUCING_OF_ALL} points", "gpflow_sgpr", (2.0 * max(arguments.seconds),)))
        rows = []
        for library, label, function, options in contestants:
            rows.append(row_of(label, library, run(library, function, folder, name, *options)))
            print(*rows[-1], flush=True)
        headings = [name, "training, s", "evaluations, epochs", "predictions, s", "RMSE", "log density", "within 95 %"]
        print(f"\n{markdown(headings, rows)}\n", flush=True)


if __name__ == "__main__":
    main()
