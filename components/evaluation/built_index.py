"""End-to-end answers of the built index, compared with the exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.evaluation.gallery import Gallery
from components.evaluation.measurement import without_own
from components.shared.errors import ContractError
from components.shared.files.layout import ITEMS_FILE
from components.shared.files.tables import ITEMS, read_table
from components.shared.truth.metrics import PerQuery, Rows, ann_recall_at_k
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.neighbours import exact_search
from components.shared.vectors.search import CatalogueIndex

ANN_CUT = 10

_BLOCK = 256
_TIE = 1e-6  # scores of unit vectors that differ by less are equal


class BuiltIndex:
    """The index of the artifact with the ids of its rows.

    Args:
        directory: output of the indexing step.
        image_ids: ids of all embeddings, in their order.
        vectors: (N, d) float32, all embeddings, for the exact search.

    Raises:
        ContractError: index and embeddings are not of the same images.
    """

    def __init__(self, directory: Path, image_ids: list[str], vectors: Vectors) -> None:
        self._index = CatalogueIndex.open(directory)
        self.image_ids: list[str] = read_table(directory / ITEMS_FILE, ITEMS, ["image_id"]).column(0).to_pylist()
        place = {image_id: row for row, image_id in enumerate(image_ids)}
        if set(place) != set(self.image_ids) or len(place) != len(self.image_ids):
            raise ContractError(
                f"{directory} indexes {len(self.image_ids)} images, the embeddings are of {len(place)}, and they must be "
                "the same; run the indexing step again"
            )
        self._vectors = vectors[[place[image_id] for image_id in self.image_ids]]

    def answer(self, gallery: Gallery, vectors: Vectors, depth: int) -> tuple[Rows, NDArray[np.float32]]:
        """Search the index for every query, keeping only the gallery's images.

        Args:
            gallery: n images and q queries.
            vectors: (n, d) embeddings of the gallery.
            depth: number of neighbours to request.

        Returns:
            (q, min(depth, n − 1)) gallery rows, −1 where the index found fewer, and their scores.
        """
        gallery_row = np.full(len(self.image_ids) + 1, -1, np.int64)  # the last one is for −1
        place = {image_id: row for row, image_id in enumerate(gallery.column("image_id"))}
        gallery_row[:-1] = [place.get(image_id, -1) for image_id in self.image_ids]
        allowed, k = gallery_row[:-1] >= 0, min(depth, gallery.size - 1)
        rows, scores = [], []
        for start in range(0, len(gallery.queries), _BLOCK):
            queries = gallery.queries[start : start + _BLOCK]
            found = self._index.search(vectors[queries], k + 1, allowed=allowed)
            block_rows, block_scores = without_own(gallery_row[found.rows], found.scores, queries, k)
            rows.append(block_rows)
            scores.append(block_scores)
        return np.concatenate(rows), np.concatenate(scores)

    def ann_recall(self, gallery: Gallery, vectors: Vectors) -> PerQuery:
        """Compare the index with the exact search over the whole catalogue, without the query's own image.

        Returns:
            (q,) share of the exact 10 nearest that the index returns among its first 10.
        """
        row_of = {image_id: row for row, image_id in enumerate(self.image_ids)}
        own = np.array([row_of[str(i)] for i in np.array(gallery.column("image_id"))[gallery.queries]], np.int64)
        k, wanted = min(ANN_CUT, len(self.image_ids) - 1), vectors[gallery.queries]
        truth = exact_search(self._vectors, wanted, k + 1)
        exact, exact_scores = without_own(truth.rows, truth.scores, own, k)
        blocks = [self._index.search(wanted[i : i + _BLOCK], k + 1) for i in range(0, len(wanted), _BLOCK)]
        found, _ = without_own(
            np.concatenate([b.rows for b in blocks]), np.concatenate([b.scores for b in blocks]), own, k
        )
        near = np.einsum("qd,qkd->qk", wanted, self._vectors[np.maximum(found, 0)])
        tied = (found >= 0) & (near >= exact_scores[:, -1:] - _TIE)
        return ann_recall_at_k(found, exact, k, tied=tied)
