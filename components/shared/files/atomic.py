"""Files that are either whole or absent, and their digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.shared.errors import ResourceError

_UNFINISHED = ".part"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on failure removed.

    A reader therefore sees the old file, the new file or none, never a part, even after a crash or a full disk.

    Raises:
        ResourceError: the disk is full, the quota is reached, or the folder is not writable.
    """
    with full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with full_disk_named(path):
            yield temporary
            sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished_files(directory: Path) -> None:
    """Remove the temporary files that killed processes left below a directory that no process writes to now."""
    for path in directory.rglob(f".*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, all or nothing; NaN and infinity are refused (they are not JSON)."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def canonical_json(value: Any) -> bytes:
    """Serialise for digests: sorted keys, no spaces, UTF-8, no NaN.

    Example:
        >>> canonical_json({"b": 1, "a": [0.5]})
        b'{"a":[0.5],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def digest_of(value: Any) -> str:
    """Return the hexadecimal SHA-256 (FIPS 180-4) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish_tree(source: Path, destination: Path) -> None:
    """Make `destination` a directory with exactly the files of `source`; hard links where the disk allows, else copies.

    Files are immutable once published, so a link is as good as a copy and costs nothing.
    """
    if destination.exists():
        shutil.rmtree(destination) if destination.is_dir() else destination.unlink()
    with full_disk_named(destination):
        shutil.copytree(source, destination, copy_function=link_or_copy)


def link_or_copy(source: Path | str, destination: Path | str) -> Path | str:
    """Make `destination` the same file as `source` where the disk allows, else a copy of it."""
    try:
        os.link(source, destination)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copy2(source, destination)
    return destination


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn "no room left" and "not allowed" while `path` is written into a ResourceError with advice.

    Raises:
        ResourceError: the disk is full, the quota is reached, or the folder is not writable.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError(
                f"no space left to write {path} ({os.strerror(error.errno)}): free some space or choose another "
                "--home, then run the same command again; finished work is kept"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ResourceError(
                f"{path} cannot be written ({os.strerror(error.errno)}): choose a folder that user {os.getuid()} may "
                "write to, then run the same command again"
            ) from error
        raise
