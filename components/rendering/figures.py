"""Outlines of motifs and how they are filled in on a texture that repeats."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TEXTURE_SIDE = 384

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.uint8]

_SHIFT = 3  # binary digits below the pixel

CIRCLE: Floats = np.stack([np.cos(np.linspace(0, 6.2, 36)), np.sin(np.linspace(0, 6.2, 36))], axis=1)


def fill(mask: Mask, points: Floats, level: int = 255) -> None:
    """Fill a polygon (n, 2), in shares of the side, with all its wrapped copies."""
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            moved = points + np.array([dx, dy])
            if (moved.max(0) > -0.05).all() and (moved.min(0) < 1.05).all():
                fixed = np.round(moved * TEXTURE_SIDE * (1 << _SHIFT)).astype(np.int32)
                cv2.fillPoly(mask, [fixed], level, cv2.LINE_AA, _SHIFT)


def fill_once(mask: Mask, points: Floats, level: int = 255) -> None:
    """Fill a polygon (n, 2), in shares of the side; what lies beyond the edge is lost."""
    fixed = np.round(points * TEXTURE_SIDE * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], level, cv2.LINE_AA, _SHIFT)


def place(figure: Floats, x: float, y: float, size: float, degrees: float = 0.0) -> Floats:
    """Return a figure turned, scaled to `size` and moved to (x, y)."""
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return np.asarray(figure @ turn.T * size + (x, y))


def outline(rng: np.random.Generator) -> Floats:
    """Return the outline (n, 2) of a motif of size 1 about the origin: dot, star, flower, polygon, leaf, heart, cross, drop."""
    kind = int(rng.integers(0, 8))
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    if kind == 1:
        points = int(rng.integers(4, 9))
        return _polar(np.where(np.arange(2 * points) % 2 == 0, 1.0, rng.uniform(0.35, 0.6)))
    if kind == 2:
        return _polar(0.65 + 0.35 * np.cos(int(rng.integers(4, 8)) * angle))
    if kind == 3:
        return _polar(np.ones(int(rng.integers(3, 7))))
    if kind == 4:
        x, bulge = np.cos(angle), np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 1.6
        return np.stack([x, 0.38 * bulge * (1 - 0.3 * x)], axis=1)
    if kind == 5:
        y = 0.78 * np.cos(angle) - 0.33 * np.cos(2 * angle) - 0.13 * np.cos(3 * angle) - 0.05 * np.cos(4 * angle)
        return np.stack([0.95 * np.sin(angle) ** 3, -y], axis=1)
    if kind == 6:
        w = float(rng.uniform(0.25, 0.45))
        arm = [(w, 1.0), (w, w), (1.0, w)]
        return np.array([*arm, *((y, -x) for x, y in arm), *((-x, -y) for x, y in arm), *((-y, x) for x, y in arm)])
    return _polar(0.6 + 0.4 * np.clip(np.cos(angle), 0, 1) ** 3 if kind == 7 else np.ones(60))


def _polar(radius: Floats) -> Floats:
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
