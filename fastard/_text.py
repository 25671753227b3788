"""Text for people: from files and from the shell, with escapes for what is not printable, and lists that are cut."""

import re
import unicodedata
from collections.abc import Sequence

_YEAR, _MONTH = r"(1[89]|20)\d\d", r"(0?[1-9]|1[0-2])"

# English names of months with a year, and maybe a day, a day of the week before and a time behind
_NAMED = (
    rf"((mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]*\s+)?(?=.*(?<!\d){_YEAR}(?!\d))(\d{{1,4}}(st|[nr]d|th|\.)?[\s/-]*)?"
    r"(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?|dec(ember)?)\.?"
    r"([\s/-]+\d{1,2}(st|[nr]d|th)?)?(,?[\s/-]*\d{4})?([\sT,]+(at )?\d{1,2}:\d{2}.*)?"
)

_DATE = re.compile(
    r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2})?.*"
    rf"|{_YEAR}[-/]{_MONTH}|{_MONTH}[-/]{_YEAR}|{_NAMED}",
    re.IGNORECASE,
)

_DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")

MOST_CATEGORIES = 20  # more different texts than these are no categories, unless somebody says so


def is_date(text: str) -> bool:
    """Whether it is written as a date, a month of a year, or a time of the day is, in whatever order."""
    return _DATE.fullmatch(text) is not None


def has_decimal_comma(text: str) -> bool:
    """Whether it is a number with one comma, and no point, in it: of 1,234 that may be a separator of thousands."""
    return _DECIMAL_COMMA.fullmatch(text.strip()) is not None


def are_categories(texts: Sequence[str]) -> bool:
    """Whether they are few, and some of them more than once."""
    return len(set(texts)) <= MOST_CATEGORIES and len(set(texts)) < len(texts)


def printable(text: str) -> str:
    r"""The text with an escape, ``\x1b`` or ``\u202e`` say, for each character that a terminal would obey or hide."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, longest: int = 60) -> str:
    """The same, cut where it is longer than so many characters."""
    shown = printable(text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def folded(name: str) -> str:
    """A name as it is compared: composed letters, and any run of white space, line breaks included, as one blank."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def quoted(text: str) -> str:
    """The same between quotes, for a message."""
    return f"'{shortened(text)}'"


def listed(items: Sequence[object]) -> str:
    """The first dozen of them, and how many more there are."""
    most = 12
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str]) -> list[str]:
    """Lines of a table; ``align`` has "<" or ">" for each column. Without a header there is no rule either."""
    lines = [header, *rows] if header else list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if header:
        lines.insert(1, ["-" * width for width in widths])
    cells = [[f"{cell:{side}{width}}" for cell, side, width in zip(line, align, widths, strict=True)] for line in lines]
    return ["  " + "  ".join(line).rstrip() for line in cells]


def printable_lines(lines: Sequence[str]) -> str:
    """One text of lines, each ``printable``."""
    return "\n".join(map(printable, lines))
