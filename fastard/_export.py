"""What a study leaves in files: its numbers as JSON, its relevances as a chart."""

import json
import math
from pathlib import Path
from typing import Any

from fastard import _plots
from fastard._config import versions
from fastard._study import Study


class ExportError(ValueError):
    """A file can not be written; the message is one line and names it."""


def check_destination(path: str | None, *, is_chart: bool = False) -> None:
    """Refuse before training what would fail after it."""
    if path is None:
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise ExportError(f"{path}: no folder {folder}")
    if Path(path).is_dir():
        raise ExportError(f"{path}: is a folder")
    if is_chart:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
        except ImportError:
            raise ExportError("--plot needs matplotlib: pip install fastard[cli]") from None
        formats = FigureCanvasAgg.get_supported_filetypes()
        if Path(path).suffix[1:].lower() not in formats:
            raise ExportError(f"{path}: the name must end in one of .{', .'.join(sorted(formats))}")


def write_json(study: Study, path: str) -> None:
    """Hyperparameters, metrics and versions; a number that is not finite becomes null."""
    model, data, held_out = study.model, study.training, study.held_out
    order = study.by_relevance
    document: dict[str, Any] = {
        "kernel": study.kernel_name,
        "shape": list(model.kernel),
        "target": data.target_name,
        "target_mean": float(data.y.mean()),
        "n_training_rows": int(data.y.size),
        "feature_names": data.input_names,
        "length_scale": model.length_scale.tolist(),
        "relevance": model.relevance.tolist(),
        "features_by_relevance": [data.input_names[i] for i in order],
        "signal_variance": model.signal_variance,
        "noise_variance": model.noise_variance,
        "log_marginal_likelihood": model.log_marginal_likelihood,
        "held_out": vars(held_out) if held_out is not None else None,
        "n_evaluations": model.n_evaluations,
        "converged": model.converged,
        "message": model.message,
        "seconds": study.seconds,
        "versions": versions(),
    }
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_chart(study: Study, path: str) -> None:
    """A bar for each input's relevance, the most relevant on top, in the format that the path's suffix names."""
    from matplotlib.figure import Figure  # without pyplot: no display, and nobody's backend is changed

    model, names = study.model, study.training.input_names
    figure = Figure(figsize=(6.4, _plots.relevance_height(len(names))), layout="constrained")
    which = _plots.draw_relevance(figure.add_subplot(), model, names)
    figure.supxlabel("relevance: standard deviation / length scale, scaled to sum 1", fontsize="medium")
    target = _plots.shortened(study.training.target_name)
    figure.suptitle(f"{target}: {which}, length scales beside their bars", fontsize="medium", parse_math=False)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from None
