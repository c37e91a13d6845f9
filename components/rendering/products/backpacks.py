"""Backpacks: body, pocket, zip, straps, and what closes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from components.rendering.products.parts import Shape, between
from components.rendering.surfaces import Surface, cushion, sheet, smooth, tube

_EDGES = {"dome": 0.55, "square": 0.22, "rolltop": 0.25, "flap": 0.35}
_REPEATS = 1.1


def backpack(form: str, s: Shape) -> list[Surface]:
    """Build a backpack: "dome", "square", "rolltop" or "flap"."""
    width, depth, half = between(s[0], 0.3, 0.38), between(s[1], 0.15, 0.21), between(s[2], 0.44, 0.54)
    edge = _EDGES[form] * between(s[3], 0.85, 1.15)
    low, tall = between(s[5], 0.28, 0.4), between(s[6], 0.17, 0.26)
    body = cushion(width, depth, half, round_=edge, rows=16, segments=28)
    share = (body.points[..., 2] / half + 1) / 2
    narrowed = body.points.copy()
    narrowed[..., :2] *= (1.04 - between(s[4], 0.05, 0.3) * share**2)[..., None]
    parts = [replace(body, points=narrowed).mapped(0, 2, _REPEATS).moved(z=half), *_straps(width, depth, half)]
    pocket = cushion(width * between(s[7], 0.62, 0.86), 0.07, tall, slot=1, round_=edge)
    parts.append(pocket.moved(0, -depth, low))
    zipper = np.stack(
        [np.linspace(-0.6, 0.6, 12) * width, np.full(12, -depth - 0.075), np.full(12, low + tall * 0.62)], 1
    )
    parts.append(tube(zipper, 0.012, slot=2, segments=6, up=(0, 0, 1)))
    if form == "rolltop":
        parts += _roll(width, depth, half, low + tall)
    elif form == "flap":
        parts += _flap(width, depth, half, between(s[6], 0.5, 0.85))
    return parts


def _straps(width: float, depth: float, half: float) -> list[Surface]:
    """Return the loop to carry it by and the two straps behind."""
    arch = np.linspace(0, np.pi, 14)
    loop = np.stack([0.1 * np.cos(arch), np.full(14, depth * 0.5), 2 * half * 0.98 + 0.1 * np.sin(arch)], 1)
    parts = [tube(loop, 0.022, slot=2)]
    for x in (-width, width):
        knots = [
            (x * 0.4, depth, half * 1.85),
            (x * 1.12, depth * 1.35, half * 1.5),
            (x * 1.18, depth * 1.3, half * 0.7),
            (x * 0.8, depth, half * 0.2),
        ]
        parts.append(tube(smooth(knots, 16), 0.035, slot=2, flat=0.5, segments=8, up=(0, 1, 0.1)))
    return parts


def _roll(width: float, depth: float, half: float, buckle: float) -> list[Surface]:
    roll = np.stack([np.linspace(-0.85, 0.85, 9) * width, np.full(9, -depth * 0.2), np.full(9, 2 * half)], 1)
    strap = smooth([(0, -depth * 1.1, buckle), (0, -depth * 1.05, half * 1.6), (0, -depth * 0.6, half * 2.1)], 10)
    return [
        tube(roll, 0.075, slot=0, segments=12, up=(0, 0, 1)).mapped(0, 2, _REPEATS),
        tube(strap, 0.022, slot=2, flat=0.4, up=(1, 0, 0)),
    ]


def _flap(width: float, depth: float, half: float, reach: float) -> list[Surface]:
    across, down = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(0, 1, 9))
    fall = np.clip(down - 0.2, 0, 1) * 1.25 * (1 - 0.12 * across**4)
    y = -depth * np.clip(down * 3, 0, 1) * 1.12 + 0.04 * down - 0.02
    flap = sheet(np.stack([across * width * 0.97, y, half * (2.02 - reach * fall)], -1), slot=1, scale=_REPEATS)
    buckle = cushion(0.03, 0.02, 0.06, slot=2, round_=0.3).moved(0, -depth * 1.15, half * (2 - reach))
    return [flap, buckle.moved(-width / 2), buckle.moved(width / 2)]
