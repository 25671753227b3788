"""Drop-in replacement for GPyTorch's exact marginal log likelihood, for BoTorch too; its data term is evaluated by fastard.

What GPyTorch does not hand over stays its own: means, input transforms, constraints, priors, added loss terms, predictions.
"""

try:
    from fastard.gpytorch.mll import ExactMarginalLogLikelihood
    from fastard.gpytorch.patching import patched
    from fastard.gpytorch.recognition import explain
except ImportError as error:
    raise ImportError(f"fastard.gpytorch needs PyTorch and GPyTorch ({error}): pip install 'fastard[torch]'") from error

__all__ = ["ExactMarginalLogLikelihood", "explain", "patched"]

ExactMarginalLogLikelihood.__module__ = __name__  # where pickles find it
