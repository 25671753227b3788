"""A model as HTML, for notebooks: its parameters, and its inputs by relevance."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_MOST_ROWS = 30


def table(model: Any) -> str:
    """What ``model._repr_html_()`` returns."""
    n, d = model._X.shape
    relevance, names = model.relevance, model.input_names
    order = np.argsort(-relevance, kind="stable")[:_MOST_ROWS]
    facts = [
        ("kernel", repr(model.kernel)),
        ("trained on", f"{n} points in {d} dimensions"),
        ("signal variance", f"{model.signal_variance:.4g}"),
        ("noise variance", f"{model.noise_variance:.4g}"),
        ("log marginal likelihood", f"{model.log_marginal_likelihood:.6g}"),
        ("search", "converged" if model.converged else f"not converged: {model.message}"),
    ]
    inputs = [(names[i], f"{model.length_scale[i]:.4g}", f"{relevance[i]:.3f}") for i in order]
    rest = f"<p>and {d - order.size} less relevant inputs</p>" if order.size < d else ""
    tables = _rows(facts, ()) + _rows(inputs, ("input", "length scale", "relevance"))
    return f"<div><b>fastard.GaussianProcess</b>{tables}{rest}</div>"


def _rows(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """One table."""

    def row(cells: Iterable[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    return "<table>" + (row(header, "th") if header else "") + "".join(row(cells, "td") for cells in rows) + "</table>"
