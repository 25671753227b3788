"""Chains of the no-U-turn sampler, by nutpie."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._progress import sampling_progress

_JITTER, _TRIES = 1.0, 50  # of each coordinate of a chain's first point, and how often it is drawn anew

Density = Callable[[Array], tuple[float, Array]]


class Chains(NamedTuple):
    """What the chains return after their warm-up."""

    coordinates: Array  # (chains, draws, k)
    log_density: Array  # (chains, draws)
    diverging: NDArray[np.bool_]  # (chains, draws)
    step_size: Array  # (chains,)


def import_nutpie() -> Any:
    """The module; one clear line where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ArviZ speaks of its own future
            import nutpie
            import nutpie.compiled_pyfunc
    except ImportError as error:
        raise type(error)(f"fastard.sample_posterior needs nutpie ({error}): pip install 'fastard[bayes]'") from error
    return nutpie


def sample(
    density_of_chain: Callable[[], Density],
    start: Array,
    *,
    n_chains: int,
    n_draws: int,
    n_warmup: int,
    at_a_time: int,
    target_accept: float,
    seed: int,
    progress: bool,
) -> Chains:
    """Draws from densities over coordinates (k,), from points near ``start``, where the density must be finite.

    Each chain asks ``density_of_chain`` for a density of its own, which it calls on another thread. What that raises ends the
    chains and is raised here, and so does an interrupt. The draws do not depend on ``at_a_time``, the number of chains that
    run at once.
    """
    nutpie = import_nutpie()
    import pyarrow

    failures: list[BaseException] = []  # nutpie aborts the process's threads on one that is raised

    def guarded() -> Density:
        density = density_of_chain()

        def evaluate(coordinates: Array) -> tuple[float, Array]:
            if failures:  # every trajectory ends at once
                return -np.inf, np.zeros(start.size)
            try:
                return density(np.array(coordinates))
            except BaseException as error:
                failures.append(error)
                return -np.inf, np.zeros(start.size)

        return evaluate

    first_points = guarded()
    lock = threading.Lock()

    def first_point(chain_seed: int) -> Array:
        random = np.random.default_rng(chain_seed)
        with lock:  # its buffers are shared
            for _ in range(_TRIES):
                point: Array = start + random.uniform(-_JITTER, _JITTER, start.size)
                if np.isfinite(first_points(point)[0]):
                    return point
        return start.copy()

    told: list[Callable[[], None]] = []  # of each draw

    def expanded(coordinates: Array) -> dict[str, Array]:
        for tell in told:
            tell()
        return {"coordinates": np.array(coordinates)}

    model = nutpie.compiled_pyfunc.from_pyfunc(
        start.size,
        guarded,
        lambda *_: expanded,
        [np.dtype(np.float64)],
        [(start.size,)],
        ["coordinates"],
        make_initial_point_fn=first_point,
    )
    with contextlib.ExitStack() as stack:
        if progress:
            told.append(stack.enter_context(sampling_progress(n_chains * (n_warmup + n_draws))).drawn)
        sampler = nutpie.sample(
            model,
            draws=n_draws,
            tune=n_warmup,
            chains=n_chains,
            cores=at_a_time,
            seed=seed,
            target_accept=target_accept,
            progress_bar=False,  # its own bars wrap in narrow terminals
            return_raw_trace=True,
            blocking=False,
        )
        try:
            trace = sampler.wait()
        except BaseException as error:  # an interrupt, or what nutpie makes of a failure
            failures.append(error)
            with contextlib.suppress(Exception):
                sampler.abort()  # waits for the evaluations under way
        if failures:
            raise failures[0]
    draws, statistics = trace.get_arrow_trace()

    def columns(tables: Any, name: str) -> Any:
        arrays = [pyarrow.array(table.column(name)) for table in tables]
        flat = [(array.flatten() if hasattr(array, "flatten") else array).to_numpy(zero_copy_only=False) for array in arrays]
        return np.stack([each.reshape(n_warmup + n_draws, -1)[n_warmup:] for each in flat])

    return Chains(
        columns(draws, "coordinates"),
        columns(statistics, "logp")[..., 0],
        columns(statistics, "diverging")[..., 0].astype(bool),
        columns(statistics, "step_size_bar")[:, -1, 0],
    )
