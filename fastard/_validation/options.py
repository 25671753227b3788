"""Is an option one of its values?"""

import operator
from collections.abc import Collection
from typing import Any

import numpy as np

from fastard._numba.threads import available_cores, default_threads


def choice(name: str, value: Any, choices: Collection[str]) -> None:
    """One of several names."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def either(name: str, value: Any, first: str, second: str) -> None:
    """One of two names."""
    if not isinstance(value, str) or value not in (first, second):
        raise ValueError(f"{name} must be {first!r} or {second!r}, got {value!r}")


def count(name: str, value: Any, *, least: int) -> int:
    """An integer >= least."""
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}") from None
    if result < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return result


def index(name: str, value: Any, size: int) -> int:
    """An integer from 0 to below ``size``."""
    result = count(name, value, least=0)
    if result >= size:
        raise ValueError(f"{name} must be from 0 to {size - 1}, got {value!r}")
    return result


def probability(name: str, value: Any) -> float:
    """A number between 0 and 1."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number between 0 and 1, got {value!r}") from None
    if not 0.0 < result < 1.0:
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
    return result


def something_to_sample(size: int) -> None:
    """At least one free parameter."""
    if size == 0:
        raise ValueError("fixed leaves no parameter to draw; for one model use fastard.fit")


def thread_count(n_threads: int | None) -> int:
    """A positive number of threads, at most one per core: more only wait for each other. None is the default number."""
    if n_threads is None:
        return default_threads()
    return min(count("n_threads", n_threads, least=1), available_cores())


def generator(rng: Any) -> np.random.Generator:
    """A generator of our own: the global random state is neither read nor moved."""
    if isinstance(rng, np.random.RandomState):
        return np.random.default_rng(rng.randint(2**31))
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng must be None, an integer >= 0 or a NumPy generator: {error}") from None


def client(value: Any) -> None:
    """A Dask client whose cluster has workers, or None."""
    if value is None:
        return
    if not all(hasattr(value, name) for name in ("scatter", "map", "gather", "nthreads")):
        raise TypeError(f"client must be a dask.distributed.Client, or None; got {value!r}")
    if getattr(value, "asynchronous", False):
        raise ValueError("client must not be asynchronous: pass dask.distributed.Client(..., asynchronous=False)")
    if getattr(value, "status", "running") != "running":
        raise ValueError(f"client must be connected to its cluster, but it is {value.status}: make a new Client")
    if not value.nthreads():
        raise ValueError("client has no workers yet: call client.wait_for_workers(1) before")


def callback(value: Any) -> None:
    """A training's callback, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"callback must be callable with a TrainingState, or None; got {value!r}")


def std_or_cov(return_std: bool, return_cov: bool) -> None:
    """At most one of them."""
    if return_std and return_cov:
        raise ValueError("return_std and return_cov are both true; ask for one: the variances are cov's diagonal")


def axes(ax: Any) -> None:
    """One matplotlib Axes."""
    if not hasattr(ax, "barh"):
        raise TypeError(f"ax must be one matplotlib Axes, got {type(ax).__name__}; of an array of them pass one, ax[0] say")


def what_is_not_kept(objective: str, known_variances: bool, options: Collection[str]) -> None:
    """Refuse to train again without what a model was trained with and does not keep; ``options`` are the arguments given."""
    if objective.endswith(" with priors") and not any(name.endswith("_prior") for name in options):
        raise ValueError(
            "the model was trained with priors, which it does not keep: pass length_scale_prior and the others again, or "
            "length_scale_prior=None to train without"
        )
    if known_variances and "observation_variance" not in options:
        raise ValueError(
            "the model was trained with known variances: pass observation_variance for the rows of X, or "
            "observation_variance=None to train without"
        )


def some_inputs(d: int) -> None:
    """At least one."""
    if d == 0:
        raise ValueError("the model has no inputs, and so no effects of inputs")
