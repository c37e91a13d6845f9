"""Mugs, teapots, vases, bottles: turned on the wheel. Slot 0 patterned body, 1 trim, 2 accent, 3 inside."""

from __future__ import annotations

import numpy as np

from components.catalogue.rendering.surfaces import Floats, Surface, cushion, lathe, smooth, tube

Shape = tuple[float, ...]


def between(share: float, low: float, high: float) -> float:
    """Return the value at `share` of the way from `low` to `high`."""
    return low + share * (high - low)


def _vessel(outside: Floats, *, thick: float = 0.03, square: float = 2.0, flutes: int = 0, depth: float = 0.0) -> list[Surface]:
    """Return the outer wall (slot 0), the rim (slot 1) and the inner wall (slot 3) of an open vessel."""
    bottom = np.array([[0.001, outside[0, 1]]])
    wall = lathe(np.concatenate([bottom, outside]), square=square, flutes=flutes, depth=depth)
    inner = outside[::-1] - np.array([thick, 0.0])
    inner = np.concatenate([inner[inner[:, 1] > outside[0, 1] + thick], [[0.001, outside[0, 1] + thick]]])
    inner[:, 0] = np.maximum(inner[:, 0], 0.001)
    radius, top = outside[-1]
    angle = np.linspace(0, np.pi, 5)
    rim = np.stack([radius - thick / 2 + thick / 2 * np.cos(angle), top + thick * 0.45 * np.sin(angle)], axis=1)
    options = {"square": square, "flutes": flutes, "depth": depth}
    return [lathe(inner, slot=3, **options), wall, lathe(rim, slot=1, **options)]  # type: ignore[arg-type]


def _handle(radius: float, low: float, high: float, reach: float, thick: float, kind: int, *, flat: float = 1.0) -> Surface:
    """Return a handle on the right: 0 round, 1 square, 2 ear, 3 small ring."""
    middle, half = (low + high) / 2, (high - low) / 2
    inside = radius * 0.94
    if kind == 0:
        points = [(inside, low), (radius + reach * 0.75, low + 0.1 * half), (radius + reach, middle),
                  (radius + reach * 0.75, high - 0.1 * half), (inside, high)]
    elif kind == 1:
        points = [(inside, low), (radius + reach * 0.9, low), (radius + reach, low + 0.15 * half), (radius + reach, high - 0.15 * half),
                  (radius + reach * 0.9, high), (inside, high)]
    elif kind == 2:
        points = [(inside, low), (radius + reach * 0.35, low + 0.25 * half), (radius + reach * 0.9, middle + 0.3 * half),
                  (radius + reach * 0.8, high), (inside, high - 0.05)]
    else:
        points = [(inside, middle - 0.2 * half), (radius + reach * 0.6, middle - 0.1 * half), (radius + reach * 0.8, middle + 0.35 * half),
                  (radius + reach * 0.4, high - 0.2 * half), (inside, high - 0.3 * half)]
    path = smooth(points, 18)
    return tube(np.stack([path[:, 0], np.zeros(18), path[:, 1]], axis=1), thick, flat=flat, segments=8)


def mug(form: str, s: Shape) -> list[Surface]:
    """Build a mug: "straight", "tapered", "belly", "bowl" or "square"."""
    radius, height = 0.4, between(s[0], 0.72, 1.15)
    if form == "straight":
        profile = smooth([(radius * 0.95, 0.0), (radius, 0.04), (radius, height)], 14)
    elif form == "tapered":
        foot = radius * between(s[1], 0.55, 0.78)
        profile = smooth([(foot, 0.0), (foot + 0.02, 0.03), ((foot + radius) / 2, height / 2), (radius, height)], 14)
    elif form == "belly":
        neck = radius * between(s[1], 0.72, 0.88)
        profile = smooth([(radius * 0.6, 0.0), (radius * 1.05, height * between(s[2], 0.25, 0.45)),
                          (neck, height * 0.85), (neck * 1.06, height)], 18)
    elif form == "bowl":
        height *= 0.62
        radius = 0.5
        profile = smooth([(radius * 0.4, 0.0), (radius * 0.45, 0.05), (radius * 0.85, height * 0.35), (radius, height)], 16)
    else:
        profile = smooth([(radius * 0.9, 0.0), (radius * 0.95, 0.04), (radius * 0.95, height)], 14)
    square = between(s[3], 4, 7) if form == "square" else 2.0
    wall = float(np.interp(height * 0.6, profile[:, 1], profile[:, 0]))
    kind = int(s[4] * 3.999)
    handle = _handle(wall, height * between(s[5], 0.12, 0.3), height * 0.85, between(s[6], 0.2, 0.34), between(s[7], 0.035, 0.06), kind,
                     flat=between(s[3], 0.8, 1.7))
    return [*_vessel(profile, square=square), handle]


def teapot(form: str, s: Shape) -> list[Surface]:
    """Build a teapot: "round", "tall", "squat" or "faceted"."""
    height = {"round": 0.72, "tall": 1.05, "squat": 0.5, "faceted": 0.75}[form] * between(s[0], 0.9, 1.1)
    belly = between(s[1], 0.46, 0.56)
    at = between(s[2], 0.32, 0.55)
    neck = between(s[3], 0.2, 0.3)
    body = smooth([(0.001, 0), (belly * 0.62, 0), (belly, height * at), (belly * 0.8, height * 0.82), (neck, height)], 24)
    square = between(s[4], 3.2, 5.0) if form == "faceted" else 2.0
    pot = lathe(body, square=square, closed=True)
    dome = between(s[5], 0.06, 0.2)
    lid = lathe(smooth([(neck * 1.06, height), (neck, height + 0.03), (neck * 0.5, height + dome), (0.001, height + dome * 1.08)], 10), slot=1, closed=True)
    ball = between(s[6], 0.045, 0.075)
    knob = cushion(ball, ball, ball, slot=2, round_=1.0, rows=8, segments=14).moved(z=height + dome + ball * 0.8)
    low = height * at * 0.8
    if s[7] < 0.5:
        points = [(belly * 0.85, low), (belly * 1.25, low + 0.06), (belly * 1.45, height * 0.75), (belly * 1.75, height * 1.02)]
    else:
        points = [(belly * 0.85, low + 0.05), (belly * 1.3, height * 0.7), (belly * 1.65, height * 0.98)]
    path = smooth(points, 14)
    spout = tube(np.stack([-path[:, 0], np.zeros(14), path[:, 1]], 1), np.linspace(0.12, 0.05, 14), slot=0, segments=12)
    surfaces = [pot, lid, knob, spout.mapped(0, 2, 1.0)]
    if s[4] > 0.62:
        arch = np.linspace(0.08 * np.pi, 0.92 * np.pi, 18)
        over = np.stack([belly * 0.8 * np.cos(arch), np.zeros(18), height * 0.78 + (0.55 * np.sin(arch))], 1)
        return [*surfaces, tube(over, 0.035, slot=2, flat=1.4)]
    kind = int(s[3] * 2.999)
    return [*surfaces, _handle(belly * 0.92, height * 0.25, height * 0.88, 0.34, 0.045, kind, flat=1.2).painted(1)]


def vase(form: str, s: Shape) -> list[Surface]:
    """Build a vase: "amphora", "cylinder", "gourd", "trumpet", "ball" or "fluted"."""
    height = between(s[0], 1.05, 1.5)
    a, b, c = between(s[1], 0.25, 0.45), between(s[2], 0.08, 0.18), between(s[3], 0.12, 0.26)
    at = between(s[4], 0.35, 0.65)
    profiles = {
        "amphora": [(0.14, 0), (a, height * at), (b + 0.03, height * 0.85), (c, height)],
        "cylinder": [(a * 0.62, 0), (a * 0.7, 0.03), (a * between(s[2], 0.55, 0.8), height * at), (a * 0.7, height)],
        "gourd": [(a * 0.6, 0), (a, height * 0.24), (b + 0.02, height * 0.52), (a * 0.62, height * 0.74), (b, height * 0.93), (c * 0.8, height)],
        "trumpet": [(a * 0.75, 0), (a * 0.7, 0.06), (b, height * at * 0.8), (b * 1.5, height * 0.8), (a, height)],
        "ball": [(0.15, 0), (0.43 + 0.3 * c, height * 0.34), (0.3, height * 0.6), (b, height * 0.7), (b * 1.1, height * (0.72 + 0.2 * s[5]))],
        "fluted": [(0.2, 0), (a, height * at), (a * 0.75, height * 0.8), (a * 0.95, height)],
    }
    flutes, depth = (int(between(s[5], 6, 16)), between(s[6], 0.05, 0.1)) if form == "fluted" else (0, 0.0)
    wall = smooth(profiles[form], 30)
    surfaces = _vessel(wall, thick=0.022, flutes=flutes, depth=depth)
    surfaces[1] = lathe(wall, flutes=flutes, depth=depth, twist=between(s[7], -0.4, 0.4), segments=60 if flutes else 36)
    if form == "amphora" and s[6] > 0.35:
        neck = float(np.interp(height * 0.82, wall[:, 1], wall[:, 0]))
        shoulder = float(np.interp(height * at, wall[:, 1], wall[:, 0]))
        path = smooth([(neck, height * 0.9), (neck + 0.18, height * 0.86), (shoulder * 0.85, height * (at + 0.14))], 14)
        for side in (1, -1):
            surfaces.append(tube(np.stack([side * path[:, 0], np.zeros(14), path[:, 1]], 1), 0.03, slot=1))
    return surfaces


def bottle(form: str, s: Shape) -> list[Surface]:
    """Build a bottle: "wine", "sport", "flask", "square" or "jug"."""
    height = between(s[0], 1.25, 1.6)
    radius = between(s[1], 0.2, 0.29)
    neck = between(s[2], 0.07, 0.12)
    shoulder = between(s[3], 0.5, 0.72)
    square = 2.0
    if form == "sport":
        neck, shoulder = radius * 0.62, 0.82
        waist = radius * between(s[4], 0.78, 0.95)
        wall = smooth([(radius * 0.92, 0), (radius, 0.05), (waist, height * 0.45), (radius, height * 0.68), (neck, height * 0.86), (neck, height * 0.9)], 26)
    elif form == "flask":
        wall = smooth([(radius, 0), (radius * 1.02, 0.04), (radius, height * 0.78), (radius * 0.75, height * 0.88), (radius * 0.7, height * 0.9)], 22)
        neck = radius * 0.7
    elif form == "square":
        square = between(s[4], 4, 8)
        wall = smooth([(radius, 0), (radius, 0.03), (radius, height * shoulder), (neck, height * (shoulder + 0.1)), (neck, height * 0.9)], 24)
    elif form == "jug":
        radius *= 1.35
        wall = smooth([(radius * 0.8, 0), (radius, height * 0.25), (radius * 0.8, height * 0.5), (neck, height * 0.68), (neck * 0.95, height * 0.8)], 26)
    else:
        wall = smooth([(radius * 0.9, 0), (radius, 0.03), (radius, height * shoulder), (neck, height * (shoulder + 0.16)), (neck, height * 0.92)], 26)
    top = float(wall[-1, 1])
    wall = np.concatenate([[[0.001, 0.0]], wall])
    body = lathe(wall, square=square, repeats=2.0, closed=True)
    cap_height = between(s[5], 0.07, 0.2)
    cap_radius = neck * between(s[6], 1.08, 1.3)
    cap = lathe(np.array([(cap_radius, top - 0.03), (cap_radius, top + cap_height * 0.9), (cap_radius * 0.9, top + cap_height), (0.001, top + cap_height)]),
                slot=2, flutes=24 if s[7] > 0.5 else 0, depth=0.02, segments=48 if s[7] > 0.5 else 24, closed=True)
    surfaces = [body, cap]
    if form in ("wine", "square", "jug") and s[7] > 0.3:
        low, high = height * between(s[4], 0.1, 0.2), height * min(shoulder, 0.45) * between(s[5], 0.75, 0.98)
        at = np.linspace(low, high, 6)
        skin = np.interp(at, wall[1:, 1], wall[1:, 0]) + 0.006
        surfaces[0] = body.painted(1)
        surfaces.insert(1, lathe(np.stack([skin, at], 1), square=square, closed=True))
    if form == "sport" and s[7] > 0.5:
        angle = np.linspace(0, np.pi, 12)
        loop = np.stack([0.1 * np.cos(angle), np.zeros(12), top + cap_height + 0.11 * np.sin(angle)], 1)
        surfaces.append(tube(loop, 0.025, slot=2))
    return surfaces
