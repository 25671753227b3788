"""BoTorch's SAASBO model, sampled by BoTorch's own code and with fastard's data term: time, and held-out predictive density.

    python -m benchmarks.saasbo                          # a markdown table
    python -m benchmarks.saasbo --warmup 1 --draws 1     # what compiling alone takes
    python -m benchmarks.saasbo --loop 5 --sizes 30x20   # one more point for each fit, as in Bayesian optimisation

It needs BoTorch with JAX and NumPyro beside fastard (``pip install '.[torch]' 'botorch[fully-bayesian]'``). Both take turns in
one run with the same data, seed, warm-up and draws. Without ``--loop`` each fit compiles its chain, as the first one does.
"""

import argparse
import math
import time
import warnings

from benchmarks import timing
from benchmarks.peers import size
from benchmarks.report import describe_machine, markdown, version

try:
    import jax
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import botorch.fit
        from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP

    import numpyro  # noqa: F401  # without which BoTorch makes no model

    import fastard.gpytorch
    from fastard.gpytorch import chains

    FITS = {"fastard": fastard.gpytorch.fit_fully_bayesian_model_nuts, "BoTorch": botorch.fit.fit_fully_bayesian_model_nuts}
    MISSING = ""
except ImportError as error:  # asv and the tests load every file
    MISSING, FITS = str(error), {}

SIZES = [(50, 10), (100, 20)]
_HELD_OUT = 500


def problem(n, d, seed):
    """Inputs (n, d) in the unit cube, of which three count, standardised targets (n, 1), and 500 points held out; d >= 3."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n + _HELD_OUT, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(n + _HELD_OUT, 1, generator=generator, dtype=torch.float64)
    Y = torch.sin(6.0 * X[:, :1]) + X[:, 1:2] ** 2 + X[:, 2:3] * X[:, :1] + 0.1 * noise
    Y = (Y - Y[:n].mean()) / Y[:n].std()
    return X[:n], Y[:n], X[n:], Y[n:]


def sampled(name, data, warmup, draws, seed=0):
    """Wall and processor seconds of one fit, and the mean log predictive density of a held-out point, averaged over draws."""
    X, Y, at, target = data
    model = SaasFullyBayesianSingleTaskGP(X, Y)
    wall, processor = time.perf_counter(), time.process_time()
    FITS[name](model, warmup_steps=warmup, num_samples=draws, thinning=max(1, draws // 16), disable_progbar=True, seed=seed)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    with torch.no_grad():
        posterior = model.posterior(at, observation_noise=True).distribution
        of_each = torch.distributions.Normal(posterior.mean, posterior.variance.sqrt()).log_prob(target[:, 0])
    density = torch.logsumexp(of_each, dim=0) - math.log(len(of_each))
    return wall, processor, density.mean().item()


def table(sizes, warmup, draws, seeds, fits=0):
    """One row for each size and seed; or of a loop, for each of ``fits`` with n, n + 1, ... points."""
    rows = []
    for n, d in [(n + more, d) for n, d in sizes for more in range(max(1, fits))]:
        for seed in range(1 if fits else seeds):
            data = problem(n, d, seed)
            if not fits:
                chains._KEPT.clear()
            found = {name: sampled(name, data, warmup, draws, seed) for name in FITS}
            walls, processors, densities = zip(*found.values(), strict=True)
            rows.append(
                [
                    n, d, seed, *(f"{each:.1f} s" for each in walls), f"{walls[1] / walls[0]:.1f}×",
                    *(f"{each:.1f} s" for each in processors), f"{processors[1] / processors[0]:.1f}×",
                    *(f"{each:+.3f}" for each in densities),
                ]
            )  # fmt: skip
            print(" | ".join(map(str, rows[-1])), flush=True)
    headings = ["n", "d", "seed"]
    for what in ("wall", "processor"):
        headings += [f"{what}, {name}" for name in FITS] + ["ratio"]
    return markdown([*headings, *(f"held-out density, {name}" for name in FITS)], rows)


class Saasbo:
    """Times faster a fully Bayesian fit is, with a short chain."""

    params = (SIZES,)
    param_names = ("(n, d)",)
    timeout = 1800
    unit = "times faster"

    def setup(self, size):
        if not FITS:
            raise NotImplementedError(MISSING)

    def track_speedup(self, size):
        steps = timing.repeats(64)
        data = problem(*size, seed=0)
        chains._KEPT.clear()
        seconds = {name: sampled(name, data, warmup=steps, draws=steps)[0] for name in FITS}
        return seconds["BoTorch"] / seconds["fastard"]


def main():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.saasbo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=size, nargs="+", default=SIZES, metavar="NxD", help="such as 100x20, d from 3 on")
    parser.add_argument("--warmup", type=int, default=512, help="steps (default: 512, BoTorch's)")
    parser.add_argument("--draws", type=int, default=256, help="of which 16 are kept (default: 256, BoTorch's)")
    parser.add_argument("--seeds", type=int, default=2, help="data sets of each size (default: 2)")
    parser.add_argument("--loop", type=int, default=0, metavar="FITS", help="fits of each size, with one more point each time")
    parser.add_argument("--float32", action="store_true", help="JAX's default, which leaves BoTorch's density to float32")
    arguments = parser.parse_args()
    if not FITS:
        parser.error(f"{MISSING}: pip install '.[torch]' 'botorch[fully-bayesian]'")
    jax.config.update("jax_enable_x64", not arguments.float32)
    for name in FITS:  # compile, and start the libraries
        sampled(name, problem(20, 3, 0), 1, 1)
    text = table(arguments.sizes, arguments.warmup, arguments.draws, arguments.seeds, arguments.loop)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "botorch", "jax", "numpyro"))
    print(f"\n{describe_machine()}; {libraries}\n\n{text}")


if __name__ == "__main__":
    main()
