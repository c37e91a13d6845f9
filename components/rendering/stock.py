"""Which photographs the shop holds, and their files: views of products, near-duplicates, private and improper ones."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from components.rendering.designs import Item
from components.rendering.parameters import RenderingParameters
from components.rendering.photographs import Pixels, build_mesh, take_photograph
from components.rendering.views import plan_view
from components.shared.errors import ResourceError
from components.shared.files.atomic import whole_file

COPIES = ("reencoded", "resized", "cropped")
MANIFEST_COLUMNS = ("uri", "image_id", "item_id", "category", "is_public", "is_appropriate", "added_at")

_OPENED = datetime.datetime(2025, 9, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Photograph:
    """One file of the shop."""

    image_id: str  # reveals nothing about the item
    item: int  # row of the item
    view: int  # number of the view; 0 is the studio's
    copy: str  # "" or one of COPIES: a near-duplicate of the view
    suffix: str  # "jpg", "png" or "webp"
    quality: int  # of the encoder, 0–100
    is_public: bool
    is_appropriate: bool
    added_at: datetime.datetime

    @property
    def name(self) -> str:
        """File name in the item's folder."""
        return f"{self.view}{'-' + self.copy if self.copy else ''}.{self.suffix}"


def folder_of(item: Item) -> str:
    """Return where an item's pictures lie, relative to the manifest."""
    return f"images/{item.kind.name}/{item.item_id}"


def plan_stock(items: Sequence[Item], parameters: RenderingParameters) -> list[Photograph]:
    """Decide which photographs there are: `views` of every item, then the near-duplicates, in the order of ids."""
    rng = np.random.default_rng([parameters.seed, 21])
    views = [(item, view, "") for item in range(len(items)) for view in range(parameters.views)]
    chosen = rng.permutation(len(views))[: round(parameters.duplicate_share * len(views))]
    views += [(*views[int(row)][:2], COPIES[index % len(COPIES)]) for index, row in enumerate(chosen)]
    private = set(rng.permutation(len(items))[: round(parameters.private_share * len(items))].tolist())
    improper = set(rng.permutation(len(views))[: round(parameters.inappropriate_share * len(views))].tolist())
    numbers, ages = rng.permutation(len(views)), rng.integers(0, 100, len(items))
    photographs = []
    for row, (item, view, copy) in enumerate(views):
        suffix = "webp" if copy == "reencoded" else str(rng.choice(["jpg", "png", "webp"], p=[0.95, 0.02, 0.03]))
        low, high = {"reencoded": (35, 60)}.get(copy, (92, 97) if view == 0 else (45, 95))
        added = _OPENED + datetime.timedelta(days=int(ages[item]), minutes=int(numbers[row]))
        photographs.append(
            Photograph(
                image_id=f"img-{numbers[row]:06d}",
                item=item,
                view=view,
                copy=copy,
                suffix=suffix,
                quality=int(rng.integers(low, high)),
                is_public=item not in private,
                is_appropriate=row not in improper,
                added_at=added,
            )
        )
    return sorted(photographs, key=lambda photograph: photograph.image_id)


def write_manifest(path: Path, items: Sequence[Item], photographs: Sequence[Photograph]) -> None:
    """Write the list of all photographs as CSV; a uri is relative to the file itself."""
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for p in photographs:
            item = items[p.item]
            flags = (str(p.is_public).lower(), str(p.is_appropriate).lower())
            uri = f"{folder_of(item)}/{p.name}"
            writer.writerow((uri, p.image_id, item.item_id, item.kind.name, *flags, p.added_at.isoformat()))


def write_pictures(directory: Path, item: Item, photographs: Sequence[Photograph], *, seed: int, side: int) -> None:
    """Take and write all photographs of one item into a new `directory`, which the caller renames when it is complete."""
    directory.mkdir(parents=True, exist_ok=True)
    mesh = build_mesh(item)
    taken: dict[int, Pixels] = {}
    for p in sorted(photographs, key=lambda photograph: (photograph.view, photograph.copy)):
        if p.view not in taken:
            taken[p.view] = take_photograph(item, mesh, plan_view(item, p.view, seed=seed, side=side))
        picture = copied(taken[p.view], p.copy, np.random.default_rng([seed, 23, int(p.image_id[4:])]))
        (directory / p.name).write_bytes(encoded(picture, p.suffix, p.quality))


def copied(picture: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Return a near-duplicate of a picture: the same pixels to be encoded anew, fewer of them, or without the border."""
    height, width = picture.shape[:2]
    if kind == "resized":
        scale = float(rng.uniform(0.6, 0.85))
        smaller = round(width * scale), round(height * scale)
        return np.asarray(cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA))
    if kind == "cropped":
        top, left, bottom, right = (int(v) for v in rng.uniform(0.0, 0.03, 4) * (height, width, height, width))
        return picture[1 + top : height - bottom, 1 + left : width - right]
    return picture


def encoded(picture: Pixels, suffix: str, quality: int) -> bytes:
    """Encode RGB pixels as "jpg", "png" or "webp".

    Raises:
        ResourceError: this build of OpenCV cannot write the format.
    """
    options = {"jpg": [cv2.IMWRITE_JPEG_QUALITY, quality], "webp": [cv2.IMWRITE_WEBP_QUALITY, quality]}.get(suffix, [])
    done, data = cv2.imencode(f".{suffix}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ResourceError(f"OpenCV {cv2.__version__} cannot write .{suffix} pictures; install opencv-python-headless")
    return bytes(data)
