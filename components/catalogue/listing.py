"""The pictures that a folder or manifest offers now, without a catalogue to learn from: for extending a served release."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from components.catalogue.duplicates import group_duplicates
from components.catalogue.facts import FactsCache, gather_facts
from components.catalogue.folders import offer_of_folder
from components.catalogue.manifests import MANIFEST_SUFFIXES, offer_of_manifest
from components.catalogue.parameters import CatalogueParameters
from components.catalogue.pictures import RefusedPicture
from components.shared.files.tables import ITEMS

_UNKNOWN_TIME = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Listing:
    """The pictures of a source: table ITEMS of the usable ones, and the refused ones with reasons."""

    items: pa.Table
    refused: list[RefusedPicture]


def list_images(images: str, *, workspace: Path, parameters: CatalogueParameters) -> Listing:
    """Read every new or changed picture once and describe all pictures; a single one is enough.

    Args:
        images: folder, or .csv or .parquet manifest; a local path or a URI of fsspec.
        workspace: folder that keeps the facts of files.
        parameters: parameters of the catalogue step, so that both accept the same pictures and find the same duplicates.

    Raises:
        SourceError: the source is missing or empty, or its manifest is wrong.
    """
    offer = offer_of_manifest(images) if images.lower().endswith(MANIFEST_SUFFIXES) else offer_of_folder(images)
    facts = gather_facts(offer.pictures, FactsCache(workspace / "catalogue", parameters), parameters)
    pairs = list(zip(offer.pictures, facts, strict=True))
    good = [(picture, found) for picture, found in pairs if found.reason is None]
    refused = [
        RefusedPicture(picture.uri, found.reason, found.message or found.reason)
        for picture, found in pairs
        if found.reason is not None
    ]
    first = group_duplicates(
        [found.sha256 for _, found in good],
        [found.fingerprint for _, found in good],
        distance=parameters.duplicate_distance,
    )
    rows = [
        {
            "row": row,
            "image_id": picture.image_id,
            "item_id": picture.item_id or picture.image_id,
            "uri": picture.uri,
            "sha256": found.sha256,
            "category": picture.category,
            "is_public": picture.is_public,
            "is_appropriate": picture.is_appropriate,
            "duplicate_group": good[first[row]][0].image_id,
            "added_at": picture.added_at or picture.modified_at or _UNKNOWN_TIME,
        }
        for row, (picture, found) in enumerate(good)
    ]
    return Listing(pa.Table.from_pylist(rows, ITEMS.schema), [*offer.refused, *refused])
