"""Image ids: how a path becomes one, and how an id that a person writes is matched to one."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection
from urllib.parse import quote, unquote

LONGEST_ID = 512
_SAFE_PUNCTUATION = frozenset("/._-~+=@,()!")
_DIGEST_CHARACTERS = 16


def safe_id(text: str) -> str:
    """Make an id out of a path: letters and digits of any script and /._-~+=@,()! stay, other bytes become %XX.

    Different paths give different ids, except that one name in two Unicode forms gives one. An id of more than 512
    characters is cut, and the digest of the whole is added.
    """
    normal = unicodedata.normalize("NFC", text)
    if normal.isascii() and all(c.isalnum() or c in _SAFE_PUNCTUATION for c in normal):
        safe = normal
    else:
        safe = "".join(c if c.isalnum() or c in _SAFE_PUNCTUATION else quote(c, safe="") for c in normal)
    if len(safe) <= LONGEST_ID:
        return safe
    return f"{safe[: LONGEST_ID - _DIGEST_CHARACTERS - 1]}~{hashlib.sha256(safe.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"


def find_id(written: str, known: Collection[str]) -> str | None:
    """Return the known image id that a person means, or None.

    People write the id itself, or the path of the picture: with spaces, a percent sign or an accent in either Unicode
    form, percent-encoded as in an address, with backslashes, or with a leading "./" or "/". An id that is known as it is
    written always wins.

    Args:
        written: an id or path.
        known: ids of the catalogue; a set or mapping.
    """
    if written in known:
        return written
    stripped = written.strip()
    path = stripped.replace("\\", "/")
    for candidate in (stripped, path, path.removeprefix("./").lstrip("/"), path.removeprefix("file:").lstrip("/")):
        for form in (candidate, unquote(candidate)):
            if (found := safe_id(form)) in known:
                return found
    return None
