"""Teapots: body, lid with a knob, spout, handle."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between, handle
from components.rendering.surfaces import Surface, cushion, lathe, smooth, tube

_HEIGHTS = {"round": 0.72, "tall": 1.05, "squat": 0.5, "faceted": 0.75}


def teapot(form: str, s: Shape) -> list[Surface]:
    """Build a teapot: "round", "tall", "squat" or "faceted"."""
    height, belly = _HEIGHTS[form] * between(s[0], 0.9, 1.1), between(s[1], 0.46, 0.56)
    widest, neck = height * between(s[2], 0.32, 0.55), between(s[3], 0.2, 0.3)
    square = between(s[4], 3.2, 5.0) if form == "faceted" else 2.0
    knots = [(0.001, 0), (belly * 0.62, 0), (belly, widest), (belly * 0.8, height * 0.82), (neck, height)]
    body = lathe(smooth(knots, 24), square=square, closed=True)
    if s[4] > 0.62:
        arch = np.linspace(0.08 * np.pi, 0.92 * np.pi, 18)
        path = np.stack([belly * 0.8 * np.cos(arch), np.zeros(18), height * 0.78 + 0.55 * np.sin(arch)], 1)
        grip = tube(path, 0.035, slot=2, flat=1.4)
    else:
        grip = handle(belly * 0.92, height * 0.25, height * 0.88, 0.34, 0.045, int(s[3] * 2.999), flat=1.2)
    spout = _spout(belly, widest * 0.8, height, bent=s[7] < 0.5)
    return [body, *_lid(neck, height, between(s[5], 0.06, 0.2), between(s[6], 0.045, 0.075)), spout, grip]


def _lid(neck: float, height: float, dome: float, ball: float) -> list[Surface]:
    knots = [(neck * 1.06, height), (neck, height + 0.03), (neck * 0.5, height + dome), (0.001, height + dome * 1.08)]
    knob = cushion(ball, ball, ball, slot=2, round_=1.0, rows=8, segments=14)
    return [lathe(smooth(knots, 10), slot=1, closed=True), knob.moved(z=height + dome + ball * 0.8)]


def _spout(belly: float, low: float, height: float, *, bent: bool) -> Surface:
    start = (belly * 0.85, low)
    if bent:
        knots = [start, (belly * 1.25, low + 0.06), (belly * 1.45, height * 0.75), (belly * 1.75, height * 1.02)]
    else:
        knots = [start, (belly * 1.3, height * 0.7), (belly * 1.65, height * 0.98)]
    path = smooth(knots, 14)
    path = np.stack([-path[:, 0], np.zeros(14), path[:, 1]], 1)
    return tube(path, np.linspace(0.12, 0.05, 14), slot=0, segments=12).mapped(0, 2, 1.0)
