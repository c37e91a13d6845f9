"""From pictures in a folder or manifest to a catalogue: validated, fingerprinted, grouped and split."""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.catalogue.duplicates import group_duplicates
from components.catalogue.facts import FactsCache, gather_facts
from components.catalogue.folders import offer_of_folder
from components.catalogue.inspection import Inspection
from components.catalogue.manifests import MANIFEST_SUFFIXES, offer_of_manifest
from components.catalogue.parameters import CatalogueParameters
from components.catalogue.pictures import Offer, OfferedPicture, RefusedPicture
from components.catalogue.splits import SplitImage, Splits, split_images
from components.shared.errors import SourceError
from components.shared.files.artifacts import Artifact
from components.shared.files.layout import CATALOGUE_FILE, QUARANTINE_FILE
from components.shared.files.tables import CATALOGUE, QUARANTINE, SPLITS, write_table
from components.shared.files.workspace import Workspace, require_writable

_UNKNOWN_TIME = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Image = tuple[OfferedPicture, Inspection]


def run(*, images: str, destination: Path, workspace: Path, parameters: CatalogueParameters) -> Artifact:
    """Make a catalogue of the pictures of a folder or manifest.

    Every file is read and decoded once, in expendable processes; an unusable picture is put into quarantine with its
    reason. Facts are kept in the workspace, so a killed or repeated run reads only new or changed files. The result
    depends on the files, the manifest and the parameters alone.

    Args:
        images: folder of any depth, or .csv or .parquet manifest; a local path, s3://, gs:// or another URI of fsspec.
        destination: directory to publish, with `catalogue.parquet` and `quarantine.parquet`.
        workspace: folder for finished and unfinished work.
        parameters: parameters of this step.

    Raises:
        SourceError: the source is missing or empty, has no usable picture or only one, or its manifest is wrong.
        ResourceError: the disk is full, or the workspace is not writable.
    """
    require_writable(workspace)
    offer = offer_of_manifest(images) if images.lower().endswith(MANIFEST_SUFFIXES) else offer_of_folder(images)
    facts = gather_facts(offer.pictures, FactsCache(workspace / "catalogue", parameters), parameters)
    good = [pair for pair in zip(offer.pictures, facts, strict=True) if pair[1].reason is None]
    refused = sorted(
        offer.refused
        + [
            RefusedPicture(picture.uri, found.reason, found.message or found.reason)
            for picture, found in zip(offer.pictures, facts, strict=True)
            if found.reason is not None
        ],
        key=lambda picture: (picture.uri, picture.reason),
    )
    _check_enough(offer, good, refused)
    settings = parameters.model_dump(mode="json", exclude={"workers"})  # they do not change the result
    inputs = {"pictures": _digest_of(good, refused)}
    with Workspace(workspace).step("catalogue", inputs=inputs, parameters=settings) as work:
        if not work.is_finished:
            table, summary = _catalogue_of(good, images, parameters)
            write_table(work.output / CATALOGUE_FILE, table, CATALOGUE)
            write_table(work.output / QUARANTINE_FILE, _quarantine_of(refused), QUARANTINE)
            counts = dict(sorted(Counter(picture.reason for picture in refused).items()))
            work.finish({**summary, "quarantined": counts, "ignored_files": offer.ignored, "source": images})
        return work.publish(destination)


def _check_enough(offer: Offer, good: Sequence[Image], refused: Sequence[RefusedPicture]) -> None:
    if not good:
        reason, count = Counter(picture.reason for picture in refused).most_common(1)[0]
        example = next(picture for picture in refused if picture.reason == reason)
        raise SourceError(
            f"none of the {len(refused)} pictures of {offer.source} can be used; most often ({count} times) the reason is "
            f"{reason}: {example.message} ({example.uri}); fix the pictures or pass another folder",
            source=offer.source,
        )
    if len({picture.item_id or picture.image_id for picture, _ in good}) < 2:
        raise SourceError(
            f"{offer.source} has only one usable {'picture' if len(good) == 1 else 'item'}; to learn and to measure, at least "
            "two different items are needed: add more pictures",
            source=offer.source,
        )


def _digest_of(good: Sequence[Image], refused: Sequence[RefusedPicture]) -> str:
    digest = hashlib.sha256()
    for picture, found in good:
        digest.update(repr((picture, found)).encode() + b"\n")
    for problem in refused:
        digest.update(repr(problem).encode() + b"\n")
    return digest.hexdigest()


def _catalogue_of(
    good: Sequence[Image], source: str, parameters: CatalogueParameters
) -> tuple[pa.Table, dict[str, Any]]:
    pictures = [picture for picture, _ in good]
    representatives = group_duplicates(
        [found.sha256 for _, found in good],
        [found.fingerprint for _, found in good],
        distance=parameters.duplicate_distance,
    )
    groups = [pictures[position].image_id for position in representatives]
    items = [picture.item_id or picture.image_id for picture in pictures]
    added = [picture.added_at or picture.modified_at or _UNKNOWN_TIME for picture in pictures]
    splits = split_images(
        [
            SplitImage(item, group, (at.timestamp(), item), picture.split)
            for picture, item, group, at in zip(pictures, items, groups, added, strict=True)
        ],
        parameters,
    )
    if splits.groups < 2:
        raise SourceError(
            f"the {len(pictures)} usable pictures of {source} are near-duplicates of one another or of one item; to learn and "
            "to measure, at least two different ones are needed: add more pictures",
            source=source,
        )
    columns: dict[str, list[Any]] = {
        "image_id": [picture.image_id for picture in pictures],
        "item_id": items,
        "uri": [picture.uri for picture in pictures],
        "sha256": [found.sha256 for _, found in good],
        "width": [found.width for _, found in good],
        "height": [found.height for _, found in good],
        "category": [picture.category for picture in pictures],
        "is_public": [picture.is_public for picture in pictures],
        "is_appropriate": [picture.is_appropriate for picture in pictures],
        "added_at": added,
        "split": splits.names,
        "duplicate_group": groups,
    }
    return pa.table(columns, CATALOGUE.schema), _summary_of(columns, splits)


def _summary_of(columns: dict[str, list[Any]], splits: Splits) -> dict[str, Any]:
    count = len(columns["image_id"])
    names = Counter(splits.names)
    categories: dict[str, set[str | None]] = {}
    for group, category in zip(columns["duplicate_group"], columns["category"], strict=True):
        categories.setdefault(group, set()).add(category)
    return {
        "images": count,
        "items": len(set(columns["item_id"])),
        "categories": len({category for category in columns["category"] if category is not None}),
        "duplicates": count - len(set(columns["duplicate_group"])),
        "identical_files": count - len(set(columns["sha256"])),
        "duplicates_of_other_category": sum(len(found) > 1 for found in categories.values()),
        "splits": {name: names[name] for name in SPLITS},
        "moved_between_splits": splits.moved,
    }


def _quarantine_of(refused: Sequence[RefusedPicture]) -> pa.Table:
    return pa.table(
        {
            "uri": [picture.uri for picture in refused],
            "reason": [picture.reason for picture in refused],
            "message": [picture.message for picture in refused],
        },
        QUARANTINE.schema,
    )
