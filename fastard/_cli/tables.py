"""Reading a table: which columns are inputs, which the target, and where something is wrong.

Nothing is guessed that could be otherwise: what a file leaves open is an error with the remedy, and what is left out, or taken
for the names though it might be numbers, is said in a note.
"""

import difflib
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._cli.columns import (
    Column,
    check_decimal_commas,
    check_numbers,
    check_target,
    complete_rows,
    contents,
    read_column,
)
from fastard._cli.formats import Record, Rows, TableError, is_blank, is_missing, number, read_rows, resembles_number
from fastard._cli.kinds import EPOCH, entries_of, is_category, known_entries, with_days
from fastard._text import folded, listed, quoted, shortened


class Dataset(NamedTuple):
    """Inputs (n, d), targets (n,), what the file calls them, and what its user is to be told of how it was read."""

    X: NDArray[Any]  # numbers, or with categories objects
    y: Array
    input_names: list[str]
    target_name: str
    notes: tuple[str, ...] = ()
    categorical: tuple[int, ...] = ()  # columns of X
    periodic: tuple[tuple[int, float], ...] = ()  # columns of X and their periods
    dates: tuple[int, ...] = ()  # columns of X that are days since EPOCH

    def rows(self, which: NDArray[np.int64]) -> "Dataset":
        """Some of the rows."""
        return self._replace(X=self.X[which], y=self.y[which])

    @property
    def date_names(self) -> list[str]:
        """The inputs that were dates."""
        return [self.input_names[j] for j in self.dates]

    @property
    def encoded(self) -> list[str]:
        """The inputs that are no plain numbers."""
        return [self.input_names[j] for j in sorted({*self.categorical, *(j for j, _ in self.periodic)})]


class _Header(NamedTuple):
    """The columns' names and where they stand; None where there are none, and these are ours."""

    names: list[str]
    where: str | None


class _Table(NamedTuple):
    """Names and cells, as many in each record."""

    path: str
    names: list[str]
    body: list[Record]
    where: str | None  # the names stand; None where there are none, and these are ours
    left_out: int  # columns at the left, which are the rows' index
    nominal: frozenset[str]  # names of columns that the file declares to be categories


def read_dataset(
    path: str,
    target: str,
    header: bool | None = None,
    *,
    inputs: Sequence[str] = (),
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    periodic: Sequence[str] = (),
    drop_missing: bool = False,
) -> Dataset:
    """The table in a file of text, its delimiter a comma, semicolon, tab or blanks, in ARFF, Parquet or Excel.

    Parameters
    ----------
    path : str
    target : str
        With a header, a column's name; otherwise, and with no such name, its number from 1, or from the end from -1.
    header : bool, optional
        Whether the first line holds names. By default it does where something in it is neither a number nor missing.
    inputs, ignore : sequence of str
        Columns as ``target``, or several between commas: the inputs, all others by default, and those that are none.
    categorical : sequence of str
        Columns that are categories, beside those of a few texts and those that the file declares to be such.
    periodic : sequence of str
        "COLUMN=PERIOD".
    drop_missing : bool
        Whether rows that lack a value in a column that is used are left out.

    Raises
    ------
    TableError
        For a file that cannot be read or is ambiguous, a missing column, ragged rows, and cells that are empty or no numbers.
    """
    notes: list[str] = []
    table = _table(path, target, header, notes)
    names, left_out = table.names, table.left_out
    if len(names) - left_out < 2:
        raise TableError(
            f"{path}: there is one column only, {quoted(names[-1])}{', beside an index' if left_out else ''}, and no inputs "
            "beside a target; columns are separated by commas, semicolons, tabs or blanks"
        )
    column = _find_column(path, target, names, table.where, left_out)
    if column < left_out:
        raise TableError(
            f"{path}: column {column + 1} is the rows' index and no target; give a name, or a number that counts it too"
        )
    if left_out and (_integer(target) or 0) > 0 and names[column] != folded(target):
        notes.append(f"the target is column {column + 1} counted with what is left out, {quoted(names[column])}")
    places = _inputs(table, column, inputs, ignore)
    if table.where is None and _counts([record.cells[0] for record in table.body]) and 0 in places:
        notes.append("column 1 counts the rows and is an input; if it is an index, take it out")
    periods = _periods(table, places, periodic)
    chosen = {place for choice in categorical for place in _find_columns(table, choice)}
    _among("--categorical", table, sorted(chosen), places)
    if both := sorted(chosen & periods.keys()):
        raise TableError(f"{path}: --categorical and --periodic both name {quoted(names[both[0]])}; leave one of them out")
    chosen |= {place for place in places if names[place] in table.nominal}
    columns, categories, dates = [], {}, []
    for place in places:
        cells = [record.cells[place] for record in table.body]
        read = read_column(names[place], cells)
        found = None if place in chosen else with_days(read, cells)
        if place in chosen or (place not in periods and found is None and is_category(read, cells)):
            read, categories[place] = entries_of(read, cells)
        elif found is not None:
            read = found
            dates.append(place)
        columns.append((place, read))
    targets = read_column(names[column], [record.cells[column] for record in table.body])
    check_target(path, targets, table.body, column)
    columns.append((column, targets))
    rows = _check(table, columns, [names[column]], drop_missing, notes)
    taken = [place for place in categories if place not in chosen]
    if taken:
        told = listed([f"{quoted(names[i])} ({len({*categories[i]} - {None})})" for i in taken])
        notes.append(f"text is taken for categories: {told}; --ignore leaves such columns out")
    _tell_dates(table, dates, notes)
    return Dataset(
        _entries(columns[:-1], categories, rows),
        np.ascontiguousarray(columns[-1][1].values[rows]),
        [names[i] for i in places],
        names[column],
        tuple(notes),
        tuple(j for j, place in enumerate(places) if place in categories),
        tuple((j, periods[place]) for j, place in enumerate(places) if place in periods),
        tuple(j for j, place in enumerate(places) if place in dates),
    )


class Points(NamedTuple):
    """Inputs (q, d) in a model's order, the rows that they come from as text, and what the user is to be told."""

    X: NDArray[Any]  # numbers, or with categories objects
    records: list[Record]
    names: list[str]  # of the records' cells
    notes: tuple[str, ...]


def read_points(
    path: str,
    wanted: list[str] | None,
    kinds: Sequence[Any],
    header: bool | None = None,
    *,
    drop_missing: bool = False,
) -> Points:
    """The columns named ``wanted``, wherever they stand; or all in order, where the model or the file has no names.

    ``kinds``: of each what the model knows of it, as :class:`fastard._model.encoding.Encoding` has them.
    """
    d = len(kinds)
    notes: list[str] = []
    table = _table(path, "", header, notes)
    own = list(range(table.left_out, len(table.names)))
    names = [table.names[i] for i in own]
    lacking = [name for name in wanted or [] if folded(name) not in names]
    twice = [name for name in wanted or [] if names.count(folded(name)) > 1]
    if wanted and not lacking and not twice:
        places = [own[names.index(folded(name))] for name in wanted]
    elif len(own) == d and (wanted is None or table.where is None):
        notes.append(f"the columns are taken in order for the model's inputs, {listed(wanted or [f'x{i}' for i in range(d)])}")
        places = own
    elif twice:
        raise TableError(
            f"{path}: several columns are named {listed(list(map(quoted, twice)))}, which the model was trained on"
        )
    elif wanted and table.where is not None:
        raise TableError(
            f"{path}: there is no column {listed(list(map(quoted, lacking)))}, which the model was trained on; its columns "
            f"are {listed(list(map(shortened, names)))}"
        )
    else:
        raise TableError(
            f"{path}: {len(own)} columns without names, where the model has {d} inputs; give those alone, or a header"
        )
    columns, categories, dates = [], {}, []
    for place, kind in zip(places, kinds, strict=True):
        cells = [record.cells[place] for record in table.body]
        read = read_column(table.names[place], cells)
        if isinstance(kind, tuple):
            read, categories[place] = known_entries(path, table.body, place, read, kind)
        elif (found := with_days(read, cells)) is not None:
            read = found
            dates.append(place)
        columns.append((place, read))
    rows = _check(table, columns, table.names, drop_missing, notes)
    _tell_dates(table, dates, notes)
    kept = [record for record, is_kept in zip(table.body, rows, strict=True) if is_kept]
    return Points(_entries(columns, categories, rows), kept, table.names, tuple(notes))


def describe_columns(path: str, header: bool | None = None) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    """Of each column its number, its name and what it holds, in words; and notes."""
    notes: list[str] = []
    table = _table(path, "", header, notes)
    rows = []
    for i, name in enumerate(table.names):
        cells = [record.cells[i] for record in table.body]
        what = "is the rows' index, and left out"
        if i >= table.left_out:
            read = read_column(name, cells)
            days, what = with_days(read, cells), contents(read, table.body, i)
            what += ", taken as days" * (days is not None and not days.wrong)
        rows.append((str(i + 1), name, what.removeprefix("holds ")))
    return rows, tuple(notes)


def _table(path: str, target: str, header: bool | None, notes: list[str]) -> _Table:
    """What the file holds, whatever of it is used; ``target`` tells where a first line of numbers may be names."""
    rows = read_rows(path)
    if not rows.records:
        raise TableError(f"{path}: the file is empty" if rows.names is None else f"{path}: has no rows")
    notes += rows.notes
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
    return _Table(path, names, body, found.where, left_out, frozenset(map(folded, rows.nominal)))


def _inputs(table: _Table, target: int, inputs: Sequence[str], ignore: Sequence[str]) -> list[int]:
    """The places of the inputs, in the file's order."""

    def places(option: str, choices: Sequence[str]) -> set[int]:
        found = {place for choice in choices for place in _find_columns(table, choice)}
        if target in found:
            raise TableError(f"{table.path}: {option} names {quoted(table.names[target])}, which is the target")
        return found

    chosen, ignored = places("--inputs", inputs), places("--ignore", ignore)
    if any(place < table.left_out for place in chosen):
        raise TableError(
            f"{table.path}: column {min(chosen) + 1} is the rows' index and no input; give it a name if it is one"
        )
    everything = chosen or set(range(table.left_out, len(table.names))) - {target}
    if everything <= ignored:
        raise TableError(f"{table.path}: --ignore leaves no inputs")
    return sorted(everything - ignored)


def _find_columns(table: _Table, choice: str) -> list[int]:
    """A column, or several between commas."""
    parts = [choice] if folded(choice) in table.names else [part for part in choice.split(",") if part.strip()]
    return [_find_column(table.path, part, table.names, table.where, table.left_out) for part in parts]


def _among(option: str, table: _Table, chosen: Sequence[int], inputs: Sequence[int]) -> None:
    """Refuse columns that are no inputs."""
    for place in chosen:
        if place not in inputs:
            raise TableError(f"{table.path}: {option} names {quoted(table.names[place])}, which is no input")


def _periods(table: _Table, inputs: Sequence[int], choices: Sequence[str]) -> dict[int, float]:
    """Of places their periods, from "COLUMN=PERIOD"."""
    periods = {}
    for choice in choices:
        name, _, text = choice.rpartition("=")
        period = number(text)
        if not name.strip() or period is None or not 0.0 < period < math.inf:
            raise TableError(
                f"--periodic takes a column and its period in that column's units, wind=360 say; got {quoted(choice)}"
            )
        place = _find_column(table.path, name, table.names, table.where, table.left_out)
        _among("--periodic", table, [place], inputs)
        periods[place] = period
    return periods


def _check(
    table: _Table, columns: list[tuple[int, Column]], needed: list[str], drop_missing: bool, notes: list[str]
) -> NDArray[np.bool_]:
    """Which rows are used, (n,), where all their cells can be; ``needed`` are names of columns that cannot be left out."""
    path, body = table.path, table.body
    rows = np.ones(len(body), dtype=np.bool_)
    if drop_missing:
        rows = complete_rows(path, [column for _, column in columns], len(body), notes)
    check_numbers(path, body, columns, rows, needed)
    check_decimal_commas(path, body, columns)
    return rows


def _entries(columns: list[tuple[int, Column]], categories: dict[int, list[Any]], rows: NDArray[np.bool_]) -> NDArray[Any]:
    """The used rows, (rows, columns): numbers, or objects where there are categories."""
    values: NDArray[Any] = np.column_stack([column.values for _, column in columns])
    if categories:
        values = values.astype(object)
        for j, (place, _) in enumerate(columns):
            if place in categories:
                values[:, j] = categories[place]
    return values[rows]


def _tell_dates(table: _Table, dates: list[int], notes: list[str]) -> None:
    if dates:
        names = listed([quoted(table.names[place]) for place in dates])
        notes.append(f"dates are taken as days since {EPOCH}: {names}")


# --- names ------------------------------------------------------------------------------------------------------


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
        if texts and any(map(resembles_number, first.cells)) and folded(target) not in map(folded, texts):
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
    return _Header([folded(cell) for cell in cells], where)


def _tell_numbered(cells: list[str], target: str, notes: list[str]) -> None:
    """Say it where a target is a name and could be a number of another column."""
    names = [folded(cell) for cell in cells]
    position = _integer(target)
    if position is not None and folded(target) in names and names.index(folded(target)) + 1 != position:
        notes.append(f"the target is column {names.index(folded(target)) + 1}, whose name is {quoted(target)}")


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
    wanted = folded(target)
    if header is not None:
        matches = [i for i, name in enumerate(names) if name == wanted and i >= left_out]
        if len(matches) > 1:
            numbers = ", ".join(str(i + 1) for i in matches)
            raise TableError(f"{path}, {header}: {len(matches)} columns are named {shown} ({numbers}); give its number")
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
