"""What a query finds without any server: the oracle of the tests of serving."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from components.shared.files.layout import ITEMS_FILE
from components.shared.files.tables import ITEMS, read_table
from components.shared.release.golden import embed_pictures
from components.shared.release.manifest import read_manifest
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from components.shared.vectors.search import CatalogueIndex


class Offline:
    """Searches as the evaluation does: the release's encoder here, the product's one search, a filter, nothing else."""

    def __init__(self, release: Path) -> None:
        manifest = read_manifest(release)
        self._preprocessing = manifest.encoder.preprocessing
        self._items = read_table(release / ITEMS_FILE, ITEMS).to_pylist()
        self._encoder = OnnxEncoder(release / ENCODER_FILE, threads=1)
        self._index = CatalogueIndex.open(release, manifest.index)

    def search(self, picture: bytes, k: int) -> list[tuple[str, float]]:
        """Return the k nearest images that may be shown, without the picture itself: image_id and score."""
        own = hashlib.sha256(picture).hexdigest()
        allowed = np.array([row["is_public"] and row["is_appropriate"] and row["sha256"] != own for row in self._items])
        vector = embed_pictures([picture], self._encoder, self._preprocessing)
        found = self._index.search(vector, k, allowed=allowed)
        return [
            (self._items[row]["image_id"], float(score))
            for row, score in zip(found.rows[0], found.scores[0], strict=True)
        ]
