"""Shoes that point left: sole, upper, collar, laces or a strap. x runs from toe 0 to heel 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.rendering.products.parts import Shape, between
from components.rendering.surfaces import Floats, Surface, cushion, evenly, sheet, smooth, tube

_SOLES = {"sneaker": 0.07, "hightop": 0.075, "loafer": 0.04, "boot": 0.06, "runner": 0.1}
_ANKLES = {"sneaker": 0.33, "hightop": 0.52, "loafer": 0.25, "boot": 0.68, "runner": 0.35}
_STATIONS = 26
_REPEATS = 1.6
_SOLE_SECTION = np.array([(0.001, 0.0), (1.0, 0.0), (1.04, 0.3), (1.04, 0.7), (0.98, 1.0), (0.001, 1.0)])


def shoe(form: str, s: Shape) -> list[Surface]:
    """Build a shoe: "sneaker", "hightop", "loafer", "boot" or "runner"."""
    x = 0.5 - 0.5 * np.cos(np.linspace(0.02, 0.97, _STATIONS) * np.pi)
    wide = _outline(x, between(s[0], 0.12, 0.3), between(s[1], 0.72, 0.85), between(s[2], 0.74, 0.9))
    thick = _SOLES[form] * between(s[3], 0.85, 1.35)
    raised = form in ("runner", "boot")
    spring = (0.084 if form == "runner" else 0.036) * np.clip(0.3 - x, 0, 1) ** 2 / 0.09
    lift = thick * (1 + 0.5 * x if raised else np.ones(_STATIONS))
    opening = between(s[6], 0.46, 0.58) + (0.04 if form == "loafer" else 0.0)
    tall = _heights(x, opening, between(s[5], 0.13, 0.17), _ANKLES[form] * between(s[4], 0.92, 1.1))
    floor = spring + lift * 0.9
    flare = 1.08 + (0.12 * x if form == "runner" else 0 * x)
    sides = _upper(x, wide, floor, tall, opening)
    parts = [_sole(x, wide * flare, spring, lift), *_panels(sides, toe_cap=s[7] > 0.5), *_collar(sides, x > opening)]
    crest = floor + tall
    if form == "loafer":
        parts.append(_strap(between(s[7], 0.34, 0.42), x, crest))
    else:
        count = 4 + int(s[7] * 2.99) + (3 if form in ("hightop", "boot") else 0)
        parts.extend(_laces(np.linspace(0.27, opening + 0.02, count), x, crest, slot=1 if s[1] > 0.5 else 3))
    if form == "boot":
        parts.append(cushion(0.13, 0.13, thick * 0.9, slot=3, round_=0.3).moved(0.85, 0, thick * 0.7))
    return parts


def _outline(x: Floats, toe: float, waist: float, heel: float) -> Floats:
    """Return the half-width of a foot at each share of its length."""
    knots = [0.3, 0.8, 1.0, waist, heel, heel * 0.85, 0.55]
    body = np.interp(x, [0.0, 0.12, 0.3, 0.58, 0.85, 0.96, 1.0], knots)
    return np.asarray(0.165 * np.minimum(body, np.sqrt(np.clip(x / toe, 0, 1)) * 1.05))


def _heights(x: Floats, opening: float, vamp: float, ankle: float) -> Floats:
    """Return the height of the upper above the sole."""
    knots = [0.06, 0.1, vamp + 0.02, vamp + (ankle - vamp) * 0.65, ankle * 0.93, ankle * 0.92, ankle]
    tall = np.interp(x, [0, 0.06, 0.25, opening, opening + 0.12, 0.85, 1.0], knots)
    for _ in range(2):
        tall = np.convolve(np.pad(tall, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    return np.asarray(tall)


def _sole(x: Floats, wide: Floats, spring: Floats, lift: Floats) -> Surface:
    ring = np.concatenate([_SOLE_SECTION, _SOLE_SECTION[::-1] * (-1, 1)])
    shape = (len(x), len(ring))
    points = [
        np.broadcast_to(x[:, None] * 1.03 - 0.015, shape),
        wide[:, None] * ring[None, :, 0],
        spring[:, None] + lift[:, None] * ring[None, :, 1],
    ]
    return Surface(np.stack(points, axis=-1), np.zeros((*shape, 2)), 3)


def _upper(x: Floats, wide: Floats, floor: Floats, tall: Floats, opening: float) -> list[Floats]:
    """Return both sides (stations, 9, 3) from the sole up: closed over the toes, open at the ankle."""
    up = np.linspace(0, 1, 9)[None]
    gap = np.clip((x - opening) / 0.12, 0, 1)[:, None]
    closed, open_ = np.cos(up * np.pi / 2) ** 0.7, 1 - 0.4 * up**1.5
    y = wide[:, None] * (closed + gap * (open_ - closed))
    rise = np.sin(up * np.pi / 2) ** 0.9
    z = floor[:, None] + tall[:, None] * (rise + gap * (up - rise))
    lean = x[:, None] + 0.02 * up * (x[:, None] > 0.8)
    return [np.stack([lean, side * y, z], -1) for side in (1, -1)]


def _panels(sides: list[Floats], *, toe_cap: bool) -> list[Surface]:
    """Return the upper: toe (slot 1 or 0), middle (slot 0) and heel (slot 1)."""
    parts = []
    for points in sides:
        for first, last, slot in ((0, 9, 1 if toe_cap else 0), (8, _STATIONS - 6, 0), (_STATIONS - 7, _STATIONS, 1)):
            parts.append(sheet(points[first:last], slot=slot, scale=_REPEATS))
    around = np.linspace(0, np.pi, 9)[:, None]
    right = sides[0][-1]
    depth = 0.35 * right[:, 1]
    heel = np.stack(
        [right[:, 0] + depth * np.sin(around), right[:, 1] * np.cos(around), np.broadcast_to(right[:, 2], (9, 9))], -1
    )
    return [*parts, sheet(heel, slot=1, scale=_REPEATS)]


def _collar(sides: list[Floats], is_open: NDArray[np.bool_]) -> list[Surface]:
    """Return the padded rim of the opening (slot 1) and the dark inside (slot 2)."""
    right, left = (side[is_open, -1] for side in sides)
    around = np.linspace(0, np.pi, 7)[1:-1, None]
    end = right[-1]
    back = np.concatenate([end[0] + 0.35 * end[1] * np.sin(around), end[1] * np.cos(around), 0 * around + end[2]], 1)
    rim = evenly(np.concatenate([right, back, left[::-1], right[:1]]), 34)
    inside = np.stack([right, (right + left) / 2, left], 1) - np.array([0, 0, 0.035])
    return [Surface(inside, np.zeros((*inside.shape[:2], 2)), 2), tube(rim, 0.017, slot=1, up=(0, 0, 1), segments=8)]


def _laces(places: Floats, x: Floats, crest: Floats, *, slot: int) -> list[Surface]:
    laces = []
    for place in places:
        z, half = float(np.interp(place, x, crest)) + 0.004, 0.05 + 0.02 * float(place)
        path = smooth([(place, -half, z - 0.03), (place - 0.01, 0, z + 0.005), (place, half, z - 0.03)], 8)
        laces.append(tube(path, 0.011, slot=slot, segments=6, up=(1, 0, 0)))
    return laces


def _strap(place: float, x: Floats, crest: Floats) -> Surface:
    z = float(np.interp(place, x, crest))
    knots = [(place, -0.14, z - 0.1), (place, -0.07, z - 0.005), (place, 0.07, z - 0.005), (place, 0.14, z - 0.1)]
    return tube(smooth(knots, 12), 0.04, slot=1, flat=0.3, up=(1, 0, 0))
