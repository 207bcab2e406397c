"""Reads a catalogue's table from a file: CSV, TSV, JSON lines, Excel or Parquet.

CSV is read with Python's csv module, one record at a time. Shops' files often have a column of free text with
commas that nobody quoted, and pandas, polars and pyarrow can only drop or truncate such rows. Excel files are
read with python-calamine, Parquet with pyarrow.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from charset_normalizer import from_bytes

DELIMITERS = (",", ";", "\t", "|")
SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".xlsx", ".xls", ".ods", ".parquet")

# Byte order marks.
_WIDE = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_GUESSED_BYTES = 100_000
_LEAST_GUESSED = 10  # bytes beyond ASCII
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_DAMAGED = re.compile("[\udc80-\udcff]")  # how surrogateescape marks bytes that are not UTF-8
_LINES_OF_A_RECORD = 100  # a quoted value with more line breaks is an unbalanced quote
_NOT_LATIN = (
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1255",
    "cp1256",
    "cp932",
    "shift_jis",
    "gb18030",
    "big5",
    "cp949",
)

type Value = str | int | float | bool | Sequence[str | int | float | bool | None] | None


class TableError(Exception):
    """A file is not a table; the message says why in one line."""


@dataclass(frozen=True)
class Row:
    """A row by column name. A text file's values are text, and "" where a cell is empty."""

    line: int  # of the file; the header of a text file is line 1
    values: Mapping[str, Value]


@dataclass(frozen=True)
class BadRow:
    """A row that was left out."""

    line: int
    reason: str


@dataclass(frozen=True)
class TableFile:
    """A table that was read from a file.

    Args:
        columns: their names, in the file's order.
        rows: in the file's order.
        bad_rows: what could not be read.
        notes: what was assumed, in sentences for people.

    """

    columns: Sequence[str]
    rows: Sequence[Row]
    bad_rows: Sequence[BadRow] = ()
    notes: Sequence[str] = ()


def read_table(
    name: str, data: bytes, free_text: str | None = None, encoding: str | None = None
) -> TableFile:
    """Read a table.

    Args:
        name: of the file; its suffix tells the format.
        data: the file's content.
        free_text: the column of CSV whose values may have unquoted delimiters. Default: the last one.
        encoding: of a text file. Default: found from its content.

    Raises:
        TableError: the file is empty, damaged or of another format, or two columns have one name.

    """
    suffix = PurePath(name).suffix.lower()
    if not data.strip():
        raise TableError(f"{name} is empty")
    match suffix:
        case ".csv" | ".tsv" | ".txt":
            return _delimited(name, data, free_text, encoding)
        case ".jsonl" | ".ndjson":
            return _json_lines(name, data, encoding)
        case ".xlsx" | ".xls" | ".ods":
            return _sheet(name, data)
        case ".parquet":
            return _parquet(name, data)
    raise TableError(f"{name}: expected a file that ends with {', '.join(SUFFIXES)}")


def find_column(wanted: str, columns: Sequence[str]) -> str | None:
    """The column of this name, or the only one that differs from it in case, blanks and punctuation alone."""
    if wanted in columns:
        return wanted
    alike = [column for column in columns if _simple(column) == _simple(wanted)]
    return alike[0] if len(alike) == 1 else None


def _simple(column: str) -> str:
    return "".join(filter(str.isalnum, column)).casefold()


# ------------------------------------------------------------------------------------- text


def _delimited(name: str, data: bytes, free_text: str | None, encoding: str | None) -> TableFile:
    text, notes = _decoded(name, data, encoding)
    lines = _lines(text)
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise TableError(f"{name} has no header")
    delimiter = max(DELIMITERS, key=lambda each: len(_header(lines[first], each)))
    header = _header(lines[first], delimiter)
    while header and not header[-1]:
        header.pop()
    _check_names(name, header)
    free = find_column(free_text, header) if free_text else None
    place = header.index(free) if free else len(header) - 1
    rows, bad_rows = [], []
    for line, cells in _records(lines[first + 1 :], delimiter, first + 2):
        if not any(cell.strip() for cell in cells):
            continue
        if any(not cell.isascii() and _DAMAGED.search(cell) for cell in cells):
            bad_rows.append(BadRow(line, "not UTF-8, unlike the rest of the file"))
            continue
        try:
            cells = _fitted(cells, len(header), place, delimiter)
        except ValueError as error:
            bad_rows.append(BadRow(line, str(error)))
            continue
        # pandas writes its index as a first column without a name.
        rows.append(Row(line, {column: cell for column, cell in zip(header, cells, strict=True) if column}))
    return TableFile([column for column in header if column], rows, bad_rows, notes)


def _header(line: str, delimiter: str) -> list[str]:
    ((_line, cells),) = _records([line], delimiter, 1)
    return [cell.strip() for cell in cells]


def _decoded(name: str, data: bytes, encoding: str | None) -> tuple[str, list[str]]:
    if encoding is not None:
        try:
            return data.decode(encoding).removeprefix("\ufeff"), []
        except (UnicodeDecodeError, LookupError) as error:
            raise TableError(f"{name}: cannot be read as {encoding}: {error}") from error
    if wide := next((each for begin, each in _WIDE.items() if data.startswith(begin)), None):
        return _decoded(name, data, wide)
    if b"\0" in data[:2]:  # no byte order mark, and the first letter is of ASCII
        return _decoded(name, data, "utf-16-be" if data[0] == 0 else "utf-16-le")
    text = data.decode("utf-8-sig", errors="surrogateescape")
    damaged = len(_DAMAGED.findall(text))
    # A file of another encoding has next to no valid sequences; a damaged one has many.
    if damaged <= sum(1 for _ in _FOREIGN.finditer(text)) - damaged:
        return text, []
    guess = from_bytes(data[:_GUESSED_BYTES]).best()
    # Guesses between the encodings of Latin alphabets, and from a few letters, are not reliable; spreadsheets
    # in the West write this one.
    reliable = damaged >= _LEAST_GUESSED and guess is not None and guess.encoding in _NOT_LATIN
    chosen = guess.encoding if guess and reliable else "cp1252"
    text = data.decode(chosen, errors="replace")
    first = _FOREIGN.search(text)
    example = text[max(0, first.start() - 15) : first.end() + 15].strip() if first else ""
    return text, [f"the file is not UTF-8; it was read as {chosen} (for example {example!r})"]


def _lines(text: str) -> list[str]:
    """The lines, with line breaks. str.splitlines would also split at characters that values may have."""
    return io.StringIO(text, newline="\n" if "\n" in text else "\r").readlines()


def _records(lines: Sequence[str], delimiter: str, number: int) -> Iterator[tuple[int, list[str]]]:
    """The number of the first line and the cells of each record; quoted values may have line breaks."""
    start = 0
    while start < len(lines):
        size = 1
        while size <= _LINES_OF_A_RECORD and start + size <= len(lines):
            try:
                cells = _cells(lines[start : start + size], delimiter)
                break
            except csv.Error:
                size += 1
        else:
            # A quote that does not enclose a value, such as that of `6" heel` or `"Anna" shirt`.
            size = 1
            cells = [_unquoted(cell) for cell in lines[start].rstrip("\r\n").split(delimiter)]
        yield number + start, cells
        start += size


def _cells(lines: Sequence[str], delimiter: str) -> list[str]:
    """The cells of one record.

    Raises:
        csv.Error: a quote is not closed, or is closed in the middle of a value.

    """
    records = list(
        csv.reader([line.rstrip("\r\n") + "\n" for line in lines], delimiter=delimiter, strict=True)
    )
    if len(records) > 1:
        raise csv.Error("several records")
    # Of the lines but the last, the break is part of a quoted value.
    return records[0] if records else []


def _unquoted(cell: str) -> str:
    inner = cell.strip()[1:-1]
    quoted = len(cell.strip()) >= 2 and cell.strip()[0] == cell.strip()[-1] == '"'
    return inner.replace('""', '"') if quoted and '"' not in inner.replace('""', "") else cell


def _fitted(cells: list[str], width: int, free_text: int, delimiter: str) -> list[str]:
    """A row's cells, as many as the header has.

    Raises:
        ValueError: there are fewer.

    """
    while len(cells) > width and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) < width:
        raise ValueError(f"{len(cells)} columns instead of {width}")
    last = len(cells) - (width - free_text - 1)
    return [*cells[:free_text], delimiter.join(cells[free_text:last]), *cells[last:]]


def _json_lines(name: str, data: bytes, encoding: str | None) -> TableFile:
    text, notes = _decoded(name, data, encoding)
    rows, bad_rows, columns = [], [], dict[str, None]()
    for line, content in enumerate(_lines(text), start=1):
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except ValueError as error:
            bad_rows.append(BadRow(line, f"not JSON: {error}"))
            continue
        if not isinstance(values, dict):
            bad_rows.append(BadRow(line, f"expected an object, not {content.strip()[:40]}"))
            continue
        columns |= dict.fromkeys(values)
        rows.append(Row(line, values))
    if not rows:
        raise TableError(f"{name} has no line with a JSON object")
    return TableFile([*columns], rows, bad_rows, notes)


# ------------------------------------------------------------------------------------- binary


def _sheet(name: str, data: bytes) -> TableFile:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        sheet = CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0)
        content = sheet.to_python(skip_empty_area=False)
    except (CalamineError, OSError) as error:
        raise TableError(f"{name} is not a spreadsheet: {error}") from error
    first = next((number for number, cells in enumerate(content) if any(cell != "" for cell in cells)), None)
    if first is None:
        raise TableError(f"{name}: its first sheet is empty")
    header = [str(cell).strip() for cell in content[first]]
    _check_names(name, header)
    rows = [
        Row(line, {column: _cell(cell) for column, cell in zip(header, cells, strict=False) if column})
        for line, cells in enumerate(content[first + 1 :], start=first + 2)
        if any(cell != "" for cell in cells)
    ]
    return TableFile([column for column in header if column], rows)


def _cell(cell: Any) -> Value:
    """A spreadsheet's value; its only numbers are floating point, in which ids and years are typed, too."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return cell if isinstance(cell, (str, int, float, bool)) else str(cell)


def _parquet(name: str, data: bytes) -> TableFile:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise TableError(f"{name} is not a Parquet file: {error}") from error
    _check_names(name, table.column_names)
    return TableFile(
        table.column_names, [Row(line, row) for line, row in enumerate(table.to_pylist(), start=1)]
    )


def _check_names(name: str, columns: Sequence[str]) -> None:
    twice = [column for column, count in Counter(columns).items() if column and count > 1]
    if twice:
        raise TableError(f"{name}: two columns are called {twice[0]!r}")
    if not any(columns):
        raise TableError(f"{name} has no header")
