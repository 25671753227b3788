"""BoTorch with fastard's marginal log likelihood against BoTorch with GPyTorch's: whole fits, and a closed loop.

    python -m benchmarks.gpytorch                  # the fits, a markdown table
    python -m benchmarks.gpytorch --profile 50x6   # where the time of one evaluation goes
    python -m benchmarks.gpytorch --loop           # 30 steps of qLogExpectedImprovement on Hartmann-6, five seeds

It needs BoTorch beside fastard (``pip install '.[torch]' botorch``). GPyTorch's class takes turns with fastard's in one run
and is told to use Cholesky at every size, where from 800 points on it would turn to a stochastic estimate.
"""

import argparse
import cProfile
import pstats
import statistics
import time
import warnings

from benchmarks import timing
from benchmarks.peers import size
from benchmarks.report import describe_machine, markdown, milliseconds, version
from benchmarks.timing import pause

try:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import gpytorch
        from botorch.acquisition import qLogExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.optim import optimize_acqf
        from botorch.optim.closures import get_loss_closure_with_grads
        from botorch.optim.closures.core import NdarrayOptimizationClosure
        from botorch.sampling import SobolQMCNormalSampler
        from botorch.test_functions import Hartmann

    import fastard.gpytorch

    CLASSES = {"fastard": fastard.gpytorch.ExactMarginalLogLikelihood, "GPyTorch": gpytorch.mlls.ExactMarginalLogLikelihood}
except ImportError as error:  # asv and the tests load every file
    MISSING = str(error)
    CLASSES = {}

SIZES = [(50, 6), (200, 20), (500, 10), (1000, 20)]
_HARTMANN_MAXIMUM = 3.32237


def problem(n, d, seed):
    """Inputs (n, d) in the unit cube and noisy targets (n, 1) that depend on the first four of them; d >= 4."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return X, torch.sin(6.0 * X[:, :1]) + X[:, 1:2] ** 2 + X[:, 2:3] * X[:, 3:4] + 0.1 * noise


def fit(name, X, Y, clock=time.perf_counter):
    """Seconds of one whole fit of a SingleTaskGP with BoTorch's defaults, the final mll, and the evaluations."""
    model = SingleTaskGP(X, Y)
    mll = CLASSES[name](model.likelihood, model)
    evaluations = 0
    forward = mll.forward

    def counted(*arguments, **options):
        nonlocal evaluations
        evaluations += 1
        return forward(*arguments, **options)

    mll.forward = counted
    with gpytorch.settings.max_cholesky_size(10**6):
        start = clock()
        fit_gpytorch_mll(mll)
        seconds = clock() - start
        mll.train()
        with torch.no_grad():
            referee = CLASSES["GPyTorch"](model.likelihood, model)
            final = referee(model(*model.train_inputs), model.train_targets).item()
    return seconds, final, evaluations


def fits(sizes, seeds, rounds, clock):
    """One row a size: sums over the seeds of the best of several rounds."""
    rows = []
    for n, d in sizes:
        best, finals, counts = {}, {}, {}
        for seed in range(seeds):
            X, Y = problem(n, d, seed)
            for _ in range(rounds):
                for name in CLASSES:
                    pause(n)
                    seconds, finals[name, seed], counts[name, seed] = fit(name, X, Y, clock)
                    best[name, seed] = min(best.get((name, seed), float("inf")), seconds)
        total = {name: sum(best[name, seed] for seed in range(seeds)) for name in CLASSES}
        evaluations = {name: sum(counts[name, seed] for seed in range(seeds)) for name in CLASSES}
        each = {name: total[name] / evaluations[name] for name in CLASSES}
        gains = [finals["fastard", seed] - finals["GPyTorch", seed] for seed in range(seeds)]
        rows.append(
            [
                n,
                d,
                *(f"{milliseconds(total[name] / seeds)} ms" for name in CLASSES),
                f"{total['GPyTorch'] / total['fastard']:.1f}×",
                *(f"{milliseconds(each[name])} ms" for name in CLASSES),
                f"{each['GPyTorch'] / each['fastard']:.1f}×",
                f"{statistics.median(gains):+.1e} ({min(gains):+.1e} … {max(gains):+.1e})",
            ]
        )
        print(" | ".join(map(str, rows[-1])), flush=True)
    headings = ["n", "d"]
    for what in ("a fit", "an evaluation"):
        headings += [f"{what}, {name}" for name in CLASSES] + ["ratio"]
    return markdown([*headings, "final mll, fastard's less GPyTorch's: median (range)"], rows)


def profile(n, d, calls=200):
    """Where the Python around an evaluation goes, as BoTorch's optimiser calls it."""
    X, Y = problem(n, d, 0)
    model = SingleTaskGP(X, Y)
    mll = CLASSES["fastard"](model.likelihood, model)
    mll.train()
    parameters = dict(mll.named_parameters())
    closure = NdarrayOptimizationClosure(get_loss_closure_with_grads(mll, parameters), parameters)
    state = closure.state
    closure(state)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(calls):
        closure(state)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(40)


def closed_loop(mll_class, steps, seed, restarts=4, raw_samples=64, clock=time.perf_counter):
    """Regret after so many steps on Hartmann-6 from ten Sobol points, and seconds of all the fits and in all."""
    function = Hartmann(dim=6, negate=True, dtype=torch.float64)
    bounds = function.bounds
    X = torch.quasirandom.SobolEngine(6, scramble=True, seed=seed).draw(10, dtype=torch.float64)
    Y = function(X)[:, None]
    fitting, start = 0.0, clock()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(steps):
            model = SingleTaskGP(X, Y)
            before = clock()
            fit_gpytorch_mll(mll_class(model.likelihood, model))
            fitting += clock() - before
            sampler = SobolQMCNormalSampler(torch.Size([64]), seed=seed)
            acquisition = qLogExpectedImprovement(model, best_f=Y.max(), sampler=sampler)
            point, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=restarts, raw_samples=raw_samples)
            X, Y = torch.cat([X, point]), torch.cat([Y, function(point)[:, None]])
    return _HARTMANN_MAXIMUM - Y.max().item(), fitting, clock() - start


def loops(steps, seeds, clock):
    """One row a seed."""
    rows = []
    for seed in range(seeds):
        results = {name: closed_loop(mll_class, steps, seed, clock=clock) for name, mll_class in CLASSES.items()}
        cells = [[f"{result[i]:.{digits}f}" for result in results.values()] for i, digits in ((0, 4), (1, 1), (2, 1))]
        rows.append([seed, *(cell for pair in cells for cell in pair)])
        print(" | ".join(map(str, rows[-1])), flush=True)
    headings = [f"{what}, {name}" for what in ("regret", "fits, s", "in all, s") for name in CLASSES]
    return markdown(["seed", *headings], rows)


class Fit:
    """Times faster a whole BoTorch fit is."""

    params = (SIZES,)
    param_names = ("(n, d)",)
    timeout = 600
    unit = "times faster"

    def setup(self, size):
        if not CLASSES:
            raise NotImplementedError(MISSING)

    def track_speedup(self, size):
        X, Y = problem(*size, seed=0)
        best = dict.fromkeys(CLASSES, float("inf"))
        for _ in range(timing.repeats(3) if size[0] < 500 else 1):
            for name in CLASSES:
                pause(size[0])
                best[name] = min(best[name], fit(name, X, Y)[0])
        return best["GPyTorch"] / best["fastard"]


def main():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpytorch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=size, nargs="+", default=SIZES, metavar="NxD", help="such as 500x10, d from 4 on")
    parser.add_argument("--seeds", type=int, default=5, help="data sets of each size, or loops (default: 5)")
    parser.add_argument("--rounds", type=int, default=2, help="fits of each, of which the fastest counts (default: 2)")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds: for one thread each, on a busy machine")
    parser.add_argument("--profile", type=size, metavar="NxD", help="profile evaluations of this size instead")
    parser.add_argument("--loop", action="store_true", help="the closed loop instead")
    parser.add_argument("--steps", type=int, default=30, help="of the closed loop (default: 30)")
    arguments = parser.parse_args()
    if not CLASSES:
        parser.error(f"{MISSING}: pip install '.[torch]' botorch")
    fit("fastard", *problem(20, 4, 0))  # compile
    if arguments.profile:
        profile(*arguments.profile)
        return
    clock = time.process_time if arguments.cpu else time.perf_counter
    if arguments.loop:
        text = loops(arguments.steps, arguments.seeds, clock)
    else:
        text = fits(arguments.sizes, arguments.seeds, arguments.rounds, clock)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "gpytorch", "botorch"))
    print(f"\n{describe_machine()}; {libraries}\n\n{text}")


if __name__ == "__main__":
    main()
