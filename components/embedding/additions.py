"""Extends what is served by a generation: embeds the images that are new, takes away those that are gone."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.embedding.images import Failure, ImageEmbedder
from components.embedding.parameters import EmbeddingParameters
from components.shared.errors import InputError
from components.shared.files.ids import find_id
from components.shared.files.layout import ITEMS_FILE
from components.shared.files.tables import ITEMS
from components.shared.release.generation import stack_items, write_generation
from components.shared.release.manifest import Manifest, read_items, verify_release
from components.shared.release.served import open_generations, publish_generation, read_current
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder

Row = dict[str, Any]

_COMPARED_IDS = 20_000  # comparing a misspelt id with more takes seconds
_COMPARED = ("item_id", "uri", "sha256", "category", "is_public", "is_appropriate")


@dataclass(frozen=True)
class Extension:
    """What an extension did.

    Attributes:
        generation_id: of the generation that was put into force; None: there was nothing to do.
        number: of that generation.
        added: images that are new or have changed.
        removed: images that are gone or have changed.
        failures: (uri, reason, message) of pictures that could not be embedded; they are not served.
    """

    generation_id: str | None
    number: int
    added: int
    removed: int
    failures: tuple[tuple[str, str, str], ...] = ()


def extend(
    root: Path,
    offered: pa.Table,
    *,
    is_whole: bool,
    remove: Iterable[str] = (),
    parameters: EmbeddingParameters | None = None,
) -> Extension:
    """Compare what is served with what is offered, and put the difference into force as one generation.

    Args:
        root: what is served, with its `CURRENT`.
        offered: table ITEMS of usable pictures; rows are numbered anew.
        is_whole: whether `offered` is all there is, so that what is served and not in it goes.
        remove: ids of images that go besides.
        parameters: of embedding.

    Raises:
        InputError: an id to remove is not served.
        ContractError: what is served is damaged, or was changed by somebody else meanwhile.
    """
    current = read_current(root)
    release = root / current.release
    manifest = verify_release(release)
    served, parent = _served(root, release, manifest, current.generations)
    wanted: dict[str, Row] = {row["image_id"]: row for row in offered.to_pylist()}
    gone = {_served_id(written, served) for written in remove}
    for image_id in gone:
        wanted.pop(image_id, None)
    if is_whole:
        gone |= set(served) - set(wanted)
    fresh = [row for image_id, row in wanted.items() if _differs(served.get(image_id), row)]
    gone |= {row["image_id"] for row in fresh} & set(served)
    vectors, kept, failures = _embed(release, manifest, [row["uri"] for row in fresh], parameters)
    added = [fresh[place] for place in kept]
    problems = tuple((fresh[each.row]["uri"], each.reason, each.message) for each in failures)
    number = len(current.generations)
    if not added and not gone:
        return Extension(None, number, 0, 0, problems)
    _join_groups(added, [row for image_id, row in served.items() if image_id not in gone])
    with tempfile.TemporaryDirectory(prefix=".extend-", dir=root) as folder:
        made = write_generation(
            Path(folder) / "generation",
            release_id=manifest.release_id,
            space_id=manifest.space_id,
            number=number + 1,
            parent=parent,
            items=pa.Table.from_pylist([{**row, "row": i} for i, row in enumerate(added)], ITEMS.schema),
            vectors=vectors,
            removed=sorted(gone),
        )
        publish_generation(root, Path(folder) / "generation")
    return Extension(made.generation_id, made.number, made.added, made.removed, problems)


def _served(root: Path, release: Path, manifest: Manifest, generations: list[str]) -> tuple[dict[str, Row], str | None]:
    """Return image_id → row of what is served, hidden images included, and the topmost generation."""
    items = read_items(release / ITEMS_FILE, manifest.index.rows)
    opened = open_generations([root / name for name in generations], manifest)
    table, present = stack_items(items, opened)
    served = {row["image_id"]: row for row in table.filter(pa.array(present)).to_pylist()}
    return served, opened[-1].manifest.generation_id if opened else None


def _served_id(written: str, served: Mapping[str, Row]) -> str:
    found = find_id(written, served)
    if found is None:
        near = difflib.get_close_matches(written, served, n=1) if len(served) <= _COMPARED_IDS else []
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{written} is not served, so it cannot be removed; give ids of images that are served{hint}")
    return found


def _differs(before: Row | None, now: Row) -> bool:
    return before is None or any(before[name] != now[name] for name in _COMPARED)


def _embed(
    release: Path, manifest: Manifest, uris: list[str], parameters: EmbeddingParameters | None
) -> tuple[Vectors, list[int], list[Failure]]:
    """Return (a, d) vectors, the places of their pictures, and what failed."""
    vectors = [np.empty((0, manifest.encoder.dimension), np.float32)]
    kept: list[int] = []
    failures: list[Failure] = []
    if uris:
        encoder = OnnxEncoder(release / ENCODER_FILE, threads=1)
        embedder = ImageEmbedder(encoder, manifest.encoder.preprocessing, parameters or EmbeddingParameters())
        for batch in embedder.embed(uris):
            vectors.append(batch.vectors)
            kept += batch.rows.tolist()
            failures += batch.failures
    return np.concatenate(vectors), kept, failures


def _join_groups(added: list[Row], served: list[Row]) -> None:
    """Put new pictures into the group of a served one that has the same bytes, or the group's own picture."""
    by_bytes = {row["sha256"]: row["duplicate_group"] for row in served}
    by_id = {row["image_id"]: row["duplicate_group"] for row in served}
    for row in added:
        group = row["duplicate_group"]
        row["duplicate_group"] = by_bytes.get(row["sha256"], by_id.get(group, group))
