"""From a product to a photograph of it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.rendering.designs import Item
from components.rendering.light import shade
from components.rendering.meshes import Camera, Mesh, mesh_of, project_mesh
from components.rendering.scenery import draw_scene, shadow
from components.rendering.surfaces import rotation
from components.rendering.views import View

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]

_OVERSAMPLING = 1.5  # the product is drawn larger, for smooth edges
_SHADOW_DEPTH = 0.74
_TONES = 4096  # levels of linear light from 0 to 2
_GRAIN_MARGIN = 64


def build_mesh(item: Item) -> Mesh:
    """Return the product's mesh."""
    return mesh_of(item.kind.build(item.form, item.shape))


def take_photograph(item: Item, mesh: Mesh, view: View) -> Pixels:
    """Return the photograph, (h, w, 3) uint8 RGB; its longer side is the camera's."""
    turn = rotation(2, view.yaw)
    vertices = (mesh.vertices @ turn.T).astype(np.float32)
    camera = _aimed(view.camera, vertices)
    product = _draw_product(item, mesh, turn, camera, view)
    lit = (1 - _SHADOW_DEPTH * shadow(vertices, camera, view.light)) * (1 - product[..., 3])
    return _developed(draw_scene(view.scene, camera, view.light) * lit[..., None] + product[..., :3], view)


def _draw_product(item: Item, mesh: Mesh, turn: Floats, camera: Camera, view: View) -> Floats:
    """Return the product alone, (side, side, 4) float32: linear RGB times coverage, and coverage 0–1."""
    side, larger = camera.side, replace(camera, side=round(camera.side * _OVERSAMPLING))
    sight = project_mesh(mesh, turn, larger)
    colours = np.array([item.colours[0], *item.colours[3:]])
    layer = np.zeros((larger.side**2, 4), np.float32)
    layer[sight.places, 3] = 1
    finishes = item.kind.finishes[item.finish]
    layer[sight.places, :3] = shade(sight, item.texture, colours, finishes, view.light, camera.toward).T
    square = layer.reshape(larger.side, larger.side, 4)
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))


def _aimed(camera: Camera, vertices: Floats) -> Camera:
    """Return the camera that sees the product in the middle, `zoom` of the picture's side in extent, then shifted."""
    low, high = vertices.min(0), vertices.max(0)
    camera = replace(camera, middle=float((low[2] + high[2]) / 2))
    seen = replace(camera, zoom=1.0, shift=(0.0, 0.0)).project(vertices)[:, :2] / camera.side - 0.5
    first, last = seen.min(0), seen.max(0)
    zoom = camera.zoom / float((last - first).max())
    x, y = (last + first) / 2 * zoom
    return replace(camera, zoom=zoom, shift=(camera.shift[0] - float(x), camera.shift[1] - float(y)))


def _developed(picture: Floats, view: View) -> Pixels:
    """Turn linear light (side, side, 3) into pixels: crop, blur, exposure, tone, noise."""
    side, rng = picture.shape[0], np.random.default_rng([view.seed, 13])
    width, height = (side, round(side / view.aspect)) if view.aspect >= 1 else (round(side * view.aspect), side)
    top, left = (side - height) // 2, (side - width) // 2
    light = np.ascontiguousarray(picture[top : top + height, left : left + width], np.float32)
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), view.blur), np.float32)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    corners = 1 - np.float32(view.vignette / 2) * (x[None] ** 2 + y[:, None] ** 2)
    light *= corners[..., None] * np.array(view.exposure, np.float32) * np.float32(_TONES / 2)
    tone = _tone_curve(view.contrast).take(np.minimum(light, _TONES - 1).astype(np.int16))
    dy, dx = rng.integers(0, _GRAIN_MARGIN, 2)
    tone += _grain(side)[dy : dy + height, dx : dx + width] * np.float32(view.noise)
    return np.asarray(np.clip(tone, 0, 255).astype(np.uint8))


def _tone_curve(contrast: float) -> Floats:
    """Return the pixel value for each of _TONES levels of linear light from 0 to 2: roll-off, gamma, contrast."""
    light = np.linspace(0, 2, _TONES)
    light = light / (1 + np.maximum(light - 0.75, 0) * 0.9)
    tone = np.clip(light, 0, 1) ** (1 / 2.2)
    return np.asarray((0.5 + (tone - 0.5) * contrast) * 255, np.float32)


@lru_cache(maxsize=4)
def _grain(side: int) -> Floats:
    """Return noise of unit variance, partly common to the channels, from which every photograph cuts its own."""
    noise = np.random.default_rng(41).standard_normal((side + _GRAIN_MARGIN, side + _GRAIN_MARGIN, 3), np.float32)
    return np.asarray(noise + noise.mean(-1, keepdims=True))
