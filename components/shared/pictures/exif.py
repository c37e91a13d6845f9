"""EXIF orientation: how the camera was held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1–8, of a picture's EXIF or XMP data as Pillow reads them; 1 (upright) without one.

    Some formats hold the data behind the pixels, and Pillow turns TIFF pictures itself: load the picture before.

    Source: CIPA DC-008 (EXIF 2.32), 4.6.5, tag 274.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged data raise SyntaxError, struct.error, OSError and more
        return 1
    return next((orientation for orientation in range(2, 9) if orientation == value), 1)


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
