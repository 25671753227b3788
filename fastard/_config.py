"""What fastard runs on, and compiling ahead of time: show_config() and warmup()."""

import contextlib
import platform
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np

from fastard._cache import compiling_is_shown, read_only_places, writable_place
from fastard._threads import available_cores, default_threads
from fastard.kernels import BY_NAME, Kernel

# What decides how many numbers one instruction takes, as LLVM names it.
_CPU_FEATURES = ("avx2", "fma", "avx512f", "neon", "sve")


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, dict[str, Any]] | None:
    """Show versions, processor, threads, BLAS and the cache directory: what a bug report needs.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Whether to print it, or to return it as dictionaries (as ``numpy.show_config`` does).

    Returns
    -------
    config : dict of dict, or None
        With ``mode="dicts"``.

    Raises
    ------
    ValueError
        For another ``mode``.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode must be 'stdout' or 'dicts', got {mode!r}")
    config = {
        "versions": versions(),
        "processor": _processor(),
        "threads": {
            "cores available": available_cores(),
            "default": default_threads(),
            "pool": "fastard's own; Numba's threading layer is not used",
        },
        "BLAS and LAPACK": _linear_algebra(),
        "compiled code": _compiled_code(),
    }
    if mode == "dicts":
        return config
    width = max(len(key) for section in config.values() for key in section)
    for title, section in config.items():
        print(title)
        for key, value in section.items():
            print(f"  {key:{width}}  {', '.join(value) if isinstance(value, list) else value}")
    return None


def versions() -> dict[str, str]:
    """Of fastard and all that its results may depend on."""
    import llvmlite
    import numba
    import scipy

    import fastard

    packages = {"fastard": fastard, "numba": numba, "llvmlite": llvmlite, "numpy": np, "scipy": scipy}
    return {name: str(package.__version__) for name, package in packages.items()} | {
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _processor() -> dict[str, Any]:
    from llvmlite import binding

    try:
        known = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM can not tell on this platform
        known = {}
    return {
        "name": _model_name() or platform.processor() or platform.machine(),
        "LLVM's name": binding.get_host_cpu_name(),
        "vector features": [name for name in _CPU_FEATURES if known.get(name)] or ["none known"],
    }


def _model_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else ""


def _linear_algebra() -> dict[str, str]:
    import scipy

    found = {}
    for package in (np, scipy):
        built_with = package.show_config(mode="dicts").get("Build Dependencies", {})
        for library in ("blas", "lapack"):
            about = built_with.get(library, {})
            found[f"{package.__name__} {library}"] = f"{about.get('name', 'unknown')} {about.get('version', '')}".strip()
    return found


def _compiled_code() -> dict[str, Any]:
    if numba.config.DISABLE_JIT:
        return {"cache directory": "none: NUMBA_DISABLE_JIT is set"}
    found: dict[str, Any] = {
        "cache directory": writable_place() or "none is writable: each process compiles what it does not find"
    }
    read_only = read_only_places()
    return found | ({"read-only caches": read_only} if read_only else {})


def warmup(kernel: str | Kernel | None = None, *, progress: bool = False) -> None:
    """Compile, or load from the cache, what the likelihood, training and prediction need, so that no later call waits for it.

    Without a cached copy this takes many seconds; with one, a fraction of a second.

    Parameters
    ----------
    kernel : str or kernel object, optional
        As for :func:`fastard.log_marginal_likelihood`. All kernels by default.
    progress : bool, default False
        Whether to print the name of each kernel, on stderr, before it is compiled.

    Raises
    ------
    ValueError, TypeError
        For an unknown kernel.
    """
    import sys

    from fastard._validation import as_kernel

    with compiling_is_shown() if progress else contextlib.nullcontext():
        for chosen in [kind() for kind in BY_NAME.values()] if kernel is None else [as_kernel(kernel)]:
            if progress:
                print(f"fastard: compiling {type(chosen).__name__}", file=sys.stderr)
            compile_training(chosen)
            compile_derivatives(chosen)


def compile_training(kernel: str | Kernel) -> None:
    """What ``fit`` and ``predict`` need, by one small call of each."""
    from fastard.covariance import covariance
    from fastard.training import fit

    X = np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    fit(X, np.sin(X), kernel=kernel, max_iterations=1, n_threads=1).predict(X, return_std=True)
    many = np.linspace(0.0, 1.0, 400)[:, np.newaxis]  # enough to be shared out, which compiles the waiting
    covariance(many, many, length_scale=1.0, kernel=kernel, n_threads=2)


def compile_derivatives(kernel: str | Kernel) -> None:
    """What ``covariance_vjp`` and leave-one-out need."""
    from fastard.covariance import covariance_vjp
    from fastard.leave_one_out import loo_log_predictive_density

    X = np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    covariance_vjp(np.ones((8, 8)), X, length_scale=1.0, kernel=kernel)
    loo_log_predictive_density(X, X[:, 0], length_scale=1.0, kernel=kernel, eval_gradient=True)
