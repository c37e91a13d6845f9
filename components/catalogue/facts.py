"""Facts about pictures from earlier runs, so that only new and changed files are read.

A cache, not an artifact: Parquet files of a few thousand rows each, written during the run. A killed run loses the
last few seconds, and ten new pictures in a folder of 100,000 cost ten reads. The cache cannot change a result: its
key includes limits, code and library versions, and a row counts only for the same version of the same file.
"""

from __future__ import annotations

import hashlib
import inspect
import time
import uuid
from collections.abc import Sequence
from dataclasses import astuple, fields
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from components.catalogue import fingerprints, inspection
from components.catalogue.inspection import Inspection
from components.catalogue.inspection_pool import inspect_pictures
from components.catalogue.parameters import CatalogueParameters
from components.catalogue.pictures import OfferedPicture
from components.shared.files.atomic import digest_of, whole_file
from components.shared.files.progress import progress_bar
from components.shared.pictures import colour, decoder, exif, jpeg, kinds

_ROWS_PER_FILE = 5_000
_SECONDS_PER_FILE = 5.0
_MANY_FILES = 32
_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("version", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fingerprint", pa.binary()),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)
_FACTS = [field.name for field in fields(Inspection)]


class FactsCache:
    """Inspections by URI and version of the file, in a directory."""

    def __init__(self, root: Path, parameters: CatalogueParameters) -> None:
        self.directory = root / f"facts-{_key(parameters)}"
        self._pending: list[dict[str, object]] = []
        self._written_at = time.monotonic()

    def find(self, pictures: Sequence[OfferedPicture]) -> list[Inspection | None]:
        """Return the known facts of each picture, None if its file is new or has changed."""
        self._compact()
        wanted = {(p.uri, p.version): position for position, p in enumerate(pictures) if p.version is not None}
        found: list[Inspection | None] = [None] * len(pictures)
        for path in sorted(self.directory.glob("*.parquet")):
            table = _read(path)
            if table is None:
                continue
            for batch in table.to_batches(max_chunksize=50_000):
                for row in batch.to_pylist():
                    position = wanted.get((row["uri"], row["version"]))
                    if position is not None:
                        found[position] = Inspection(**{name: row[name] for name in _FACTS})
        return found

    def add(self, picture: OfferedPicture, facts: Inspection) -> None:
        """Store an inspection, unless another attempt could give another result."""
        if picture.version is not None and facts.is_final:
            self._pending.append(
                {"uri": picture.uri, "version": picture.version, **dict(zip(_FACTS, astuple(facts), strict=True))}
            )
        if len(self._pending) >= _ROWS_PER_FILE or time.monotonic() - self._written_at > _SECONDS_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Write all pending rows."""
        if self._pending:
            self._write(pa.Table.from_pylist(self._pending, _SCHEMA))
            self._pending = []
        self._written_at = time.monotonic()

    def _write(self, table: pa.Table) -> None:
        with whole_file(self.directory / f"{uuid.uuid4().hex}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def _compact(self) -> None:
        """Join many small files into one; if a second process does the same, rows are stored twice, which is harmless."""
        paths = sorted(self.directory.glob("*.parquet"))
        if len(paths) < _MANY_FILES:
            return
        tables = [table for path in paths if (table := _read(path)) is not None]
        self._write(_distinct(pa.concat_tables(tables)))
        for path in paths:
            path.unlink(missing_ok=True)


def gather_facts(
    pictures: Sequence[OfferedPicture], cache: FactsCache, parameters: CatalogueParameters
) -> list[Inspection]:
    """Inspect every picture that the cache does not know, and show the progress.

    Returns:
        One inspection per picture, in the same order; the result does not depend on the cache or the workers.
    """
    facts = cache.find(pictures)
    missing = [position for position, known in enumerate(facts) if known is None]
    uris = [pictures[position].uri for position in missing]
    bar: tqdm[object]
    with progress_bar(None, "reading pictures", total=len(pictures), unit="picture") as bar:
        bar.update(len(pictures) - len(missing))
        try:
            for index, found in inspect_pictures(
                uris, limits=parameters.limits, timeout_seconds=parameters.timeout_seconds, workers=parameters.workers
            ):
                facts[missing[index]] = found
                cache.add(pictures[missing[index]], found)
                bar.update()
        finally:
            cache.flush()
    return [known for known in facts if known is not None]


def _key(parameters: CatalogueParameters) -> str:
    code = [
        hashlib.sha256(inspect.getsource(m).encode()).hexdigest()
        for m in (colour, decoder, exif, jpeg, kinds, fingerprints, inspection)
    ]
    libraries = [version(name) for name in ("numpy", "opencv-python-headless", "pillow", "simplejpeg")]
    return digest_of({"code": code, "libraries": libraries, "limits": parameters.limits.model_dump()})[:12]


def _read(path: Path) -> pa.Table | None:
    try:
        return pq.read_table(path, schema=_SCHEMA)
    except (OSError, pa.ArrowException):  # damaged, or just removed by another process; the pictures are read again
        return None


def _distinct(table: pa.Table) -> pa.Table:
    first = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    rows = first.group_by(["uri", "version"]).aggregate([("row", "min")]).column("row_min").sort()
    return table.take(rows)
