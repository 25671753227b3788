"""
Bayesian optimisation with BoTorch, before and after
====================================================

The same loop twice: as BoTorch has it, and inside ``fastard.gpytorch.patched()``, where the models are fitted by fastard.
Nothing else changes. (Needs ``pip install 'fastard[torch]' botorch``.)
"""

import contextlib
import logging

import matplotlib.pyplot as plt
import numpy as np
import torch
from botorch import fit_gpytorch_mll, settings
from botorch.acquisition import LogExpectedImprovement
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.test_functions import Branin
from gpytorch.mlls import ExactMarginalLogLikelihood

import fastard.gpytorch

plt.style.use("tableau-colorblind10")
settings.log_level(logging.ERROR)
torch.set_default_dtype(torch.float64)

function = Branin(negate=True)
bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]])


def value(X):
    """Of points in the unit square."""
    low, high = function.bounds
    return function(low + (high - low) * X).unsqueeze(-1)


# %%
# One step: fit a model to what is known, and evaluate where the expected improvement is greatest.


def optimise(steps, seed):
    torch.manual_seed(seed)
    X = torch.rand(6, 2)
    Y = value(X)
    for _ in range(steps):
        model = SingleTaskGP(X, Y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        acquisition = LogExpectedImprovement(model, best_f=Y.max())
        candidate, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=4, raw_samples=64)
        X, Y = torch.cat([X, candidate]), torch.cat([Y, value(candidate)])
    return X, (function.optimal_value - Y.squeeze(-1).cummax(0).values).numpy()


# %%
# Which code will fit such a model, ``explain`` says:

X = torch.rand(6, 2)
print(fastard.gpytorch.explain(SingleTaskGP(X, value(X))))

found = {}
for name, context in {"BoTorch": contextlib.nullcontext(), "fastard inside": fastard.gpytorch.patched()}.items():
    with context:
        found[name] = optimise(steps=16, seed=1)
    print(f"{name:15} regret {found[name][1][-1]:.1e}")

# %%
# Both find the optimum. The paths part where two candidates are as good as each other to the last digits.

fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.6), layout="constrained")
grid = torch.linspace(0.0, 1.0, 80)
surface = value(torch.cartesian_prod(grid, grid)).reshape(80, 80).T
left.contourf(grid, grid, np.log10(0.4 - surface.numpy()), levels=20, cmap="cividis")
for (name, (X, regret)), color, size in zip(found.items(), ["C1", "white"], [9, 4], strict=True):
    left.plot(*X.T, "o", markersize=size, color=color)
    right.plot(
        np.arange(1, len(regret) + 1),
        np.maximum(regret, 1e-9),
        "o-",
        markersize=size,
        color="C0" if color == "white" else color,
        label=name,
    )
left.set(xlabel="$x_1$, scaled", ylabel="$x_2$, scaled", title="points evaluated: orange BoTorch, white fastard")
right.axvline(6, color="C3", linewidth=1)
right.set(xlabel="evaluations of the function", ylabel="regret", yscale="log", title="best so far")
right.legend(frameon=False)
plt.show()
