"""The tables that pass between the parts: Parquet files with a named, versioned schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.shared.errors import ContractError, SourceError, UnfinishedArtifactError
from components.shared.files.atomic import whole_file

_NAME_KEY = b"visual_search.table"
_VERSION_KEY = b"visual_search.version"
_TIMESTAMP = pa.timestamp("us", tz="UTC")

SPLITS = ("train", "validation", "test")


def _schema(*fields: tuple[str, pa.DataType], nullable: tuple[str, ...] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in nullable) for name, kind in fields])


@dataclass(frozen=True)
class TableFormat:
    """A table's name, version, columns and the columns that identify a row (empty: rows need not be distinct)."""

    name: str
    version: int
    schema: pa.Schema
    key: tuple[str, ...] = ()


CATALOGUE = TableFormat(
    "catalogue",
    1,
    _schema(
        ("image_id", pa.string()),
        ("item_id", pa.string()),  # a product, which has images
        ("uri", pa.string()),  # address of the picture: local path, s3://, gs://
        ("sha256", pa.string()),  # digest of the encoded bytes
        ("width", pa.int32()),  # pixels, after EXIF orientation
        ("height", pa.int32()),
        ("category", pa.string()),  # null: unknown
        ("is_public", pa.bool_()),
        ("is_appropriate", pa.bool_()),
        ("added_at", _TIMESTAMP),
        (
            "split",
            pa.string(),
        ),  # train | validation | test; the same for all images of an item and of a duplicate group
        ("duplicate_group", pa.string()),  # shared by near-duplicates; an image without any has its own
        nullable=("category",),
    ),
    key=("image_id",),
)

QUARANTINE = TableFormat(
    "quarantine",
    1,
    _schema(("uri", pa.string()), ("reason", pa.string()), ("message", pa.string())),
)

JUDGEMENTS = TableFormat(
    "judgements",
    1,
    _schema(
        ("query_image_id", pa.string()),
        ("image_id", pa.string()),
        ("grade", pa.int8()),  # 0 unrelated, 1 marginal, 2 similar, 3 the same item
        ("judge", pa.string()),
        ("at", _TIMESTAMP),
        nullable=("at",),
    ),
)

EVENTS = TableFormat(
    "events",
    1,
    _schema(
        ("event_id", pa.string()),
        ("query_id", pa.string()),
        ("user_id", pa.string()),
        ("query_image_id", pa.string()),  # null: the query picture is not in the catalogue
        ("returned_image_id", pa.string()),
        ("position", pa.int32()),  # 1 = first
        ("type", pa.string()),  # impression | click | dwell
        ("dwell_ms", pa.int64()),  # only for dwell
        ("release_id", pa.string()),
        ("arm", pa.string()),
        ("at", _TIMESTAMP),
        ("country", pa.string()),
        nullable=("query_image_id", "dwell_ms", "country"),
    ),
    key=("event_id",),
)

PAIRS = TableFormat(
    "pairs",
    1,
    _schema(
        ("query_image_id", pa.string()),
        ("positive_image_id", pa.string()),  # equal to query_image_id for source "augmentation"
        ("source", pa.string()),  # human | click | item | category | augmentation
        ("weight", pa.float32()),  # > 0; relative trust in the pair
    ),
)

ITEMS = TableFormat(
    "items",
    1,
    _schema(
        ("row", pa.int64()),  # Faiss id, dense from 0
        ("image_id", pa.string()),
        ("item_id", pa.string()),
        ("uri", pa.string()),
        ("sha256", pa.string()),
        ("category", pa.string()),
        ("is_public", pa.bool_()),
        ("is_appropriate", pa.bool_()),
        ("duplicate_group", pa.string()),
        ("added_at", _TIMESTAMP),
        nullable=("category",),
    ),
    key=("row",),
)

QUERY_SAMPLES = TableFormat(
    "query_samples",
    1,
    _schema(
        ("query_id", pa.string()),
        ("release_id", pa.string()),
        ("space_id", pa.string()),
        ("arm", pa.string()),
        ("at", _TIMESTAMP),
        ("country", pa.string()),
        ("embedding", pa.list_(pa.float32())),  # unit norm, of the space
        ("top_score", pa.float32()),  # null: nothing was found
        ("results", pa.int32()),
        ("width", pa.int32()),  # pixels, after EXIF orientation; this and the next columns describe the picture as sent
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("format", pa.string()),  # jpeg | png | webp | avif | gif | tiff | bmp
        ("brightness", pa.float32()),  # these four: see pictures/statistics.py
        ("contrast", pa.float32()),
        ("sharpness", pa.float32()),
        ("saturation", pa.float32()),
        nullable=("country", "top_score"),
    ),
    key=("query_id",),
)


SERVICE_SCHEMA = (
    _schema(  # windows of service; users also write it by hand, so it is plain Parquet or CSV without a version
        ("at", _TIMESTAMP),  # end of the window
        ("arm", pa.string()),
        ("requests", pa.float64()),  # in the window, not since the start
        ("errors", pa.float64()),  # answers that are the server's fault: 5xx
        ("slow", pa.float64()),  # answered later than the latency objective
        ("zero_results", pa.float64()),  # answered without a result
        nullable=("at", "arm", "requests", "errors", "slow", "zero_results"),
    )
)
SERVICE_COUNTS = tuple(SERVICE_SCHEMA.names[2:])


def write_table(path: Path, table: pa.Table, form: TableFormat) -> None:
    """Write `table` as `form`, all or nothing, with name and version in the file's metadata.

    Raises:
        ContractError: a column is missing, of the wrong type, or null where values are required, or a key occurs twice.
        ResourceError: the disk is full.
    """
    checked = _conform(table, form, str(path))
    metadata = {_NAME_KEY: form.name.encode(), _VERSION_KEY: str(form.version).encode()}
    with whole_file(path) as temporary:
        pq.write_table(checked.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_table(path: Path, form: TableFormat, columns: list[str] | None = None) -> pa.Table:
    """Read a table that `write_table` wrote.

    Raises:
        UnfinishedArtifactError: the file does not exist.
        ContractError: the file is another table, a newer version, or not Parquet.
    """
    if not path.exists():
        raise UnfinishedArtifactError(f"{path} is missing: the step that writes the {form.name} table did not finish")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(
            f"{path} is not a readable Parquet file ({error}); rerun the step that writes it"
        ) from error
    with file:
        metadata = file.schema_arrow.metadata or {}
        name, version = metadata.get(_NAME_KEY, b"?").decode(), metadata.get(_VERSION_KEY, b"0").decode()
        if (name, version) != (form.name, str(form.version)):
            raise ContractError(
                f"{path} holds table {name!r} version {version}, expected {form.name!r} version {form.version}"
            )
        return file.read(columns=columns)


def _conform(table: pa.Table, form: TableFormat, where: str) -> pa.Table:
    missing = [name for name in form.schema.names if name not in table.column_names]
    if missing:
        raise ContractError(f"{where}: table {form.name} lacks the columns {', '.join(missing)}")
    try:
        table = table.select(form.schema.names).cast(pa.schema([f.with_nullable(True) for f in form.schema]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractError(f"{where}: table {form.name} has a column of the wrong type: {error}") from error
    for field in form.schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ContractError(f"{where}: table {form.name} has an empty value in column {field.name}")
    if form.key and table.num_rows:
        double = first_duplicate(table, form.key)
        if double is not None:
            raise ContractError(f"{where}: table {form.name} holds {'/'.join(form.key)} {double} more than once")
    return table


def first_duplicate(table: pa.Table, key: tuple[str, ...]) -> str | None:
    """Return the first key (in sorted order) that occurs more than once, or None."""
    counts = table.group_by(list(key)).aggregate([([], "count_all")])
    doubles = counts.filter(pc.greater(counts["count_all"], 1))
    if not doubles.num_rows:
        return None
    row = doubles.sort_by([(name, "ascending") for name in key]).slice(0, 1).to_pylist()[0]
    return ", ".join(str(row[name]) for name in key)


def require_columns(table: pa.Table, names: tuple[str, ...], source: str) -> None:
    """Check that a table from a user has the required columns.

    Raises:
        SourceError: a column is missing; the message names the missing columns, those present and the fix.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise SourceError(
            f"{source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
            f"(it has {', '.join(table.column_names) or 'none'}); add or rename {'them' if len(missing) > 1 else 'it'}",
            source=source,
        )
