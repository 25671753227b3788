"""A model's summary as HTML, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


def tables(summary: Any, most: int) -> str:
    """What ``summary._repr_html_()`` returns; of inputs at most so many."""
    shown = summary.rows(most)
    left = len(summary.inputs) - len(shown)
    parts = [f"<b>{html.escape(summary.title)}</b>", _rows(summary.facts, ()), _rows(shown, summary.header)]
    parts += [f"<p>and {left} less relevant inputs</p>"] * bool(left)
    parts += [f"<p>{html.escape(summary.about_relevance)}</p>"] * bool(shown)
    parts += [f"<p>{html.escape(note)}</p>" for note in summary.notes]
    return f"<div>{''.join(parts)}</div>"


def _rows(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """One table."""

    def row(cells: Iterable[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    return "<table>" + (row(header, "th") if header else "") + "".join(row(cells, "td") for cells in rows) + "</table>"
