"""Pictures of the catalogue for the status page, small and inline; only those that anybody may see."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import pyarrow as pa
import pyarrow.compute as pc

from components.shared.errors import BadImageError, SourceError
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec

_SIDE, _QUALITY = 104, 74


@dataclass(frozen=True)
class StatusTile:
    """A picture of the catalogue.

    Attributes:
        picture: data URI; None: cannot be read.
    """

    image_id: str
    category: str
    picture: str | None


def make_tiles(image_ids: Iterable[str], items: pa.Table, preprocessing: PreprocessingSpec) -> dict[str, StatusTile]:
    """Make the tiles of images; what is unknown, private or inappropriate is left out.

    Args:
        image_ids: images to read.
        items: table ITEMS of the release and of the generations on it.
        preprocessing: preprocessing of the release; the pictures are shown as the encoder sees them.
    """
    wanted = pa.array(sorted(set(image_ids)), pa.string())
    mask = pc.and_(pc.and_(items["is_public"], items["is_appropriate"]), pc.is_in(items["image_id"], wanted))
    rows = items.filter(mask).select(["image_id", "category", "uri"]).to_pylist()
    return {
        row["image_id"]: StatusTile(row["image_id"], row["category"] or "", _data_uri(row["uri"], preprocessing))
        for row in rows
    }


def _data_uri(uri: str, preprocessing: PreprocessingSpec) -> str | None:
    try:
        pixels = load_image(uri, preprocessing)
    except (BadImageError, SourceError):  # the catalogue's file is gone: the tile stays empty, the figures are kept
        return None
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
