"""Addresses of SQLite files, for paths of any characters."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

_SCHEME = "sqlite:///"


def sqlite_url(path: Path) -> str:
    """Return SQLAlchemy's address of an SQLite file, with special characters escaped."""
    return _SCHEME + quote(str(path.absolute()))


def sqlite_path(url: str) -> Path | None:
    """Return the file that an SQLite address names, or None for another address."""
    if not url.startswith(_SCHEME) or url == _SCHEME:
        return None
    return Path(unquote(url.removeprefix(_SCHEME).partition("?")[0]))
