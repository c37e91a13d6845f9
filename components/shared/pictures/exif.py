"""EXIF orientation: how the camera was held."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_ORIENTATION_TAG = 0x0112
_PREFIX = b"Exif\x00\x00"


def orientation_of(exif: bytes) -> int:
    """Return the orientation, 1–8, of an EXIF block; 1 (upright) if it is absent or damaged.

    Source: CIPA DC-008 (EXIF 2.32), 4.6.5, tag 274; TIFF 6.0, section 2.
    """
    body = exif.removeprefix(_PREFIX)
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(body[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        (entries,) = struct.unpack_from(order + "H", body, start)
        for entry in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", body, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == 3 and count == 1 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo a camera's orientation (1–8 as in EXIF).

    Returns:
        (h, w, c), or (w, h, c) for orientations 5–8; contiguous.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
