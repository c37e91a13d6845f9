"""Sofas: base, seats, back, arms, legs, sometimes a pillow. Upholstery is slot 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.rendering.products.parts import Shape, between, four_legs
from components.rendering.surfaces import Surface, cushion, disc, tube

_WIDTHS = {"two": 0.62, "three": 0.85, "round": 0.66, "chesterfield": 0.72}
_SEATS = {"two": 2, "three": 3, "round": 1, "chesterfield": 2}
_DEPTH = 0.32
_REPEATS = 1.5


@dataclass(frozen=True)
class _Sizes:
    width: float
    low: float  # height of the legs
    seat: float
    back: float
    arm: float
    high: float  # of the arms above the seat
    edge: float

    @property
    def top(self) -> float:
        """Height at which arms and back begin."""
        return self.low + self.seat


def sofa(form: str, s: Shape) -> list[Surface]:
    """Build a sofa: "two", "three", "round" or "chesterfield"."""
    sizes = _Sizes(
        width=_WIDTHS[form] * between(s[0], 0.92, 1.08),
        low=between(s[3], 0.06, 0.18),
        seat=between(s[1], 0.1, 0.16),
        back=between(s[4], 0.2, 0.36),
        arm=between(s[5], 0.05, 0.12),
        high=between(s[6], 0.1, 0.2),
        edge=between(s[2], 0.18, 0.5),
    )
    legs = four_legs(sizes.width * 0.85, _DEPTH * 0.7, sizes.low + 0.04, 0.025, 0.03 * s[7])
    base = cushion(sizes.width, _DEPTH, sizes.seat * 0.55, round_=0.2).mapped(0, 2, _REPEATS)
    parts = [*legs, base.moved(z=sizes.low + sizes.seat * 0.5)]
    if form == "round":
        return [*parts, *_seats(sizes, 1), _rail(sizes)]
    rest = cushion(sizes.width, 0.07, sizes.back * 0.75, round_=sizes.edge).mapped(0, 2, _REPEATS)
    parts += [rest.moved(0, _DEPTH * 0.9, sizes.top + sizes.back * 0.5)]
    parts += _seats(sizes, _SEATS[form], pillows=form != "chesterfield") + _arms(sizes, rolled=form == "chesterfield")
    if s[7] > 0.45:
        side = 1 if s[2] > 0.5 else -1
        pillow = cushion(0.13, 0.05, 0.13, slot=1, round_=0.45).turned(1, 20 * s[2]).turned(0, -18)
        parts.append(pillow.moved((0.4 + 0.2 * s[1]) * sizes.width * side, 0.05, sizes.low + sizes.seat * 1.7 + 0.12))
    return parts


def _seats(z: _Sizes, count: int, *, pillows: bool = True) -> list[Surface]:
    room = z.width - z.arm * 1.6
    seat = cushion(room / count * 0.98, _DEPTH * 0.85, z.seat * 0.5, round_=z.edge).mapped(0, 1, _REPEATS)
    pillow = cushion(room / count * 0.97, 0.09, z.back * 0.6, round_=z.edge).mapped(0, 2, _REPEATS).turned(0, -12)
    parts = []
    for x in room * (2 * np.arange(count) + 1 - count) / count:
        parts.append(seat.moved(float(x), -0.04, z.low + z.seat * 1.35))
        if pillows:
            parts.append(pillow.moved(float(x), _DEPTH * 0.55, z.low + z.seat * 1.6 + z.back * 0.55))
    return parts


def _rail(z: _Sizes) -> Surface:
    """Return back and arms in one piece."""
    angle = np.linspace(-0.15, np.pi + 0.15, 22)
    height = np.full(22, z.top + z.back * 0.5)
    path = np.stack([z.width * np.cos(angle), _DEPTH * (1.3 * np.sin(angle) - 0.6), height], 1)
    return tube(path, z.back * 0.62, slot=0, flat=0.45, segments=12, up=(0, 0, 1)).mapped(0, 2, _REPEATS)


def _arms(z: _Sizes, *, rolled: bool) -> list[Surface]:
    half = (z.seat + z.high) * 0.6
    box = cushion(z.arm, _DEPTH * 1.02, half * 1.03, round_=z.edge * 0.8).mapped(1, 2, _REPEATS)
    parts = [box.moved(x * z.width, 0, z.low + half) for x in (-1, 1)]
    if not rolled:
        return parts
    height = z.top + z.high * 1.15
    roll = np.stack([np.linspace(-z.width, z.width, 9), np.full(9, _DEPTH * 0.85), np.full(9, height)], 1)
    parts.append(tube(roll, 0.1, slot=0, segments=12, up=(0, 0, 1)).mapped(0, 2, _REPEATS))
    for x in (-z.width, z.width):
        side = np.stack([np.full(7, x), np.linspace(-_DEPTH * 1.03, _DEPTH, 7), np.full(7, height)], 1)
        parts.append(tube(side, 0.1, slot=0, segments=12, up=(0, 0, 1)).mapped(1, 2, _REPEATS))
        parts.append(disc(0.085, 0.085, 0, slot=1, segments=16).turned(0, 90).moved(x, -_DEPTH * 1.04, height))
    return parts
