"""What training reads: pictures, pairs and the truth that validation measures by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.shared.errors import NoPositivePairError
from components.shared.files.layout import CATALOGUE_FILE
from components.shared.files.tables import CATALOGUE, JUDGEMENTS, PAIRS, read_table
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.truth.labels import JUDGEMENTS_FILE, PAIRS_FILE, read_labels_spec
from components.shared.truth.relevance import Relevance
from components.training.image_cache import cache_images
from components.training.parameters import TrainingParameters
from components.training.relations import Pairs, Rows

_COLUMNS = ["image_id", "item_id", "uri", "category", "split"]


@dataclass(frozen=True)
class ImageSet:
    """Pictures with what is known of their relevance.

    Attributes:
        pixels: (m, side, side, 3) uint8, usually memory-mapped.
        rows: (n,) int64, the pictures among them that can be used.
        relevance: relevance among the m.
    """

    pixels: NDArray[np.uint8]
    rows: Rows
    relevance: Relevance

    @property
    def unusable(self) -> int:
        """How many pictures could not be decoded."""
        return len(self.pixels) - len(self.rows)


@dataclass(frozen=True)
class Dataset:
    """Training images with their pairs, and validation images."""

    training: ImageSet
    pairs: Pairs
    validation: ImageSet
    pairs_without_image: int

    def require_pairs(self) -> None:
        """Check that there is something to learn from.

        Raises:
            NoPositivePairError: no pair of two usable training images is left.
        """
        if not len(self.pairs):
            raise NoPositivePairError(
                f"expected pairs of usable training images, got none ({self.pairs_without_image} pairs name images that "
                "are not there or cannot be used); label more, look into the quarantined images, or set training.mode to frozen"
            )

    @property
    def is_labelled(self) -> bool:
        """Whether a pair joins two different images: labels, items, clicks or categories, not only altered copies."""
        return bool((self.pairs.query != self.pairs.positive).any())


def open_dataset(
    catalogue: Path,
    labels: Path,
    scratch: Path,
    parameters: TrainingParameters,
    *,
    preprocessing: PreprocessingSpec,
    threads: int,
) -> Dataset:
    """Read tables, decode pictures into `scratch` and join them.

    Args:
        catalogue: output of the catalogue step.
        labels: output of the labelling step.
        scratch: where decoded pictures are kept.
        parameters: limits and seed.
        preprocessing: from a decoded picture to the encoder's input.
        threads: pictures decoded at a time.

    Pairs may be missing: frozen features need none.
    """
    table = read_table(catalogue / CATALOGUE_FILE, CATALOGUE, _COLUMNS)
    pairs = read_table(labels / PAIRS_FILE, PAIRS)
    judgements = read_table(labels / JUDGEMENTS_FILE, JUDGEMENTS)
    rule = read_labels_spec(labels).rule
    sets: dict[str, tuple[pa.Table, ImageSet]] = {}
    for split, limit in (("train", parameters.max_images), ("validation", parameters.max_validation_images)):
        images = _sample_items(table.filter(pc.equal(table["split"], split)), limit, parameters.seed)
        pixels, usable = cache_images(scratch, split, images.column("uri").to_pylist(), preprocessing, threads=threads)
        # All rows stay, so that rows of the table and of the memory map agree; bad ones are in no pair and no query.
        sets[split] = images, ImageSet(pixels, np.flatnonzero(usable), Relevance.of(images, judgements, rule))
    rows = _rows_of_pairs(pairs, *sets["train"])
    return Dataset(sets["train"][1], rows, sets["validation"][1], pairs.num_rows - len(rows))


def _sample_items(images: pa.Table, limit: int, seed: int) -> pa.Table:
    """Return all images, or whole items drawn at random up to `limit` images, in the table's order."""
    if images.num_rows <= limit:
        return images
    codes = images.column("item_id").combine_chunks().dictionary_encode().indices.to_numpy()
    counts = np.bincount(codes)
    order = np.random.default_rng((seed, 0x11)).permutation(len(counts))
    chosen = order[np.cumsum(counts[order]) <= limit]
    return images.filter(pa.array(np.isin(codes, chosen)))


def _rows_of_pairs(pairs: pa.Table, images: pa.Table, found: ImageSet) -> Pairs:
    ids = images.column("image_id").combine_chunks()
    usable = np.zeros(len(ids) + 1, bool)  # the last one stands for an image that is not there
    usable[found.rows] = True

    def rows(column: str) -> Rows:
        return np.asarray(pc.fill_null(pc.index_in(pairs.column(column), ids), -1).combine_chunks(), np.int64)

    query, positive = rows("query_image_id"), rows("positive_image_id")
    kept = usable[query] & usable[positive]
    weight = np.asarray(pairs.column("weight").combine_chunks(), np.float32)
    return Pairs(query[kept], positive[kept], weight[kept])
