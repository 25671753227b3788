"""Standard errors: the exact Hessian by complex step and by differences, the average information, and what is left out."""

import warnings

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import parameters_of, peak, two_of_four

import fastard
from fastard._arrays import NamedColumns
from fastard._engine.terms import Term
from fastard._model import standard_errors as uncertainty

SCALES, SIGNAL, NOISE = np.array([0.7, 1.3, 2.0]), 1.7, 0.1


def trained_at(theta, X, y, kernel="rbf", known=None):
    """The trained state at any theta, and theta's natural values."""
    natural, d = np.exp(theta), X.shape[1]
    likelihood = fastard.LogMarginalLikelihood(X, y, kernel=kernel, observation_variance=known)
    kernel = likelihood.kernel.with_shape(natural[d + 2 :].tolist())
    term = Term(kernel, natural[:d], float(natural[d]))
    evaluation = likelihood.evaluate(natural[:d], float(natural[d]), float(natural[d + 1]), kernel, gradient=False)
    return uncertainty.Trained(likelihood, term, float(natural[d + 1]), evaluation.alpha, likelihood.release())


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_both_agree_with_the_truth(kernel, n, m):
    """Among the rows are equal ones, where the second derivative of the profile is 0 / 0."""
    name, kernel_object, shape = kernel
    X, y = data(n, 3, m)
    X[n // 2] = X[0]
    known = np.linspace(0.0, 0.3, n)
    theta = np.log([*SCALES, SIGNAL, NOISE, *shape])
    trained = trained_at(theta, X, y, kernel_object, known)
    every = np.eye(theta.size)
    assert_agree(uncertainty.slope_and_hessian(trained, every)[1], naive.hessian(name, theta, X, y, known))
    assert_agree(uncertainty.average_information(trained, every), naive.average_information(name, theta, X, y, known))


def test_several_blocks_and_tiles(monkeypatch):
    monkeypatch.setattr(uncertainty, "_BLOCK_ENTRIES", 8 * 130 * 7)
    X, y = data(130, 3)
    theta = np.log([*SCALES, SIGNAL, NOISE, 0.7])
    trained = trained_at(theta, X, y, "rational_quadratic")
    expected = naive.hessian("rational_quadratic", theta, X, y)
    assert_agree(uncertainty.slope_and_hessian(trained, np.eye(6))[1], expected)
    tied = np.array([[1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]])
    assert_agree(uncertainty.slope_and_hessian(trained, tied)[1], tied @ expected @ tied.T)
    information = naive.average_information("rational_quadratic", theta, X, y)
    assert_agree(uncertainty.average_information(trained, tied), tied @ information @ tied.T)


def test_differences_of_the_gradient(kernel):
    X, y = data(60, 3)
    theta = np.log([*SCALES, SIGNAL, NOISE, *kernel[2]])
    objective, h = fastard.LogMarginalLikelihood(X, y, kernel=kernel[1]), 1e-5
    steps = h * np.eye(theta.size)
    differences = np.array([(objective(theta + step)[1] - objective(theta - step)[1]) / (2 * h) for step in steps])
    assert_agree(uncertainty.slope_and_hessian(trained_at(theta, X, y, kernel[1]), np.eye(theta.size))[1], differences, 1e-8)


def model_and_theta(**options):
    X, y = two_of_four()
    model = fastard.fit(X[:, :3], y, **options)
    theta = np.log([*model.length_scale, model.signal_variance, model.noise_variance, *model.kernel])
    return model, theta, X[:, :3], y - y.mean()


@pytest.mark.parametrize("method", ["exact", "average_information"])
def test_of_a_model(method):
    model, theta, X, y = model_and_theta()
    found = model.standard_errors(method)
    truth = naive.average_information("rbf", theta, X, y) if method != "exact" else -naive.hessian("rbf", theta, X, y)
    expected = np.linalg.inv(truth)
    assert found.names == ["length_scale[0]", "length_scale[1]", "length_scale[2]", "signal_variance", "noise_variance"]
    assert_agree(found.covariance, expected, 1e-8)
    deviations = np.sqrt(np.diagonal(expected))
    assert_agree(found.standard_errors, deviations, 1e-8)
    assert_agree(found.correlation, expected / np.outer(deviations, deviations), 1e-8)


def test_the_noise_of_independent_numbers_has_a_known_standard_error():
    """Where the function is nothing, ln of the variance of n normal numbers has a standard error of sqrt(2 / n)."""
    y = np.random.default_rng(0).standard_normal(200)
    X = np.zeros((200, 1))
    model = fastard.fit(X, y, signal_variance=1e-9, signal_variance_bounds="fixed", length_scale_bounds="fixed")
    found = model.standard_errors()
    assert found.standard_errors[2] == pytest.approx(np.sqrt(2 / 200), rel=1e-3)
    assert np.isnan(found.standard_errors[:2]).all()


def test_fixed_and_tied_parameters():
    model, theta, X, y = model_and_theta(length_scale_groups=[0, 0, 1], noise_variance_bounds="fixed", noise_variance=0.02)
    found = model.standard_errors()
    information = -naive.hessian("rbf", theta, X, y)
    tie = np.array([[1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0]])
    expected = np.sqrt(np.diagonal(np.linalg.inv(tie @ information @ tie.T)))
    assert_agree(found.standard_errors[[0, 2, 3]], expected, 1e-8)
    assert found.standard_errors[0] == found.standard_errors[1]
    assert found.correlation[0, 1] == pytest.approx(1.0)
    assert np.isnan(found.standard_errors[4])
    assert np.isnan(found.covariance[4]).all()


def test_everything_fixed_and_no_columns():
    X, y = data(10, 1)
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance")}
    assert np.isnan(fastard.fit(X, y, **fixed).standard_errors().covariance).all()
    model = fastard.fit(np.empty((10, 0)), y, signal_variance=1e-9, signal_variance_bounds="fixed")
    assert model.standard_errors().standard_errors[1] == pytest.approx(np.sqrt(2 / 10), rel=1e-3)


def test_a_parameter_at_its_bound_is_left_out_with_a_warning():
    X, y = two_of_four()
    model = fastard.fit(X, y, length_scale_bounds=(1e-2, 3.0))
    assert "length_scale[3]" in model.message
    with pytest.warns(UserWarning, match=r"length_scale\[\d\].*at a bound") as caught:
        found = model.standard_errors()
    assert caught[0].filename == __file__
    at_bound = np.isclose(model.length_scale, 3.0)
    assert at_bound[3]
    np.testing.assert_array_equal(np.isnan(found.standard_errors), [*at_bound, False, False])


def test_an_input_without_influence_is_called_that():
    """Its length scale is at an upper bound that is long enough: there is nothing to widen."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 2))
    y = np.sin(6.0 * X[:, 0]) + 0.1 * rng.standard_normal(60)
    model = fastard.fit(X, y, length_scale_bounds=(1e-2, 300.0))
    assert model.length_scale[1] == pytest.approx(300.0)
    with pytest.warns(UserWarning, match="no visible influence of the inputs 1, whose length scales") as caught:
        found = model.standard_errors()
    assert len(caught) == 1
    assert "widen" not in str(caught[0].message)
    assert list(np.isnan(found.standard_errors)) == [False, True, False, False]
    change = np.sqrt(2.0 * model.signal_variance * (1.0 - np.exp(-0.5 * (np.ptp(X[:, 1]) / 300.0) ** 2)))
    assert change < 0.05 * np.std(y)
    named = fastard.fit(NamedColumns(X, ["heat", "speed [m/s]"]), y, length_scale_bounds=(1e-2, 300.0))
    with pytest.warns(UserWarning, match=r"of the inputs speed \[m/s\], whose length scales"):
        named.standard_errors()
    with pytest.warns(UserWarning, match=r"length_scale\[1\] at a bound.*widen"):
        fastard.fit(X, y, length_scale_bounds=(1e-2, 3.0)).standard_errors()


def test_all_parameters_at_a_bound_are_named():
    X, y = two_of_four()
    model = fastard.fit(X, y, length_scale_bounds=(1e-2, 1.5), noise_variance_bounds=(0.05, 1.0))
    at_bound = [*np.isclose(model.length_scale, 1.5), False, np.isclose(model.noise_variance, 0.05)]
    assert sum(at_bound[:4]) >= 2
    assert at_bound[5]
    with pytest.warns(UserWarning, match="at a bound") as caught:
        found = model.standard_errors()
    names = ", ".join(name for name, there in zip(found.names, at_bound, strict=True) if there)
    assert str(caught[0].message).startswith(f"{names} at a bound")
    np.testing.assert_array_equal(np.isnan(found.standard_errors), at_bound)


@pytest.mark.parametrize("method", ["exact", "average_information"])
def test_far_from_the_origin(method):
    """Of inputs on a grid, so that moving them rounds nothing."""
    X, y = two_of_four()
    X = np.round(X[:, :3] * 2.0**15) / 2.0**15
    near = fastard.fit(X, y)
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance")}
    for distance in (2.0**20, 2.0**35):
        far = fastard.fit(X + distance, y, **parameters_of(near), **fixed)
        far._slots[:] = near._slots  # the very same parameters, as if they had been trained
        assert_agree(far.standard_errors(method).covariance, near.standard_errors(method).covariance, 1e-9)


def test_where_there_is_no_maximum():
    X, y = two_of_four()
    model = fastard.fit(X, y, max_iterations=1, length_scale=20.0, length_scale_bounds=(1e-3, 1e3))
    with pytest.warns(UserWarning, match="not at a maximum of the free parameters") as caught:
        found = model.standard_errors()
    assert caught[0].filename == __file__
    assert np.isnan(found.standard_errors).all()


def test_where_the_curvature_is_right_but_the_slope_is_not():
    X, y = two_of_four()
    model = fastard.fit(X[:, :3], y, max_iterations=3)
    with pytest.warns(UserWarning, match=r"not at a maximum: some [\d.]+ nats") as caught:
        found = model.standard_errors()
    assert caught[0].filename == __file__
    assert np.isfinite(found.standard_errors).all()
    with pytest.warns(UserWarning, match="had not converged"):
        model.standard_errors("average_information")
    model = fastard.fit(X[:, :3], y)
    model.update(X[:5, :3] + 0.01, y[:5] + 1.0)
    with pytest.warns(UserWarning, match="not at a maximum"):
        model.standard_errors()


@pytest.mark.parametrize("method", ["exact", "average_information"])
def test_what_the_data_do_not_determine_is_left_out_and_named(method):
    X, y = two_of_four()
    known = fastard.fit(X[:, :3], y).standard_errors(method).standard_errors
    for column, names in [(np.full(60, 7.0), r"length_scale\[3\]:"), (X[:, 0], r"length_scale\[0\], length_scale\[3\]:")]:
        model = fastard.fit(np.column_stack([X[:, :3], column]), y)
        with pytest.warns(UserWarning, match=f"do not determine {names}") as caught:
            found = model.standard_errors(method)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert np.isnan(found.standard_errors[3])
        assert np.isnan(found.correlation[3]).all()
        if np.ptp(column) == 0.0:
            assert_agree(found.standard_errors[[0, 1, 2, 4, 5]], known, 1e-3)
        else:
            assert np.isnan(found.standard_errors[0])
            assert np.isfinite(found.standard_errors[[1, 2, 4, 5]]).all()


def test_names_are_those_of_the_columns():
    pandas = pytest.importorskip("pandas")
    X, y = two_of_four()
    model = fastard.fit(pandas.DataFrame(X[:, :2], columns=["depth", "time"]), y, length_scale_bounds=(1e-2, 1.0))
    assert "length_scale[time]" in model.message
    with pytest.warns(UserWarning, match=r"length_scale\[time\].*at a bound"):
        found = model.standard_errors()
    assert found.names == ["length_scale[depth]", "length_scale[time]", "signal_variance", "noise_variance"]


@pytest.mark.parametrize(
    "options", [{"objective": "loo"}, {"length_scale_prior": lambda x: (-np.sum(x), -np.ones_like(x))}], ids=["loo", "priors"]
)
def test_other_objectives_are_warned_of(options):
    model = model_and_theta(**options, max_iterations=5)[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.standard_errors()
    assert any(model.objective in str(warning.message) for warning in caught)
    assert model.objective != "log_marginal_likelihood"


def test_the_bits_do_not_depend_on_the_threads():
    X, y = data(300, 4)
    results = []
    for n_threads in (1, 2, 3):
        model = fastard.fit(X, np.sin(X[:, 0]) + 0.1 * y, max_iterations=30, n_threads=n_threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(model.standard_errors().covariance.tobytes())
    assert results[0] == results[1] == results[2]


def test_progress_says_what_it_costs_first(capsys):
    model = model_and_theta()[0]
    model.standard_errors(progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert "5 parameters" in lines[0]
    assert f"{7 * 60**3:.1e} flops" in lines[0]
    assert "100% done" in lines[-1]
    model.standard_errors()
    assert capsys.readouterr().err == ""


def test_unknown_method():
    with pytest.raises(ValueError, match="method must be one of 'exact', 'average_information', got 'bootstrap'"):
        model_and_theta(max_iterations=1)[0].standard_errors("bootstrap")


def test_memory():
    """One matrix beside the model's, and some blocks of half a megabyte."""
    X, noise = data(1500, 2)
    y = np.sin(X[:, 0]) + 0.3 * noise
    fixed = {"length_scale": 1.5, "length_scale_bounds": "fixed", "signal_variance": 1.0, "signal_variance_bounds": "fixed"}
    model = fastard.fit(X, y, **fixed)
    for method, matrices in [("exact", 1.1), ("average_information", 0.0)]:
        assert peak(lambda method=method: model.standard_errors(method)) < matrices * 8 * 1500**2 + 8e6
