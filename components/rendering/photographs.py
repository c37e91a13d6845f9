"""From a product to a photograph of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.rendering.designs import Item
from components.rendering.lenses import Pixels, cover, develop
from components.rendering.light import shade
from components.rendering.meshes import Camera, Mesh, look, mesh_of
from components.rendering.scenery import draw_scene, shadow
from components.rendering.surfaces import rotation
from components.rendering.views import View

Floats = NDArray[np.floating[Any]]

OVERSAMPLING = 1.5  # the product is drawn larger, for smooth edges

_SHADOW_DEPTH = 0.74


def build_mesh(item: Item) -> Mesh:
    """Return the product's mesh."""
    return mesh_of(item.kind.build(item.form, item.shape))


def take_photograph(item: Item, mesh: Mesh, view: View) -> Pixels:
    """Return the photograph, (h, w, 3) uint8 RGB; its longer side is the camera's."""
    rng = np.random.default_rng([view.seed, 13])
    turn = rotation(2, view.yaw)
    vertices = (mesh.vertices @ turn.T).astype(np.float32)
    camera = _aimed(view.camera, vertices)
    picture = draw_scene(view.scene, camera, view.light)
    larger = replace(camera, side=round(camera.side * OVERSAMPLING))
    product, coverage = _draw_product(item, mesh, turn, larger, view)
    lit = (1 - _SHADOW_DEPTH * shadow(vertices, camera, view.light)) * (1 - coverage)
    picture *= cv2.merge([lit, lit, lit])
    picture += product
    if view.cover:
        cover(picture, view.cover, rng)
    return develop(picture, view.lens, view.aspect, rng)


def _draw_product(item: Item, mesh: Mesh, turn: Floats, camera: Camera, view: View) -> tuple[Floats, Floats]:
    """Return the product alone, (side, side, 3) linear RGB times coverage, and its coverage (side, side) 0–1."""
    sight = look(mesh, turn, camera)
    ground = np.array(view.scene.ground_colour)
    layer = np.zeros((camera.side**2, 4), np.float32)
    drawn = np.ones((len(sight.places), 4), np.float32)
    drawn[:, :3] = shade(sight, item.texture, item.materials, view.light, camera.toward, ground).T
    layer[sight.places] = drawn
    square = layer.reshape(camera.side, camera.side, 4)
    planes = cv2.split(cv2.resize(square, (view.camera.side,) * 2, interpolation=cv2.INTER_AREA))
    return np.asarray(cv2.merge(planes[:3])), np.asarray(planes[3])


def _aimed(camera: Camera, vertices: Floats) -> Camera:
    """Return the camera that sees the product in the middle, `zoom` of the picture's side in extent, then shifted."""
    low, high = vertices.min(0), vertices.max(0)
    camera = replace(camera, middle=float((low[2] + high[2]) / 2))
    seen = replace(camera, zoom=1.0, shift=(0.0, 0.0)).project(vertices)[:, :2] / camera.side - 0.5
    first, last = seen.min(0), seen.max(0)
    zoom = camera.zoom / float((last - first).max())
    x, y = (last + first) / 2 * zoom
    return replace(camera, zoom=zoom, shift=(camera.shift[0] - float(x), camera.shift[1] - float(y)))
