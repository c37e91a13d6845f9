"""Messages between the transformer and its decoding processes: a head in JSON and a body of bytes. No pickle.

A picture may take a decoder over; so nothing that such a process says is ever executed or trusted beyond its type.
"""

from __future__ import annotations

import json
import struct
from typing import Any

PREFIX = struct.Struct("!II")  # bytes of the head, bytes of the body
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1 << 30


def frame_of(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Return a frame up to its body, which the caller sends after it."""
    text = json.dumps(head, allow_nan=False).encode()
    return PREFIX.pack(len(text), len(body)) + text


def sizes_of(prefix: bytes) -> tuple[int, int]:
    """Return the bytes of head and body that a prefix announces.

    Raises:
        ValueError: more than a frame may have.
    """
    head, body = PREFIX.unpack(prefix)
    if head > MAX_HEAD_BYTES or body > MAX_BODY_BYTES:
        raise ValueError(f"a frame of {head} + {body} bytes is more than one may have")
    return head, body
