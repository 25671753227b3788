"""Reading a table of numbers from a CSV file: which columns are inputs, which the target, and where something is wrong."""

import csv
import difflib
import io
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._validation import Array

_DELIMITERS = ",;\t"
_MISSING = {"na", "n/a", "nan", "null", "none", "?", "-"}


class TableError(ValueError):
    """The file can not be used as it is; the message is one line and names the file, and the line and column if it can."""


class Dataset(NamedTuple):
    """Inputs (n, d), targets (n,), and what the file calls them."""

    X: Array
    y: Array
    input_names: list[str]
    target_name: str

    def rows(self, which: NDArray[np.int64]) -> "Dataset":
        """Some of the rows."""
        return self._replace(X=self.X[which], y=self.y[which])


class _Record(NamedTuple):
    line: int
    cells: list[str]


def read_dataset(path: str, target: str) -> Dataset:
    """The table in a CSV file, its delimiter a comma, semicolon or tab, with or without a header line.

    Parameters
    ----------
    path : str
    target : str
        With a header, a column's name; otherwise, and with no such name, its number from 1, or from the end from -1.

    Raises
    ------
    TableError
        For a file that can not be read, a missing column, ragged rows, and cells that are empty or no numbers.
    """
    records = _records(path)
    if not records:
        raise TableError(f"{path}: the file is empty")
    first = records[0].cells
    has_header = any(cell.strip() and _number(cell) is None for cell in first)
    if has_header:
        names = [" ".join(cell.split()) or f"column {number}" for number, cell in enumerate(first, 1)]
    else:
        names = [f"column {number}" for number in range(1, len(first) + 1)]
    column = _find_column(path, target, names, has_header)
    if len(names) < 2:
        raise TableError(f"{path}: there is one column only, so no inputs beside the target")
    body = records[1:] if has_header else records
    if not body:
        raise TableError(f"{path}: no rows below the header")
    values = _values(path, body, names)
    inputs = [i for i in range(len(names)) if i != column]
    return Dataset(
        np.ascontiguousarray(values[:, inputs]),
        np.ascontiguousarray(values[:, column]),
        [names[i] for i in inputs],
        names[column],
    )


def _records(path: str) -> list[_Record]:
    """The file's rows with their line numbers; blank lines are skipped."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TableError(f"{path}: not a text file in UTF-8") from None
    first_line = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)  # a comma where there is none
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records = []
    try:
        for cells in reader:
            if len(cells) > 1 or "".join(cells).strip():
                records.append(_Record(reader.line_num, cells))
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: {error}") from None
    return records


def _number(cell: str) -> float | None:
    """The cell as a float, NaN and infinity included; None if it is no number."""
    try:
        return None if "_" in cell else float(cell)  # Python's float reads 1_000
    except ValueError:
        return None


def _find_column(path: str, target: str, names: list[str], has_header: bool) -> int:
    """The index of the target among the columns."""
    width = len(names)
    if has_header:
        matches = [i for i, name in enumerate(names) if name == target.strip()]
        if len(matches) > 1:
            numbers = " and ".join(str(i + 1) for i in matches)
            raise TableError(f"{path}, line 1: columns {numbers} are both named {target!r}; give the target's number")
        if matches:
            return matches[0]
    try:
        number = int(target)
    except ValueError:
        number = None
    if number is not None:
        if 1 <= abs(number) <= width:
            return number - 1 if number > 0 else width + number
        raise TableError(f"{path}: no column {number}; its {width} columns are 1 to {width}, or from the end -1 to -{width}")
    if not has_header:
        raise TableError(
            f"{path}: no column {target!r}: line 1 holds only numbers, so there is no header; "
            f"give a number, 1 to {width}, or from the end -1 to -{width}"
        )
    by_folded_name = {name.casefold(): name for name in names}
    near = [by_folded_name[name] for name in difflib.get_close_matches(target.casefold(), by_folded_name)]
    listed = ", ".join(names[:12]) + (", ..." if width > 12 else "")
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"its columns are {listed}"
    raise TableError(f"{path}: no column {target!r}; {hint}")


def _values(path: str, body: list[_Record], names: list[str]) -> Array:
    """All cells as numbers, (n, columns)."""
    values = np.empty((len(body), len(names)))
    for row, (line, cells) in enumerate(body):
        if len(cells) != len(names):
            raise TableError(f"{path}, line {line}: {len(cells)} cells, where the first line has {len(names)}")
        for column, cell in enumerate(cells):
            value = _number(cell)
            if value is None or not math.isfinite(value):
                raise TableError(f"{path}, line {line}, column {names[column]!r}: {_complaint(cell)}")
            values[row, column] = value
    return values


def _complaint(cell: str) -> str:
    if not cell.strip():
        return "the cell is empty; drop or impute such rows"
    if cell.strip().casefold() in _MISSING:
        return f"{cell.strip()!r} stands for a missing value; drop or impute such rows"
    if _number(cell) is not None:
        return f"{cell.strip()!r} is not finite"
    return f"{cell.strip()!r} is not a number; encode text as numbers, or take the column out"
