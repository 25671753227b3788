"""What the cells of a column are: numbers, or what stands in their place; one message says it of all columns."""

import math
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._cli.formats import (
    Record,
    TableError,
    has_fortran_exponent,
    has_thousands,
    is_missing,
    number,
    resembles_number,
)
from fastard._text import are_categories, has_decimal_comma, is_date, listed, quoted, shortened

_AMBIGUOUS_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")

_DATES = "write dates as 2024-05-31, and times of the day as numbers"  # the remedy

# A number with something behind it, 1.344 m/s or 5%, that is no date, time or range
_WITH_UNIT = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*[^\s\d.,:;/_+-].*")

_WITHOUT_UNITS = "write the numbers alone, without what stands behind them (a unit, say)"


class Column(NamedTuple):
    """The cells of one column; rows are counted from 0."""

    name: str
    values: Array  # (n,), NaN where there is no number
    missing: list[int]  # rows
    wrong: list[int]  # rows of what is neither a number nor missing
    with_comma: list[int]
    with_point: int | None  # the first such row


def read_column(name: str, cells: Sequence[str]) -> Column:
    """Cells as numbers, with decimal points or commas."""
    column = Column(name, np.full(len(cells), np.nan), [], [], [], None)
    with_point = None
    for row, cell in enumerate(cells):
        value = number(cell)
        if value is None and has_decimal_comma(cell):
            column.with_comma.append(row)
            value = float(cell.replace(",", "."))
        elif with_point is None and "." in cell:
            with_point = row
        if value is not None and math.isfinite(value):
            column.values[row] = value
        elif not cell.strip() or is_missing(cell):
            column.missing.append(row)
        else:
            column.wrong.append(row)
    return column._replace(with_point=with_point)


def complete_rows(path: str, columns: list[Column], n: int, notes: list[str]) -> NDArray[np.bool_]:
    """Rows that lack no value, (n,); says how many are left out."""
    lacking = np.zeros(n, dtype=np.bool_)
    for column in columns:
        lacking[column.missing] = True
    if lacking.all():
        emptiest = max(columns, key=lambda column: len(column.missing))
        raise TableError(
            f"{path}: no row is complete; column {quoted(emptiest.name)} lacks {len(emptiest.missing)} of {n} values; fill "
            "such columns, or leave them out"
        )
    if lacking.any():
        names = listed([quoted(column.name) for column in columns if column.missing])
        notes.append(f"{np.count_nonzero(lacking)} of {n} rows are left out, which lack a value (of {names})")
    return ~lacking


def check_numbers(
    path: str, body: list[Record], columns: list[tuple[int, Column]], rows: NDArray[np.bool_], needed: Sequence[str]
) -> None:
    """Refuse columns, each with its place in the records, that are not all numbers in the ``rows`` (n,).

    One message names them all. Those of the names ``needed`` cannot be left out.
    """
    bad = []
    for place, column in columns:
        kept = [row for row in (*column.missing, *column.wrong) if rows[row]]
        if kept:
            bad.append((place, column, min(kept)))
    if not bad:
        return
    place, column, row = min(bad, key=lambda entry: (entry[2], entry[0]))
    first = body[row].cells[place]
    if len(bad) == 1 or (number(first) is None and resembles_number(first)):  # else what is wrong is how numbers are written
        texts = [body[row].cells[place].strip() for row in column.wrong]
        what = "units" if texts and _have_units(texts) else "text" if _is_text(column, body) else "numbers"
        complaint = _complaint(first, column, column.name not in needed, what)
        raise TableError(f"{path}, line {body[row].line}, column {quoted(column.name)}: {complaint}")
    told = [f"{quoted(column.name)} {_troubles(column, body, place)}" for place, column, _ in bad]
    remedies = []
    others = [
        column.name for _, column, _ in bad if column.name not in needed and (column.wrong or len(column.missing) == len(body))
    ]
    if any(column.wrong for _, column, _ in bad):
        remedies.append(_remedy([(column, body, place) for place, column, _ in bad if column.name not in needed]))
    if others:
        remedies.append(f"leave columns out: --ignore {_shell(others)}")
    if any(0 < len(column.missing) < len(body) for _, column, _ in bad):
        remedies.append("leave rows out that lack a value: --drop-missing")
    raise TableError(f"{path}: {len(bad)} columns are not all numbers: {listed(told)}; {'; or '.join(remedies)}")


def check_decimal_commas(path: str, body: list[Record], columns: list[tuple[int, Column]]) -> None:
    """Refuse commas that may be anything else."""
    with_comma = sorted((row, place) for place, column in columns for row in column.with_comma)
    points = [(column.with_point, place) for place, column in columns if column.with_point is not None]
    if not with_comma:
        return

    def cell(row: int, place: int) -> tuple[int, str]:
        return body[row].line, body[row].cells[place].strip()

    line, text = cell(*with_comma[0])
    if points:
        other_line, other = cell(*min(points))
        raise TableError(
            f"{path}, line {line}: {quoted(text)} has a comma, and line {other_line} has {quoted(other)}; "
            "write all numbers with a decimal point and without separators of thousands"
        )
    if all(_AMBIGUOUS_THOUSANDS.fullmatch(cell(*place)[1]) for place in with_comma):
        raise TableError(
            f"{path}, line {line}: {quoted(text)} has a comma that may be decimal or a separator of thousands; "
            "write numbers with a decimal point and without separators of thousands"
        )


def contents(column: Column, body: list[Record], place: int) -> str:
    """What a column holds, in words."""
    if column.wrong or len(column.missing) == len(body):
        return _troubles(column, body, place)
    least, most = float(np.nanmin(column.values)), float(np.nanmax(column.values))
    numbers = f"holds numbers, {least:.4g} to {most:.4g}" if least < most else f"holds {least:.4g} only"
    return f"{numbers}; {_troubles(column, body, place)}" if column.missing else numbers


def _troubles(column: Column, body: list[Record], place: int) -> str:
    """What of it is no number."""
    n, lacking = len(body), len(column.missing)
    parts = [_of_wrong(column, body, place)] if column.wrong else []
    if lacking:
        first = body[column.missing[0]].line
        parts.append(f"lacks {lacking} of {n} values (the first in line {first})" if lacking < n else "is empty")
    return " and ".join(parts)


def _of_wrong(column: Column, body: list[Record], place: int) -> str:
    texts = [body[row].cells[place].strip() for row in column.wrong]
    distinct = list(dict.fromkeys(texts))
    where = f"{quoted(texts[0])} in line {body[column.wrong[0]].line}"
    if len(texts) + len(column.missing) < len(body):
        return f"holds {len(texts)} cells that are no numbers ({where})"
    if all(map(is_date, texts)):
        return f"holds dates or times ({where})"
    if any(map(resembles_number, distinct)):
        return f"holds numbers in another form ({where})"
    if _have_units(texts):
        return f"holds numbers with something behind them ({where})"
    if holds_categories(texts):
        return f"holds {len(distinct)} categories ({', '.join(map(shortened, distinct[:4]))}{', ...' * (len(distinct) > 4)})"
    return f"holds text ({where})"


def check_target(path: str, column: Column, body: list[Record], place: int) -> None:
    """Refuse text, of which nothing can be made that regression takes."""
    texts = [body[row].cells[place].strip() for row in column.wrong]
    if texts and _is_text(column, body) and not any(is_date(text) or resembles_number(text) for text in texts):
        remedy = _WITHOUT_UNITS if _have_units(texts) else "this is regression; name another column by --target"
        raise TableError(
            f"{path}: the target must be numbers, and {quoted(column.name)} {_troubles(column, body, place)}; {remedy}"
        )


def _have_units(texts: list[str]) -> bool:
    return all(_WITH_UNIT.fullmatch(text) for text in texts)


def holds_categories(texts: list[str]) -> bool:
    """Whether they are few, and some of them more than once; and no numbers, nor dates."""
    return are_categories(texts) and not any(resembles_number(text) or is_date(text) for text in set(texts))


def _remedy(columns: list[tuple[Column, list[Record], int]]) -> str:
    """What may be done about text."""
    dates, units, categories = False, False, []
    for column, body, place in columns:
        texts = [body[row].cells[place].strip() for row in column.wrong]
        if any(map(is_date, texts)):
            dates = True
        elif _have_units(texts):
            units = True
        elif len(set(texts)) < len(texts) and _is_text(column, body):
            categories.append(column.name)
    remedies = [_DATES] * dates + [_WITHOUT_UNITS] * units
    remedies += [f"declare categories: --categorical {_shell(categories, ' --categorical ')}"] if categories else []
    return "; or ".join(remedies or ["make text numbers"])


def _shell(names: list[str], option: str = " --ignore ") -> str:
    """As the shell takes them, for a command line that is to be copied."""
    if any("," in name for name in names):
        return option.join(shlex.quote(shortened(name)) for name in names)
    return shlex.quote(",".join(map(shortened, names)))


def _complaint(cell: str, column: Column, may_be_ignored: bool, what: str) -> str:
    """Of a column that holds "numbers", "text" or numbers with "units"."""
    text, shown = cell.strip(), quoted(cell.strip())
    drop = "drop or impute such rows; --drop-missing drops them"
    if not text:
        return f"the cell is empty; {drop}"
    if is_missing(cell):
        return f"{shown} stands for a missing value; {drop}"
    if number(cell) is not None:
        return f"{shown} is not finite; drop or impute such rows"
    if has_thousands(cell):
        return f"{shown} is not a number; write it without separators of thousands"
    if has_fortran_exponent(cell):
        return f"{shown} is not a number; write its exponent with E in the place of D"
    ignore = f", or leave the column out: --ignore {_shell([column.name])}" if may_be_ignored else ""
    remedy = "make it one"
    if is_date(text):
        remedy = f"{_DATES}, or declare categories: --categorical {_shell([column.name])}" if may_be_ignored else _DATES
    elif what == "units":
        remedy = _WITHOUT_UNITS
    elif may_be_ignored and what == "text":
        remedy = f"declare its column's entries categories: --categorical {_shell([column.name])}"
    return f"{shown} is not a number; {remedy}{ignore}"


def _is_text(column: Column, body: list[Record]) -> bool:
    """Whether none of its cells is a number."""
    return len(column.wrong) + len(column.missing) == len(body)
