"""A trained model as another library's: the same predictions."""

import pickle

import numpy as np
import pytest
from conftest import KERNELS, assert_agree, run_python
from helpers import points, trained
from test_encoding import LEVELS, frame, table

import fastard

KNOWN = np.linspace(0.05, 0.1, 70)


def models(kernel, **options):
    """One output and two, with known variances and without."""
    for m in (1, 2):
        for known in (None, KNOWN):
            yield trained(kernel, m=m, observation_variance=known, **options)


def agree_with_sklearn(model, regressor, Z):
    for options in ({"return_std": True}, {"return_cov": True}):
        for theirs, ours in zip(regressor.predict(Z, **options), model.predict(Z, **options), strict=True):
            assert_agree(theirs, ours, 1e-10)


def test_sklearn(kernel):
    sklearn = pytest.importorskip("sklearn.gaussian_process")
    alike = {"length_scale": [1.3] * 3} if kernel[0] == "rational_quadratic" else {}
    for model, X, y in models(kernel, **alike):
        regressor = model.to_sklearn()
        assert type(regressor) is sklearn.GaussianProcessRegressor
        Z = points()
        agree_with_sklearn(model, regressor, Z)
        agree_with_sklearn(model, pickle.loads(pickle.dumps(regressor)), Z)
        assert_agree(regressor.predict(X), model.predict(X), 1e-10)
        theta = regressor.kernel_.theta
        assert regressor.log_marginal_likelihood(theta) == pytest.approx(regressor.log_marginal_likelihood_value_, rel=1e-10)
        if y.ndim == 1:
            from sklearn.base import clone

            agree_with_sklearn(model, clone(regressor).fit(X, y), Z)


def test_sklearn_after_more_points():
    pytest.importorskip("sklearn")
    model, _, _ = trained()
    model.update(points(5), np.arange(5.0))
    agree_with_sklearn(model, model.to_sklearn(), points())


def test_sklearn_keeps_names():
    pytest.importorskip("sklearn")
    pandas = pytest.importorskip("pandas")
    X, y = trained()[1:]
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    regressor = fastard.fit(frame, y, max_iterations=3).to_sklearn()
    assert list(regressor.feature_names_in_) == ["a", "b", "c"]
    assert regressor.predict(frame).shape == (70,)  # a warning would be an error


def test_sklearn_works_with_partial_dependence():
    inspection = pytest.importorskip("sklearn.inspection")
    model, X, _ = trained()
    found = inspection.partial_dependence(model.to_sklearn(), X, [0], grid_resolution=5)
    Z = X.copy()
    Z[:, 0] = found["grid_values"][0][2]
    assert found["average"][0, 2] == pytest.approx(model.predict(Z).mean(), rel=1e-10)


def test_what_sklearn_has_not():
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match=r"one length scale for all inputs.*isotropic"):
        trained(KERNELS[-1].values[0])[0].to_sklearn()


# Of categories and periodic columns a Pipeline -------------------------------------------------------------------------


def test_sklearns_pipeline(kernel):
    pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    columns, y = table()
    X, Z = frame(columns), frame(table(9, seed=1)[0])
    groups = {"length_scale_groups": "isotropic"} if kernel[0] == "rational_quadratic" else {}
    for targets, more in (
        (y, {}),
        (y, {"observation_variance": np.linspace(0.05, 0.1, 60)}),
        (np.column_stack([y, y**2]), {}),
        (np.column_stack([y, 100.0 * y**2]), {"output_variances": "own"}),
    ):
        start = {} if "output_variances" in more else {"signal_variance": 1.7}
        model = fastard.fit(
            X, targets, periodic={"wind": 360}, kernel=kernel[1], noise_variance=0.1, noise_variance_bounds="fixed",
            max_iterations=3, **start, **groups, **more,
        )  # fmt: skip
        pipeline = model.to_sklearn()
        assert type(pipeline) is Pipeline
        agree_with_sklearn(model, pipeline, Z)
        agree_with_sklearn(model, pipeline, Z[["wind", "material", "heat"]])
        pickled = pickle.dumps(pipeline)
        assert b"fastard" not in pickled
        agree_with_sklearn(model, pickle.loads(pickled), Z)
        if targets.ndim == 1:
            agree_with_sklearn(model, clone(pipeline).fit(X, targets), Z)
    assert list(pipeline.feature_names_in_) == ["heat", "material", "wind"]
    assert list(pipeline[0].get_feature_names_out())[-3:] == [
        "categories__material_wood", "periodic__sin__wind", "periodic__cos__wind",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="unknown categories"):
        pipeline.predict(Z.assign(material="paper"))


def test_sklearns_pipeline_of_all_kinds_of_columns():
    """Levels that are text, numbers or booleans, sorted or not; arrays of numbers, of objects, and DataFrames."""
    pytest.importorskip("sklearn")
    pandas = pytest.importorskip("pandas")
    columns, y = table()
    options = {"periodic": {2: 360.0}, "max_iterations": 3, "noise_variance_bounds": (0.01, 1.0)}
    model = fastard.fit(columns, y, categorical=[1], **options)
    for same in (columns, columns.astype(object), columns.tolist()):
        assert_agree(model.to_sklearn().predict(same), model.predict(columns))
    rows = [[heat, LEVELS[int(material)], wind] for heat, material, wind in columns]
    model = fastard.fit(rows, y, categorical=[1], **options)
    assert_agree(model.to_sklearn().predict(np.array(rows, dtype=object)), model.predict(rows))
    numbers = columns[:, 1].astype(int)
    X = pandas.DataFrame(
        {
            "text": pandas.Categorical([LEVELS[i] for i in numbers], ["wood", "glass", "steel"]),
            "hour": np.arange(60.0) - 20.0,
            "number": numbers,
            "place": pandas.Categorical(numbers, [2, 0, 1]),
            "flag": columns[:, 0] > 20.0,
            "day": 3.0 * np.arange(60.0),
        }
    )
    for names in (list(X), ["number", "flag", "place"], ["hour", "day"]):
        declared = {name: period for name, period in (("hour", 24.0), ("day", 365.25)) if name in names}
        categorical = [name for name in ("number", "flag") if name in names]
        one = fastard.fit(X[names], y, categorical=categorical, periodic=declared, max_iterations=3, noise_variance=0.1)
        assert_agree(one.to_sklearn().predict(X[names]), one.predict(X[names]))
    both = fastard.fit([["a"], [1.0], ["b"]], [1.0, 2.0, 3.0], categorical=[0], max_iterations=2)
    with pytest.raises(ValueError, match="column 0 of X has text and numbers as categories"):
        both.to_sklearn()


def test_sklearns_partial_dependence_of_a_category():
    inspection = pytest.importorskip("sklearn.inspection")
    columns, y = table()
    X = frame(columns)
    model = fastard.fit(X, y, periodic={"wind": 360}, max_iterations=5)
    pipeline = model.to_sklearn()
    found = inspection.partial_dependence(pipeline, X, ["material"], categorical_features=["material"])
    for level, average in zip(found["grid_values"][0], found["average"][0], strict=True):
        assert average == pytest.approx(model.predict(X.assign(material=level)).mean(), rel=1e-10)


def test_gpytorch(kernel):
    gpytorch, torch = pytest.importorskip("gpytorch"), pytest.importorskip("torch")
    if kernel[0] == "matern72":
        with pytest.raises(ValueError, match="GPyTorch has no kernel like Matern72"):
            trained(kernel)[0].to_gpytorch()
        return
    for model, _, y in models(kernel):
        m = 1 if y.ndim == 1 else 2
        converted = model.to_gpytorch()
        assert isinstance(converted, gpytorch.models.ExactGP)
        assert not converted.training
        Z = points()
        with torch.no_grad():
            found = converted(torch.tensor(Z).expand(*([] if m == 1 else [m]), -1, -1))
        mean, covariance = model.predict(Z, return_cov=True)
        assert found.mean.dtype == torch.float64
        assert_agree(found.mean.numpy().T, mean, 1e-9)
        theirs = found.covariance_matrix.numpy()
        assert_agree(theirs if m == 1 else np.moveaxis(theirs, 0, -1), covariance, 1e-9)


def test_gpytorchs_likelihood():
    gpytorch, torch = pytest.importorskip("gpytorch"), pytest.importorskip("torch")
    model, X, y = trained(noise_variance=1e-6)  # less than GPyTorch's least
    converted = model.to_gpytorch()
    assert converted.likelihood.noise.item() == pytest.approx(1e-6, rel=1e-12)
    converted.train()
    with torch.no_grad():
        objective = gpytorch.mlls.ExactMarginalLogLikelihood(converted.likelihood, converted)
        value = objective(converted(torch.tensor(X)), torch.tensor(y)).item() * len(X)
    assert value == pytest.approx(model.log_marginal_likelihood, rel=1e-6)
    noiseless, X, _ = trained(noise_variance=0.0)
    with torch.no_grad():
        found = noiseless.to_gpytorch()(torch.tensor(points()))
    assert_agree(found.mean.numpy(), noiseless.predict(points()), 1e-6)


def test_without_the_libraries():
    text = run_python(
        "import sys; sys.modules['sklearn'] = sys.modules['torch'] = None\n"
        "import numpy as np, fastard\n"
        "model = fastard.fit(np.eye(3), np.arange(3.0), max_iterations=1)\n"
        "for convert in (model.to_sklearn, model.to_gpytorch):\n"
        "    try:\n        convert()\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    assert "pip install 'fastard[sklearn]'" in text
    assert "pip install 'fastard[torch]'" in text
