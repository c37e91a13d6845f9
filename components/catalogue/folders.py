"""A folder of any depth, on disk or in an object store, as a source of pictures."""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from components.catalogue.pictures import SPLIT_NAMES, Offer, OfferedPicture, RefusedPicture
from components.shared.errors import SourceError
from components.shared.files.ids import safe_id
from components.shared.files.storage import filesystem_of, is_remote, local_path
from components.shared.pictures.kinds import FOREIGN_SUFFIXES, PICTURE_SUFFIXES

# Folders that devices and systems make beside pictures: thumbnails, snapshots, deleted files (compared in lower case).
_SYSTEM_FOLDERS = frozenset((
    "@eadir", "@recently-snapshot", "@recycle", "@transcode", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "recycler",
    "recycled", "system volume information", "lost+found", "__macosx", "network trash folder", "temporary items",
))  # fmt: skip
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_TIME_KEYS = ("LastModified", "mtime", "updated", "last_modified", "created")


@dataclass(frozen=True, slots=True)
class _File:
    path: str  # relative to the folder, "/" between the parts
    uri: str
    version: str | None
    modified_at: datetime.datetime | None


def offer_of_folder(uri: str) -> Offer:
    """List the pictures below a folder.

    A picture's id is its path within the folder, its category the name of the folder that holds it. A first-level folder
    named train, validation (valid, val) or test decides the split. Hidden files are skipped, and so are the folders in
    which devices keep thumbnails, snapshots and deleted files, and home folders of this program. If a symbolic link leads
    to a folder that is listed anyway, ids use the path of the real folder.

    Raises:
        SourceError: the folder is missing, unreadable or holds no picture.
    """
    offer = Offer(source=uri)
    files = _remote_files(uri, offer) if is_remote(uri) else _local_files(Path(local_path(uri)), offer)
    for file in files:
        offer.pictures.append(_picture_of(file))
    if not offer.pictures and not offer.refused:
        raise SourceError(
            f"{uri} holds no pictures ({offer.ignored} other files); expected files that end in "
            f"{', '.join(PICTURE_SUFFIXES)}, at any depth, or give a CSV or Parquet manifest instead",
            source=uri,
        )
    offer.pictures = _with_unique_ids(offer.pictures)
    return offer


def modification_of(info: dict[str, Any]) -> tuple[str | None, datetime.datetime | None]:
    """Return version and time of modification of a file in an object store, from fsspec's `info`."""
    found = next((info[key] for key in _TIME_KEYS if info.get(key) is not None), None)
    if isinstance(found, str):
        try:
            found = datetime.datetime.fromisoformat(found)
        except ValueError:
            found = None
    elif isinstance(found, (int, float)):
        found = datetime.datetime.fromtimestamp(found, datetime.UTC)
    if isinstance(found, datetime.datetime) and found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    tag = info.get("ETag") or info.get("etag") or info.get("generation") or found
    return (None if tag is None else f"{info.get('size')}-{tag}"), found


def version_of_local(status: os.stat_result) -> tuple[str, datetime.datetime]:
    """Return version and time of modification of a local file."""
    try:
        at = _EPOCH + datetime.timedelta(microseconds=status.st_mtime_ns // 1000)
    except OverflowError:  # a file system can hold times outside the years 1 to 9999
        at = _EPOCH
    return f"{status.st_size}-{status.st_mtime_ns}", at


def _picture_of(file: _File) -> OfferedPicture:
    folders = PurePosixPath(file.path).parts[:-1]
    split = SPLIT_NAMES.get(folders[0].lower()) if folders else None
    inner = folders[1:] if split else folders
    return OfferedPicture(
        uri=file.uri,
        image_id=safe_id(file.path),
        version=file.version,
        modified_at=file.modified_at,
        category=inner[-1] if inner else None,
        split=split,
    )


def _with_unique_ids(pictures: list[OfferedPicture]) -> list[OfferedPicture]:
    """Make ids unique that differ only in their Unicode form, and sort the pictures by id."""
    counts = Counter(picture.image_id for picture in pictures)
    unique = [
        p
        if counts[p.image_id] == 1
        else replace(p, image_id=f"{p.image_id}~{hashlib.sha256(p.uri.encode()).hexdigest()[:8]}")
        for p in pictures
    ]
    return sorted(unique, key=lambda picture: picture.image_id)


def _is_system_folder(name: str) -> bool:
    return name.lower() in _SYSTEM_FOLDERS or name.lower().endswith(".lrdata")  # Lightroom's previews


def _is_home(folder: str) -> bool:
    """Whether a folder is a home of this program, which holds copies of pictures."""
    return all((Path(folder) / name).is_dir() for name in ("runs", "workspace/catalogue"))


def _is_picture_name(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES + FOREIGN_SUFFIXES)


def _local_files(root: Path, offer: Offer) -> Iterator[_File]:
    if not root.exists():
        raise SourceError(f"the folder {root} does not exist; check the path", source=str(root))
    if not root.is_dir():
        raise SourceError(
            f"{root} is neither a folder nor a manifest that ends in .csv or .parquet; give one of these",
            source=str(root),
        )
    start = os.path.abspath(root)  # noqa: PTH100 - keeps symbolic links
    seen: set[tuple[int, int]] = set()
    stack, links = [(start, "")], list[tuple[str, str]]()
    while stack or links:  # symbolic links last, so that a real folder wins over the links to it
        folder, prefix = stack.pop() if stack else links.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:  # a symbolic link led back
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise SourceError(f"the folder {root} cannot be read: {error.strerror}", source=str(root)) from error
            offer.refused.append(
                RefusedPicture(_readable(folder), "unreadable", f"the folder cannot be read: {error.strerror}")
            )
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if not _is_system_folder(entry.name) and not _is_home(entry.path):
                    (links if entry.is_symlink() else stack).append((entry.path, f"{prefix}{entry.name}/"))
            elif _is_picture_name(entry.name):
                yield from _local_file(entry, prefix, offer)
            else:
                offer.ignored += 1


def _local_file(entry: os.DirEntry[str], prefix: str, offer: Offer) -> Iterator[_File]:
    if _readable(entry.path) != entry.path:
        offer.refused.append(
            RefusedPicture(_readable(entry.path), "unusable_name", "the file's name is not UTF-8; rename the file")
        )
        return
    try:
        status = entry.stat()
    except OSError as error:
        offer.refused.append(RefusedPicture(entry.path, "missing", f"a link that leads nowhere: {error.strerror}"))
        return
    if not stat.S_ISREG(status.st_mode):
        offer.refused.append(RefusedPicture(entry.path, "not_a_file", "neither a file nor a folder (a pipe or device)"))
        return
    version, at = version_of_local(status)
    yield _File(prefix + entry.name, entry.path, version, at)


def _readable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _remote_files(uri: str, offer: Offer) -> Iterator[_File]:
    filesystem, path = filesystem_of(uri)
    path = path.rstrip("/")
    try:
        found = filesystem.find(path, detail=True)
    except Exception as error:  # every driver has its own exception classes
        raise SourceError(
            f"{uri} cannot be listed ({str(error) or type(error).__name__}); check the address and the credentials in "
            "the environment",
            source=uri,
        ) from error
    if not found:
        raise SourceError(f"{uri} does not exist or is empty; check the address", source=uri)
    scheme = uri.partition("://")[0]
    for name in sorted(found):
        inner = name.removeprefix(path).lstrip("/")
        if any(part.startswith(".") for part in inner.split("/")) or not inner:
            continue
        if any(_is_system_folder(part) for part in inner.split("/")[:-1]):
            continue
        if not _is_picture_name(name):
            offer.ignored += 1
            continue
        version, at = modification_of(found[name])
        yield _File(inner, f"{scheme}://{name}", version, at)
