"""Augmented views for the batches to come, made by threads while the current batch trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.training.augment import Augmentation, Draws, augment, draw
from components.training.distributed import Group
from components.training.sampler import Batch

_PART = 16  # views of one task


@dataclass(frozen=True)
class Views:
    """One process's part of a batch.

    Attributes:
        batch: the whole batch, of all processes.
        first: the first pair of this process's part.
        pixels: (2 · pairs, side, side, 3) uint8; 2k and 2k + 1 are the views of pair first + k.
    """

    batch: Batch
    first: int
    pixels: Tensor


def make_views(
    batches: Iterable[Batch],
    pictures: NDArray[np.uint8],
    augmentation: Augmentation,
    *,
    seed: int,
    epoch: int,
    first: int = 0,
    group: Group,
    threads: int,
) -> Iterator[Views]:
    """Yield the views of every batch, one batch ahead. The random numbers of a view do not depend on the group.

    Args:
        batches: all batches of the epoch.
        pictures: (n, h, w, 3) uint8.
        augmentation: how far a view may be from its picture.
        seed: seed.
        epoch: counted from 0.
        first: batches to pass over, where an interrupted epoch goes on.
        group: the processes that train together.
        threads: views made at a time.
    """
    cv2.setNumThreads(1)  # a picture is too small to be worth several threads; the pool runs several pictures
    with ThreadPoolExecutor(threads) as pool:
        ahead: tuple[Views, list[Future[None]]] | None = None
        for step, batch in enumerate(batches):
            if step < first:
                continue
            pairs = len(batch.images) // group.size
            begin = group.rank * pairs
            draws = draw(seed, epoch, step, batch.images.size)[2 * begin : 2 * (begin + pairs)]
            rows = batch.images[begin : begin + pairs].reshape(-1)
            pixels = np.empty((len(rows), augmentation.side, augmentation.side, 3), np.uint8)
            parts = [slice(start, start + _PART) for start in range(0, len(rows), _PART)]
            tasks = [
                pool.submit(_fill, pixels[part], pictures, rows[part], draws[part], augmentation) for part in parts
            ]
            if ahead is not None:
                yield _finished(*ahead)
            ahead = Views(batch, begin, torch.from_numpy(pixels)), tasks
        if ahead is not None:
            yield _finished(*ahead)


def _finished(views: Views, tasks: list[Future[None]]) -> Views:
    for task in tasks:
        task.result()
    return views


def _fill(
    target: NDArray[np.uint8],
    pictures: NDArray[np.uint8],
    rows: NDArray[np.int64],
    draws: Draws,
    augmentation: Augmentation,
) -> None:
    for place, row in enumerate(rows.tolist()):
        target[place] = augment(pictures[row], draws[place], augmentation)
