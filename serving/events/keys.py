"""The keys of the impression tokens: from a setting, from a mounted file, or made at the first start on a laptop."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from components.shared.errors import ParameterError
from serving.events.tokens import SHORTEST_KEY


def parse_keys(text: str, where: str) -> tuple[bytes, ...]:
    """Read keys, newest first: one a line or separated by commas; empty lines and lines that begin with # do not count.

    Args:
        text: the keys, as text of at least 32 characters each.
        where: its origin, for the message; the keys themselves never appear in one.

    Raises:
        ParameterError: there is no key, or one is too short.
    """
    lines = [line.strip() for line in text.replace(",", "\n").splitlines()]
    keys = tuple(line.encode() for line in lines if line and not line.startswith("#"))
    if not keys or min(map(len, keys)) < SHORTEST_KEY:
        raise ParameterError(
            f"{where} must hold one or more keys of at least {SHORTEST_KEY} characters, newest first, one per line; "
            'make one with: python -c "import secrets; print(secrets.token_hex(32))"'
        )
    return keys


def read_keys(path: Path, *, create: bool = False) -> tuple[bytes, ...]:
    """Read a file of keys; with `create`, make it first if it is missing, readable by its owner alone.

    Several processes may start at once: one of them makes the file, whole or not at all, and all read the same.

    Raises:
        ParameterError: the file is missing or unreadable, or holds no usable key.
    """
    try:
        if create and not path.exists():
            _create(path)
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"the file of event keys {path} cannot be read ({error}); mount or correct it") from error
    return parse_keys(text, f"the file {path}")


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 from the first moment
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(path).hardlink_to(name)  # fails if another process was first, and never replaces its key
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
