"""Products turned on a wheel: mugs, vases, bottles, lamps, hats. Eight numbers 0–1 fix a form's shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.rendering.surfaces import Floats, Surface, cushion, lathe, smooth, tube

Shape = tuple[float, ...]


def between(share: float, low: float, high: float) -> float:
    """Return the value at `share` of the way from `low` to `high`."""
    return low + share * (high - low)


def rod(start: tuple[float, ...], end: tuple[float, ...], radius: float, *, slot: int = 2) -> Surface:
    """Return a straight rod that tapers to 0.7 of its radius."""
    path, up = np.linspace(start, end, 5), (0.3, 1.0, 0.1)
    return tube(path, np.linspace(radius, radius * 0.7, 5), slot=slot, segments=8, up=up)


def _open_vessel(outside: Floats, thick: float = 0.03, **section: Any) -> list[Surface]:
    """Return the inner wall (slot 3), the outer wall (slot 0) and the rim (slot 1); `section` goes to `lathe`."""
    floor = outside[0, 1] + thick
    inner = outside[::-1] - np.array([thick, 0.0])
    inner = np.concatenate([inner[inner[:, 1] > floor], [[0.001, floor]]])
    inner[:, 0] = np.maximum(inner[:, 0], 0.001)
    angle = np.linspace(0, np.pi, 5)
    rim = outside[-1] + np.stack([thick / 2 * (np.cos(angle) - 1), thick * 0.45 * np.sin(angle)], axis=1)
    wall = np.concatenate([[[0.001, outside[0, 1]]], outside])
    return [lathe(part, slot=slot, closed=True, **section) for part, slot in ((inner, 3), (wall, 0), (rim, 1))]


def mug(form: str, s: Shape) -> list[Surface]:
    """Build a mug: "straight", "tapered", "belly", "bowl" or "square"."""
    radius, height = 0.4, between(s[0], 0.72, 1.15) * (0.62 if form == "bowl" else 1.0)
    foot, neck = radius * between(s[1], 0.55, 0.78), radius * between(s[1], 0.72, 0.88)
    straight = [(radius * 0.95, 0.0), (radius, 0.04), (radius, height)]
    knots = {
        "tapered": [(foot, 0.0), (foot + 0.02, 0.03), ((foot + radius) / 2, height / 2), (radius, height)],
        "belly": [
            (0.24, 0.0),
            (0.42, height * between(s[2], 0.25, 0.45)),
            (neck, height * 0.85),
            (neck * 1.06, height),
        ],
        "bowl": [(0.2, 0.0), (0.23, 0.05), (0.43, height * 0.35), (0.5, height)],
    }.get(form, straight)
    wall = smooth(knots, 17)
    inside = float(np.interp(height * 0.6, wall[:, 1], wall[:, 0])) * 0.98
    low, high, far = height * between(s[5], 0.12, 0.3), height * 0.85, inside + between(s[6], 0.22, 0.36)
    corner, middle = between(s[4], 0.3, 0.95), (low + high) / 2
    near = inside + (far - inside) * corner
    path = smooth([(inside, low), (near, low + 0.02), (far, middle), (near, high - 0.02), (inside, high)], 18)
    grip = np.stack([path[:, 0], np.zeros(18), path[:, 1]], axis=1)
    handle = tube(grip, between(s[7], 0.035, 0.06), flat=between(s[3], 0.8, 1.7), segments=8)
    return [*_open_vessel(wall, square=between(s[3], 4, 7) if form == "square" else 2.0), handle]


def vase(form: str, s: Shape) -> list[Surface]:
    """Build a vase: "amphora", "cylinder", "gourd", "ball", "trumpet" or "fluted"."""
    h, body = between(s[0], 1.05, 1.5), between(s[1], 0.25, 0.45)
    neck, mouth, middle = between(s[2], 0.08, 0.18), between(s[3], 0.12, 0.26), h * between(s[4], 0.35, 0.65)
    knots = {
        "amphora": [(0.14, 0), (body, middle), (neck + 0.03, h * 0.85), (mouth, h)],
        "cylinder": [(body * 0.62, 0), (body * 0.7, 0.03), (body * between(s[2], 0.4, 0.6), middle), (body * 0.7, h)],
        "gourd": [(body * 0.6, 0), (body, h * 0.24), (neck + 0.02, h * 0.52), (body * 0.62, h * 0.74), (neck, h)],
        "ball": [(0.15, 0), (0.43 + 0.3 * mouth, h * 0.3), (0.3, h * 0.55), (neck, h * 0.64), (neck, h * 0.8)],
        "trumpet": [(body * 0.75, 0), (body * 0.7, 0.06), (neck, middle * 0.8), (neck * 1.5, h * 0.8), (body, h)],
        "fluted": [(0.2, 0), (body, middle), (body * 0.75, h * 0.8), (body * 0.95, h)],
    }[form]
    if form != "fluted":
        return _open_vessel(smooth(knots, 30), 0.022)
    grooves, depth, twist = int(between(s[5], 6, 16)), between(s[6], 0.05, 0.1), between(s[7], -0.4, 0.4)
    return _open_vessel(smooth(knots, 30), 0.022, flutes=grooves, depth=depth, twist=twist, segments=60)


def bottle(form: str, s: Shape) -> list[Surface]:
    """Build a bottle: "wine", "sport", "flask", "square" or "jug"."""
    h, r, neck = between(s[0], 1.25, 1.6), between(s[1], 0.2, 0.29), between(s[2], 0.07, 0.12)
    shoulder, waist = h * between(s[3], 0.5, 0.72), r * between(s[4], 0.78, 0.95)
    knots = {
        "wine": [(r * 0.9, 0), (r, 0.03), (r, shoulder), (neck, shoulder + h * 0.16), (neck, h * 0.92)],
        "sport": [
            (r * 0.92, 0),
            (r, 0.05),
            (waist, h * 0.45),
            (r, h * 0.68),
            (r * 0.62, h * 0.86),
            (r * 0.62, h * 0.9),
        ],
        "flask": [(r, 0), (r * 1.02, 0.04), (r, h * 0.78), (r * 0.75, h * 0.88), (r * 0.7, h * 0.9)],
        "square": [(r, 0), (r, 0.03), (r, shoulder), (neck, shoulder + h * 0.1), (neck, h * 0.9)],
        "jug": [(r * 1.1, 0), (r * 1.35, h * 0.25), (r * 1.1, h * 0.5), (neck, h * 0.68), (neck, h * 0.8)],
    }[form]
    wall, square = smooth(knots, 26), between(s[4], 4, 8) if form == "square" else 2.0
    (rim, top), tall = wall[-1], between(s[5], 0.07, 0.2)
    cap = rim * between(s[6], 1.08, 1.3)
    profile = np.array([(cap, top - 0.03), (cap, top + tall * 0.9), (cap * 0.9, top + tall), (0.001, top + tall)])
    parts = [lathe(profile, slot=2, flutes=24, depth=0.02 if s[7] > 0.5 else 0.0, segments=48, closed=True)]
    low, high = 0, len(wall) - 1  # rows of the wall that the pattern covers: those of the label, if it has one
    if form in ("wine", "square", "jug") and s[7] > 0.3:
        label = h * between(s[4], 0.1, 0.2), min(shoulder, h * 0.45) * between(s[5], 0.85, 1.0)
        low, high = (int(row) for row in np.searchsorted(wall[:, 1], label))
    pieces = ((np.concatenate([[[0.001, 0.0]], wall[: low + 1]]), 1), (wall[low : high + 1], 0), (wall[high:], 1))
    walls = [lathe(piece, slot=slot, square=square, closed=True) for piece, slot in pieces if len(piece) > 1]
    return [*walls, *parts]


def lamp(form: str, s: Shape) -> list[Surface]:
    """Build a lamp: "table", "globe", "tripod" or "mushroom". The shade is slot 0."""
    wide, stem = between(s[0], 0.28, 0.45), between(s[3], 0.4, 0.85)
    if form == "tripod":
        stem += 0.35
        ends = [(np.cos(angle), np.sin(angle)) for angle in (-1.9, 0.2, 2.3)]
        parts = [rod((0.02 * x, 0.02 * y, stem), (0.4 * x, 0.4 * y, 0), 0.028) for x, y in ends]
    else:
        foot, thin = between(s[4], 0.12, 0.25), between(s[5], 0.03, 0.12)
        knots = [
            (0.001, 0),
            (foot, 0),
            (foot, stem * between(s[6], 0.05, 0.5)),
            (thin, stem * 0.8),
            (0.03, stem + 0.18),
        ]
        parts = [lathe(smooth(knots, 26), slot=1 if form == "table" else 2, closed=True)]
    if form == "globe":
        globe = cushion(wide * 0.75, wide * 0.75, wide * between(s[1], 0.5, 0.85), round_=1.0, rows=16, segments=32)
        return [*parts, globe.moved(z=stem + wide * 0.5)]
    if form == "mushroom":
        high = between(s[2], 0.22, 0.4)
        shade = smooth(
            [(wide, stem), (wide * 0.97, stem + 0.08), (wide * 0.6, stem + high * 0.85), (0.001, stem + high)], 18
        )
    else:
        low, high, top = stem - 0.05, stem + between(s[2], 0.2, 0.4), wide * between(s[1], 0.4, 0.98)
        shade = smooth([(wide, low), ((wide + top) / 2, (low + high) / 2), (top, high)], 10)
    square = between(s[7], 2, 8) if s[7] > 0.7 and form == "table" else 2.0
    inside = lathe(shade[::-1] - np.array([0.01, 0.0]), slot=3, square=square, closed=True)
    return [*parts, inside, lathe(shade, square=square, closed=True)]


def hat(form: str, s: Shape) -> list[Surface]:
    """Build a hat: "cap", "sun", "beanie" or "bucket"."""
    r, tall = 0.34, between(s[0], 0.3, 0.42)
    if form == "cap":
        crown = smooth([(r, 0), (r, tall * 0.4), (r * 0.7, tall * 0.88), (0.001, tall)], 16)
        out, angle = np.meshgrid(np.linspace(0, 1, 8), np.linspace(-1.05, 1.05, 15), indexing="ij")
        reach = r + between(s[1], 0.22, 0.34) * np.cos(angle * 0.85) ** 0.6 * out
        sag = 0.02 - between(s[2], 0.02, 0.1) * out**1.5 - 0.05 * angle**2 * out
        points = np.stack([reach * np.sin(angle), -reach * np.cos(angle), sag], -1)
        button = cushion(0.035, 0.035, 0.018, slot=1, round_=0.8, rows=6, segments=12).moved(z=tall)
        return [lathe(crown, segments=40), Surface(points, np.zeros((8, 15, 2)), 1), button]
    if form == "beanie":
        tall, cuff = tall * 1.35, tall * between(s[1], 0.3, 0.5)
        crown = smooth([(r, cuff * 0.8), (r * 1.02, tall * 0.45), (r * 0.75, tall * 0.8), (0.001, tall)], 18)
        edge = smooth([(r * 0.97, 0), (r * 1.06, 0.02), (r * 1.09, cuff / 2), (r * 1.05, cuff)], 10)
        ball = between(s[4], 0.08, 0.13)
        bobble = cushion(ball, ball, ball, slot=2, round_=1.0, segments=18).moved(z=tall + ball * 0.6)
        ribbed = lathe(edge, slot=1, flutes=int(between(s[2], 20, 36)), depth=0.018, segments=72)
        return [lathe(crown, flutes=30, depth=0.012, segments=60), ribbed, *([bobble] if s[3] > 0.4 else [])]
    wide = r * (between(s[1], 1.5, 2.4) if form == "sun" else between(s[1], 1.4, 1.7))
    droop = between(s[2], -0.05, 0.09) if form == "sun" else between(s[2], 0.1, 0.22)
    brim = smooth([(wide, -droop), ((wide + r) / 2, -droop * 0.4), (r, 0.0)], 10)
    dent = between(s[4], 0.85, 1.0) if form == "sun" else 1.0
    rim = r * between(s[3], 0.6, 0.85)
    crown = smooth(
        [(r, 0), (r * 0.96, tall * 0.55), (rim, tall * 0.97), (r * 0.3, tall * dent), (0.001, tall * dent)], 20
    )
    band = np.array([(r * 1.015, 0.005), (r * 1.015, tall * between(s[5], 0.12, 0.3))])
    parts = [lathe(brim, segments=48, flutes=2, depth=between(s[6], 0.0, 0.06)), lathe(crown, segments=40)]
    return [*parts, *([lathe(band, slot=1, segments=40)] if s[7] > 0.35 or form == "sun" else [])]
