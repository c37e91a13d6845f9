"""Small pictures for the page, as data URIs, without those that must not be shown."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from components.evaluation.gallery import Gallery
from components.shared.errors import BadImageError, SourceError
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import Pixels, PreprocessingSpec

SIDE = 112
QUALITY = 76


class Thumbnails:
    """Small pictures of the gallery; None for private and inappropriate ones.

    Args:
        gallery: n images.
        preprocessing: preprocessing of the encoder, so that the page shows its input.
    """

    def __init__(self, gallery: Gallery, preprocessing: PreprocessingSpec) -> None:
        self._uris = gallery.column("uri")
        self._preprocessing = preprocessing
        self._known: dict[int, Markup | None] = {}
        flags = [np.asarray(gallery.column(name), bool) for name in ("is_public", "is_appropriate")]
        self.showable: NDArray[np.bool_] = flags[0] & flags[1]

    def data_uri(self, row: int) -> Markup | None:
        """Return a picture as data:image/jpeg;base64,…; None if it must not be shown or cannot be read."""
        if row not in self._known:
            picture = self.pixels(row, SIDE)
            self._known[row] = None if picture is None else jpeg_data_uri(picture)
        return self._known[row]

    def pixels(self, row: int, side: int) -> Pixels | None:
        """Return a picture as (side, side, 3) uint8 RGB; None if it must not be shown or cannot be read."""
        if not self.showable[row]:
            return None
        try:
            picture = load_image(str(self._uris[row]), self._preprocessing)
        except (
            BadImageError,
            SourceError,
        ):  # readable a minute ago, gone now: the figures stay valid, the tile stays empty
            return None
        return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def jpeg_data_uri(picture: Pixels, quality: int = QUALITY) -> Markup:
    """Encode (h, w, 3) RGB as a JPEG data URI."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return Markup("data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode())  # noqa: S704 (letters and digits)
