"""Curved surfaces as grids of points, of which products are put together. z is up, the front looks along −y."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Surface:
    """A curved sheet.

    Attributes:
        points: (m, n, 3).
        uv: (m, n, 2) texture coordinates; one unit is one repetition of the texture.
        slot: which material of the product covers it; 0 is the patterned one.
        closed: whether its back can never be seen, so that faces turned away need not be drawn.
    """

    points: Floats
    uv: Floats
    slot: int = 0
    closed: bool = False

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Surface:
        """Return it shifted."""
        return replace(self, points=self.points + np.array([x, y, z]))

    def turned(self, axis: int, degrees: float) -> Surface:
        """Return it rotated about a coordinate axis (0 x, 1 y, 2 z)."""
        return replace(self, points=self.points @ rotation(axis, degrees).T)

    def scaled(self, x: float, y: float, z: float) -> Surface:
        """Return it stretched along the axes."""
        return replace(self, points=self.points * np.array([x, y, z]))

    def mapped(self, u: int, v: int, scale: float, *, flip: bool = False) -> Surface:
        """Return it with the texture laid on flat: coordinate axes `u` and `v`, `scale` repetitions a unit."""
        sign = -1.0 if flip else 1.0
        uv = np.stack([self.points[..., u] * scale * sign, self.points[..., v] * scale], axis=-1)
        return replace(self, uv=uv + 0.5)

    def painted(self, slot: int) -> Surface:
        """Return it in another material."""
        return replace(self, slot=slot)


def rotation(axis: int, degrees: float) -> Floats:
    """Return the (3, 3) matrix that rotates about a coordinate axis."""
    angle = np.deg2rad(degrees)
    one, other = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
    return matrix


def smooth(points: Sequence[Sequence[float]] | Floats, n: int) -> Floats:
    """Return n points, evenly spaced, on the Catmull–Rom curve through `points` (k, d)."""
    knots = np.asarray(points, np.float64)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = []
    for i in range(len(knots) - 1):
        a, b, c, d = padded[i : i + 4]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return evenly(np.concatenate([*pieces, knots[-1:]]), n)


def evenly(points: Sequence[Sequence[float]] | Floats, n: int) -> Floats:
    """Return n points at equal distances along the polyline through `points` (k, d); its ends are kept."""
    path = np.asarray(points, np.float64)
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    at = np.linspace(0, length[-1], n)
    return np.stack([np.interp(at, length, path[:, axis]) for axis in range(path.shape[1])], axis=1)


def lathe(
    profile: Floats,
    *,
    slot: int = 0,
    segments: int = 36,
    square: float = 2.0,
    flutes: int = 0,
    depth: float = 0.0,
    twist: float = 0.0,
    repeats: float = 2.0,
    closed: bool = False,
) -> Surface:
    """Turn a profile about the z axis.

    Args:
        profile: (m, 2) radius and height, from the bottom to the top on the outside.
        slot: material.
        segments: facets around.
        square: exponent of the superellipse of the cross-section; 2 is a circle, 8 nearly a square.
        flutes: number of grooves around.
        depth: their depth as a share of the radius.
        twist: turns of the grooves from bottom to top.
        repeats: repetitions of the texture around.
        closed: see `Surface`.
    """
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    radius, height = profile[:, :1], profile[:, 1:]
    along = np.linspace(0, 1, len(profile))[:, None]
    ring = (np.abs(np.cos(angle)) ** square + np.abs(np.sin(angle)) ** square) ** (-1 / square)
    ring = ring[None] * (1 + depth * np.cos(flutes * (angle[None] + 2 * np.pi * twist * along)))
    x, y = radius * ring * np.cos(angle), radius * ring * np.sin(angle)
    points = np.stack([x, y, np.broadcast_to(height, x.shape)], axis=-1)
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))][:, None]
    mean = max(float(np.max(profile[:, 0])), 1e-6)
    u = np.broadcast_to(angle[None] / (2 * np.pi) * repeats, x.shape)
    v = np.broadcast_to(length / (2 * np.pi * mean) * repeats, x.shape)
    return Surface(points, np.stack([u, v], axis=-1), slot, closed)


def tube(
    path: Floats,
    radius: float | Floats,
    *,
    slot: int = 1,
    flat: float = 1.0,
    segments: int = 10,
    up: tuple[float, float, float] = (0, 1, 0),
) -> Surface:
    """Sweep an ellipse along a path and close the ends.

    Args:
        path: (m, 3).
        radius: of the tube, one for all or (m,).
        slot: material.
        flat: width across `up` × path as a share of the width along `up`.
        segments: facets around.
        up: a direction that the path never takes.
    """
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    side = np.cross(tangent, np.asarray(up, np.float64))
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    second = np.cross(side, tangent)
    size = np.broadcast_to(np.asarray(radius, np.float64), (len(path),)).copy()
    path = np.concatenate([path[:1], path, path[-1:]])
    size = np.r_[1e-3, size, 1e-3]
    side, second = (np.concatenate([v[:1], v, v[-1:]]) for v in (side, second))
    angle = np.linspace(0, 2 * np.pi, segments + 1)[None, :, None]
    ring = side[:, None] * flat * np.cos(angle) - second[:, None] * np.sin(angle)
    points = path[:, None] + ring * size[:, None, None]
    u = np.broadcast_to(np.linspace(0, 1, len(path))[:, None], points.shape[:2])
    v = np.broadcast_to(np.linspace(0, 1, segments + 1)[None], points.shape[:2])
    return Surface(points, np.stack([u, v], axis=-1), slot, True)


def cushion(
    x: float, y: float, z: float, *, slot: int = 0, round_: float = 0.35, rows: int = 10, segments: int = 20
) -> Surface:
    """Return a box of half-sizes x, y, z with rounded edges (a superellipsoid); round_ 1 is an ellipsoid, 0.1 a box."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    longitude = np.linspace(0, 2 * np.pi, segments + 1)[None]

    def power(value: Floats) -> Floats:
        return np.asarray(np.sign(value) * np.abs(value) ** round_)

    ring = power(np.cos(latitude))
    points = np.stack(
        [
            x * ring * power(np.cos(longitude)),
            y * ring * power(np.sin(longitude)),
            np.broadcast_to(z * power(np.sin(latitude)), (rows, segments + 1)),
        ],
        axis=-1,
    )
    uv = np.stack(np.broadcast_arrays(longitude / np.pi, latitude / np.pi), axis=-1)
    return Surface(points, uv, slot, True)


def sheet(points: Floats, *, slot: int = 0, scale: float = 1.0) -> Surface:
    """Return a sheet through a grid of points (m, n, 3), with the texture laid on along x and z."""
    return Surface(points, np.zeros((*points.shape[:2], 2)), slot).mapped(0, 2, scale)


def disc(x: float, y: float, z: float, *, slot: int = 0, square: float = 2.0, segments: int = 28) -> Surface:
    """Return a flat disc of half-sizes x and y at height z that looks up; the texture is laid on once."""
    radius = np.linspace(1e-3, 1, 5)
    flat = lathe(np.stack([radius, np.zeros(5)], axis=1)[::-1], slot=slot, segments=segments, square=square)
    return flat.scaled(x, y, 1).moved(z=z).mapped(0, 1, 0.5 / max(x, y))
