"""The embedding in two dimensions: images near on the map are (mostly) near in the space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from components.evaluation.report.thumbnails import Thumbnails
from components.shared.pictures.preprocessing import Pixels
from components.shared.vectors.embeddings import Vectors

Positions = NDArray[np.float64]

_WIDTH = 1440  # pixels of the mosaic
_GROUND = (244, 243, 239)
_WITHHELD = (205, 204, 200)
_SPREAD = 1.45  # cells of the mosaic's side per square root of the number of pictures


def lay_out(vectors: Vectors, *, seed: int) -> Positions:
    """Place n vectors on a plane: principal components, then t-SNE on cosine; few points: principal components alone.

    It runs in one thread, so that equal vectors give an equal map.

    Returns:
        (n, 2) float64 in [0, 1].

    Source:
        van der Maaten, Hinton, Visualizing data using t-SNE, JMLR 2008.
    """
    if np.ptp(vectors, axis=0).max() < 1e-6:  # a collapsed encoder: there are no directions to separate
        return np.zeros((len(vectors), 2))
    components = min(50, *vectors.shape)
    with threadpool_limits(1):
        reduced = PCA(components, random_state=seed, svd_solver="full").fit_transform(vectors.astype(np.float64))
        if len(vectors) >= 12 and components >= 2:
            reduced = TSNE(
                perplexity=min(30.0, (len(vectors) - 1) / 3), init="pca", random_state=seed, n_jobs=1
            ).fit_transform(reduced.astype(np.float32))
    plane = np.zeros((len(vectors), 2))
    plane[:, : min(2, reduced.shape[1])] = reduced[:, :2]
    extent = np.ptp(plane, axis=0)
    return np.asarray((plane - plane.min(axis=0)) / np.where(extent > 0, extent, 1.0), np.float64)


def draw_mosaic(
    positions: Positions, rows: NDArray[np.int64], thumbnails: Thumbnails, frames: list[tuple[int, int, int]]
) -> Pixels:
    """Draw pictures at their positions, each moved to the nearest free cell of a grid so that none covers another.

    Args:
        positions: (n, 2) in [0, 1].
        rows: (n,) gallery rows.
        thumbnails: the pictures; withheld ones are grey.
        frames: n colours.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    side = int(np.ceil(np.sqrt(len(rows)) * _SPREAD))
    cell = max(16, _WIDTH // side)
    border = 2 if cell >= 24 else 1
    canvas = np.full((side * cell, side * cell, 3), _GROUND, np.uint8)
    for (x, y), row, colour in zip(settle_on_grid(positions, side), rows, frames, strict=True):
        top, left = y * cell + 1, x * cell + 1
        tile = canvas[top : top + cell - 2, left : left + cell - 2]
        tile[:] = colour
        inner = cell - 2 - 2 * border
        picture = thumbnails.pixels(int(row), inner)
        tile[border:-border, border:-border] = _WITHHELD if picture is None else picture
    return canvas


def settle_on_grid(positions: Positions, side: int) -> list[tuple[int, int]]:
    """Give every position its own cell (x, y) of a side × side grid: the nearest free one, in order of the rows."""
    free = np.ones((side, side), bool)
    columns, lines = np.meshgrid(np.arange(side), np.arange(side))
    cells = []
    for x, y in positions * (side - 1):
        distance = np.where(free, (columns - x) ** 2 + (lines - y) ** 2, np.inf)
        line, column = divmod(int(np.argmin(distance)), side)
        free[line, column] = False
        cells.append((column, line))
    return cells
