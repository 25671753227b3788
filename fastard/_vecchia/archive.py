"""A trained model of many points as an archive of arrays: as an exact one's, with the blocks in the place of the factor."""

from __future__ import annotations

import os
from typing import Any

from fastard._model.archive import write

FORMAT, VERSION = "fastard Vecchia model", 1

IN_HEADER = (
    "signal_variance", "noise_variance", "log_likelihood", "objective", "n_evaluations", "converged", "message",
    "feature_names", "target_names",
)  # fmt: skip


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the model; X and y in the order of the blocks."""
    likelihood = model._likelihood
    blocks = likelihood.blocks
    header = {"format": FORMAT, "version": VERSION, **{name: getattr(model, name) for name in IN_HEADER}}
    header |= {"neighbors": likelihood.neighbors, "block_size": likelihood.block_size}
    arrays = {
        "length_scale": model.length_scale,
        "X": likelihood.X,
        "y": likelihood.y,
        "y_mean": model._y_mean,
        "slots": model._slots,
        "order": blocks.order,
        "starts": blocks.starts,
        "neighbors": blocks.neighbors,
    }
    if likelihood.observation_variance is not None:
        arrays["observation_variance"] = likelihood.observation_variance
    write(path, model.kernel, header, arrays)
