"""fit_fully_bayesian_model_nuts against BoTorch's own: the density, the chain, and what is left to BoTorch."""

import copy
import gc
import weakref

import numpy as np
import pytest
from conftest import assert_agree

pytest.importorskip("botorch")
jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")
import torch  # noqa: E402
from botorch.fit import fit_fully_bayesian_model_nuts as botorchs  # noqa: E402
from botorch.models import ModelListGP  # noqa: E402
from botorch.models import fully_bayesian as models  # noqa: E402
from botorch.models.fully_bayesian import (  # noqa: E402
    FullyBayesianLinearSingleTaskGP,
    FullyBayesianSingleTaskGP,
    SaasFullyBayesianSingleTaskGP,
)
from botorch.models.fully_bayesian_multitask import SaasFullyBayesianMultiTaskGP  # noqa: E402
from botorch.models.transforms import Normalize, Standardize  # noqa: E402
from numpyro.infer import MCMC, NUTS  # noqa: E402
from numpyro.infer.util import initialize_model, log_density  # noqa: E402

from fastard import _xla  # noqa: E402
from fastard.gpytorch import chains, explain, fit_fully_bayesian_model_nuts, fully_bayesian, patched  # noqa: E402
from fastard.gpytorch.chains import _KEPT  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("jax_in_float64"),
    pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning"),
]

N, D = 20, 3
_theirs = models.MaternPyroModel.sample
_SHORT = {"warmup_steps": 6, "num_samples": 4, "thinning": 1, "disable_progbar": True}


def data(seed=0):
    random = np.random.default_rng(seed)
    X = random.uniform(size=(N, D))
    y = np.sin(6.0 * X[:, :1]) + X[:, 1:2] ** 2 + 0.1 * random.standard_normal((N, 1))
    return torch.from_numpy(X), torch.from_numpy((y - y.mean()) / y.std())


X, Y = data()
YVAR = torch.linspace(0.01, 0.2, N, dtype=torch.float64)[:, None]


class _OwnPriors(models.SaasPyroModel):
    """A subclass whose priors are its own: the data term is that of BoTorch's model."""

    def sample_lengthscale(self, dim):
        return numpyro.sample("lengthscale", numpyro.distributions.Gamma(3.0, 6.0).expand((dim,)))


class _OwnPriorsGP(SaasFullyBayesianSingleTaskGP):
    _pyro_model_class = _OwnPriors


MODELS = {
    "SAAS": SaasFullyBayesianSingleTaskGP,
    "dimension scaled": FullyBayesianSingleTaskGP,
    "own priors": _OwnPriorsGP,
}


@pytest.fixture
def no_dense_covariance(monkeypatch):
    """BoTorch's covariance may not be computed: what is tested is ours."""

    def kernel(*_, **__):
        raise AssertionError("BoTorch's own kernel was used")

    monkeypatch.setattr(models, "matern52_kernel", kernel)


def potential(model, sample):
    start = initialize_model(jax.random.PRNGKey(0), sample)
    return start.param_info.z, jax.jit(jax.value_and_grad(start.potential_fn))


def points(z, count=4):
    random = np.random.default_rng(1)
    for _ in range(count):
        yield {name: jax.numpy.asarray(value + random.uniform(-1.0, 1.0, np.shape(value))) for name, value in z.items()}


@pytest.mark.parametrize("variances", [None, YVAR], ids=["noise sampled", "noise known"])
@pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
def test_the_density_and_its_gradient(cls, variances):
    model = cls(X, Y, variances).pyro_model
    z, theirs = potential(model, model.sample)
    with patched():
        own_start, ours = potential(model, model.sample)
        for at in points(z):
            (value, gradient), (expected, by_each) = ours(at), theirs(at)
            assert_agree(float(value), float(expected), 1e-10)
            assert gradient.keys() == by_each.keys()
            scale = max(float(abs(each).max()) for each in by_each.values())
            for name, each in by_each.items():
                np.testing.assert_allclose(gradient[name], each, rtol=0, atol=1e-10 * scale)
    for name, value in z.items():  # the random numbers are taken in the same order
        assert np.array_equal(own_start[name], value)


def test_the_gradient_by_differences():
    model = SaasFullyBayesianSingleTaskGP(X, Y).pyro_model
    data_term = fully_bayesian._data_term(model)
    theta = np.array([0.4, 1.1, 3.0, 1.7, 0.02, 0.3])
    gradient = data_term(theta)[1:]
    for i, derivative in enumerate(gradient):
        step = np.zeros(theta.size)
        step[i] = 1e-6 * theta[i]
        difference = (data_term(theta + step)[0] - data_term(theta - step)[0]) / (2.0 * step[i])
        assert derivative == pytest.approx(difference, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("variances", [None, YVAR], ids=["noise sampled", "noise known"])
def test_the_chain_is_botorchs(variances, monkeypatch):
    theirs, ours = (SaasFullyBayesianSingleTaskGP(X, Y, variances) for _ in range(2))
    botorchs(theirs, **_SHORT)
    monkeypatch.setattr(models, "matern52_kernel", None)
    fit_fully_bayesian_model_nuts(ours, **_SHORT)
    for (name, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-8, err_msg=name)
    with torch.no_grad():
        assert_agree(ours.posterior(X[:3]).mean.numpy(), theirs.posterior(X[:3]).mean.numpy(), 1e-6)
    assert "sample" not in vars(ours.pyro_model)
    copy.deepcopy(ours)


@pytest.mark.usefixtures("no_dense_covariance")
def test_patched_takes_botorchs_own_function():
    model = SaasFullyBayesianSingleTaskGP(10.0 * X, 5.0 + Y, input_transform=Normalize(D), outcome_transform=Standardize(1))
    named = copy.deepcopy(model)
    with patched():
        botorchs(model, **_SHORT)
        assert models.MaternPyroModel.sample is not _theirs
    assert models.MaternPyroModel.sample is _theirs
    fit_fully_bayesian_model_nuts(named, **_SHORT)
    for value, expected in zip(model.state_dict().values(), named.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


def of_fewer(n):
    return SaasFullyBayesianSingleTaskGP(X[:n], Y[:n])


def draws(model):
    return [value.tolist() for value in model.state_dict().values()]


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "progress bar"])
def test_a_chain_is_compiled_once_for_all_data(silent, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # where NumPyro shows no bar
    monkeypatch.delenv("CI", raising=False)
    options = {**_SHORT, "disable_progbar": silent}
    _KEPT.clear()
    first, second = of_fewer(N), of_fewer(N - 3)
    fit_fully_bayesian_model_nuts(first, **options)
    (chain,) = _KEPT
    with patched():
        botorchs(second, **options)
    assert [chain] == _KEPT
    assert chain._compiled._cache_size() == int(silent)
    _KEPT.clear()
    anew = of_fewer(N - 3)
    fit_fully_bayesian_model_nuts(anew, **options)
    assert draws(anew) == draws(second)
    monkeypatch.setattr(fully_bayesian, "_key", lambda *_: None)  # as NumPyro alone does it
    theirs = of_fewer(N - 3)
    fit_fully_bayesian_model_nuts(theirs, **options)
    assert draws(theirs) == draws(second)


def test_no_data_is_kept():
    _KEPT.clear()
    model = of_fewer(N)
    fit_fully_bayesian_model_nuts(model, **_SHORT)
    data = weakref.ref(model.pyro_model)
    del model
    gc.collect()
    assert len(_KEPT) == 1
    assert data() is None


def test_what_ends_a_chain_from_within_comes_out_as_it_is(monkeypatch):
    _KEPT.clear()
    data_term = fully_bayesian._data_term
    calls = iter(range(10**9))

    def ends(model):
        found = data_term(model)

        def of(theta):
            if next(calls) == 40:  # when the compiled chain is under way
                raise KeyboardInterrupt
            return found(theta)

        return of

    monkeypatch.setattr(fully_bayesian, "_data_term", ends)
    with pytest.raises(KeyboardInterrupt):
        fit_fully_bayesian_model_nuts(of_fewer(N), **_SHORT)
    assert _KEPT == []


def test_few_chains_are_kept():
    _KEPT.clear()
    for index in range(20):
        chains.give_back(type("Kept", (), {"key": index})())
    assert [chain.key for chain in _KEPT] == list(range(12, 20))
    assert chains.take(15).key == 15
    assert chains.take(15) is None
    _KEPT.clear()


def test_what_a_chain_depends_on():
    def key(model=None, warmup=2, sampler=None, **settings):
        model = of_fewer(N).pyro_model if model is None else model
        with patched():
            mcmc = MCMC(NUTS(model.sample, **(sampler or {})), **{"num_warmup": warmup, "num_samples": 2, **settings})
            return fully_bayesian._key(mcmc, jax.random.PRNGKey(0))

    usual = key()
    assert usual == key(of_fewer(N - 1).pyro_model)
    known = SaasFullyBayesianSingleTaskGP(X, Y, YVAR).pyro_model
    narrow = SaasFullyBayesianSingleTaskGP(X[:, :2], Y).pyro_model
    others = [
        key(FullyBayesianSingleTaskGP(X, Y).pyro_model),
        key(known),
        key(narrow),
        key(warmup=3),
        key(num_samples=3),
        key(thinning=2),
        key(sampler={"dense_mass": True}),
        key(sampler={"step_size": 0.5}),
    ]
    assert None not in others
    assert len({usual, *others}) == 1 + len(others)
    marked = of_fewer(N).pyro_model
    marked.scale = 2.0  # what priors of a model's own might ask for
    unknown = [
        key(marked),
        key(_OwnPriorsGP(X, Y).pyro_model),
        key(jit_model_args=True),
        key(chain_method="vectorized"),
        key(postprocess_fn=lambda z: z),
        key(sampler={"dense_mass": [("mean",)]}),
    ]
    assert unknown == [None] * len(unknown)


@pytest.mark.usefixtures("no_dense_covariance")
def test_in_float32():
    jax.config.update("jax_enable_x64", False)
    model = SaasFullyBayesianSingleTaskGP(X, Y)
    fit_fully_bayesian_model_nuts(model, **_SHORT)
    assert bool(model.median_lengthscale.isfinite().all())
    theta = np.array([0.4, 1.1, 3.0, 1.7, 0.02, 0.3], dtype=np.float32)
    data_term = fully_bayesian._data_term(model.pyro_model)
    assert data_term(theta).dtype == np.float32
    assert np.array_equal(data_term(theta), data_term(theta.astype(np.float64)).astype(np.float32))


def test_not_positive_definite_is_rejected_and_counted():
    twice = torch.cat([X, X])
    model = SaasFullyBayesianSingleTaskGP(twice, torch.cat([Y, -Y])).pyro_model
    data_term = fully_bayesian._data_term(model)
    theta = np.array([0.4, 1.1, 3.0, 1.7, 1e-30, 0.3])
    found = data_term(theta)
    assert found[0] == -np.inf
    assert not found[1:].any()
    assert model.n_not_positive_definite == 1
    for i, wrong in ((0, 0.0), (1, np.inf), (3, np.nan), (4, -1.0)):
        other = theta.copy()
        other[4], other[i] = 0.1, wrong
        assert data_term(other)[0] == -np.inf
    assert model.n_not_positive_definite == 1
    theta[4] = 0.1
    assert np.isfinite(data_term(theta)).all()


def test_several_at_once():
    model = SaasFullyBayesianSingleTaskGP(X, Y).pyro_model
    data_term = fully_bayesian._data_term(model)
    thetas = np.array([[0.4, 1.1, 3.0, 1.7, 0.02, 0.3], [0.2, 0.9, 1.0, 0.7, 0.1, -0.3]])
    values, gradients = jax.vmap(jax.value_and_grad(_xla.differentiable(_xla.HostCallback(data_term))))(thetas)
    for theta, value, gradient in zip(thetas, values, gradients, strict=True):
        assert [float(value), *gradient.tolist()] == data_term(theta).tolist()


class _OtherKernel(models.SaasPyroModel):
    def sample(self):
        super().sample()


class _OtherGP(SaasFullyBayesianSingleTaskGP):
    _pyro_model_class = _OtherKernel


def _with_task():
    return SaasFullyBayesianMultiTaskGP(torch.cat([X, (torch.arange(N) % 2).double()[:, None]], dim=1), Y, task_feature=-1)


def _in_prior_mode():
    model = SaasFullyBayesianSingleTaskGP(X, Y)
    model.pyro_model._prior_mode = True
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: SaasFullyBayesianSingleTaskGP(X, Y, use_input_warping=True), "the inputs are warped"),
        (lambda: FullyBayesianLinearSingleTaskGP(X, Y), "the LinearPyroModel has another kernel"),
        (_with_task, "the MultitaskSaasPyroModel has a set_inputs of its own"),
        (lambda: _OtherGP(X, Y), "the _OtherKernel has a sample of its own"),
        (_in_prior_mode, "the model is in prior mode"),
    ],
    ids=["warped", "linear", "multitask", "own sample", "prior mode"],
)
def test_the_rest_is_botorchs(make, reason):
    model = make()
    assert explain(model).startswith(f"BoTorch: {reason}")

    def density():
        z = initialize_model(jax.random.PRNGKey(0), model.pyro_model.sample).param_info.z
        seeded = numpyro.handlers.seed(model.pyro_model.sample, 0)
        return z, float(log_density(seeded, (), {}, {})[0])

    (z, value) = density()
    with patched():
        within, same = density()
    assert same == value
    assert all(np.array_equal(within[name], z[name]) for name in z)


def test_explain():
    text = "fastard: Matern52 with 3 length scales, {}, n = 20, d = 3; sampled by NumPyro"
    assert explain(SaasFullyBayesianSingleTaskGP(X, Y)) == text.format("noise sampled")
    known = FullyBayesianSingleTaskGP(X, Y, YVAR)
    assert explain(known) == text.format("noise known")
    with patched():
        assert explain(known) == text.format("noise known")
    both = explain(ModelListGP(known, _OtherGP(X, Y)))
    assert both.splitlines()[1].startswith("1: BoTorch: ")


def test_another_release_is_not_touched(monkeypatch):
    model = SaasFullyBayesianSingleTaskGP(X, Y)

    def sample(self):
        return self.sample_something_else()

    sample.__module__, sample.__qualname__ = _theirs.__module__, _theirs.__qualname__
    monkeypatch.setattr(models.MaternPyroModel, "sample", sample)
    assert explain(model) == "BoTorch: the SaasPyroModel has a sample of its own"
    assert fully_bayesian.fully_bayesian_patch().methods == {}
