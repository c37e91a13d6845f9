"""Events from the store to Parquet, as labelling and monitoring read them; what a folder has already is not written again."""

from __future__ import annotations

import datetime
import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.shared.errors import ResourceError
from components.shared.files.storage import filesystem_of, is_remote
from components.shared.files.tables import EVENTS, write_table
from serving.events.database import Database
from serving.events.tokens import microseconds, moment

_PAGE_ROWS = 5_000  # read in one transaction
_FILE_ROWS = 200_000  # of one Parquet file, and so what is in memory
_NAME = re.compile(r"events-(?P<store>[0-9a-f]{12})-(?P<first>\d{15})-(?P<last>\d{15})\.parquet")


@dataclass(frozen=True)
class Export:
    """Result of one export.

    Attributes:
        files: names of the new files, in order.
        events: number of events in them.
        last: sequence number up to which the folder now holds the store's events.
    """

    files: tuple[str, ...]
    events: int
    last: int


def export_events(url: str, destination: str, *, since: datetime.datetime | None = None) -> Export:
    """Write the events that `destination` does not have yet, as tables EVENTS of at most 200,000 rows.

    Each file is whole or absent, and its name says which of the store's events it covers: the same call again writes what
    has come since, and goes on after a crash. It is for one process at a time (two would write some events twice, which
    labelling folds). Reading holds no lock for longer than a page, so the server goes on writing.

    Args:
        url: the event store.
        destination: folder, or URI of a folder in an object store.
        since: leave out events before this moment; they stay left out of this folder.

    Raises:
        SourceError: there is no store, or the destination's scheme is unknown.
        ContractError: the store is of a newer version, or something else.
        StoreUnavailableError: the store cannot be read now.
        ResourceError: the disk is full or the destination cannot be written.
    """
    database = Database(url, read_only=True)
    try:
        store = database.prepare()[:12]
        folder = _Folder(destination)
        last, through = folder.last_sequence(store), database.last_sequence()
        files, events = [], 0
        for rows in _chunks(database, last, through, None if since is None else microseconds(since)):
            name = f"events-{store}-{last + 1:015d}-{rows[-1].seq:015d}.parquet"
            folder.write(name, _table(rows))
            last, events = rows[-1].seq, events + len(rows)
            files.append(name)
    finally:
        database.close()
    return Export(tuple(files), events, last)


def _chunks(database: Database, after: int, through: int, since_us: int | None) -> Iterator[list[Any]]:
    rows: list[Any] = []
    while True:
        page = database.page(after=after, through=through, limit=_PAGE_ROWS, since_us=since_us)
        rows += page
        if len(rows) >= _FILE_ROWS or (rows and not page):
            yield rows
            rows = []
        if not page:
            return
        after = page[-1].seq


def _table(rows: Sequence[Any]) -> pa.Table:
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows] for name in EVENTS.schema.names if name != "at"
    }
    columns["at"] = [moment(row.at) for row in rows]
    return pa.table(columns, schema=EVENTS.schema)


class _Folder:
    def __init__(self, uri: str) -> None:
        self._uri, self._remote = uri, is_remote(uri)
        self._filesystem, self._root = filesystem_of(uri)

    def last_sequence(self, store: str) -> int:
        """Return the last sequence number of the store that a file here covers, 0 if there is none."""
        try:
            names = [posixpath.basename(path) for path in self._filesystem.ls(self._root, detail=False)]
        except FileNotFoundError:
            return 0
        found = [match for match in map(_NAME.fullmatch, names) if match and match["store"] == store]
        return max((int(match["last"]) for match in found), default=0)

    def write(self, name: str, table: pa.Table) -> None:
        if not self._remote:
            write_table(Path(self._root) / name, table, EVENTS)
            return
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / name
            write_table(local, table, EVENTS)
            try:
                self._filesystem.put_file(str(local), posixpath.join(self._root, name))
            except Exception as error:  # any error of a driver: no credentials, no network, access denied
                raise ResourceError(
                    f"{self._uri} cannot be written ({str(error) or type(error).__name__}); give another --output"
                ) from error
