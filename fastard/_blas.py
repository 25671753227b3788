"""BLAS on one thread for a while: where its threads would spin on the cores that ours compute on."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_lock = threading.Lock()
_limit: Any = None


@lru_cache(maxsize=1)
def _controller() -> Any:
    """The BLAS libraries of this process, found once (0.5 to 3 ms); None without threadpoolctl, or where it knows none."""
    import scipy.linalg  # noqa: F401  # so that its BLAS is there

    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    found = ThreadpoolController().select(user_api="blas")
    return found if found.lib_controllers else None


@contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Inside, BLAS works on one thread, in the whole process; afterwards on as many as before. Gives whether it is so.

    Around SciPy's L-BFGS-B, whose steps on tiny matrices wake OpenBLAS's threads, which then spin for some 100 ms beside our
    evaluations: training on energy (n = 692, 67 evaluations) took 0.76 s without this and 0.59 s with it. Of several threads
    that are inside together, the first sets the limit and takes it back; so nobody takes another's limit for the usual number.
    (Who limits BLAS by threadpoolctl in another thread meanwhile may: that library keeps no count.)
    """
    global _limit
    controller = _controller()
    with _lock:
        mine = controller is not None and _limit is None
        if mine:
            _limit = controller.limit(limits=1)
    if not mine:
        yield controller is not None
        return
    try:
        with _limit:
            yield True
    finally:
        _limit = None


def _after_fork() -> None:
    """A child forked meanwhile has nobody else to give the threads back."""
    global _lock, _limit
    _lock = threading.Lock()
    if _limit is not None:
        _limit.restore_original_limits()
        _limit = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
