"""Meshes of products, a camera, and the surface that it sees at each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.rendering.surfaces import Surface, rotation

Floats = NDArray[np.floating[Any]]

_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Mesh:
    """Quadrilaterals with normals, all surfaces of a product together; it rests on z = 0 and is about 1 in size."""

    vertices: Floats  # (v, 3)
    normals: Floats  # (v, 3) unit, outwards on closed surfaces
    uv: Floats  # (v, 2)
    faces: NDArray[np.int32]  # (f, 4) rows of vertices
    slots: NDArray[np.uint8]  # (f,) material
    closed: NDArray[np.bool_]  # (f,) need not be drawn when it is turned away


def mesh_of(surfaces: Sequence[Surface]) -> Mesh:
    """Join surfaces, centre them, let them stand on z = 0 and scale their diagonal to √2."""
    vertices, normals, uv, faces, slots, closed = [], [], [], [], [], []
    first = 0
    for surface in surfaces:
        m, n = surface.points.shape[:2]
        grid = first + np.arange(m * n).reshape(m, n)
        quads = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=-1).reshape(-1, 4)
        vertices.append(surface.points.reshape(-1, 3))
        normals.append(_normals(surface.points).reshape(-1, 3))
        uv.append(surface.uv.reshape(-1, 2))
        faces.append(quads)
        slots.append(np.full(len(quads), surface.slot, np.uint8))
        closed.append(np.full(len(quads), surface.closed))
        first += m * n
    points = np.concatenate(vertices)
    low, high = points.min(0), points.max(0)
    centre = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    scale = np.sqrt(2) / np.linalg.norm(high - low)
    placed = ((points - centre) * scale).astype(np.float32)
    normal, texture = (np.concatenate(values).astype(np.float32) for values in (normals, uv))
    return Mesh(
        placed, normal, texture, np.concatenate(faces).astype(np.int32), np.concatenate(slots), np.concatenate(closed)
    )


def _normals(points: Floats) -> Floats:
    """Return unit normals (m, n, 3) of a grid; seams that meet are smoothed over."""
    across = np.gradient(points, axis=1)
    if np.allclose(points[:, 0], points[:, -1], atol=1e-6):
        seam = (points[:, 1] - points[:, -2]) / 2
        across[:, 0] = across[:, -1] = seam
    normal = np.cross(across, np.gradient(points, axis=0))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    flat = length[..., 0] < 1e-10
    normal = np.where(flat[..., None], np.array([0.0, 0.0, 1.0]), normal / np.maximum(length, 1e-12))
    return np.asarray(normal)


@dataclass(frozen=True)
class Camera:
    """A camera that looks at the product's middle."""

    elevation: float  # degrees above the horizon
    roll: float  # degrees about the line of sight
    distance: float  # from the product's middle, in its sizes; near means strong perspective
    zoom: float  # share of the picture's side that a length of 1 at the middle fills
    shift: tuple[float, float]  # of the middle from the picture's centre, right and down, as shares of the side
    middle: float  # height of the point looked at
    side: int  # of the picture, pixels

    @property
    def axes(self) -> Floats:
        """Rows: right, down, away, in the world."""
        forward = rotation(0, -self.elevation) @ np.array([0.0, 1.0, 0.0])
        up = rotation(0, -self.elevation) @ np.array([0.0, 0.0, 1.0])
        return np.asarray(rotation(2, self.roll) @ np.stack([np.array([1.0, 0.0, 0.0]), -up, forward]))

    @property
    def toward(self) -> Floats:
        """Unit vector from the product to the camera."""
        return np.asarray(-self.axes[2])

    def project(self, points: Floats) -> Floats:
        """Return (n, 3): pixel x and y, and the depth, of (n, 3) points of the world."""
        seen = (points - np.array([0, 0, self.middle])) @ self.axes.T
        depth = np.maximum(seen[:, 2] + self.distance, 0.05)
        scale = self.zoom * self.side * self.distance / depth
        x = self.side * (0.5 + self.shift[0]) + seen[:, 0] * scale
        y = self.side * (0.5 + self.shift[1]) + seen[:, 1] * scale
        return np.stack([x, y, depth], axis=1)


@dataclass(frozen=True)
class Sight:
    """The product's pixels in the picture, coordinates first (numpy is fastest along long rows)."""

    places: NDArray[np.int64]  # (p,) row × side + column
    normals: Floats  # (3, p) unit, towards the camera
    uv: Floats  # (2, p)
    heights: Floats  # (p,) above the ground
    slots: NDArray[np.uint8]  # (p,) material


def project_mesh(mesh: Mesh, turn: Floats, camera: Camera) -> Sight:
    """Draw the product, turned by the matrix `turn` (3, 3), back to front, and interpolate its attributes at each pixel."""
    vertices = mesh.vertices @ turn.T.astype(np.float32)
    seen = camera.project(vertices).astype(np.float32)
    faces = _draw_faces(mesh, seen, camera.side).ravel()
    places = np.flatnonzero(faces >= 0)
    face = faces[places]
    rows, columns = np.divmod(places, camera.side)
    corners = np.ascontiguousarray(seen[:, :2][mesh.faces].transpose(1, 2, 0))  # (4, 2, f)
    beyond, second, third = _weights(corners, face, columns.astype(np.float32), rows.astype(np.float32))
    attributes = np.concatenate([turn @ mesh.normals.T, mesh.uv.T, vertices[:, 2:].T]).astype(np.float32)
    tied = np.ascontiguousarray(mesh.faces.T)
    values = attributes.take(tied[0].take(face), axis=1) * (1 - second - third)
    values += attributes.take(tied[2].take(face), axis=1) * second
    values += attributes.take(np.where(beyond, tied[3].take(face), tied[1].take(face)), axis=1) * third
    normals = values[:3]
    toward = camera.toward.astype(np.float32)
    normals *= np.sign(toward @ normals + 1e-9) / (np.sqrt(np.einsum("ip,ip->p", normals, normals)) + 1e-6)
    return Sight(places, normals, values[3:5], values[5], mesh.slots.take(face))


def _draw_faces(mesh: Mesh, seen: Floats, side: int) -> NDArray[np.int32]:
    """Return (side, side): the face seen at each pixel, −1 where there is none; `seen` are projected vertices (v, 3)."""
    corners = seen[mesh.faces]  # (f, 4, 3)
    first, second = corners[:, 2, :2] - corners[:, 0, :2], corners[:, 3, :2] - corners[:, 1, :2]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    drawn = np.flatnonzero((~mesh.closed | (area < 0)) & (np.abs(area) > 1e-3))
    order = drawn[np.argsort(-corners[drawn, :, 2].mean(1), kind="stable")]
    polygons = np.round(corners[order, :, :2] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    canvas = np.full((side, side), -1, np.int32)
    fill = cv2.fillConvexPoly
    for face, polygon in zip(order.tolist(), polygons, strict=True):
        fill(canvas, polygon, face, 8, _SUBPIXEL_BITS)
    return canvas


def _weights(
    corners: Floats, face: NDArray[np.int32], x: Floats, y: Floats
) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Split each face (`corners` (4, 2, f), pixels) along its diagonal 0–2 and return barycentric weights at p pixels.

    Returns:
        (p,) whether the pixel is in the triangle 0 2 3 rather than 0 2 1, and the weights of corners 2, and 3 or 1.
    """
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = ((c[0].take(face), c[1].take(face)) for c in corners)
    cx -= ax
    cy -= ay
    px, py = x - ax, y - ay
    across = cx * py - cy * px
    beyond = across * (cx * (by - ay) - cy * (bx - ax)) < 0
    tx, ty = np.where(beyond, dx, bx) - ax, np.where(beyond, dy, by) - ay
    area = cx * ty - cy * tx
    area[np.abs(area) < 1e-6] = 1e-6
    second = np.clip((px * ty - py * tx) / area, 0, 1)
    third = np.clip(across / area, 0, 1)
    excess = np.maximum(second + third, 1)
    return beyond, second / excess, third / excess
