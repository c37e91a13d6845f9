"""One picture, and how to store it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def smooth_picture(width: int = 160, height: int = 120) -> np.ndarray:
    """A picture that survives JPEG and palettes: slopes of colour, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 180 // height, x * 90 // width + 60], axis=2).astype(np.uint8)


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    """Encode as a format of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
