"""T-shirts that lie flat: x to the right, y towards the collar, z up."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between
from components.rendering.surfaces import Floats, Surface, cushion, smooth, tube

_REPEATS = 1.05
_DEEPER = {"vneck": 0.14, "tank": 0.12}


def tshirt(form: str, s: Shape) -> list[Surface]:
    """Build a T-shirt: "crew", "vneck", "long", "polo" or "tank"."""
    length, half = between(s[0], 0.95, 1.15), between(s[1], 0.36, 0.44)
    neck, deep = between(s[2], 0.11, 0.16), between(s[3], 0.06, 0.1) + _DEEPER.get(form, 0.0)
    slope, shoulder = between(s[4], 0.04, 0.09), half * (0.62 if form == "tank" else 0.98)
    x = np.linspace(-1, 1, 27) * shoulder
    top = -slope * np.abs(x) / shoulder - _neckline(x, neck, deep, pointed=form == "vneck")
    parts = [_back(neck, deep)]
    if form != "tank":
        reach = 0.62 if form == "long" else between(s[5], 0.2, 0.3)
        parts += _sleeves(np.array([shoulder, -slope]), half, reach, between(s[6], 0.1, 0.135), 1 if s[7] > 0.6 else 0)
    parts.append(_front(x, top, half, length, s))
    edge = np.linspace(-1, 1, 21) * neck
    height = -slope * np.abs(edge) / shoulder - _neckline(edge, neck, deep, pointed=form == "vneck")
    parts.append(tube(np.stack([edge, height, np.full(21, 0.05)], 1), 0.016, slot=1, up=(0, 0, 1), segments=6))
    if form == "polo":
        parts += _polo(neck, deep)
    return [part.moved(y=length / 2) for part in parts]


def _neckline(x: Floats, neck: float, deep: float, *, pointed: bool) -> Floats:
    """Return how deep the collar is cut at x."""
    share = np.abs(x) / neck
    return np.asarray(deep * (np.clip(1 - share, 0, 1) if pointed else np.sqrt(np.clip(1 - share**2, 0, 1))))


def _front(x: Floats, top: Floats, half: float, length: float, s: Shape) -> Surface:
    across, down = x / x[-1], np.linspace(0, 1, 18)[:, None]
    share = np.clip(down * 2.5, 0, 1) ** 0.7
    wide = x * (1 - share) + across * half * share * (1 + between(s[5], -0.05, 0.12) * down)
    y = top * (1 - down) + (-length - 0.015 * across**2) * down
    folds = 0.006 * np.sin(9 * wide + 5 * y + 6 * s[6]) + 0.005 * np.sin(4 * wide - 13 * y + 9 * s[7])
    z = 0.035 * (1 - np.abs(across) ** 6) * np.minimum(1, (1 - down) * 8 + 0.3) + folds * np.minimum(1, down * 6)
    points = np.stack([wide, y, z + 0.01], -1)
    return Surface(points[::-1], np.zeros((18, 27, 2))).mapped(0, 1, _REPEATS)


def _back(neck: float, deep: float) -> Surface:
    """Return the inside of the back, seen through the collar."""
    x, y = np.meshgrid(np.linspace(-1.1, 1.1, 9) * neck, np.linspace(-deep * 1.05, 0.02, 4))
    return Surface(np.stack([x, y, np.full(x.shape, 0.004)], -1), np.zeros((4, 9, 2)), 2)


def _sleeves(top: Floats, half: float, reach: float, cuff: float, slot: int) -> list[Surface]:
    along, across = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 7))
    direction = np.array([np.cos(-0.75), np.sin(-0.75)])
    end = top + reach * direction
    low, low_end = np.array([half, -0.3]), end + 2 * cuff * np.array([direction[1], -direction[0]])
    upper, lower = top + (end - top) * along[..., None], low + (low_end - low) * along[..., None]
    flat = upper + (lower - upper) * across[..., None]
    rise = 0.03 * np.sin(np.pi * across) + 0.008 * np.sin(14 * along + 5 * across) + 0.002
    sides = [np.stack([side * flat[..., 0], flat[..., 1], rise], -1) for side in (1, -1)]
    return [Surface(points, np.zeros((7, 12, 2)), slot).mapped(0, 1, _REPEATS) for points in sides]


def _polo(neck: float, deep: float) -> list[Surface]:
    """Return the collar's two wings, the placket and its buttons."""
    parts = []
    for side in (-1, 1):
        wing = smooth([(side * neck, 0.01, 0.06), (side * neck / 2, -deep * 1.3, 0.07), (side * 0.02, -deep, 0.065)], 8)
        parts.append(tube(wing, 0.04, slot=1, flat=0.3, up=(0, 0, 1), segments=6))
    button = cushion(0.011, 0.011, 0.008, slot=2, round_=0.8, rows=6, segments=10)
    placket = cushion(0.02, 0.09, 0.01, slot=1, round_=0.2).moved(0, -deep - 0.1, 0.05)
    return [*parts, placket, *(button.moved(0, -deep - 0.06 * i, 0.062) for i in (1, 2))]
