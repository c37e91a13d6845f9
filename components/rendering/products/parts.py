"""Parts that several categories share: numbers between bounds, open vessels, handles, rods, legs."""

from __future__ import annotations

import numpy as np

from components.rendering.surfaces import Floats, Surface, lathe, smooth, tube

Shape = tuple[float, ...]  # eight numbers 0–1, which fix everything about a product's shape but its form


def between(share: float, low: float, high: float) -> float:
    """Return the value at `share` of the way from `low` to `high`."""
    return low + share * (high - low)


def vessel(
    outside: Floats,
    *,
    thick: float = 0.03,
    square: float = 2.0,
    flutes: int = 0,
    depth: float = 0.0,
    twist: float = 0.0,
    segments: int = 36,
) -> list[Surface]:
    """Return the inner wall (slot 3), the outer wall (slot 0) and the rim (slot 1) of an open vessel.

    Args:
        outside: (m, 2) profile of the outer wall, radius and height, from the foot to the rim.
        thick: thickness of the wall.
        square: see `lathe`, as are `flutes`, `depth`, `twist` and `segments`.
        flutes: grooves around.
        depth: of the grooves.
        twist: of the grooves.
        segments: facets around.
    """

    def turned(profile: Floats, slot: int) -> Surface:
        return lathe(profile, slot=slot, square=square, flutes=flutes, depth=depth, twist=twist, segments=segments)

    floor = outside[0, 1] + thick
    inner = outside[::-1] - np.array([thick, 0.0])
    inner = np.concatenate([inner[inner[:, 1] > floor], [[0.001, floor]]])
    inner[:, 0] = np.maximum(inner[:, 0], 0.001)
    wall = np.concatenate([[[0.001, outside[0, 1]]], outside])
    radius, top = outside[-1]
    angle = np.linspace(0, np.pi, 5)
    rim = np.stack([radius - thick / 2 + thick / 2 * np.cos(angle), top + thick * 0.45 * np.sin(angle)], axis=1)
    return [turned(inner, 3), turned(wall, 0), turned(rim, 1)]


def handle(
    radius: float, low: float, high: float, reach: float, thick: float, kind: int, *, flat: float = 1.0
) -> Surface:
    """Return a handle (slot 1) on the right of a wall at `radius`: kind 0 round, 1 square, 2 ear, 3 small ring."""
    middle, half, inside, far = (low + high) / 2, (high - low) / 2, radius * 0.94, radius + reach
    near = far - reach / 9
    points = {
        0: [(inside, low), (far - reach / 4, low + half / 10), (far, middle), (far - reach / 4, high - half / 10)],
        1: [(inside, low), (near, low), (far, low + half / 7), (far, high - half / 7), (near, high)],
        2: [(inside, low), (radius + reach * 0.35, low + half / 4), (near, middle + half / 3), (far - reach / 5, high)],
        3: [(inside, middle - half / 5), (radius + reach * 0.6, middle - half / 10), (far - reach / 5, middle + half / 3)],
    }[kind]  # fmt: skip
    end = (inside, high - (0.05 if kind == 2 else half * 0.3 if kind == 3 else 0.0))
    path = smooth([*points, end], 18)
    return tube(np.stack([path[:, 0], np.zeros(18), path[:, 1]], axis=1), thick, flat=flat, segments=8)


Point = tuple[float, float, float]


def rod(start: Point, end: Point, radius: float, *, thin: float = 1.0, slot: int = 2) -> Surface:
    """Return a straight rod; at its end the radius is `thin` times that at its start."""
    path = np.linspace(start, end, 5)
    return tube(path, np.linspace(radius, radius * thin, 5), slot=slot, segments=8, up=(0.3, 1, 0.1))


def four_legs(width: float, depth: float, height: float, radius: float, splay: float) -> list[Surface]:
    """Return four tapered legs at the corners ±width, ±depth, `splay` further out at the ground."""
    return [
        rod((x * width, y * depth, height), (x * (width + splay), y * (depth + splay), 0), radius, thin=0.6)
        for x in (-1, 1)
        for y in (-1, 1)
    ]
