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
        slot: row of the product's materials; 0 is the patterned one.
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

    def mapped(self, u: int, v: int, scale: float) -> Surface:
        """Return it with the texture laid on flat along two coordinate axes, `scale` repetitions per unit."""
        return replace(self, uv=np.stack([self.points[..., u], self.points[..., v]], axis=-1) * scale + 0.5)


def rotation(axis: int, degrees: float) -> Floats:
    """Return the (3, 3) matrix that rotates about a coordinate axis."""
    angle = np.deg2rad(degrees)
    one, other = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
    return matrix


def smooth(points: Sequence[Sequence[float]] | Floats, n: int) -> Floats:
    """Return n evenly spaced points on the Catmull–Rom curve through `points` (k, d); its ends are kept."""
    knots = np.asarray(points, np.float64)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = []
    for i in range(len(knots) - 1):
        a, b, c, d = padded[i : i + 4]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    path = np.concatenate([*pieces, knots[-1:]])
    length = _lengths(path)
    at = np.linspace(0, length[-1], n)
    return np.stack([np.interp(at, length, path[:, axis]) for axis in range(path.shape[1])], axis=1)


def _lengths(path: Floats) -> Floats:
    return np.asarray(np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def lathe(
    profile: Floats, *, slot: int = 0, segments: int = 36, square: float = 2.0, flutes: int = 0, depth: float = 0.0,
    twist: float = 0.0, closed: bool = False,
) -> Surface:  # fmt: skip
    """Turn a profile about the z axis.

    Args:
        profile: (m, 2) radius and height, from the bottom to the top on the outside.
        slot: material.
        segments: facets around.
        square: exponent of the superellipse of the cross-section; 2 is a circle, 8 nearly a square.
        flutes: number of grooves around.
        depth: depth of the grooves as a share of the radius.
        twist: turns of the grooves from bottom to top.
        closed: see `Surface`.
    """
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    along = np.linspace(0, 1, len(profile))[:, None]
    ring = (np.abs(np.cos(angle)) ** square + np.abs(np.sin(angle)) ** square) ** (-1 / square)
    radius = profile[:, :1] * ring[None] * (1 + depth * np.cos(flutes * (angle[None] + 2 * np.pi * twist * along)))
    height = np.broadcast_to(profile[:, 1:], radius.shape)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1)
    v = _lengths(profile)[:, None] / (np.pi * max(float(np.max(profile[:, 0])), 1e-6))
    uv = np.stack(np.broadcast_arrays(angle[None] / np.pi, v), axis=-1)
    return Surface(points, uv, slot, closed)


def tube(
    path: Floats, radius: float | Floats, *, slot: int = 1, flat: float = 1.0, segments: int = 10,
    up: tuple[float, float, float] = (0, 1, 0),
) -> Surface:  # fmt: skip
    """Sweep an ellipse along a path and close the ends.

    Args:
        path: (m, 3).
        radius: one for all points or (m,).
        slot: material.
        flat: width across `up` × path as a share of the width along `up`.
        segments: facets around.
        up: a direction that the path never takes.
    """
    tangent = np.gradient(path, axis=0)
    side = np.cross(tangent, np.asarray(up, np.float64))
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    second = np.cross(side, tangent / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9))
    size = np.r_[1e-3, np.broadcast_to(np.asarray(radius, np.float64), (len(path),)), 1e-3]
    path, side, second = (np.concatenate([v[:1], v, v[-1:]]) for v in (path, side, second))
    angle = np.linspace(0, 2 * np.pi, segments + 1)[None, :, None]
    ring = side[:, None] * flat * np.cos(angle) - second[:, None] * np.sin(angle)
    points = path[:, None] + ring * size[:, None, None]
    uv = np.stack(np.meshgrid(np.linspace(0, 1, len(path)), np.linspace(0, 1, segments + 1), indexing="ij"), axis=-1)
    return Surface(points, uv, slot, True)


def cushion(
    x: float, y: float, z: float, *, slot: int = 0, round_: float = 0.35, rows: int = 10, segments: int = 20
) -> Surface:
    """Return a box of half-sizes x, y, z with rounded edges (a superellipsoid); round_ 1 is an ellipsoid, 0.1 a box."""
    latitude, longitude = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows), np.linspace(0, 2 * np.pi, segments + 1), indexing="ij"
    )

    def power(value: Floats) -> Floats:
        return np.asarray(np.sign(value) * np.abs(value) ** round_)

    ring = power(np.cos(latitude))
    unit = np.stack(
        [ring * power(np.cos(longitude)), ring * power(np.sin(longitude)), power(np.sin(latitude))], axis=-1
    )
    return Surface(unit * np.array([x, y, z]), np.stack([longitude, latitude], axis=-1) / np.pi, slot, True)
