"""What products stand on: textures of wood, stone, cloth, seen from above."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

TILE_SIDE = 256

_SIDE = np.arange(TILE_SIDE)


@lru_cache(maxsize=64)
def ground_tile(kind: str, variant: int) -> Floats:
    """Return a texture (TILE_SIDE, TILE_SIDE, 3) float32 about 1, which multiplies the ground's colour.

    Args:
        kind: a key of GROUNDS.
        variant: seed; equal ones give the same texture.
    """
    tile = GROUNDS[kind](np.random.default_rng([variant, 5]))
    tile = tile if tile.ndim == 3 else np.repeat(tile[..., None], 3, axis=2)
    return np.ascontiguousarray(np.clip(tile, 0.1, 1.6), np.float32)


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> Floats:
    """Return smooth noise of unit variance with so many cells down and across."""
    values = rng.normal(0, 1, cells).astype(np.float32)
    return np.asarray(cv2.resize(values, (TILE_SIDE, TILE_SIDE), interpolation=cv2.INTER_CUBIC))


def _grit(rng: np.random.Generator) -> Floats:
    return rng.normal(0, 1, (TILE_SIDE, TILE_SIDE))


def _wood(rng: np.random.Generator) -> Floats:
    rings = _noise(rng, (3, 40)) * 5 + _noise(rng, (6, 8)) * 2 + np.linspace(0, 12, TILE_SIDE)
    return np.asarray(0.94 + 0.1 * np.sin(rings * 3) + 0.06 * _noise(rng, (8, 128)))


def _planks(rng: np.random.Generator) -> Floats:
    tile, width = _wood(rng), TILE_SIDE // 4
    for left in range(0, TILE_SIDE, width):
        tile[:, left : left + width] *= rng.uniform(0.75, 1.2)
        tile[:, left : left + 2] *= 0.45
    return tile


def _marble(rng: np.random.Generator) -> Floats:
    vein = np.abs(np.sin(_noise(rng, (4, 4)) * 3 + _noise(rng, (16, 16)) * 0.8 + np.linspace(0, 4, TILE_SIDE)))
    return np.asarray(1.05 - 0.4 * np.exp(-vein * 14) + 0.05 * _noise(rng, (8, 8)))


def _tiles(rng: np.random.Generator) -> Floats:
    count = int(rng.integers(2, 5))
    cell = _SIDE * count // TILE_SIDE
    tile = rng.uniform(0.88, 1.1, (count, count))[cell[:, None], cell]
    joint = _SIDE % (TILE_SIDE // count) < 3
    tile[joint] = tile[:, joint] = 0.6
    return np.asarray(tile)


def _cloth(rng: np.random.Generator) -> Floats:
    weave = np.sin(_SIDE * np.pi / 2)[None] * np.sin(_SIDE * np.pi / 2)[:, None]
    return np.asarray(1 + 0.08 * weave + 0.1 * _noise(rng, (5, 5)) + 0.05 * _grit(rng))


def _concrete(rng: np.random.Generator) -> Floats:
    return np.asarray(1 + 0.08 * _noise(rng, (6, 6)) + 0.06 * _noise(rng, (30, 30)) + 0.03 * _grit(rng))


def _rug(rng: np.random.Generator) -> Floats:
    stripes = np.sin(_SIDE * 2 * np.pi * int(rng.integers(2, 6)) / TILE_SIDE + rng.uniform(0, 6)) > 0
    colour = np.where(stripes[:, None], rng.uniform(0.35, 1.4, 3), 1.0)
    return np.asarray((1 + 0.1 * _grit(rng))[..., None] * colour)


def _board(rng: np.random.Generator) -> Floats:
    cell = _SIDE * 4 // TILE_SIDE
    return np.asarray(0.55 + 0.55 * (np.add.outer(cell, cell) % 2) + 0.03 * _noise(rng, (20, 20)))


GROUNDS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "wood": _wood,
    "planks": _planks,
    "marble": _marble,
    "tiles": _tiles,
    "cloth": _cloth,
    "concrete": _concrete,
    "rug": _rug,
    "board": _board,
}
