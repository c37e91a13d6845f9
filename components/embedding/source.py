"""Where the encoder and earlier vectors come from: a training artifact or a release."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.shared.errors import ContractError, InputError, SpaceMismatchError
from components.shared.files.atomic import sha256_of
from components.shared.files.layout import ABSENT_FILE, ITEMS_FILE
from components.shared.files.tables import ITEMS, read_table
from components.shared.release.manifest import is_release, read_manifest
from components.shared.vectors.embeddings import Vectors, normalise
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_SPEC_FILE, EncoderSpec, read_encoder_spec
from components.shared.vectors.search import CatalogueIndex


def encoder_spec_of(directory: Path) -> EncoderSpec:
    """Read what the `encoder.onnx` in a training artifact or release is, and check that it is that one.

    Raises:
        InputError: there is no champion whose encoder could be used.
        ContractError: the directory holds no encoder, or another than it says.
    """
    if (directory / ENCODER_SPEC_FILE).exists():
        return read_encoder_spec(directory)
    if is_release(directory):
        spec = read_manifest(directory).encoder
        if sha256_of(directory / ENCODER_FILE) != spec.onnx_sha256:
            raise ContractError(
                f"{directory / ENCODER_FILE} is not the encoder of the manifest; fetch the release again"
            )
        return spec
    if (directory / ABSENT_FILE).exists():
        raise InputError("there is no champion yet whose encoder could embed new images; run the main pipeline first")
    raise ContractError(
        f"{directory} holds neither {ENCODER_SPEC_FILE} nor a release; pass what training or registration wrote"
    )


@dataclass(frozen=True)
class EarlierVectors:
    """Vectors of an earlier release of the same space.

    Attributes:
        key: what they are, for the key of the work.
        image_ids: n ids, row by row.
        sha256s: n digests of the pictures they were made from.
        index: holds the vectors.
    """

    key: str
    image_ids: pa.Array
    sha256s: list[str]
    index: CatalogueIndex

    @classmethod
    def open(cls, directory: Path | None, space_id: str) -> EarlierVectors | None:
        """Open the vectors of a release; None without one, and where there is no champion yet.

        Raises:
            SpaceMismatchError: the release is of another space.
            ContractError: there is no release, or its items and index disagree.
        """
        if directory is None or (directory / ABSENT_FILE).exists():
            return None
        manifest = read_manifest(directory)
        if manifest.space_id != space_id:
            raise SpaceMismatchError(
                f"{directory} holds vectors of space {manifest.space_id}, the encoder spans {space_id}; "
                "leave out the earlier release or use its encoder",
                expected=space_id,
                received=manifest.space_id,
            )
        items = read_table(directory / ITEMS_FILE, ITEMS, columns=["image_id", "sha256"])
        index = CatalogueIndex.open(directory, manifest.index)
        if items.num_rows != index.rows:
            raise ContractError(
                f"{directory} has {items.num_rows} items for {index.rows} rows; fetch the release again"
            )
        ids = items.column("image_id").combine_chunks()
        return cls(manifest.release_id, ids, items.column("sha256").to_pylist(), index)

    def find(self, images: pa.Table) -> tuple[NDArray[np.int64], Vectors]:
        """Return which rows of `images` (image_id, sha256) have not changed, and their vectors (scaled to unit norm).

        An index may hold them as float16: then they are off by up to 5e-4 of a component.
        """
        places = pc.index_in(images.column("image_id").combine_chunks(), value_set=self.image_ids).to_pylist()
        digests = images.column("sha256").to_pylist()
        pairs = [
            (row, place)
            for row, place in enumerate(places)
            if place is not None and self.sha256s[place] == digests[row]
        ]
        rows = np.array([row for row, _ in pairs], np.int64)
        stored = self.index.stored(np.array([place for _, place in pairs], np.int64))
        return rows, normalise(stored) if len(rows) else np.empty((0, self.index.dimension), np.float32)
