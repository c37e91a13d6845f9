"""A ring of embeddings of earlier batches, to contrast with more candidates than a batch holds."""

from __future__ import annotations

import torch
from torch import Tensor


class MemoryQueue:
    """The newest `size` embeddings with the training images they belong to.

    Filled by the encoder itself it is the cross-batch memory XBM, by a momentum encoder the queue of MoCo.

    Source:
        XBM arXiv:1912.06798, section 3.2; MoCo arXiv:1911.05722, algorithm 1.
    """

    def __init__(self, size: int, dimension: int, device: torch.device | str = "cpu") -> None:
        self._embeddings = torch.zeros(size, dimension, device=device)
        self._images = torch.full((size,), -1, dtype=torch.int64)
        self._next = 0
        self._filled = 0

    def __len__(self) -> int:
        """Return how many embeddings it holds."""
        return self._filled

    @property
    def embeddings(self) -> Tensor:
        """(len, d) float32 unit vectors, without gradient."""
        return self._embeddings[: self._filled]

    @property
    def images(self) -> Tensor:
        """(len,) int64 rows of the training images."""
        return self._images[: self._filled]

    def push(self, embeddings: Tensor, images: Tensor) -> None:
        """Add (b, d) embeddings of (b,) images; the oldest give way. Of more than `size`, the last are kept."""
        size = len(self._images)
        embeddings, images = embeddings.detach()[-size:], images[-size:]
        places = (self._next + torch.arange(len(images))) % size
        self._embeddings[places] = embeddings.to(self._embeddings)
        self._images[places] = images.cpu()
        self._next = (self._next + len(images)) % size
        self._filled = min(size, self._filled + len(images))

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint must hold."""
        return {
            "embeddings": self._embeddings,
            "images": self._images,
            "position": torch.tensor([self._next, self._filled]),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        self._embeddings.copy_(state["embeddings"])
        self._images.copy_(state["images"])
        self._next, self._filled = (int(value) for value in state["position"])
