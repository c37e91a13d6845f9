"""Vases: tall open vessels, some with grooves, some with two handles."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between, vessel
from components.rendering.surfaces import Floats, Surface, smooth, tube


def vase(form: str, s: Shape) -> list[Surface]:
    """Build a vase: "amphora", "cylinder", "gourd", "trumpet", "ball" or "fluted"."""
    wall = smooth(_profile(form, s), 30)
    if form == "fluted":
        grooves, depth, twist = int(between(s[5], 6, 16)), between(s[6], 0.05, 0.1), between(s[7], -0.4, 0.4)
        return vessel(wall, thick=0.022, flutes=grooves, depth=depth, twist=twist, segments=60)
    surfaces = vessel(wall, thick=0.022)
    if form == "amphora" and s[6] > 0.35:
        surfaces.extend(_ears(wall))
    return surfaces


def _profile(form: str, s: Shape) -> list[tuple[float, float]]:
    h = between(s[0], 1.05, 1.5)
    body, neck, mouth = between(s[1], 0.25, 0.45), between(s[2], 0.08, 0.18), between(s[3], 0.12, 0.26)
    widest = h * between(s[4], 0.35, 0.65)
    if form == "amphora":
        return [(0.14, 0), (body, widest), (neck + 0.03, h * 0.85), (mouth, h)]
    if form == "cylinder":
        waist = body * between(s[2], 0.55, 0.8)
        return [(body * 0.62, 0), (body * 0.7, 0.03), (waist, widest), (body * 0.7, h)]
    if form == "gourd":
        upper = [(body * 0.62, h * 0.74), (neck, h * 0.93), (mouth * 0.8, h)]
        return [(body * 0.6, 0), (body, h * 0.24), (neck + 0.02, h * 0.52), *upper]
    if form == "trumpet":
        return [(body * 0.75, 0), (body * 0.7, 0.06), (neck, widest * 0.8), (neck * 1.5, h * 0.8), (body, h)]
    if form == "ball":
        top = h * (0.72 + 0.2 * s[5])
        return [(0.15, 0), (0.43 + 0.3 * mouth, h * 0.34), (0.3, h * 0.6), (neck, h * 0.7), (neck * 1.1, top)]
    return [(0.2, 0), (body, widest), (body * 0.75, h * 0.8), (body * 0.95, h)]


def _ears(wall: Floats) -> list[Surface]:
    height = wall[-1, 1]
    shoulder, neck = (float(np.interp(height * share, wall[:, 1], wall[:, 0])) for share in (0.62, 0.82))
    path = smooth([(neck, height * 0.9), (neck + 0.18, height * 0.86), (shoulder * 0.9, height * 0.62)], 14)
    return [tube(np.stack([x * path[:, 0], np.zeros(14), path[:, 1]], 1), 0.03, slot=1) for x in (1, -1)]
