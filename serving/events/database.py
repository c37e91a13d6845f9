"""The table of events in SQLite or PostgreSQL, by one code path of SQLAlchemy Core."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from components.shared.errors import ContractError, ParameterError, SourceError
from serving.events.errors import StoreUnavailableError

SCHEMA_VERSION = 1
_WAL_IS_SOUND = (3, 51, 3)  # before, two connections in WAL mode may corrupt the file or lose a commit (WAL-reset bug)
_BUSY_SECONDS = 2
_ROWS_AT_ONCE = 100  # of one statement: it is prepared once, and serves batches of any size
_WRITING = 0x76736576  # keys of our advisory locks in PostgreSQL
_CREATING = 0x76736577

_METADATA = sa.MetaData()
EVENTS = sa.Table(
    "events",
    _METADATA,
    # In order of commits, and never used again: what the export goes by.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.Text, nullable=False, unique=True),
    sa.Column("query_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("query_image_id", sa.Text),
    sa.Column("returned_image_id", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("dwell_ms", sa.BigInteger),
    sa.Column("release_id", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sa.Column("country", sa.Text),
    sqlite_autoincrement=True,
)
_STORE = sa.Table(
    "event_store",
    _METADATA,
    sa.Column("only", sa.Integer, sa.CheckConstraint('"only" = 1'), primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("store_id", sa.Text, nullable=False),
)


class Database:
    """The events of one database.

    Args:
        url: sqlite:///path or postgresql+psycopg://user:password@host/database.
        read_only: for readers (export, statistics): nothing is created, and no lock is held for longer than a page.

    Raises:
        ParameterError: the URL is of another kind.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = _checked(url)
        self.name = self.url.render_as_string(hide_password=True)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.read_only = read_only
        self.engine = self._engine()
        insert = sqlite.insert(EVENTS) if self.is_sqlite else postgresql.insert(EVENTS)
        self._insert = insert.on_conflict_do_nothing(index_elements=["event_id"]).returning(EVENTS.c.event_id)

    def prepare(self) -> str:
        """Create the tables where they are missing, also if several processes do so at once; return the store's id.

        Raises:
            ContractError: the tables are those of a newer version, or the file is something else.
            SourceError: read-only, and there is no store.
            StoreUnavailableError: the database cannot be reached or written.
        """
        if self.is_sqlite:
            self._prepare_file()
        with self._available(), self.engine.begin() as connection:
            self._lock(connection, _CREATING)
            present = set(sa.inspect(connection).get_table_names())
            if _STORE.name not in present:
                if self.read_only:
                    raise SourceError(f"there are no events in {self.name}; serve and search first", source=self.name)
                if EVENTS.name in present:
                    raise ContractError(
                        f"{self.name} holds a table {EVENTS.name} that is not ours; name another database"
                    )
                _METADATA.create_all(connection)
                connection.execute(
                    _STORE.insert(), {"only": 1, "schema_version": SCHEMA_VERSION, "store_id": uuid.uuid4().hex}
                )
            version, store_id = connection.execute(sa.select(_STORE.c.schema_version, _STORE.c.store_id)).one()
        if version != SCHEMA_VERSION:
            raise ContractError(
                f"the events in {self.name} are of schema version {version}, and this version of visual-search reads "
                f"version {SCHEMA_VERSION}: use the version that wrote them, or name another database"
            )
        return str(store_id)

    def insert(self, rows: Sequence[dict[str, Any]]) -> set[str]:
        """Store rows in one transaction; when this returns, they are on the disk. Those known already change nothing.

        Returns:
            The event_ids that were new.

        Raises:
            StoreUnavailableError: nothing was stored, or it is not known whether it was; the same rows may come again.
        """
        with self._available():
            try:
                return self._insert_once(rows)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._insert_once(rows)  # the server was restarted since: safe, since a repeat changes nothing

    def _insert_once(self, rows: Sequence[dict[str, Any]]) -> set[str]:
        with self.engine.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": _WRITING})
            return set(connection.execute(self._insert, list(rows)).scalars())

    def last_sequence(self) -> int:
        """Return the sequence number up to which nothing can be added any more (0: no events).

        Sequence numbers are given out before the commit, so that with several writers a smaller one may appear after a
        larger one. Writers therefore share a lock, and this waits until it is free.
        """
        with self._available(), self.engine.begin() as connection:
            self._lock(connection, _WRITING)
            return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(EVENTS.c.seq), 0))).scalar_one())

    def page(self, *, after: int, through: int, limit: int, since_us: int | None = None) -> Sequence[sa.Row[Any]]:
        """Return events in order of their sequence numbers, `after` < seq ≤ `through`, at most `limit`."""
        query = sa.select(EVENTS).where(EVENTS.c.seq > after, EVENTS.c.seq <= through)
        if since_us is not None:
            query = query.where(EVENTS.c.at >= since_us)
        with self._available(), self.engine.begin() as connection:
            return connection.execute(query.order_by(EVENTS.c.seq).limit(limit)).all()

    def counts(self) -> list[tuple[str, str, str, int, int, int]]:
        """Return release_id, arm, type, number, first and last time (microseconds) of each kind of event."""
        keys = (EVENTS.c.release_id, EVENTS.c.arm, EVENTS.c.type)
        facts = (sa.func.count(), sa.func.min(EVENTS.c.at), sa.func.max(EVENTS.c.at))
        with self._available(), self.engine.begin() as connection:
            rows = connection.execute(sa.select(*keys, *facts).group_by(*keys).order_by(*keys)).all()
        return [(str(r[0]), str(r[1]), str(r[2]), int(r[3]), int(r[4]), int(r[5])) for r in rows]

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self.engine.dispose()

    def _prepare_file(self) -> None:
        path = Path(self.url.database or "")
        if self.read_only and not path.exists():
            raise SourceError(f"there are no events in {self.name}; serve and search first", source=self.name)
        if path.exists() and path.stat().st_size and not _is_sqlite(path):
            raise ContractError(f"{path} is not an SQLite database; name another file for the events")
        with self._available():
            path.parent.mkdir(parents=True, exist_ok=True)

    def _lock(self, connection: Connection, key: int) -> None:
        if not self.is_sqlite:  # SQLite has one writer at a time anyway
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self.engine.dispose()  # the connection may be in any state: the next attempt begins with a new one
            cause = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
            raise StoreUnavailableError(f"the events in {self.name} cannot be read or written ({cause[0]})") from error

    def _engine(self) -> Engine:
        if self.is_sqlite:
            arguments: dict[str, Any] = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
        else:
            options = "-c synchronous_commit=on -c statement_timeout=10000 -c lock_timeout=5000"
            arguments = {"connect_timeout": 3, "tcp_user_timeout": 10_000, "options": options}
            arguments["application_name"] = "visual-search-events"
        engine = sa.create_engine(
            self.url,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args=arguments,
            hide_parameters=True,
            insertmanyvalues_page_size=_ROWS_AT_ONCE,
        )
        if self.is_sqlite:
            sa.event.listen(engine, "connect", self._configure_sqlite)
            sa.event.listen(engine, "begin", self._begin_sqlite)
        return engine

    def _configure_sqlite(self, connection: Any, record: Any) -> None:
        """Make a commit durable: what is synced is what was acknowledged, through a loss of power too."""
        connection.isolation_level = None  # transactions begin where we say so
        if self.read_only:
            return
        mode = "wal" if sqlite3.sqlite_version_info >= _WAL_IS_SOUND else "truncate"
        for pragma in ("synchronous=FULL", "fullfsync=ON"):
            connection.execute(f"PRAGMA {pragma}")
        taken = connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
        if taken != mode:
            raise sqlite3.OperationalError(f"journal mode is {taken}, not {mode}")

    def _begin_sqlite(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if self.read_only else "BEGIN IMMEDIATE")


def _checked(url: str) -> URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    durable = parsed is not None and (
        parsed.drivername == "postgresql+psycopg"
        or (parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"} and not parsed.query)
    )
    if parsed is None or not durable:
        raise ParameterError(
            "the event store must be sqlite:///PATH (sqlite:////PATH if it begins at the root) or "
            "postgresql+psycopg://USER@HOST/DATABASE"
        )
    return parsed


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\x00"
    except OSError:
        return True  # not readable now: the connection says so better
