"""Reading an archive of arrays that may be damaged or made to do harm: all sizes are known before any array is read."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array, large_array
from fastard._parameters import AT_UPPER_BOUND
from fastard.kernels import BY_NAME, Kernel

# A file may expand to this many bytes, or to this many times its own; what `save` writes is not compressed.
_SMALL, _MOST_EXPANSION = 2**24, 100

_AT_A_TIME = 2**24  # bytes that are copied while reading


class Format(NamedTuple):
    """One kind of model in a file, of which the header's ``format`` is the name."""

    version: int  # the latest that is known
    arrays: frozenset[str]  # that it has
    optional: frozenset[str]  # that it may have
    model: Callable[[dict[str, Any], dict[str, Member], int], Any]  # of the header, the arrays and the threads


def read(path: str | os.PathLike[str], formats: Mapping[str, Format], threads: int) -> Any:
    """The model in a file; a ValueError if it is none, is damaged, or is of a later version."""
    with Path(path).open("rb") as file:
        try:
            return _read(file, formats, threads)
        except _TooNewError as error:
            raise ValueError(f"{path} was written by fastard {error}, in a later format; upgrade fastard to read it") from None
        except (
            ValueError, TypeError, LookupError, AttributeError, OSError, EOFError, NotImplementedError, RuntimeError,
            OverflowError, struct.error, zlib.error, zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise ValueError(f"{path} is not a model that fastard saved, or is damaged: {error}; save it again") from error


class _TooNewError(Exception):
    """A format that this version does not know."""


class Member(NamedTuple):
    """An array in the archive, of which only the npy header has been read."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    start: int  # where its data begin
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool

    def read(self) -> NDArray[Any]:
        order: Literal["F", "C"] = "F" if self.fortran_order else "C"
        array = np.empty(self.shape, self.dtype, order=order)
        with self.archive.open(self.info) as stream:
            _fill(stream, bytearray(self.start))
            _fill(stream, array.reshape(-1, order="A").view(np.uint8))
        return array

    def read_factor(self, n: int) -> Array:
        """The upper triangle of an (n, n) array, whose rows lie one after the other, with zeros below."""
        factor = large_array(n, n)
        with self.archive.open(self.info) as stream:
            _fill(stream, bytearray(self.start))
            for j in range(n):
                factor[j, :j] = 0.0
                _fill(stream, factor[j, j:].view(np.uint8))
                if not (factor[j, j] > 0.0 and np.isfinite(factor[j, j:]).all()):
                    raise ValueError("its factor is that of no covariance")
        return factor


def _fill(stream: IO[bytes], buffer: Any) -> None:
    """Read as many bytes as the buffer has, and no more."""
    view = memoryview(buffer)
    while len(view):
        count = stream.readinto(view[:_AT_A_TIME])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("it ends too early")
        view = view[count:]


# What NumPy writes before an array's numbers. Its own reader takes any literal of Python's there, of which a made-up one can
# fail in ways of its own, or take any amount of memory.
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>](?:f8|i8|i4|U\d{1,9}))', 'fortran_order': (True|False), "
    rb"'shape': \((?:(0|[1-9]\d{0,17}),(?: (0|[1-9]\d{0,17})(?:, (0|[1-9]\d{0,17}))?)?)?\), \} *\n"
)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """The array of which the archive says that it holds it, if it is whole."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its {info.filename} is compressed in a way that NumPy does not use")
    with archive.open(info) as stream:
        magic = bytearray(10)
        _fill(stream, magic)
        start, (length,) = 10, struct.unpack("<H", magic[8:])
        text = bytearray(length)
        _fill(stream, text)
    match = _NPY_HEADER.fullmatch(text)
    if not magic.startswith(b"\x93NUMPY\x01\x00") or match is None:
        raise ValueError(f"its {info.filename} is no array")
    shape = tuple(int(size) for size in match.groups()[2:] if size is not None)
    dtype = np.dtype(match[1].decode())
    if info.file_size != start + length + dtype.itemsize * math.prod(shape):
        raise ValueError(f"its {info.filename} has not the size that its shape takes")
    return Member(archive, info, start + length, dtype, shape, match[2] == b"True")


def _read(file: BinaryIO, formats: Mapping[str, Format], threads: int) -> Any:
    """The model in an open file."""
    if not zipfile.is_zipfile(file):
        raise zipfile.BadZipFile("it is no npz file")
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(set(names)) != len(names):
            raise ValueError(f"it holds a name twice: {reprlib.repr(names)}")
        stored, size = os.fstat(file.fileno()).st_size, sum(entry.file_size for entry in entries)
        if size > max(_SMALL, _MOST_EXPANSION * stored):
            raise ValueError(f"its {stored} bytes would expand to {size}")
        text = _member(archive, archive.getinfo("header.npy"))
        if text.dtype.kind != "U" or text.shape != ():
            raise ValueError("its header is no text")
        header = json.loads(str(text.read()))
        found = formats.get(header["format"]) if isinstance(header["format"], str) else None
        if found is None:
            raise ValueError(f"its format is {reprlib.repr(header['format'])}")
        if type(header["version"]) is not int or header["version"] < 1:
            raise ValueError(f"its version is {reprlib.repr(header['version'])}")
        if header["version"] > found.version:
            raise _TooNewError(re.sub(r"[^\w.+-]", "?", str(header["fastard"]))[:40])
        required = {f"{name}.npy" for name in ("header", *found.arrays)}
        if not required <= set(names) <= required | {f"{name}.npy" for name in found.optional}:
            raise ValueError(f"it holds {reprlib.repr(names)}")
        members = {entry.filename.removesuffix(".npy"): _member(archive, entry) for entry in entries}
        del members["header"]
        return found.model(header, members, threads)


def kernel_in(header: dict[str, Any]) -> Kernel:
    """The trained kernel."""
    return kernel_of(header["kernel"], header["shape"])


def kernel_of(name: str, shape: Any) -> Kernel:
    """By its name and shape parameters."""
    return validate.as_kernel(BY_NAME[name](*shape))


def check_shapes(members: dict[str, Member], expected: dict[str, tuple[int, ...]], integers: dict[str, Any]) -> None:
    """All arrays, none of which has been read; those that are not named in ``integers`` hold float64."""
    found = {name: member.shape for name, member in members.items()}
    if found != expected:
        raise ValueError(f"its arrays have the shapes {found}")
    for name, member in members.items():
        if member.dtype != integers.get(name, np.float64):
            raise ValueError(f"its {name} holds {member.dtype}")


def check_types(header: dict[str, Any], types: dict[str, tuple[type, ...]]) -> None:
    """Of the header's entries."""
    for name, allowed in types.items():
        if type(header[name]) not in allowed:
            raise ValueError(f"its {name} is {reprlib.repr(header[name])}")


def read_finite(members: dict[str, Member], *but: str) -> dict[str, NDArray[Any]]:
    """The arrays but some."""
    arrays = {name: member.read() for name, member in members.items() if name not in but}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"its {name} does not hold finite numbers")
    return arrays


# What every model has in the header.
TYPES: dict[str, tuple[type, ...]] = {
    "signal_variance": (float,),
    "noise_variance": (float,),
    "objective": (str,),
    "n_evaluations": (int,),
    "converged": (bool,),
    "message": (str,),
    "feature_names": (list, type(None)),
    "target_names": (list, type(None)),
}


def check_parameters(
    header: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
    of_column: NDArray[np.int64] | None = None,
    columns: NDArray[np.int64] | None = None,
    inputs: int | None = None,
) -> Array | None:
    """Variances, length scales, and what else every model has; returns the known variances (n,) as models hold them.

    Where X is encoded, ``of_column`` says of each of its columns which input it was made of. Of a sum's length scales,
    ``columns`` says which columns of X they are of, and ``inputs`` how many inputs there are.
    """
    scales, slots, X = arrays["length_scale"], arrays["slots"], validate.inputs(arrays["X"])
    n, d, m = len(X), scales.size if inputs is None else inputs, arrays["y"].shape[1]
    if n == 0 or m == 0:
        raise ValueError(f"it has {n} points and {m} targets")
    validate.number("signal_variance", header["signal_variance"])
    validate.number("noise_variance", header["noise_variance"], may_equal=True)
    validate.length_scales(scales if of_column is None else scales[of_column], X if columns is None else X[:, columns])
    if header["n_evaluations"] < 1 or slots.min() < AT_UPPER_BOUND or slots.max() >= slots.size:
        raise ValueError("its parameters are those of no training")
    check_names(header, d, m)
    return validate.known_variances(arrays.get("observation_variance"), n)


def check_names(header: dict[str, Any], d: int, m: int) -> None:
    """Of the inputs and the outputs."""
    for key, size in (("feature_names", d), ("target_names", m)):
        names = header[key]
        if names is not None and (len(names) != size or not all(isinstance(name, str) for name in names)):
            raise ValueError(f"its {key} are {reprlib.repr(names)}")
