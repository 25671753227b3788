"""A trained model as one of another library's, scikit-learn's or GPyTorch's, which predicts the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastard import _validation as validate
from fastard._model.sklearn_columns import column_transformer
from fastard.kernels import RBF, Matern72, RationalQuadratic


def to_sklearn(model: Any) -> Any:
    """See :meth:`fastard.GaussianProcess.to_sklearn`."""
    try:
        from sklearn.base import clone
        from sklearn.gaussian_process import GaussianProcessRegressor, kernels
        from sklearn.pipeline import Pipeline
    except ImportError:
        raise ImportError("to_sklearn needs scikit-learn: pip install 'fastard[sklearn]'") from None
    validate.constant_mean("to_sklearn", model._trend is not None)
    kind, scales, X = model.kernel, model._term.length_scale, model._X
    transformer: Any = None
    if model._encoding is not None:
        transformer, order = column_transformer(model._encoding, X, model.feature_names)
        scales, X = scales[order], X[:, order]
    n, m = model._y.shape
    y, own = model._targets, model._noise_ratio is not None
    # One output is scaled as scikit-learn does itself, so that a clone may be trained again; several share a variance.
    unit = float(np.std(y)) if m == 1 and not own and not validate.constant(y)[0] else 1.0
    base: Any
    if type(kind) is RationalQuadratic:
        scale = validate.one_length_scale(scales, "scikit-learn's RationalQuadratic")
        base = kernels.RationalQuadratic(length_scale=scale, alpha=kind.shape)
    elif type(kind) is RBF:
        base = kernels.RBF(scales.copy())
    else:
        base = kernels.Matern(scales.copy(), nu=kind.nu)
    noise = model._noise_diagonal / unit**2
    regressor = GaussianProcessRegressor(
        kernels.ConstantKernel(model._variances[0] / unit**2) * base,
        alpha=noise if np.ndim(noise) else float(noise),
        optimizer=None,
        normalize_y=m == 1 or own,
    )
    squeezed = (lambda array: array[:, 0].copy()) if m == 1 else np.copy
    regressor.kernel_ = clone(regressor.kernel)
    regressor.n_features_in_ = scales.size
    if model.feature_names is not None and transformer is None:
        regressor.feature_names_in_ = np.array(model.feature_names, dtype=object)
    regressor.X_train_ = X.copy()
    regressor.y_train_ = squeezed(model._y / unit)
    regressor._y_train_mean = float(model._y_mean[0]) if m == 1 else model._y_mean.copy()
    regressor._y_train_std = float(unit * model._units[0]) if m == 1 else model._units
    regressor.L_ = np.ascontiguousarray(np.tril(model._factor.T)) / unit
    regressor.alpha_ = squeezed(model._alpha * unit)
    in_units = n * float(np.log(unit * model._units).sum())
    regressor.log_marginal_likelihood_value_ = model.log_marginal_likelihood + in_units
    return regressor if transformer is None else Pipeline([("columns", transformer), ("regressor", regressor)])


def to_gpytorch(model: Any) -> Any:
    """See :meth:`fastard.GaussianProcess.to_gpytorch`."""
    try:
        import gpytorch
        import torch
    except ImportError:
        raise ImportError("to_gpytorch needs PyTorch and GPyTorch: pip install 'fastard[torch]'") from None
    validate.constant_mean("to_gpytorch", model._trend is not None)
    kind, (n, m) = model.kernel, model._y.shape
    validate.known_elsewhere(kind, (Matern72,), "GPyTorch")
    batch = torch.Size([] if m == 1 else [m])

    def positive() -> Any:  # of any size; GPyTorch's own noise is at least 1e-4
        return gpytorch.constraints.Positive(transform=torch.exp, inv_transform=torch.log)

    options: dict[str, Any] = {
        "ard_num_dims": model.length_scale.size,
        "batch_shape": batch,
        "lengthscale_constraint": positive(),
    }
    base: Any
    if type(kind) is RBF:
        base = gpytorch.kernels.RBFKernel(**options)
    elif type(kind) is RationalQuadratic:
        base = gpytorch.kernels.RQKernel(**options, alpha_constraint=positive())
    else:
        base = gpytorch.kernels.MaternKernel(nu=kind.nu, **options)
    kernel = gpytorch.kernels.ScaleKernel(base, batch_shape=batch, outputscale_constraint=positive()).double()
    mean = gpytorch.means.ConstantMean(batch_shape=batch).double()

    class TrainedGP(gpytorch.models.ExactGP):
        """A trained model of fastard's."""

        def __init__(self, X: Any, y: Any, likelihood: Any) -> None:
            super().__init__(X, y, likelihood)
            self.mean_module, self.covar_module = mean, kernel

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    X = torch.tensor(model._X).expand(*batch, *model._X.shape).clone()
    y = torch.tensor(np.ascontiguousarray(model._targets.T)).reshape(*batch, n)
    converted = TrainedGP(X, y, _likelihood(model, batch, positive)).double()
    with torch.no_grad():
        base.lengthscale = torch.tensor(model.length_scale)
        if type(kind) is RationalQuadratic:
            base.alpha = torch.tensor(kind.shape, dtype=torch.float64)
        kernel.outputscale = _of_batch(model.signal_variance, batch)
        mean.initialize(constant=torch.tensor(model._y_mean).reshape(batch))
    return converted.eval()


def _likelihood(model: Any, batch: Any, positive: Any) -> Any:
    """With a learned variance; beside known ones, or none, one that adds to them."""
    import gpytorch
    import torch

    noise = _of_batch(model.noise_variance, batch).unsqueeze(-1)
    known = None if model._known_variances is None else np.outer(model._units**2, model._known_variances)
    if known is None and model._variances[1] > 0.0:
        likelihood = gpytorch.likelihoods.GaussianLikelihood(batch_shape=batch, noise_constraint=positive()).double()
        with torch.no_grad():
            likelihood.noise = noise
        return likelihood
    fixed = torch.zeros(*batch, len(model._X), dtype=torch.float64)
    if known is not None:
        fixed = torch.tensor(known).reshape(fixed.shape)
    with gpytorch.settings.min_fixed_noise(double_value=0.0):
        return gpytorch.likelihoods.FixedNoiseGaussianLikelihood(noise=fixed + noise, learn_additional_noise=False).double()


def _of_batch(variance: Any, batch: Any) -> Any:
    """A number, or one for each output, of the batch's shape."""
    import torch

    values = torch.tensor(variance, dtype=torch.float64)
    return values.reshape(batch if values.numel() > 1 else []).expand(batch).clone()
