"""The table of kernels: what is in it is everywhere, and a kernel may have several shape parameters."""

from typing import NamedTuple

import naive
import numpy as np
import pytest
from conftest import KERNELS, SOURCE, assert_agree, data

import fastard
from fastard import kernels


@pytest.mark.parametrize("name", kernels.BY_NAME)
def test_a_kernel_in_the_table_is_everywhere(name):
    kind = kernels.BY_NAME[name]
    assert getattr(fastard, kind.__name__) is kind
    assert kind.__name__ in fastard.__all__
    assert name in [row.values[0][0] for row in KERNELS]
    assert f"`{name}`" in (SOURCE / "README.md").read_text(encoding="utf-8")
    assert f'"{name}"' in fastard.log_marginal_likelihood.__doc__
    s = np.linspace(0.0, 9.0, 10)
    ratios, (k, w, _) = kernels.curvature(kind(), s), naive.profile(name, s, tuple(kind()))
    np.testing.assert_allclose(ratios.slope[1:], (w / k)[1:], rtol=1e-14)
    assert len(ratios.k_by_shape) == len(ratios.w_by_shape) == len(ratios.k_by_shapes) == len(kind())


def test_matern_kernels_by_nu():
    assert {nu: type(kernel).__name__ for nu, kernel in kernels.MATERN.items()} == {
        0.5: "Matern12",
        1.5: "Matern32",
        2.5: "Matern52",
        3.5: "Matern72",
    }


@pytest.mark.parametrize("nu", kernels.MATERN)
def test_matern_kernels_are_scikit_learns(nu):
    """Its nu = 7/2 is the general formula, of Bessel functions."""
    sk = pytest.importorskip("sklearn.gaussian_process.kernels")
    X = data(30, 2)[0]
    expected = sk.Matern([0.5, 2.0], nu=nu)(X)
    assert_agree(fastard.covariance(X, length_scale=[0.5, 2.0], kernel=kernels.MATERN[nu]), expected)


class _TwoShapes(NamedTuple):
    shape: float = 1.0
    power: float = 1.0


class TwoShapes(kernels.Kernel, _TwoShapes):
    """(1 + s / (2 shape))^(-power)."""

    __slots__ = ()


@kernels._profile_of(TwoShapes)
def _two_shapes(kernel, s):
    u = 0.5 * s / kernel.shape
    logarithm = kernels.log1p(u)
    k = kernels.exp(-kernel.power * logarithm)
    w = kernel.power / kernel.shape * k / (1.0 + u)
    return k, w, (kernel.power * k * u / (1.0 + u), -kernel.power * k * logarithm)


def test_two_shape_parameters(monkeypatch):
    monkeypatch.setitem(kernels.BY_NAME, "two_shapes", TwoShapes)
    X, Q = data(40, 3)[0], data(40, 40)[0]
    scale, shape, power = np.array([0.5, 1.0, 2.0]), 0.7, 1.3

    def inner(theta):
        s = ((X[:, None] - X[None]) ** 2 / np.exp(theta[:3]) ** 2).sum(axis=2)
        return np.sum(Q * np.exp(theta[3]) * (1.0 + s / (2.0 * np.exp(theta[4]))) ** -np.exp(theta[5]))

    theta = np.log([*scale, 1.7, shape, power])
    expected = naive.complex_step(inner, theta)
    kernel = TwoShapes(shape, power)
    assert_agree(fastard.covariance_vjp(Q, X, length_scale=scale, signal_variance=1.7, kernel=kernel), expected)
    names = fastard._validation.parameter_names(1, kernel)
    assert names == ["length_scale[0]", "signal_variance", "noise_variance", "shape", "power"]
    with pytest.raises(ValueError, match="TwoShapes's power must be > 0"):
        fastard.covariance(X, length_scale=1.0, kernel=TwoShapes(1.0, -1.0))
