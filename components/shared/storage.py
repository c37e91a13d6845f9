"""Bytes from anywhere: local paths, s3://, gs:// and what else fsspec knows."""

from __future__ import annotations

from typing import Any

from fsspec.core import url_to_fs

from components.shared.errors import ImageTooLargeError, SourceError


def filesystem_of(uri: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URI and the path within it.

    Credentials come from the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, FSSPEC_*), never from parameters.

    Raises:
        SourceError: the scheme is unknown or its package is not installed.
    """
    try:
        filesystem, path = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise SourceError(
            f"{uri} cannot be opened ({error}); use a local path, s3://, gs:// or another scheme of fsspec", source=uri
        ) from error
    return filesystem, path


def read_bytes(uri: str, *, limit_bytes: int) -> bytes:
    """Read a whole file, but never more than the limit.

    Raises:
        SourceError: the file is missing or cannot be read.
        ImageTooLargeError: it is larger than `limit_bytes`.
    """
    filesystem, path = filesystem_of(uri)
    try:
        with filesystem.open(path, "rb") as file:
            data: bytes = file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise SourceError(f"{uri} does not exist; correct the manifest or restore the file", source=uri) from error
    except OSError as error:
        raise SourceError(f"{uri} cannot be read: {error}", source=uri) from error
    if len(data) > limit_bytes:
        raise ImageTooLargeError(f"{uri} has more than {limit_bytes} bytes", reason="too_many_bytes")
    return data


def is_remote(uri: str) -> bool:
    """Whether a URI names an object store or server rather than a local path."""
    return "://" in uri and not uri.startswith("file://")


