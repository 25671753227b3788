"""The same evaluation in other libraries, each the way its documentation trains a model, told to be exact and float64.

As in implementations.py: a problem in, ``evaluate() -> (value, gradient)`` out, in fastard's order. RBF kernel only.
"""

from itertools import cycle

import numpy as np

from benchmarks.implementations import Evaluate
from benchmarks.problems import Problem


def tinygp(problem: Problem) -> Evaluate:
    """Compiled by JAX, derivative and all; the data are arguments, lest the compiler fold them in."""
    import jax
    import jax.numpy as jnp
    from tinygp import GaussianProcess, kernels, transforms

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    d = problem.X.shape[1]

    @jax.jit
    @jax.value_and_grad
    def value_and_gradient(theta, X, y):
        kernel = jnp.exp(theta[d]) * transforms.Linear(jnp.exp(-theta[:d]), kernels.ExpSquared())
        return GaussianProcess(kernel, X, diag=jnp.exp(theta[d + 1])).log_probability(y)

    arguments = [jnp.asarray(array) for array in (problem.theta, problem.X, problem.y)]

    def evaluate():
        value, gradient = value_and_gradient(*arguments)
        return float(value), np.asarray(gradient)

    return evaluate


def gpytorch(problem: Problem) -> Evaluate:
    """A Cholesky factor at every size: from 800 points on GPyTorch's default is a stochastic estimate."""
    import gpytorch
    import torch

    scales, signal, noise, _ = problem.natural
    X, y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)

    class Model(gpytorch.models.ExactGP):
        def __init__(self, likelihood):
            super().__init__(X, y, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=X.shape[1]))

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Model(likelihood).double()
    kernel = model.covar_module
    kernel.base_kernel.lengthscale, kernel.outputscale, likelihood.noise = scales, signal, noise
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    raw = [kernel.base_kernel.raw_lengthscale, kernel.raw_outputscale, likelihood.noise_covar.raw_noise]
    # d/d ln p = p (dp/draw)^-1 d/draw, and softplus has the derivative sigmoid.
    to_logarithm = np.exp(problem.theta) / np.concatenate([torch.sigmoid(r.detach()).numpy().ravel() for r in raw])
    n = problem.y.size
    model.train()

    def evaluate():
        model.zero_grad(set_to_none=True)
        with gpytorch.settings.fast_computations(covar_root_decomposition=False, log_prob=False, solves=False):
            value = n * marginal(model(X), y)
            value.backward()
        return value.item(), np.concatenate([r.grad.numpy().ravel() for r in raw]) * to_logarithm

    return evaluate


def gpy(problem: Problem) -> Evaluate:
    """A GPRegression with its Cython loops; it adds 1e-8 to the diagonal."""
    import GPy

    d = problem.X.shape[1]
    model = GPy.models.GPRegression(problem.X, problem.y[:, None], GPy.kern.RBF(d, ARD=True))
    scales, signal, noise, _ = problem.natural
    values = np.concatenate([[signal], scales, [noise]])
    # GPy keeps what it computed until a parameter changes.
    turn = cycle([values, values * (1.0 + 1e-14)])

    def evaluate():
        model[:] = next(turn)
        gradient = values * model.gradient
        return float(model.log_likelihood()), np.concatenate([gradient[1 : d + 1], gradient[:1], gradient[d + 1 :]])

    return evaluate


def george(problem: Problem) -> Evaluate:
    """The basic solver, george's exact and default one."""
    import george

    d = problem.X.shape[1]
    scales, signal, noise, _ = problem.natural
    kernel = signal * george.kernels.ExpSquaredKernel(metric=scales**2, ndim=d)
    process = george.GP(kernel, white_noise=np.log(noise), fit_white_noise=True)
    process.compute(problem.X)
    vector = process.get_parameter_vector()
    turn = cycle([vector, vector + 1e-14])  # it, too, keeps what it computed

    def evaluate():
        process.set_parameter_vector(next(turn))
        value = process.log_likelihood(problem.y)
        noise, signal, *metric = process.grad_log_likelihood(problem.y)
        return value, np.array([*(2.0 * np.array(metric)), signal, noise])  # the metric is the squared length scale

    return evaluate


def gpflash(problem: Problem) -> Evaluate:
    """Its C++ function with the noise as a parameter, which a negative variance asks for; in inverse length scales."""
    import gpflash

    data = gpflash.TrainingData()
    data.X_ndim_ntrain_mat, data.f_train_vec, data.sig2_f_val = problem.X.T, problem.y, -1.0
    options = gpflash.ModelOptions()
    options.kernel_id, options.has_mean_model_constant = gpflash.KernelId.SqExp, False
    options.cond_max = gpflash.COND_MAX_LIMIT  # as little as can be is added to the diagonal: by default up to 1e-10 n
    scales, signal, noise, _ = problem.natural
    values = gpflash.HpVal()
    values.hp_gamma_vec, values.hp_sig2_k, values.hp_sig2_f_val = 1.0 / scales, signal, noise

    def evaluate():
        result = gpflash.eval_mll(data, values, options, return_mll_gradient=True)
        gradient = result.mll_hp_grad_struct
        of_variances = [signal * gradient.d_mll_d_hp_sig2_k, noise * gradient.d_mll_d_hp_sig2_f_val]
        return result.mll, np.array([*(-gradient.d_mll_d_hp_gamma_vec / scales), *of_variances])

    return evaluate


PEERS = {"GPy": gpy, "GPyTorch": gpytorch, "tinygp": tinygp, "george": george, "gpflash": gpflash}
