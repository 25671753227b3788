"""A trained model as a file: NumPy's npz, without pickle, every number with its bits."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array, large_array, read_only
from fastard._model.archive import _ARRAYS, _FORMAT, _IN_HEADER, _VERSION
from fastard._model.encoding import Encoding
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.noise_groups import NoiseGroups
from fastard._parameters import AT_UPPER_BOUND, kinds_of
from fastard.kernels import BY_NAME

# A file may expand to this many bytes, or to this many times its own; what `save` writes is not compressed.
_SMALL, _MOST_EXPANSION = 2**24, 100

_AT_A_TIME = 2**24  # bytes that are copied while reading


def load(path: str | os.PathLike[str], *, n_threads: int | None = None) -> GaussianProcess:
    """A model that :meth:`fastard.GaussianProcess.save` wrote; it predicts with the same bits.

    Nothing in the file is executed: it holds arrays and text.

    Parameters
    ----------
    path : str or path-like
        The file.
    n_threads : int, optional
        Threads for the compiled loops of the model; all available by default.

    Returns
    -------
    model : GaussianProcess

    Raises
    ------
    OSError
        If there is no such file, or it may not be read.
    ValueError
        If it is no fastard model, is damaged, or was written by a later version.
    MemoryError
        If its arrays do not fit the memory.

    Notes
    -----
    Names, sizes and kinds are looked at before any array is read. A compressed file is taken too (``save`` writes none) unless
    it would expand to more than a hundred times its size and 16 MiB.
    """
    threads = validate.thread_count(n_threads)
    with Path(path).open("rb") as file:
        try:
            return _read(file, threads)
        except _TooNewError as error:
            raise ValueError(f"{path} was written by fastard {error}, in a later format; upgrade fastard to read it") from None
        except (
            ValueError, TypeError, LookupError, AttributeError, OSError, EOFError, NotImplementedError, RuntimeError,
            OverflowError, struct.error, zlib.error, zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise ValueError(f"{path} is not a model that fastard saved, or is damaged: {error}; save it again") from error


class _TooNewError(Exception):
    """A format that this version does not know."""


class _Member(NamedTuple):
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


# What training keeps of the arguments of `fit`, for the next one.
_SETTINGS = {f"{kind}_bounds" for kind in kinds_of(0)} | {"length_scale_groups", "objective", "standardize"}

_LEVELS = (str, bool, int, float)  # of a category

# What the first files lack.
_LATER: dict[str, Any] = {"target_names": None, "search_values": [], "settings": {}, "encoding": None, "noise_groups": None}

# What NumPy writes before an array's numbers. Its own reader takes any literal of Python's there, of which a made-up one can
# fail in ways of its own, or take any amount of memory.
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>](?:f8|i8|U\d{1,9}))', 'fortran_order': (True|False), "
    rb"'shape': \((?:(0|[1-9]\d{0,17}),(?: (0|[1-9]\d{0,17}))?)?\), \} *\n"
)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
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
    return _Member(archive, info, start + length, dtype, shape, match[2] == b"True")


def _read(file: BinaryIO, threads: int) -> GaussianProcess:
    """The model in an open file: names, sizes and kinds are looked at before any array is read."""
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
        header = _LATER | json.loads(str(text.read()))
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {reprlib.repr(header['format'])}")
        if type(header["version"]) is not int or header["version"] < 1:
            raise ValueError(f"its version is {reprlib.repr(header['version'])}")
        if header["version"] > _VERSION:
            raise _TooNewError(re.sub(r"[^\w.+-]", "?", str(header["fastard"]))[:40])
        required = {f"{name}.npy" for name in ("header", "factor", *(name.lstrip("_") for name in _ARRAYS))}
        if not required <= set(names) <= required | {"observation_variance.npy", "noise_group_of_row.npy"}:
            raise ValueError(f"it holds {reprlib.repr(names)}")
        members = {entry.filename.removesuffix(".npy"): _member(archive, entry) for entry in entries}
        del members["header"]
        return _model(header, members, threads)


def _model(header: dict[str, Any], members: dict[str, _Member], threads: int) -> GaussianProcess:
    kernel = validate.as_kernel(BY_NAME[header["kernel"]](*header["shape"]))
    n, width = members["X"].shape
    encoding = _encoding(header["encoding"])
    d = width if encoding is None else len(encoding.kinds)
    m = members["y"].shape[1]
    labels, variances = _noise_groups(header["noise_groups"])
    noises = len(labels) or 1
    expected: dict[str, tuple[int, ...]] = {
        "length_scale": (d,),
        "X": (n, width),
        "y": (n, m),
        "y_mean": (m,),
        "alpha": (n, m),
        "slots": (width + 1 + noises + len(kernel),),
        "factor": (n * (n + 1) // 2,),
    }
    if "observation_variance" in members:
        expected["observation_variance"] = (n,)
    if labels:
        expected["noise_group_of_row"] = (n,)
    found = {name: member.shape for name, member in members.items()}
    if found != expected or n == 0 or m == 0 or (encoding is not None and encoding.of_column.size != width):
        raise ValueError(f"its arrays have the shapes {found}")
    for name, member in members.items():
        if member.dtype != (np.int64 if name in ("slots", "noise_group_of_row") else np.float64):
            raise ValueError(f"its {name} holds {member.dtype}")
    kinds: dict[str, tuple[type, ...]] = {
        "signal_variance": (float,),
        "noise_variance": (float,),
        "log_marginal_likelihood": (float,),
        "objective": (str,),
        "n_evaluations": (int,),
        "converged": (bool,),
        "message": (str,),
        "feature_names": (list, type(None)),
        "target_names": (list, type(None)),
        "search_values": (list,),
        "settings": (dict,),
    }
    for name, allowed in kinds.items():
        if type(header[name]) not in allowed:
            raise ValueError(f"its {name} is {reprlib.repr(header[name])}")
    validate.number("signal_variance", header["signal_variance"])
    validate.number("noise_variance", header["noise_variance"], may_equal=True)
    validate.number("log_marginal_likelihood", header["log_marginal_likelihood"], least=-np.inf)
    arrays = {name: member.read() for name, member in members.items() if name != "factor"}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"its {name} does not hold finite numbers")
    scales = arrays["length_scale"]
    validate.length_scales(scales if encoding is None else scales[encoding.of_column], validate.inputs(arrays["X"]))
    known = validate.known_variances(arrays.get("observation_variance"), n)
    if header["n_evaluations"] < 1 or arrays["slots"].min() < AT_UPPER_BOUND or arrays["slots"].max() >= arrays["slots"].size:
        raise ValueError("its parameters are those of no training")
    for key, size in (("feature_names", d), ("target_names", m)):
        names = header[key]
        if names is not None and (len(names) != size or not all(isinstance(name, str) for name in names)):
            raise ValueError(f"its {key} are {reprlib.repr(names)}")
    if not all(type(value) is float for value in header["search_values"]):
        raise ValueError(f"its search_values are {reprlib.repr(header['search_values'])}")
    if not header["settings"].keys() <= _SETTINGS:
        raise ValueError(f"its settings are {reprlib.repr(header['settings'])}")
    groups = None
    if labels:
        of_row = arrays["noise_group_of_row"].astype(np.int64)
        if of_row.min() < 0 or of_row.max() >= noises:
            raise ValueError("its noise_group_of_row are the numbers of no groups")
        groups = NoiseGroups(labels, variances, of_row)
    factor = members["factor"].read_factor(n)
    return GaussianProcess(
        kernel=kernel,
        length_scale=arrays["length_scale"],
        n_threads=threads,
        _encoding=encoding,
        _noise_groups=groups,
        _X=read_only(arrays["X"]),
        _y=read_only(arrays["y"]),
        _y_mean=arrays["y_mean"],
        _observation_variance=known,
        _slots=arrays["slots"].astype(np.int64),
        _alpha=arrays["alpha"],
        _factor=factor,
        **{name: header[name.lstrip("_")] for name in _IN_HEADER},
    )


def _encoding(kinds: Any) -> Encoding | None:
    """From what the header says of each column: null, a period, or a list of levels."""
    if kinds is None:
        return None
    found = [tuple(kind) if type(kind) is list else kind for kind in kinds]
    for kind in found:
        is_period = type(kind) is float and 0.0 < kind < math.inf
        if not (kind is None or is_period or (type(kind) is tuple and _are_labels(kind))):
            raise ValueError(f"its encoding is {reprlib.repr(kinds)}")
    return Encoding(tuple(found))


def _noise_groups(pair: Any) -> tuple[tuple[Any, ...], Array]:
    """Labels and variances, from what the header says of them: null or a pair of lists."""
    if pair is None:
        return (), np.empty(0)
    labels, variances = pair
    if not (_are_labels(labels) and all(type(x) is float and 0.0 <= x < math.inf for x in variances)):
        raise ValueError(f"its noise_groups are {reprlib.repr(pair)}")
    return tuple(labels), np.array(variances).reshape(len(labels))


def _are_labels(values: Any) -> bool:
    return len(values) > 0 and all(type(x) in _LEVELS for x in values) and len(values) == len(set(values))
