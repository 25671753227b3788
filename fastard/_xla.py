"""Calls from JAX's programs to Python: by XLA's foreign function interface on the CPU, else by ``jax.pure_callback``.

A call takes 3 µs by the first, 65 µs by the second, which makes arrays of JAX's out of the arguments. This module imports JAX,
and is imported where JAX is used.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import traceback
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from numpy.typing import NDArray

Array = NDArray[Any]

_TARGET = "fastard_host_callback"
_HEADER = "xla/ffi/api/c_api.h"  # of XLA's interface, as jaxlib has it
_SINCE = (0, 6, 2)  # JAX takes a function as a host callback; before, 0.5 say, an object of XLA's
_INTERNAL = 13  # XLA_FFI_Error_Code_INTERNAL


class HostCallback:
    """A function of an array (..., P) to one (..., P + 1) of the same type, for JAX's programs to call.

    Whatever has been compiled with it keeps it alive.
    """

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self.function = function
        self.number = next(_NUMBERS)
        _CALLBACKS[self.number] = self

    def __call__(self, theta: Any) -> Any:
        """For JAX: under ``jit`` and ``vmap``; without derivatives."""
        return _CALL.bind(theta, callback=self)


_NUMBERS = itertools.count()
_CALLBACKS: weakref.WeakValueDictionary[int, HostCallback] = weakref.WeakValueDictionary()


def differentiable(callback: HostCallback) -> Callable[[Any], Any]:
    """The function of theta (P,) whose value and gradient, (P + 1,), ``callback`` finds: for JAX, in reverse mode."""

    def value_and_gradient(theta: Any) -> Any:
        found = callback(theta)
        return found[0], found[1:]

    @jax.custom_vjp
    def value(theta: Any) -> Any:
        return value_and_gradient(theta)[0]

    value.defvjp(value_and_gradient, lambda gradient, of_value: (of_value * gradient,))
    return value  # type: ignore[no-any-return]


def _shape(theta: Any) -> tuple[int, ...]:
    return (*theta.shape[:-1], theta.shape[-1] + 1)


def _evaluate(theta: Any, *, callback: HostCallback) -> Any:
    """Outside of a compiled program."""
    found = jnp.asarray(callback.function(np.asarray(theta)))
    return jax.device_put(found, *theta.devices()) if len(theta.devices()) == 1 else found


def _batch(arguments: Any, axes: Any, *, callback: HostCallback) -> Any:
    return _CALL.bind(jnp.moveaxis(arguments[0], axes[0], 0), callback=callback), 0


def _pure_callback(theta: Any, *, callback: HostCallback) -> Any:
    return jax.pure_callback(callback.function, jax.ShapeDtypeStruct(_shape(theta), theta.dtype), theta)


_lower_by_pure_callback = mlir.lower_fun(_pure_callback, multiple_results=False)


def _lower_on_cpu(context: Any, theta: Any, *, callback: HostCallback) -> Any:
    if context.avals_in[0].dtype not in _TYPES.values() or not _is_registered():
        return _lower_by_pure_callback(context, theta, callback=callback)
    # As of a callback of JAX's own: such programs run while their caller waits, without which one that was dropped, or an
    # interpreter that exits, would be overtaken; and they hold what is given here as long as they run.
    context.module_context.add_host_callback(callback)
    return jax.ffi.ffi_lowering(_TARGET)(context, theta, number=np.int64(callback.number))


_CALL = Primitive(_TARGET)
_CALL.def_impl(_evaluate)
_CALL.def_abstract_eval(lambda theta, *, callback: theta.update(shape=_shape(theta)))
batching.primitive_batchers[_CALL] = _batch
mlir.register_lowering(_CALL, _lower_by_pure_callback)
mlir.register_lowering(_CALL, _lower_on_cpu, platform="cpu")


# XLA's structures, in major version 0 of its interface: later minor versions add to their ends.

_TYPES: dict[int, np.dtype[Any]] = {11: np.dtype(np.float32), 12: np.dtype(np.float64)}  # by XLA_FFI_DataType


class _Structure(ctypes.Structure):
    """What all begin with."""

    _fields_ = [("size", ctypes.c_size_t), ("extension", ctypes.c_void_p)]


class _Buffer(_Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dimensions", ctypes.POINTER(ctypes.c_int64)),
    ]


class _Buffers(_Structure):
    _fields_ = [("count", ctypes.c_int64), ("types", ctypes.c_void_p), ("items", ctypes.POINTER(ctypes.POINTER(_Buffer)))]


class _Scalar(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("value", ctypes.POINTER(ctypes.c_int64))]


class _Attributes(_Structure):
    _fields_ = [
        ("count", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("names", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(_Scalar))),
    ]


class _Version(_Structure):
    _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int)]


class _Metadata(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("version", _Version)]


class _MetadataExtension(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),
    ]


class _NewError(_Structure):
    _fields_ = [("message", ctypes.c_char_p), ("code", ctypes.c_int)]


class _Api(_Structure):
    _fields_ = [
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("new_error", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_NewError))),
    ]


class _Call(_Structure):
    _fields_ = [
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    ]


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Call))
def _handler(call: Any) -> int | None:
    """What XLA calls: an address of an error, or None."""
    call = call.contents
    try:
        if call.extension:  # it asks for which version this was written
            version = ctypes.cast(call.extension, ctypes.POINTER(_MetadataExtension)).contents.metadata.contents.version
            version.major, version.minor = _version()
            return None
        callback = _CALLBACKS[call.attributes.items[0].contents.value[0]]
        result = _array(call.results)
        if result.size:
            result[...] = callback.function(_array(call.arguments).copy())
        return None
    except BaseException:  # there is no Python above
        error = _NewError(ctypes.sizeof(_NewError), None, traceback.format_exc().encode(), _INTERNAL)
        return call.api.contents.new_error(ctypes.byref(error))  # type: ignore[no-any-return]


def _array(buffers: Any) -> Array:
    """The first one's memory."""
    buffer = buffers.items[0].contents
    dtype, shape = _TYPES[buffer.type], buffer.dimensions[: buffer.rank]
    size = dtype.itemsize
    for length in shape:
        size *= length
    return np.ndarray(shape, dtype, memoryview((ctypes.c_char * size).from_address(buffer.data or 0)))


@cache
def _version() -> tuple[int, int]:
    """Of the installed XLA's interface."""
    text = Path(jax.ffi.include_dir(), _HEADER).read_text(encoding="utf-8")
    major, minor = (re.search(rf"#define XLA_FFI_API_{name} (\d+)", text) for name in ("MAJOR", "MINOR"))
    if major is None or minor is None:
        raise LookupError(_HEADER)
    return int(major[1]), int(minor[1])


@cache
def _is_registered() -> bool:
    """Whether XLA knows the handler; else the installed JAX has no interface that is known here."""
    try:
        jax.local_devices(backend="cpu")  # before which it would be registered later, and an error raised then
        if _version()[0] != 0 or jax.__version_info__ < _SINCE:
            return False
        address = ctypes.cast(_handler, ctypes.c_void_p).value
        jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(address), platform="cpu")
    except Exception:  # JAX's own of any kind, or no header
        return False
    return True
