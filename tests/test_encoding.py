"""Categorical and periodic columns: the exact kernels, encodings made by hand, and answers by the columns a user knows."""

import html
import json
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import scipy.stats
from conftest import assert_agree

import fastard

N = 60
LEVELS = ["steel", "wood", "glass"]
FIXED = {f"{kind}_bounds": "fixed" for kind in ("length_scale", "signal_variance", "noise_variance")}
SCALES = {"heat": 11.0, "material": 1.4, "wind": 0.9}
VARIANCES = {"signal_variance": 1.7, "noise_variance": 0.1}


def table(n=N, seed=0):
    """heat, material by its number, wind in degrees; and targets."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack([rng.uniform(0.0, 50.0, n), rng.integers(0, 3, n), rng.uniform(-400.0, 800.0, n)])
    y = np.sin(columns[:, 0] / 9.0) + np.array([0.0, 1.0, -1.0])[columns[:, 1].astype(int)] + np.cos(np.deg2rad(columns[:, 2]))
    return columns, y + 0.1 * rng.standard_normal(n)


def frame(columns):
    pandas = pytest.importorskip("pandas")
    words = [LEVELS[i] for i in columns[:, 1].astype(int)]
    return pandas.DataFrame({"heat": columns[:, 0], "material": words, "wind": columns[:, 2]})


def by_hand(columns):
    angle = np.deg2rad(columns[:, 2])
    # levels are sorted: glass, steel, wood
    return np.column_stack([columns[:, 0], *(columns[:, 1] == i for i in (2, 0, 1)), np.sin(angle), np.cos(angle)])


def squared_distances(columns, others):
    """As the exact kernels have them: nothing is encoded."""
    heat, material, wind = (columns[:, j, None] - others[:, j] for j in range(3))
    return (
        (heat / SCALES["heat"]) ** 2
        + 2.0 * (material != 0.0) / SCALES["material"] ** 2
        + 4.0 * np.sin(np.pi * wind / 360.0) ** 2 / SCALES["wind"] ** 2
    )


PROFILES = {"rbf": lambda s: np.exp(-s / 2), "matern32": lambda s: (1 + np.sqrt(3 * s)) * np.exp(-np.sqrt(3 * s))}


@pytest.mark.parametrize("kernel", PROFILES)
def test_the_exact_kernels(kernel):
    """The likelihood and predictions of the Hamming kernel and the periodic one, written down as they are."""
    columns, y = table()
    model = fastard.fit(frame(columns), y, periodic={"wind": 360}, kernel=kernel, length_scale=SCALES, **VARIANCES, **FIXED)
    K = 1.7 * PROFILES[kernel](squared_distances(columns, columns)) + 0.1 * np.eye(N)
    centred = y - y.mean()
    value = -0.5 * centred @ np.linalg.solve(K, centred) - 0.5 * np.linalg.slogdet(K)[1] - 0.5 * N * np.log(2.0 * np.pi)
    assert_agree(model.log_marginal_likelihood, value)
    new, _ = table(7, seed=1)
    cross = 1.7 * PROFILES[kernel](squared_distances(new, columns))
    mean, std = model.predict(frame(new), return_std=True)
    assert_agree(mean, cross @ np.linalg.solve(K, centred) + y.mean())
    assert_agree(std**2, 1.7 - np.einsum("qn,nq->q", cross, np.linalg.solve(K, cross.T)))


def test_the_periodic_kernel_is_mackays():
    x = np.linspace(-3.0, 9.0, 25)
    options = {"length_scale": 0.8, "signal_variance": 1.0, "noise_variance": 1e-2, **FIXED}
    periodic = fastard.fit(x[:, None], np.sin(x), periodic={0: 5.0}, **options)
    K = np.exp(-2.0 * np.sin(np.pi * (x[:, None] - x) / 5.0) ** 2 / 0.8**2)
    Q = np.linalg.inv(K + 1e-2 * np.eye(25))
    assert_agree(periodic.loo().variance, 1.0 / Q.diagonal())
    assert (periodic.predict([[1.25]]) == periodic.predict([[1.25 + 35.0]])).all()
    assert (periodic.predict([[2.5]]) == periodic.predict([[-2.5]])).all()


def test_encodings_made_by_hand():
    """The same search over tied length scales, so the same model."""
    columns, y = table()
    options = {"signal_variance": 1.0, "noise_variance": 0.1}
    starts, bounds = {"heat": 20.0, "material": 1.0, "wind": 1.0}, dict.fromkeys(SCALES, (1e-2, 1e4))
    ours = fastard.fit(frame(columns), y, periodic={"wind": 360}, length_scale=starts, length_scale_bounds=bounds, **options)
    groups = [0, 1, 1, 1, 2, 2]
    theirs = fastard.fit(
        by_hand(columns), y, length_scale=np.array([20.0, 1.0, 1.0])[groups], length_scale_bounds=(1e-2, 1e4),
        length_scale_groups=groups, **options,
    )  # fmt: skip
    assert ours.converged
    assert theirs.converged
    assert ours.length_scale.shape == (3,)
    np.testing.assert_allclose(ours.length_scale[groups], theirs.length_scale, rtol=1e-3)
    np.testing.assert_allclose(ours.log_marginal_likelihood, theirs.log_marginal_likelihood, rtol=1e-8)
    # at the same parameters
    same = {"length_scale": theirs.length_scale[[0, 1, 4]], "signal_variance": theirs.signal_variance}
    same |= {"noise_variance": theirs.noise_variance, **FIXED}
    fixed = fastard.fit(frame(columns), y, periodic={"wind": 360}, **same)
    new, _ = table(9, seed=2)
    assert_agree(fixed.predict(frame(new)), theirs.predict(by_hand(new)), 1e-9)
    _, slopes = fixed.predict_gradient(frame(new))
    mean_slopes, encoded = fixed.predict_gradient(frame(new))[0], theirs.predict_gradient(by_hand(new))[0]
    angle = np.deg2rad(new[:, 2])
    along_wind = np.pi / 180.0 * (np.cos(angle) * encoded[:, 4] - np.sin(angle) * encoded[:, 5])
    assert_agree(mean_slopes[:, [0, 2]], np.column_stack([encoded[:, 0], along_wind]), 1e-8)
    assert np.isnan(mean_slopes[:, 1]).all()
    assert slopes.shape == (9, 3)
    for method in ("exact", "average_information"):
        one, other = ours.standard_errors(method), theirs.standard_errors(method)
        assert one.names == ["length_scale[heat]", "length_scale[material]", "length_scale[wind]", *other.names[6:]]
        np.testing.assert_allclose(one.standard_errors, other.standard_errors[[0, 1, 4, 6, 7]], rtol=1e-2)
        np.testing.assert_allclose(one.correlation, other.correlation[np.ix_([0, 1, 4, 6, 7], [0, 1, 4, 6, 7])], atol=1e-2)


def test_relevance_is_the_columns():
    columns, y = table()
    model = fastard.fit(frame(columns), y, periodic={"wind": 360}, length_scale=SCALES, **VARIANCES, **FIXED)
    spread = [np.sqrt(by_hand(columns)[:, part].var(axis=0).sum()) for part in ([0], [1, 2, 3], [4, 5])]
    rates = np.array(spread) / list(SCALES.values())
    assert_agree(model.relevance, rates / rates.sum())
    rows = {row.name: row for row in model.summary().inputs}
    assert set(rows) == {"heat", "material", "wind"}
    assert rows["material"].length_scale == 1.4
    assert rows["material"].remark == "fixed"
    assert "60 points, 3 inputs" in model.summary().title
    assert "3 dimensions" in repr(model)


def test_the_summary_of_a_trained_model():
    columns, y = table()
    X = frame(columns).assign(idle=["a", "b"] * (N // 2), one="c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fastard.fit(X, y, periodic={"wind": 360}).summary()
    remarks = {row.name: row.remark for row in found.inputs}
    assert remarks == {"heat": "", "material": "", "wind": "", "idle": "no visible influence", "one": "constant"}
    assert all(row.factor > 1.0 for row in found.inputs[:3])
    facts = dict(found.facts)
    assert facts["periodic"] == "wind (length scale in radii of the circle)"
    assert facts["categorical"] == "material, idle, one (length scale where levels are √2 apart)"
    assert facts["periodic"] in html.unescape(found._repr_html_())
    terms = {"a": fastard.Term("rbf", ["wind"]), "b": fastard.Term("rbf", ["heat", "wind"])}
    sums = fastard.fit(X, y, periodic={"wind": 360}, kernel=terms, max_iterations=1).summary(standard_errors=None, loo=False)
    assert dict(sums.facts)["periodic"] == "a: wind, b: wind (length scale in radii of the circle)"
    assert "categorical" not in dict(sums.facts)
    with pytest.warns(UserWarning, match="length_scale|no visible influence") as told:
        fastard.fit(X, y, periodic={"wind": 360}).standard_errors()
    text = " ".join(str(each.message) for each in told)
    assert (text.count("of the inputs idle,"), text.count("length_scale[one]")) == (1, 1)


def test_arrays_and_numbers():
    """Columns by their numbers; numbers, booleans and text as levels; lists of rows of both."""
    columns, y = table()
    expected = fastard.fit(frame(columns), y, periodic={"wind": 360}).predict(frame(columns))
    of_numbers = fastard.fit(columns, y, categorical=[1], periodic={2: 360})
    np.testing.assert_allclose(of_numbers.predict(columns), expected, atol=1e-5)
    assert of_numbers.input_names == ["x0", "x1", "x2"]
    rows = [[heat, LEVELS[int(material)], wind] for heat, material, wind in columns]
    np.testing.assert_array_equal(fastard.fit(rows, y, categorical=[1], periodic={2: 360.0}).predict(rows), expected)
    with pytest.raises(ValueError, match=r"column 1 of X has 4\.0, unknown in training, where it had 0\.0, 1\.0, 2\.0"):
        of_numbers.predict([[1.0, 4.0, 0.0]])
    two = fastard.fit(np.column_stack([columns[:, 0], columns[:, 1] > 0]).astype(object), y, categorical=["1"])
    assert two.predict([[1.0, True]]).shape == (1,)


def test_frames_of_all_kinds():
    pandas = pytest.importorskip("pandas")
    columns, y = table()
    X = frame(columns)
    expected = fastard.fit(X, y)
    ordered = X.assign(material=pandas.Categorical(X.material, ["wood", "paper", "steel", "glass"]))
    model = fastard.fit(ordered, y)
    assert model._encoding.kinds == (None, ("wood", "steel", "glass"), None)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), atol=1e-6)
    assert fastard.fit(X.assign(material=pandas.Categorical(columns[:, 1])), y)._encoding.kinds[1] == (0.0, 1.0, 2.0)
    assert fastard.fit(X.assign(material=columns[:, 1].astype(int)), y)._encoding is None
    np.testing.assert_array_equal(model.predict(X[["wind", "material", "heat"]]), model.predict(X))
    polars = pytest.importorskip("polars")
    other = polars.DataFrame({name: X[name].to_list() for name in X})
    np.testing.assert_array_equal(fastard.fit(other, y).predict(other), expected.predict(X))
    pyarrow = pytest.importorskip("pyarrow")
    arrow = pyarrow.table({name: X[name].to_list() for name in X})
    np.testing.assert_array_equal(fastard.fit(arrow, y).predict(arrow), expected.predict(X))


def test_save_update_refit_and_start(tmp_path):
    columns, y = table()
    X, more = frame(columns), frame(table(5, seed=3)[0])
    bounds = {"material": (0.1, 50.0), "heat": "fixed"}
    options = {
        "length_scale_bounds": bounds,
        "length_scale_groups": {"material": "a", "heat": "b"},
        "length_scale": {"heat": 9.0},
    }
    model = fastard.fit(X, y, periodic={"wind": 360}, **options)
    assert model.length_scale[0] == 9.0
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz")
    assert loaded._encoding == model._encoding
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    for each in (model, loaded):
        each.update(more, np.zeros(5))
    np.testing.assert_array_equal(loaded.sample(more, 2, 0), model.sample(more, 2, 0))
    assert_agree(model.loo().mean.shape, (N + 5,))
    again = loaded.refit(X[["wind", "material", "heat"]], y)
    assert again.feature_names == ["wind", "material", "heat"]
    assert again.length_scale[2] == 9.0
    assert again._encoding.kinds == (360.0, ("glass", "steel", "wood"), None)
    warm = fastard.fit(X, y, periodic={"wind": 360}, start=model, max_iterations=1)
    assert warm.n_evaluations <= 3
    with pytest.raises(ValueError, match="'paper'"):
        model.update(more.assign(material="paper"), np.zeros(5))


def test_damaged_encodings_are_refused(tmp_path):
    columns, y = table()
    fastard.fit(frame(columns), y, periodic={"wind": 360}).save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as archive:
        arrays = dict(archive)
    for kinds in ([None], [None, [], 360.0], [None, ["a", "a", "b"], 360.0], [None, ["a", "b", "c"], -1.0], "text", 3,
                  [None, ["a", "b"], 360.0], [None, [["a"], "b", "c"], 360.0], [None, [None, "b", "c"], 360.0]):  # fmt: skip
        header = json.loads(str(arrays["header"])) | {"encoding": kinds}
        np.savez(tmp_path / "other.npz", **arrays | {"header": np.array(json.dumps(header))})
        assert zipfile.is_zipfile(tmp_path / "other.npz")
        with pytest.raises(ValueError, match="is not a model that fastard saved"):
            fastard.load(tmp_path / "other.npz")


def test_priors_and_callbacks_are_of_columns():
    from scipy.stats import lognorm

    columns, y = table()
    seen = []

    def prior(length_scale):
        seen.append(length_scale.shape)
        return -0.5 * float(np.sum(np.log(length_scale) ** 2)), -np.log(length_scale) / length_scale

    def look(state):
        seen.append(state.parameters["length_scale"].shape)
        assert state.gradient.shape == (5,)

    X = frame(columns)
    model = fastard.fit(X, y, periodic={"wind": 360}, length_scale_prior=prior, callback=look)
    assert set(seen) == {(3,)}
    same = fastard.fit(X, y, periodic={"wind": 360}, length_scale_prior={"wind": None}, length_scale_groups=None)
    assert same.converged
    # of the density e^(-ln(x)^2 / 2), which lognorm divides by x
    one = {name: lambda x: (-0.5 * np.log(x) ** 2, -np.log(x) / x) for name in SCALES}
    each = fastard.fit(X, y, periodic={"wind": 360}, length_scale_prior=one)
    np.testing.assert_allclose(each.length_scale, model.length_scale, rtol=1e-3)
    compiled = fastard.fit(X, y, periodic={"wind": 360}, length_scale_prior={"material": lognorm(0.01, scale=2.0)})
    np.testing.assert_allclose(compiled.length_scale[1], 2.0, rtol=0.02)


def test_tied_columns():
    columns, y = table()
    tied = fastard.fit(frame(columns), y, periodic={"wind": 360}, length_scale_groups={"material": "x", "wind": "x"})
    assert tied.length_scale[1] == tied.length_scale[2]
    assert {row.name: row.remark for row in tied.summary().inputs}["wind"] == "tied to material"
    assert tied.refit(frame(columns), y).length_scale[1] == tied.refit(frame(columns), y).length_scale[2]
    one = fastard.fit(frame(columns), y, length_scale_groups="isotropic")
    assert np.ptp(one.length_scale) == 0.0


WRONG = {
    "no_column": ({"categorical": ["colour"]}, ValueError, "categorical has the key 'colour'"),
    "a_text": ({"categorical": "material"}, TypeError, "categorical must be a list"),
    "both": ({"categorical": ["wind"], "periodic": {"wind": 1.0}}, ValueError, "column 'wind' of X is in categorical and"),
    "no_dictionary": ({"periodic": [360.0]}, TypeError, "periodic must be a dictionary"),
    "no_period": ({"periodic": {"wind": 0.0}}, ValueError, "period > 0 for column 'wind'"),
    "text_period": ({"periodic": {"wind": "year"}}, ValueError, "period > 0 for column 'wind'"),
    "periodic_text": ({"periodic": {"material": 3.0}}, TypeError, "text in column 'material'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_arguments(kind):
    columns, y = table()
    options, error, words = WRONG[kind]
    with pytest.raises(error, match=words):
        fastard.fit(frame(columns), y, **options)


def test_wrong_entries():
    pandas = pytest.importorskip("pandas")
    columns, y = table()
    X = frame(columns)
    model = fastard.fit(X, y)
    for missing in (None, np.nan, pandas.NA):
        bad = X.assign(material=[*X.material[:-1], missing])
        with pytest.raises(ValueError, match="column 'material' of X has a missing value in row 59"):
            fastard.fit(bad, y)
        with pytest.raises(ValueError, match="missing value in row 59"):
            model.predict(bad)
    with pytest.raises(ValueError, match="column 'material' of X has 'paper', 'tin', unknown"):
        model.predict(X.assign(material=["paper", "tin"] * (N // 2)))
    with pytest.raises(TypeError, match="text in column 'heat'"):
        model.predict(X.assign(heat="hot"))
    with pytest.raises(ValueError, match="X must be finite, got nan at X\\[0, 0\\], column 'heat'"):
        model.predict(X.assign(heat=np.nan))
    with pytest.raises(ValueError, match="3 columns"):
        model.predict(columns[:, :2])
    with pytest.raises(ValueError, match="shape"):
        model.predict(3.0)
    with pytest.raises(TypeError, match="text in column 'material'"):  # numbers that somebody has read as text
        fastard.fit(X.assign(material=["1", "2.5"] * (N // 2)), y)
    assert fastard.fit(X.assign(material=["1", "2.5"] * (N // 2)), y, categorical=["material"]).predict(
        X[:1].assign(material="1")
    ).shape == (1,)
    with pytest.raises(TypeError, match=r"text reads as numbers: convert it, column.astype\(float\)"):
        fastard.fit(X.assign(material=["1", "2.5"] * (N // 2)), y)
    with pytest.raises(TypeError, match="must be text, a number or a boolean"):
        fastard.fit(X.assign(material=pandas.date_range("2020", periods=N)), y, categorical=["material"])


def test_text_of_which_every_row_has_its_own_is_no_category():
    """By the command line's rule, unless the user says that it is one."""
    pandas = pytest.importorskip("pandas")
    columns, y = table()
    X = frame(columns)
    own = [f"row {i}" for i in range(N)]
    for texts in (own, [f"row {i % 21}" for i in range(N)]):
        with pytest.raises(
            ValueError, match=f"column 'id' of X has {len(set(texts))} different texts in {N} rows.*leave.*or name"
        ):
            fastard.fit(X.assign(id=texts), y)
    for options in ({"categorical": ["id"]}, {}):
        kind = object if options else pandas.CategoricalDtype(own)
        model = fastard.fit(X.assign(id=pandas.Series(own, dtype=kind)), y, max_iterations=1, **options)
        assert model.length_scale.size == 4
    model = fastard.fit(X.assign(id=[f"row {i % 20}" for i in range(N)]), y, max_iterations=1)
    assert model.length_scale.size == 4
    with pytest.raises(ValueError, match="2 different texts in 2 rows"):
        fastard.fit(X[:2].assign(material=["wood", "steel"]), y[:2])


def test_what_is_for_numbers_alone():
    columns, y = table(20)
    with pytest.raises(
        ValueError, match=r"to_gpytorch is for models whose inputs are all numbers.*encode the columns by hand"
    ):
        fastard.fit(frame(columns), y).to_gpytorch()


def test_the_inputs_stay_as_they_are():
    columns, y = table()
    X = frame(columns)
    before = X.copy()
    fastard.fit(X, y, periodic={"wind": 360}).predict(X)
    assert X.equals(before)
    points = columns.copy()
    fastard.fit(columns, y, categorical=[1]).predict(columns)
    np.testing.assert_array_equal(columns, points)


@pytest.mark.process
def test_pandas_is_not_imported():
    script = "import fastard, sys; fastard.fit([[0.0, 'a'], [1.0, 'b'], [2.0, 'a']], [1.0, 2.0, 3.0], categorical=[1]); "
    script += "sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_dimension_scaled_prior_is_of_columns():
    """Its unit is the largest range of the columns that one became, and its d the number of columns."""
    rng = np.random.default_rng(0)
    X = np.column_stack([3.0 * rng.uniform(size=30), np.arange(30) % 3, rng.uniform(0.0, 90.0, 30)])
    states = []
    fastard.fit(
        X, rng.standard_normal(30), categorical=[1], periodic={2: 360.0}, length_scale_prior="dimension_scaled",
        callback=lambda state: states.append(state) or True,
    )  # fmt: skip
    angle = np.deg2rad(X[:, 2])
    unit = np.array([np.ptp(X[:, 0]), 1.0, max(np.ptp(np.sin(angle)), np.ptp(np.cos(angle)))])
    scale = unit * np.exp(np.sqrt(2.0) + 0.5 * np.log(3.0))
    density = scipy.stats.lognorm(np.sqrt(3.0), scale=scale).logpdf(states[0].parameters["length_scale"]).sum()
    assert_agree(states[0].value - states[0].log_marginal_likelihood, density)
