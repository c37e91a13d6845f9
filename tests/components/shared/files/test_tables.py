"""Tables: written and read back, refused where the schema is not kept."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import ContractError, SourceError, UnfinishedArtifactError
from components.shared.files import tables
from components.shared.files.tables import (
    CATALOGUE,
    EVENTS,
    PAIRS,
    QUARANTINE,
    TableFormat,
    first_duplicate,
    read_table,
    require_columns,
    write_table,
)
from support.factories.basics import make_catalogue

ROWS = [{"uri": "a.jpg", "reason": "truncated", "message": "…"}, {"uri": "b.jpg", "reason": "empty", "message": ""}]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return read_table(make_catalogue(tmp_path_factory.mktemp("c"), items=3, views=2) / "catalogue.parquet", CATALOGUE)


def test_write_then_read_is_identity(tmp_path, catalogue):
    write_table(tmp_path / "c.parquet", catalogue, CATALOGUE)
    assert read_table(tmp_path / "c.parquet", CATALOGUE).equals(catalogue)
    assert read_table(tmp_path / "c.parquet", CATALOGUE, ["split", "uri"]).column_names == ["split", "uri"]


@given(
    st.lists(
        st.tuples(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.floats(0.125, 9, width=32)),
        max_size=9,
    )
)
@settings(max_examples=25)
def test_any_pairs_survive(tmp_path_factory, rows):
    table = pa.Table.from_pylist([dict(zip(PAIRS.schema.names, row, strict=True)) for row in rows], PAIRS.schema)
    path = tmp_path_factory.mktemp("p") / "pairs.parquet"
    write_table(path, table, PAIRS)
    assert read_table(path, PAIRS).to_pylist() == table.to_pylist()


def test_empty_table_of_every_format_survives(tmp_path):
    formats = [value for value in vars(tables).values() if isinstance(value, TableFormat)]
    assert len(formats) >= 6
    for form in formats:
        write_table(tmp_path / form.name, form.schema.empty_table(), form)
        assert read_table(tmp_path / form.name, form).schema.names == form.schema.names


def test_columns_are_brought_into_order_and_type(tmp_path):
    table = pa.table({"message": ["m"], "extra": [1], "reason": ["r"], "uri": pa.array(["u"], pa.large_string())})
    write_table(tmp_path / "q", table, QUARANTINE)
    assert read_table(tmp_path / "q", QUARANTINE).to_pylist() == [{"uri": "u", "reason": "r", "message": "m"}]


def test_times_keep_their_instant(tmp_path, catalogue):
    zone = datetime.timezone(datetime.timedelta(hours=2))
    at = datetime.datetime(2026, 5, 1, 12, 0, 0, 5, zone)
    column = pa.array([at] * len(catalogue), pa.timestamp("us", tz="+02:00"))
    changed = catalogue.set_column(catalogue.column_names.index("added_at"), "added_at", column)
    write_table(tmp_path / "c", changed, CATALOGUE)
    assert read_table(tmp_path / "c", CATALOGUE).column("added_at")[0].as_py() == at


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["split", "sha256"]), "lacks the columns sha256, split"),
        (
            lambda t: t.set_column(0, "image_id", pa.array([None] * len(t), pa.string())),
            "empty value in column image_id",
        ),
        (lambda t: t.set_column(4, "width", pa.array(["wide"] * len(t))), "wrong type"),
        (lambda t: t.set_column(4, "width", pa.array([2**40] * len(t))), "wrong type"),
        (lambda t: pa.concat_tables([t, t.slice(1, 1)]), "image_id 000-1 more than once"),
    ],
)
def test_a_table_that_breaks_its_format_is_not_written(tmp_path, catalogue, change, message):
    write_table(tmp_path / "c", catalogue, CATALOGUE)
    with pytest.raises(ContractError, match=message):
        write_table(tmp_path / "c", change(catalogue), CATALOGUE)
    assert read_table(tmp_path / "c", CATALOGUE).num_rows == len(catalogue)


def test_a_null_category_is_a_value(tmp_path, catalogue):
    nulls = pa.array([None] * len(catalogue), pa.string())
    table = catalogue.set_column(catalogue.column_names.index("category"), "category", nulls)
    write_table(tmp_path / "c", table, CATALOGUE)
    assert read_table(tmp_path / "c", CATALOGUE).column("category").null_count == len(catalogue)


def test_what_is_not_the_table_is_refused(tmp_path):
    path = tmp_path / "quarantine.parquet"
    with pytest.raises(UnfinishedArtifactError, match="did not finish"):
        read_table(path, QUARANTINE)
    path.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(ContractError, match="not a readable Parquet file"):
        read_table(path, QUARANTINE)
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    with pytest.raises(ContractError, match="holds table '\\?' version 0, expected 'quarantine' version 1"):
        read_table(path, QUARANTINE)
    write_table(path, pa.Table.from_pylist(ROWS), QUARANTINE)
    with pytest.raises(ContractError, match="expected 'events'"):
        read_table(path, EVENTS)
    newer = TableFormat(QUARANTINE.name, 2, QUARANTINE.schema)
    with pytest.raises(ContractError, match="version 1, expected 'quarantine' version 2"):
        read_table(path, newer)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ContractError, match="rerun the step"):
        read_table(path, QUARANTINE)


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab")), max_size=12))
def test_first_duplicate_is_that_of_a_plain_loop(keys):
    table = pa.table(
        {"n": pa.array([n for n, _ in keys], pa.int64()), "s": pa.array([s for _, s in keys], pa.string())}
    )
    doubles = sorted(key for key in set(keys) if keys.count(key) > 1)
    assert first_duplicate(table, ("n", "s")) == (f"{doubles[0][0]}, {doubles[0][1]}" if doubles else None)


def test_missing_columns_of_a_foreign_table_are_named_with_what_is_there():
    with pytest.raises(
        SourceError, match=r"clicks.csv lacks the columns b, c \(it has a\); add or rename them"
    ) as caught:
        require_columns(pa.table({"a": [1]}), ("a", "b", "c"), "clicks.csv")
    assert caught.value.source == "clicks.csv"
    require_columns(pa.table({"a": [1], "z": [2]}), ("a",), "clicks.csv")
