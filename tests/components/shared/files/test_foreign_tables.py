"""Tables as spreadsheets, data frames and databases write them."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.shared.errors import SourceError
from components.shared.files.foreign_tables import decode_text, read_foreign_table

ROWS = [("a.jpg", "Schuh"), ("b, c.jpg", "Tasche; groß"), ("日.jpg", "x")]


def text_of(separator: str, rows=ROWS) -> str:
    frame = pd.DataFrame(rows, columns=["uri", "category"])
    return frame.to_csv(index=False, sep=separator)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_every_encoding_and_separator(separator, encoding):
    rows = ROWS[:2] if encoding == "cp1252" else ROWS
    table = read_foreign_table("t.csv", text_of(separator, rows).encode(encoding), ("uri",))
    assert table.texts("uri") == [uri for uri, _ in rows]
    assert table.texts("category") == [category for _, category in rows]
    assert table.texts("item_id") == [None] * len(rows)


def test_what_excel_adds_is_taken_away():
    data = b'sep=;\r\n\r\n uri ; "category";;\r\na.jpg;x;;\r\n;;;\r\n\r\nb.jpg;y;;\r\n'
    table = read_foreign_table("t.csv", data, ("uri",))
    assert (table.texts("uri"), table.texts("category")) == (["a.jpg", "b.jpg"], ["x", "y"])
    assert table.rows == [1, 2]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NaT, pd.NA])
def test_missing_values_are_none_in_csv_and_parquet(missing, tmp_path):
    frame = pd.DataFrame({"uri": ["a", "b"], "item_id": pd.Series([7, missing], dtype=object)})
    as_text = frame.astype({"item_id": str})
    pq.write_table(pa.Table.from_pandas(as_text), tmp_path / "t.parquet")
    for data in (as_text.to_csv(index=False).encode(), (tmp_path / "t.parquet").read_bytes()):
        assert read_foreign_table("t", data, ("uri",)).texts("item_id") == ["7", None]


def test_whole_numbers_that_became_floats_are_whole_again():
    buffer = io.BytesIO()
    pd.DataFrame({"uri": ["a", "b", "c"], "item_id": [12.0, None, 13.0], "price": [1.5, 2.0, None]}).to_parquet(buffer)
    table = read_foreign_table("t", buffer.getvalue(), ("uri",))
    assert table.texts("item_id") == ["12", None, "13"]
    assert table.texts("price") == ["1.5", "2", None]


def test_words_that_only_look_missing_stay():
    table = read_foreign_table("t.csv", b"uri,category\nNA,Nan's shop\nnone.jpg,null-arm\n", ("uri",))
    assert table.texts("uri") == ["NA", "none.jpg"]
    assert table.texts("category") == ["Nan's shop", "null-arm"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; its first line must name uri"),
        ("\r\n \r\n".encode("utf-16"), "lacks the column uri"),
        (b"url,x\n1,2\n", r"lacks the column uri \(it has url, x\); add or rename it"),
        (b"uri,uri\n1,2\n", "has the column uri twice"),
        (b"uri,x\na,1\nb\n", r"row 2 \(header not counted\) has 1 cells, but the header has 2 columns"),
        (b"uri,x\na,1,2\n", r"row 1 \(header not counted\) has 3 cells"),
        (b'uri,x\n"a,1\n', "line 2: unexpected end of data"),
        (b"uri\n" + b"y" * 200_000, "field larger than field limit"),
        (b"\x89PNG\r\n\x1a\n\x00\x81", "is not text in UTF-8, UTF-16 or Windows-1252"),
        (b"PAR1PAR1", "is not a readable Parquet file"),
    ],
)
def test_one_sentence_for_what_cannot_be_read(data, message):
    with pytest.raises(SourceError, match=message) as caught:
        read_foreign_table("t.csv", data, ("uri",))
    assert "\n" not in str(caught.value)


def test_a_cell_with_a_list_names_row_and_column(tmp_path):
    pq.write_table(pa.table({"uri": ["a", "b"], "item_id": [[1], [2, 3]]}), tmp_path / "t.parquet")
    table = read_foreign_table("t.parquet", (tmp_path / "t.parquet").read_bytes(), ("uri",))
    with pytest.raises(SourceError, match=r"row 1: item_id holds \[1\]; write one value per cell"):
        table.texts("item_id")


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(SourceError, match="save it as UTF-8"):
        decode_text("x", bytes(range(0x80, 0xA0)))
