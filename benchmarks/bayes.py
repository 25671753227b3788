"""Draws from the posterior of the hyperparameters: fastard.sample_posterior beside NumPyro's NUTS.

    python -m benchmarks.bayes                                                # all sizes, many hours
    python -m benchmarks.bayes --sizes 50x6 100x20 --only fastard numpyro
    python -m benchmarks.bayes --sizes 500x20 --chains 1 --draws 100 --warmup 150 --turns 1

It needs nutpie and NumPyro beside fastard (``pip install '.[bayes,jax]' numpyro``). All sample one model, in float64: the RBF
kernel, log-normal priors (fastard's defaults), y less its mean. ``numpyro`` has the likelihood in JAX alone, the distances by
one matrix product; ``numpyro+fastard`` has it from `fastard.jax`. Each works in a process of its own, and they take turns.

What is compared is processor time per effective sample: user and system, of all threads, of warm-up and draws, over the least
effective sample size of a hyperparameter's logarithm. Compiling is apart: it is what a run of one step takes, which NumPyro
compiles anew each time, so that it is taken off its time. BLAS and XLA have one thread each: waiting threads of theirs spin,
and that would count.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import Child
from benchmarks.peers import size
from benchmarks.problems import smooth_data
from benchmarks.report import describe_machine, markdown, version

SIZES = [(n, d) for n in (50, 100, 200, 500) for d in (6, 20, 50)]
CONTESTANTS = ("fastard", "numpyro", "numpyro+fastard")
HEADINGS = ["n", "d", "contestant", "ms per effective sample", "ratio", "s to compile", "s to sample", "effective samples",
            "R-hat", "means apart"]  # fmt: skip

_CHILD = """
import os
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
from benchmarks.bayes import answer
answer()
"""

Run = Callable[[int, int, int, int], np.ndarray]  # from chains, draws, warm-up and a seed to logarithms (chains, draws, d + 2)


def answer() -> None:
    """In a process of its own: for each line of JSON that is read, one with a turn's figures."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(**json.loads(line))), flush=True)


def turn(name: str, n: int, d: int, chains: int, draws: int, warmup: int, seed: int) -> dict[str, Any]:
    """Processor time of compiling and of sampling, in seconds, and what the draws are worth."""
    from fastard._bayes.convergence import ess_bulk, r_hat

    X, y = smooth_data(n, d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run: Run = _fastard(X, y) if name == "fastard" else _numpyro(X, y, name == "numpyro")
        run(1, 4, 1, seed)  # imports, and fastard's machine code from its cache
        start = time.process_time()
        run(1, 4, 1, seed)
        middle = time.process_time()
        found = run(chains, draws, warmup, seed)
        compiling = middle - start
        sampling = time.process_time() - middle - compiling
    known = ess_bulk(found)
    return {
        "compiling": compiling,
        "sampling": sampling,
        "samples": float(known.min()),
        "r_hat": float(r_hat(found).max()),
        "mean": found.mean(axis=(0, 1)).tolist(),
        "error": (found.std(axis=(0, 1)) / np.sqrt(known)).tolist(),
    }


def _fastard(X: np.ndarray, y: np.ndarray) -> Run:
    import fastard

    def run(chains: int, draws: int, warmup: int, seed: int) -> np.ndarray:
        model = fastard.sample_posterior(X, y, n_chains=chains, n_draws=draws, n_warmup=warmup, rng=seed)
        return np.log(np.dstack([model.length_scale, model.signal_variance, model.noise_variance]))

    return run


def _numpyro(X: np.ndarray, y: np.ndarray, in_jax: bool) -> Run:
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import numpyro

    import fastard.jax

    n, d = X.shape
    y = y - y.mean()
    scales = np.log(np.ptp(X, axis=0)) + np.sqrt(2.0) + 0.5 * np.log(d)
    medians = np.append(scales, np.log(np.var(y)) + np.array([0.0, -4.0]))
    deviations = np.append(np.full(d, np.sqrt(3.0)), [1.0, 1.0])

    def in_jax_alone(theta: Any) -> Any:
        scaled = X / jnp.exp(theta[:d])
        squares = (scaled**2).sum(axis=1)
        r2 = jnp.maximum(squares[:, None] + squares - 2.0 * scaled @ scaled.T, 0.0)
        L = jnp.linalg.cholesky(jnp.exp(theta[d] - 0.5 * r2) + jnp.exp(theta[d + 1]) * jnp.eye(n))
        white = jax.scipy.linalg.solve_triangular(L, y, lower=True)
        return -0.5 * white @ white - jnp.log(jnp.diag(L)).sum() - 0.5 * n * np.log(2.0 * np.pi)

    def by_fastard(theta: Any) -> Any:
        return fastard.jax.log_marginal_likelihood(theta, X, y)

    def model() -> None:
        theta = numpyro.sample("theta", numpyro.distributions.Normal(medians, deviations).to_event(1))
        numpyro.factor("likelihood", (in_jax_alone if in_jax else by_fastard)(theta))

    def run(chains: int, draws: int, warmup: int, seed: int) -> np.ndarray:
        sampler = numpyro.infer.MCMC(
            numpyro.infer.NUTS(model),
            num_warmup=warmup,
            num_samples=draws,
            num_chains=chains,
            chain_method="sequential",
            progress_bar=False,
        )
        sampler.run(jax.random.PRNGKey(seed))
        return np.asarray(sampler.get_samples(group_by_chain=True)["theta"])

    return run


def row(n: int, d: int, name: str, turns: list[dict[str, Any]], first: list[dict[str, Any]]) -> list[object]:
    """Of the table; ``first``: the turns of the contestant that the others are compared to."""
    mine, theirs = (sum(each["sampling"] for each in some) / sum(each["samples"] for each in some) for some in (turns, first))
    gaps = [
        np.abs(np.subtract(a["mean"], b["mean"])) / np.hypot(a["error"], b["error"]) for a, b in zip(turns, first, strict=True)
    ]
    compiling, sampling, samples = (np.mean([each[of] for each in turns]) for of in ("compiling", "sampling", "samples"))
    return [
        n, d, name, f"{1e3 * mine:.3g}", f"{mine / theirs:.1f}", f"{compiling:.2g}", f"{sampling:.3g}", f"{samples:.0f}",
        f"{max(each['r_hat'] for each in turns):.2f}", f"{np.max(gaps):.1f}",
    ]  # fmt: skip


def table(
    sizes: list[tuple[int, int]], names: list[str], turns: int = 3, progress: Callable[[str], None] = print, **each: int
) -> tuple[str, list[dict[str, Any]]]:
    """Markdown, and all figures; ``each``: chains, draws and warmup."""
    rows, figures = [], []
    with ExitStack() as stack:
        children = {name: stack.enter_context(closing(Child(_CHILD))) for name in names}
        for n, d in sizes:
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for seed in range(turns):
                for name, child in children.items():
                    task = {"name": name, "n": n, "d": d, "seed": seed, **each}
                    result = json.loads(child.ask(json.dumps(task)))
                    progress(f"{n} x {d}  {name}: {result['sampling']:.3g} s for {result['samples']:.0f} effective samples")
                    found[name].append(result)
                    figures.append(task | result)
            rows += [row(n, d, name, found[name], found[names[0]]) for name in names]
    return markdown(HEADINGS, rows), figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bayes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=size, nargs="+", default=SIZES, metavar="NxD", help="such as 100x20, d from 3 on")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="the others over the first")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=500, help="of each chain (default: 500)")
    parser.add_argument("--warmup", type=int, default=500, help="of each chain (default: 500)")
    parser.add_argument("--turns", type=int, default=3, help="runs with other seeds (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    arguments = parser.parse_args()
    text, figures = table(
        arguments.sizes,
        arguments.only,
        arguments.turns,
        lambda line: print(line, file=sys.stderr),
        chains=arguments.chains,
        draws=arguments.draws,
        warmup=arguments.warmup,
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    libraries = ", ".join(f"{name} {version(name)}" for name in ("nutpie", "numpyro", "jax"))
    print(f"\n{describe_machine()}; {libraries}\n\n{text}")


if __name__ == "__main__":
    main()
