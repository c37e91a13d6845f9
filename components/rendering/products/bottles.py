"""Bottles and flasks: body, cap, label, loop."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between
from components.rendering.surfaces import Floats, Surface, lathe, smooth, tube


def bottle(form: str, s: Shape) -> list[Surface]:
    """Build a bottle: "wine", "sport", "flask", "square" or "jug"."""
    height = between(s[0], 1.25, 1.6)
    wall = smooth(_profile(form, s, height), 26)
    neck, top = wall[-1]
    square = between(s[4], 4, 8) if form == "square" else 2.0
    body = lathe(np.concatenate([[[0.001, 0.0]], wall]), square=square, closed=True)
    cap_height = between(s[5], 0.07, 0.2)
    cap = _cap(neck * between(s[6], 1.08, 1.3), top, cap_height, ribbed=s[7] > 0.5)
    if form in ("wine", "square", "jug") and s[7] > 0.3:
        shoulder = between(s[3], 0.5, 0.72)
        heights = np.linspace(
            height * between(s[4], 0.1, 0.2), height * min(shoulder, 0.45) * between(s[5], 0.75, 0.98), 6
        )
        label = np.stack([np.interp(heights, wall[:, 1], wall[:, 0]) + 0.006, heights], 1)
        return [body.painted(1), lathe(label, square=square, closed=True), cap]
    if form == "sport" and s[7] > 0.5:
        angle = np.linspace(0, np.pi, 12)
        loop = np.stack([0.1 * np.cos(angle), np.zeros(12), top + cap_height + 0.11 * np.sin(angle)], 1)
        return [body, cap, tube(loop, 0.025, slot=2)]
    return [body, cap]


def _profile(form: str, s: Shape, h: float) -> list[tuple[float, float]]:
    r, neck, shoulder = between(s[1], 0.2, 0.29), between(s[2], 0.07, 0.12), between(s[3], 0.5, 0.72)
    if form == "sport":
        waist, neck = r * between(s[4], 0.78, 0.95), r * 0.62
        return [(r * 0.92, 0), (r, 0.05), (waist, h * 0.45), (r, h * 0.68), (neck, h * 0.86), (neck, h * 0.9)]
    if form == "flask":
        return [(r, 0), (r * 1.02, 0.04), (r, h * 0.78), (r * 0.75, h * 0.88), (r * 0.7, h * 0.9)]
    if form == "square":
        return [(r, 0), (r, 0.03), (r, h * shoulder), (neck, h * (shoulder + 0.1)), (neck, h * 0.9)]
    if form == "jug":
        r *= 1.35
        return [(r * 0.8, 0), (r, h * 0.25), (r * 0.8, h * 0.5), (neck, h * 0.68), (neck * 0.95, h * 0.8)]
    return [(r * 0.9, 0), (r, 0.03), (r, h * shoulder), (neck, h * (shoulder + 0.16)), (neck, h * 0.92)]


def _cap(radius: float, top: float, height: float, *, ribbed: bool) -> Surface:
    end = top + height
    profile: Floats = np.array([(radius, top - 0.03), (radius, end - height / 10), (radius * 0.9, end), (0.001, end)])
    if ribbed:
        return lathe(profile, slot=2, flutes=24, depth=0.02, segments=48, closed=True)
    return lathe(profile, slot=2, segments=24, closed=True)
