"""The draws as ArviZ has them."""

from __future__ import annotations

import warnings
from typing import Any


def to_inference_data(model: Any) -> Any:
    """See the method."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it speaks of its own future
            import arviz
    except ImportError as error:
        raise ImportError(f"to_inference_data needs ArviZ ({error}): pip install 'fastard[bayes]'") from error
    posterior = {
        "length_scale": model.length_scale,
        "signal_variance": model.signal_variance,
        "noise_variance": model.noise_variance,
        "relevance": model.relevance,
    }
    if len(model.kernel):
        posterior["shape"] = model.shape
    if model.global_scale is not None:
        posterior["global_scale"] = model.global_scale
    statistics = {"lp": model.log_posterior, "diverging": model.diverging}
    of_each = {"coords": {"input": model.input_names}, "dims": {"length_scale": ["input"], "relevance": ["input"]}}
    if hasattr(arviz, "InferenceData"):
        return arviz.from_dict(posterior=posterior, sample_stats=statistics, **of_each)
    return arviz.from_dict({"posterior": posterior, "sample_stats": statistics}, **of_each)  # from ArviZ 1 on
