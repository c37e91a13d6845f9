"""Image ids: how a path becomes an id, and how an id that a user writes is matched to one."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Container, Iterator
from urllib.parse import quote, unquote

LONGEST_ID = 512
_SAFE_PUNCTUATION = frozenset("/._-~+=@,()!")
_DIGEST_CHARACTERS = 16


def safe_id(text: str) -> str:
    """Make an id from a path: letters and digits of any script and /._-~+=@,()! stay, other bytes become %XX.

    Different paths give different ids, except that one name in two Unicode forms gives one. An id of more than 512
    characters is cut, and the digest of the whole is appended.
    """
    normal = unicodedata.normalize("NFC", text)
    if normal.isascii() and all(c.isalnum() or c in _SAFE_PUNCTUATION for c in normal):
        safe = normal
    else:
        safe = "".join(
            c if c.isalnum() or c in _SAFE_PUNCTUATION else quote(c, safe="", errors="surrogatepass") for c in normal
        )
    if len(safe) <= LONGEST_ID:
        return safe
    return f"{safe[: LONGEST_ID - _DIGEST_CHARACTERS - 1]}~{hashlib.sha256(safe.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"


def meant_ids(written: str) -> Iterator[str]:
    """Yield the image ids that a user can mean, the likeliest first.

    Users write the id itself, or the path of the picture: with spaces, a percent sign or an accent in either Unicode
    form, percent-encoded as in an address, with backslashes, or with a leading "./" or "/".
    """
    yield written
    yield safe_id(written)
    stripped = written.strip()
    path = stripped.replace("\\", "/")
    for candidate in (stripped, path, path.removeprefix("./").lstrip("/"), path.removeprefix("file:").lstrip("/")):
        yield safe_id(candidate)
        yield safe_id(unquote(candidate))


def find_id(written: str, known: Container[str]) -> str | None:
    """Return the known image id that a user means (see `meant_ids`), or None; an exact match wins."""
    return next((image_id for image_id in meant_ids(written) if image_id in known), None)
