"""fastard.gpytorch.fit_gpytorch_mll against BoTorch's own: what it trains, where that ends, and what it leaves to BoTorch."""

import copy
import pickle
import sys

import pytest
from helpers import assert_close

pytest.importorskip("botorch")
import botorch
import botorch.fit
import gpytorch
import torch
from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
from botorch.models.transforms import ChainedInputTransform, Normalize, Warp
from botorch.models.transforms.input import InputPerturbation, InputStandardize
from botorch.models.utils.gpytorch_modules import get_matern_kernel_with_gamma_prior
from gpytorch.constraints import GreaterThan, Interval, LessThan, Positive
from gpytorch.kernels import MaternKernel, RBFKernel, RQKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.means import ConstantMean, LinearMean, ZeroMean
from gpytorch.mlls import ExactMarginalLogLikelihood as GPyTorchs
from gpytorch.mlls import LeaveOneOutPseudoLikelihood, SumMarginalLogLikelihood
from gpytorch.priors import GammaPrior, HalfCauchyPrior, HalfNormalPrior, LogNormalPrior, NormalPrior, UniformPrior

import fastard.gpytorch
from fastard.gpytorch import explain, fit_gpytorch_mll, fitting, patched

# BoTorch warns of inputs and targets in other units, which are what some of these are about.
pytestmark = pytest.mark.filterwarnings("ignore::botorch.exceptions.InputDataWarning")

_botorchs = botorch.fit.fit_gpytorch_mll


@pytest.fixture(autouse=True)
def _same_start():
    """BoTorch draws from priors when it tries again; and one thread is what it works best with at these sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_fallback(monkeypatch):
    """BoTorch's own fit may not be entered: what is tested is ours."""

    def fit(*_, **__):
        raise AssertionError("BoTorch's own fit was used")

    monkeypatch.setattr(botorch.fit, "fit_gpytorch_mll", fit)


def data(n=30, d=3, m=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, d, generator=generator, dtype=torch.float64)
    Y = torch.stack([torch.sin((3.0 + i) * X[:, 0]) + X[:, -1] for i in range(m)], dim=-1)
    return X, Y + 0.1 * torch.randn(n, m, generator=generator, dtype=torch.float64)


def single(m=1, variances=False, n=30, d=3, seed=0, **options):
    X, Y = data(n, d, m, seed)
    return SingleTaskGP(X, Y, torch.full_like(Y, 0.02) if variances else None, **options)


def with_base(base, **options):
    return single(covar_module=ScaleKernel(base(ard_num_dims=3)), **options)


def with_scale_prior(prior):
    return single(covar_module=ScaleKernel(RBFKernel(ard_num_dims=3, lengthscale_prior=prior), outputscale_prior=prior))


def with_constraint(constraint):
    return single(covar_module=RBFKernel(ard_num_dims=3, lengthscale_constraint=constraint))


def frozen(name):
    model = single(covar_module=get_matern_kernel_with_gamma_prior(3))
    dict(model.named_parameters())[name].requires_grad_(False)
    return model


def with_learned_noise():
    X, Y = data()
    likelihood = FixedNoiseGaussianLikelihood(torch.full((30,), 0.01, dtype=torch.float64), learn_additional_noise=True)
    return SingleTaskGP(X, Y, likelihood=likelihood)


def with_prior_of(register):
    kernel = RBFKernel(ard_num_dims=3)
    register(kernel)
    return single(covar_module=ScaleKernel(kernel))


TRAINED = {
    "default": single,
    "one input": lambda: single(d=1),
    "many inputs": lambda: single(n=40, d=8),
    "known variances": lambda: single(variances=True),
    "known variances and noise": with_learned_noise,
    "matern 12": lambda: with_base(lambda **options: MaternKernel(nu=0.5, **options)),
    "matern 32": lambda: with_base(lambda **options: MaternKernel(nu=1.5, **options)),
    "matern 52": lambda: single(covar_module=get_matern_kernel_with_gamma_prior(3)),
    "rational quadratic": lambda: with_base(RQKernel),
    "one length scale": lambda: single(covar_module=ScaleKernel(RBFKernel(lengthscale_prior=GammaPrior(3.0, 6.0)))),
    "active dimensions": lambda: single(covar_module=ScaleKernel(RBFKernel(ard_num_dims=2, active_dims=(2, 0)))),
    "zero mean": lambda: single(mean_module=ZeroMean()),
    "no outcome transform": lambda: single(outcome_transform=None),
    "normalised": lambda: single(input_transform=Normalize(3)),
    "standardised": lambda: single(n=40, seed=1, input_transform=ChainedInputTransform(a=Normalize(3), b=InputStandardize(3))),
    "several outputs": lambda: single(m=3),
    "several outputs, known variances": lambda: single(m=2, variances=True, input_transform=Normalize(3)),
    "batch": lambda: SingleTaskGP(*(torch.stack(pair) for pair in zip(data(), data(seed=1), strict=True))),
    "gamma": lambda: with_scale_prior(GammaPrior(2.0, 1.5)),
    "log-normal": lambda: with_scale_prior(LogNormalPrior(0.3, 0.6)),
    "normal": lambda: with_scale_prior(NormalPrior(1.0, 0.5)),
    "half-Cauchy": lambda: with_scale_prior(HalfCauchyPrior(0.7)),
    "half-normal": lambda: with_scale_prior(HalfNormalPrior(0.7)),
    "prior of each": lambda: single(
        covar_module=RBFKernel(ard_num_dims=3, lengthscale_prior=GammaPrior(torch.tensor([2.0, 3.0, 4.0]), torch.ones(3)))
    ),
    "prior by name": lambda: with_prior_of(lambda k: k.register_prior("p", GammaPrior(3.0, 6.0), "lengthscale")),
    "prior by function": lambda: with_prior_of(lambda k: k.register_prior("p", GammaPrior(3.0, 6.0), lambda m: m.lengthscale)),
    "positive": lambda: with_constraint(Positive()),
    "exponential": lambda: with_constraint(Positive(transform=torch.exp, inv_transform=torch.log)),
    "greater": lambda: with_constraint(GreaterThan(0.4)),
    "greater, a bound": lambda: with_constraint(GreaterThan(0.4, transform=None, initial_value=1.0)),
    "less": lambda: with_constraint(LessThan(3.0, initial_value=1.0)),
    "interval": lambda: with_constraint(Interval(0.2, 3.0)),
    "interval, bounds": lambda: with_constraint(Interval(0.2, 3.0, transform=None, initial_value=1.0)),
    "noise at its bound": lambda: single(n=12, likelihood=GaussianLikelihood(noise_constraint=GreaterThan(0.01))),
    "frozen length scales": lambda: frozen("covar_module.base_kernel.raw_lengthscale"),
    "frozen output scale": lambda: frozen("covar_module.raw_outputscale"),
    "frozen noise": lambda: frozen("likelihood.noise_covar.raw_noise"),
    "frozen mean": lambda: frozen("mean_module.raw_constant"),
}


def value(model):
    """The mll by GPyTorch's code, one for each output."""
    mll = GPyTorchs(model.likelihood, model)
    mll.train()
    with torch.no_grad():
        result = mll(model(*model.train_inputs), model.train_targets, *model.train_inputs)
    mll.eval()
    return result


def fit(model, how=fit_gpytorch_mll, mll_class=GPyTorchs, **options):
    mll = mll_class(model.likelihood, model)
    assert how(mll, **options) is mll
    return mll


@pytest.mark.parametrize("name", TRAINED)
def test_the_optimum_is_botorchs_or_better(name, monkeypatch):
    ours, theirs = TRAINED[name](), TRAINED[name]()
    assert explain(ours).endswith("; fitted by fastard")
    start = {key: parameter.clone() for key, parameter in ours.named_parameters()}
    fit(theirs, _botorchs)
    monkeypatch.setattr(botorch.fit, "fit_gpytorch_mll", None)
    mll = fit(ours)
    assert not mll.training
    assert all(module.training == other.training for module, other in zip(ours.modules(), theirs.modules(), strict=True))
    for one, other in zip(ours.train_inputs, theirs.train_inputs, strict=True):
        assert torch.equal(one, other)
    assert (value(ours) >= value(theirs) - 1e-4).all()
    for (key, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert one.requires_grad == other.requires_grad
        assert one.dtype == other.dtype == torch.float64
        assert one.shape == other.shape
        assert torch.equal(one, start[key]) != one.requires_grad, key


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("name", ["default", "several outputs", "rational quadratic", "half-Cauchy", "interval", "batch"])
def test_the_end_is_a_stationary_point_of_gpytorchs_mll(name):
    """With respect to the raw parameters, by GPyTorch's gradient, so that no factor of a prior is missing."""
    model = TRAINED[name]()
    mll = fit(model)
    mll.train()
    value = mll(model(*model.train_inputs), model.train_targets).sum()
    parameters = {key: parameter for key, parameter in mll.named_parameters() if key.startswith("model.")}
    for (key, parameter), gradient in zip(
        parameters.items(), torch.autograd.grad(value, list(parameters.values())), strict=True
    ):
        at_bound = key.endswith("raw_noise") & (parameter <= 1.0001e-4)
        assert (gradient.abs()[~at_bound.expand(gradient.shape)] < 1e-4).all(), key


@pytest.mark.usefixtures("no_fallback")
def test_twenty_data_sets():
    for seed in range(20):
        ours, theirs = single(n=20 + seed, d=1 + seed % 6, seed=seed), single(n=20 + seed, d=1 + seed % 6, seed=seed)
        fit(ours)
        fit(theirs, _botorchs)
        assert value(ours) >= value(theirs) - 1e-3


def overridden(model):
    class Own(SingleTaskGP):
        def forward(self, x):
            return super().forward(x)

    model.__class__ = Own
    return model


def with_subclass():
    class Own(RBFKernel):
        pass

    return single(covar_module=Own(ard_num_dims=3))


def with_two_priors():
    model = with_scale_prior(GammaPrior(2.0, 1.5))
    model.covar_module.base_kernel.register_prior("more", GammaPrior(2.0, 1.5), "lengthscale")
    return model


def with_added_loss():
    model = single()
    model.register_added_loss_term("more")
    model.update_added_loss_term("more", gpytorch.mlls.InducingPointKernelAddedLossTerm(None, None, None))
    return model


def shared_by_the_batch():
    return single(m=2, covar_module=RBFKernel(ard_num_dims=3))


def all_frozen():
    model = single()
    return model.requires_grad_(False) and model


def with_trained_prior():
    model = with_scale_prior(LogNormalPrior(0.0, 1.0))
    model.register_parameter("more", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    return model


LEFT = {
    "GP": (lambda: overridden(single()), "Own has a forward of its own"),
    "kernel": (with_subclass, "a subclass"),
    "mean": (lambda: single(mean_module=LinearMean(3)), "LinearMean"),
    "prior of the mean": (lambda: single(mean_module=ConstantMean(constant_prior=NormalPrior(0.0, 1.0))), "the mean has"),
    "constraint of the mean": (
        lambda: single(mean_module=ConstantMean(constant_constraint=Interval(-1.0, 1.0))),
        "the mean has",
    ),
    "prior": (lambda: with_scale_prior(UniformPrior(0.01, 9.0)), "UniformPrior"),
    "two priors": (with_two_priors, "more than one prior"),
    "prior of a function": (
        lambda: with_prior_of(lambda k: k.register_prior("p", GammaPrior(3.0, 6.0), lambda m: m.lengthscale.sqrt())),
        "not of one parameter",
    ),
    "prior of a transform": (lambda: with_scale_prior(NormalPrior(0.0, 1.0, transform=torch.log)), "has a transform"),
    "constraint": (lambda: with_constraint(Positive(transform=torch.nn.functional.softplus)), "transform of its own"),
    "input transform": (lambda: single(input_transform=Warp(d=3, indices=[0])), "Warp"),
    "perturbed inputs": (lambda: single(input_transform=InputPerturbation(torch.zeros(1, 3))), "InputPerturbation"),
    "shared": (shared_by_the_batch, "for a batch of shape (2,)"),
    "nothing free": (all_frozen, "no parameter is free"),
    "another parameter": (with_trained_prior, "more is trained too"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_botorch(name, monkeypatch):
    make, reason = LEFT[name]
    model = make()
    text = explain(model)
    assert text.startswith("fastard: ")
    assert reason in text.split("; fitted by BoTorch: ")[1]
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    mll, calls = GPyTorchs(model.likelihood, model), []
    monkeypatch.setattr(botorch.fit, "fit_gpytorch_mll", lambda mll, **options: calls.append(options) or mll)
    assert fit_gpytorch_mll(mll) is mll
    assert len(calls) == 1
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_models_that_fastard_does_not_evaluate(monkeypatch):
    X, Y = data()
    for model in (MixedSingleTaskGP(torch.cat([X, X[:, :1].round()], dim=1), Y, cat_dims=[3]), single().float()):
        assert explain(model).startswith("GPyTorch: ")
        calls = []
        monkeypatch.setattr(botorch.fit, "fit_gpytorch_mll", lambda mll, **options: calls.append(1) or mll)  # noqa: B023
        fit(model)
        assert calls


def test_objectives_of_another_kind():
    model = single()
    assert "LeaveOneOutPseudoLikelihood" in explain(LeaveOneOutPseudoLikelihood(model.likelihood, model))
    assert not fitting.fit_whole(LeaveOneOutPseudoLikelihood(model.likelihood, model))
    mll = GPyTorchs(model.likelihood, model)
    mll.forward = lambda *arguments: GPyTorchs.forward(mll, *arguments)
    assert not fitting.fit_whole(mll)
    assert not fitting.fit_whole(GPyTorchs(GaussianLikelihood().double(), model))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer_kwargs": {"options": {"maxiter": 2}}},
        {"max_attempts": 2},
        {"pick_best_of_all_attempts": True},
        {"closure_kwargs": {}, "warning_handler": lambda warning: True},
        {"optimizer": botorch.optim.fit.fit_gpytorch_mll_torch},
    ],
)
def test_arguments_for_botorchs_optimiser(options, monkeypatch):
    calls = []
    monkeypatch.setattr(botorch.fit, "fit_gpytorch_mll", lambda mll, **given: calls.append(given) or mll)
    fit(single(), **options)
    assert {key: calls[0][key] for key in options} == options


def test_where_the_search_has_no_value_botorch_retries():
    """Twice the same points and next to no noise: BoTorch has jitter."""
    X, Y = data(n=10)
    model = SingleTaskGP(torch.cat([X, X]), torch.cat([Y, Y]), torch.full((20, 1), 0.1, dtype=torch.float64))
    likelihood = FixedNoiseGaussianLikelihood(torch.full((20,), 0.1, dtype=torch.float64))
    likelihood.noise_covar.noise = torch.zeros(20, dtype=torch.float64)
    model.likelihood = likelihood
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    mll = GPyTorchs(likelihood, model)
    assert not fitting.fit_whole(mll)
    assert mll.training
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_not_a_number_is_botorchs_matter():
    model = single()
    model.train_targets[0] = torch.nan
    assert not fitting.fit_whole(GPyTorchs(model.likelihood, model))


@pytest.mark.usefixtures("no_fallback")
def test_model_lists():
    models = ModelListGP(single(), single(variances=True, seed=1), single(n=20, d=2))
    mll = SumMarginalLogLikelihood(models.likelihood, models)
    assert fit_gpytorch_mll(mll) is mll
    assert not mll.training
    for fitted, fresh in zip(models.models, (single(), single(variances=True, seed=1), single(n=20, d=2)), strict=True):
        fit(fresh)
        assert_close(value(fitted), value(fresh), 1e-12)
    assert explain(models).count("fitted by fastard") == 3


@pytest.mark.usefixtures("no_fallback")
def test_outputs_are_fitted_each_on_its_own():
    model = single(m=3)
    fit(model)
    for i in range(3):
        X, Y = data(m=3)
        alone = SingleTaskGP(X, Y[:, i : i + 1])
        fit(alone)
        assert_close(value(model)[i], value(alone), 1e-7)


@pytest.mark.usefixtures("no_fallback")
def test_copies_and_pickles_are_fitted_alike():
    for name in ("default", "interval", "prior by name", "half-Cauchy", "exponential"):
        model = TRAINED[name]()
        copies = [copy.deepcopy(model)] + ([] if name == "prior by name" else [pickle.loads(pickle.dumps(model))])
        fit(model)
        for other in copies:
            assert explain(other).endswith("; fitted by fastard")
            fit(other)
            assert torch.equal(value(other), value(model))
        pickle.loads(pickle.dumps(copies[-1])) if name != "prior by name" else None


@pytest.mark.usefixtures("no_fallback")
def test_predictions_after_a_second_fit():
    """From where the first ended, on more points, as a loop has it."""
    model = single(input_transform=Normalize(3))
    fit(model)
    first = model.posterior(data()[0][:4]).mean
    fit(model, mll_class=fastard.gpytorch.ExactMarginalLogLikelihood)
    assert_close(model.posterior(data()[0][:4]).mean.detach(), first.detach(), 1e-3)


def test_patched_covers_every_name_and_is_undone(monkeypatch):
    import botorch.cross_validation

    calls = []
    before = dict(vars(botorch.fit))
    original = fitting._train
    monkeypatch.setattr(fitting, "_train", lambda *arguments: calls.append(1) or original(*arguments))
    model = single()
    with patched():
        fit(model, _botorchs)  # held before
        fit(single(), botorch.fit_gpytorch_mll)
        fit(single(), botorch.cross_validation.fit_gpytorch_mll)
        models = ModelListGP(single(), single(seed=1))
        _botorchs(SumMarginalLogLikelihood(models.likelihood, models))
        assert len(calls) == 5
        with patched():
            fit(single(), _botorchs)
        fit(single(), _botorchs, optimizer_kwargs={"options": {"maxiter": 2}})
        assert len(calls) == 6
        fit(single(input_transform=Warp(d=3, indices=[0])), _botorchs)
        assert len(calls) == 6
    after = dict(vars(botorch.fit))
    assert after == before
    fit(single(), _botorchs)
    assert len(calls) == 6
    ours = single()
    fit(ours)
    assert torch.equal(value(model), value(ours))


def test_patched_where_botorch_is_absent(monkeypatch):
    monkeypatch.delitem(sys.modules, "botorch")
    with patched():
        assert "botorch" not in sys.modules


@pytest.mark.usefixtures("no_fallback")
def test_interrupts_come_through(monkeypatch):
    from fastard._training import train

    class Interrupted(train.Search):
        def run(self, *arguments):
            super().run(*arguments)
            self.interrupted = True

    monkeypatch.setattr(train, "Search", Interrupted)
    model = single()
    start = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(KeyboardInterrupt):
        fit(model)
    assert all(torch.equal(one, other) for one, other in zip(start, model.parameters(), strict=True))
