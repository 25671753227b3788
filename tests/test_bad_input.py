"""Every public function refuses what is wrong, with the right exception, and a message that names the argument."""

import datetime
import decimal
import fractions
import re

import numpy as np
import pytest
from conftest import data

import fastard
from fastard import _text

N, D = 6, 2
X, Y = data(N, D)
Q = np.ones((N, N))


def likelihood(**changed):
    arguments = {"X": X, "y": Y, "length_scale": 1.0, **changed}
    return fastard.log_marginal_likelihood(arguments.pop("X"), arguments.pop("y"), **arguments)


def loo(**changed):
    arguments = {"X": X, "y": Y, "length_scale": 1.0, **changed}
    return fastard.loo_log_predictive_density(arguments.pop("X"), arguments.pop("y"), **arguments)


def objective(**changed):
    arguments = {"X": X, "y": Y, **changed}
    return fastard.LogMarginalLikelihood(arguments.pop("X"), arguments.pop("y"), **arguments)


def covariance(**changed):
    arguments = {"X": X, "length_scale": 1.0, **changed}
    return fastard.covariance(arguments.pop("X"), arguments.pop("Z", None), **arguments)


def vjp(**changed):
    arguments = {"Q": Q, "X": X, "length_scale": 1.0, **changed}
    return fastard.covariance_vjp(arguments.pop("Q"), arguments.pop("X"), **arguments)


def fit(**changed):
    arguments = {"X": X, "y": Y, "max_iterations": 2, **changed}
    return fastard.fit(arguments.pop("X"), arguments.pop("y"), **arguments)


FUNCTIONS = [likelihood, loo, objective, covariance, vjp, fit]
WITH_Y = [likelihood, loo, objective, fit]
WITH_SCALES = [likelihood, loo, covariance, vjp, fit]

good = {
    "X": X,
    "y": Y,
    "Z": X,
    "Q": Q,
    "length_scale": np.ones(D),
    "observation_variance": np.full(N, 0.1),
    "signal_variance": np.array(1.0),
    "noise_variance": np.array(0.1),
}
takes = {
    likelihood: ["X", "y", "length_scale", "observation_variance", "signal_variance", "noise_variance"],
    loo: ["X", "y", "length_scale", "observation_variance", "signal_variance", "noise_variance"],
    objective: ["X", "y", "observation_variance"],
    covariance: ["X", "Z", "length_scale", "signal_variance"],
    vjp: ["Q", "X", "length_scale", "signal_variance"],
    fit: ["X", "y", "length_scale", "observation_variance", "signal_variance", "noise_variance"],
}
ARRAYS = [pytest.param(function, name, id=f"{function.__name__}-{name}") for function in FUNCTIONS for name in takes[function]]


def refuses(function, exception, name, *words, **changed):
    with pytest.raises(exception, match=rf"\b{re.escape(name)}\b") as caught:
        function(**changed)
    assert type(caught.value) is exception  # not a subclass such as UnicodeError or LinAlgError
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("function", "name"), ARRAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, -1], ids=["first", "last"])
def test_not_finite(function, name, value, where):
    array = good[name].copy()
    array.flat[where] = value
    refuses(function, ValueError, name, "finite", str(value), **{name: array})
    refuses(function, ValueError, name, "finite", **{name: array.tolist()})


@pytest.mark.parametrize(("function", "name"), ARRAYS)
def test_complex(function, name):
    refuses(function, TypeError, name, "complex", **{name: good[name] + 0j})
    refuses(function, TypeError, name, "real", **{name: (good[name] + 1j).tolist()})


@pytest.mark.parametrize(("function", "name"), ARRAYS)
@pytest.mark.parametrize("kind", [str, bytes, "datetime64[s]", object])
def test_text_dates_and_objects(function, name, kind):
    if kind is object:
        array = np.full(good[name].shape, {}, dtype=object)
    elif isinstance(kind, str):
        array = np.zeros(good[name].shape, dtype=np.int64).astype(kind)
    else:
        array = good[name].astype(kind)
    refuses(function, TypeError, name, "numbers", **{name: array})


@pytest.mark.parametrize(("function", "name"), ARRAYS)
def test_masked(function, name):
    array = np.ma.masked_array(good[name])
    array[(0,) * array.ndim] = np.ma.masked
    refuses(function, ValueError, name, "masked", **{name: array})


@pytest.mark.parametrize(("function", "name"), [case for case in ARRAYS if case.values[1] in ("X", "Z", "Q")])
def test_ragged(function, name):
    refuses(function, ValueError, name, "rectangular", **{name: [[1.0, 2.0], [3.0]]})


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (N,), (N, D, 1)], ids=str)
def test_dimensions_of_x(function, shape):
    refuses(function, ValueError, "X", str(shape), X=np.ones(shape))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_rows(function):
    changed = {"X": np.empty((0, D))}
    changed |= {"y": np.empty(0)} if function in WITH_Y else {}
    changed |= {"Q": np.empty((0, 0))} if function is vjp else {}
    refuses(function, ValueError, "X", "at least one row", **changed)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_dimension_gets_a_hint(function):
    refuses(function, ValueError, "X", "[:, None]", X=X[:, 0])


@pytest.mark.parametrize("function", WITH_Y)
@pytest.mark.parametrize("shape", [(), (N - 1,), (N + 1,), (1, N), (N, 0), (N, 1, 1), (0,)], ids=str)
def test_shape_of_y(function, shape):
    refuses(function, ValueError, "y", str(shape), str(N), y=np.ones(shape))


@pytest.mark.parametrize("function", WITH_Y)
@pytest.mark.parametrize("shape", [(), (1,), (N - 1,), (N, 1), (D,)], ids=str)
def test_shape_of_known_variances(function, shape):
    refuses(function, ValueError, "observation_variance", str(shape), observation_variance=np.ones(shape))


@pytest.mark.parametrize("name", ["length_scale", "signal_variance", "noise_variance"])
def test_fixed_is_a_bound(name):
    refuses(fit, TypeError, name, "'fixed'", f"{name}_bounds='fixed'", **{name: "fixed"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("Matern52", "matern52"), ("MATERN-3/2", "matern32"), ("Rational Quadratic", "rational_quadratic"), ("Gaussian", "rbf")],
)
def test_a_kernel_in_other_letters(name, meant):
    with pytest.raises(ValueError, match=rf"did you mean '{meant}'\?$"):
        fastard.fit([[1.0]], [1.0], kernel=name)


def test_a_mean_in_other_letters():
    with pytest.raises(ValueError, match=r"did you mean 'linear'\?$"):
        fastard.fit([[1.0]], [1.0], mean="Linear")


def test_one_known_variance_says_how_to_give_it():
    refuses(fit, ValueError, "observation_variance", f"numpy.full({N}, 0.5)", observation_variance=0.5)


@pytest.mark.parametrize("function", WITH_Y)
def test_negative_known_variances(function):
    refuses(function, ValueError, "observation_variance", ">= 0", "-0.5", observation_variance=[0.0] * (N - 1) + [-0.5])


@pytest.mark.parametrize("shape", [(), (N,), (N, N - 1), (N - 1, N - 1), (N * N,), (N, N, 1)], ids=str)
def test_shape_of_weights(shape):
    refuses(vjp, ValueError, "Q", str(shape), Q=np.ones(shape))


@pytest.mark.parametrize("shape", [(N,), (3, D - 1), (3, D + 1), (0, D)], ids=str)
def test_shape_of_other_points(shape):
    refuses(covariance, ValueError, "Z", str(shape), Z=np.ones(shape))


@pytest.mark.parametrize("function", WITH_SCALES)
@pytest.mark.parametrize("shape", [(0,), (1,), (D + 1,), (1, D), (D, 1)], ids=str)
def test_shape_of_length_scales(function, shape):
    refuses(function, ValueError, "length_scale", str(shape), f"({D},)", length_scale=np.ones(shape))


@pytest.mark.parametrize("function", WITH_SCALES)
@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, [1.0, 0.0], [-2.0, 1.0]], ids=str)
def test_length_scales_out_of_range(function, value):
    refuses(function, ValueError, "length_scale", "> 0", length_scale=value)


@pytest.mark.parametrize("function", WITH_SCALES)
def test_length_scales_that_overflow(function):
    refuses(function, ValueError, "length_scale", length_scale=1e-200)


def test_other_points_that_overflow():
    refuses(covariance, ValueError, "length_scale", Z=1e160 * X)


@pytest.mark.parametrize("function", WITH_SCALES)
@pytest.mark.parametrize("value", [0.0, -1.0, [1.0, 2.0]], ids=str)
def test_signal_variance(function, value):
    refuses(function, ValueError, "signal_variance", signal_variance=value)


@pytest.mark.parametrize("function", [likelihood, fit])
@pytest.mark.parametrize("value", [-1e-300, -1.0, [1.0, 2.0]], ids=str)
def test_noise_variance(function, value):
    refuses(function, ValueError, "noise_variance", noise_variance=value)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("RBF", "rbf"),
        ("rbff", "rbf"),
        ("matern", "matern"),
        ("Matern 52", "matern52"),
        ("matern-3/2", "matern32"),
        ("matern53", "matern52"),
        ("rational quadratic", "rational_quadratic"),
        ("RationalQuadratic", "rational_quadratic"),
    ],
)
def test_near_kernel_names(function, name, near):
    refuses(function, ValueError, "kernel", repr(name), "did you mean", f"'{near}", kernel=name)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_far_kernel_names(function):
    every = [repr(name) for name in fastard.kernels.BY_NAME]
    refuses(function, ValueError, "kernel", "'zzz'", *every, kernel="zzz")
    refuses(function, ValueError, "kernel", *every, kernel="")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("bad", [None, 5, fastard.RBF, (), (1.0,), b"rbf", ["rbf"]], ids=repr)
def test_kernels_of_no_kind(function, bad):
    if bad is None and function is fit:  # which has it by default
        assert fit(kernel=None).kernel == fastard.RBF()
        return
    refuses(function, TypeError, "kernel", kernel=bad)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [0.0, -1.0, np.nan, np.inf])
def test_kernel_shape_out_of_range(function, shape):
    refuses(function, ValueError, "shape", kernel=fastard.RationalQuadratic(shape))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", ["a", 1j, None])
def test_kernel_shape_of_no_number(function, shape):
    with pytest.raises((TypeError, ValueError), match="shape"):
        function(kernel=fastard.RationalQuadratic(shape))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("bad", [0, -1])
def test_thread_counts_out_of_range(function, bad):
    refuses(function, ValueError, "n_threads", n_threads=bad)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("bad", [1.5, "2", [1], np.nan], ids=repr)
def test_thread_counts_of_no_kind(function, bad):
    refuses(function, TypeError, "n_threads", n_threads=bad)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_unknown_arguments(function):
    with pytest.raises(TypeError, match="lenght_scale"):
        function(lenght_scale=1.0)


# Not positive definite --------------------------------------------------------------------------------------------------

FAR = 1e6 * np.arange(8.0)[:, None]
FAR[5] = FAR[2]  # its pivot is exactly 0


def failures():
    y = np.ones(8)
    yield lambda: fastard.log_marginal_likelihood(FAR, y, length_scale=1.0, noise_variance=0.0)
    yield lambda: fastard.log_marginal_likelihood(FAR, y, length_scale=1.0, noise_variance=0.0, eval_gradient=True)
    yield lambda: fastard.LogMarginalLikelihood(FAR, y)([0.0, 0.0, -np.inf])
    yield lambda: fastard.LogMarginalLikelihood(FAR, y)([0.0, 0.0, -100.0])
    yield lambda: fastard.fit(FAR, y, length_scale=1.0, noise_variance=0.0, noise_variance_bounds="fixed", standardize=False)


@pytest.mark.parametrize("fails", list(failures()), ids=["value", "gradient", "objective", "objective_tiny_noise", "fit"])
def test_not_positive_definite(fails):
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        fails()
    error = caught.value
    assert type(error) is fastard.NotPositiveDefiniteError
    assert isinstance(error, np.linalg.LinAlgError)
    assert error.row == 5
    message = str(error)
    assert "rows 2 and 5" in message
    assert "noise_variance" in message
    assert "duplicate" in message


def test_no_jitter():
    """A singular matrix is an error, and a nearly singular one is what it is: a jitter of 1e-10 would move this by 2."""
    for noise in (1e-12, 1e-10, 1e-8):
        value = fastard.log_marginal_likelihood(FAR, np.ones(8), length_scale=1.0, noise_variance=noise)
        # Rows 2 and 5 are one pair with eigenvalues 2 + noise and noise; the rest have 1 + noise.
        expected = -0.5 * (6 / (1 + noise) + 2 / (2 + noise))
        expected -= 0.5 * (6 * np.log1p(noise) + np.log(noise * (2.0 + noise)) + 8 * np.log(2 * np.pi))
        np.testing.assert_allclose(value, expected, atol=1e-3)


# Small, but not wrong ---------------------------------------------------------------------------------------------------


def test_one_point():
    value, gradient = fastard.log_marginal_likelihood([[5.0]], [2.0], length_scale=1.0, noise_variance=0.5, eval_gradient=True)
    np.testing.assert_allclose(value, -0.5 * (4.0 / 1.5 + np.log(2 * np.pi * 1.5)), rtol=1e-14)
    of_variance = 0.5 * (4.0 / 1.5**2 - 1 / 1.5)
    np.testing.assert_allclose(gradient, [0.0, of_variance, 0.5 * of_variance], rtol=1e-13)
    assert fastard.covariance([[5.0]], length_scale=1.0) == [[1.0]]
    np.testing.assert_array_equal(fastard.covariance_vjp([[3.0]], [[5.0]], length_scale=1.0), [0.0, 3.0])


def test_no_columns():
    """A function without inputs is a constant with a normal prior."""
    value, gradient = fastard.log_marginal_likelihood(
        np.empty((3, 0)), [1.0, 2.0, 3.0], length_scale=1.0, noise_variance=0.5, eval_gradient=True
    )
    K = np.ones((3, 3)) + 0.5 * np.eye(3)
    y = np.array([1.0, 2.0, 3.0])
    expected = -0.5 * (y @ np.linalg.solve(K, y) + np.log(np.linalg.det(K)) + 3 * np.log(2 * np.pi))
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    assert gradient.shape == (2,)
    np.testing.assert_array_equal(fastard.covariance(np.empty((3, 0)), length_scale=[]), np.ones((3, 3)))


def test_scalars_may_be_arrays_of_one():
    expected = likelihood(signal_variance=2.0, noise_variance=0.5)
    assert likelihood(signal_variance=np.array(2.0), noise_variance=np.float32(0.5)) == expected
    assert likelihood(length_scale=np.float64(1.0), signal_variance=2, noise_variance=0.5) == expected


# Containers that are no arrays of numbers --------------------------------------------------------------------------------


class Gpu:
    """As a tensor that needs a gradient, or lies on a GPU: its own conversion refuses."""

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


CONTAINERS = {
    "generator": (lambda: (row for row in X), "generator", "list(X)"),
    "map": (lambda: map(list, X), "a map", "list(X)"),
    "enumerate": (lambda: enumerate(X), "an enumerate", "list(X)"),
    "dict": (lambda: {"a": X[:, 0], "b": X[:, 1]}, "dict", "np.column_stack(list(X.values()))"),
    "dict_of_numbers": (lambda: {"a": 1.0}, "dict", "list(X.values())"),
    "set": (lambda: {1.0, 2.0}, "set", "no order"),
    "text": (lambda: "data.csv", "text 'data.csv'"),
    "None": (lambda: None, "None"),
    "class": (lambda: np.ndarray, "class ndarray"),
    "module": (lambda: np, "module"),
    "tensor": (Gpu, "Gpu", "detach().numpy()"),
    "structured": (lambda: np.zeros(N, dtype=[("a", float), ("b", float)]), "'a', 'b'", "structured_to_unstructured(X)"),
    "object_array_of_arrays": (lambda: np.array([np.zeros(2), np.zeros(3)], dtype=object), "ndarray", "X[0]"),
    "list_of_dicts": (lambda: [{"a": 1.0}, {"a": 2.0}], "dict", "X[0]"),
    "text_among_numbers": (lambda: [[1.0, "a"], [2.0, "b"]], "text", "'a' at X[0, 1]"),
    "date_among_numbers": (lambda: [[1.0, datetime.date(2020, 1, 2)]], "dates", "2020-01-02 at X[0, 1]"),
    "nanoseconds": (lambda: np.zeros((N, D), dtype="datetime64[ns]"), "dates", "X[0, 0]"),
    "durations": (lambda: np.array([[1.0, np.timedelta64(5, "s")]], dtype=object), "durations", "X[0, 1]"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_are_named_with_their_remedy(kind):
    make, *words = CONTAINERS[kind]
    refuses(covariance, TypeError, "X", *words, X=make())


def test_the_column_that_holds_no_numbers_is_named_among_arrays_too():
    refuses(covariance, TypeError, "X", "X[0, 1]", "X[0, 2]", "X[0, 3]", "and in 2 more;", X=[[1.0, *"abcde"]])
    refuses(covariance, TypeError, "X", "text ('a' at X[0, 0], 'b' at X[0, 1]); encode text by hand", X=np.array([["a", "b"]]))
    refuses(likelihood, TypeError, "y", "text ('c' at y[2])", "regression", y=[1.0, 2.0, "c", 4.0, 5.0, 6.0])
    refuses(likelihood, TypeError, "length_scale", "dict", "list(length_scale.values())", length_scale={"a": 1.0, "b": 2.0})
    refuses(likelihood, TypeError, "signal_variance", "text 'auto'", signal_variance="auto")


def test_text_that_reads_as_numbers_has_that_remedy_alone():
    for name, array in (("X", X), ("y", Y), ("observation_variance", np.full(N, 0.1))):
        text = array.astype(str)
        refuses(fit, TypeError, name, f"('{text.flat[0]}' at {name}[0", f"numpy.asarray({name}, dtype=float)", **{name: text})
        assert (
            fit(**{name: np.asarray(text, dtype=float)}).log_marginal_likelihood
            == fit(**{name: array}).log_marginal_likelihood
        )
    refuses(covariance, TypeError, "X", "'x' at X[1, 0]", "encode text", X=[["1.5"], ["x"]])  # which is not all numbers


def test_inputs_that_lie_on_their_side_get_a_hint():
    for function in WITH_Y:
        refuses(function, ValueError, "y", f"X has {N} columns: pass X.T", X=X.T)
    with pytest.raises(ValueError, match=r"got \(5,\)$"):
        fit(y=Y[:5])


def test_a_row_of_another_length_is_named():
    refuses(covariance, ValueError, "X", "row 2 has length 3, row 0 has 2", X=[[1, 2], [3, 4], [5, 6, 7]])


def test_integers_beyond_float64():
    refuses(covariance, ValueError, "X", "too large for float64", X=[[1.0, 10**400]])


def test_decimals_and_fractions_are_numbers():
    expected = likelihood(signal_variance=1.5, noise_variance=0.25)
    assert likelihood(signal_variance=decimal.Decimal("1.5"), noise_variance=fractions.Fraction(1, 4)) == expected


def test_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    refuses(covariance, TypeError, "X", "sparse", "csr", "X.toarray()", X=sparse.csr_matrix(X))
    refuses(covariance, TypeError, "X", "sparse", "coo", "X.toarray()", X=sparse.coo_array(X))
    refuses(likelihood, TypeError, "y", "sparse", "y.toarray()", y=sparse.csr_matrix(Y[:, None]))


# Of each a column of a DataFrame beside one of numbers, and what the message says of it.
PANDAS = {
    "text": (lambda pandas: ["x"] * N, TypeError, "text in column 'b' ('x' at X[0, 1])"),
    "digits": (lambda pandas: pandas.Series(["1"] * N, dtype=object), TypeError, "text in column 'b'"),
    "dates": (lambda pandas: pandas.date_range("2020-01-02", periods=N), TypeError, "dates or times in column 'b'"),
    "zone": (lambda pandas: pandas.date_range("2020-01-02", periods=N, tz="UTC"), TypeError, "dates or times in column 'b'"),
    "text_dates": (lambda pandas: ["2020-01-02"] * N, TypeError, "text of dates or times in column 'b' ('2020-01-02' at X[0"),
    "moments": (lambda pandas: [None, *["2020-01-02T03:04"] * 5], TypeError, "text of dates or times in column 'b'"),
    "months_by_name": (lambda pandas: ["5 Jan 2024"] * N, TypeError, "text of dates or times in column 'b' ('5 Jan 2024'"),
    "months": (lambda pandas: ["2024-01"] * N, TypeError, "text of dates or times in column 'b' ('2024-01' at X[0"),
    "times": (lambda pandas: ["12:30"] * N, TypeError, "text of dates or times in column 'b'"),
    "durations": (lambda pandas: pandas.to_timedelta([1] * N, unit="s"), TypeError, "durations in column 'b'"),
    "periods": (lambda pandas: pandas.period_range("2020", periods=N, freq="M"), TypeError, "type Period in column 'b'"),
    "categories": (lambda pandas: pandas.Categorical(["x"] * N), TypeError, "text in column 'b'"),
    "None": (lambda pandas: pandas.Series([1.0, None] * 3, dtype=object), ValueError, "X[1, 1], column 'b'"),
    "NaN": (lambda pandas: [1.0, np.nan] * 3, ValueError, "X[1, 1], column 'b'"),
    "Int64": (lambda pandas: pandas.array([1, None] * 3, dtype="Int64"), (TypeError, ValueError), "column 'b'"),
    "boolean": (lambda pandas: pandas.array([True, None] * 3, dtype="boolean"), (TypeError, ValueError), "column 'b'"),
}


@pytest.mark.parametrize("kind", PANDAS)
def test_columns_of_pandas(kind):
    pandas = pytest.importorskip("pandas")
    make, exception, words = PANDAS[kind]
    frame = pandas.DataFrame({"a": Y, "b": make(pandas)})
    if kind in ("text", "categories"):  # which training encodes
        assert fit(X=frame).predict(frame).shape == (N,)
    else:
        with pytest.raises(exception, match=re.escape(words)):
            fit(X=frame)
    with pytest.raises(exception, match=re.escape(words)):
        covariance(X=frame)
    only = frame[["b"]]
    with pytest.raises(exception, match="column 'b'"):
        covariance(X=only)


def test_dates_are_numbers_by_the_remedy_or_categories_by_name():
    """What the message says makes of dates, written or pandas', the days that the command line makes of them."""
    pandas = pytest.importorskip("pandas")
    texts = [f"2024-05-{day:02}" for day in (1, 2, 3, 3, 5, 7)]
    for days in (texts, pandas.to_datetime(texts), pandas.to_datetime(texts, utc=True)):
        frame = pandas.DataFrame({"a": Y, "day": days})
        with pytest.raises(TypeError, match="in column 'day'") as caught:
            fit(X=frame)
        recipe = re.search(r"does: (.*?); times", str(caught.value)).group(1)
        column = eval(recipe, {"pandas": pandas, "column": frame.day})
        assert column.tolist() == [19844.0, 19845.0, 19846.0, 19846.0, 19848.0, 19850.0]
    frame = pandas.DataFrame({"a": Y, "day": texts})
    with pytest.raises(TypeError, match=r"fastard\.fit's categorical="):
        fit(X=frame)
    for named in (fit(X=frame, categorical=["day"]), fit(X=frame.astype({"day": "category"}))):
        assert named.predict(frame).shape == (N,)
        with pytest.raises(ValueError, match="unknown in training"):
            named.predict(frame.assign(day="2024-05-04"))
    assert fit(X=frame.assign(day=["1.2", "x", "y"] * 2)).predict(frame[:0:-1].assign(day="x")).shape == (N - 1,)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (["0,5", "1,0"], "text with decimal commas"),
        (["1", "2", "n/a"], "text in column 'b'"),
        (["2024-01-05", "2024-01-06", "unknown"], "text of dates or times in column 'b'"),
    ],
)
def test_numbers_and_dates_with_an_odd_one_are_no_categories(entries, told):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(12.0), "b": entries * (12 // len(entries))})
    with pytest.raises(TypeError, match=told):
        fastard.fit(frame, np.arange(12.0))
    assert fastard.fit(frame, np.arange(12.0), categorical=["b"]).predict(frame).shape == (12,)


def test_what_is_a_date():
    """And which categories are none: months and days by themselves, names, versions, ranges."""
    dates = (
        "2024-05-31|1.5.2024|31/12/99|12:30|12:30 PM|2024-05-31 14:30|2024-01|2024/1|01/2024|5 Jan 2024|05 January 2024|"
        "Jan 5, 2024|5-Jan-2024|2024-Jan-05|05JAN2024|Jan 2024|5th May 2024|May 5th, 2024|5 Sept. 2024|"
        "Monday 5 Jan 2024|Fri, 5 Jan 2024 14:30:00 +0000|Thu Jan  5 14:30:00 2024|May 5, 2024 at 3:15 PM"
    )
    others = (
        "Jan|May|March|sunday|mon 5|type 5|model 2024|2024|2024Q1|1-2|10-20|2024-13|1000-10|1.5|1:2|3/4|MARCH1|SEPT2|DEC10|"
        "may be 5|May flower 12|deck 5|marc 5|24-Jan-x|mar-3|Oct-4|SEP-14|MAR1234|DEC0001|12JAN|5-Jan|Jan-24"
    )
    assert [text for text in dates.split("|") if not _text.is_date(text)] == []
    assert [text for text in others.split("|") if _text.is_date(text)] == []


def test_pandas_frames_of_numbers():
    pandas = pytest.importorskip("pandas")
    expected = covariance(X=np.column_stack([np.arange(6.0), [1.0, 0.0] * 3]))
    for second in ([True, False] * 3, pandas.array([1, 0] * 3, dtype="Int64"), pandas.Categorical([1, 0] * 3)):
        np.testing.assert_array_equal(covariance(X=pandas.DataFrame({"a": range(6), "b": second})), expected)
    refuses(covariance, ValueError, "X", "X.to_frame()", X=pandas.Series(Y))


def test_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    np.testing.assert_array_equal(covariance(X=frame), covariance())
    assert fit(X=frame).feature_names == ["a", "b"]
    refuses(fit, TypeError, "X", "LazyFrame", "X.collect()", X=frame.lazy())
    refuses(covariance, TypeError, "X", "text in column 'c'", X=frame.with_columns(polars.lit("x").alias("c")))
    refuses(fit, ValueError, "X", "column 'c'", X=frame.with_columns(polars.lit(None, dtype=polars.Int64).alias("c")))
    with pytest.raises(TypeError, match=r"X\.collect\(\)"):
        fit(X=frame).predict(frame.lazy())
    # beside numbers polars makes numbers of dates, microseconds since 1970 say
    for moment in (datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1), datetime.timedelta(1), datetime.time(1)):
        refuses(fit, TypeError, "X", "dates or times in column 'c'", X=frame.with_columns(polars.lit(moment).alias("c")))


def test_pyarrow_tables():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": X[:, 0], "b": X[:, 1]})
    model = fit(X=table)
    assert model.feature_names == ["a", "b"]
    assert model.predict(table).shape == (N,)
    refuses(covariance, TypeError, "X", "text in column 'c'", X=table.append_column("c", [["x"] * N]))


@pytest.mark.parametrize(
    "options",
    [
        {"length_scale_bounds": [(1.0, 2.0)] * 1499},
        {"length_scale_groups": [[0]] * 1500},
        {"length_scale_prior": lambda _: [0.0] * 3000},
    ],
)
def test_a_message_does_not_repeat_a_long_argument(options):
    X = np.random.default_rng(0).normal(size=(3, 1500))
    with pytest.raises((ValueError, TypeError)) as caught:
        fastard.fit(X, [1.0, 2.0, 0.0], **options)
    assert len(str(caught.value)) < 300
