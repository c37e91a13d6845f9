"""Hats: crown, brim, band."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between
from components.rendering.surfaces import Surface, cushion, lathe, smooth

_RADIUS = 0.34


def hat(form: str, s: Shape) -> list[Surface]:
    """Build a hat: "cap", "fedora", "beanie", "bucket" or "sun"."""
    tall = between(s[0], 0.3, 0.42)
    if form == "cap":
        return _cap(tall, s)
    if form == "beanie":
        return _beanie(tall * 1.35, s)
    if form == "bucket":
        return _bucket(tall, s)
    return _brimmed(tall, s, wide=_RADIUS * (between(s[1], 1.9, 2.5) if form == "sun" else between(s[1], 1.5, 1.85)))


def _cap(tall: float, s: Shape) -> list[Surface]:
    crown = smooth([(_RADIUS, 0), (_RADIUS, tall * 0.4), (_RADIUS * 0.7, tall * 0.88), (0.001, tall)], 16)
    out, angle = np.meshgrid(np.linspace(0, 1, 8), np.linspace(-1.05, 1.05, 15), indexing="ij")
    radius = _RADIUS * 0.97 + between(s[1], 0.22, 0.34) * np.cos(angle * 0.85) ** 0.6 * out
    droop = 0.02 - between(s[2], 0.02, 0.1) * out**1.5 - 0.05 * angle**2 * out
    brim = Surface(np.stack([radius * np.sin(angle), -radius * np.cos(angle), droop], -1), np.zeros((8, 15, 2)), 1)
    button = cushion(0.035, 0.035, 0.018, slot=1, round_=0.8, rows=6, segments=12).moved(z=tall)
    return [lathe(crown, segments=40), brim, button]


def _beanie(tall: float, s: Shape) -> list[Surface]:
    cuff_top = tall * between(s[1], 0.22, 0.36)
    crown = smooth(
        [(_RADIUS, cuff_top * 0.8), (_RADIUS * 1.02, tall * 0.45), (_RADIUS * 0.75, tall * 0.8), (0.001, tall)], 18
    )
    cuff = smooth(
        [(_RADIUS * 0.97, 0), (_RADIUS * 1.06, 0.02), (_RADIUS * 1.09, cuff_top / 2), (_RADIUS * 1.05, cuff_top)], 10
    )
    ribs = int(between(s[2], 20, 36))
    parts = [
        lathe(crown, flutes=30, depth=0.012, segments=60),
        lathe(cuff, slot=1, flutes=ribs, depth=0.018, segments=72),
    ]
    if s[3] > 0.4:
        ball = between(s[4], 0.08, 0.13)
        parts.append(cushion(ball, ball, ball, slot=2, round_=1.0, rows=10, segments=18).moved(z=tall + ball * 0.6))
    return parts


def _bucket(tall: float, s: Shape) -> list[Surface]:
    shoulder = _RADIUS * between(s[1], 0.82, 0.95)
    crown = smooth([(_RADIUS * 1.04, 0), (shoulder, tall * 0.9), (_RADIUS * 0.75, tall), (0.001, tall)], 16)
    brim = smooth([(_RADIUS * between(s[2], 1.4, 1.7), -between(s[3], 0.1, 0.22)), (_RADIUS * 1.04, 0.0)], 6)
    return [lathe(brim), lathe(crown)]


def _brimmed(tall: float, s: Shape, *, wide: float) -> list[Surface]:
    r, droop = _RADIUS, between(s[2], -0.05, 0.09)
    brim = smooth([(wide, -droop), ((wide + r) / 2, 0.01), (r, 0.0)], 10)
    rim, dent = (r * between(s[3], 0.6, 0.85), tall * 0.97), (r * 0.3, tall * between(s[4], 0.85, 1.0))
    crown = smooth([(r, 0), (r * 0.97, tall * 0.55), rim, dent, (0.001, tall * 0.85)], 20)
    band = np.array([(r * 1.015, 0.005), (r * 1.015, tall * between(s[5], 0.12, 0.3))])
    parts = [
        lathe(brim, segments=48, flutes=2, depth=between(s[6], 0.0, 0.06)),
        lathe(crown, segments=40),
        lathe(band, slot=1, segments=40),
    ]
    if s[7] > 0.5:
        parts.append(cushion(0.03, 0.02, 0.05, slot=2, round_=0.5).moved(r * 0.75, -r * 0.75, tall * 0.12))
    return [part.scaled(0.9, 1.05, 1) for part in parts]
