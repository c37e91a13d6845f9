"""The held-out images; each is a query against all the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.shared.errors import DataError
from components.shared.files.layout import CATALOGUE_FILE
from components.shared.files.tables import CATALOGUE, JUDGEMENTS, read_table
from components.shared.truth.labels import JUDGEMENTS_FILE, LabelsSpec
from components.shared.truth.metrics import Rows
from components.shared.truth.relevance import RELEVANT_GRADE, Relevance, RelevanceRule
from components.shared.vectors.embeddings import Vectors


@dataclass(frozen=True)
class Gallery:
    """Held-out images, in order of their ids; all rankers search the same images for the same queries.

    Attributes:
        images: table CATALOGUE, n rows.
        queries: (q,) rows of the images that serve as queries, ascending.
        truths: relevance per label source: "all" is the main truth; "item" uses item membership alone, "category"
            categories alone. They are computed block by block, never as n × n.
        judged: (q,) whether a person judged an image for this query.
        not_embedded: number of held-out images without an embedding.
    """

    images: pa.Table
    queries: Rows
    truths: dict[str, Relevance]
    judged: NDArray[np.bool_]
    not_embedded: int

    @property
    def size(self) -> int:
        """Number n of images."""
        return int(self.images.num_rows)

    def column(self, name: str) -> list[str | None]:
        """Return one column of `images`."""
        values: list[str | None] = self.images.column(name).to_pylist()
        return values

    def clusters(self) -> NDArray[np.int64]:
        """Return (q,) codes, equal for queries that show one item."""
        return self.truths["all"].item_codes[self.queries]

    def query_categories(self) -> list[str | None]:
        """Return the category of each query."""
        categories = self.column("category")
        return [categories[int(row)] for row in self.queries]


def held_out_images(catalogue: Path) -> pa.Table:
    """Read the test images of a catalogue, in order of their ids.

    Raises:
        DataError: there are fewer than two.
    """
    table = read_table(catalogue / CATALOGUE_FILE, CATALOGUE)
    images = table.filter(pc.equal(table.column("split"), "test")).sort_by("image_id")
    if images.num_rows < 2:
        raise DataError(
            f"{catalogue} holds {images.num_rows} test images of {table.num_rows}, and at least two are needed to search "
            "for one among the others; add more items, or give the test split a larger share"
        )
    return images


def make_gallery(
    images: pa.Table,
    usable: NDArray[np.bool_],
    labels: Path,
    spec: LabelsSpec,
    *,
    not_embedded: int,
    max_queries: int,
    seed: int,
) -> Gallery:
    """Set up queries and truth among the usable images.

    Raises:
        DataError: fewer than two images are usable.
    """
    kept = images.filter(pa.array(usable))
    if kept.num_rows < 2:
        raise DataError(
            f"{kept.num_rows} of {images.num_rows} test images could be read, and at least two are needed to search for "
            "one among the others; restore the pictures that the catalogue names"
        )
    judgements = read_table(labels / JUDGEMENTS_FILE, JUDGEMENTS)
    truths = {"all": Relevance.of(kept, judgements, spec.rule)}
    truths["item"] = Relevance.of(kept, None, RelevanceRule(same_category=0))
    truths["category"] = Relevance.of(kept, None, RelevanceRule(same_item=RELEVANT_GRADE, same_category=RELEVANT_GRADE))
    queries = np.arange(kept.num_rows, dtype=np.int64)
    if len(queries) > max_queries:
        queries = np.sort(np.random.default_rng(seed).choice(queries, max_queries, replace=False))
    people = truths["all"].judged
    judged = np.array([int(query) in people for query in queries], bool)
    return Gallery(kept, queries, truths, judged, not_embedded)


def align(images: pa.Table, image_ids: list[str], vectors: Vectors) -> tuple[NDArray[np.bool_], Vectors]:
    """Sort embeddings into the order of `images`.

    Returns:
        (n,) bool: which images have an embedding; (n, d) float32: zero rows where they have none.
    """
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    rows = np.array([row_of.get(image_id, -1) for image_id in images.column("image_id").to_pylist()], np.int64)
    there = rows >= 0
    aligned = np.zeros((len(rows), vectors.shape[1]), np.float32)
    aligned[there] = vectors[rows[there]]
    return there, aligned
