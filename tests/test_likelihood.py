"""log_marginal_likelihood against the plain truth, over every kernel, size, storage and difficult input."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import STORAGE

import fastard

# One point, two, and one less, as many and one more than the tiles of 48 and 64 rows that there have been, once and twice;
# 770 is beyond where tiles of 96 rows begin.
SIZES = [(1, 1), (2, 3), (5, 0), (7, 1), (47, 2), (48, 3), (49, 4), (63, 4), (64, 5), (65, 2), (97, 3), (129, 3), (129, 9)]

SIGNAL, NOISE = 1.7, 0.05


def scales(d):
    return np.geomspace(0.5, 3.0, d) if d else np.empty(0)


def check(kernel, X, y, length_scale, *, given=None, noise=NOISE, observation_variance=None, **options):
    """Value and gradient, and the value alone, of what fastard is given, against the truth of X and y."""
    name, kernel_object, shape = kernel
    given_X, given_y = (X, y) if given is None else given
    arguments = {
        "length_scale": length_scale,
        "signal_variance": SIGNAL,
        "noise_variance": noise,
        "observation_variance": observation_variance,
        "kernel": kernel_object,
        **options,
    }
    value, gradient = fastard.log_marginal_likelihood(given_X, given_y, eval_gradient=True, **arguments)
    alone = fastard.log_marginal_likelihood(given_X, given_y, **arguments)
    term = naive.Term(name, np.broadcast_to(length_scale, X.shape[1:]), SIGNAL, shape)
    known = 0.0 if observation_variance is None else np.asarray(observation_variance)
    assert isinstance(value, float)
    assert isinstance(alone, float)
    assert alone == value
    assert gradient.dtype == np.float64
    assert_agree(value, naive.log_marginal_likelihood([term], X, y, noise + known))
    assert_agree(gradient, naive.gradient(term, X, y, noise, known))


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("known", [False, True], ids=["no_known_variances", "known_variances"])
def test_sizes(kernel, n, d, m, known):
    X, y = data(n, d, m)
    observation_variance = np.random.default_rng(n).uniform(0.0, 0.3, n) if known else None
    check(kernel, X, y, scales(d), observation_variance=observation_variance)


@pytest.mark.parametrize("m", [1, 3])
def test_the_larger_tiles(kernel, m):
    X, y = data(770, 3, m)
    check(kernel, X, y, scales(3))


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("m", [1, 3])
def test_storage(kernel, storage, m):
    X, y = (array.astype(np.float32).astype(np.float64) for array in data(65, 3, m))
    given = STORAGE[storage](X), STORAGE[storage](y)
    before = np.array(given[0], dtype=float), np.array(given[1], dtype=float)
    check(kernel, X, y, scales(3), given=given)
    np.testing.assert_array_equal(np.array(given[0], dtype=float), before[0])
    np.testing.assert_array_equal(np.array(given[1], dtype=float), before[1])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "bool", "float16"])
def test_number_types(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 2 if dtype == "bool" else 9, (20, 3)).astype(dtype), rng.integers(0, 2, 20).astype(dtype)
    check(("rbf", "rbf", ()), X.astype(float), y.astype(float), 2.0, given=(X, y))


def test_storage_of_the_other_arrays():
    """Length scales and known variances in every storage."""
    X, y = data(20, 3)
    known = np.linspace(0.0, 0.25, 20).astype(np.float32).astype(float)
    length_scale = np.array([0.5, 1.0, 2.0])
    for make in STORAGE.values():
        given = make(length_scale), make(known)
        value = fastard.log_marginal_likelihood(X, y, length_scale=given[0], observation_variance=given[1])
        expected = naive.log_marginal_likelihood([naive.Term("rbf", length_scale)], X, y, 1e-2 + known)
        assert_agree(value, expected)


def test_dataframe():
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 2)
    X[:, 1] = np.round(5 * X[:, 1])
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(int)})
    check(("rbf", "rbf", ()), X, y, scales(2), given=(frame, pandas.Series(y, index=range(100, 130))))


def test_y_as_a_column(kernel):
    X, y = data(65, 3)
    check(kernel, X, y, scales(3), given=(X, y[:, None]))


@pytest.mark.parametrize("n", [2, 65, 129])
def test_far_from_the_origin(kernel, n):
    """A million standard deviations away the differences keep ten digits, and so must everything made of them."""
    X, y = data(n, 4)
    check(kernel, X * [1.0, 1e-3, 1e3, 1.0] + [1e6, -1e3, 1e9, 0.0], y, scales(4) * [1.0, 1e-3, 1e3, 1.0])


def test_duplicate_rows(kernel):
    X, y = data(70, 3)
    check(kernel, np.vstack([X, X[:60]]), np.concatenate([y, y[:60] + 0.1]), scales(3))


def test_all_rows_equal(kernel):
    X, y = data(65, 3)
    check(kernel, np.tile(X[:1], (65, 1)), y, scales(3))


def test_constant_columns(kernel):
    X, y = data(65, 5)
    X[:, 1], X[:, 4] = 0.1, 1e12
    _name, kernel_object, _ = kernel
    check(kernel, X, y, scales(5))
    _, gradient = fastard.log_marginal_likelihood(X, y, length_scale=1e-3, kernel=kernel_object, eval_gradient=True)
    assert gradient[1] == 0.0
    assert gradient[4] == 0.0


@pytest.mark.parametrize("length_scale", [1e-3, 1e-1, 1.0, 1e2, 1e4, 1e6, np.array([1e-3, 1e6, 1.0])], ids=str)
@pytest.mark.parametrize("n", [64, 129])
def test_length_scales(kernel, length_scale, n):
    X, y = data(n, 3)
    check(kernel, X, y, length_scale)


def test_scalar_length_scale_is_broadcast(kernel):
    X, y = data(65, 3)
    check(kernel, X, y, 1.3)


def test_equal_length_scales_sum_to_the_isotropic_derivative():
    X, y = data(40, 3)
    gradient = fastard.log_marginal_likelihood(X, y, length_scale=1.3, eval_gradient=True)[1]
    value = [fastard.log_marginal_likelihood(X, y, length_scale=1.3 * np.exp(h)) for h in (1e-5, -1e-5)]
    assert gradient.shape == (5,)
    np.testing.assert_allclose(gradient[:3].sum(), (value[0] - value[1]) / 2e-5, rtol=1e-7)


@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-4, 1.0, 1e8])
def test_noise_variances(kernel, noise):
    """Points far enough apart that K is well conditioned even without noise."""
    X = 3.0 * np.arange(30.0)[:, None]
    y = data(30, 1)[1]
    check(kernel, X, y, np.array([1.0]), noise=noise)
    if noise == 0.0:
        _name, kernel_object, _ = kernel
        _value, gradient = fastard.log_marginal_likelihood(
            X, y, length_scale=1.0, noise_variance=0.0, kernel=kernel_object, eval_gradient=True
        )
        assert gradient[2] == 0.0


def test_no_noise_but_known_variances(kernel):
    X, y = data(65, 3)
    check(kernel, X, y, scales(3), noise=0.0, observation_variance=np.linspace(0.1, 0.3, 65))


def test_known_variances_are_noise():
    X, y = data(20, 2)
    known = fastard.log_marginal_likelihood(X, y, length_scale=1.0, noise_variance=0.0, observation_variance=np.full(20, 0.1))
    assert known == fastard.log_marginal_likelihood(X, y, length_scale=1.0, noise_variance=0.1)


@pytest.mark.parametrize("name", fastard.kernels.BY_NAME)
def test_kernels_by_name_and_object(name):
    X, y = data(20, 2)
    by_object = fastard.kernels.BY_NAME[name]()
    first = fastard.log_marginal_likelihood(X, y, length_scale=1.0, kernel=name, eval_gradient=True)
    second = fastard.log_marginal_likelihood(X, y, length_scale=1.0, kernel=by_object, eval_gradient=True)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


def test_kernel_objects_tell_each_other_apart():
    kernels = [
        fastard.RBF(),
        fastard.Matern12(),
        fastard.Matern32(),
        fastard.Matern52(),
        fastard.RationalQuadratic(),
        fastard.RationalQuadratic(2.0),
    ]
    assert len(set(kernels)) == len(kernels)
    assert all(bool(kernel) for kernel in kernels)
    assert all((a == b) == (i == j) for i, a in enumerate(kernels) for j, b in enumerate(kernels))
    assert fastard.RBF() == fastard.RBF()
    assert fastard.RBF() != ()


@pytest.mark.parametrize("shape", [0.05, 1.0, 3.0, 50.0, 1e6])
def test_rational_quadratic_shapes(shape):
    """A large shape is the squared exponential; the derivative with respect to the shape then cancels to nearly nothing."""
    X, y = data(65, 3)
    check(("rational_quadratic", fastard.RationalQuadratic(shape), (shape,)), X, y, scales(3))


@pytest.mark.parametrize("m", [1, 2])
def test_finite_differences(kernel, m):
    _name, kernel_object, shape = kernel
    X, y = data(66, 3, m)
    objective = fastard.LogMarginalLikelihood(X, y, kernel=kernel_object)
    theta = np.log([0.7, 1.3, 2.0, 1.7, 0.1, *shape])
    _, gradient = objective(theta)
    h = 1e-4
    for i in range(theta.size):
        values = {}
        for steps in (-2, -1, 1, 2):
            moved = theta.copy()
            moved[i] += steps * h
            values[steps] = objective(moved)[0]
        slope = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * h)
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-8, atol=1e-8)


def test_the_power_of_the_length_scale():
    """theta = ln(length_scale): the derivative has length_scale^-2, not the ^-3 of the derivative by length_scale itself."""
    X, y = data(40, 2)
    length_scale = np.array([0.5, 2.0])
    gradient = fastard.log_marginal_likelihood(X, y, length_scale=length_scale, eval_gradient=True)[1][:2]
    for i in range(2):
        moved = [length_scale.copy(), length_scale.copy()]
        moved[0][i] += 1e-6
        moved[1][i] -= 1e-6
        up, down = (fastard.log_marginal_likelihood(X, y, length_scale=scale) for scale in moved)
        by_itself = (up - down) / 2e-6
        np.testing.assert_allclose(gradient[i], length_scale[i] * by_itself, rtol=1e-7)
        assert abs(gradient[i] - by_itself) > 0.1 * abs(gradient[i])


def test_other_dimensions_scale_the_gradient():
    """The units of an input do not matter: X and length_scale both 1000 times larger is the same problem."""
    X, y = data(40, 2)
    first = fastard.log_marginal_likelihood(X, y, length_scale=[0.5, 2.0], eval_gradient=True)
    second = fastard.log_marginal_likelihood(X * 1024.0, y, length_scale=[512.0, 2048.0], eval_gradient=True)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("factor", [1e-100, 1e100])
def test_extreme_units(kernel, factor):
    X, y = data(30, 2)
    name, kernel_object, shape = kernel
    _, gradient = fastard.log_marginal_likelihood(factor * X, y, length_scale=factor, kernel=kernel_object, eval_gradient=True)
    assert_agree(gradient, naive.gradient(naive.Term(name, np.ones(2), 1.0, shape), X, y, 1e-2))


def test_wide_data(kernel):
    """Points so far apart in length scales that every covariance vanishes: no NaN from 0 times infinity."""
    X, y = data(65, 2)
    _name, kernel_object, _ = kernel
    value, gradient = fastard.log_marginal_likelihood(
        1e130 * X, y, length_scale=1.0, noise_variance=0.5, kernel=kernel_object, eval_gradient=True
    )
    assert_agree(value, -0.5 * (y @ y / 1.5 + 65 * np.log(2 * np.pi * 1.5)))
    assert_agree(gradient[:2], np.zeros(2))


def test_tiny_distances(kernel):
    """Distances of 1e-160 have squares that underflow; nothing becomes NaN."""
    X, y = data(20, 2)
    name, kernel_object, shape = kernel
    value, gradient = fastard.log_marginal_likelihood(
        1e-160 * X, y, length_scale=1.0, kernel=kernel_object, eval_gradient=True
    )
    term = naive.Term(name, np.ones(2), 1.0, shape)
    assert_agree(value, naive.log_marginal_likelihood([term], 0.0 * X, y, 1e-2))
    assert_agree(gradient, naive.gradient(term, 0.0 * X, y, 1e-2))


@pytest.mark.parametrize("big", [1e6, 1e9, 1e12])
def test_an_outlier_in_the_first_row_harms_no_other(big):
    """Whatever row it stands in: the value that is subtracted before scaling is one near the median."""
    X, y = data(61, 2)
    X[0, 0] = big
    first = fastard.log_marginal_likelihood(X, y, length_scale=1.0, eval_gradient=True)
    last = fastard.log_marginal_likelihood(X[::-1], y[::-1], length_scale=1.0, eval_gradient=True)
    for a, b in zip(first, last, strict=True):
        assert np.max(np.abs(a - b)) <= 1e-10 * max(1.0, np.max(np.abs(b)))


def test_overflow_is_told():
    X, y = data(10, 2)
    with pytest.raises(ValueError, match="rescale y"):
        fastard.log_marginal_likelihood(X, 1e160 * y, length_scale=1.0)
    with pytest.raises(ValueError, match="rescale"):
        fastard.fit(X, 1e160 * y, standardize=False)
    with pytest.raises(ValueError, match="rescale"):
        fastard.fit(X, 1e-155 * y)
