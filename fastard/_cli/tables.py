"""Reading a table of numbers: which columns are inputs, which the target, and where something is wrong.

Nothing is guessed that could be otherwise: what a file leaves open is an error with the remedy, and what is left out, or taken
for the names though it might be numbers, is said in a note.
"""

import difflib
import math
import re
import unicodedata
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._cli.formats import (
    Record,
    Rows,
    TableError,
    has_decimal_comma,
    has_fortran_exponent,
    has_thousands,
    is_blank,
    is_missing,
    number,
    read_rows,
    resembles_number,
)
from fastard._text import quoted, shortened

_AMBIGUOUS_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


class Dataset(NamedTuple):
    """Inputs (n, d), targets (n,), what the file calls them, and what its user is to be told of how it was read."""

    X: Array
    y: Array
    input_names: list[str]
    target_name: str
    notes: tuple[str, ...] = ()

    def rows(self, which: NDArray[np.int64]) -> "Dataset":
        """Some of the rows."""
        return self._replace(X=self.X[which], y=self.y[which])


class _Header(NamedTuple):
    """The columns' names and where they stand; None where there are none, and these are ours."""

    names: list[str]
    where: str | None


def read_dataset(path: str, target: str, header: bool | None = None) -> Dataset:
    """The table in a file of text, its delimiter a comma, semicolon, tab or blanks, in ARFF, Parquet or Excel.

    Parameters
    ----------
    path : str
    target : str
        With a header, a column's name; otherwise, and with no such name, its number from 1, or from the end from -1.
    header : bool, optional
        Whether the first line holds names. By default it does where something in it is neither a number nor missing.

    Raises
    ------
    TableError
        For a file that cannot be read or is ambiguous, a missing column, ragged rows, and cells that are empty or no numbers.
    """
    rows = read_rows(path)
    if not rows.records:
        raise TableError(f"{path}: the file is empty" if rows.names is None else f"{path}: has no rows")
    notes = list(rows.notes)
    found, body = _header(path, rows, target, header, notes)
    if not body:
        raise TableError(f"{path}: no rows below the header")
    names, body = _rectangular(path, found, body, notes)
    if len(names) > 1 and not any(resembles_number(cell) or is_missing(cell) for cell in body[0].cells):
        raise TableError(
            f"{path}, line {body[0].line}: no cell is a number; take out what is neither the columns' names nor data, "
            "a title or units say"
        )
    left_out = _index_columns(path, names, body, notes) if found.where is not None else 0
    if len(names) - left_out < 2:
        raise TableError(
            f"{path}: there is one column only, {quoted(names[-1])}{', beside an index' if left_out else ''}, and no inputs "
            "beside a target; columns are separated by commas, semicolons, tabs or blanks"
        )
    column = _find_column(path, target, names, found.where, left_out)
    if column < left_out:
        raise TableError(
            f"{path}: column {column + 1} is the rows' index and no target; give a name, or a number that counts it too"
        )
    if left_out and (_integer(target) or 0) > 0 and names[column] != _folded(target):
        notes.append(f"the target is column {column + 1} counted with what is left out, {quoted(names[column])}")
    if found.where is None and _counts([record.cells[0] for record in body]) and column != 0:
        notes.append("column 1 counts the rows and is an input; if it is an index, take it out")
    values = _values(path, body, names, left_out)
    inputs = [i for i in range(left_out, len(names)) if i != column]
    return Dataset(
        np.ascontiguousarray(values[:, inputs]),
        np.ascontiguousarray(values[:, column]),
        [names[i] for i in inputs],
        names[column],
        tuple(notes),
    )


# --- names ------------------------------------------------------------------------------------------------------


def _folded(name: str) -> str:
    """A name as it is compared: composed letters, and any run of white space, line breaks included, as one blank."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def _header(path: str, rows: Rows, target: str, choice: bool | None, notes: list[str]) -> tuple[_Header, list[Record]]:
    """The names, and the records that are data."""
    if rows.names is not None:
        return _named(rows.names, "the header"), rows.records
    first = rows.records[0]
    texts = [cell for cell in first.cells if not (resembles_number(cell) or is_missing(cell) or is_blank(cell))]
    comment = rows.commented
    if choice is not False and not texts and comment is not None and _are_names(comment.cells, len(first.cells)):
        notes.append(f"the columns' names are those in the comment in line {comment.line}")
        _tell_numbered(comment.cells, target, notes)
        return _named(comment.cells, f"line {comment.line}"), rows.records
    if choice is None:
        choice = bool(texts) or _counts_columns(path, rows.records, target, notes)
        if texts and any(map(resembles_number, first.cells)) and _folded(target) not in map(_folded, texts):
            notes.append(
                f"line {first.line} is taken for the columns' names, as {quoted(texts[0])} is no number; "
                "--no-header if it is data"
            )
            _tell_numbered(first.cells, target, notes)
    if choice:
        return _named(first.cells, f"line {first.line}"), rows.records[1:]
    return _Header([f"column {i}" for i in range(1, len(first.cells) + 1)], None), rows.records


def _are_names(cells: list[str], width: int) -> bool:
    return len(cells) == width and any(not (resembles_number(cell) or is_missing(cell)) for cell in cells)


def _named(cells: list[str], where: str) -> _Header:
    return _Header([_folded(cell) for cell in cells], where)


def _tell_numbered(cells: list[str], target: str, notes: list[str]) -> None:
    """Say it where a target is a name and could be a number of another column."""
    names = [_folded(cell) for cell in cells]
    position = _integer(target)
    if position is not None and _folded(target) in names and names.index(_folded(target)) + 1 != position:
        notes.append(f"the target is column {names.index(_folded(target)) + 1}, whose name is {quoted(target)}")


def _counts_columns(path: str, records: list[Record], target: str, notes: list[str]) -> bool:
    """Whether a first line of whole numbers in order, as pandas writes for columns without names, holds names.

    That is told by the lines below: where none has a whole number, and there are three columns or more. Otherwise it makes a
    row, or worse a column, of difference.
    """
    first = [cell.strip() for cell in records[0].cells]
    while first and not first[-1]:
        first.pop()
    if first and not first[0] and _in_order(first[1:], 0):  # with the index: no row of data begins with nothing
        notes.append(f"line {records[0].line} is taken for the columns' names, as pandas writes them")
        _tell_numbered(first, target, notes)
        return True
    from_zero, from_one = _in_order(first, 0), _in_order(first, 1)
    if not (from_zero or from_one) or len(first) < 2 or len(records) < 2:
        return False
    line = f"line {records[0].line} ({first[0]}, {first[1]}{', ...' if len(first) > 2 else ''})"
    whole_below = any(re.fullmatch(r"\s*[+-]?\d+\s*", cell) for record in records[1:] for cell in record.cells)
    if len(first) > 2 and not whole_below:
        notes.append(f"{line} is taken for the columns' names; --no-header if it is data")
        _tell_numbered(first, target, notes)
        return True
    position = _integer(target)
    if from_zero and position is not None and 0 <= position < len(first):
        if position == 0:
            notes.append(f"{line} is taken for the columns' names, as the target is")
            return True
        raise TableError(
            f"{path}: {line} may be the columns' names or data, and the target {position} is column {position + 1} or column "
            f"{position}; add --header or --no-header"
        )
    notes.append(f"{line} is taken for data; --header if it is the columns' names")
    return False


def _in_order(cells: list[str], start: int) -> bool:
    return bool(cells) and cells == [str(i) for i in range(start, start + len(cells))]


def _counts(cells: list[str]) -> bool:
    stripped = [cell.strip() for cell in cells]
    return len(cells) > 1 and (_in_order(stripped, 0) or _in_order(stripped, 1))


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _find_column(path: str, target: str, names: list[str], header: str | None, left_out: int) -> int:
    """The index of the target among the columns."""
    width, shown = len(names), quoted(target)
    wanted = _folded(target)
    if header is not None:
        matches = [i for i, name in enumerate(names) if name == wanted and i >= left_out]
        if len(matches) > 1:
            numbers = ", ".join(str(i + 1) for i in matches)
            raise TableError(
                f"{path}, {header}: {len(matches)} columns are named {shown} ({numbers}); give the target's number"
            )
        if matches:
            return matches[0]
    position = _integer(target)
    if position is not None and 1 <= abs(position) <= width:
        return position - 1 if position > 0 else width + position
    numbers = f"1 to {width}, or from the end -1 to -{width}"
    no_header = "the first line holds no text, so it is data and there is no header (--header if it is one)"
    if position is not None:
        reason = f"; {no_header}" if header is None else ""
        raise TableError(f"{path}: no column {shortened(target)}; its {width} columns are {numbers}{reason}")
    if header is None:
        raise TableError(f"{path}: no column {shown}: {no_header}; give a number, {numbers}")
    by_folded_name = {name.casefold(): name for name in names[left_out:]}
    near = [by_folded_name[name] for name in difflib.get_close_matches(wanted.casefold(), by_folded_name)]
    listed = ", ".join(map(shortened, names[left_out:][:12])) + (", ..." if width - left_out > 12 else "")
    hint = f"did you mean {' or '.join(map(quoted, near))}?" if near else f"its columns are {listed}"
    raise TableError(f"{path}: no column {shown}; {hint}")


# --- shape ------------------------------------------------------------------------------------------------------


def _filled(cells: list[str]) -> int:
    """The cells without the blank ones at the end."""
    return next((i for i in range(len(cells), 0, -1) if not is_blank(cells[i - 1])), 0)


def _rectangular(path: str, header: _Header, body: list[Record], notes: list[str]) -> tuple[list[str], list[Record]]:
    """The names and the records without what a separator at a line's end, or a column of row names, makes of them."""
    names = header.names
    longest = max(_filled(record.cells) for record in body)
    top = names if header.where is not None else body[0].cells
    width = max(_filled(top), min(len(top), longest))
    if header.where is not None and _filled(names) == width and all(len(record.cells) == width + 1 for record in body):
        first = [record.cells[0] for record in body]
        # In whole numbers alone the first might be those before a decimal comma.
        is_count = _counts(first) and any("." in cell or "," in cell for record in body for cell in record.cells)
        if longest > width and (is_count or not any(map(resembles_number, first))):  # as R's write.table does
            notes.append(f"the first cell of each row, a row's name ({_first(first)}), is left out")
            return _complete(names[:width]), [Record(line, cells[1:]) for line, cells in body]
    for line, cells in body:
        if len(cells) < width or _filled(cells) > width:
            count = len(cells) if len(cells) < width else _filled(cells)
            where = header.where or f"line {body[0].line}"
            hint = "complete the line or drop it"
            if count > width:
                hint = "if it has decimal commas, write points; if the rows have names, take them out"
            if count > width == 1:
                hint = f"if {where} is a title, take out what stands above the columns' names"
            raise TableError(f"{path}, line {line}: {count} cells, where {where} has {width}; {hint}")
    return _complete(names[:width]), [Record(line, cells[:width]) for line, cells in body]


def _complete(names: list[str]) -> list[str]:
    """With a name for each column: a blank one in the first place may be an index, and is left for that."""
    return [name or (f"column {i}" if i > 1 else "") for i, name in enumerate(names, 1)]


def _index_columns(path: str, names: list[str], body: list[Record], notes: list[str]) -> int:
    """How many columns at the left have no name, and are the rows' index as pandas and R write it."""
    count = 0
    for i, name in enumerate(names):
        if name and not re.fullmatch(r"Unnamed: \d+(\.\d+)*", name):
            break
        cells = [record.cells[i].strip() for record in body]
        whole = all(re.fullmatch(r"\d+", cell) for cell in cells) and len(set(cells)) == len(cells)
        if not whole and any(map(resembles_number, cells)):
            raise TableError(
                f"{path}: column {i + 1} has no name; give it one if it is an input, or leave it out if it is the rows' index "
                "(pandas: to_csv(..., index=False))"
            )
        notes.append(f"column {i + 1} has no name and is left out as the rows' index ({_first(cells)})")
        count = i + 1
    return count


def _first(cells: list[str]) -> str:
    return ", ".join([shortened(cell) for cell in cells[:2]] + ["..."] * (len(cells) > 2))


# --- numbers ----------------------------------------------------------------------------------------------------


def _values(path: str, body: list[Record], names: list[str], left_out: int) -> Array:
    """All cells as numbers, (n, columns); nan in those left out."""
    values = np.full((len(body), len(names)), np.nan)
    with_comma: list[tuple[int, str]] = []
    with_point: tuple[int, str] | None = None
    for row, (line, cells) in enumerate(body):
        for column in range(left_out, len(names)):
            cell = cells[column]
            value = number(cell)
            if value is None and has_decimal_comma(cell):
                with_comma.append((line, cell.strip()))
                value = float(cell.replace(",", "."))
            elif with_point is None and "." in cell:
                with_point = line, cell.strip()
            if value is None or not math.isfinite(value):
                raise TableError(f"{path}, line {line}, column {quoted(names[column])}: {_complaint(cell)}")
            values[row, column] = value
    if with_comma:
        _check_decimal_commas(path, with_comma, with_point)
    return values


def _check_decimal_commas(path: str, with_comma: list[tuple[int, str]], with_point: tuple[int, str] | None) -> None:
    """Refuse commas that may be anything else."""
    line, cell = with_comma[0]
    if with_point is not None:
        raise TableError(
            f"{path}, line {line}: {quoted(cell)} has a comma, and line {with_point[0]} has {quoted(with_point[1])}; "
            "write all numbers with a decimal point and without separators of thousands"
        )
    if all(_AMBIGUOUS_THOUSANDS.fullmatch(cell) for _, cell in with_comma):
        raise TableError(
            f"{path}, line {line}: {quoted(cell)} has a comma that may be decimal or a separator of thousands; "
            "write numbers with a decimal point and without separators of thousands"
        )


def _complaint(cell: str) -> str:
    text, shown = cell.strip(), quoted(cell.strip())
    if not text:
        return "the cell is empty; drop or impute such rows"
    if is_missing(cell):
        return f"{shown} stands for a missing value; drop or impute such rows"
    if number(cell) is not None:
        return f"{shown} is not finite; drop or impute such rows"
    if has_thousands(cell):
        return f"{shown} is not a number; write it without separators of thousands"
    if has_fortran_exponent(cell):
        return f"{shown} is not a number; write its exponent with E in the place of D"
    return f"{shown} is not a number; encode text and dates as numbers, or take the column out"
