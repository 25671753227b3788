"""Chains of NumPyro's that are compiled once: the data of a fit, and how many there are, are no part of the program."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any

import jax
from numpyro.infer import MCMC
from numpyro.infer.mcmc import MCMCKernel

from fastard import _xla
from fastard._arrays import Array

_MOST = 8  # chains that are kept

_KEPT: list[Chain] = []  # by single operations, which are indivisible; the last one used stands last


class Chain:
    """NumPyro's sampler for models that differ in their data term alone; never by two threads at once.

    ``key`` has all that the chain depends on beside the data term, ``mcmc`` the settings, and ``sample(callback)`` is the
    model, whose data term ``callback`` computes.
    """

    def __init__(self, key: Hashable, mcmc: Any, sample: Callable[[_xla.HostCallback], None]) -> None:
        self.key = key
        self._data_term: Callable[[Any], Array] | None = None
        self._error: BaseException | None = None  # of the data term's, which JAX tells as text of its own
        callback = _xla.HostCallback(self._evaluate)
        self._sampler = copy.copy(mcmc.sampler)
        self._sampler._model = lambda: sample(callback)
        self._settings = {name: getattr(mcmc, name) for name in ("num_warmup", "num_samples", "thinning", "progress_bar")}
        self._mcmc = MCMC(self._sampler, **self._settings)
        self._compiled = jax.jit(self._after_start)

    def run(self, seed: Any, data_term: Callable[[Any], Array]) -> tuple[Any, Any]:
        """What ``MCMC.run(seed)`` leaves: the collected states and the last one, the same bits."""
        self._data_term = data_term
        try:
            if not self._mcmc.progress_bar:
                start = self._sampler.init(seed, self._mcmc.num_warmup, None, (), {})
                return jax.block_until_ready(self._compiled(start))  # type: ignore[no-any-return]
            self._mcmc.run(seed)  # it compiles one step, and that once
            return jax.block_until_ready((self._mcmc._states, self._mcmc._last_state))  # type: ignore[no-any-return]
        except Exception:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            self._data_term = self._mcmc._states = self._mcmc._last_state = None

    def _evaluate(self, theta: Any) -> Array:
        assert self._data_term is not None
        try:
            return self._data_term(theta)
        except BaseException as error:
            self._error = error
            raise

    def _after_start(self, start: Any) -> tuple[Any, Any]:
        """All steps in one program; NumPyro's own is a new one for each call."""
        mcmc = MCMC(_Started(self._sampler, start), **self._settings)
        mcmc.run(start.rng_key)
        return mcmc._states, mcmc._last_state


class _Started(MCMCKernel):
    """A sampler whose first state is known."""

    def __init__(self, sampler: Any, start: Any) -> None:
        self._sampler, self._start = sampler, start

    def init(self, *_: Any, **__: Any) -> Any:
        return self._start

    def sample(self, *arguments: Any) -> Any:
        return self._sampler.sample(*arguments)

    def postprocess_fn(self, *arguments: Any) -> Any:
        return self._sampler.postprocess_fn(*arguments)

    @property
    def sample_field(self) -> Any:
        return self._sampler.sample_field

    @property
    def default_fields(self) -> Any:
        return self._sampler.default_fields


def take(key: Hashable) -> Chain | None:
    """A kept chain, which nobody else has until it is given back."""
    for chain in _KEPT[::-1]:
        if chain.key == key:
            try:
                _KEPT.remove(chain)
            except ValueError:  # another thread has it now
                continue
            return chain
    return None


def give_back(chain: Chain) -> None:
    """For the next fit; the one that was not used for the longest time is forgotten."""
    _KEPT.append(chain)
    del _KEPT[:-_MOST]
