"""What several test files use: agreement of tensors, trained models, storage of arrays, memory, interrupts anywhere."""

import sys
import tracemalloc

import numpy as np
from conftest import data

import fastard


def assert_close(ours, theirs, tolerance):
    """Of two of PyTorch's tensors: the same type, and max |a - b| <= tolerance * max(1, max |b|)."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    ours, theirs = ours.detach(), theirs.detach()
    error, allowed = (ours - theirs).abs().max(), tolerance * max(1.0, theirs.abs().max().item())
    assert error <= allowed, f"differ by {error:.3g}, {allowed:.3g} allowed"


def peak(function):
    """The most memory, beyond what was there before, that a second call of ``function`` needs; the first one compiles."""
    function()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


SCALES = np.array([0.5, 1.3, 2.0])
FIXED = {
    "length_scale": SCALES,
    "signal_variance": 1.7,
    "noise_variance": 0.1,
    "length_scale_bounds": "fixed",
    "signal_variance_bounds": "fixed",
    "noise_variance_bounds": "fixed",
    "standardize": False,
}


def trained(kernel=("rbf", "rbf", ()), n=70, m=1, **changed):
    """A model whose parameters are given, and its data."""
    X, y = data(n, 3, m)
    y = y + 5.0
    shape = {"shape_bounds": "fixed"} if kernel[2] else {}
    return fastard.fit(X, y, kernel=kernel[1], **{**FIXED, **shape, **changed}), X, y


def points(q=23):
    return data(q, 3, seed=9)[0]


def unaligned(array):
    return np.frombuffer(b"?" + array.tobytes(), dtype=array.dtype, offset=1).reshape(array.shape)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    wide = np.full(tuple(3 * size for size in array.shape), np.nan)
    view = wide[tuple(slice(None, None, 3) for _ in array.shape)]
    view[...] = array
    return view


STORAGE = {
    "float32": lambda a: a.astype(np.float32),
    "long_double": lambda a: a.astype(np.longdouble),
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a.tolist()),
    "fortran": np.asfortranarray,
    "big_endian": lambda a: a.astype(">f8"),
    "strided": strided,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "read_only": read_only,
    "unaligned": unaligned,
    "objects": lambda a: a.astype(object),
    "masked_nowhere": lambda a: np.ma.masked_array(a),
}


def two_of_four(n=60):
    """Four inputs, of which the first two act as one."""
    X, noise = data(n, 4)
    return X, np.sin(X[:, 0] + X[:, 1]) + 0.3 * X[:, 2] + 0.1 * noise


def parameters_of(model):
    """As the functions of the likelihood take them."""
    return {name: getattr(model, name) for name in ("length_scale", "signal_variance", "noise_variance", "kernel")}


def at_opcode(count, call, what, files):
    """Whether there is an opcode of that number in the code of ``files`` during ``call``; before it, does ``what``."""
    left = [count]

    def step(frame, event, _):
        if event == "opcode":
            left[0] -= 1
            if left[0] == -1:
                sys.settrace(None)
                what()
        return step

    def enter(frame, event, _):
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
    return left[0] < 0


def interrupt():
    raise KeyboardInterrupt
