"""Compiled code on disk, and the line that says when there was none.

Numba's own cache looks only at the file that a function stands in, so after an upgrade it goes on with code made of what other
files held before; it raises where a file is damaged or a disk is full; and it does not read where it may not write. This one
seals each file with a stamp of all sources that compiled code is made of: what does not fit its seal is compiled anew and
replaced, and what cannot be kept is used all the same.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import pkgutil
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

from fastard._numba import symbols
from fastard._version import __version__

# Every module that holds compiled functions, and all of ours that those import: a change of any one compiles all anew.
SOURCES = (
    "_arrays",
    "_engine/loops/cells",
    "_engine/loops/hessian",
    "_engine/loops/information",
    "_engine/loops/likelihood",
    "_engine/loops/local",
    "_engine/loops/loo",
    "_engine/loops/neighbors",
    "_engine/loops/objective",
    "_engine/loops/pairs",
    "_engine/loops/posterior",
    "_engine/loops/priors",
    "_engine/loops/profiles",
    "_engine/loops/quasi_newton",
    "_engine/loops/schedule",
    "_engine/loops/sweep",
    "_engine/loops/trend",
    "_engine/loops/vecchia",
    "_limits",
    "_numba/atomics",
    "_numba/cache",
    "_numba/compiler",
    "_numba/cpu",
    "_numba/elementary",
    "_numba/jit",
    "_numba/microkernel",
    "_numba/symbols",
    "_numba/threads",
    "_version",
    "kernels",
)
# Numba's settings that change machine code; `cpu` reads the CPU's too, in a way that Numba's own key does not tell.
_SETTINGS = (
    "BOUNDSCHECK",
    "CPU_FEATURES",
    "CPU_NAME",
    "DEBUGINFO_DEFAULT",
    "DEBUG_JIT",
    "DEBUG_NRT",
    "EXTEND_VARIABLE_LIFETIMES",
    "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE",
    "OPT",
    "SLP_VECTORIZE",
    "USING_SVML",
)

_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the package's

_SEAL = 32  # bytes

_TAG = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"

_PATIENCE = 2.0  # seconds of compiling without a word


def _files() -> list[tuple[int, int, int] | None]:
    """What tells whether the sources are still the files that they were; None for what is no file, in a zip archive, say."""
    states: list[tuple[int, int, int] | None] = []
    for name in SOURCES:
        try:
            state = os.stat(os.path.join(_FOLDER, *f"{name}.py".split("/")))
            states.append((state.st_ino, state.st_size, state.st_mtime_ns))
        except OSError:
            states.append(None)
    return states


_IMPORTED = _files()


@functools.cache
def _hash_of_sources() -> bytes:
    about = [__version__, numba.__version__, llvmlite.__version__, np.__version__, sys.version]
    if getattr(sys, "frozen", False):  # an executable that contains us may not have our sources
        state = os.stat(sys.executable)
        about += [str(state.st_size), str(state.st_mtime_ns)]
    for name in SOURCES:
        source = None
        for ending in ("py", "pyc"):
            with contextlib.suppress(OSError):
                source = source or pkgutil.get_data("fastard", f"{name}.{ending}")
        about.append(hashlib.sha256(source or b"").hexdigest())
    return hashlib.sha256("\n".join(about).encode()).digest()


def stamp() -> bytes | None:
    """Of what compiled code is made of; None where the files are no longer those that this process imported."""
    found = _hash_of_sources()
    return found if _files() == _IMPORTED else None


def places() -> list[str]:
    """The directories that are read, and tried for writing, in this order, which is Numba's."""
    ours = f"{os.path.basename(_FOLDER)}_{hashlib.sha1(_FOLDER.encode(errors='surrogateescape')).hexdigest()}"
    of_user = AppDirs("numba", appauthor=False).user_cache_dir
    found = [os.path.join(os.path.abspath(numba.config.CACHE_DIR), ours)] if numba.config.CACHE_DIR else []
    found.append(os.path.join(_FOLDER, "__pycache__"))
    if os.path.isabs(of_user):  # not so for a user without a home
        found.append(os.path.join(of_user, ours))
    return found


def writable_place() -> str | None:
    """Where the next function goes; None where no directory can be written, or made. Nothing is written to find out."""
    return next((place for place in places() if _writable(place)), None)


def _writable(place: str) -> bool:
    while not os.path.lexists(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)


def read_only_places() -> list[str]:
    """Directories with compiled code that this user may read but not add to: in an image built by root, say."""
    found = []
    for place in places():
        with contextlib.suppress(OSError):
            if any(name.endswith(".nbc") for name in os.listdir(place)) and not _writable(place):
                found.append(place)
    return found


class Cache(NullCache):
    """What Numba asks for a function's machine code before it compiles, and gives it to afterwards; both under its lock."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher
        function = dispatcher.py_func
        self._name = f"{function.__module__}.{function.__qualname__}".translate({ord("<"): None, ord(">"): None})

    @property
    def cache_path(self) -> str | None:
        return writable_place()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        key, name = self._key(sig, target_context.codegen())
        if seal := stamp():
            for place in places():
                with contextlib.suppress(Exception):  # whatever goes wrong, compiling puts it right
                    needed, reduced = _read(os.path.join(place, name), seal, key)
                    for other, argument_types in needed:
                        symbols.provide(other, argument_types)
                    # Only what machine code calls: all else that Numba knows is for its compiler, which fetches it itself.
                    rtsys.initialize(target_context)
                    return CompileResult._rebuild(target_context, *reduced)
        _compiling(self._dispatcher)
        return None

    def holds(self, sig: Any, target_context: Any) -> bool:
        """Whether `load_overload` would find it; nothing is loaded."""
        key, name = self._key(sig, target_context.codegen())
        if seal := stamp():
            for place in places():
                with contextlib.suppress(Exception):
                    _read(os.path.join(place, name), seal, key)
                    return True
        return False

    def save_overload(self, sig: Any, data: Any) -> None:
        _compiling(self._dispatcher, ends=True)
        seal = stamp()
        if not seal or data.lifted or data.library.has_dynamic_globals:  # the last hold addresses in this process
            return
        key, name = self._key(sig, data.codegen)
        try:
            body = dumps((key, (symbols.needed(data.library), data._reduce())))
        except RuntimeError:  # an interrupt came while LLVM gave Numba the machine code, and both were lost
            return
        for place in places():
            if _write(place, name, _sealed(seal, body) + body):
                return

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, str]:
        """What the machine code depends on besides the stamp, and the name of its file: different keys live side by side."""
        settings = [str(getattr(numba.config, name, None)) for name in _SETTINGS]
        key = sig, codegen.magic_tuple(), settings
        return key, f"{self._name}-{_TAG}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


def _sealed(stamp: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=stamp, digest_size=_SEAL).digest()


def _read(path: str, stamp: bytes, key: Any) -> Any:
    with open(path, "rb") as file:
        data = file.read()
    if data[:_SEAL] != _sealed(stamp, data[_SEAL:]):
        raise ValueError("old or damaged")
    found, reduced = pickle.loads(data[_SEAL:])
    if found != key:
        raise ValueError("of another function or type")
    return reduced


def _write(place: str, name: str, data: bytes) -> bool:
    """Write the file as a whole or not at all; whether it is there."""
    path = os.path.join(place, name)
    temporary = f"{path}.{uuid.uuid4().hex[:16]}"
    try:
        os.makedirs(place, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    return True


# How long this process has compiled. Functions are compiled inside others: the outermost counts.
_outermost: Any = None

_began = 0.0

_earlier = 0.0  # seconds

_said = False


def _compiling(dispatcher: Any, ends: bool = False) -> None:
    """Where the compilation of a function begins or ends. Numba's lock is held."""
    global _outermost, _began, _earlier, _said
    now = time.monotonic()
    if _outermost is None or not _outermost.is_compiling:  # the latter after an error, which no end follows
        _outermost, _began = dispatcher, now
    if not _said and _earlier + now - _began > _PATIENCE:
        _said = True
        _say()
    if ends and dispatcher is _outermost:
        _outermost, _earlier = None, _earlier + now - _began


def _say() -> None:
    """One line: to who watches a terminal or a notebook, or to the log of a program that keeps one."""
    how_often = "later processes load the result" if writable_place() else "in every process: no cache directory is writable"
    line = f"compiling for this machine, which takes some 10 to 30 s; {how_often} (see fastard.warmup and fastard.show_config)"
    logger = logging.getLogger("fastard")
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        logger.info(line)
    elif logger.level <= logging.INFO and logger.manager.disable < logging.INFO and _is_watched(sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            print(f"fastard: {line}", file=sys.stderr, flush=True)


def _is_watched(stream: Any) -> bool:
    """Whether it is a terminal or a notebook."""
    try:
        return bool(stream.isatty()) or type(stream).__module__.startswith("ipykernel.")
    except (AttributeError, ValueError):  # None, something with only a write method, or closed
        return False


@contextlib.contextmanager
def compiling_is_shown() -> Iterator[None]:
    """Say nothing inside, where the caller does, nor count what is compiled there."""
    global _said, _earlier
    said, earlier = _said, _earlier
    _said = True
    try:
        yield
    finally:
        _said, _earlier = said, earlier
