"""The log marginal likelihood as a term of PyMC's models, beside PyMC's own."""

import warnings

import numpy as np
import pytest
from conftest import assert_agree, data

import fastard

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ArviZ's and PyTensor's, about themselves
    pymc = pytest.importorskip("pymc", exc_type=ImportError)
    import cloudpickle
    import pytensor

    from fastard.pymc import marginal_likelihood

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]

X, Y = data(30, 3)


@pytest.fixture(autouse=True)
def without_a_compiler():
    """PyTensor's C code takes a minute to compile."""
    with pytensor.config.change_flags(cxx="", mode="FAST_COMPILE", linker="py"):
        yield


def parameters():
    scales = pymc.LogNormal("scales", 0.0, 0.5, shape=3)
    return {
        "length_scale": scales,
        "signal_variance": pymc.LogNormal("signal", 0.0, 0.5),
        "noise_variance": pymc.LogNormal("noise", -2.0, 0.5),
    }


def by_fastard(kernel, **options):
    with pymc.Model() as model:
        marginal_likelihood("y", X, Y, kernel=kernel, **parameters(), **options)
    return model


def by_pymc(covariance, **options):
    with pymc.Model() as model:
        given = parameters()
        k = given["signal_variance"] * covariance(3, ls=given["length_scale"], **options)
        gp = pymc.gp.Marginal(cov_func=k)
        gp.marginal_likelihood("y", X=X, y=Y, sigma=pymc.math.sqrt(given["noise_variance"]), jitter=0.0)
    return model


def value_and_gradient(model, point):
    return float(model.compile_logp()(point)), model.compile_dlogp()(point)


POINT = {"scales_log__": np.log([0.7, 1.5, 3.0]), "signal_log__": np.log(1.2), "noise_log__": np.log(0.1)}


@pytest.mark.parametrize(
    ("kernel", "covariance", "options"),
    [("rbf", "ExpQuad", {}), ("matern52", "Matern52", {}), (fastard.RationalQuadratic(0.7), "RatQuad", {"alpha": 0.7})],
)
def test_value_and_gradient_are_pymcs(kernel, covariance, options):
    ours = value_and_gradient(by_fastard(kernel), POINT)
    theirs = value_and_gradient(by_pymc(getattr(pymc.gp.cov, covariance), **options), POINT)
    assert_agree(ours[0], theirs[0], 1e-8)
    assert_agree(ours[1], theirs[1], 1e-8)


def test_one_length_scale_and_a_shape():
    """That of all inputs, by the chain rule; numbers beside variables."""
    with pymc.Model() as model:
        scale, shape = pymc.LogNormal("scale", 0.0, 1.0), pymc.LogNormal("shape", 0.0, 1.0)
        marginal_likelihood(
            "y", X, Y, length_scale=scale, noise_variance=0.1, shape=shape, kernel="rational_quadratic", n_threads=1
        )
    point = {"scale_log__": np.log(0.8), "shape_log__": np.log(1.7)}
    known = [0.8, 0.8, 0.8, 1.0, 0.1, 1.7]
    value, gradient = fastard.LogMarginalLikelihood(X, Y, kernel="rational_quadratic")(np.log(known))
    assert float(model.compile_logp(vars=model.potentials)(point)) == pytest.approx(value, rel=1e-13)
    of_priors = -np.array([point["scale_log__"], point["shape_log__"]])
    np.testing.assert_allclose(model.compile_dlogp()(point), np.add(of_priors, [gradient[:3].sum(), gradient[5]]), rtol=1e-12)


def test_one_evaluation_gives_both():
    calls = []

    class Counted(fastard.LogMarginalLikelihood):
        def __call__(self, theta):
            calls.append(theta)
            return super().__call__(theta)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fastard.pymc.likelihood.LogMarginalLikelihood", Counted)
        model = by_fastard("rbf")
    function = model.logp_dlogp_function(ravel_inputs=True)
    function.set_extra_values({})
    calls.clear()
    function(np.zeros(5))
    assert len(calls) == 1


def test_where_there_is_no_likelihood():
    model = by_fastard("rbf")
    value, gradient = value_and_gradient(model, POINT | {"scales_log__": np.full(3, 9.0), "noise_log__": np.array(-40.0)})
    assert value == -np.inf
    assert np.isfinite(gradient).all()
    with pytest.raises(pytensor.gradient.NullTypeGradError, match="first derivatives only"):
        model.compile_d2logp()


def test_it_is_pickled_for_other_processes():
    model = cloudpickle.loads(cloudpickle.dumps(by_fastard("rbf")))  # as PyMC does
    assert value_and_gradient(model, POINT)[0] == value_and_gradient(by_fastard("rbf"), POINT)[0]


def test_the_moments_are_those_of_sample_posterior():
    pytest.importorskip("nutpie", exc_type=ImportError)
    from fastard._bayes import convergence

    with by_fastard("rbf"):
        trace = pymc.sample(
            draws=200, tune=200, chains=1, cores=1, random_seed=1, progressbar=False, compute_convergence_checks=False
        )
    theirs = np.dstack([np.log(trace.posterior[name].values) for name in ("scales", "signal", "noise")])
    from scipy import stats

    ours = fastard.sample_posterior(
        X, Y, mean=0.0, rng=3, n_chains=2, n_draws=1000, n_warmup=400, length_scale_prior=stats.lognorm(0.5),
        signal_variance_prior=stats.lognorm(0.5), noise_variance_prior=stats.lognorm(0.5, scale=np.exp(-2.0)),
    )  # fmt: skip
    ours = np.log(np.dstack([ours.length_scale, ours.signal_variance, ours.noise_variance]))
    errors = [x.std(axis=(0, 1)) / np.sqrt(convergence.ess_bulk(x)) for x in (ours, theirs)]
    assert (np.abs(ours.mean(axis=(0, 1)) - theirs.mean(axis=(0, 1))) < 4.0 * np.hypot(*errors)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length_scale": np.ones(2)}, r"length_scale must be a number or have shape \(3,\)"),
        ({"length_scale": np.ones((3, 3))}, "length_scale must be a number"),
        ({"signal_variance": np.ones(2)}, "signal_variance must be a number"),
        ({"shape": 1.0}, "no shape parameter"),
        ({"kernel": "periodic"}, "kernel"),
    ],
)
def test_wrong_arguments(options, words):
    with pymc.Model(), pytest.raises(ValueError, match=words):
        marginal_likelihood("y", X, Y, **{"length_scale": 1.0, "noise_variance": 0.1, **options})
