"""Lamps: foot, stem, shade. The shade is slot 0."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between, rod
from components.rendering.surfaces import Surface, cushion, lathe, smooth


def lamp(form: str, s: Shape) -> list[Surface]:
    """Build a lamp: "table", "globe", "desk", "tripod" or "mushroom"."""
    return {"table": _table, "globe": _globe, "desk": _desk, "tripod": _tripod, "mushroom": _mushroom}[form](s)


def _shade(low: float, high: float, bottom: float, top: float, *, square: float = 2.0) -> list[Surface]:
    profile = smooth([(bottom, low), ((bottom + top) / 2, (low + high) / 2), (top, high)], 10)
    return [lathe(profile[::-1] - np.array([0.01, 0.0]), slot=3, square=square), lathe(profile, square=square)]


def _table(s: Shape) -> list[Surface]:
    foot, tall = between(s[3], 0.5, 0.85), between(s[2], 0.24, 0.42)
    wide, thin = between(s[4], 0.1, 0.25), between(s[5], 0.04, 0.12)
    widest = foot * between(s[6], 0.2, 0.55)
    knots = [(0.001, 0), (wide * 0.8, 0), (wide, widest), (thin, foot * 0.8), (0.03, foot), (0.02, foot + 0.18)]
    square = between(s[7], 2, 8) if s[7] > 0.7 else 2.0
    shade = _shade(foot + 0.06, foot + 0.06 + tall, between(s[0], 0.28, 0.45), between(s[1], 0.12, 0.27), square=square)
    return [lathe(smooth(knots, 26), slot=1, closed=True), *shade]


def _globe(s: Shape) -> list[Surface]:
    radius, stem = between(s[0], 0.22, 0.34), between(s[3], 0.15, 0.6)
    base = smooth([(0.001, 0), (radius * 0.75, 0), (radius * 0.7, 0.04), (0.03, 0.08), (0.03, stem)], 16)
    globe = cushion(radius, radius, radius * between(s[4], 0.7, 1.1), round_=1.0, rows=16, segments=32)
    return [lathe(base, slot=2, closed=True), globe.moved(z=stem + radius * 0.85)]


def _desk(s: Shape) -> list[Surface]:
    joint = (between(s[3], 0.15, 0.4), 0.0, between(s[4], 0.6, 0.8))
    head = (-between(s[5], 0.15, 0.4), 0.0, between(s[6], 0.95, 1.2))
    foot = lathe(np.array([(0.001, 0.0), (0.24, 0.0), (0.24, 0.04), (0.2, 0.06), (0.001, 0.06)]), slot=1, closed=True)
    hood = smooth([(0.05, 0.0), (0.09, -0.04), (between(s[0], 0.17, 0.26), -between(s[2], 0.16, 0.3))], 10)
    cone = [lathe(hood), lathe(hood * (0.95, 1.0), slot=3), cushion(0.07, 0.07, 0.07, slot=1, round_=0.6).moved(z=0.02)]
    knee = cushion(0.04, 0.04, 0.04, slot=1, round_=1.0).moved(*joint)
    tilt = between(s[7], 10, 50)
    arms = [rod((0, 0, 0.03), joint, 0.02), rod(joint, head, 0.02)]
    return [foot, *arms, knee, *(part.turned(1, tilt).moved(*head) for part in cone)]


def _tripod(s: Shape) -> list[Surface]:
    height, bottom = between(s[3], 0.8, 1.15), between(s[0], 0.28, 0.45)
    legs = []
    for angle in (-1.9, 0.2, 2.3):
        x, y = float(np.cos(angle)), float(np.sin(angle))
        legs.append(rod((0.02 * x, 0.02 * y, height), (0.4 * x, 0.4 * y, 0), 0.028, thin=0.6))
    top = max(between(s[1], 0.12, 0.27), bottom * between(s[4], 0.6, 0.98))
    return [*legs, *_shade(height - 0.05, height + between(s[2], 0.24, 0.42), bottom, top)]


def _mushroom(s: Shape) -> list[Surface]:
    wide, stem = between(s[0], 0.36, 0.5), between(s[3], 0.3, 0.6)
    waist, neck = between(s[4], 0.1, 0.18), between(s[5], 0.06, 0.12)
    base = smooth([(0.001, 0), (0.2, 0), (waist, stem * 0.5), (neck, stem), (0.05, stem + 0.1)], 18)
    shoulder, top = stem + between(s[6], 0.22, 0.36), stem + between(s[6], 0.28, 0.42)
    dome = smooth([(wide, stem), (wide * 0.97, stem + 0.08), (wide * 0.6, shoulder), (0.001, top)], 18)
    return [lathe(base, slot=1, closed=True), lathe(dome * (0.96, 1.0), slot=3), lathe(dome)]
