"""Versions, processor, threads and cache: show_config()."""

import platform
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np

from fastard import _validation as validate
from fastard._numba.cache import read_only_places, writable_place
from fastard._numba.threads import available_cores, default_threads
from fastard._version import __version__

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
    validate.either("mode", mode, "stdout", "dicts")
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

    packages = {"numba": numba, "llvmlite": llvmlite, "numpy": np, "scipy": scipy}
    return (
        {"fastard": __version__}
        | {name: str(package.__version__) for name, package in packages.items()}
        | {
            "python": platform.python_version(),
            "platform": platform.platform(),
        }
    )


def _processor() -> dict[str, Any]:
    from llvmlite import binding

    try:
        known = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this platform
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
