"""fastard.gpytorch against GPyTorch's own class, on its Cholesky path, and what it does where it does not take over."""

import contextlib
import copy
import pickle
import threading
import warnings

import numpy as np
import pytest
from conftest import run_python
from helpers import assert_close

pytest.importorskip("torch")
pytest.importorskip("gpytorch")
import gpytorch
import linear_operator
import threadpoolctl
import torch
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import AdditiveKernel, MaternKernel, PeriodicKernel, RBFKernel, RQKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from linear_operator.utils.errors import NanError, NotPSDError
from linear_operator.utils.warnings import NumericalWarning

import fastard.gpytorch
from fastard.gpytorch import ExactMarginalLogLikelihood, explain, patched

GPYTORCHS = gpytorch.mlls.ExactMarginalLogLikelihood
BASES = {
    "rbf": RBFKernel,
    "matern12": lambda **options: MaternKernel(nu=0.5, **options),
    "matern32": lambda **options: MaternKernel(nu=1.5, **options),
    "matern52": lambda **options: MaternKernel(nu=2.5, **options),
    "rational_quadratic": RQKernel,
}


class GP(gpytorch.models.ExactGP):
    def __init__(self, X, y, likelihood, kernel, mean=None):
        super().__init__(X, y, likelihood)
        self.mean_module = mean or gpytorch.means.ConstantMean(batch_shape=y.shape[:-1])
        self.covar_module = kernel
        self.double()
        self.train()

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def data(n=40, d=3, batch=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(*batch, n, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(*batch, n, generator=generator, dtype=torch.float64)
    return X, torch.sin(4.0 * X).sum(-1) + 0.1 * noise


def spread_out(module):
    """Parameters that differ from one another, none at a special place."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            count = torch.arange(parameter.numel(), dtype=parameter.dtype).reshape(parameter.shape)
            parameter.copy_(0.1 * torch.sin(1.0 + i + count) - 0.8)
    return module


def make(kernel, likelihood=None, batch=(), **options):
    X, y = data(batch=batch, **options)
    return spread_out(GP(X, y, likelihood or GaussianLikelihood(), kernel))


def value_and_gradients(mll_class, model, X=None, params=()):
    """The value, and its derivatives by all free parameters, and by X where it is given."""
    mll = mll_class(model.likelihood, model)
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with (
        gpytorch.settings.max_cholesky_size(10**6),
        gpytorch.settings.fast_computations(log_prob=True),  # BoTorch turns it off, and GPyTorch then refuses some batches
        gpytorch.settings.debug(X is None),
    ):
        output = model(model.train_inputs[0] if X is None else X)
        value = mll(output, model.train_targets, *params)
    wanted = free if X is None else [*free, X]
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad] + ["X"]
    return value, dict(zip(names, torch.autograd.grad(value.sum(), wanted), strict=False))


@pytest.fixture
def no_fallback(monkeypatch):
    """GPyTorch's own code may not be entered by our class: what is tested is ours."""

    def forward(*_, **__):
        raise AssertionError("GPyTorch's own code was used")

    monkeypatch.setattr(fastard.gpytorch.mll, "_gpytorchs_forward", forward)


def assert_agrees(model, X=None, params=(), tolerance=1e-8):
    assert explain(model).startswith("fastard: ")
    value, gradients = value_and_gradients(ExactMarginalLogLikelihood, model, X, params)
    expected, expected_gradients = value_and_gradients(GPYTORCHS, model, X, params)
    assert_close(value, expected, tolerance)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name], tolerance)


# Agreement


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("ard", [True, False], ids=["ard", "isotropic"])
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "unscaled"])
@pytest.mark.parametrize("name", BASES)
def test_kernels(name, scaled, ard):
    base = BASES[name](ard_num_dims=3 if ard else None)
    assert_agrees(make(ScaleKernel(base) if scaled else base))


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("n", [1, 2, 47, 48, 49, 170])
def test_sizes(n):
    assert_agrees(make(ScaleKernel(MaternKernel(ard_num_dims=2)), n=n, d=2))


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "unscaled"])
def test_active_dimensions(scaled):
    base = MaternKernel(ard_num_dims=2, active_dims=(4, 1))
    model = make(ScaleKernel(base) if scaled else base, d=5)
    assert_agrees(model)
    X = model.train_inputs[0].clone().requires_grad_()
    assert_agrees(model, X)
    _, gradients = value_and_gradients(ExactMarginalLogLikelihood, model, X)
    assert (gradients["X"][:, [0, 2, 3]] == 0.0).all()
    assert (gradients["X"][:, [1, 4]] != 0.0).any()


def noises(n=40):
    return 0.05 + 0.1 * torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("with_params", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_fixed_noise(learned, with_params):
    """BoTorch passes the inputs on to the likelihood."""
    likelihood = FixedNoiseGaussianLikelihood(noises(), learn_additional_noise=learned)
    model = make(RBFKernel(ard_num_dims=3), likelihood)
    assert_agrees(model, params=model.train_inputs if with_params else ())


@pytest.mark.usefixtures("no_fallback")
def test_fixed_noise_may_be_derived():
    noise = noises().requires_grad_()
    model = make(RBFKernel(ard_num_dims=3), FixedNoiseGaussianLikelihood(noise))
    gradients = []
    for mll_class in (ExactMarginalLogLikelihood, GPYTORCHS):
        value = mll_class(model.likelihood, model)(model(*model.train_inputs), model.train_targets)
        gradients.append(torch.autograd.grad(value, noise)[0])
    assert_close(*gradients, 1e-8)


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("name", BASES)
def test_batches(name):
    """Each element has parameters, inputs and targets of its own."""
    batch = torch.Size([2, 3])
    likelihood = GaussianLikelihood(batch_shape=batch)
    model = make(ScaleKernel(BASES[name](ard_num_dims=3, batch_shape=batch), batch_shape=batch), likelihood, batch)
    assert_agrees(model)
    assert "6 outputs" in explain(model)


@pytest.mark.usefixtures("no_fallback")
def test_batch_of_targets_alone():
    """One covariance, several targets: gradients are sums over them."""
    X, _ = data()
    y = torch.stack([data(seed=seed)[1] for seed in range(3)])
    model = spread_out(GP(X, y, GaussianLikelihood(), ScaleKernel(RBFKernel(ard_num_dims=3))))
    assert_agrees(model)


@pytest.mark.usefixtures("no_fallback")
def test_batch_of_parameters_and_noise_alone():
    two = torch.Size([2])
    X, y = data()
    for kernel, likelihood in (
        (ScaleKernel(RQKernel(ard_num_dims=3, batch_shape=two), batch_shape=two), GaussianLikelihood(batch_shape=two)),
        (ScaleKernel(RBFKernel(ard_num_dims=3), batch_shape=two), GaussianLikelihood()),
        (RBFKernel(ard_num_dims=3, batch_shape=two), FixedNoiseGaussianLikelihood(torch.stack([noises(), 2.0 * noises()]))),
    ):
        model = spread_out(GP(X, y, likelihood, kernel))
        assert_agrees(model)
        value, _ = value_and_gradients(ExactMarginalLogLikelihood, model)
        assert value.shape == two
        assert value[0] != value[1]


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("name", BASES)
def test_gradient_of_inputs(name):
    model = make(ScaleKernel(BASES[name](ard_num_dims=3)))
    assert_agrees(model, model.train_inputs[0].clone().requires_grad_())


@pytest.mark.usefixtures("no_fallback")
def test_gradient_of_inputs_in_a_batch():
    """Inputs that the elements share collect the gradients of all."""
    two = torch.Size([2])
    X, _ = data()
    y = torch.stack([data(seed=seed)[1] for seed in range(2)])
    model = spread_out(GP(X, y, GaussianLikelihood(batch_shape=two), RBFKernel(ard_num_dims=3, batch_shape=two)))
    assert_agrees(model, X.clone().requires_grad_())


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("mean", ["ZeroMean", "ConstantMean", "LinearMean"])
def test_any_mean_trains(mean):
    mean_module = gpytorch.means.LinearMean(3) if mean == "LinearMean" else getattr(gpytorch.means, mean)()
    X, y = data()
    assert_agrees(spread_out(GP(X, y, GaussianLikelihood(), RBFKernel(ard_num_dims=3), mean_module)))


@pytest.mark.usefixtures("no_fallback")
def test_priors_constraints_and_added_losses_are_gpytorchs():
    class Penalty(gpytorch.mlls.AddedLossTerm):
        def __init__(self, parameter):
            self.parameter = parameter

        def loss(self, *_):
            return -3.0 * self.parameter.square().sum()

    kernel = ScaleKernel(
        MaternKernel(
            ard_num_dims=3, lengthscale_prior=GammaPrior(3.0, 6.0), lengthscale_constraint=GreaterThan(2.5e-2, transform=None)
        ),
        outputscale_prior=GammaPrior(2.0, 0.15),
        outputscale_constraint=Interval(0.1, 20.0),
    )
    likelihood = GaussianLikelihood(noise_prior=LogNormalPrior(-4.0, 1.0), noise_constraint=GreaterThan(1e-4))
    X, y = data()
    model = GP(X, y, likelihood, kernel)
    kernel.base_kernel.lengthscale = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    assert_agrees(model)
    without, _ = value_and_gradients(ExactMarginalLogLikelihood, model)
    model.register_added_loss_term("penalty")
    model.update_added_loss_term("penalty", Penalty(kernel.raw_outputscale + 1.0))
    assert_agrees(model)
    penalised, _ = value_and_gradients(ExactMarginalLogLikelihood, model)
    assert_close(penalised, without - 3.0 * (kernel.raw_outputscale + 1.0).square() / 40, 1e-12)


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", ["rbf", "matern52"])
def test_condition_numbers(name, condition):
    X, y = data(n=100, d=2)
    model = GP(X, y, GaussianLikelihood(noise_constraint=GreaterThan(1e-9)), ScaleKernel(BASES[name](ard_num_dims=2)))
    model.covar_module.base_kernel.lengthscale = torch.tensor([1.0, 2.0], dtype=torch.float64)
    with torch.no_grad():
        largest = torch.linalg.eigvalsh(model.covar_module(X).to_dense())[-1]
    model.likelihood.noise = largest / condition
    assert_agrees(model)


@pytest.mark.usefixtures("no_fallback")
def test_exact_where_gpytorch_turns_stochastic():
    assert_agrees(make(ScaleKernel(RBFKernel(ard_num_dims=2)), n=810, d=2))


@pytest.mark.usefixtures("no_fallback")
def test_frozen_parameters():
    model = make(ScaleKernel(RQKernel(ard_num_dims=3)))
    for frozen in ("raw_lengthscale", "raw_alpha"):
        getattr(model.covar_module.base_kernel, frozen).requires_grad_(False)
        assert_agrees(model)
    model.covar_module.raw_outputscale.requires_grad_(False)
    model.likelihood.noise_covar.raw_noise.requires_grad_(False)
    assert_agrees(model)


@pytest.mark.usefixtures("no_fallback")
def test_value_alone():
    model = make(ScaleKernel(RBFKernel(ard_num_dims=3)))
    expected, _ = value_and_gradients(GPYTORCHS, model)
    with torch.no_grad():
        value = ExactMarginalLogLikelihood(model.likelihood, model)(model(*model.train_inputs), model.train_targets)
    assert not value.requires_grad
    assert_close(value, expected.detach(), 1e-12)


@pytest.mark.usefixtures("no_fallback")
def test_derivatives_by_finite_differences():
    two = torch.Size([2])
    model = make(ScaleKernel(RQKernel(ard_num_dims=2, batch_shape=two), batch_shape=two), batch=two, n=12, d=2)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    leaves = [model.train_inputs[0].requires_grad_(), model.train_targets.requires_grad_(), *model.parameters()]

    def value():
        return mll(model(*model.train_inputs), model.train_targets).sum()

    gradients = torch.autograd.grad(value(), leaves)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        direction = torch.sin(1.0 + torch.arange(leaf.numel(), dtype=leaf.dtype)).reshape(leaf.shape)
        moved = []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                leaf += step * direction
                moved.append(value())
            leaf += 1e-5 * direction
        assert_close((gradient * direction).sum(), (moved[0] - moved[1]) / 2e-5, 1e-8)


@pytest.mark.usefixtures("no_fallback")
def test_weights_of_the_value_reach_the_gradients():
    two = torch.Size([2])
    model = make(RBFKernel(ard_num_dims=3, batch_shape=two), GaussianLikelihood(batch_shape=two), two)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    raw = model.covar_module.raw_lengthscale
    weights = torch.tensor([2.0, -0.5], dtype=torch.float64)
    value = mll(model(*model.train_inputs), model.train_targets)
    (plain,) = torch.autograd.grad(value.sum(), raw, retain_graph=True)
    (again,) = torch.autograd.grad(value.sum(), raw, retain_graph=True)
    (weighted,) = torch.autograd.grad(value, raw, weights)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)
    assert_close(weighted, weights[:, None, None] * plain, 1e-14)


# What is not recognised


class OwnRBF(RBFKernel):
    def forward(self, x1, x2, diag=False, **params):
        return super().forward(x1, x2, diag=diag, **params) * 1.0


class NamedRBF(RBFKernel):
    """Nothing of its own."""


class Noisier(GaussianLikelihood):
    def _shaped_noise_covar(self, base_shape, *params, **kwargs):
        return super()._shaped_noise_covar(base_shape, *params, **kwargs) + super()._shaped_noise_covar(base_shape)


def changed_by_hand():
    kernel = RBFKernel(ard_num_dims=3)
    kernel.forward = lambda x1, x2, **_: RBFKernel.forward(kernel, x1, x2) * 2.0
    return make(kernel)


def in_float32():
    return make(RBFKernel(ard_num_dims=3)).float()


FOREIGN = {
    "a PeriodicKernel": lambda: make(ScaleKernel(PeriodicKernel(ard_num_dims=3))),
    "a AdditiveKernel": lambda: make(AdditiveKernel(RBFKernel(active_dims=0), RBFKernel(active_dims=1))),
    "a ScaleKernel": lambda: make(ScaleKernel(ScaleKernel(RBFKernel()))),
    "a OwnRBF": lambda: make(ScaleKernel(OwnRBF(ard_num_dims=3))),
    "a RBFKernel": changed_by_hand,
    "the likelihood is a Noisier": lambda: make(RBFKernel(ard_num_dims=3), Noisier()),
    "torch.float32": in_float32,
}


@pytest.mark.parametrize("reason", FOREIGN)
def test_the_rest_is_gpytorchs(reason):
    """To the bit, because it is the same code."""
    model = FOREIGN[reason]()
    assert explain(model).startswith("GPyTorch: ")
    assert reason in explain(model)
    value, gradients = value_and_gradients(ExactMarginalLogLikelihood, model)
    expected, expected_gradients = value_and_gradients(GPYTORCHS, model)
    assert torch.equal(value, expected)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected_gradients[name]), name


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (gpytorch.settings.lazily_evaluate_kernels(False), "lazily evaluated"),
        (gpytorch.settings.observation_nan_policy("mask"), "observation_nan_policy"),
        (gpytorch.settings.trace_mode(True), "trace_mode"),
    ],
    ids=["eager", "missing_observations", "trace_mode"],
)
def test_settings_that_change_the_computation_are_obeyed(setting, reason):
    model = make(RBFKernel(ard_num_dims=3))
    if reason == "observation_nan_policy":
        model.train_targets[3] = torch.nan
    with setting:
        assert reason in explain(model)
        value, _ = value_and_gradients(ExactMarginalLogLikelihood, model)
        expected, _ = value_and_gradients(GPYTORCHS, model)
    assert torch.equal(value, expected)
    assert torch.isfinite(value)


def test_transforms_of_torch_func_are_gpytorchs():
    model = make(RBFKernel(ard_num_dims=3))
    y = torch.stack([model.train_targets, 2.0 * model.train_targets])
    values = []
    for mll_class in (ExactMarginalLogLikelihood, GPYTORCHS):
        mll = mll_class(model.likelihood, model)
        values.append(torch.func.vmap(lambda target, mll=mll: mll(model(*model.train_inputs), target))(y))
    assert torch.equal(*values)


def test_keyword_arguments_of_the_likelihood_are_obeyed():
    model = make(RBFKernel(ard_num_dims=3), FixedNoiseGaussianLikelihood(noises()))
    values = [
        mll_class(model.likelihood, model)(model(*model.train_inputs), model.train_targets, noise=2.0 * noises())
        for mll_class in (ExactMarginalLogLikelihood, GPYTORCHS)
    ]
    assert torch.equal(*values)


@pytest.mark.usefixtures("no_fallback")
def test_a_subclass_with_nothing_of_its_own_is_recognised():
    assert_agrees(make(ScaleKernel(NamedRBF(ard_num_dims=3))))


def test_wrong_arguments_get_gpytorchs_errors():
    model = make(RBFKernel(ard_num_dims=3))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    with pytest.raises(RuntimeError, match="Gaussian random variables"):
        mll(model.train_targets, model.train_targets)
    with pytest.raises(RuntimeError, match="must be Gaussian"):
        ExactMarginalLogLikelihood(gpytorch.likelihoods.BernoulliLikelihood(), model)
    with pytest.raises(RuntimeError):
        mll(model(*model.train_inputs), model.train_targets[:7])


@pytest.mark.parametrize("what", ["target", "inputs", "length scale"])
def test_not_a_number_is_gpytorchs_matter(what):
    model = make(RBFKernel(ard_num_dims=3))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    with torch.no_grad():
        {"target": model.train_targets, "inputs": model.train_inputs[0], "length scale": model.covar_module.raw_lengthscale}[
            what
        ].view(-1)[2] = torch.nan
    assert "not finite" in explain(model)
    with gpytorch.settings.debug(False):  # which compares the inputs, and nan is not equal to itself
        output = model(*model.train_inputs)
    if what == "target":
        assert torch.isnan(mll(output, model.train_targets))
    else:
        with pytest.raises(NanError):
            mll(output, model.train_targets)


def test_explain():
    assert explain(make(ScaleKernel(MaternKernel(ard_num_dims=3)))) == (
        "fastard: Matern52 with 3 length scales, GaussianLikelihood, n = 40, d = 3"
    )
    model = make(RBFKernel())
    models = gpytorch.models.IndependentModelList(model, make(PeriodicKernel()))
    assert [line[:11] for line in explain(models).splitlines()] == ["0: fastard:", "1: GPyTorch"]
    assert explain(ExactMarginalLogLikelihood(model.likelihood, model)) == explain(model)
    assert explain(model.eval()).startswith("fastard: ")
    assert not model.training
    with pytest.raises(TypeError, match="model must be a GPyTorch ExactGP with training data, got RBFKernel"):
        explain(RBFKernel())


# Not positive definite


def singular(noise=0.0):
    """Pairs of equal points, and no noise to speak of."""
    X, y = data(n=20)
    model = GP(X, y, FixedNoiseGaussianLikelihood(torch.full((20,), 1e-4, dtype=torch.float64)), RBFKernel(ard_num_dims=3))
    model.train_inputs[0][10:] = model.train_inputs[0][:10]
    model.likelihood.noise_covar.noise = torch.full((20,), noise, dtype=torch.float64)
    return model


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize(("jitter", "tries"), [(1e-6, 1), (1e-16, 3)])
def test_jitter_as_gpytorch_adds_it(jitter, tries):
    """Two equal points: the second pivot is 0; jitter of 1e-16 and 1e-15 is lost in rounding, which may escape GPyTorch."""
    X, y = torch.full((2, 1), 0.5, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    model = GP(X, y, FixedNoiseGaussianLikelihood(noises(2)), RBFKernel())
    model.likelihood.noise_covar.noise = torch.zeros(2, dtype=torch.float64)
    results = []
    with linear_operator.settings.cholesky_jitter(double_value=jitter):
        for mll_class in (ExactMarginalLogLikelihood, GPYTORCHS) if tries == 1 else (ExactMarginalLogLikelihood,):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                results.append(value_and_gradients(mll_class, model))
            added = [str(warning.message) for warning in caught if warning.category is NumericalWarning]
            assert len(added) == tries
            assert f"jitter of {jitter * 10 ** (tries - 1):.1e}" in added[-1]
    if tries > 1:  # a condition number of 1e14: nothing to compare
        return
    (value, gradients), (expected, expected_gradients) = results
    assert_close(value, expected, 1e-8)
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name], 1e-8)


@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("tries", [0, 1, 3])
def test_not_positive_definite_after_all_jitter(tries):
    model = singular()
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    with (
        linear_operator.settings.cholesky_jitter(double_value=1e-30),
        linear_operator.settings.cholesky_max_tries(tries),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        with pytest.raises(NotPSDError, match=r"not positive definite.*raise the noise"):
            mll(model(*model.train_inputs), model.train_targets)
    assert [warning.category for warning in caught] == [NumericalWarning] * tries
    model.likelihood.noise_covar.noise = noises(20)
    assert torch.isfinite(mll(model(*model.train_inputs), model.train_targets))  # it goes on


@pytest.mark.usefixtures("no_fallback")
def test_jitter_only_where_a_batch_needs_it():
    two = torch.Size([2])
    X, y = data(n=20, batch=two)
    X[1, 10:] = X[1, :10]
    model = GP(X, y, FixedNoiseGaussianLikelihood(torch.full((2, 20), 0.1, dtype=torch.float64)), RBFKernel(ard_num_dims=3))
    model.likelihood.noise_covar.noise = torch.tensor([0.1, 0.0], dtype=torch.float64)[:, None].repeat(1, 20)
    with pytest.warns(NumericalWarning):
        value, _ = value_and_gradients(ExactMarginalLogLikelihood, model)
    alone = GP(
        X[0], y[0], FixedNoiseGaussianLikelihood(torch.full((20,), 0.1, dtype=torch.float64)), RBFKernel(ard_num_dims=3)
    )
    expected, _ = value_and_gradients(ExactMarginalLogLikelihood, alone)
    assert value[0] == expected


# Autograd


def test_no_second_derivative_by_mistake():
    model = make(RBFKernel(ard_num_dims=3, lengthscale_prior=GammaPrior(3.0, 6.0)))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    raw = model.covar_module.raw_lengthscale
    value = mll(model(*model.train_inputs), model.train_targets)
    (gradient,) = torch.autograd.grad(value, raw, create_graph=True)
    expected = value_and_gradients(GPYTORCHS, model)[1]["covar_module.raw_lengthscale"]
    assert_close(gradient.detach(), expected, 1e-8)
    with pytest.raises(RuntimeError, match=r"first derivatives.*gpytorch\.mlls\.ExactMarginalLogLikelihood"):
        gradient.sum().backward()
    with pytest.raises(RuntimeError, match="first derivatives"):
        torch.autograd.functional.hessian(lambda y: mll(model(*model.train_inputs), y), model.train_targets)


def test_gradients_off_then_on():
    """The output remembers how it was made; GPyTorch's own code knows what to do."""
    model = make(RBFKernel(ard_num_dims=3))
    with torch.no_grad():
        output = model(*model.train_inputs)
    values = [
        mll_class(model.likelihood, model)(output, model.train_targets)
        for mll_class in (ExactMarginalLogLikelihood, GPYTORCHS)
    ]
    assert torch.equal(*values)


# State


def test_copies_leave_the_buffer_behind():
    model = make(RBFKernel(ard_num_dims=3), n=300)
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    keys = list(GPYTORCHS(model.likelihood, model).state_dict())
    assert len(pickle.dumps(mll.__dict__.get("_fastard"))) < 100
    before = mll(model(*model.train_inputs), model.train_targets)
    assert list(mll.state_dict()) == keys
    assert mll.__dict__["_fastard"].workspaces
    for clone in (copy.deepcopy(mll), pickle.loads(pickle.dumps(mll))):
        assert not clone.__dict__["_fastard"].workspaces
        assert torch.equal(clone(clone.model(*clone.model.train_inputs), clone.model.train_targets), before)


def test_the_buffer_is_given_back_after_training():
    model = make(RBFKernel(ard_num_dims=3))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    value = mll(model(*model.train_inputs), model.train_targets)
    assert mll.eval() is mll
    assert "_fastard" not in mll.__dict__
    assert mll.train() is mll
    assert torch.equal(mll(model(*model.train_inputs), model.train_targets), value)


@pytest.mark.usefixtures("no_fallback")
def test_inputs_may_change_between_evaluations():
    model = make(ScaleKernel(RBFKernel(ard_num_dims=3)))
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    mll(model(*model.train_inputs), model.train_targets)
    model.train_inputs[0][5] += 0.3  # in place
    for change in (lambda: None, lambda: model.set_train_data(*data(n=25), strict=False)):
        change()
        value = mll(model(*model.train_inputs), model.train_targets)
        assert_close(value, value_and_gradients(GPYTORCHS, model)[0], 1e-12)


def test_shared_by_threads():
    models = [make(RBFKernel(ard_num_dims=3), n=60 + i) for i in range(2)]
    mll = ExactMarginalLogLikelihood(models[0].likelihood, models[0])
    expected = [value_and_gradients(GPYTORCHS, model)[0] for model in models]
    wrong = []

    def work(model, value):
        for _ in range(20):
            try:
                assert_close(mll(model(*model.train_inputs), model.train_targets), value, 1e-10)
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(models, expected, strict=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_arguments_are_unchanged():
    model = make(ScaleKernel(RBFKernel(ard_num_dims=3)))
    before = copy.deepcopy(model.state_dict()), model.train_inputs[0].clone(), model.train_targets.clone()
    value_and_gradients(ExactMarginalLogLikelihood, model)
    explain(model)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before[0].values(), strict=True))
    assert torch.equal(model.train_inputs[0], before[1])
    assert torch.equal(model.train_targets, before[2])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_prediction_is_gpytorchs():
    model = make(ScaleKernel(RBFKernel(ard_num_dims=3)))
    expected = copy.deepcopy(model).eval()(data(seed=1)[0])
    value_and_gradients(ExactMarginalLogLikelihood, model)
    posterior = model.eval()(data(seed=1)[0])
    assert torch.equal(posterior.mean, expected.mean)
    assert torch.equal(posterior.variance, expected.variance)


@pytest.mark.usefixtures("several_blas_threads", "several_torch_threads")
def test_threads_are_our_own_matter(monkeypatch):
    """A limit on BLAS's threads, as BoTorch sets it around SciPy's optimiser, is none on ours."""
    used = []
    evaluate = fastard.gpytorch.mll.evaluate
    monkeypatch.setattr(
        fastard.gpytorch.mll,
        "evaluate",
        lambda *args, **options: used.append(options["threads"]) or evaluate(*args, **options),
    )
    model = make(RBFKernel(ard_num_dims=3))
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        value_and_gradients(ExactMarginalLogLikelihood, model)
    assert used == [fastard._numba.threads.default_threads()]
    assert torch.get_num_threads() == before


# The context manager


def test_patched():
    model = make(ScaleKernel(RBFKernel(ard_num_dims=3)))
    models = gpytorch.models.IndependentModelList(model, make(MaternKernel(ard_num_dims=3)))
    mll = gpytorch.mlls.SumMarginalLogLikelihood(models.likelihood, models)
    expected = mll(models(*models.train_inputs), models.train_targets)
    plain = GPYTORCHS.forward
    with patched():
        assert GPYTORCHS.forward is not plain
        value = mll(models(*models.train_inputs), models.train_targets)
        with patched():
            pass
        assert all("_fastard" in part.__dict__ for part in mll.mlls)
        own, _ = value_and_gradients(ExactMarginalLogLikelihood, make(PeriodicKernel()))  # no endless recursion
        assert torch.isfinite(own)
        assert GPYTORCHS.forward is not plain
    assert GPYTORCHS.forward is plain
    assert_close(value, expected, 1e-8)
    with contextlib.suppress(ZeroDivisionError), patched():
        raise ZeroDivisionError
    assert GPYTORCHS.forward is plain


# Importing


def test_importing_fastard_imports_no_torch():
    assert run_python("import fastard, sys; print('torch' in sys.modules, 'gpytorch' in sys.modules)") == "False False\n"


def test_without_gpytorch_the_remedy_is_named():
    script = """
import sys
sys.modules["gpytorch"] = None
try:
    import fastard.gpytorch
except ImportError as error:
    print(error)
"""
    assert "pip install 'fastard[torch]'" in run_python(script)


def test_importing_the_door_changes_nothing_global():
    script = """
import os, random, sys, warnings
import numpy as np, torch, gpytorch
def state():
    return (torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.random.get_rng_state().tolist(), np.geterr(), list(warnings.filters), dict(os.environ),
            gpytorch.mlls.ExactMarginalLogLikelihood.forward, gpytorch.settings.max_cholesky_size.value())
import fastard
before = state()
import fastard.gpytorch
print(state() == before)
"""
    assert run_python(script, OMP_NUM_THREADS="3") == "True\n"


def test_agrees_with_the_library():
    """The data term over n is fastard's log marginal likelihood over n."""
    model = make(ScaleKernel(MaternKernel(ard_num_dims=3)))
    value, _ = value_and_gradients(ExactMarginalLogLikelihood, model)
    with torch.no_grad():
        expected = fastard.log_marginal_likelihood(
            model.train_inputs[0].numpy(),
            (model.train_targets - model.mean_module(model.train_inputs[0])).numpy(),
            length_scale=model.covar_module.base_kernel.lengthscale[0].numpy(),
            signal_variance=model.covar_module.outputscale.item(),
            noise_variance=model.likelihood.noise.item(),
            kernel="matern52",
        )
    np.testing.assert_allclose(value.item(), expected / 40, rtol=1e-13)
