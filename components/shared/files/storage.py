"""Bytes from anywhere: local paths, s3://, gs:// and other schemes of fsspec."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from components.shared.errors import ImageTooLargeError, SourceError


def filesystem_of(uri: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URI and the path within it.

    Credentials come from the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, FSSPEC_*), never from parameters.
    A local path is used unchanged and can hold any characters.

    Raises:
        SourceError: the scheme is unknown or its package is not installed.
    """
    if "://" not in uri or uri.startswith("file:/"):
        return LocalFileSystem(), local_path(uri)
    try:
        filesystem, path = _plain(uri) if "::" in uri and not _is_chained(uri) else url_to_fs(uri)
    except Exception as error:  # ValueError, ImportError, or any error of a driver's constructor
        raise SourceError(
            f"{uri} cannot be opened ({error}); use a local path, s3://, gs:// or another scheme of fsspec", source=uri
        ) from error
    return filesystem, path


def read_bytes(uri: str, *, limit_bytes: int) -> bytes:
    """Read a whole file, but at most `limit_bytes` (plus one byte, to notice a longer file).

    Raises:
        SourceError: the file is missing (then the cause is a FileNotFoundError) or cannot be read.
        ImageTooLargeError: it is larger than `limit_bytes`.
    """
    filesystem, path = filesystem_of(uri)
    try:
        data = _read(filesystem, path, limit_bytes + 1)
    except FileNotFoundError as error:
        raise SourceError(f"{uri} does not exist; correct the manifest or restore the file", source=uri) from error
    except Exception as error:  # drivers raise their own classes: no credentials, no network, access denied
        raise SourceError(f"{uri} cannot be read: {str(error) or type(error).__name__}", source=uri) from error
    if len(data) > limit_bytes:
        raise ImageTooLargeError(f"{uri} has more than {limit_bytes} bytes", reason="too_many_bytes")
    return data


def parquet_files(filesystem: Any, root: str) -> list[str]:
    """Return the Parquet files at a path: itself, or all below it except unfinished ones; none if it is missing.

    As for Spark, names that begin with "." or "_" mark unfinished files and folders.
    """
    if filesystem.isfile(root):
        return [root]
    return [
        path
        for path in (sorted(filesystem.find(root)) if filesystem.isdir(root) else [])
        if path.endswith(".parquet") and not any(part[:1] in "._" for part in path[len(root) :].split("/") if part)
    ]


def is_remote(uri: str) -> bool:
    """Whether a URI names an object store or server rather than a local path.

    Example:
        >>> is_remote("s3://bucket/a.jpg"), is_remote("/home/a.jpg")
        (True, False)
    """
    return "://" in uri and not uri.startswith(("file://", "local://"))


def local_path(uri: str) -> str:
    """Return the path that a `file:` address names, with escapes decoded; any other text is already a path.

    Source: RFC 8089.

    Example:
        >>> local_path("file:///home/a%20b.jpg")
        '/home/a b.jpg'
    """
    if not uri.startswith("file:/"):
        return uri
    rest = uri.removeprefix("file:")
    return url2pathname(rest.removeprefix("//localhost").removeprefix("//") if rest.startswith("//") else rest)


def _is_chained(uri: str) -> bool:
    """Whether "::" joins filesystems (zip://a.jpg::s3://b/c.zip) rather than being part of a key (s3://b/a::b.jpg)."""
    rest = uri.split("::")[1:]
    return bool(rest) and all("://" in part for part in rest)


def _plain(uri: str) -> tuple[Any, str]:
    filesystem = fsspec.filesystem(uri.partition("://")[0])
    return filesystem, filesystem._strip_protocol(uri)


def _read(filesystem: Any, path: str, count: int) -> bytes:
    """Read the first `count` bytes: by opening a local file, or by one ranged request to a remote one."""
    if isinstance(filesystem, LocalFileSystem):
        with Path(path).open("rb") as file:
            return file.read(count)
    try:
        data: bytes = filesystem.cat_file(path, start=0, end=count)
    except FileNotFoundError:
        raise
    except Exception:
        if filesystem.info(path)["size"]:
            raise
        return b""  # an empty object has no range, so the server refused the request
    return data
