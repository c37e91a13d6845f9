"""Patterns: which of three colours a product has at each point of its texture, a square that repeats."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from components.rendering.figures import (
    CIRCLE,
    TEXTURE_SIDE,
    Floats,
    Mask,
    fill,
    fill_once,
    outline,
    place,
)

Drawing = Callable[[np.random.Generator, Mask, Mask], None]


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
    grain = cv2.resize(
        rng.normal(0, 1, (48, 48)).astype(np.float32), (TEXTURE_SIDE,) * 2, interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(np.clip(texture * (1 + 0.025 * grain[..., None]), 0.004, 1), np.float32)


def _plain(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    del rng, one, two


def _speckles(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    for mask, count in ((one, rng.integers(60, 160)), (two, rng.integers(20, 80))):
        for x, y, size in zip(*rng.random((2, count)), rng.uniform(0.004, 0.013, count), strict=True):
            fill(mask, place(CIRCLE, x, y, size, 0))


def _bands(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count = int(rng.integers(2, 5))
    edges = np.sort(rng.permutation(np.arange(1, 14))[: 2 * count]) / 14
    for i in range(count):
        mask = one if i % 2 == 0 or rng.random() < 0.5 else two
        fill(
            mask,
            np.array([(-0.1, edges[2 * i]), (1.1, edges[2 * i]), (1.1, edges[2 * i + 1]), (-0.1, edges[2 * i + 1])]),
        )


def _stripes(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count, width = int(rng.integers(3, 12)), rng.uniform(0.2, 0.6)
    slope = int(rng.integers(-1, 2))  # 0 upright
    second = rng.random() < 0.6
    for i in range(-count, 2 * count):
        for mask, start, wide in ((one, 0.0, width), (two, width + (1 - width) * 0.4, (1 - width) * 0.25)):
            if mask is one or second:
                x = (i + start) / count
                right = x + wide / count
                fill_once(mask, np.array([(x, 0), (right, 0), (right + slope, 1), (x + slope, 1)]))


def _checks(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count = int(rng.integers(3, 8))
    diamonds = rng.random() < 0.45
    thin = rng.random() < 0.5
    for i in range(count):
        for j in range(count):
            if diamonds:
                x, y, r = (i + 0.5) / count, (j + 0.5) / count, 0.5 / count
                fill(one, np.array([(x - r, y), (x, y - r), (x + r, y), (x, y + r)]))
            elif (i + j) % 2 == 0:
                x, y, r = i / count, j / count, 1 / count
                fill(one, np.array([(x, y), (x + r, y), (x + r, y + r), (x, y + r)]))
    if thin:
        for i in range(count):
            x, w = (i + 0.5) / count, 0.08 / count
            fill(two, np.array([(x - w, 0), (x + w, 0), (x + w, 1), (x - w, 1)]))
            fill(two, np.array([(0, x - w), (1, x - w), (1, x + w), (0, x + w)]))


def _tartan(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    edges = rng.random(3)
    wide = rng.uniform(0.08, 0.25, 3)
    line = np.zeros(TEXTURE_SIDE, np.float32)
    at = np.arange(TEXTURE_SIDE) / TEXTURE_SIDE
    for edge, width in zip(edges, wide, strict=True):
        line[(at - edge) % 1 < width] = 1
    one[:] = ((line[None] + line[:, None]) / 2 * 255).astype(np.uint8)
    thin = (at - edges[0] - wide[0] / 2) % 1 < 0.025
    two[thin] = two[:, thin] = 200


def _dots(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count, size = int(rng.integers(2, 7)), rng.uniform(0.18, 0.4)
    offset = 0.5 if rng.random() < 0.6 else 0.0
    rings = rng.random() < 0.4
    count += count % 2 if offset else 0
    for j in range(count):
        for i in range(count):
            x, y = (i + 0.5 + offset * (j % 2)) / count, (j + 0.5) / count
            fill(one, place(CIRCLE, x, y, size / count, 0))
            if rings:
                fill(two, place(CIRCLE, x, y, size * 0.5 / count, 0))


def _zigzag(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count, rows = int(rng.integers(2, 6)), int(rng.integers(2, 6))
    height, thick = rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.5)
    wavy = rng.random() < 0.5
    x = np.linspace(-0.1, 1.1, 193)
    phase = x * count % 1
    shape = 0.5 + 0.5 * np.sin(2 * np.pi * phase) if wavy else 1 - 2 * np.abs(phase - 0.5)
    for row in range(-1, rows + 1):
        for mask, start, wide in ((one, 0.0, thick), (two, thick + 0.15, 0.12)):
            top = (row + start + shape * height) / rows
            fill_once(mask, np.concatenate([np.stack([x, top], 1), np.stack([x, top + wide / rows], 1)[::-1]]))


def _motifs(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    figure, second = outline(rng), outline(rng)
    count = int(rng.integers(2, 5))
    size, turn = rng.uniform(0.28, 0.46), rng.choice([0.0, 30.0, 45.0, 90.0])
    alternate = rng.random() < 0.5
    for j in range(count):
        for i in range(count):
            x, y = (i + 0.5) / count, (j + 0.5) / count
            if alternate and (i + j) % 2:
                fill(two, place(second, x, y, size * 0.7 / count, turn))
            else:
                fill(one, place(figure, x, y, size / count, turn))


def _scattered(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    figure, second = outline(rng), outline(rng)
    size = rng.uniform(0.05, 0.1)
    taken: list[tuple[float, float]] = []
    for _ in range(90):
        x, y = rng.random(2)
        if all(min(abs(x - a), 1 - abs(x - a)) + min(abs(y - b), 1 - abs(y - b)) > 2.6 * size for a, b in taken):
            mask, shape = (one, figure) if len(taken) % 3 else (two, second)
            fill(mask, place(shape, x, y, size * rng.uniform(0.8, 1.2), rng.uniform(0, 360)))
            taken.append((x, y))


def _emblem(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    figure = place(outline(rng), 0.5, 0.5, rng.uniform(0.2, 0.27), 0)
    if rng.random() < 0.5:
        fill(two, place(CIRCLE, 0.5, 0.5, rng.uniform(0.3, 0.36), 0))
        if rng.random() < 0.5:
            fill(two, place(CIRCLE, 0.5, 0.5, 0.27, 0), 0)
            figure = (figure - 0.5) * 0.8 + 0.5
    fill(one, figure)
    for i in range(int(rng.integers(0, 3))):
        y, half = 0.86 + 0.05 * i, rng.uniform(0.12, 0.3)
        fill(one, np.array([(0.5 - half, y), (0.5 + half, y), (0.5 + half, y + 0.022), (0.5 - half, y + 0.022)]))


def _dipped(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    x = np.linspace(-0.1, 1.1, 145)
    waves, height = int(rng.integers(0, 5)), rng.uniform(0.3, 0.65)
    top = 1 - height + 0.05 * np.sin(2 * np.pi * waves * x)
    fill_once(one, np.concatenate([np.stack([x, top], 1), [(1.1, 1.1), (-0.1, 1.1)]]))
    if rng.random() < 0.5:
        fill_once(two, np.concatenate([np.stack([x, top - 0.035], 1), np.stack([x, top], 1)[::-1]]))


def _scallops(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    count = int(rng.integers(3, 6))
    rows = count * 2
    for j in range(rows + 2, -2, -1):
        for i in range(-1, count + 1):
            x, y = (i + 0.5 * (j % 2)) / count + 0.5 / count, j / rows
            for share, inside in ((1.0, 0), (0.88, 1), (0.5, 2)):
                ring = place(CIRCLE, x, y, 0.5 * share / count, 0)
                fill_once(one, ring, 255 if inside == 0 else 0)
                fill_once(two, ring, 255 if inside == 2 else 0)


def _terrazzo(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    for index in range(int(rng.integers(24, 50))):
        corners = int(rng.integers(4, 7))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        shape = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.6, 1, (corners, 1))
        fill(two if index % 3 == 0 else one, place(shape, rng.random(), rng.random(), rng.uniform(0.03, 0.075)))


def _brush(rng: np.random.Generator, one: Mask, two: Mask) -> None:
    for mask, level in ((one, rng.uniform(0.1, 0.7)), (two, rng.uniform(0.9, 1.5))):
        coarse = rng.normal(0, 1, (5, 5)).astype(np.float32)
        wrapped = np.pad(coarse, 2, mode="wrap")
        field = cv2.resize(wrapped, None, fx=TEXTURE_SIDE / 5, fy=TEXTURE_SIDE / 5, interpolation=cv2.INTER_CUBIC)
        start = round(2 * TEXTURE_SIDE / 5)
        field = field[start : start + TEXTURE_SIDE, start : start + TEXTURE_SIDE]
        mask[:] = (np.clip((field - level * 0.6) * 14 + 0.5, 0, 1) * 255).astype(np.uint8)


PATTERNS: dict[str, Drawing] = {
    "plain": _plain,
    "speckles": _speckles,
    "bands": _bands,
    "stripes": _stripes,
    "checks": _checks,
    "tartan": _tartan,
    "dots": _dots,
    "zigzag": _zigzag,
    "motifs": _motifs,
    "scattered": _scattered,
    "emblem": _emblem,
    "dipped": _dipped,
    "scallops": _scallops,
    "terrazzo": _terrazzo,
    "brush": _brush,
}
