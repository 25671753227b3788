"""What must hold for any data: symmetries of the likelihood, found by hypothesis."""

import numpy as np
from conftest import KERNELS, assert_agree
from hypothesis import given, settings
from hypothesis import strategies as st

import fastard

few = settings(deadline=None, derandomize=True, max_examples=25)


@st.composite
def problems(draw):
    """X, y, and arguments of log_marginal_likelihood."""
    n, d = draw(st.sampled_from([1, 2, 5, 30, 64, 65, 90])), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    _, kernel, _ = draw(st.sampled_from(KERNELS)).values[0]
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    if draw(st.booleans()) and n > 1:
        X[n // 2 :] = X[: n - n // 2]
    return (
        X,
        y,
        {
            "length_scale": np.exp(rng.uniform(-2.0, 3.0, d)),
            "signal_variance": float(np.exp(rng.uniform(-2.0, 2.0))),
            "noise_variance": float(np.exp(rng.uniform(-3.0, 0.0))),
            "kernel": kernel,
        },
        rng,
    )


def evaluate(X, y, **options):
    return fastard.log_marginal_likelihood(X, y, eval_gradient=True, **options)


def assert_same(actual, expected, tolerance=1e-10):
    assert_agree(actual[0], expected[0], tolerance)
    assert_agree(actual[1], expected[1], tolerance)


@few
@given(problems())
def test_order_of_the_rows(problem):
    X, y, options, rng = problem
    order = rng.permutation(len(X))
    assert_same(evaluate(X[order], y[order], **options), evaluate(X, y, **options))


@few
@given(problems())
def test_order_of_the_columns(problem):
    X, y, options, rng = problem
    order = rng.permutation(X.shape[1])
    value, gradient = evaluate(X, y, **options)
    moved = evaluate(X[:, order], y, **{**options, "length_scale": options["length_scale"][order]})
    assert_same(moved, (value, np.concatenate([gradient[order], gradient[X.shape[1] :]])))


@few
@given(problems(), st.floats(-1e4, 1e4))
def test_translation(problem, shift):
    X, y, options, _ = problem
    X = np.round(X * 2**20) / 2**20  # so that X + shift is exact, and only the library's rounding is seen
    shift = round(shift)
    assert_same(evaluate(X + shift, y, **options), evaluate(X, y, **options))


@few
@given(problems())
def test_units_of_the_inputs(problem):
    X, y, options, rng = problem
    factor = np.exp(rng.uniform(-20.0, 20.0, X.shape[1]))
    moved = evaluate(X * factor, y, **{**options, "length_scale": options["length_scale"] * factor})
    assert_same(moved, evaluate(X, y, **options))


@few
@given(problems(), st.sampled_from([1e-6, 1.0 / 3.0, 1e8]))
def test_units_of_the_targets(problem, factor):
    """y by a factor, variances by its square: the gradient stays, the value moves by n ln(factor)."""
    X, y, options, _ = problem
    value, gradient = evaluate(X, y, **options)
    scaled = {name: options[name] * factor**2 for name in ("signal_variance", "noise_variance")}
    assert_same(evaluate(X, factor * y, **{**options, **scaled}), (value - len(y) * np.log(factor), gradient))


@few
@given(problems(), st.floats(-1e6, 1e6), st.sampled_from([1e-3, 1.0, 1e6]))
def test_an_input_that_does_not_vary(problem, constant, scale):
    """It changes nothing, and its derivative is exactly 0."""
    X, y, options, rng = problem
    d = X.shape[1]
    where = int(rng.integers(0, d + 1))
    value, gradient = evaluate(X, y, **options)
    wider = evaluate(
        np.insert(X, where, constant, axis=1),
        y,
        **{**options, "length_scale": np.insert(options["length_scale"], where, scale)},
    )
    assert wider[1][where] == 0.0
    assert_same((wider[0], np.delete(wider[1], where)), (value, gradient))


@few
@given(problems(), st.integers(1, 4))
def test_equal_outputs(problem, m):
    X, y, options, _ = problem
    value, gradient = evaluate(X, y, **options)
    assert_same(evaluate(X, np.tile(y[:, None], (1, m)), **options), (m * value, m * gradient))


@few
@given(problems())
def test_outputs_add_up(problem):
    X, y, options, rng = problem
    other = rng.standard_normal(len(y))
    first, second = evaluate(X, y, **options), evaluate(X, other, **options)
    both = evaluate(X, np.column_stack([y, other]), **options)
    assert_same(both, (first[0] + second[0], first[1] + second[1]))


@few
@given(problems())
def test_sign_of_the_targets(problem):
    X, y, options, _ = problem
    value, gradient = evaluate(X, y, **options)
    mirrored = evaluate(X, -y, **options)
    assert mirrored[0] == value
    np.testing.assert_array_equal(mirrored[1], gradient)


@few
@given(problems())
def test_covariance_is_exactly_symmetric(problem):
    X, _, options, _ = problem
    del options["noise_variance"]
    K = fastard.covariance(X, **options)
    np.testing.assert_array_equal(K, K.T)
    assert (np.diagonal(K) == options["signal_variance"]).all()
    assert (options["signal_variance"] >= K).all()
    assert (K >= 0.0).all()


@few
@given(problems())
def test_vjp_is_linear_in_its_weights(problem):
    X, _, options, rng = problem
    del options["noise_variance"]
    P, Q = rng.standard_normal((2, len(X), len(X)))
    together = fastard.covariance_vjp(2.0 * P - Q, X, **options)
    apart = 2.0 * fastard.covariance_vjp(P, X, **options) - fastard.covariance_vjp(Q, X, **options)
    assert_agree(together, apart)


@few
@given(problems())
def test_vjp_of_the_signal_variance_is_the_inner_product(problem):
    X, _, options, rng = problem
    del options["noise_variance"]
    Q = rng.standard_normal((len(X), len(X)))
    gradient = fastard.covariance_vjp(Q, X, **options)
    assert_agree(gradient[X.shape[1]], np.sum(Q * fastard.covariance(X, **options)))
