"""A CSV or Parquet manifest as a source of pictures: one row per picture."""

from __future__ import annotations

import datetime
import difflib
import os
import posixpath
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.catalogue.folders import modification_of, version_of_local
from components.catalogue.pictures import SPLIT_NAMES, Offer, OfferedPicture, RefusedPicture
from components.shared.errors import SourceError
from components.shared.files.foreign_tables import ForeignTable, read_foreign_table
from components.shared.files.ids import LONGEST_ID, safe_id
from components.shared.files.storage import filesystem_of, is_remote, local_path

MANIFEST_SUFFIXES = (".csv", ".parquet")
COLUMNS = ("uri", "image_id", "item_id", "category", "is_public", "is_appropriate", "added_at", "split")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_REMOTE_THREADS = 32


def offer_of_manifest(uri: str) -> Offer:
    """List the pictures of a manifest.

    The column uri is required; relative paths are relative to the manifest's folder. image_id, item_id, category, is_public,
    is_appropriate, added_at and split are optional; other columns are ignored, except misspelt ones, which are errors:
    a misspelt is_public would show private pictures.

    Raises:
        SourceError: the manifest is missing or unreadable, lacks uri, misspells a column, names an image twice, or has an
            invalid cell.
    """
    table = _read(uri)
    _refuse_misspelt(list(table.columns), uri)
    if not table.rows:
        raise SourceError(f"{uri} lists no pictures; add a row for each", source=uri)
    rows = _Rows(uri, table)
    offer = Offer(source=uri)
    uris = [rows.uri(row) for row in range(len(table.rows))]
    ids = [rows.image_id(row, uris[row]) for row in range(len(table.rows))]
    _check_unique(ids, table)
    for row, facts in enumerate(_versions(uris)):
        if isinstance(facts, str):
            reason = "missing" if facts == "the file does not exist" else "unreadable"
            offer.refused.append(RefusedPicture(uris[row], reason, f"{facts} (row {table.rows[row]} of {uri})"))
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

    def __init__(self, source: str, table: ForeignTable) -> None:
        self._source = source
        folder = source.rpartition("/")[0] if is_remote(source) else str(Path(local_path(source)).absolute().parent)
        self._folder = folder
        self._numbers = table.rows
        self._texts = {name: table.texts(name) for name in COLUMNS if name in table.columns}
        self._times: list[Any] = table.columns.get("added_at", [])

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
            "added_at": self._time(row),
            "split": self._split(row),
        }

    def _text(self, name: str, row: int) -> str | None:
        return self._texts[name][row] if name in self._texts else None

    def _usable_id(self, name: str, row: int, text: str) -> str:
        if len(text) > LONGEST_ID or not text.isprintable():
            raise self._bad(row, name, f"is {text[:40]!r}", f"use at most {LONGEST_ID} printable characters")
        return text

    def _truth(self, name: str, row: int) -> bool:
        if name not in self._texts:
            return True
        value = _TRUTH.get((self._text(name, row) or "").lower())
        if value is None:  # an empty cell is an error too: the program must not guess whether a picture may be shown
            raise self._bad(row, name, f"is {self._text(name, row) or ''!r}", "write true or false")
        return value

    def _time(self, row: int) -> datetime.datetime | None:
        value = self._times[row] if self._times else None
        if value is None:
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
            raise self._bad(
                row, "added_at", f"is {str(value)[:40]!r}", "write a time like 2026-01-31T12:00:00Z"
            ) from error

    def _split(self, row: int) -> str | None:
        text = self._text("split", row)
        if text is None:
            return None
        if text.lower() not in SPLIT_NAMES:
            raise self._bad(row, "split", f"is {text!r}", "write train, validation or test, or leave it empty")
        return SPLIT_NAMES[text.lower()]

    def _bad(self, row: int, name: str, found: str, remedy: str) -> SourceError:
        return SourceError(
            f"{self._source}, row {self._numbers[row]} (header not counted): {name} {found}; {remedy}",
            source=self._source,
        )


def _read(uri: str) -> ForeignTable:
    filesystem, path = filesystem_of(uri)
    try:
        with filesystem.open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        raise SourceError(f"the manifest {uri} does not exist; check the path", source=uri) from error
    except Exception as error:  # every driver has its own exception classes
        raise SourceError(
            f"the manifest {uri} cannot be read: {str(error) or type(error).__name__}", source=uri
        ) from error
    return read_foreign_table(uri, data, ("uri",))


def _check_unique(ids: list[str], table: ForeignTable) -> None:
    source = table.source
    first: dict[str, int] = {}
    for row, image_id in enumerate(ids):
        if image_id in first:
            rows = f"rows {table.rows[first[image_id]]} and {table.rows[row]}, header not counted"
            raise SourceError(
                f"{source} names the image {image_id} twice ({rows}); give every picture an image_id of its own, or list it once",
                source=source,
            )
        first[image_id] = row


def _versions(uris: list[str]) -> list[tuple[str | None, datetime.datetime | None] | str]:
    """Return version and time of every file, or a sentence if there is no such file."""
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
    path = Path(local_path(uri))
    if not path.is_file():
        if path.exists():
            raise OSError("it is not a file")
        raise FileNotFoundError(uri)
    return version_of_local(path.stat())


def _version_remote(uri: str) -> tuple[str | None, datetime.datetime | None]:
    filesystem, path = filesystem_of(uri)
    return modification_of(filesystem.info(path))
