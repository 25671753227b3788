"""Code for other processors than this one: compiled in a child process, run here, and checked against the plain formulas."""

import platform

import pytest
from conftest import SOURCE, run_python

from fastard._numba import cpu

# NUMBA_CPU_NAME, NUMBA_CPU_FEATURES, and the shape that they give.
GENERIC = ("generic", "", "generic")
AVX2 = ("x86-64-v3", "+avx2,+fma", "avx2")
NEON = ("generic", "+neon", "neon")

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import naive
import numpy as np
from conftest import assert_agree, data
import fastard
from fastard._numba import cpu

assert cpu.SHAPE.name == {shape!r}, cpu.SHAPE
length_scale = np.array([0.7, 1.3, 2.0])
term = naive.Term("rbf", length_scale, 1.7)
for n, m in ((60, 1), (130, 2)):  # in blocks of 48: the last is a part of one; 130 is no multiple of any shape's rows
    X, y = data(n, 3, m)
    value, gradient = fastard.log_marginal_likelihood(
        X, y, length_scale=length_scale, signal_variance=1.7, noise_variance=0.1, kernel="rbf", eval_gradient=True
    )
    assert_agree(value, naive.log_marginal_likelihood([term], X, y, 0.1))
    assert_agree(gradient, naive.gradient(term, X, y, 0.1))

from fastard._vecchia import likelihood as vecchia
from test_vecchia_likelihood import random_blocks, rows_of

X, y = data(90, 3)
theta = np.log([*length_scale, 1.7, 0.1])
for m, block_size in ((23, 5), (24, 16)):
    blocks = random_blocks(90, 24, block_size, m)
    vecchia.make_blocks = lambda *_: blocks
    made = fastard.VecchiaLogLikelihood(X, y)
    value, gradient = made(theta)
    plain = lambda theta: naive.vecchia_of_theta("rbf", theta, X, y, *rows_of(blocks))
    assert_agree(value, plain(theta))
    assert_agree(gradient, naive.complex_step(plain, theta))
    first, pairs = rows_of(blocks)
    parts = [(first, 1.0)] + [(np.concatenate(pair), 1.0) for pair in pairs] + [(given, -1.0) for _, given in pairs]
    expected = sum(sign * naive.average_information("rbf", theta, X[rows], y[rows]) for rows, sign in parts)
    assert_agree(made.information(theta), expected)
"""


def can_run(shape):
    """Whether this machine runs another shape's code, in its own words a narrower one's."""
    if shape.name == "generic":
        return cpu.SHAPE.name != "generic"
    names = [known.name for known in cpu.SHAPES]
    same_kind = (shape.name == "neon") == (platform.machine().lower() in ("aarch64", "arm64"))
    return same_kind and names.index(cpu.SHAPE.name) < names.index(shape.name)


@pytest.mark.parametrize(("cpu_name", "features", "name"), [GENERIC, AVX2, NEON], ids=lambda value: value or "none")
def test_another_shape_agrees_with_the_plain_formulas(cpu_name, features, name):
    if not can_run(next(shape for shape in cpu.SHAPES if shape.name == name)):
        pytest.skip(f"{name} is this machine's own shape, or none that it can run")
    script = SCRIPT.format(tests=str(SOURCE / "tests"), shape=name)
    run_python(script, NUMBA_CPU_NAME=cpu_name, NUMBA_CPU_FEATURES=features or None)


@pytest.mark.parametrize(("lanes", "rows", "columns"), [(3, 12, 12), (4, 12, 6), (8, 24, 4), (2, 6, 4), (4, 16, 4)], ids=str)
def test_a_shape_that_breaks_a_rule_is_refused(lanes, rows, columns):
    with pytest.raises(AssertionError):
        cpu._check(cpu.Shape("new", frozenset(), lanes, rows, columns))
