"""What a model says of itself: errors, remarks, leave-one-out, the search; as text and as HTML."""

import html
import re
import warnings

import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import trained
from naive import Term, leave_one_out

import fastard
from fastard._model.summary import NO_INFLUENCE, relevance_errors


def problem(n=80):
    """Of five inputs one matters, one a little, one does nothing, one is constant, and one is fixed."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(n, 5))
    X[:, 3] = 7.0
    return X, np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("m", [1, 2])
def test_leave_one_out_in_numbers(m):
    model, X, y = trained(m=m)
    term = Term("rbf", model.length_scale, model.signal_variance)
    mean, variance, _ = leave_one_out([term], X, y - y.mean(axis=0), model.noise_variance)
    targets = (y - y.mean(axis=0)).reshape(len(X), m)
    error = targets - mean
    found = model.loo()
    shape = () if m == 1 else (m,)
    assert_agree(found.r2, (1.0 - np.mean(error**2, axis=0) / np.var(targets, axis=0)).reshape(shape))
    assert_agree(found.rmse, np.sqrt(np.mean(error**2, axis=0)).reshape(shape))
    inside = np.abs(error) <= 1.959963984540054 * np.sqrt(variance)[:, None]
    assert_agree(found.coverage, np.mean(inside, axis=0).reshape(shape))
    assert 0.5 < np.min(found.coverage) < 1.0
    if m == 1:
        assert {type(value) for value in (found.r2, found.rmse, found.coverage)} == {float}
    assert len(found) == 4  # as it was


def test_constant_targets_have_no_r2():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(fastard.fit(data(6, 1)[0], np.full(6, 0.1), max_iterations=2).loo().r2)


def test_constant_targets_are_told():
    X = data(6, 1)[0]
    found = fastard.fit(X, np.full(6, 0.1)).summary()
    assert "all values of y are equal: nothing can be learned from them" in found.notes
    found = fastard.fit(X, np.column_stack([np.full(6, 0.1), np.full(6, 3.0)])).summary(standard_errors=None, loo=False)
    assert found.notes == ["all values of y0, y1 are equal: nothing can be learned from them"]
    assert fastard.fit(X, X[:, 0]).summary(standard_errors=None, loo=False).notes == []
    assert fastard.fit(X[:1], [0.1]).summary(standard_errors=None, loo=False).notes == []  # one target is no series of equals
    many = fastard.fit_vecchia(X, np.full(6, 0.1), rng=0).summary(standard_errors=False)
    assert "all values of y are equal: nothing can be learned from them" in many.notes


def test_what_is_not_determined_says_why():
    """Of columns that are the same the length scales are not determined, converged or not."""
    X, y = problem()
    twice = np.column_stack([X[:, 0], X[:, 0]])
    converged = fastard.fit(twice, y, length_scale=[1.0, 2.0], max_iterations=200)
    stopped = fastard.fit(twice, y, length_scale=[1.0, 2.0], max_iterations=1)
    for model in (converged, stopped):
        remarks = {row.remark for row in model.summary().inputs} - {""}
        assert remarks == {"not determined" if model.converged else "not determined: the search had not converged"}
    assert converged.converged
    assert not stopped.converged


def test_results_are_short_to_read():
    """In a terminal: no arrays that scroll."""
    X, y = problem()
    X = X[:, :2]  # the others' coefficients, or errors, are not determined
    model = fastard.fit(X, y, mean="linear")
    loo, errors, coefficients = model.loo(), model.standard_errors(), model.mean_coefficients()
    assert repr(loo) == str(loo)
    assert f"<LeaveOneOut of {len(y)} targets: r2 {loo.r2:.4g}, rmse {loo.rmse:.4g}, coverage {loo.coverage:.4g}" in repr(loo)
    for found, name, number in (
        (errors, "noise_variance", errors.standard_errors[-1]),
        (coefficients, "x0", coefficients.coefficients[1]),
    ):
        line = next(line for line in repr(found).splitlines() if line.split()[0] == name)
        assert float(line.split()[1]) == pytest.approx(number, rel=5e-3)
    two = fastard.fit(X, np.column_stack([y, 2.0 * y]), mean="linear")
    header, *_ = repr(two.mean_coefficients()).splitlines()
    assert header.split() == ["of", "y0", "y1", "±"]
    assert repr(two.loo()).count(",") > repr(loo).count(",")
    plain = fastard.fit(X, y)
    assert repr(plain.sobol(n_samples=0)) == str(plain.sobol(n_samples=0))
    assert repr(plain.effects()).startswith("<Effects of x0, x1: ")
    for found in (loo, errors, coefficients, plain.effects()):
        assert "array(" not in repr(found)
    assert isinstance(loo, tuple)
    assert loo[0] is loo.mean


def test_errors_of_relevances():
    """The delta method against differences."""
    rng = np.random.default_rng(1)
    scales, spread = rng.uniform(1.0, 2.0, 4), rng.uniform(1.0, 2.0, 4)
    A = rng.standard_normal((4, 4))
    covariance = A @ A.T

    def relevance(log_scales):
        rates = spread / np.exp(log_scales)
        return rates / rates.sum()

    x, step = np.log(scales), 1e-6
    jacobian = np.array([(relevance(x + e) - relevance(x - e)) / (2.0 * step) for e in step * np.eye(4)]).T
    expected = np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))
    assert_agree(relevance_errors(relevance(x), covariance), expected, 1e-8)
    covariance[3] = covariance[:, 3] = np.nan  # known, as it were
    known = covariance[:3, :3]
    expected = np.sqrt(np.diag(jacobian[:3, :3] @ known @ jacobian[:3, :3].T))
    found = relevance_errors(relevance(x), covariance)
    assert_agree(found[:3], expected, 1e-8)
    assert np.isnan(found[3])


def test_the_summary_in_numbers():
    X, y = problem()
    model = fastard.fit(X, y, length_scale={4: 2.0}, length_scale_bounds={4: "fixed"}, n_restarts=2, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.summary()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = model.standard_errors()
    np.testing.assert_array_equal(found.standard_errors.covariance, errors.covariance)
    rows = {row.name: row for row in found.inputs}
    assert [row.relevance for row in found.inputs] == sorted(model.relevance, reverse=True)
    assert list(rows)[:1] == ["x0"]
    for i in range(5):
        row = rows[f"x{i}"]
        assert (row.length_scale, row.relevance) == (model.length_scale[i], model.relevance[i])
        assert row.factor == pytest.approx(np.exp(errors.standard_errors[i]), nan_ok=True)
    assert {name: row.remark for name, row in rows.items()} == {
        "x0": "", "x1": "", "x2": NO_INFLUENCE, "x3": "constant", "x4": "fixed",
    }  # fmt: skip
    facts, loo = dict(found.facts), model.loo()
    assert f"std {np.sqrt(model.noise_variance):.4g} " in facts["noise"]
    assert f"(×/÷ {np.exp(0.5 * errors.standard_errors[6]):.2f})" in facts["noise"]
    assert facts["log marginal likelihood"] == f"{model.log_marginal_likelihood:.6g} nats"
    said = facts["leave-one-out"]
    assert f"Q² {loo.r2:.4f}, RMSE {loo.rmse:.4g}, 95 % intervals hold {100 * loo.coverage:.1f} %" == said
    assert facts["evaluations"] == str(model.n_evaluations)
    assert facts["restarts"].startswith("2: ")
    assert found.notes == []
    text = str(found)
    assert text == repr(found)
    assert text.startswith("Gaussian process of y: 80 points, 5 inputs, kernel rbf\n")
    for part in (*facts, *facts.values(), NO_INFLUENCE):
        assert part in text
    assert "widen" not in text


def test_ends_of_searches_are_kept():
    """One number for each, of which the best is the model's; NaN for a start without a value."""
    X, y = problem(40)
    model = fastard.fit(X, y, n_restarts=4, rng=3)
    assert len(model.search_values) == 5
    assert max(model.search_values) == pytest.approx(model.log_marginal_likelihood, abs=1e-8)
    near = sum(value >= max(model.search_values) - 0.1 for value in model.search_values)
    assert dict(model.summary().facts)["restarts"].startswith(f"4: {near} of 5 searches")
    alone = fastard.fit(X, y, n_threads=1, callback=lambda _: None, n_restarts=4, rng=3)
    assert alone.search_values == model.search_values
    assert len(fastard.fit(X, y).search_values) == 1
    assert "restarts" not in dict(fastard.fit(X, y).summary().facts)


def test_a_search_that_took_all_for_noise_names_restarts():
    """Where waves are short beside the start, most searches see noise alone; the one from the start is such."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(120, 1))
    y = np.sin(100.0 * X[:, 0]) + 0.05 * rng.standard_normal(120)
    alone, several = fastard.fit(X, y), fastard.fit(X, y, n_restarts=5, rng=0)
    assert several.log_marginal_likelihood > alone.log_marginal_likelihood + 50.0
    (note,) = alone.summary(standard_errors=None).notes
    assert "one search was made: n_restarts=5 (--restarts 5) may find a better optimum" in note
    assert note in str(alone.summary())
    near = sum(value >= several.log_marginal_likelihood - 0.1 for value in several.search_values)
    found = several.summary()
    assert 0 < near < 6
    assert dict(found.facts)["restarts"] == f"5: {near} of 6 searches ended within 0.1 nats of the best"
    assert found.notes == []
    fixed = {"length_scale": 0.5, "length_scale_bounds": "fixed"}  # of which nothing is searched for
    assert fastard.fit(X, y, **fixed).summary(standard_errors=None).notes == []
    for kernel in ({"all": fastard.Term(**fixed)}, {"all": fastard.Term()}):
        assert len(fastard.fit(X, y, kernel=kernel).summary(standard_errors=None).notes) == (
            kernel["all"].length_scale is None
        )
    assert fastard.fit(X[:, :0], y).summary(standard_errors=None).notes == []  # a constant is all that it can be
    assert fastard.fit(X, np.column_stack([y, X[:, 0]])).summary().notes == []  # one of the outputs is predicted well


def test_what_is_left_out():
    X, y = problem()
    model = fastard.fit(X, y)
    short = model.summary(standard_errors=None, loo=False)
    assert short.standard_errors is None
    assert short.loo is None
    assert "×/÷" not in str(short)
    assert "leave-one-out" not in str(short)
    quick = model.summary(standard_errors="average_information")
    expected = model._standard_errors("average_information")[0]
    np.testing.assert_array_equal(quick.standard_errors.covariance, expected.covariance)
    with pytest.raises(ValueError, match="standard_errors must be one of"):
        model.summary(standard_errors="bootstrap")


def test_remarks():
    X, y = problem()
    tied = fastard.fit(X, y, length_scale_groups=["a", "a", "b", "c", "d"])
    assert {row.name: row.remark for row in tied.summary().inputs}["x1"] == "tied to x0"
    bounded = fastard.fit(
        X, y, length_scale_bounds=[(1.0, 2.0), (1e-2, 1.1), None, None, None], noise_variance_bounds=(1.0, 2.0)
    )
    found = bounded.summary()
    remarks = {row.name: row.remark for row in found.inputs}
    assert remarks["x0"] == "at its lower bound"
    assert "(at its lower bound)" in dict(found.facts)["noise"]
    shorter = fastard.fit(X, y, length_scale_bounds={1: (1e-2, 0.2)}).summary()
    assert {row.name: row.remark for row in shorter.inputs}["x1"] == "at its upper bound"  # and it has an influence
    stopped = fastard.fit(X, y, max_iterations=1).summary()
    assert dict(stopped.facts)["search"].startswith("not converged: max_iterations")
    assert stopped.notes
    assert stopped.notes[0] in str(stopped)
    assert "the search had not converged, and the numbers are provisional: max_iterations reached" in stopped.notes
    assert str(stopped).splitlines()[0].endswith("; NOT CONVERGED")
    assert "CONVERGED" not in str(bounded)
    by_loo = fastard.fit(X, y, objective="loo").summary()
    assert "trained by loo" in by_loo.notes[0]


def test_several_outputs_and_names_that_a_terminal_would_obey():
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 2, 2)
    frame = pandas.DataFrame(X, columns=["a\x1b[31m", "<b>"])
    model = fastard.fit(frame, pandas.DataFrame(y, columns=["yield", "cost"]))
    found = model.summary()
    text = str(found)
    assert "\x1b" not in text
    assert r"a\x1b[31m" in text
    assert text.startswith("Gaussian process of yield, cost: 30 points")
    loo = model.loo()
    for t, name in enumerate(["yield", "cost"]):
        assert f"RMSE {loo.rmse[t]:.4g}" in dict(found.facts)[f"leave-one-out, {name}"]
    page = found._repr_html_()
    assert "<b>" not in page.replace(f"<b>{html.escape(found.title)}</b>", "")
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", page)]
    assert {"<b>", *dict(found.facts), *dict(found.facts).values()} <= set(cells)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("variances", ["shared", "own"])
def test_outputs_have_one_name_everywhere(named, variances):
    X, y = data(30, 2, 2)
    names = ["y0", "y1"]
    if named:
        y, names = pytest.importorskip("pandas").DataFrame(y, columns=["yield", "cost"]), ["yield", "cost"]
    model = fastard.fit(X, y, output_variances=variances, max_iterations=2)
    with_mean = fastard.fit(X, y, output_variances=variances, mean="linear", max_iterations=2)
    sums = fastard.fit(X, y, kernel={"all": fastard.Term()}, max_iterations=2)
    many = fastard.fit_vecchia(X, y, rng=0, max_iterations=2)
    found, coefficients = model.sobol(n_samples=0), with_mean.mean_coefficients()
    for each in (model, with_mean, sums, many, found, coefficients):
        assert each.output_names == names
    for text in (found, coefficients, model.summary(), sums.summary(), many.summary()):
        assert all(name in repr(text) for name in names)
        assert "output" not in repr(text).lower()


def test_many_inputs_are_cut():
    X, y = data(20, 40)
    found = fastard.fit(X, y, max_iterations=1).summary()
    assert len(found.inputs) == 40
    assert str(found).count("\n  x") == 30
    assert "and 10 less relevant inputs" in str(found)
    assert "and 10 less relevant inputs" in found._repr_html_()


def test_odd_sizes():
    for model in (fastard.fit(np.empty((4, 0)), np.arange(4.0)), fastard.fit([[1.0]], [2.0])):
        assert "points" in str(model.summary()) or "1 point," in str(model.summary())
