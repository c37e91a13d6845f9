"""Patterns: which of three colours a product has at each point of its texture, a square that repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TEXTURE_SIDE = 384

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.uint8]
Drawing = Callable[[np.random.Generator, Mask, Mask], None]

_SHIFT = 3  # binary digits below the pixel
_ANGLE = np.linspace(0, 2 * np.pi, 60, endpoint=False)
_CIRCLE: Floats = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)


def draw_texture(kind: str, seed: int, colours: Floats) -> Floats:
    """Return a texture (TEXTURE_SIDE, TEXTURE_SIDE, 3) float32, linear RGB.

    Args:
        kind: a key of PATTERNS.
        seed: of the pattern's sizes, counts and places; equal seeds give the same drawing in other colours.
        colours: (3, 3) linear RGB: ground, first and second figure.
    """
    rng = np.random.default_rng([seed, 77])
    one, two = np.zeros((2, TEXTURE_SIDE, TEXTURE_SIDE), np.uint8)
    PATTERNS[kind](rng, one, two)
    texture = np.broadcast_to(colours[0].astype(np.float32), (TEXTURE_SIDE, TEXTURE_SIDE, 3)).copy()
    for mask, colour in ((one, colours[1]), (two, colours[2])):
        share = (mask.astype(np.float32) / 255)[..., None]
        texture += share * (colour.astype(np.float32) - texture)
    grain = rng.normal(0, 1, (48, 48)).astype(np.float32)
    grain = np.asarray(cv2.resize(grain, (TEXTURE_SIDE,) * 2, interpolation=cv2.INTER_CUBIC))
    return np.asarray(np.clip(texture * (1 + 0.025 * grain[..., None]), 0.004, 1), np.float32)


def _fill(mask: Mask, points: Floats) -> None:
    """Fill a polygon (n, 2), in shares of the side, with all its wrapped copies."""
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            moved = points + np.array([dx, dy])
            if (moved.max(0) > -0.05).all() and (moved.min(0) < 1.05).all():
                fixed = np.round(moved * TEXTURE_SIDE * (1 << _SHIFT)).astype(np.int32)
                cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)


def _box(left: float, top: float, right: float, bottom: float, slope: float = 0.0) -> Floats:
    return np.array([(left, top), (right, top), (right + slope, bottom), (left + slope, bottom)])


def _figure(rng: np.random.Generator) -> Floats:
    """Return the outline (n, 2) of a motif of size 1 about the origin: star, flower, polygon, heart or dot."""
    kind, count = int(rng.integers(0, 5)), int(rng.integers(4, 8))
    if kind == 3:
        y = 0.78 * np.cos(_ANGLE) - 0.33 * np.cos(2 * _ANGLE) - 0.13 * np.cos(3 * _ANGLE)
        return np.stack([0.95 * np.sin(_ANGLE) ** 3, -y], axis=1)
    corners = np.where(np.arange(2 * count) % 2 == 0, 1.0, rng.uniform(0.35, 0.6))
    radius = [corners, 0.65 + 0.35 * np.cos(count * _ANGLE), np.ones(count - 1), None, np.ones(60)][kind]
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False)  # type: ignore[arg-type]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _plain(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    del rng, one, two


def _bands(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count = int(rng.integers(2, 5))
    edges = np.sort(rng.permutation(np.arange(1, 14))[: 2 * count]) / 14
    for i in range(count):
        _fill(one if i % 2 == 0 else two, _box(0, edges[2 * i], 1, edges[2 * i + 1]))


def _stripes(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count, width, slope = int(rng.integers(3, 12)), rng.uniform(0.2, 0.6), int(rng.integers(-1, 2))
    thin = rng.random() < 0.6
    for i in range(count):
        _fill(one, _box(i / count, 0, (i + width) / count, 1, slope))
        if thin:
            left = i + width + (1 - width) * 0.4
            _fill(two, _box(left / count, 0, (left + (1 - width) * 0.25) / count, 1, slope))


def _checks(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count, thin, diamonds = 2 * int(rng.integers(2, 5)), rng.random() < 0.5, rng.random() < 0.45
    for i in range(count):
        for j in range(count):
            if diamonds:
                _fill(one, (_CIRCLE[::15] * 0.5 + (i + 0.5, j + 0.5)) / count)
            elif (i + j) % 2 == 0:
                _fill(one, _box(i, j, i + 1, j + 1) / count)
        if thin:
            _fill(two, _box((i + 0.42) / count, 0, (i + 0.58) / count, 1))
            _fill(two, _box(0, (i + 0.42) / count, 1, (i + 0.58) / count))


def _tartan(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    at, line = np.arange(TEXTURE_SIDE) / TEXTURE_SIDE, np.zeros(TEXTURE_SIDE, np.float32)
    edges, wide = rng.random(3), rng.uniform(0.08, 0.25, 3)
    for edge, width in zip(edges, wide, strict=True):
        line[(at - edge) % 1 < width] = 1
    one[:] = ((line[None] + line[:, None]) / 2 * 255).astype(np.uint8)
    thin = (at - edges[0] - wide[0] / 2) % 1 < 0.025
    two[thin] = two[:, thin] = 200


def _zigzag(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count, rows = (int(value) for value in rng.integers(2, 6, 2))
    height, thick, wavy = rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.5), rng.random() < 0.5
    x = np.linspace(0, 1, 161)
    phase = x * count % 1
    shape = 0.5 + 0.5 * np.sin(2 * np.pi * phase) if wavy else 1 - 2 * np.abs(phase - 0.5)
    for row in range(rows):
        for mask, start, wide in ((one, 0.0, thick), (two, thick + 0.15, 0.12)):
            top = (row + start + shape * height) / rows
            _fill(mask, np.concatenate([np.stack([x, top], 1), np.stack([x, top + wide / rows], 1)[::-1]]))


def _motifs(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    """Draw one or two figures on a grid."""
    figures, count, size = (_figure(rng), _figure(rng)), int(rng.integers(2, 6)), rng.uniform(0.28, 0.46)
    alternate, offset = rng.random() < 0.5, 0.5 if rng.random() < 0.3 else 0.0
    count += count % 2
    for j in range(count):
        for i in range(count):
            second = alternate and (i + j) % 2
            at = (i + 0.5 + offset * (j % 2), j + 0.5)
            _fill(two if second else one, (figures[second] * size * (0.7 if second else 1.0) + at) / count)


def _scattered(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    figures, size = (_figure(rng), _figure(rng)), rng.uniform(0.02, 0.1)
    taken = np.zeros((0, 2))
    for at in rng.random((round(0.9 / size) + 60, 2)):
        apart = np.abs(taken - at)
        if (np.linalg.norm(np.minimum(apart, 1 - apart), axis=1) > 2.2 * size).all():
            second = len(taken) % 3 == 0
            a = rng.uniform(0, 2 * np.pi)
            turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
            _fill(two if second else one, figures[second] @ turn * size * rng.uniform(0.8, 1.2) + at)
            taken = np.concatenate([taken, at[None]])


def _terrazzo(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    for index in range(int(rng.integers(24, 50))):
        angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 7))))
        shape = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.03, 0.075)
        _fill(two if index % 3 == 0 else one, shape + rng.random(2))


PATTERNS: dict[str, Drawing] = {
    "plain": _plain, "bands": _bands, "stripes": _stripes, "checks": _checks, "tartan": _tartan, "zigzag": _zigzag,
    "motifs": _motifs, "scattered": _scattered, "terrazzo": _terrazzo,
}  # fmt: skip
