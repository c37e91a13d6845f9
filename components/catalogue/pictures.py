"""A picture that somebody offers for the catalogue, before anybody has looked into its file."""

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
        uri: where its file lies; an absolute path or a URI.
        image_id: unique in the source.
        version: changes when the file does (size and time or entity tag); None: not known, the file is always read.
        modified_at: of the file; None where the storage does not tell.
        item_id: None: the picture is an item of its own.
        category: None: not known.
        is_public: whether everybody may see it.
        is_appropriate: whether it may be shown at all.
        added_at: when it joined the catalogue; None: when its file was modified.
        split: train, validation or test where somebody decided it; None: the step decides.
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
    """What a folder or manifest offers.

    Attributes:
        source: path or URI of the folder or manifest.
        pictures: in order of image_id.
        refused: what could not even be listed or found.
        ignored: number of files passed over because their names do not end like a picture's.
    """

    source: str
    pictures: list[OfferedPicture] = field(default_factory=list)
    refused: list[RefusedPicture] = field(default_factory=list)
    ignored: int = 0
