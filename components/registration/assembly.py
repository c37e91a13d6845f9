"""Assembly of a release: encoder, index, id map, reference sample, golden pictures, and the manifest of all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.registration.golden import write_chosen
from components.registration.parameters import RegistrationParameters
from components.registration.reference import write_reference
from components.registration.verdict import read_gate, read_metrics
from components.shared.errors import ContractError
from components.shared.files.artifacts import open_artifact
from components.shared.files.atomic import link_or_copy
from components.shared.files.layout import CATALOGUE_FILE, ITEMS_FILE
from components.shared.files.tables import CATALOGUE, ITEMS, read_table
from components.shared.release.manifest import (
    GOLDEN_FILE,
    REFERENCE_FILE,
    CatalogueFacts,
    Manifest,
    is_release,
    open_release,
    read_manifest,
    seal_release,
)
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_INT8_FILE, OnnxEncoder, read_encoder_spec
from components.shared.vectors.search import INDEX_FILE, VECTORS_FILE, CatalogueIndex, read_index_spec


@dataclass(frozen=True)
class ReleaseParts:
    """The artifacts that make up a release.

    Attributes:
        catalogue: output of the catalogue step.
        encoder: output of the training step, or the release whose encoder is reused.
        embeddings: output of the embedding step.
        index: output of the indexing step.
        evaluation: output of the evaluation step.
    """

    catalogue: Path
    encoder: Path
    embeddings: Path
    index: Path
    evaluation: Path

    def paths(self) -> dict[str, Path]:
        """Return the directories by name."""
        return asdict(self)

    def check(self) -> None:
        """Check that every part is complete and was written by the right step.

        Raises:
            ContractError: a part is not; the message names the first one.
        """
        writers = {
            "catalogue": "catalogue",
            "encoder": "champion" if is_release(self.encoder) else "training",
            "embeddings": "embedding",
            "index": "indexing",
            "evaluation": "evaluation",
        }
        for name, step in writers.items():
            open_artifact(self.paths()[name], step, verify=True)


def assemble_release(directory: Path, parts: ReleaseParts, parameters: RegistrationParameters) -> Manifest:
    """Write a release into the empty `directory` and open it, golden pictures included.

    Equal parts give an equal release, on any machine and at any time.

    Raises:
        DataError: the gate did not pass, or no picture is usable as a golden one.
        ContractError: the parts do not belong together.
    """
    parts.check()
    gate, metrics = read_gate(parts.evaluation), read_metrics(parts.evaluation)
    parent = read_manifest(parts.encoder) if is_release(parts.encoder) else None
    spec = read_encoder_spec(parts.encoder) if parent is None else parent.encoder
    index_spec = read_index_spec(parts.index)
    quantised = spec.runtime is not None and spec.runtime.int8_sha256 is not None
    for name in (ENCODER_FILE, *([ENCODER_INT8_FILE] if quantised else [])):
        link_or_copy(parts.encoder / name, directory / name)
    for name in (INDEX_FILE, ITEMS_FILE, *([] if index_spec.vectors_file is None else [VECTORS_FILE])):
        link_or_copy(parts.index / name, directory / name)
    items = read_table(directory / ITEMS_FILE, ITEMS)
    rows = write_reference(
        directory / REFERENCE_FILE,
        parts.embeddings,
        items,
        space_id=spec.space_id,
        preprocessing=spec.preprocessing,
        rows=parameters.reference_rows,
        seed=parameters.seed,
        threads=parameters.threads,
    )
    _check_images(items, rows, parts)
    write_chosen(
        directory / GOLDEN_FILE,
        items,
        encoder=OnnxEncoder(directory / ENCODER_FILE, threads=parameters.threads),
        spec=spec,
        index=CatalogueIndex.open(directory, index_spec),
        parameters=parameters,
    )
    facts = CatalogueFacts(images=items.num_rows, items=pc.count_distinct(items.column("item_id")).as_py())
    manifest = seal_release(
        directory,
        encoder=spec,
        index=index_spec,
        catalogue=facts if parent is None else _next_generation(facts, directory, parts.encoder, parent),
        metrics=metrics,
        gate=gate,
    )
    open_release(directory, threads=parameters.threads)
    return manifest


def _check_images(items: pa.Table, embedded: int, parts: ReleaseParts) -> None:
    """Check that index, embeddings and catalogue belong to the same images."""
    if items.num_rows != embedded:
        raise ContractError(
            f"{parts.index} indexes {items.num_rows} images, {parts.embeddings} holds {embedded} embeddings; run the indexing "
            "step again"
        )
    known = read_table(parts.catalogue / CATALOGUE_FILE, CATALOGUE, ["image_id"]).column("image_id")
    foreign = items.column("image_id").filter(pc.invert(pc.is_in(items.column("image_id"), value_set=known)))
    if len(foreign):
        raise ContractError(
            f"{parts.index} indexes the image {foreign[0].as_py()}, which is not in {parts.catalogue}; run the indexing step "
            "again"
        )


def _next_generation(facts: CatalogueFacts, directory: Path, champion: Path, parent: Manifest) -> CatalogueFacts:
    """Increase the generation, unless nothing has changed: then the release equals its parent."""
    same = all(
        name in parent.files and (directory / name).read_bytes() == (champion / name).read_bytes()
        for name in (INDEX_FILE, ITEMS_FILE)
    )
    if same:
        return parent.catalogue
    return facts.model_copy(update={"generation": parent.catalogue.generation + 1, "parent": parent.release_id})
