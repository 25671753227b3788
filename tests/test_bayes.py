"""The posterior distribution of the hyperparameters: the density, the chains, and what is asked of the draws."""

import math
import os
import pickle
import re
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from archives import archive_of, changed, members
from calibration import p_values, rank_statistics
from conftest import run_python
from scipy import stats

import fastard
from fastard import _progress
from fastard._bayes import convergence
from fastard._bayes.density import LogPosterior
from fastard._bayes.sampling import log_posterior

NONE = dict.fromkeys(("length_scale", "signal_variance", "noise_variance", "shape"))


def data(n=25, d=3, seed=0):
    rng = np.random.default_rng([seed, n, d])
    X = rng.uniform(0.0, [1.0, 2.0, 5.0][:d], (n, d))
    return X, np.sin(4.0 * X[:, 0]) + 0.1 * rng.standard_normal(n)


def density(X, y, *, kernel="rbf", fixed=None, groups=None, **priors):
    return log_posterior(fastard.LogMarginalLikelihood(X, y, kernel=kernel), fixed, groups, NONE | priors, None)


CASES = {
    "defaults": {},
    "shape": {"kernel": "rational_quadratic"},
    "tied": {"groups": [0, 1, 0]},
    "isotropic": {"groups": "isotropic"},
    "fixed": {"fixed": {"length_scale": [1.0, 2.0, 3.0], "noise_variance": 0.0}, "kernel": "matern12"},
    "each": {"length_scale": [stats.gamma(3.0), stats.lognorm(0.5), stats.halfcauchy()]},
    "callable": {"length_scale": lambda x: (-x.sum(), -np.ones(3)), "noise_variance": lambda x: (-x, -1.0)},
    "saas": {"length_scale": "saas"},
    "saas_tied": {"length_scale": "saas", "groups": [0, 1, 0], "fixed": {"signal_variance": 1.0}},
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_the_slope_of_the_value(case):
    of = density(*data(), **CASES[case])
    point = of.start + np.random.default_rng(1).uniform(-0.5, 0.5, of.size)
    _, gradient = of(point)
    h = 1e-5
    slopes = [(of(point + h * e)[0] - of(point - h * e)[0]) / (2 * h) for e in np.eye(of.size)]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6)


def test_the_density_is_that_of_the_logarithms():
    """Likelihood, SciPy's densities and the Jacobian, constants and all."""
    X, y = data()
    of = density(X, y)
    theta = np.log([0.5, 1.0, 7.0, 0.8, 0.02])
    natural, variance, ranges = np.exp(theta), np.var(y), np.ptp(X, axis=0)
    priors = [
        stats.lognorm(math.sqrt(3.0), scale=ranges * math.exp(math.sqrt(2.0)) * math.sqrt(3)).logpdf(natural[:3]).sum(),
        stats.lognorm(1.0, scale=variance).logpdf(natural[3]),
        stats.lognorm(1.0, scale=variance * math.exp(-4.0)).logpdf(natural[4]),
    ]
    likelihood, _ = fastard.LogMarginalLikelihood(X, y)(theta)
    assert of(theta)[0] == pytest.approx(likelihood + sum(priors) + theta.sum(), rel=1e-12)


def test_the_density_of_saas():
    """In the natural scales of Eriksson & Jankowiak's model, with the Jacobian of their logarithms."""
    X, y = data()
    of = density(X, y, length_scale="saas")
    local, tau, variances = np.array([3.0, 0.2, 1e-3]), 0.05, np.array([0.8, 0.02])
    length_scale = np.ptp(X, axis=0) / np.sqrt(tau * local)
    likelihood = fastard.log_marginal_likelihood(
        X, y, length_scale=length_scale, signal_variance=variances[0], noise_variance=variances[1]
    )
    medians = np.var(y) * np.array([1.0, math.exp(-4.0)])
    priors = stats.halfcauchy().logpdf(local).sum() + stats.halfcauchy(scale=0.1).logpdf(tau)
    priors += stats.lognorm(1.0, scale=medians).logpdf(variances).sum()
    coordinates = np.log([*local, *variances, tau])
    assert of(coordinates)[0] == pytest.approx(likelihood + priors + coordinates.sum(), rel=1e-12)
    natural, global_scale = of.draws(coordinates)
    np.testing.assert_allclose(natural, [*length_scale, *variances], rtol=1e-12)
    assert global_scale == pytest.approx(tau)


def test_a_singular_covariance_has_no_density_and_is_counted():
    X, y = data(60, 1)
    of = density(X, y, fixed={"noise_variance": 0.0})
    value, gradient = of(np.array([12.0, 0.0]))
    assert value == -math.inf
    assert not gradient.any()
    assert (of.n_evaluations, of.n_singular) == (1, 1)
    assert of(np.array([800.0, 0.0]))[0] == -math.inf  # no float64 number
    assert of.n_singular == 1


def ar1(correlation, chains=4, n=10000):
    rng = np.random.default_rng(0)
    x = np.empty((chains, n, 1))
    x[:, 0, 0] = rng.standard_normal(chains)
    for i in range(1, n):
        x[:, i, 0] = correlation * x[:, i - 1, 0] + math.sqrt(1 - correlation**2) * rng.standard_normal(chains)
    return x


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.5, 0.9])
def test_effective_sample_sizes_of_a_known_process(correlation):
    """Of an autoregression: N (1 - r) / (1 + r)."""
    draws = ar1(correlation)
    expected = draws.size * (1 - correlation) / (1 + correlation)
    assert convergence.ess_bulk(draws)[0] == pytest.approx(expected, rel=0.15)
    assert convergence.r_hat(draws)[0] < 1.01


def test_r_hat_sees_chains_that_disagree():
    shifted, wider = ar1(0.0), ar1(0.0)
    shifted[0] += 1.0
    wider[0] *= 3.0
    assert convergence.r_hat(shifted)[0] > 1.1
    assert convergence.r_hat(wider)[0] > 1.1


def test_diagnostics_are_arvizs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arviz = pytest.importorskip("arviz")
    draws = np.concatenate([ar1(0.7, n=501), ar1(-0.3, n=501) ** 2], axis=2)
    for ours, method in ((convergence.r_hat, "rank"), (convergence.ess_bulk, "bulk"), (convergence.ess_tail, "tail")):
        theirs = arviz.rhat if method == "rank" else arviz.ess
        expected = [float(theirs(draws[..., i], method=method)) for i in range(2)]
        np.testing.assert_allclose(ours(draws), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"length_scale_prior": "horseshoe"}, "'dimension_scaled'"),
        ({"length_scale_prior": [stats.gamma(2.0), None, stats.gamma(2.0)]}, "none for column 1"),
        ({"fixed": {"noise": 1.0}}, "fixed must name"),
        ({"fixed": {"shape": 1.0}}, "fixed must name"),
        ({"fixed": {"length_scale": 1.0, "signal_variance": 1.0, "noise_variance": 1.0}}, "leaves no parameter"),
        ({"mean": [1.0, 2.0]}, "mean must be a number"),
        ({"mean": "linear"}, "got 'linear': sample_posterior has a constant mean only"),
        ({"mean": np.sin}, "sample_posterior has a constant mean only"),
        ({"n_draws": 2}, "n_draws"),
        ({"target_accept": 1.0}, "target_accept"),
        ({"signal_variance_prior": stats.gamma(2.0, loc=1e9)}, "where the chains are to begin"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        fastard.sample_posterior(*data(), **arguments)


def test_fit_takes_the_prior_by_name():
    X, y = data()
    scale = np.ptp(X, axis=0) * math.exp(math.sqrt(2.0)) * math.sqrt(3)
    named = fastard.fit(X, y, length_scale_prior="dimension_scaled")
    spelt = fastard.fit(X, y, length_scale_prior=stats.lognorm(math.sqrt(3.0), scale=scale))
    np.testing.assert_allclose(named.length_scale, spelt.length_scale, rtol=1e-6)
    with pytest.raises(ValueError, match="sample_posterior"):
        fastard.fit(X, y, length_scale_prior="saas")


def test_without_nutpie(monkeypatch):
    monkeypatch.setitem(sys.modules, "nutpie", None)
    with pytest.raises(ImportError, match=r"fastard\[bayes\]"):
        fastard.sample_posterior(*data())


@pytest.mark.process
def test_importing_fastard_imports_none_of_it():
    names = {"nutpie", "arviz", "jax", "pyarrow"}
    run_python(f"import sys, fastard; assert not {names} & set(sys.modules)")


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("nutpie", exc_type=ImportError)
    return sampled()


def sampled(**options):
    options = {"n_chains": 2, "n_draws": 100, "n_warmup": 200, "rng": 5, **options}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the chains disagree|.*diverged")  # so few draws
        return fastard.sample_posterior(*data(), **options)


def test_draws_do_not_depend_on_the_threads(model):
    assert (sampled(n_threads=1).length_scale == model.length_scale).all()
    assert (sampled(rng=6).length_scale != model.length_scale).all()


def test_shapes_and_counts(model):
    assert model.length_scale.shape == (2, 100, 3)
    assert model.signal_variance.shape == model.log_posterior.shape == model.diverging.shape == (2, 100)
    assert (model.n_chains, model.n_draws) == (2, 100)
    assert model.n_evaluations > 600
    np.testing.assert_allclose(model.relevance.sum(axis=-1), 1.0)
    interval = model.relevance_interval(0.8)
    assert interval.shape == (3, 2)
    assert (interval[:, 0] < interval[:, 1]).all()
    assert interval[0, 0] > interval[1:, 1].max()  # the first input matters
    summary = model.summary()
    assert (summary.probability, summary.n_divergences, summary.n_trajectories) == (0.9, model.n_divergences, 200)
    shown = str(model.summary(0.95)).splitlines()
    assert shown[0].split() == ["median", "2.5%", "97.5%", "R-hat", "ESS", "bulk", "ESS", "tail"]
    assert {len(line) for line in shown[:-1]} == {len(shown[0])}
    assert shown[-1] == f"ESS: effective sample size. {model.n_divergences} of 200 trajectories diverged."
    assert summary.names == model.parameter_names
    assert "length_scale[0]" in str(summary)
    assert (summary.ess_bulk > 20).all()


def test_predictions_are_averages_over_the_draws(model):
    X, y = data()
    points = X[:4] + 0.1
    members = [model.member(chain, draw) for chain in range(2) for draw in range(100)]
    means, deviations = (np.array(each) for each in zip(*(one.predict(points, True) for one in members), strict=True))
    mean, std = model.predict(points, True, n_draws=10**6)
    np.testing.assert_allclose(mean, means.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std**2, (deviations**2).mean(axis=0) + means.var(axis=0), rtol=1e-10)
    np.testing.assert_allclose(model.predict(points, n_draws=10**6), mean, rtol=1e-12)
    noisy = model.predict(points, True, include_noise=True)[1]
    assert (noisy > std).all()
    draws = model.sample(points, 4000, rng=0)
    np.testing.assert_allclose(draws.mean(axis=0), model.predict(points), atol=5 * std.max() / math.sqrt(4000))
    np.testing.assert_allclose(draws.std(axis=0), model.predict(points, True)[1], rtol=0.1)
    one = members[0]
    assert one.log_marginal_likelihood == pytest.approx(
        fastard.log_marginal_likelihood(
            X,
            y - y.mean(),
            length_scale=one.length_scale,
            signal_variance=one.signal_variance,
            noise_variance=one.noise_variance,
        ),
        rel=1e-12,
    )


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "posterior.npz")
    loaded = fastard.load(tmp_path / "posterior.npz")
    points = data()[0][:3]
    for again in (loaded, pickle.loads(pickle.dumps(model))):
        assert (again.predict(points) == model.predict(points)).all()
        assert str(again.summary()) == str(model.summary())


def test_saved_and_loaded_with_all_that_there_may_be(tmp_path):
    """Two outputs, names, known variances, a shape, a global scale."""
    pytest.importorskip("nutpie", exc_type=ImportError)
    pandas = pytest.importorskip("pandas")
    X, y = data()
    frame = pandas.DataFrame(X, columns=["a", "é", "c"])
    targets = pandas.DataFrame({"u": y, "v": y**2})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fastard.sample_posterior(
            frame, targets, kernel="rational_quadratic", length_scale_prior="saas", observation_variance=np.full(25, 0.01),
            n_chains=1, n_draws=5, n_warmup=20, rng=0,
        )  # fmt: skip
    model.save(tmp_path / "posterior.npz")
    loaded = fastard.load(tmp_path / "posterior.npz", n_threads=1)
    assert loaded.n_threads == 1
    for name, value in vars(model).items():
        other = getattr(loaded, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(other, value)
            assert (other.dtype, other.flags.writeable) == (value.dtype, value.flags.writeable), name
        elif name not in ("n_threads", "_members"):
            assert other == value, name


def with_array(name, change):
    return lambda content: archive_of(members(content) | {name: change(members(content)[name])})


FOREIGN = {
    "cut_off": lambda content: content[: len(content) // 2],
    "exact_format": lambda content: changed(content, format="fastard model"),
    "other_kernel": lambda content: changed(content, kernel="periodic"),
    "evaluations_true": lambda content: changed(content, n_evaluations=True),
    "negative_evaluations": lambda content: changed(content, n_evaluations=-1),
    "more_failures_than_evaluations": lambda content: changed(content, n_not_positive_definite=10**9),
    "short_names": lambda content: changed(content, feature_names=["a"]),
    "missing": lambda content: archive_of({k: v for k, v in members(content).items() if k != "diverging"}),
    "more": lambda content: archive_of(members(content) | {"alpha": np.ones(3)}),
    "no_draws": lambda content: archive_of(
        {k: v[:, :0] if v.shape[:2] == (2, 100) else v for k, v in members(content).items()}
    ),
    "flat": with_array("signal_variance", np.ravel),
    "other_size": with_array("length_scale", lambda x: x[..., :2]),
    "float32": with_array("y", np.float32),
    "not_finite": with_array("log_posterior", lambda x: x * np.nan),
    "divergence_of_two": with_array("diverging", lambda x: x + 2),
    "divergence_of_bool": with_array("diverging", lambda x: x > 0),
    "negative_length_scale": with_array("length_scale", np.negative),
    "tiny_length_scale": with_array("length_scale", lambda x: x * 1e-300),
    "no_signal": with_array("signal_variance", np.zeros_like),
    "negative_noise": with_array("noise_variance", np.negative),
    "negative_known": lambda content: archive_of(members(content) | {"observation_variance": np.full(25, -1.0)}),
    "negative_global_scale": lambda content: archive_of(members(content) | {"global_scale": np.full((2, 100), -1.0)}),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_posterior(kind, model, tmp_path):
    path = tmp_path / "file.npz"
    model.save(path)
    path.write_bytes(FOREIGN[kind](path.read_bytes()))
    with pytest.raises(ValueError, match=r"file\.npz is not a model that fastard saved, or is damaged"):
        fastard.load(path)


def test_a_later_version(model, tmp_path):
    path = tmp_path / "file.npz"
    model.save(path)
    path.write_bytes(changed(path.read_bytes(), version=99, fastard="9.0"))
    with pytest.raises(ValueError, match=r"fastard 9\.0.*upgrade"):
        fastard.load(path)


def test_the_command_predicts_from_a_posterior(model, tmp_path, capsys):
    from fastard.__main__ import main

    model.save(tmp_path / "posterior.npz")
    points = data()[0][:3]
    np.savetxt(tmp_path / "new.csv", points, delimiter=",", header="x0,x1,x2", comments="")
    assert main(["predict", str(tmp_path / "posterior.npz"), str(tmp_path / "new.csv")]) == 0
    found = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    at = found[0].index("y mean")
    np.testing.assert_allclose([float(row[at]) for row in found[1:]], model.predict(points), rtol=1e-12)


def test_as_inference_data(model):
    found = model.to_inference_data()
    assert (found.posterior["length_scale"].values == model.length_scale).all()
    assert (found.sample_stats["diverging"].values == model.diverging).all()


def test_a_prior_that_raises_comes_as_it_is():
    pytest.importorskip("nutpie", exc_type=ImportError)
    calls = []

    def prior(x):
        calls.append(x)
        if len(calls) > 20:
            raise ZeroDivisionError("mine")
        return -x, -1.0

    with pytest.raises(ZeroDivisionError, match="mine"):
        sampled(noise_variance_prior=prior)


@pytest.mark.parametrize("progress", [False, True])
def test_an_interrupt_ends_the_chains(progress, monkeypatch):
    """At once: within a trajectory, of which no evaluation follows those under way."""
    pytest.importorskip("nutpie", exc_type=ImportError)
    calls, call = [], LogPosterior.__call__

    def counted(self, coordinates):
        calls.append(threading.get_ident())
        if len(calls) == 200:
            os.kill(os.getpid(), signal.SIGINT)
        if len(calls) > 200:
            time.sleep(0.01)
        return call(self, coordinates)

    monkeypatch.setattr(LogPosterior, "__call__", counted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            sampled(n_draws=10**6, progress=progress)
    finally:
        signal.signal(signal.SIGINT, handler)
    ended = len(calls)
    assert ended < 1000
    time.sleep(0.1)
    assert len(calls) == ended
    monkeypatch.undo()
    assert sampled(n_draws=4, n_warmup=4).n_draws == 4


def test_progress_tells_of_the_draws_and_changes_none(capsys):
    pytest.importorskip("nutpie", exc_type=ImportError)
    silent = sampled(n_draws=10, n_warmup=12, n_chains=3, rng=0)
    assert capsys.readouterr().err == ""
    told = sampled(n_draws=10, n_warmup=12, n_chains=3, rng=0, progress=True)
    out, err = capsys.readouterr()
    first, *_, last = err.splitlines()
    assert out == ""
    assert re.match(r"fastard: draw \d+ of 66 with warm-up   \d+\.\d s(   about .* left)?$", first)
    assert re.match(r"fastard: 66 draws   \d+\.\d s$", last)
    np.testing.assert_array_equal(told.length_scale, silent.length_scale)


def test_progress_of_draws_has_room_in_80_columns(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: now[0])
    so_far = _progress.SamplingProgress(40_000, prints=False)
    assert str(so_far) == "draw 0 of 40000 with warm-up   0.0 s"
    now[0] = 400.0
    so_far.drawn()
    assert str(so_far) == "draw 1 of 40000 with warm-up   400.0 s"  # most of which was compilation
    for _ in range(9_999):
        so_far.drawn()
    now[0] = 4400.0
    assert str(so_far) == "draw 10000 of 40000 with warm-up   4400.0 s   about 3.3 h left"
    assert len("| " + str(so_far)) <= 80


def test_the_posterior_of_two_parameters_is_that_of_quadrature():
    """Means and standard deviations of the logarithms; the mean of y is given, and so is not that of the data."""
    pytest.importorskip("nutpie", exc_type=ImportError)
    rng = np.random.default_rng(3)
    X = rng.uniform(size=(12, 1))
    y = np.sin(5 * X[:, 0]) + 0.2 * rng.standard_normal(12) + 1.0
    priors = {"length_scale_prior": stats.lognorm(0.8, scale=0.4), "noise_variance_prior": stats.gamma(1.5, scale=0.1)}
    model = fastard.sample_posterior(
        X, y, fixed={"signal_variance": 1.0}, mean=0.9, rng=1, n_chains=2, n_draws=1500, n_warmup=300, **priors
    )
    objective = fastard.LogMarginalLikelihood(X, y - 0.9)
    a, b = np.meshgrid(np.linspace(-4.0, 3.0, 120), np.linspace(-12.0, 2.0, 160), indexing="ij")
    thetas = np.column_stack([a.ravel(), np.zeros(a.size), b.ravel()])
    logs = objective.batch(thetas)[0] + a.ravel() + b.ravel()
    logs += priors["length_scale_prior"].logpdf(np.exp(a.ravel())) + priors["noise_variance_prior"].logpdf(np.exp(b.ravel()))
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    for grid, draws in ((a, model.length_scale[..., 0]), (b, model.noise_variance)):
        mean = weights @ grid.ravel()
        deviation = math.sqrt(weights @ (grid.ravel() - mean) ** 2)
        found = np.log(draws)
        error = deviation / math.sqrt(convergence.ess_bulk(found[..., np.newaxis])[0])
        assert abs(found.mean() - mean) < 4 * error
        assert found.std() == pytest.approx(deviation, rel=0.12)


def test_calibrated():
    """A small one; with more data sets in test_bayes_calibration.py."""
    pytest.importorskip("nutpie", exc_type=ImportError)
    assert stats.combine_pvalues(p_values(rank_statistics(20, n=10, d=1))).pvalue > 0.01
