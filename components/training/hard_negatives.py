"""Mining: for every training image, the nearest images that are not relevant to it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from components.training.relations import Relations, Rows

_BLOCK = 512
_GALLERY = 50_000


def mine(embeddings: NDArray[np.float32], relations: Relations, count: int, *, seed: int, epoch: int) -> Rows:
    """Return (n, count) int64: the nearest unrelated images, nearest first; −1 where there are fewer.

    Args:
        embeddings: (n, d) unit vectors of the training images.
        relations: what makes two images related.
        count: neighbours to keep.
        seed: of the sample; above 50,000 images each is compared with a sample of so many.
        epoch: draws another sample each time.
    """
    n = len(embeddings)
    gallery = np.arange(n)
    if n > _GALLERY:
        gallery = np.sort(np.random.default_rng((seed, epoch, 0x4E)).choice(n, _GALLERY, replace=False))
    others = torch.from_numpy(embeddings[gallery])
    items, categories = relations.codes(gallery)
    found = np.full((n, count), -1, np.int64)
    kept = min(count, len(gallery))
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(n, start + _BLOCK))
        scores = torch.from_numpy(embeddings[rows]) @ others.T
        item, category = relations.codes(rows)
        related = (item[:, None] == items) | ((category[:, None] == categories) & (category[:, None] >= 0))
        row, column, weight = relations.between(rows, gallery)
        related[torch.from_numpy(row), torch.from_numpy(column)] = torch.from_numpy(weight > 0)
        related |= torch.from_numpy(rows)[:, None] == torch.from_numpy(gallery)
        scores.masked_fill_(related, -torch.inf)
        values, places = scores.topk(kept, dim=1)
        found[rows, :kept] = np.where(torch.isfinite(values).numpy(), gallery[places.numpy()], -1)
    return found
