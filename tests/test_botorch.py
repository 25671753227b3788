"""fastard.gpytorch in BoTorch: its models, its fit and its retries, and a short closed loop.

BoTorch's source distribution has no tests; what its documentation says of ``fit_gpytorch_mll`` is tested anew.
"""

import copy
import logging
import sys
import warnings

import pytest
from conftest import ROOT
from helpers import assert_close

pytest.importorskip("botorch")
import gpytorch
import linear_operator
import threadpoolctl
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import OptimizationWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
from botorch.models.transforms import Log, Normalize, Warp
from botorch.models.utils.gpytorch_modules import get_matern_kernel_with_gamma_prior
from botorch.optim.closures import get_loss_closure_with_grads
from botorch.optim.fit import fit_gpytorch_mll_torch
from gpytorch.mlls import SumMarginalLogLikelihood
from linear_operator.utils.errors import NotPSDError

import fastard.gpytorch
from fastard.gpytorch import ExactMarginalLogLikelihood, explain, patched

GPYTORCHS = gpytorch.mlls.ExactMarginalLogLikelihood


@pytest.fixture(autouse=True)
def _same_start():
    """BoTorch draws from priors when it tries again."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def no_fallback(monkeypatch):
    def forward(*_, **__):
        raise AssertionError("GPyTorch's own code was used")

    monkeypatch.setattr(fastard.gpytorch.mll, "_gpytorchs_forward", forward)


def data(n=30, d=3, m=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, d, generator=generator, dtype=torch.float64)
    Y = torch.stack([torch.sin((3.0 + i) * X[:, 0]) + X[:, -1] for i in range(m)], dim=-1)
    return X, Y + 0.1 * torch.randn(n, m, generator=generator, dtype=torch.float64)


def single(m=1, variances=False, **options):
    X, Y = data(m=m)
    return SingleTaskGP(X, Y, torch.full_like(Y, 0.02) if variances else None, **options)


def kumaraswamy():
    """An input transform with parameters to train."""
    return Warp(d=3, indices=[0, 2])


def standardised():
    X, Y = data()
    return SingleTaskGP(X, (Y - Y.mean()) / Y.std(), outcome_transform=None)


def logarithmic():
    X, Y = data()
    return SingleTaskGP(X, ((Y - Y.mean()) / Y.std()).exp(), outcome_transform=Log())


MODELS = {
    "default": single,
    "known variances": lambda: single(variances=True),
    "matern and scale": lambda: single(covar_module=get_matern_kernel_with_gamma_prior(3)),
    "outcomes standardised before": standardised,
    "logarithms of the outcomes": logarithmic,
    "normalised inputs": lambda: single(input_transform=Normalize(3)),
    "trained inputs": lambda: single(input_transform=kumaraswamy()),
    "several outputs": lambda: single(m=3),
    "several outputs, known variances": lambda: single(m=2, variances=True),
    "several outputs, normalised inputs": lambda: single(m=2, input_transform=Normalize(3)),
    "batch": lambda: SingleTaskGP(*(torch.stack(pair) for pair in zip(data(), data(seed=1), strict=True))),
}


def loss_and_gradients(mll_class, model):
    """What BoTorch hands to its optimisers."""
    mll = mll_class(model.likelihood, model)
    mll.train()
    parameters = {name: parameter for name, parameter in mll.named_parameters() if parameter.requires_grad}
    loss, gradients = get_loss_closure_with_grads(mll, parameters)()
    return loss, dict(zip(parameters, [gradient.clone() for gradient in gradients], strict=True))


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    model = MODELS[name]()
    assert explain(model).startswith("fastard: ")
    loss, gradients = loss_and_gradients(ExactMarginalLogLikelihood, model)
    expected, expected_gradients = loss_and_gradients(GPYTORCHS, model)
    assert_close(loss, expected, 1e-8)
    for parameter, gradient in gradients.items():
        assert_close(gradient, expected_gradients[parameter], 1e-8)
    assert any("concentration" in parameter for parameter in gradients) == (name == "trained inputs")


def test_a_kernel_for_categories_is_gpytorchs():
    X, Y = data()
    X[:, 2] = (3.0 * X[:, 2]).floor()
    model = MixedSingleTaskGP(X, Y, cat_dims=[2])
    assert explain(model).startswith("GPyTorch: ")
    loss, _ = loss_and_gradients(ExactMarginalLogLikelihood, model)
    assert torch.equal(loss, loss_and_gradients(GPYTORCHS, model)[0])


def final(mll):
    """The fitted mll by GPyTorch's code, summed over the outputs."""
    model = mll.model
    mll.train()
    with torch.no_grad():
        value = GPYTORCHS(model.likelihood, model)(model(*model.train_inputs), model.train_targets, *model.train_inputs)
    mll.eval()
    return value.sum().item()


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("name", ["default", "known variances", "trained inputs", "several outputs"])
def test_fit(name):
    start = MODELS[name]()
    ends = []
    for mll_class in (ExactMarginalLogLikelihood, GPYTORCHS):
        model = copy.deepcopy(start)
        mll = fit_gpytorch_mll(mll_class(model.likelihood, model))
        assert not mll.training
        ends.append(final(mll))
    assert ends[0] >= ends[1] - 1e-4


@pytest.mark.usefixtures("no_fallback")
def test_fit_a_list_of_models():
    models = ModelListGP(single(), single(variances=True))
    mll = fit_gpytorch_mll(SumMarginalLogLikelihood(models.likelihood, models, mll_cls=ExactMarginalLogLikelihood))
    assert not mll.training
    assert explain(models).count("fastard: ") == 2
    for start, fitted in zip((single(), single(variances=True)), models.models, strict=True):
        alone = fit_gpytorch_mll(GPYTORCHS(start.likelihood, start))
        assert final(GPYTORCHS(fitted.likelihood, fitted)) >= final(alone) - 1e-4


def test_fit_where_other_code_makes_the_mll(monkeypatch):
    calls = []
    evaluate = fastard.gpytorch.mll.evaluate
    monkeypatch.setattr(fastard.gpytorch.mll, "evaluate", lambda *a, **o: calls.append(1) or evaluate(*a, **o))
    models = ModelListGP(single())
    with patched():
        fit_gpytorch_mll(SumMarginalLogLikelihood(models.likelihood, models))
    assert not calls  # fastard's search needs no graph
    models = ModelListGP(single())
    with patched():
        fit_gpytorch_mll(SumMarginalLogLikelihood(models.likelihood, models), optimizer_kwargs={"options": {"maxiter": 9}})
    evaluations = len(calls)
    assert evaluations > 5
    fit_gpytorch_mll(SumMarginalLogLikelihood(models.likelihood, models))
    assert len(calls) == evaluations


@pytest.mark.usefixtures("no_fallback")
def test_fit_by_torchs_optimisers():
    model = single()
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    before = final(mll)
    fit_gpytorch_mll(mll, optimizer=fit_gpytorch_mll_torch, optimizer_kwargs={"step_limit": 20})
    assert final(mll) > before


@pytest.mark.usefixtures("no_fallback")
def test_options_reach_the_optimiser():
    model = single()
    steps = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizationWarning)
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            optimizer_kwargs={"options": {"maxiter": 3}, "callback": lambda parameters, result: steps.append(result.fval)},
        )
    assert len(steps) == 3
    assert steps[2] < steps[0]


@pytest.mark.usefixtures("no_fallback")
def test_frozen_parameters_stay():
    model = single()
    model.likelihood.noise_covar.raw_noise.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"mean_module.raw_constant", "covar_module.raw_lengthscale"}


@pytest.mark.usefixtures("no_fallback")
def test_fit_tries_again_where_the_covariance_is_not_positive_definite(monkeypatch, caplog):
    """The first attempt ends in NotPSDError; the next begins from a draw of the priors."""
    failures = iter([True])
    positive_definite = fastard.gpytorch.mll._positive_definite

    def fails_once(*arguments):
        if next(failures, False):
            raise NotPSDError("for once")
        return positive_definite(*arguments)

    monkeypatch.setattr(fastard.gpytorch.mll, "_positive_definite", fails_once)
    model = single()
    with caplog.at_level(logging.DEBUG, logger="botorch"):
        mll = fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    assert not mll.training
    assert next(failures, "used") == "used"


@pytest.mark.usefixtures("no_fallback")
def test_fit_gives_up_as_botorch_does():
    """Equal points without noise at every attempt: BoTorch's own error, and the parameters as they were."""
    X, Y = data(n=10)
    model = SingleTaskGP(torch.cat([X, X]), torch.cat([Y, Y]), torch.full((20, 1), 1e-4, dtype=torch.float64))
    model.likelihood.noise_covar.noise = torch.zeros(20, dtype=torch.float64)
    before = copy.deepcopy(model.state_dict())
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    with linear_operator.settings.cholesky_jitter(double_value=1e-30), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ModelFittingError, match="All attempts to fit the model have failed"):
            fit_gpytorch_mll(mll, max_attempts=2)
    assert mll.training
    assert all(torch.equal(now, then) for now, then in zip(model.state_dict().values(), before.values(), strict=True))


@pytest.mark.usefixtures("no_fallback", "several_blas_threads", "several_torch_threads")
def test_threads_within_a_fit(monkeypatch):
    """BoTorch limits BLAS to one thread around SciPy's optimiser; ours are not BLAS's."""
    seen = set()
    evaluate = fastard.gpytorch.mll.evaluate

    def spy(*arguments, **options):
        blas = max((pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"), default=1)
        seen.add((blas, options["threads"]))
        return evaluate(*arguments, **options)

    monkeypatch.setattr(fastard.gpytorch.mll, "evaluate", spy)
    model = single()
    torch_threads = torch.get_num_threads()
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs={"options": {"maxiter": 2}})
    assert seen == {(1, fastard._numba.threads.default_threads())}
    assert torch.get_num_threads() == torch_threads


def test_predictions_are_gpytorchs():
    model = single()
    twin = copy.deepcopy(model)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    twin.load_state_dict(model.state_dict())
    X = data(n=7, seed=3)[0]
    posterior, expected = model.posterior(X), twin.eval().posterior(X)
    assert torch.equal(posterior.mean, expected.mean)
    assert torch.equal(posterior.variance, expected.variance)


def test_a_closed_loop():
    """Two steps of Bayesian optimisation from ten points on Hartmann-6; benchmarks/gpytorch.py does thirty.

    The regrets differ as the fits' ends do, by when L-BFGS stops on a nearly flat objective.
    """
    sys.path.append(str(ROOT))
    pytest.importorskip("benchmarks", reason="the benchmarks come with the source only")
    from benchmarks.gpytorch import closed_loop

    ours, theirs = (
        closed_loop(mll_class, steps=2, seed=0, restarts=2, raw_samples=16)[0]
        for mll_class in (ExactMarginalLogLikelihood, GPYTORCHS)
    )
    assert ours < 0.8  # the best of the first ten points is 2.2 from the maximum
    assert abs(ours - theirs) < 0.05
