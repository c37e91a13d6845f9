"""A CSV or Parquet manifest as a source of pictures: one row per picture."""

from __future__ import annotations

import datetime
import difflib
import io
import os
import posixpath
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from components.catalogue.folders import modification_of, version_of_local
from components.catalogue.pictures import SPLIT_NAMES, Offer, OfferedPicture, RefusedPicture, safe_id
from components.shared.errors import SourceError
from components.shared.files.storage import filesystem_of, is_remote
from components.shared.files.tables import require_columns

MANIFEST_SUFFIXES = (".csv", ".parquet")
COLUMNS = ("uri", "image_id", "item_id", "category", "is_public", "is_appropriate", "added_at", "split")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_LONGEST_ID = 512
_REMOTE_THREADS = 32


def offer_of_manifest(uri: str) -> Offer:
    """List the pictures of a manifest.

    The column uri is required; a relative one is meant relative to the manifest's folder. image_id, item_id, category,
    is_public, is_appropriate, added_at and split may be given; other columns are passed over, but not one that is one of these
    misspelt: private pictures would be shown.

    Raises:
        SourceError: the manifest is missing or unreadable, lacks uri, misspells a column, names an image twice, or a cell
            has no meaning.
    """
    table = _read(uri)
    require_columns(table, ("uri",), uri)
    _refuse_misspelt(table.column_names, uri)
    if not table.num_rows:
        raise SourceError(f"{uri} lists no pictures; add a row for each", source=uri)
    rows = _Rows(uri, table)
    offer = Offer(source=uri)
    uris = [rows.uri(row) for row in range(table.num_rows)]
    ids = [rows.image_id(row, uris[row]) for row in range(table.num_rows)]
    _check_unique(ids, uri)
    for row, facts in enumerate(_versions(uris)):
        if isinstance(facts, str):
            reason = "missing" if facts == "the file does not exist" else "unreadable"
            offer.refused.append(RefusedPicture(uris[row], reason, f"{facts} (row {row + 1} of {uri})"))
            rows.check(row)
            continue
        version, modified_at = facts
        offer.pictures.append(
            OfferedPicture(
                uri=uris[row], image_id=ids[row], version=version, modified_at=modified_at, **rows.check(row)
            )
        )
    offer.pictures.sort(key=lambda picture: picture.image_id)
    return offer


def _refuse_misspelt(names: list[str], uri: str) -> None:
    absent = [name for name in COLUMNS if name not in names]
    for name in names:
        meant = difflib.get_close_matches(name.strip().lower(), absent, n=1, cutoff=0.85)
        if name not in COLUMNS and meant:
            raise SourceError(
                f"{uri} has the column {name}; did you mean {meant[0]}? Rename it, or give it a clearly different name",
                source=uri,
            )


class _Rows:
    """The cells of a manifest, read one by one so that an error can name its row."""

    def __init__(self, source: str, table: pa.Table) -> None:
        self._source = source
        self._folder = source.rpartition("/")[0] if is_remote(source) else str(Path(_local(source)).absolute().parent)
        names = [name for name in COLUMNS if name in table.column_names]
        self._cells: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in names}

    def uri(self, row: int) -> str:
        text = self._text("uri", row)
        if text is None:
            raise self._bad(row, "uri", "is empty", "give a path or URI")
        if "://" in text:
            return text
        if is_remote(self._folder):
            return text if text.startswith("/") else f"{self._folder}/{text}"
        return os.path.normpath(posixpath.join(self._folder, text))

    def image_id(self, row: int, uri: str) -> str:
        given = self._text("image_id", row)
        if given is not None:
            return self._usable_id("image_id", row, given)
        inner = uri.removeprefix(self._folder.rstrip("/") + "/")
        return safe_id(inner.replace("://", "/").lstrip("/"))

    def check(self, row: int) -> dict[str, Any]:
        item_id = self._text("item_id", row)
        return {
            "item_id": None if item_id is None else self._usable_id("item_id", row, item_id),
            "category": self._text("category", row),
            "is_public": self._truth("is_public", row),
            "is_appropriate": self._truth("is_appropriate", row),
            "added_at": self._time("added_at", row),
            "split": self._split(row),
        }

    def _text(self, name: str, row: int) -> str | None:
        value = self._cells[name][row] if name in self._cells else None
        return (str(value).strip() or None) if value is not None else None

    def _usable_id(self, name: str, row: int, text: str) -> str:
        if len(text) > _LONGEST_ID or not text.isprintable():
            raise self._bad(row, name, f"is {text[:40]!r}", f"use at most {_LONGEST_ID} printable characters")
        return text

    def _truth(self, name: str, row: int) -> bool:
        if name not in self._cells:
            return True
        value = _TRUTH.get((self._text(name, row) or "").lower())
        if value is None:  # an empty cell, too: whether a picture may be shown is not to be guessed
            raise self._bad(row, name, f"is {self._text(name, row) or ''!r}", "write true or false")
        return value

    def _time(self, name: str, row: int) -> datetime.datetime | None:
        value = self._cells[name][row] if name in self._cells else None
        if value is None or value == "":
            return None
        try:
            if isinstance(value, datetime.datetime):
                found = value
            elif isinstance(value, datetime.date):
                found = datetime.datetime(value.year, value.month, value.day)
            else:
                found = datetime.datetime.fromisoformat(str(value).strip())
            if found.tzinfo is None:
                found = found.replace(tzinfo=datetime.UTC)
            return found.astimezone(datetime.UTC)
        except (ValueError, OverflowError) as error:
            raise self._bad(row, name, f"is {str(value)[:40]!r}", "write a time like 2026-01-31T12:00:00Z") from error

    def _split(self, row: int) -> str | None:
        text = self._text("split", row)
        if text is None:
            return None
        if text.lower() not in SPLIT_NAMES:
            raise self._bad(row, "split", f"is {text!r}", "write train, validation or test, or leave it empty")
        return SPLIT_NAMES[text.lower()]

    def _bad(self, row: int, name: str, found: str, remedy: str) -> SourceError:
        return SourceError(
            f"{self._source}, row {row + 1} (header not counted): {name} {found}; {remedy}", source=self._source
        )


def _local(uri: str) -> str:
    return uri.removeprefix("file://")


def _read(uri: str) -> pa.Table:
    filesystem, path = filesystem_of(uri)
    try:
        with filesystem.open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        raise SourceError(f"the manifest {uri} does not exist; check the path", source=uri) from error
    except Exception as error:  # every driver has its own classes
        raise SourceError(
            f"the manifest {uri} cannot be read: {str(error) or type(error).__name__}", source=uri
        ) from error
    try:
        if uri.lower().endswith(".parquet"):
            return pq.read_table(io.BytesIO(data))
        return _read_csv(data)
    except (pa.ArrowException, ValueError, OSError) as error:
        kind = "Parquet file" if uri.lower().endswith(".parquet") else "CSV file (UTF-8, commas, one header line)"
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise SourceError(f"the manifest {uri} is not a readable {kind}: {text}; write it again", source=uri) from error


def _read_csv(data: bytes) -> pa.Table:
    if not data.strip():
        raise ValueError("the file is empty")
    return pyarrow.csv.read_csv(
        io.BytesIO(data),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in COLUMNS},
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _check_unique(ids: list[str], source: str) -> None:
    first: dict[str, int] = {}
    for row, image_id in enumerate(ids):
        if image_id in first:
            raise SourceError(
                f"{source} names the image {image_id} twice (rows {first[image_id] + 1} and {row + 1}, header not counted);"
                " give every picture an image_id of its own, or list it once",
                source=source,
            )
        first[image_id] = row


def _versions(uris: list[str]) -> list[tuple[str | None, datetime.datetime | None] | str]:
    """Return version and time of every file, or a sentence where there is none."""
    if not any(is_remote(uri) for uri in uris):
        return [_version(uri) for uri in uris]
    with ThreadPoolExecutor(_REMOTE_THREADS) as threads:
        return list(threads.map(_version, uris))


def _version(uri: str) -> tuple[str | None, datetime.datetime | None] | str:
    look: Callable[[str], tuple[str | None, datetime.datetime | None]] = (
        _version_remote if is_remote(uri) else _version_local
    )
    try:
        return look(uri)
    except (FileNotFoundError, NotADirectoryError):
        return "the file does not exist"
    except Exception as error:  # every driver has its own classes
        return f"the file cannot be reached: {str(error) or type(error).__name__}"


def _version_local(uri: str) -> tuple[str, datetime.datetime]:
    path = Path(_local(uri))
    if not path.is_file():
        if path.exists():
            raise OSError("it is not a file")
        raise FileNotFoundError(uri)
    return version_of_local(path.stat())


def _version_remote(uri: str) -> tuple[str | None, datetime.datetime | None]:
    filesystem, path = filesystem_of(uri)
    return modification_of(filesystem.info(path))
