"""Rows of cells from a file: text of whatever delimiter, ARFF, and through pandas Parquet and Excel."""

import csv
import importlib
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastard._text import has_decimal_comma, quoted


class TableError(ValueError):
    """The file cannot be used as it is; the message is one line and names the file, and the line and column if it can."""


class Record(NamedTuple):
    """A row, and the number of the line that it begins in."""

    line: int
    cells: list[str]


class Rows(NamedTuple):
    """What a file holds."""

    records: list[Record]
    names: list[str] | None = None  # where the format says what they are
    commented: Record | None = None  # the last comment above the first record, which may hold names
    notes: tuple[str, ...] = ()  # for the user
    nominal: tuple[str, ...] = ()  # names of columns that the format says are categories


_DELIMITERS = (",", ";", "\t", " ")  # where several serve equally well, the first

_SAMPLE = 100  # records that the delimiter is chosen by

_ERROR_VALUE = r"(N/?[A-Z]|DIV/0!|\w+[!?])"  # after its #, of a spreadsheet: in English #N/A, #REF!, #NAME? and the like

_MISSING = re.compile(rf"na|n/a|nan|<na>|null|none|\?|-|\.|#{_ERROR_VALUE}", re.IGNORECASE)

_COMMENT = re.compile(rf"\s*#(?!{_ERROR_VALUE}\s*([,;\t]|$))", re.IGNORECASE)

_FORTRAN = re.compile(r"[+-]?(\d+(?:\.\d*)?|\.\d+)[dD][+-]\d+")

_GROUPED = re.compile(r"[+-]?\d{1,3}(?:([.,'_ \u00a0\u202f\u2019])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")

_COMPRESSED = {rb"\x1f\x8b": "gzip", rb"BZh[1-9]1AY&SY": "bz2", rb"\xfd7zXZ\x00": "lzma"}

_BYTE_ORDER_MARKS = {  # UTF-32 first: UTF-16's mark begins its own
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}

_NO_TABLES = {
    rb"PK\x03\x04": "a zip archive other than an Excel workbook",
    rb"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind (.xls)",
    rb"\x93NUMPY": "a NumPy array (.npy)",
    rb"\x89HDF": "an HDF5 or MATLAB 7.3 file",
    rb"MATLAB 5\.0": "a MATLAB file (.mat)",
    rb"ARROW1": "a Feather file",
    rb"\x28\xb5\x2f\xfd": "compressed with zstd",
    rb"%PDF-": "a PDF",
    rb'\s*(\{\s*"|\[\s*[\[{])': "JSON",
    rb"\s*<(\?xml|!doctype|html|table)": "HTML or XML",
}


def number(cell: str) -> float | None:
    """The cell as a float, NaN and infinity included; None if it is no number."""
    try:
        return None if "_" in cell else float(cell)  # Python's float reads 1_000
    except ValueError:
        return None


def has_thousands(cell: str) -> bool:
    """Whether its digits stand in groups of three."""
    return _GROUPED.fullmatch(cell.strip()) is not None


def has_fortran_exponent(cell: str) -> bool:
    """Whether it is a number such as 1.0D+00."""
    return _FORTRAN.fullmatch(cell.strip()) is not None


def resembles_number(cell: str) -> bool:
    """Whether somebody may have meant a number, as here or elsewhere in the world."""
    return number(cell) is not None or has_decimal_comma(cell) or has_thousands(cell) or has_fortran_exponent(cell)


def is_blank(cell: str) -> bool:
    return not cell.strip()


def is_missing(cell: str) -> bool:
    return _MISSING.fullmatch(cell.strip()) is not None


def read_rows(path: str) -> Rows:
    """The rows of a file that are not blank, whatever its format; which that is is told by its content."""
    try:
        with open(path, "rb") as file:
            content = _decompressed(path, file.read())
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from None
    except MemoryError:
        raise TableError(f"{path}: is too large for this machine's memory; take fewer rows") from None
    if content.startswith(b"PAR1"):
        return _through_pandas(path, content, "Parquet")
    if content.startswith(b"PK\x03\x04") and b"xl/workbook" in content:
        return _through_pandas(path, content, "Excel")
    for beginning, what in _NO_TABLES.items():
        if re.match(beginning, content, re.IGNORECASE):
            raise TableError(f"{path}: is {what}; save the table as CSV")
    text, notes = _decoded(path, content)
    is_arff = re.match(r"(?:\s*%[^\r\n]*[\r\n])*\s*@relation\b", text, re.IGNORECASE)
    rows = _arff(path, text) if is_arff else _delimited(path, text)
    return rows._replace(notes=notes + rows.notes)


def _decompressed(path: str, content: bytes) -> bytes:
    for beginning, name in _COMPRESSED.items():
        if re.match(beginning, content):
            try:
                decompressed: bytes = importlib.import_module(name).decompress(content)
            except ImportError:
                raise TableError(f"{path}: is compressed, and this Python has no {name}; decompress it") from None
            except MemoryError:
                raise
            except Exception as error:  # zlib.error and lzma.LZMAError have no closer base in common
                raise TableError(f"{path}: is compressed and damaged: {error}; get the file once more") from None
            return decompressed
    return content


def _decoded(path: str, content: bytes) -> tuple[str, tuple[str, ...]]:
    """The text, and what there is to say of its encoding."""
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and 8 * content.count(0) > len(content):
        raise TableError(f"{path}: is no text, or UTF-16 without a byte order mark; save it as CSV in UTF-8")
    try:
        return content.decode(encoding), ()
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise TableError(f"{path}: is no text in {encoding.removesuffix('-sig').upper()}; save it in UTF-8") from None
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        raise TableError(f"{path}: is no text in UTF-8; save it as CSV in UTF-8") from None
    return text, ("the text is not UTF-8, and its letters are read as Windows-1252",)


# --- text -------------------------------------------------------------------------------------------------------


class _Lines:
    """Lines for ``csv.reader`` without the comments between its records; counts them."""

    def __init__(self, text: str, comment: re.Pattern[str] = _COMMENT, number: int = 0) -> None:
        self._lines = io.StringIO(text, newline="")
        self._comment = comment
        self.number = number
        self.began = 0  # the record's first line
        self.between = True  # to be set after each record
        self.last_comment: Record | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.number += 1
            if self.between:
                if self._comment.match(line):
                    self.last_comment = Record(self.number, [line])
                    continue
                self.began = self.number
            self.between = False
            return line
        raise StopIteration


def _records(path: str, lines: _Lines, delimiter: str, quote: str = '"') -> Iterator[Record]:
    """The records that are not blank."""
    # Of blanks any run is one separator, tabs are blanks too, and those at a line's ends separate nothing.
    source = (" ".join(line.split()) + "\n" for line in lines) if delimiter == " " else lines
    reader = csv.reader(source, delimiter=delimiter, quotechar=quote, skipinitialspace=delimiter != "\t", strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            unclosed = (
                " (a quoted cell that is not closed?)" if "unexpected end" in str(error) or "limit" in str(error) else ""
            )
            raise TableError(f"{path}, line {lines.began}: {error}{unclosed}") from None
        if cells is None:
            return
        if not all(map(is_blank, cells)):
            yield Record(lines.began, cells)
        lines.between = True


def _delimited(path: str, text: str) -> Rows:
    """CSV and its kin."""
    skipped = 0
    told = re.match(r'\s*"?sep=(.)"?[^\S\r\n]*(?:\r\n|\r|\n)', text, re.IGNORECASE)  # as Excel has it in its first line
    if told:
        delimiter = told[1]
        text = text[told.end() :]
        skipped = len(re.findall(r"\r\n|\r|\n", told[0]))
    else:
        delimiter = max(_DELIMITERS, key=lambda candidate: _suits(path, text, candidate))
    lines = _Lines(text, number=skipped)
    records: list[Record] = []
    commented = None
    for record in _records(path, lines, delimiter):
        if not records and lines.last_comment is not None:
            commented = _commented(path, lines.last_comment, delimiter)
        records.append(record)
    return Rows(records, commented=commented)


def _commented(path: str, comment: Record, delimiter: str) -> Record | None:
    """The cells of a comment, if it has any."""
    bare = _Lines(comment.cells[0].strip().lstrip("#"))
    try:
        record = next(_records(path, bare, delimiter), None)
    except TableError:  # a lone quote, say
        return None
    return record and Record(comment.line, record.cells)


def _suits(path: str, text: str, delimiter: str) -> tuple[float, float]:
    """How well a delimiter does: which part of the cells below the first row are numbers, and of the rows as long as most."""
    sample: list[Record] = []
    try:
        sample.extend(itertools.islice(_records(path, _Lines(text), delimiter), _SAMPLE))
    except TableError:
        return 0.0, 0.0
    below = sample[1:] or sample
    lengths = [len(record.cells) for record in below]
    width = max(lengths, key=lengths.count, default=0)
    if width < 2:
        return 0.0, 0.0
    cells = [cell for record in below if len(record.cells) == width for cell in record.cells]
    numbers = sum(resembles_number(cell) or is_missing(cell) or is_blank(cell) for cell in cells) / len(cells)
    alike = sum(len(record.cells) == width for record in sample) / len(sample)
    return numbers * alike, alike


_ATTRIBUTE = re.compile(r"""\s*@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'"]\S*)\s+(\S.*)""", re.IGNORECASE)


def _arff(path: str, text: str) -> Rows:
    """WEKA's format: names and types, then comma-separated rows."""
    names: list[str] = []
    nominal: list[str] = []
    lines = io.StringIO(text, newline=None)
    for line_number, line in enumerate(lines, 1):
        keyword = line.strip().casefold()
        if keyword.startswith("@data"):
            break
        if not keyword.startswith("@attribute"):
            continue
        found = _ATTRIBUTE.match(line)
        if found is None:
            raise TableError(f"{path}, line {line_number}: not of the form @attribute NAME TYPE")
        name, kind = found[1], found[2].split()[0].casefold()
        if name[0] in "'\"":
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        if kind.startswith("{"):
            nominal.append(name)
        elif kind not in ("numeric", "real", "integer", "string", "date"):
            raise TableError(
                f"{path}, line {line_number}, attribute {quoted(name)}: is of type {quoted(kind)}, and numbers or categories "
                "are needed; take it out"
            )
        names.append(name)
    else:
        raise TableError(f"{path}: has @relation in the way of an ARFF file, but no @data")
    if not names:
        raise TableError(f"{path}: has @relation in the way of an ARFF file, but no @attribute")
    records = list(_records(path, _Lines(lines.read(), re.compile(r"\s*%"), line_number), ",", "'"))
    for record in records:
        if record.cells[0].lstrip().startswith("{"):
            raise TableError(f"{path}, line {record.line}: is sparse ARFF; save it as CSV (WEKA's filter SparseToNonSparse)")
    return Rows(records, names, nominal=tuple(nominal))


# --- through pandas ---------------------------------------------------------------------------------------------


def _through_pandas(path: str, content: bytes, kind: str) -> Rows:
    try:
        import pandas
    except ImportError:
        raise _lacking(path, kind) from None
    read = _parquet if kind == "Parquet" else _excel
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's of colours and menus that it does not know
            return read(pandas, content)
    except ImportError:
        raise _lacking(path, kind) from None
    except MemoryError:
        raise
    except Exception as error:  # of pandas, pyarrow, openpyxl and what they use: each has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TableError(f"{path}: cannot be read as {kind}: {reason.rstrip('.')}; save the table as CSV") from None


def _lacking(path: str, kind: str) -> TableError:
    engine = "pyarrow" if kind == "Parquet" else "openpyxl"
    return TableError(f"{path}: reading {kind} needs pandas and {engine}: pip install 'fastard[files]'; or save it as CSV")


def _parquet(pandas: Any, content: bytes) -> Rows:
    frame = pandas.read_parquet(io.BytesIO(content))
    notes: tuple[str, ...] = ()
    if not isinstance(frame.index, pandas.RangeIndex):
        index = ", ".join(quoted(str(name)) for name in frame.index.names if name is not None)
        notes = (f"the table's index{f' {index}' if index else ''} is left out",)
    names = [str(name) for name in frame.columns]
    nominal = tuple(name for name, dtype in zip(names, frame.dtypes, strict=True) if str(dtype) == "category")
    return Rows(_frame_records(pandas, frame, 2), names, notes=notes, nominal=nominal)


def _excel(pandas: Any, content: bytes) -> Rows:
    with pandas.ExcelFile(io.BytesIO(content), engine="openpyxl") as book:
        first = book.sheet_names[0]
        frame = book.parse(first, header=None, dtype=object)
        sheets = len(book.sheet_names)
    notes = (f"only the first of {sheets} sheets, {quoted(first)}, is read",) if sheets > 1 else ()
    return Rows(_frame_records(pandas, frame, 1), notes=notes)


def _frame_records(pandas: Any, frame: Any, first_line: int) -> list[Record]:
    """Its rows as the text that gives the same numbers."""
    columns = [[_cell(pandas, value) for value in frame.iloc[:, j].astype(object)] for j in range(frame.shape[1])]
    rows = ([*cells] for cells in zip(*columns, strict=True))
    return [Record(line, cells) for line, cells in enumerate(rows, first_line) if not all(map(is_blank, cells))]


def _cell(pandas: Any, value: Any) -> str:
    if value is None or value is pandas.NA or value is pandas.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value) if isinstance(value, bool) else value)  # a float's text is the shortest that gives it again
