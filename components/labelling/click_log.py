"""Click logs: the files behind a URI, their completeness, and the results that were shown and clicked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.labelling.engine import Engine, Frame
from components.labelling.parameters import LabellingParameters
from components.shared.errors import SourceError
from components.shared.files.atomic import digest_of
from components.shared.files.storage import filesystem_of, is_remote, parquet_files

_STRINGS = ("event_id", "query_id", "user_id", "query_image_id", "returned_image_id", "type")
_INTEGERS = ("position", "dwell_ms")
COLUMNS = (*_STRINGS, *_INTEGERS, "at")
_FOOTER_BYTES = 64 * 1024


@dataclass(frozen=True)
class ClickLog:
    """The complete files of a click log.

    Attributes:
        uri: address given by the user.
        files: local paths, or URIs of an object store, in order of their names.
        rows: number of events, from the files' footers.
        digest: changes when a file does (sizes and footers, not every byte).
        filesystem: fsspec's, for remote files; None for local ones.
    """

    uri: str
    files: tuple[str, ...]
    rows: int
    digest: str
    filesystem: Any


def open_click_log(uri: str) -> ClickLog:
    """Find the files of a log and check that each is complete and has the columns of the events table.

    A folder is searched at any depth for `*.parquet`; names that begin with "." or "_" are unfinished files and skipped,
    as Spark does.

    Raises:
        SourceError: there is no file, or a file is incomplete or lacks a column; the message names it.
    """
    filesystem, root = filesystem_of(uri)
    paths = _event_files(filesystem, root, uri)
    facts, rows = [], 0
    for path in paths:
        name = filesystem.unstrip_protocol(path) if is_remote(uri) else path
        size, footer, count = _inspect(filesystem, path, name)
        facts.append([path[len(root) :], size, footer])
        rows += count
    remote = is_remote(uri)
    files = tuple(filesystem.unstrip_protocol(path) if remote else path for path in paths)
    return ClickLog(uri, files, rows, digest_of(facts), filesystem if remote else None)


def _event_files(filesystem: Any, root: str, uri: str) -> list[str]:
    if not filesystem.exists(root):
        raise SourceError(f"the click log {uri} does not exist; give a Parquet file or a folder of them", source=uri)
    found = parquet_files(filesystem, root)
    if not found:
        raise SourceError(f"the click log {uri} holds no *.parquet file; give a folder of event files", source=uri)
    return found


def _inspect(filesystem: Any, path: str, name: str) -> tuple[int, str, int]:
    size = int(filesystem.size(path))
    try:
        with filesystem.open(path, "rb") as file:
            with pq.ParquetFile(file) as parquet:
                schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
            file.seek(max(0, size - _FOOTER_BYTES))
            footer = hashlib.sha256(file.read()).hexdigest()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(
            f"{name} is not a whole Parquet file ({str(error).splitlines()[0]}); it may be half-written: "
            "copy it again, or remove it, and run labelling again",
            source=name,
        ) from error
    _check_columns(schema, name)
    return size, footer, rows


def damaged_file(log: ClickLog) -> str | None:
    """Read every file of a log to its end; return the first that cannot be read."""
    filesystem = log.filesystem or filesystem_of(log.uri)[0]
    for name in log.files:
        try:
            with filesystem.open(name, "rb") as file, pq.ParquetFile(file) as parquet:
                for _ in parquet.iter_batches(columns=list(COLUMNS)):
                    pass
        except (pa.ArrowException, OSError, ValueError):
            return name
    return None


def _check_columns(schema: pa.Schema, name: str) -> None:
    missing = [column for column in COLUMNS if column not in schema.names]
    if missing:
        raise SourceError(
            f"{name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} of a click log "
            f"(it has {', '.join(schema.names)}); write the events table of components/shared/files/tables.py",
            source=name,
        )
    for column in COLUMNS:
        kind = schema.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        fits = (
            pa.types.is_null(kind)
            or (column in _STRINGS and (pa.types.is_string(kind) or pa.types.is_large_string(kind)))
            or (column in _INTEGERS and pa.types.is_integer(kind))
            or (column == "at" and pa.types.is_timestamp(kind))
        )
        if not fits:
            wanted = "text" if column in _STRINGS else "a whole number" if column in _INTEGERS else "a timestamp"
            raise SourceError(f"{name}: column {column} is {kind}, expected {wanted}; convert the column", source=name)


def read_events(engine: Engine, log: ClickLog) -> Frame:
    """Return the columns that mining needs, in plain types."""
    if log.filesystem is not None and engine.connection is not None:
        engine.connection.register_filesystem(log.filesystem)
    col = engine.functions.col
    return engine.read(list(log.files)).select(
        *(col(name).cast("string").alias(name) for name in _STRINGS if name != "event_id"),
        *(col(name).cast("bigint").alias(name) for name in _INTEGERS),
        col("at").cast("timestamp").alias("at"),
    )


def usable(engine: Engine, parameters: LabellingParameters) -> Any:
    """Return the condition for an event that has a query, a result, a user and a valid position."""
    col = engine.functions.col
    complete = col("query_id").isNotNull() & col("user_id").isNotNull() & col("returned_image_id").isNotNull()
    known = col("type").isin("impression", "click", "dwell")
    return complete & known & col("at").isNotNull() & col("position").between(1, parameters.deepest_position)


def shown_results(engine: Engine, events: Frame, parameters: LabellingParameters) -> Frame:
    """Fold the events into one row per query and returned image.

    Folding takes minima and maxima, so neither the order of the events nor a second delivery of an event changes a row;
    duplicated event ids are therefore harmless. An image shown twice in one query counts once, at its first position;
    several clicks count as one; the longest dwell counts.

    Returns:
        query_id, image_id, user_id, query_image_id (null: not in the catalogue), position (null: the impression is
        missing), clicked (0 or 1), short (1: clicked, with a dwell below `short_dwell_ms`), at, events (number of folded
        rows), kinds (number of different types among them).
    """
    F = engine.functions  # noqa: N806, the usual name of this module
    is_shown, is_click, is_dwell = (F.col("type") == kind for kind in ("impression", "click", "dwell"))
    folded = (
        events.where(usable(engine, parameters))
        .groupBy("query_id", F.col("returned_image_id").alias("image_id"))
        .agg(
            F.min("user_id").alias("user_id"),
            F.min("query_image_id").alias("query_image_id"),
            F.min(F.when(is_shown, F.col("position"))).alias("position"),
            F.max(F.when(is_click, 1).otherwise(0)).alias("clicked"),
            F.max(F.when(is_dwell, 1).otherwise(0)).alias("dwelt"),
            F.max(F.when(is_dwell, F.col("dwell_ms"))).alias("dwell_ms"),
            F.min("at").alias("at"),
            F.count("*").alias("events"),
        )
    )
    short = (F.col("clicked") == 1) & (
        F.coalesce(F.col("dwell_ms"), F.lit(parameters.short_dwell_ms)) < parameters.short_dwell_ms
    )
    shown = F.when(F.col("position").isNotNull(), 1).otherwise(0)
    return folded.select(
        "query_id",
        "image_id",
        "user_id",
        "query_image_id",
        "position",
        "clicked",
        F.when(short, 1).otherwise(0).alias("short"),
        "at",
        "events",
        (shown + F.col("clicked") + F.col("dwelt")).alias("kinds"),
    )


def foreign_ids(engine: Engine, shown: Frame, known: set[str]) -> list[str]:
    """Return the ids of queries and results that the catalogue does not have, sorted."""
    col = engine.functions.col
    written = shown.select("image_id").unionAll(shown.select(col("query_image_id").alias("image_id"))).distinct()
    ids = (row["image_id"] for row in engine.rows(written) if row["image_id"] is not None)
    return sorted(image_id for image_id in ids if image_id not in known)


def with_ids(engine: Engine, events: Frame, found: Mapping[str, str]) -> Frame:
    """Return the events with the ids that users wrote replaced by those of the catalogue."""
    F = engine.functions  # noqa: N806
    names = pa.table(
        {"written": pa.array(list(found), pa.string()), "found": pa.array(list(found.values()), pa.string())}
    )
    matches = engine.small("written_ids", names)
    for column in ("query_image_id", "returned_image_id"):
        mine = matches.select(F.col("written").alias(column), F.col("found").alias(f"{column}_found"))
        events = events.join(mine, column, "left")
        others = [F.col(name) for name in events.columns if name not in {column, f"{column}_found"}]
        events = events.select(*others, F.coalesce(f"{column}_found", column).alias(column))
    return events


def count_events(engine: Engine, events: Frame, shown: Frame, parameters: LabellingParameters) -> dict[str, int]:
    """Count the events, in total and dropped per reason.

    `repeated` are redundant events: delivered twice, or clicked twice.
    """
    F = engine.functions  # noqa: N806
    col, when = F.col, F.when
    known = col("type").isin("impression", "click", "dwell")
    complete = (
        col("query_id").isNotNull()
        & col("user_id").isNotNull()
        & col("returned_image_id").isNotNull()
        & col("at").isNotNull()
        & col("type").isNotNull()
        & col("position").isNotNull()
    )
    deepest = parameters.deepest_position

    def share(condition: Any) -> Any:
        return engine.total(when(condition, 1).otherwise(0))

    raw = engine.rows(
        events.agg(
            F.count("*").alias("events"),
            share(~complete).alias("incomplete"),
            share(complete & ~known).alias("unknown_type"),
            share(complete & known & (col("position") < 1)).alias("position_below_1"),
            share(complete & known & (col("position") > deepest)).alias("too_deep"),
        )
    )[0]
    orphan = col("position").isNull()
    folded = engine.rows(
        shown.agg(
            engine.total(col("events") - col("kinds")).alias("repeated"),
            engine.total(when(orphan, col("kinds")).otherwise(0)).alias("without_impression"),
            engine.total(when(~orphan, 1).otherwise(0)).alias("impressions"),
            engine.total(when(~orphan, col("clicked")).otherwise(0)).alias("clicks"),
            engine.total(when(~orphan, col("short")).otherwise(0)).alias("short_clicks"),
        )
    )[0]
    return {name: int(value or 0) for name, value in {**raw, **folded}.items()}
