"""What do cells that are no numbers stand for? A category's level, or a date: days since the first of January 1970.

That day is where NumPy and pandas count from too, so that training and prediction agree without a file saying it.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fastard._cli.columns import Column, holds_categories
from fastard._cli.formats import Record, TableError, is_blank, is_missing, number
from fastard._text import folded, listed, quoted

_ISO = re.compile(r"\d{4}([-/])\d{2}\1\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")

_ORIGIN = datetime(1970, 1, 1)

EPOCH = "1970-01-01"


def with_days(column: Column, cells: Sequence[str]) -> Column | None:
    """The column with numbers of days for dates in the form of ISO 8601, and what are none left as wrong.

    None where there are no such dates, or numbers beside them.
    """
    if len(column.wrong) + len(column.missing) < len(cells):
        return None
    found = {row: _moment(cells[row].strip()) for row in column.wrong}
    moments = {row: moment for row, moment in found.items() if moment is not None}
    if not moments:
        return None
    has_zone = next(iter(moments.values())).tzinfo is not None
    wrong, values = [], column.values.copy()
    for row in column.wrong:
        moment = moments.get(row)
        if moment is None or (moment.tzinfo is not None) != has_zone:
            wrong.append(row)
        else:
            values[row] = (moment - (_ORIGIN.replace(tzinfo=UTC) if has_zone else _ORIGIN)) / timedelta(days=1)
    return column._replace(values=values, wrong=wrong)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("/", "-")) if _ISO.fullmatch(text) else None
    except ValueError:  # the 31st of February
        return None


def is_category(column: Column, cells: Sequence[str]) -> bool:
    """Whether it holds nothing but a few texts, again and again."""
    texts = [cells[row].strip() for row in column.wrong]
    return bool(texts) and len(texts) + len(column.missing) == len(cells) and holds_categories(texts)


def entries_of(column: Column, cells: Sequence[str]) -> tuple[Column, list[Any]]:
    """Of a category its level in each row: numbers if all are, otherwise text; and the column, of which no cell is wrong."""
    missing = set(column.missing)
    numbers = [None if row in missing else number(cell) for row, cell in enumerate(cells)]
    if all(row in missing or (value is not None and math.isfinite(value)) for row, value in enumerate(numbers)):
        entries: list[Any] = [int(value) if value is not None and value.is_integer() else value for value in numbers]
    else:
        entries = [None if row in missing else folded(cell) for row, cell in enumerate(cells)]
    return _without_troubles(column), entries


def known_entries(
    path: str, body: list[Record], place: int, column: Column, levels: tuple[Any, ...]
) -> tuple[Column, list[Any]]:
    """Of a category that a model knows the level in each row; refuses others."""
    level_of = _finder(levels)
    entries = [level_of(record.cells[place]) for record in body]
    unknown = [row for row, record in enumerate(body) if entries[row] is None and not _is_lacking(record.cells[place])]
    if unknown:
        cell, count = body[unknown[0]].cells[place].strip(), len(unknown)
        raise TableError(
            f"{path}, line {body[unknown[0]].line}, column {quoted(column.name)}: {quoted(cell)} is a category that the model "
            f"was not trained with{f' ({count} such rows)' if count > 1 else ''}; it knows "
            f"{listed([quoted(str(level)) for level in levels])}; take such rows out, or train with some"
        )
    lacking = [row for row, entry in enumerate(entries) if entry is None]
    return _without_troubles(column)._replace(missing=lacking), entries


def _finder(levels: tuple[Any, ...]) -> Callable[[str], Any]:
    """From a cell to the level that it is, or None."""
    by_text = {folded(str(level)): level for level in levels}
    by_number = {level: level for level in levels if not isinstance(level, str)}

    def find(cell: str) -> Any:
        text = folded(cell)
        return by_text[text] if text in by_text else by_number.get(number(cell))

    return find


def _is_lacking(cell: str) -> bool:
    return is_blank(cell) or is_missing(cell)


def _without_troubles(column: Column) -> Column:
    return column._replace(wrong=[], with_comma=[], with_point=None)
