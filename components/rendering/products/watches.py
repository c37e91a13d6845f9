"""Watches that lie flat: y along the strap, z up."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between
from components.rendering.surfaces import Floats, Surface, cushion, disc, evenly, lathe, tube

_BASE = 0.1  # height at which the case lies, above the ends of the strap
_STRAP = 0.58  # length of each half


def watch(form: str, s: Shape) -> list[Surface]:
    """Build a watch: "round", "square", "chrono" or "bracelet"."""
    radius, high = between(s[0], 0.2, 0.27), between(s[2], 0.05, 0.085)
    square = between(s[1], 4, 9) if form == "square" else 2.0
    inner = radius * between(s[3], 0.82, 0.92)
    case = [(0.001, 0.0), (radius * 0.95, 0.0), (radius, high * 0.3), (radius, high * 0.75), (radius * 0.96, high)]
    profile = np.array([*case, (inner, high * 1.05), (inner * 0.98, high * 0.9)])
    crown = cushion(0.03, 0.022, 0.025, slot=2, round_=0.4).moved(radius + 0.02, 0, _BASE + high / 2)
    wide = radius * between(s[7], 0.5, 0.78)
    bands = _bracelet(radius, wide, high) if form == "bracelet" else _straps(radius, wide, high)
    body = lathe(profile, slot=2, square=square, segments=44).moved(z=_BASE)
    face = _face(form, inner * 0.99, square, s)
    return [*bands, crown, body, *(part.moved(z=_BASE + high * 0.9) for part in face)]


def _face(form: str, size: float, square: float, s: Shape) -> list[Surface]:
    """Return dial, marks and hands."""
    parts = [disc(size, size, 0.0, slot=1, square=square, segments=40)]
    count = 12 if form == "chrono" else (12, 24, 4, 6)[int(s[4] * 3.999)]
    for i in range(count):
        wide, tall = (0.09, 0.045) if i * 4 % count == 0 else (0.05, 0.025)
        mark = cushion(size * wide, size * tall, 0.004, slot=3, round_=0.2, rows=5, segments=8).moved(
            size * 0.84, 0, 0.005
        )
        parts.append(mark.turned(2, 360 * i / count))
    if form == "chrono":
        small = disc(size * 0.22, size * 0.22, 0.005, slot=2, segments=18)
        parts += [small.moved(y=size * 0.42).turned(2, angle) for angle in (0, 120, 240)]
    for angle, long, wide in ((between(s[5], 20, 70), 0.5, 0.05), (between(s[6], 120, 170), 0.75, 0.035)):
        hand = cushion(size * long / 2, size * wide, 0.005, slot=3, round_=0.2, rows=5, segments=8)
        parts.append(hand.moved(size * long / 2, 0, 0.013).turned(2, angle))
    return parts


def _bend(along: Floats, high: float) -> Floats:
    return np.asarray(_BASE + high * 0.55 - 0.1 * along**2)


def _straps(radius: float, wide: float, high: float) -> list[Surface]:
    """Return two bands, one with holes, one with a buckle."""
    along, across = np.linspace(0, 1, 16), np.linspace(-1, 1, 9)
    narrow, z = wide * (1 - 0.22 * along), _bend(along, high)
    y = radius * 0.86 + _STRAP * along
    tip = np.sqrt(np.clip(1 - (np.clip(along - 0.9, 0, 1) / 0.1) ** 2, 0.05, 1))
    parts = []
    for side, width in ((1, narrow), (-1, narrow * tip)):
        shape = (16, 9)
        height = z[:, None] + 0.02 * (1 - across[None] ** 4)
        points = np.stack([across[None] * width[:, None], np.broadcast_to(side * y[:, None], shape), height], -1)
        points = points if side == 1 else points[::-1]
        parts.append(Surface(points, np.zeros((*shape, 2))).mapped(0, 1, 1.6))
    hole = disc(0.014, 0.014, 0.024, slot=3, segments=10)
    parts += [hole.moved(0, float(-y[i]), float(z[i])) for i in range(7, 14, 2)]
    corners = np.array([(-1, 0), (-1, 1), (1, 1), (1, 0), (-1, 0)]) * (wide * 0.86, 0.07)
    loop = evenly(corners, 24)
    buckle = np.stack([loop[:, 0], loop[:, 1] + y[-1] - 0.01, np.full(24, z[-1] + 0.01)], 1)
    return [*parts, tube(buckle, 0.014, slot=2, up=(0, 0, 1), segments=6)]


def _bracelet(radius: float, wide: float, high: float) -> list[Surface]:
    parts = []
    for share in (np.arange(8) + 0.5) / 8:
        size, z = wide * (1 - 0.22 * float(share)), float(_bend(share, high))
        outer = cushion(size * 0.28, 0.036, 0.022, round_=0.35, rows=6, segments=12).mapped(0, 1, 1.5)
        middle = cushion(size * 0.4, 0.036, 0.022, slot=2, round_=0.35, rows=6, segments=12)
        for y in (radius * 0.86 + _STRAP * float(share), -radius * 0.86 - _STRAP * float(share)):
            parts += [outer.moved(-0.7 * size, y, z), middle.moved(0, y, z), outer.moved(0.7 * size, y, z)]
    return parts
