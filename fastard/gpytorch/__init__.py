"""Drop-in replacements for GPyTorch's exact marginal log likelihood, and for BoTorch's fits.

What GPyTorch does not hand over stays its own: means, input transforms, constraints, priors, added loss terms, predictions.
"""

try:
    from fastard.gpytorch.explanation import explain
    from fastard.gpytorch.fitting import fit_gpytorch_mll
    from fastard.gpytorch.fully_bayesian import fit_fully_bayesian_model_nuts
    from fastard.gpytorch.mll import ExactMarginalLogLikelihood
    from fastard.gpytorch.patching import patched
except ImportError as error:
    raise ImportError(f"fastard.gpytorch needs PyTorch and GPyTorch ({error}): pip install 'fastard[torch]'") from error

__all__ = ["ExactMarginalLogLikelihood", "explain", "fit_fully_bayesian_model_nuts", "fit_gpytorch_mll", "patched"]

ExactMarginalLogLikelihood.__module__ = __name__  # where pickles find it
