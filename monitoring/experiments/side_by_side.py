"""Results of two releases for the same pictures, side by side: each embeds and searches by itself, as it would serve."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from components.shared.errors import BadImageError, SourceError
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import Pixels, PreprocessingSpec
from components.shared.release.manifest import Release, open_release

SHOWN = 6
_SIDE, _QUALITY = 112, 76


@dataclass(frozen=True)
class PairTile:
    """A picture on the sheet.

    Attributes:
        score: similarity, higher is better.
        picture: data URI; None: cannot be read.
        only_here: the other release does not return it.
    """

    image_id: str
    category: str
    score: float
    picture: str | None
    only_here: bool


@dataclass(frozen=True)
class SideBySideSheet:
    """One query.

    Attributes:
        name: file name of the query picture.
        picture: data URI.
        control: results of the control's release.
        treatment: figure of the treatment arm.
        overlap: share of the shown results that both return.
    """

    name: str
    picture: str | None
    control: list[PairTile]
    treatment: list[PairTile]
    overlap: float


def compare_releases(control: Path, treatment: Path, queries: list[str]) -> list[SideBySideSheet]:
    """Search both releases for each picture; the query itself and what must not be shown stay out.

    Args:
        control: directory of a release.
        treatment: the same for the treatment.
        queries: paths or URIs of pictures.

    Raises:
        ContractError: a release cannot be trusted.
        BadImageError: a query picture cannot be used.
    """
    releases = [open_release(path) for path in (control, treatment)]
    sheets = []
    for query in queries:
        answers = [_search(release, query) for release in releases]
        ids = [{image_id for image_id, *_ in answer} for answer in answers]
        tiles = [
            [
                PairTile(
                    image_id,
                    category,
                    score,
                    _thumbnail(uri, release.manifest.encoder.preprocessing),
                    image_id not in other,
                )
                for image_id, category, score, uri in answer
            ]
            for release, answer, other in zip(releases, answers, reversed(ids), strict=True)
        ]
        shared = len(ids[0] & ids[1]) / max(len(ids[0]), len(ids[1]), 1)
        picture = _thumbnail(query, releases[0].manifest.encoder.preprocessing)
        sheets.append(SideBySideSheet(Path(query).name, picture, tiles[0], tiles[1], shared))
    return sheets


def _search(release: Release, query: str) -> list[tuple[str, str, float, str]]:
    pixels = load_image(query, release.manifest.encoder.preprocessing)
    items = release.items
    allowed = np.logical_and(*(items[name].to_numpy(zero_copy_only=False) for name in ("is_public", "is_appropriate")))
    allowed &= np.array([uri != query for uri in items["uri"].to_pylist()])
    k = min(SHOWN, int(allowed.sum()))
    if not k:
        return []
    found = release.index.search(release.encoder.encode(pixels[None]), k, allowed=allowed)
    answer = []
    for row, score in zip(found.rows[0], found.scores[0], strict=True):
        if row >= 0:
            item = items.slice(int(row), 1).to_pylist()[0]
            answer.append((item["image_id"], item["category"] or "", float(score), item["uri"]))
    return answer


def _thumbnail(uri: str, preprocessing: PreprocessingSpec) -> str | None:
    try:
        pixels: Pixels = load_image(uri, preprocessing)
    except (BadImageError, SourceError):  # the catalogue's file is gone: the tile stays empty, the figures are kept
        return None
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
