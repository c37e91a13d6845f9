"""Chairs and stools: legs, seat, back. Upholstery is slot 0."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between, four_legs, rod
from components.rendering.surfaces import Surface, cushion, lathe, tube


def chair(form: str, s: Shape) -> list[Surface]:
    """Build a chair: "panel", "slats", "shell", "stool" or "armchair"."""
    if form == "stool":
        return _stool(s)
    height, width, depth = between(s[0], 0.42, 0.5), between(s[1], 0.22, 0.28), between(s[2], 0.2, 0.26)
    thick = between(s[5], 0.025, 0.07)
    legs = four_legs(width * 0.86, depth * 0.86, height, between(s[3], 0.018, 0.034), between(s[4], 0.0, 0.08))
    seat = cushion(width, depth, thick, round_=between(s[6], 0.2, 0.7)).mapped(0, 1, 1.8).moved(z=height + thick * 0.5)
    if form == "armchair":
        parts = [part.moved(0, depth * 0.9, height) for part in _armchair(width, depth, s)]
    else:
        back = {"panel": _panel, "slats": _slats, "shell": _shell}[form](width, s)
        parts = [part.turned(0, -10 - 8 * s[3]).moved(0, depth * 0.85, height + thick * 0.6) for part in back]
    return [*legs, seat, *parts]


def _stool(s: Shape) -> list[Surface]:
    height, width, thick = between(s[0], 0.42, 0.6), between(s[1], 0.2, 0.28), between(s[5], 0.025, 0.07)
    profile = np.array([(0.001, -thick), (width, -thick), (width * 1.04, 0), (width, thick), (0.001, thick * 1.1)])
    seat = lathe(profile, closed=True).mapped(0, 1, 1.6).moved(z=height)
    angle = np.linspace(0, 2 * np.pi, 24)
    reach = width * 0.8 + between(s[4], 0.0, 0.08) * 0.6
    ring = np.stack([reach * np.cos(angle), reach * np.sin(angle), np.full(24, height * between(s[6], 0.3, 0.5))], 1)
    legs = four_legs(width * 0.6, width * 0.6, height, between(s[3], 0.018, 0.03), between(s[4], 0.0, 0.1))
    return [*legs, tube(ring, 0.014, slot=2, up=(0, 0, 1)), seat]


def _panel(width: float, s: Shape) -> list[Surface]:
    back, edge = between(s[7], 0.4, 0.62), between(s[6], 0.2, 0.7)
    panel = cushion(width * 0.95, 0.03 + 0.02 * s[5], back * 0.38, round_=edge).mapped(0, 2, 1.8).moved(z=back * 0.62)
    posts = [rod((x * width * 0.75, 0.0, 0.0), (x * width * 0.75, 0.01, back * 0.7), 0.02) for x in (-1, 1)]
    return [*posts, panel]


def _slats(width: float, s: Shape) -> list[Surface]:
    back, count = between(s[7], 0.4, 0.62), 3 + int(s[5] * 3.99)
    posts = [rod((x * width * 0.9, 0.0, 0.0), (x * width * 0.9, 0.0, back), 0.024) for x in (-1, 1)]
    if s[6] > 0.5:
        heights = back * np.linspace(0.3, 0.96, count)
        bars = [cushion(width * 0.88, 0.014, back * 0.26 / count, slot=1).moved(z=float(z)) for z in heights]
    else:
        places = width * np.linspace(-0.6, 0.6, count + 1)
        bars = [rod((float(x), 0, 0), (float(x), 0, back * 0.95), 0.013, slot=1) for x in places]
        bars.append(cushion(width * 0.97, 0.02, 0.035, slot=1).moved(z=back * 0.95))
    return [*posts, *bars]


def _shell(width: float, s: Shape) -> list[Surface]:
    across, up = np.meshgrid(np.linspace(-1.15, 1.15, 17), np.linspace(0, 1, 12))
    x = np.sin(across) * width * (1.05 - 0.25 * up**2 * s[6])
    y = -0.32 * (1 - np.cos(across)) * (1 - 0.3 * up)
    points = np.stack([x, y, up * between(s[7], 0.4, 0.62)], -1)
    return [Surface(points, np.stack([across * 0.5, up], -1), 0)]


def _armchair(width: float, depth: float, s: Shape) -> list[Surface]:
    back, edge = between(s[7], 0.4, 0.62), between(s[6], 0.2, 0.7)
    panel = cushion(width * 1.02, 0.06, back * 0.5, round_=edge).mapped(0, 2, 1.8).moved(z=back * 0.45)
    arm = cushion(0.04, depth * 0.95, between(s[6], 0.08, 0.14), round_=0.4).mapped(1, 2, 1.8)
    return [panel, *(arm.moved(x * (width + 0.02), -depth, 0.12) for x in (-1, 1))]
