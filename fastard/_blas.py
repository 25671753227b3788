"""BLAS on one thread for a while: where its threads would spin on the cores that ours compute on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_lock = threading.Lock()
_limited = False


@lru_cache(maxsize=1)
def _controller() -> Any:
    """The BLAS libraries of this process, found once (0.5 to 3 ms); None without threadpoolctl."""
    import scipy.linalg  # noqa: F401  # so that its BLAS is there

    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, BLAS works on one thread, in the whole process; afterwards on as many as before.

    Around SciPy's L-BFGS-B, whose steps on tiny matrices wake OpenBLAS's threads, which then spin for some 100 ms beside our
    evaluations: training on energy (n = 692, 67 evaluations) took 0.76 s without this and 0.59 s with it. Of several threads
    that are inside together, the first sets the limit and takes it back; so nobody takes another's limit for the usual number.
    """
    global _limited
    controller = _controller()
    with _lock:
        mine = controller is not None and not _limited
        _limited = _limited or mine
    if not mine:
        yield
        return
    try:
        with controller.limit(limits=1):
            yield
    finally:
        _limited = False
