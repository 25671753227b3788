"""The log marginal likelihood as a term of a model of PyMC's."""

try:
    from fastard.pymc.likelihood import marginal_likelihood
except ImportError as error:
    raise ImportError(f"fastard.pymc needs PyMC ({error}): pip install 'fastard[pymc]'") from error

__all__ = ["marginal_likelihood"]
