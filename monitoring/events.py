"""Event logs, from Parquet, SQLite or PostgreSQL, as one DuckDB view `log` with the columns of the events table.

DuckDB reads Parquet by itself. Its SQLite and PostgreSQL extensions are downloads, so those stores are read by SQLAlchemy
in batches, into a DuckDB table; that works where nothing can be downloaded.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.errors import SourceError
from components.shared.files.storage import filesystem_of, is_remote, parquet_files
from components.shared.files.tables import EVENTS

BATCH_ROWS = 100_000
_DATABASES = ("sqlite:", "postgresql:", "postgresql+psycopg:")


@contextmanager
def open_events(source: str, *, memory_gigabytes: float = 2.0, threads: int = 0) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a log: a connection with the view `log`.

    Its `at` is called `moment`: UTC without a zone, so that no time zone data is needed.

    Args:
        source: a Parquet file or a folder of them (local or of an object store), `sqlite:///…`, or `postgresql://…`; in a
            database, the table `events`.
        memory_gigabytes: memory limit of DuckDB; beyond it, it spills to its temporary folder.
        threads: threads of DuckDB; 0 takes all cores.

    Raises:
        SourceError: nothing there, a file that is not whole, a missing column, a database that cannot be read.
    """
    settings: dict[str, Any] = {"memory_limit": f"{memory_gigabytes}GB", "preserve_insertion_order": False}
    if threads:
        settings["threads"] = threads
    with (
        TemporaryDirectory(prefix="visual-search-") as spill,
        duckdb.connect(":memory:", config=settings) as connection,
    ):
        connection.execute("SET temp_directory = $1", [spill])
        connection.execute("SET enable_progress_bar = false")
        if source.startswith(_DATABASES):
            _load_database(connection, source)
        else:
            _view_parquet(connection, source)
        yield connection


def _view_parquet(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    files = _event_files(connection, source)
    try:
        connection.read_parquet(files, union_by_name=True).create_view("raw_events")
        columns = [row[0] for row in connection.execute("DESCRIBE raw_events").fetchall()]
        missing = [name for name in EVENTS.schema.names if name not in columns]
        if missing:
            raise SourceError(
                f"{source} lacks the columns {', '.join(missing)} of the events table; export it by the event store",
                source=source,
            )
        _make_view(connection, "raw_events")
    except duckdb.Error as error:
        raise SourceError(
            f"{source} cannot be read as Parquet ({str(error).splitlines()[0]}); copy or remove the damaged file",
            source=source,
        ) from error


def _event_files(connection: duckdb.DuckDBPyConnection, source: str) -> list[str]:
    filesystem, root = filesystem_of(source)
    remote = is_remote(source)
    found = parquet_files(filesystem, root)
    if not found:
        raise SourceError(
            f"there are no events at {source}; give a Parquet file, a folder of them, sqlite:///… or postgresql://…",
            source=source,
        )
    for path in found:  # DuckDB inspects only the first file until it reads
        try:
            with filesystem.open(path, "rb") as file:
                pq.read_metadata(file)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{path} is not a whole Parquet file; copy it again, or remove it", source=path
            ) from error
    if remote:
        connection.register_filesystem(filesystem)
        return [str(filesystem.unstrip_protocol(path)) for path in found]
    return found


def _make_view(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    columns = ", ".join(name for name in EVENTS.schema.names if name != "at")
    # The one column list is our own constant; nothing from outside enters the text.
    connection.execute(
        f'CREATE OR REPLACE VIEW log AS SELECT {columns}, make_timestamp(epoch_us("at")) AS moment FROM {name}'  # noqa: S608
    )


def _load_database(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    import sqlalchemy as sa

    address = sa.make_url(url)
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    shown = address.render_as_string(hide_password=True)
    columns = EVENTS.schema.names
    connection.register("no_events", EVENTS.schema.empty_table())
    connection.execute("CREATE TABLE raw_events AS SELECT * FROM no_events")
    engine = sa.create_engine(address)
    try:
        if address.get_backend_name() == "sqlite" and address.database:
            _require_file(address.database, shown)
        with engine.connect() as database:
            query = sa.select(sa.text(", ".join(f'"{name}"' for name in columns))).select_from(sa.table("events"))
            rows = database.execution_options(stream_results=True, yield_per=BATCH_ROWS).execute(query)
            for batch in rows.partitions(BATCH_ROWS):
                connection.register("batch", _to_arrow(batch))
                connection.execute("INSERT INTO raw_events SELECT * FROM batch")
                connection.unregister("batch")
    except sa.exc.SQLAlchemyError as error:
        detail = str(error.__cause__ or error).splitlines()[0]
        raise SourceError(
            f"the table events of {shown} cannot be read ({detail}); correct the address, or start the store",
            source=shown,
        ) from error
    finally:
        engine.dispose()
    _make_view(connection, "raw_events")


def _require_file(database: str, shown: str) -> None:
    from pathlib import Path

    if database != ":memory:" and not Path(database).is_file():  # SQLite would make an empty one
        raise SourceError(f"{shown} names no file; give the path of the event store", source=shown)


def _to_arrow(rows: Any) -> pa.Table:
    columns = dict(zip(EVENTS.schema.names, zip(*rows, strict=True), strict=True))
    columns["at"] = [_moment(value) for value in columns["at"]]
    return pa.table({name: pa.array(values, EVENTS.schema.field(name).type) for name, values in columns.items()})


def _moment(value: Any) -> datetime.datetime:
    """Return a moment in UTC, from what a store keeps: a datetime, ISO 8601 text, or whole microseconds since 1970."""
    if isinstance(value, int):
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=value)
    moment = datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime.datetime):
        raise SourceError(f"an event's time is {value!r}; expected a timestamp", source="events")
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)
