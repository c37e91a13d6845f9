"""Lamps, chairs, sofas. Slot 0 patterned (shade, upholstery), 1 trim, 2 legs and stands, 3 inside."""

from __future__ import annotations

import numpy as np

from components.catalogue.rendering.products.tableware import Shape, between
from components.catalogue.rendering.surfaces import Surface, cushion, disc, lathe, smooth, tube


def _rod(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, *, thin: float = 1.0, slot: int = 2) -> Surface:
    path = np.linspace(start, end, 5)
    return tube(path, np.linspace(radius, radius * thin, 5), slot=slot, segments=8, up=(0.3, 1, 0.1))


def _shade(low: float, high: float, bottom: float, top: float, *, square: float = 2.0, bulge: float = 0.0) -> list[Surface]:
    profile = smooth([(bottom, low), ((bottom + top) / 2 + bulge, (low + high) / 2), (top, high)], 10)
    inner = profile[::-1] - np.array([0.01, 0.0])
    return [lathe(inner, slot=3, square=square), lathe(profile, square=square)]


def lamp(form: str, s: Shape) -> list[Surface]:
    """Build a lamp: "table", "globe", "desk", "tripod" or "mushroom"."""
    bottom, top = between(s[0], 0.28, 0.45), between(s[1], 0.12, 0.27)
    tall = between(s[2], 0.24, 0.42)
    if form == "table":
        foot = between(s[3], 0.5, 0.85)
        a, b = between(s[4], 0.1, 0.25), between(s[5], 0.04, 0.12)
        base = smooth([(0.001, 0), (a * 0.8, 0), (a, foot * between(s[6], 0.2, 0.55)), (b, foot * 0.8), (0.03, foot), (0.02, foot + 0.18)], 26)
        square = between(s[7], 2, 8) if s[7] > 0.7 else 2.0
        return [lathe(base, slot=1, closed=True), *_shade(foot + 0.06, foot + 0.06 + tall, bottom, top, square=square)]
    if form == "globe":
        radius, stem = between(s[0], 0.22, 0.34), between(s[3], 0.15, 0.6)
        base = smooth([(0.001, 0), (radius * 0.75, 0), (radius * 0.7, 0.04), (0.03, 0.08), (0.03, stem)], 16)
        globe = cushion(radius, radius, radius * between(s[4], 0.7, 1.1), round_=1.0, rows=16, segments=32).moved(z=stem + radius * 0.85)
        return [lathe(base, slot=2, closed=True), globe]
    if form == "desk":
        joint, head = (between(s[3], 0.15, 0.4), 0.0, between(s[4], 0.6, 0.8)), (-between(s[5], 0.15, 0.4), 0.0, between(s[6], 0.95, 1.2))
        foot = lathe(np.array([(0.001, 0.0), (0.24, 0.0), (0.24, 0.04), (0.2, 0.06), (0.001, 0.06)]), slot=1, closed=True)
        hood = smooth([(0.05, 0.0), (0.09, -0.04), (between(s[0], 0.17, 0.26), -between(s[2], 0.16, 0.3))], 10)
        cone = [lathe(hood), lathe(hood * (0.95, 1.0), slot=3), cushion(0.07, 0.07, 0.07, slot=1, round_=0.6).moved(z=0.02)]
        turn = between(s[7], 10, 50)
        cone = [part.turned(1, turn).moved(*head) for part in cone]
        return [foot, _rod((0, 0, 0.03), joint, 0.02), _rod(joint, head, 0.02), cushion(0.04, 0.04, 0.04, slot=1, round_=1.0).moved(*joint), *cone]
    if form == "tripod":
        height = between(s[3], 0.8, 1.15)
        legs = [_rod((0.02 * np.cos(a), 0.02 * np.sin(a), height), (0.4 * np.cos(a), 0.4 * np.sin(a), 0), 0.028, thin=0.6) for a in (-1.9, 0.2, 2.3)]
        return [*legs, *_shade(height - 0.05, height + tall, bottom, max(top, bottom * between(s[4], 0.6, 0.98)))]
    cap, stem = between(s[0], 0.36, 0.5), between(s[3], 0.3, 0.6)
    base = smooth([(0.001, 0), (0.2, 0), (between(s[4], 0.1, 0.18), stem * 0.5), (between(s[5], 0.06, 0.12), stem), (0.05, stem + 0.1)], 18)
    dome = smooth([(cap, stem), (cap * 0.97, stem + 0.08), (cap * 0.6, stem + between(s[6], 0.22, 0.36)), (0.001, stem + between(s[6], 0.28, 0.42))], 18)
    return [lathe(base, slot=1, closed=True), lathe(dome * (0.96, 1.0), slot=3), lathe(dome)]


def _legs(width: float, depth: float, height: float, radius: float, splay: float, *, thin: float = 0.6) -> list[Surface]:
    return [
        _rod((x * width, y * depth, height), (x * (width + splay), y * (depth + splay), 0), radius, thin=thin)
        for x in (-1, 1)
        for y in (-1, 1)
    ]


def chair(form: str, s: Shape) -> list[Surface]:
    """Build a chair: "panel", "slats", "shell", "stool" or "armchair"."""
    height = between(s[0], 0.42, 0.5)
    width, depth = between(s[1], 0.22, 0.28), between(s[2], 0.2, 0.26)
    legs = _legs(width * 0.86, depth * 0.86, height, between(s[3], 0.018, 0.034), between(s[4], 0.0, 0.08))
    thick = between(s[5], 0.025, 0.07)
    edge = between(s[6], 0.2, 0.7)
    if form == "stool":
        seat = lathe(np.array([(0.001, -thick), (width, -thick), (width * 1.04, 0), (width, thick), (0.001, thick * 1.1)]), closed=True)
        ring = np.linspace(0, 2 * np.pi, 24)
        step = np.stack([width * 0.95 * np.cos(ring), width * 0.95 * np.sin(ring), np.full(24, height * 0.45)], 1)
        return [*legs, seat.mapped(0, 1, 1.6).moved(z=height + 0.1), tube(step, 0.014, slot=2, up=(0, 0, 1)), *_legs(width * 0.8, width * 0.8, height + 0.1, 0.02, 0.0)]
    seat = cushion(width, depth, thick, round_=edge).mapped(0, 1, 1.8).moved(z=height + thick * 0.5)
    back, lean = between(s[7], 0.4, 0.62), 10 + 8 * s[3]
    if form == "panel":
        panel = cushion(width * 0.95, 0.03 + thick * 0.3, back * 0.38, round_=edge).mapped(0, 2, 1.8).moved(z=back * 0.62)
        posts = [_rod((x * width * 0.75, 0.0, 0.0), (x * width * 0.75, 0.01, back * 0.7), 0.02) for x in (-1, 1)]
        parts = [*posts, panel]
    elif form == "slats":
        count = 3 + int(s[5] * 3.99)
        posts = [_rod((x * width * 0.9, 0.0, 0.0), (x * width * 0.9, 0.0, back), 0.024) for x in (-1, 1)]
        if s[6] > 0.5:
            bars = [cushion(width * 0.88, 0.014, back * 0.26 / count, slot=1).moved(z=back * (0.3 + 0.66 * i / (count - 1))) for i in range(count)]
        else:
            bars = [_rod((x * width * 0.8, 0, 0), (x * width * 0.8, 0, back * 0.95), 0.013, slot=1) for x in np.linspace(-0.75, 0.75, count + 1)]
            bars.append(cushion(width * 0.97, 0.02, 0.035, slot=1).moved(z=back * 0.95))
        parts = [*posts, *bars]
    elif form == "shell":
        across, up = np.meshgrid(np.linspace(-1, 1, 17), np.linspace(0, 1, 12))
        wide = width * (1.05 - 0.25 * up**2 * s[6])
        x, y = np.sin(across * 1.15) * wide, -0.16 * (1 - np.cos(across * 1.15)) * 2.0 * (1 - 0.3 * up)
        parts = [Surface(np.stack([x, y, up * back], -1), np.stack([across * 0.6, up], -1), 0)]
    else:
        panel = cushion(width * 1.02, 0.06, back * 0.5, round_=edge).mapped(0, 2, 1.8).moved(z=back * 0.45)
        arms = [cushion(0.04, depth * 0.95, between(s[6], 0.08, 0.14), slot=0, round_=0.4).mapped(1, 2, 1.8).moved(x * (width + 0.02), -depth, 0.12) for x in (-1, 1)]
        parts = [panel, *arms]
    return [*legs, seat, *(part.turned(0, -lean).moved(0, depth * 0.85, height + thick * 0.6) if form != "armchair" else part.moved(0, depth * 0.9, height) for part in parts)]


def sofa(form: str, s: Shape) -> list[Surface]:
    """Build a sofa: "two", "three", "round" or "chesterfield"."""
    width = {"two": 0.62, "three": 0.85, "round": 0.66, "chesterfield": 0.72}[form] * between(s[0], 0.92, 1.08)
    depth, seat = 0.32, between(s[1], 0.1, 0.16)
    edge = between(s[2], 0.18, 0.5)
    low = between(s[3], 0.06, 0.18)
    back = between(s[4], 0.2, 0.36)
    arm = between(s[5], 0.05, 0.12)
    high = between(s[6], 0.1, 0.2)
    legs = _legs(width * 0.85, depth * 0.7, low + 0.04, 0.025, 0.03 * s[7])
    base = cushion(width, depth, seat * 0.55, round_=0.2).mapped(0, 2, 1.5).moved(z=low + seat * 0.5)
    count = {"two": 2, "three": 3, "round": 1, "chesterfield": 2}[form]
    room = width - arm * 1.6
    seats, pillows = [], []
    for i in range(count):
        x = room * (2 * i + 1 - count) / count
        seats.append(cushion(room / count * 0.98, depth * 0.85, seat * 0.5, round_=edge).mapped(0, 1, 1.5).moved(x, -0.04, low + seat * 1.35))
        pillows.append(cushion(room / count * 0.97, 0.09, back * 0.6, round_=edge).mapped(0, 2, 1.5).turned(0, -12).moved(x, depth * 0.55, low + seat * 1.6 + back * 0.55))
    rest = cushion(width, 0.07, back * 0.75, round_=edge).mapped(0, 2, 1.5).moved(0, depth * 0.9, low + seat + back * 0.5)
    if form == "round":
        angle = np.linspace(-0.15, np.pi + 0.15, 22)
        path = np.stack([width * np.cos(angle), depth * (1.3 * np.sin(angle) - 0.6), np.full(22, low + seat + back * 0.5)], 1)
        rail = tube(path, back * 0.62, slot=0, flat=0.45, segments=12, up=(0, 0, 1))
        return [*legs, base, *seats, *pillows, rail.mapped(0, 2, 1.5)]
    if form == "chesterfield":
        roll = np.stack([np.linspace(-width, width, 9), np.full(9, depth * 0.85), np.full(9, low + seat + high * 1.15)], 1)
        pillows = [tube(roll, 0.1, slot=0, segments=12, up=(0, 0, 1)).mapped(0, 2, 1.5)]
    arms = []
    for x in (-1, 1):
        box = cushion(arm, depth * 1.02, (seat + high) * 0.62, round_=edge * 0.8).mapped(1, 2, 1.5).moved(x * width, 0, low + (seat + high) * 0.6)
        arms.append(box)
        if form == "chesterfield":
            top = np.stack([np.full(7, x * width), np.linspace(-depth * 1.03, depth, 7), np.full(7, low + seat + high * 1.15)], 1)
            arms.append(tube(top, 0.1, slot=0, segments=12, up=(0, 0, 1)).mapped(1, 2, 1.5))
            arms.append(disc(0.085, 0.085, 0, slot=1, segments=16).turned(0, 90).moved(x * width, -depth * 1.04, low + seat + high * 1.15))
    throw = []
    if s[7] > 0.45:
        throw = [cushion(0.13, 0.05, 0.13, slot=1, round_=0.45).turned(1, 20 * s[2]).turned(0, -18).moved((0.4 + 0.2 * s[1]) * width * (1 if s[2] > 0.5 else -1), 0.05, low + seat * 1.7 + 0.12)]
    return [*legs, base, rest, *seats, *pillows, *arms, *throw]
