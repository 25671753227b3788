"""Tables as people have them: what is read, what is left out and said, and what is refused, with the cause and the remedy."""

import bz2
import gzip
import io
import lzma
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastard._cli.formats import TableError
from fastard._cli.tables import Dataset, read_dataset

Read = Callable[..., Dataset]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a file of some content; the target is y."""

    def read(content: str | bytes, target: str = "y", header: bool | None = None, **options: Any) -> Dataset:
        path = tmp_path / "data"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_dataset(str(path), target, header, **options)

    return read


def _says(error: pytest.ExceptionInfo[TableError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def _check(table: Dataset, names: list[str], X: object, y: object) -> None:
    assert [*table.input_names, table.target_name] == names
    np.testing.assert_array_equal(table.X, X)
    np.testing.assert_array_equal(table.y, y)


# --- the header -------------------------------------------------------------------------------------------------


def test_pandas_header_of_numbers_names_the_columns(read: Read) -> None:
    table = read("0,1,2\n0.5,1.5,2.5\n3.5,4.5,5.5\n", "1")
    _check(table, ["0", "2", "1"], [[0.5, 2.5], [3.5, 5.5]], [1.5, 4.5])
    assert "taken for the columns' names" in table.notes[0]
    assert "column 2, whose name is '1'" in table.notes[1]


def test_pandas_header_of_numbers_with_its_index(read: Read) -> None:
    table = read(",0,1,2\n0,1,2,3\n1,4,5,6\n", "2")
    _check(table, ["0", "1", "2"], [[1.0, 2.0], [4.0, 5.0]], [3.0, 6.0])


def test_a_first_line_that_counts_is_asked_for_where_it_makes_another_column(read: Read) -> None:
    content = "0,1,2\n3,4,5\n6,7,8\n"
    with pytest.raises(TableError) as error:
        read(content, "2")
    _says(error, "column 3 or column 2", "--header or --no-header")
    _check(read(content, "2", True), ["0", "1", "2"], [[3.0, 4.0], [6.0, 7.0]], [5.0, 8.0])
    _check(read(content, "2", False), ["column 1", "column 3", "column 2"], [[0.0, 2.0], [3.0, 5.0], [6.0, 8.0]], [1, 4, 7])
    assert read(content, "0").y.tolist() == [3.0, 6.0]  # there is no column of that number
    for target in ("3", "-1"):  # either way the last
        table = read(content, target)
        assert table.y.tolist() == [2.0, 5.0, 8.0]
        assert "--header if" in table.notes[0]


def test_two_columns_that_begin_with_0_and_1_may_be_data(read: Read) -> None:
    assert read("0,1\n0.1,0.995\n0.2,0.980\n", "2").y.tolist() == [1.0, 0.995, 0.98]
    with pytest.raises(TableError, match="--no-header"):
        read("0,1\n0.1,0.995\n0.2,0.980\n", "1")


@pytest.mark.parametrize("missing", ["NA", "nan", "?", "", "#N/A", "<NA>", "None", "."])
def test_a_missing_value_in_line_1_makes_no_header(read: Read, missing: str) -> None:
    with pytest.raises(TableError) as error:
        read(f"{missing},3,2.5\n1,2,3\n4,5,6\n", "3")
    _says(error, "line 1, column 'column 1'", "drop or impute")


def test_decimal_commas_make_no_header(read: Read) -> None:
    _check(read("1,5;2\n3;4\n", "2"), ["column 1", "column 2"], [[1.5], [3.0]], [2.0, 4.0])


def test_a_header_of_which_some_are_numbers_is_told(read: Read) -> None:
    table = read("l.5,3,2\n1,2,3\n4,5,6\n", "3")  # a number mistyped, perhaps
    assert table.target_name == "3"
    assert "'l.5' is no number; --no-header" in table.notes[0]
    assert "column 2" in table.notes[1]
    assert read("400,402,y\n1,2,3\n4,5,6\n").notes == ()  # the target shows that they are names


def test_a_header_of_numbers_is_read_where_asked(read: Read) -> None:
    content = "400,402,404\n1,2,3\n4,5,6\n"
    with pytest.raises(TableError, match="--header"):
        read(content, "404")
    assert read(content, "404", True).y.tolist() == [3.0, 6.0]


@pytest.mark.parametrize("target", ["wind speed", "wind  speed", "wind\u00a0speed", " wind\nspeed"])
@pytest.mark.parametrize("name", ["wind speed", "wind\u00a0speed", '"wind\nspeed"', "wind  speed "])
def test_white_space_in_a_name_is_white_space(read: Read, name: str, target: str) -> None:
    assert read(f"a,{name}\n1,2\n3,4\n", target).y.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_letters_are_the_same(read: Read, forms: tuple[str, str]) -> None:
    name, target = (unicodedata.normalize(form, "Länge") for form in forms)
    assert read(f"a,{name}\n1,2\n3,4\n", target).y.tolist() == [2.0, 4.0]


def test_a_name_in_an_error_is_shown_with_escapes(read: Read) -> None:
    with pytest.raises(TableError) as error:
        read("a\x1b[31m,\u202ey\n1,2\nx\x00,4\n", "2")
    assert str(error.value).isprintable()
    _says(error, r"'a\x1b[31m'", r"'x\x00'")


# --- the index --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Unnamed: 0", '""'])
@pytest.mark.parametrize("index", [(0, 1, 2), (1, 2, 3), (17, 3, 250), ("Mazda RX4", "Datsun", "Fiat")])
def test_an_index_without_a_name_is_left_out_and_told(read: Read, name: str, index: tuple[object, ...]) -> None:
    rows = "".join(f"{entry},{10 * i},{i}.5\n" for i, entry in enumerate(index))
    table = read(f"{name},a,y\n{rows}")
    _check(table, ["a", "y"], [[0.0], [10.0], [20.0]], [0.5, 1.5, 2.5])
    assert len(table.notes) == 1
    assert "column 1 has no name and is left out" in table.notes[0]


def test_two_indices_are_left_out(read: Read) -> None:
    assert read(",Unnamed: 0,a,y\n0,0,1,2\n1,1,3,4\n").input_names == ["a"]


def test_numbers_without_a_name_are_asked_for(read: Read) -> None:
    with pytest.raises(TableError) as error:
        read(",a,y\n0.5,1,2\n1.5,3,4\n")
    _says(error, "column 1 has no name", "index=False")


def test_a_target_counted_with_the_index_is_told(read: Read) -> None:
    table = read(",a,b,y\n0,1,2,3\n1,4,5,6\n", "3")
    assert table.target_name == "b"
    assert "'b'" in table.notes[1]
    with pytest.raises(TableError, match="column 1 is the rows' index"):
        read(",a,b,y\n0,1,2,3\n1,4,5,6\n", "1")


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_row_names_of_r_are_left_out_and_told(read: Read, separator: str) -> None:
    lines = [('"a"', '"y"'), ('"1"', "1.5", "2"), ('"2"', "3", "4")]
    table = read("\n".join(separator.join(line) for line in lines))
    _check(table, ["a", "y"], [[1.5], [3.0]], [2.0, 4.0])
    assert "a row's name" in table.notes[0]


@pytest.mark.parametrize("rows", ["5.5,1,2\n7.5,3,4\n", "1,5,2\n2,5,3\n3,5,4\n"])  # the latter with decimal commas, perhaps
def test_a_cell_more_than_names_may_be_no_row_name(read: Read, rows: str) -> None:
    with pytest.raises(TableError, match="line 2: 3 cells, where line 1 has 2; if it has decimal commas"):
        read(f"a,y\n{rows}")


def test_rows_that_count_without_a_header_are_told(read: Read) -> None:
    table = read("0,0.5,2\n1,1.5,4\n2,3.5,6\n", "3")
    assert table.X.shape == (3, 2)
    assert "column 1 counts the rows" in table.notes[0]


# --- separators and decimals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [";", "\t", " ", "   "])
def test_decimal_commas(read: Read, separator: str) -> None:
    rows = [("a", "b", "y"), ("1,5", "-2", "1,25e-1"), (",5", "3,", "1000")]
    table = read("\n".join(separator.join(row) for row in rows))
    _check(table, ["a", "b", "y"], [[1.5, -2.0], [0.5, 3.0]], [0.125, 1000.0])


def test_quoted_decimal_commas(read: Read) -> None:
    _check(read('a,y\n"1,5",2\n3,"4,25"\n'), ["a", "y"], [[1.5], [3.0]], [2.0, 4.25])


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (["1,234;2", "5,678;3"], ["line 2", "'1,234'", "may be decimal or a separator of thousands"]),
        (["1,5;2", "1.5;3"], ["line 2", "'1,5' has a comma, and line 3 has '1.5'"]),
        (["1.234,5;2", "5;3"], ["line 2, column 'a'", "without separators of thousands"]),
        (["1 234;2", "5;3"], ["line 2, column 'a'", "without separators of thousands"]),
        (["1'234.5;2", "5;3"], ["line 2, column 'a'", "without separators of thousands"]),
        (["1,234,567;2", "5;3"], ["line 2, column 'a'", "without separators of thousands"]),
        (["1\u202f234,5;2", "5;3"], ["line 2, column 'a'", "without separators of thousands"]),
    ],
)
def test_separators_of_thousands_are_refused(read: Read, cells: list[str], parts: list[str]) -> None:
    with pytest.raises(TableError) as error:
        read("\n".join(["a;y", *cells]))
    _says(error, *parts)


def test_a_zero_before_the_comma_makes_it_decimal(read: Read) -> None:
    assert read("a;y\n0,125;2\n1,250;3\n").X.tolist() == [[0.125], [1.25]]


def test_blanks_and_tabs_as_separators(read: Read) -> None:
    _check(read("  1.0e+00   2.0 \n\t3.0 \t 4.0\n", "2"), ["column 1", "column 2"], [[1.0], [3.0]], [2.0, 4.0])


def test_a_blank_in_a_name_separates_nothing_in_other_files(read: Read) -> None:
    assert read("wind speed\ty\n1\t2\n3\t4\n").input_names == ["wind speed"]


@pytest.mark.parametrize("name", ['"length\nof all"', '"a, b, c, d"', '"a, b\nc, d"'])
def test_a_quoted_name_may_hold_line_breaks_and_commas(read: Read, name: str) -> None:
    _check(read(f"{name};y\n1;2\n3;4\n"), [" ".join(name.strip('"').split()), "y"], [[1.0], [3.0]], [2.0, 4.0])


@pytest.mark.parametrize("beginning", ["\n", "\r\n\r\n", " \n", ",\n", "sep=;\n", '\n"sep=;"\r\n', "SEP=;\r"])
def test_what_may_stand_above_the_header(read: Read, beginning: str) -> None:
    separator = ";" if "sep" in beginning.lower() else ","
    table = read(f"{beginning}{separator.join('ay')}\n{separator.join('12')}\n{separator.join('34')}\n")
    _check(table, ["a", "y"], [[1.0], [3.0]], [2.0, 4.0])


def test_lines_are_counted_with_what_is_skipped(read: Read) -> None:
    with pytest.raises(TableError, match="line 9, column 'a'"):
        read('sep=;\n\n# remark\n"a\n";y\n1;2\n\n# "another\nx;4\n')


@pytest.mark.parametrize("end", [";", ";;", "; ;"])
def test_separators_at_the_ends_of_lines_make_no_column(read: Read, end: str) -> None:
    expected = ["a", "y"], [[1.0], [3.0]], [2.0, 4.0]
    _check(read(f"a;y{end}\n1;2{end}\n3;4{end}\n{end}\n"), *expected)
    _check(read(f"a;y\n1;2{end}\n3;4\n"), *expected)
    _check(read(f"a;y{end}\n1;2\n3;4\n"), *expected)
    assert read(f"1;2{end}\n3;5{end}\n", "-1").y.tolist() == [2.0, 5.0]


def test_a_missing_last_cell_is_one(read: Read) -> None:
    with pytest.raises(TableError, match="line 3, column 'y': the cell is empty"):
        read("a,y\n1,2\n3,\n")


def test_comments_are_skipped(read: Read) -> None:
    _check(read("# made by hand\na,y\n1,2\n# 5,6\n  #7,8\n3,4\n"), ["a", "y"], [[1.0], [3.0]], [2.0, 4.0])


def test_names_in_a_comment_are_taken_and_told(read: Read) -> None:
    buffer = io.StringIO()
    np.savetxt(buffer, [[1.0, 2.0], [3.0, 4.0]], header="made by hand\na y")
    table = read(buffer.getvalue())
    _check(table, ["a", "y"], [[1.0], [3.0]], [2.0, 4.0])
    assert "comment in line 2" in table.notes[0]
    assert read(buffer.getvalue(), "2", False).input_names == ["column 1"]


@pytest.mark.parametrize("value", ["#N/A", "#REF!", "#DIV/0!", "#NV", "#NAME?"])
def test_an_error_of_a_spreadsheet_is_no_comment(read: Read, value: str) -> None:
    with pytest.raises(TableError) as error:
        read(f"a,y\n1,2\n{value},4\n5,6\n")
    _says(error, "line 3, column 'a'", value, "missing")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("Measured in May\n\na,b,y\n1,2,3\n", ["line 3: 3 cells, where line 1 has 1", "title"]),
        ("a,y\nm,s\n1,2\n", ["line 2: no cell is a number", "units"]),
        ('a,y\n1,"2\n3,4\n', ["line 2", "not closed"]),
        (" 0.1D+00  0.2D+00\n 0.3D+01 0.5D+00\n", ["line 1", "'0.1D+00' is not a number", "E in the place of D"]),
        ("day,y\n01/05/2024,2\n", ["line 2, column 'day'", "write dates as 2024-05-31"]),
        ("a,y\n1,2,3\n", ["line 2: 3 cells, where line 1 has 2", "decimal commas"]),
        ("a|y\n1|2\n", ["one column only, 'a|y'", "commas, semicolons, tabs or blanks"]),
        ('[{"a": 1, "y": 2}]', ["is JSON"]),
        ("<!DOCTYPE html><table>", ["is HTML"]),
    ],
)
def test_what_is_no_table_is_refused_with_the_cause(read: Read, content: str, parts: list[str]) -> None:
    with pytest.raises(TableError) as error:
        read(content, "-1" if "D+" in content else "y")
    _says(error, *parts)


# --- encodings and formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_with_a_byte_order_mark(read: Read, encoding: str, end: str) -> None:
    table = read(end.join(["Höhe\ty", "1,5\t2", "3\t4", ""]).encode(encoding))
    _check(table, ["Höhe", "y"], [[1.5], [3.0]], [2.0, 4.0])


def test_windows_letters_are_read_and_told(read: Read) -> None:
    table = read("Höhe;y\n1,5;2\n3;4\n".encode("cp1252"))
    _check(table, ["Höhe", "y"], [[1.5], [3.0]], [2.0, 4.0])
    assert "Windows-1252" in table.notes[0]


def test_utf_16_without_a_byte_order_mark_is_refused(read: Read) -> None:
    with pytest.raises(TableError, match="byte order mark; save it as CSV in UTF-8"):
        read("a\ty\n1\t2\n".encode("utf-16-le"))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_text(read: Read, compress: Callable[[bytes], bytes]) -> None:
    whole = compress(b"a,y\n1,2\n3,4\n")
    _check(read(whole), ["a", "y"], [[1.0], [3.0]], [2.0, 4.0])
    with pytest.raises(TableError, match="compressed and damaged"):
        read(whole[:-9])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04 mimetype", "zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old kind"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"\x00\x01\x02\x00" * 99, "is no text"),
    ],
)
def test_other_formats_are_named(read: Read, content: bytes, what: str) -> None:
    with pytest.raises(TableError) as error:
        read(content)
    _says(error, what, "save")


ARFF = """% a remark
@RELATION 'things seen'

@attribute 'wind speed' NUMERIC  % in m/s
@Attribute b\treal
@ATTRIBUTE y integer
@DATA
1,2.5,3
% another
4, 5 ,6
"""


def test_arff(read: Read) -> None:
    _check(read(ARFF), ["wind speed", "b", "y"], [[1.0, 2.5], [4.0, 5.0]], [3.0, 6.0])


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("b\treal", "b relational", ["line 5, attribute 'b': is of type 'relational'"]),
        ("b\treal", "b", ["line 5", "@attribute NAME TYPE"]),
        ("1,2.5,3", "{0 1, 1 2.5}", ["line 8: is sparse ARFF", "CSV"]),
        ("2.5", "?", ["line 8, column 'b'", "missing"]),
        ("@DATA", "", ["no @data"]),
        (ARFF[ARFF.index("@attribute") : ARFF.index("@DATA")], "", ["no @attribute"]),
    ],
)
def test_arff_of_other_kinds_is_refused(read: Read, old: str, new: str, parts: list[str]) -> None:
    with pytest.raises(TableError) as error:
        read(ARFF.replace(old, new))
    _says(error, *parts)


# --- categories, dates and angles ---------------------------------------------------------------------------------


def test_text_that_comes_again_is_categories(read: Read) -> None:
    table = read("a,colour,y\n1,red,2\n2, blue ,3\n3,red,4\n")
    assert table.X.tolist() == [[1.0, "red"], [2.0, "blue"], [3.0, "red"]]
    assert table.categorical == (1,)
    assert table.notes == ("text is taken for categories: 'colour' (2); --ignore leaves such columns out",)
    with pytest.raises(TableError, match=r"'pale' is not a number; declare .*--categorical colour, or .*--ignore"):
        read("a,colour,y\n1,pale,2\n2,red,3\n")  # all different: a remark, maybe


def test_units_are_taken_out_of_the_file(read: Read) -> None:
    alone = r"'1.344 m/s' is not a number; write the numbers alone, .*\(a unit, say\), or leave the column out"
    with pytest.raises(TableError, match=alone):
        read("speed,y\n1.344 m/s,2\n1.2 m/s,3\n1.5 m/s,4\n")
    with pytest.raises(TableError, match=alone):
        read("speed,y\n2,1\n1.344 m/s,2\n3,3\n")
    with pytest.raises(TableError) as caught:
        read("speed,name,y\n5%,a,2\n4.5%,b,3\n-4e1 %,a b,4\n3kg,d,5\n")
    assert "'speed' holds numbers with something behind them ('5%' in line 2)" in str(caught.value)
    assert "write the numbers alone" in str(caught.value)
    assert "--categorical" not in str(caught.value)
    with pytest.raises(TableError, match=r"'y' holds numbers with something behind them .*; write the numbers alone"):
        read("a,y\n1,2 m\n2,3 m\n")
    with pytest.raises(TableError, match="categories: --categorical place"):  # houses, not units
        read("place,y\n1/2,2\nHill 4,3\n7-9,4\n")


def test_a_target_of_text_is_refused_as_such(read: Read) -> None:
    message = r"the target must be numbers, and 'y' holds 2 categories \(steel, wood\); this is regression"
    with pytest.raises(TableError, match=message):
        read("a,y\n1,steel\n2,wood\n3,wood\n")
    with pytest.raises(TableError, match="line 3, column 'y': 'wood' is not a number"):  # among numbers a mistake
        read("a,y\n1,2\n2,wood\n3,4\n")


def test_a_number_that_is_mistyped_makes_no_categories(read: Read) -> None:
    with pytest.raises(TableError, match=r"line 3, column 'a': 'n\.d\.' is not a number; make it one, or leave"):
        read("a,y\n1,2\nn.d.,3\nn.d.,4\n3,1\n")


def test_columns_may_be_declared_categories(read: Read) -> None:
    content = "machine,part,y\n1,a1,2\n02,7,3\n1.0,a1,4\n"
    table = read(content, categorical=["machine", "part"])
    assert table.X.tolist() == [[1, "a1"], [2, "7"], [1, "a1"]]  # numbers where all are
    assert table.categorical == (0, 1)
    assert read(content, categorical=["machine,part"]).X.tolist() == table.X.tolist()
    with pytest.raises(TableError, match="--categorical names 'y', which is no input"):
        read(content, categorical=["y"])


def test_a_category_that_is_missing_is_like_a_number(read: Read) -> None:
    content = "colour,y\nred,2\n,3\nred,4\nblue,1\nNA,1\n"
    with pytest.raises(TableError, match="line 3, column 'colour': the cell is empty"):
        read(content)
    table = read(content, drop_missing=True)
    assert table.X.tolist() == [["red"], ["red"], ["blue"]]


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (("2024-05-01", "2024-05-03"), (19844.0, 19846.0)),
        (("1969/12/31", "1970/01/02"), (-1.0, 1.0)),
        (("2024-05-01 06:00", "2024-05-01T18:00:00.000"), (19844.25, 19844.75)),
        (("2024-05-01T00:00Z", "2024-05-01 02:00+02:00"), (19844.0, 19844.0)),
    ],
)
def test_dates_are_days(read: Read, cells: tuple[str, str], days: tuple[float, float]) -> None:
    table = read(f"day,y\n{cells[0]},1\n{cells[1]},2\n")
    assert table.X[:, 0].tolist() == list(days)
    expected = [np.datetime64(cell.replace("/", "-").removesuffix("Z")) for cell in cells if "+" not in cell]
    since = [(day - np.datetime64("1970-01-01")) / np.timedelta64(1, "D") for day in expected]
    assert since == list(days[: len(since)])
    assert table.notes == ("dates are taken as days since 1970-01-01: 'day'",)


@pytest.mark.parametrize("second", ["2024-02-30", "02.05.2024", "12:30", "2024-05-02T00:00Z", "2024-5-2"])
def test_what_is_no_date_among_dates_is_told(read: Read, second: str) -> None:
    with pytest.raises(TableError, match=f"line 3, column 'day': '{re.escape(second)}' is not a number; "):
        read(f"day,y\n2024-05-01,1\n{second},2\n")


def test_periods(read: Read) -> None:
    table = read("wind,k=1,y\n1,2,3\n4,5,6\n", periodic=["wind=360", "k=1=7.5"])
    assert table.periodic == ((0, 360.0), (1, 7.5))
    for choice in ("wind", "wind=", "wind=0", "wind=-1", "wind=inf", "=3"):
        with pytest.raises(TableError, match="--periodic takes a column and its period"):
            read("wind,y\n1,2\n3,4\n", periodic=[choice])
    with pytest.raises(TableError, match="both name 'wind'"):
        read("wind,y\n1,2\n3,4\n", periodic=["wind=3"], categorical=["wind"])
    with pytest.raises(TableError, match="--periodic names 'wind', which is no input"):
        read("wind,a,y\n1,2,3\n3,4,5\n", periodic=["wind=3"], ignore=["wind"])


def test_arff_declares_categories(read: Read) -> None:
    content = ARFF.replace("b\treal", "b {2.5, 4}").replace("2.5", "4")
    table = read(content)
    assert table.categorical == (table.input_names.index("b"),)
    assert {type(entry) for entry in table.X[:, table.categorical[0]]} <= {int, float}


@pytest.mark.parametrize("kind", ["parquet", "excel"])
def test_formats_that_pandas_reads(read: Read, kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip({"parquet": "pyarrow", "excel": "openpyxl"}[kind])
    random = np.random.default_rng(0)
    X, y = random.standard_normal((5, 3)).round(9), random.integers(0, 9, 5)
    frame = pandas.DataFrame(X, columns=["a", "b c", "d"]).assign(y=y, flag=y > 4)
    buffer = io.BytesIO()
    frame.to_parquet(buffer) if kind == "parquet" else frame.to_excel(buffer, index=False)
    table = read(buffer.getvalue())
    _check(table, ["a", "b c", "d", "flag", "y"], np.column_stack([X, y > 4]), y)
    assert table.notes == ()


def test_single_precision_in_parquet_is_kept(read: Read) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    buffer = io.BytesIO()
    pandas.DataFrame({"a": np.array([0.1, 0.2], np.float32), "y": [1, 2]}).to_parquet(buffer)
    assert read(buffer.getvalue()).X[0, 0] == np.float32(0.1)


def test_the_index_in_parquet_is_left_out_and_told(read: Read) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    buffer = io.BytesIO()
    pandas.DataFrame({"a": [1.0, 2.0], "y": [1, 2]}, index=pandas.Index([5, 7], name="day")).to_parquet(buffer)
    table = read(buffer.getvalue())
    assert table.input_names == ["a"]
    assert "index 'day' is left out" in table.notes[0]


def test_excel_as_people_write_it(read: Read) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("pandas")
    book = openpyxl.Workbook()
    book.create_sheet("Remarks")
    for row in ([None, None, None], ["a", None, "y"], [1, None, 2.5], [None, None, None], [3, None, None]):
        book.active.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    with pytest.raises(TableError, match=r"'column 2' is empty, 'y' .*lacks 1 of 2 values .the first in line 5"):
        read(buffer.getvalue())
    book.active.delete_cols(2)
    book.active["B5"] = 4
    buffer = io.BytesIO()
    book.save(buffer)
    table = read(buffer.getvalue())
    _check(table, ["a", "y"], [[1.0], [3.0]], [2.5, 4.0])
    assert "only the first of 2 sheets, 'Sheet', is read" in table.notes[0]
    book.active.insert_rows(1)
    book.active["A1"] = "Measured in May"
    buffer = io.BytesIO()
    book.save(buffer)
    with pytest.raises(TableError, match="line 3: no cell is a number; take out"):
        read(buffer.getvalue())


@pytest.mark.parametrize(("content", "kind"), [(b"PAR1 xl", "Parquet"), (b"PK\x03\x04 xl/workbook.xml", "Excel")])
def test_without_pandas_the_extra_is_named(read: Read, monkeypatch: pytest.MonkeyPatch, content: bytes, kind: str) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(TableError) as error:
        read(content)
    _says(error, f"reading {kind} needs pandas", "pip install 'fastard[files]'")


@pytest.mark.parametrize(("content", "kind"), [(b"PAR1 xl", "Parquet"), (b"PK\x03\x04 xl/workbook.xml", "Excel")])
def test_damaged_formats_are_refused(read: Read, content: bytes, kind: str) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip({"Parquet": "pyarrow", "Excel": "openpyxl"}[kind])
    with pytest.raises(TableError) as error:
        read(content)
    _says(error, f"cannot be read as {kind}", "save the table as CSV")
