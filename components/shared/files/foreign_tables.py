"""Tables from users, as spreadsheets, data frames and databases write them: CSV of any dialect, and Parquet."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.errors import SourceError

# How pandas, SQL and spreadsheets write a cell without a value. "NA" can be a word (North America, sodium) and stays.
_MISSING = frozenset(
    (
        "",
        "nan",
        "NaN",
        "NAN",
        "-nan",
        "None",
        "none",
        "NULL",
        "null",
        "NaT",
        "nat",
        "<NA>",
        "N/A",
        "n/a",
        "#N/A",
        "#NULL!",
    )
)
_SEPARATORS = ",;\t|"
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SNIFFED_BYTES = 4096


@dataclass(frozen=True)
class ForeignTable:
    """A table from outside, column by column; a cell without a value is None.

    Attributes:
        source: path or URI, for messages.
        columns: cells by column name, in the table's order.
        rows: number of each row in the source, from 1, without the header; empty rows are left out.
    """

    source: str
    columns: dict[str, list[Any]]
    rows: list[int]

    def texts(self, name: str) -> list[str | None]:
        """Return a column as stripped text; None in every row if the table lacks the column.

        A whole number that a data frame turned into a float, because other rows were empty, is written as whole again.

        Raises:
            SourceError: a cell holds a list or a structure.
        """
        if name not in self.columns:
            return [None] * len(self.rows)
        return [self._text(name, row, value) for row, value in zip(self.rows, self.columns[name], strict=True)]

    def _text(self, name: str, row: int, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        if isinstance(value, (list, dict, tuple)):
            raise SourceError(
                f"{self.source}, row {row}: {name} holds {str(value)[:40]}; write one value per cell",
                source=self.source,
            )
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace").strip()
        return str(value).strip()


def read_foreign_table(source: str, data: bytes, required: Sequence[str]) -> ForeignTable:
    """Read a CSV or Parquet table; the first bytes show which.

    CSV is decoded as UTF-8, UTF-16 or UTF-32 (with or without a byte order mark) or Windows-1252, and is separated by comma,
    semicolon, tab or "|", with a header line. Words for a missing value (nan, None, NULL, NaT, <NA>, N/A) become None.

    `source`, a path or URI, is for messages; the columns in `required` must be present.

    Raises:
        SourceError: the file is not such a table, a required column is missing, a column occurs twice, or a row has the
            wrong length; the message names the row.
    """
    if data[:4] == b"PAR1":
        table = _read_parquet(source, data)
    elif data.strip(b"\x00\r\n\t ") == b"":
        raise SourceError(f"{source} is empty; its first line must name {', '.join(required)}", source=source)
    else:
        table = _read_csv(source, decode_text(source, data), required)
    _check_columns(source, list(table.columns), required)
    return table


def decode_text(source: str, data: bytes) -> str:
    """Decode text of unknown encoding: by its byte order mark, as UTF-16 without one, as UTF-8, else as Windows-1252.

    Raises:
        SourceError: the text is in none of these encodings.
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    for encoding in [marked] if marked else [*_unmarked_utf16(data), "utf-8", "cp1252"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "cp1252" or not any(c < " " and c not in "\t\r\n\x1a" for c in text):
            return text
    raise SourceError(f"{source} is not text in UTF-8, UTF-16 or Windows-1252; save it as UTF-8", source=source)


def _unmarked_utf16(data: bytes) -> list[str]:
    """Return the UTF-16 variant of mostly Latin text without a byte order mark, if its zero bytes show one."""
    start = data[:_SNIFFED_BYTES]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) * 4 < len(start):
        return []
    return ["utf-16-le" if odd > even else "utf-16-be"]


def _read_csv(source: str, text: str, required: Sequence[str]) -> ForeignTable:
    separator = None
    if text[:4].lower() == "sep=":  # a first line that Excel writes
        line, _, text = text.partition("\n")
        separator = line.strip()[4:5] or None
    separator = separator or _separator(text, required)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    names: list[str] = []
    columns: list[list[Any]] = []
    rows: list[int] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = [cell.strip() for cell in cells]
                _refuse_doubled(source, names)
                columns = [[] for _ in names]
                number = 0
                continue
            number += 1
            for column, cell in zip(columns, _fitting(source, number, cells, names), strict=True):
                column.append(_value(cell))
            rows.append(number)
    except csv.Error as error:
        raise SourceError(f"{source}, line {reader.line_num}: {error}; correct that line", source=source) from error
    return ForeignTable(source, dict(zip(names, columns, strict=True)), rows)


def _separator(text: str, required: Sequence[str]) -> str:
    """Return the separator whose header has the most required columns, or else the most columns."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def fit(separator: str) -> tuple[int, int]:
        names = [name.strip().strip('"') for name in header.split(separator)]
        return sum(name in names for name in required), len(names)

    return max(_SEPARATORS, key=fit)


def _fitting(source: str, row: int, cells: list[str], names: list[str]) -> list[str]:
    surplus = cells[len(names) :]
    if len(cells) < len(names) or any(cell.strip() for cell in surplus):
        raise SourceError(
            f"{source}, row {row} (header not counted) has {len(cells)} cells, but the header has {len(names)} columns; "
            "correct that row, and put cells that hold the separator into quotes",
            source=source,
        )
    return cells[: len(names)]


def _value(cell: Any) -> Any:
    """Return a cell's value; None where it holds a word for a missing one."""
    if isinstance(cell, str):
        stripped = cell.strip()
        return None if stripped in _MISSING else stripped
    if isinstance(cell, float) and math.isnan(cell):
        return None
    return None if str(cell) in {"NaT", "<NA>"} else cell


def _read_parquet(source: str, data: bytes) -> ForeignTable:
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, ValueError, OSError) as error:
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise SourceError(f"{source} is not a readable Parquet file: {text}; write it again", source=source) from error
    _refuse_doubled(source, table.column_names)
    columns = {name: [_value(cell) for cell in table.column(name).to_pylist()] for name in table.column_names}
    filled = [row for row in range(table.num_rows) if any(cells[row] is not None for cells in columns.values())]
    if len(filled) < table.num_rows:
        columns = {name: [cells[row] for row in filled] for name, cells in columns.items()}
    return ForeignTable(source, columns, [row + 1 for row in filled])


def _refuse_doubled(source: str, names: Sequence[str]) -> None:
    doubled = [name for name, count in Counter(names).items() if count > 1 and name]
    if doubled:
        raise SourceError(f"{source} has the column {doubled[0]} twice; remove or rename one of them", source=source)


def _check_columns(source: str, present: list[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in present]
    if missing:
        several = len(missing) > 1
        raise SourceError(
            f"{source} lacks the column{'s' if several else ''} {', '.join(missing)} "
            f"(it has {', '.join(present) or 'none'}); add or rename {'them' if several else 'it'}",
            source=source,
        )
