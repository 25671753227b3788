"""What a study leaves in files: its numbers as JSON, its relevances as a chart, the model itself."""

import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastard._cli.kinds import EPOCH
from fastard._cli.study import Study
from fastard._config import versions
from fastard._files import replace_file
from fastard._model import plots
from fastard._model.gaussian_process import GaussianProcess
from fastard._progress import note


class ExportError(ValueError):
    """A file cannot be written; the message is one line and names it."""


def _format(path: str) -> str:
    return Path(path).suffix[1:].lower()


def check_destination(path: str | None, data: str, *, what: str = "data", is_chart: bool = False) -> None:
    """Refuse before training what would fail after it, or replace the file ``data``, which is the data or what it is."""
    if path is None:
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from None
    if mode is not None and stat.S_ISDIR(mode):
        raise ExportError(f"{path}: is a folder")
    if mode is None or stat.S_ISREG(mode):
        folder = (Path(path).resolve() if Path(path).is_symlink() else Path(path)).parent
        if not folder.is_dir():
            raise ExportError(f"{path}: no folder {folder}")
        if not os.access(folder, os.W_OK) or not (mode is None or os.access(path, os.W_OK)):
            raise ExportError(f"{path}: may not be written")
        if mode is not None and os.path.exists(data) and os.path.samefile(path, data):
            raise ExportError(f"{path}: is the {what}; give another name")
    if is_chart:
        check_matplotlib("--plot")
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        formats = FigureCanvasAgg.get_supported_filetypes()
        if _format(path) not in formats:
            raise ExportError(f"{path}: the name must end in one of .{', .'.join(sorted(formats))}")


def check_matplotlib(option: str) -> None:
    """Refuse an option that draws where nothing can."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ExportError(f"{option} needs matplotlib: pip install 'fastard[cli]'") from None


def write_json(study: Study, path: str) -> None:
    """Hyperparameters, metrics and versions; a number that is not finite becomes null."""
    model, data, held_out = study.model, study.training, study.held_out
    order = study.by_relevance
    document: dict[str, Any] = {
        "kernel": study.kernel_name,
        "shape": list(model.kernel),
        "target": data.target_name,
        "target_mean": float(data.y.mean()),
        "mean": _mean(study),
        "n_training_rows": int(data.y.size),
        "feature_names": data.input_names,
        **_columns(study),
        "length_scale": model.length_scale.tolist(),
        "relevance": model.relevance.tolist(),
        "features_by_relevance": [data.input_names[i] for i in order],
        "signal_variance": model.signal_variance,
        "noise_variance": model.noise_variance,
        **_likelihood(study),
        "held_out": vars(held_out) if held_out is not None else None,
        "n_evaluations": model.n_evaluations,
        "converged": model.converged,
        "message": model.message,
        "seconds": study.seconds,
        "seconds_include_compilation": study.includes_compilation,
        "versions": versions(),
    }
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # JSON's own escapes for what a terminal would obey or hide
    text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    write(path, lambda file: file.write(text.encode()))


def _columns(study: Study) -> dict[str, Any]:
    """Which inputs are categories, and of which levels; which are periodic; and what numbers dates have become."""
    kinds = study.model._encoding.kinds if study.model._encoding is not None else ()
    named = list(zip(study.training.input_names, kinds, strict=False))
    return {
        "categorical": {name: list(kind) for name, kind in named if isinstance(kind, tuple)},
        "periodic": {name: kind for name, kind in named if isinstance(kind, float)},
        "dates": dict.fromkeys(study.training.date_names, f"days since {EPOCH}"),
    }


def _mean(study: Study) -> Any:
    """Its name, and the coefficients of one that has some."""
    model, found = study.model, study.coefficients
    if isinstance(model, GaussianProcess) and found is not None:
        columns = {"basis": found.names, "coefficients": found.coefficients, "standard_errors": found.standard_errors}
        return {"kind": model._settings["mean"], "estimation": model._mean_estimation, **columns}
    return {"kind": model._settings.get("mean", "constant") if isinstance(model, GaussianProcess) else "constant"}


def _likelihood(study: Study) -> dict[str, Any]:
    """Of an approximate training what it maximised, and what is lost."""
    model, lost = study.model, study.accuracy
    if isinstance(model, GaussianProcess):
        return {"log_marginal_likelihood": model.log_marginal_likelihood}
    assert lost is not None
    return {
        "vecchia_log_likelihood": model.log_likelihood,
        "neighbors": model.neighbors,
        "block_size": model.block_size,
        "accuracy": {
            "neighbors": list(lost.neighbors),
            "nats_lost_per_row": lost.nats_lost.tolist(),
            "nats_lost_per_row_error": lost.nats_lost_error.tolist(),
            "parameters": lost.names,
            "shift_in_standard_errors": lost.shift.tolist(),
        },
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_chart(study: Study, path: str) -> None:
    """A bar for each input's relevance, the most relevant on top, in the format that the path's suffix names."""
    from matplotlib.figure import Figure  # without pyplot: no display, and nobody's backend is changed

    inputs = study.summary.inputs
    figure = Figure(figsize=(6.4, plots.relevance_height(len(inputs))), layout="constrained")
    plots.draw_relevance(figure.add_subplot(), study.model, inputs)
    write(path, lambda file: figure.savefig(file, format=_format(path), dpi=150))


def save_model(study: Study, path: str) -> None:
    """For ``fastard predict`` and ``fastard.load``."""
    study.model.save(path)
    tell_written(path)


def write(path: str, write_to: Callable[[BinaryIO], object]) -> None:
    """A file whole or not at all; says so."""
    replace_file(path, write_to)
    tell_written(path)


def tell_written(path: str) -> None:
    """Which file has been written."""
    note(f"fastard: wrote {path}")
