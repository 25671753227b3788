"""Whole BoTorch fits: BoTorch's own, with fastard's marginal log likelihood, with fastard's search, and botorch-rust's.

    python -m benchmarks.botorch_fits            # times of the fits, a markdown table
    python -m benchmarks.botorch_fits --optima   # where they end, on 33 data sets and with five models
    python -m benchmarks.botorch_fits --loop     # how much of a closed loop on Hartmann-6 is fitting

It needs BoTorch beside fastard (``pip install '.[torch]' botorch``), and shows botorch-rust where that is installed too
(``pip install botorch-rust==0.3.0``). All take turns in one run.
"""

import argparse
import time
import warnings

import numpy as np

from benchmarks.gpytorch import CLASSES, closed_loop, problem
from benchmarks.peers import size
from benchmarks.report import describe_machine, markdown, milliseconds, version
from benchmarks.timing import pause

if CLASSES:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from botorch import test_functions
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Normalize
        from botorch.models.utils.gpytorch_modules import (
            get_gaussian_likelihood_with_gamma_prior,
            get_matern_kernel_with_gamma_prior,
        )
        from gpytorch.constraints import Interval
        from gpytorch.kernels import RBFKernel, RQKernel, ScaleKernel
        from gpytorch.likelihoods import GaussianLikelihood
        from gpytorch.settings import max_cholesky_size

    import fastard.gpytorch
try:
    from botorch_rs import fit as rust_fit
    from botorch_rs import mlls as rust_mlls
    from botorch_rs import models as rust_models
except ImportError:
    rust_fit = None

SIZES = [(50, 6), (200, 20), (500, 10)]
FUNCTIONS = [
    ("Branin", 2), ("Hartmann", 6), ("Hartmann", 3), ("Ackley", 4), ("Levy", 5), ("Rosenbrock", 4), ("Griewank", 3),
    ("StyblinskiTang", 5), ("Rastrigin", 3), ("Michalewicz", 5), ("Cosine8", 8),
]  # fmt: skip


def value(model):
    """The marginal log likelihood over n, with the priors, by GPyTorch's code."""
    mll = CLASSES["GPyTorch"](model.likelihood, model)
    mll.train()
    with torch.no_grad():
        result = mll(model(*model.train_inputs), model.train_targets).item()
    mll.eval()
    return result


def botorchs(mll_class, fit, X, Y):
    """Seconds of one fit of a SingleTaskGP with BoTorch's defaults, and the final mll."""
    model = SingleTaskGP(X, Y)
    mll = mll_class(model.likelihood, model)
    start = time.perf_counter()
    fit(mll)
    return time.perf_counter() - start, value(model)


def rusts(X, Y):
    """The same of botorch-rust."""
    model = rust_models.SingleTaskGP(X, Y)
    mll = rust_mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    start = time.perf_counter()
    rust_fit.fit_gpytorch_mll(mll)
    seconds = time.perf_counter() - start
    twin = SingleTaskGP(X, Y)
    with torch.no_grad():
        twin.covar_module.raw_lengthscale.copy_(model.covar_module.lengthscale)  # BoTorch's defaults have no transform
        twin.likelihood.noise_covar.raw_noise.copy_(model.likelihood.noise)
        twin.mean_module.raw_constant.copy_(model.mean_module.constant)
    return seconds, value(twin)


def contestants():
    """Functions of X and Y by their names."""
    result = {
        "BoTorch": lambda X, Y: botorchs(CLASSES["GPyTorch"], fit_gpytorch_mll, X, Y),
        "with fastard's mll": lambda X, Y: botorchs(CLASSES["fastard"], fit_gpytorch_mll, X, Y),
        "fastard": lambda X, Y: botorchs(CLASSES["GPyTorch"], fastard.gpytorch.fit_gpytorch_mll, X, Y),
    }
    if rust_fit is not None:
        result["botorch-rust"] = rusts
    return result


def fits(sizes, seeds, rounds):
    """One row a size and contestant: the mean over data sets of the fastest of several rounds."""
    rows = []
    for n, d in sizes:
        best, ends = {}, {}
        for seed in range(seeds):
            X, Y = problem(n, d, seed)
            for _ in range(rounds):
                for name, run in contestants().items():
                    pause(n)
                    seconds, ends[name, seed] = run(X, Y)
                    best[name, seed] = min(best.get((name, seed), float("inf")), seconds)
        ours = sum(best["fastard", seed] for seed in range(seeds))
        for name in contestants():
            total = sum(best[name, seed] for seed in range(seeds))
            gains = [ends[name, seed] - ends["BoTorch", seed] for seed in range(seeds)]
            cells = [n, d, name, f"{milliseconds(total / seeds)} ms", f"{total / ours:.2f}×"]
            rows.append([*cells, f"{min(gains):+.1e} … {max(gains):+.1e}"])
            print(" | ".join(map(str, rows[-1])), flush=True)
    return markdown(["n", "d", "fit", "time", "over fastard's", "final mll less BoTorch's"], rows)


def data_sets():
    """Test functions at random points, with three sizes and amounts of noise."""
    for i, (name, d) in enumerate(FUNCTIONS):
        function = getattr(test_functions, name)
        function = function() if name in ("Branin", "Cosine8") else function(dim=d)
        low, high = function.bounds.double()
        for n, noise in ((20, 0.0), (80, 0.1), (40, 0.5)):
            generator = torch.Generator().manual_seed(100 * i + n)
            X = low + torch.rand(n, d, generator=generator, dtype=torch.float64) * (high - low)
            Y = function(X)[:, None].double()
            yield X, Y + noise * Y.std() * torch.randn(n, 1, generator=generator, dtype=torch.float64)


def optima():
    """One row a model: how far fastard's optima are above BoTorch's."""

    def model(X, Y, variances=None, covar_module=None, likelihood=None):
        transform = Normalize(X.shape[-1])
        return SingleTaskGP(X, Y, variances, covar_module=covar_module, likelihood=likelihood, input_transform=transform)

    models = {
        "BoTorch's defaults": model,
        "Matérn 5/2, gamma priors": lambda X, Y: model(
            X, Y, None, get_matern_kernel_with_gamma_prior(X.shape[-1]), get_gaussian_likelihood_with_gamma_prior()
        ),
        "known variances": lambda X, Y: model(X, Y, torch.full_like(Y, 0.01 * Y.var().item())),
        "no priors": lambda X, Y: model(X, Y, None, ScaleKernel(RBFKernel(ard_num_dims=X.shape[-1])), GaussianLikelihood()),
        "rational quadratic, one length scale": lambda X, Y: model(
            X, Y, None, ScaleKernel(RQKernel(lengthscale_constraint=Interval(0.05, 5.0))), GaussianLikelihood()
        ),
    }
    rows = []
    for name, make in models.items():
        gains = []
        for X, Y in data_sets():
            ours, theirs = make(X, Y), make(X, Y)
            assert fastard.gpytorch.explain(ours).endswith("fitted by fastard")
            fastard.gpytorch.fit_gpytorch_mll(CLASSES["GPyTorch"](ours.likelihood, ours))
            fit_gpytorch_mll(CLASSES["GPyTorch"](theirs.likelihood, theirs))
            gains.append(value(ours) - value(theirs))
        gains = np.array(gains)
        lower, higher = int((gains < -1e-3).sum()), int((gains > 1e-3).sum())
        rows.append(
            [name, gains.size, lower, higher, f"{gains.min():+.1e}", f"{np.median(gains):+.1e}", f"{gains.max():+.1e}"]
        )
        print(" | ".join(map(str, rows[-1])), flush=True)
    return markdown(["model", "data sets", "lower by 1e-3", "higher by 1e-3", "least", "median", "most"], rows)


def loops(steps, seeds):
    """One row a seed: the same loop, inside ``patched()`` and outside."""
    rows = []
    for seed in range(seeds):
        theirs = closed_loop(CLASSES["GPyTorch"], steps, seed)
        with fastard.gpytorch.patched():
            ours = closed_loop(CLASSES["GPyTorch"], steps, seed)
        row = [seed]
        for regret, fitting, whole in (ours, theirs):
            row += [f"{regret:.4f}", f"{fitting:.2f}", f"{whole:.1f}", f"{fitting / whole:.0%}"]
        rows.append(row)
        print(" | ".join(map(str, row)), flush=True)
    columns = ("regret", "fits, s", "in all, s", "share of the fits")
    return markdown(["seed", *(f"{column}, {name}" for name in ("fastard", "BoTorch") for column in columns)], rows)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.botorch_fits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=size, nargs="+", default=SIZES, metavar="NxD", help="such as 500x10, d from 4 on")
    parser.add_argument("--seeds", type=int, default=3, help="data sets of each size, or loops (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="fits of each, of which the fastest counts (default: 3)")
    parser.add_argument("--optima", action="store_true", help="where the fits end instead")
    parser.add_argument("--loop", action="store_true", help="the closed loop instead")
    parser.add_argument("--steps", type=int, default=30, help="of the closed loop (default: 30)")
    arguments = parser.parse_args()
    if not CLASSES:
        parser.error("it needs BoTorch: pip install '.[torch]' botorch")
    for run in contestants().values():  # compile
        run(*problem(20, 4, 0))
    with max_cholesky_size(10**6):
        if arguments.optima:
            text = optima()
        elif arguments.loop:
            text = loops(arguments.steps, arguments.seeds)
        else:
            text = fits(arguments.sizes, arguments.seeds, arguments.rounds)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "gpytorch", "botorch", "botorch-rust"))
    print(f"\n{describe_machine()}; {libraries}\n\n{text}")


if __name__ == "__main__":
    main()
