"""A picture that is offered for the catalogue, before its file has been read."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class OfferedPicture:
    """One picture of a folder or one row of a manifest.

    Attributes:
        uri: absolute path or URI of the file.
        image_id: id, unique in the source.
        version: changes when the file does (size and time, or entity tag); None: unknown, the file is always read.
        modified_at: time of modification of the file; None if the storage does not provide it.
        item_id: None: the picture is an item of its own.
        category: None: unknown.
        is_public: whether all users may see it.
        is_appropriate: whether it may be shown at all.
        added_at: time when it joined the catalogue; None: time of modification of its file.
        split: train, validation or test if given by the source; None: the step decides.
    """

    uri: str
    image_id: str
    version: str | None
    modified_at: datetime.datetime | None
    item_id: str | None = None
    category: str | None = None
    is_public: bool = True
    is_appropriate: bool = True
    added_at: datetime.datetime | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedPicture:
    """A file that cannot become part of the catalogue, with a short reason and a sentence for people."""

    uri: str
    reason: str
    message: str


@dataclass
class Offer:
    """The pictures of a folder or manifest.

    Attributes:
        source: path or URI of the folder or manifest.
        pictures: in order of image_id.
        refused: files that could not be listed or found.
        ignored: number of files skipped because their names do not end like a picture's.
    """

    source: str
    pictures: list[OfferedPicture] = field(default_factory=list)
    refused: list[RefusedPicture] = field(default_factory=list)
    ignored: int = 0
