"""What is around the product: the ground it stands on, the wall behind it, its shadows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.rendering.grounds import TILE_SIDE, ground_tile
from components.rendering.light import Lighting
from components.rendering.meshes import Camera

Floats = NDArray[np.floating[Any]]

_WALL_SIDE = 96
_HALF = 2.6  # half-width of the ground, in sizes of the product


@dataclass(frozen=True)
class Scene:
    """Where a photograph is taken.

    Attributes:
        kind: "sweep" (a studio's seamless paper), "table" (ground and wall) or "clutter" (other things behind).
        ground: one of GROUNDS, for kinds other than "sweep".
        ground_colour: (3,) linear RGB.
        wall_colour: (3,) linear RGB.
        wall: distance of the wall behind the product.
        turn: of the ground's texture, degrees.
        grain: repetitions of the ground's texture in one size of the product.
        seed: of everything accidental.
    """

    kind: str
    ground: str
    ground_colour: tuple[float, float, float]
    wall_colour: tuple[float, float, float]
    wall: float
    turn: float
    grain: float
    seed: int


def draw_scene(scene: Scene, camera: Camera, light: Lighting) -> Floats:
    """Return the empty scene as the camera sees it, (side, side, 3) float32 linear RGB, lit."""
    side = camera.side
    rng = np.random.default_rng([scene.seed, 9])
    lamp = light.colour * light.strength * np.sin(np.deg2rad(max(light.elevation, 8))) + light.ambient
    edge = camera.project(np.array([[-_HALF, scene.wall, 0.0], [_HALF, scene.wall, 0.0]]))
    slope = (edge[1, 1] - edge[0, 1]) / (edge[1, 0] - edge[0, 0] + 1e-6)
    line = edge[0, 1] + slope * (np.arange(side) - edge[0, 0])
    soft = side * (0.16 if scene.kind == "sweep" else 0.006)
    share = np.clip((np.arange(side)[:, None] - line[None]) / soft + 0.5, 0, 1).astype(np.float32)
    share *= share * (3 - 2 * share)
    x = np.linspace(-1, 1, side, dtype=np.float32)
    falloff = 1 - np.float32(0.16 * np.sign(-light.azimuth)) * x[None] - np.float32(0.08) * x[:, None] ** 2
    below, above = share * falloff, (1 - share) * falloff
    picture = _wall(scene, side, rng) * cv2.merge(
        [above * np.float32(c) for c in lamp * (0.97 if scene.kind == "sweep" else 0.85)]
    )
    colour = lamp * np.array(scene.ground_colour)
    picture += _ground(scene, camera) * cv2.merge([below * np.float32(c) for c in colour])
    return np.asarray(picture)


def _ground(scene: Scene, camera: Camera) -> Floats:
    """Return the ground's texture in perspective, (side, side, 3) about 1, over the whole picture."""
    side = camera.side
    if scene.kind == "sweep":
        return np.ones((side, side, 3), np.float32)
    tile = ground_tile(scene.ground, scene.seed % 5)
    far = scene.wall + 0.05
    corners = np.array([(-_HALF, far, 0), (_HALF, far, 0), (_HALF, -1.1, 0), (-_HALF, -1.1, 0)])
    seen = camera.project(corners)[:, :2].astype(np.float32)
    a = np.deg2rad(scene.turn)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    source = (corners[:, :2] @ turn.T * scene.grain * TILE_SIDE).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, seen)
    inverse = np.linalg.inv(matrix)
    warped = cv2.warpPerspective(
        tile, inverse, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(warped)


def _wall(scene: Scene, side: int, rng: np.random.Generator) -> Floats:
    """Return what is behind the ground, (side, side, 3): paper, panels, a picture, or other things out of focus."""
    picture = np.full((_WALL_SIDE, _WALL_SIDE, 3), scene.wall_colour, np.float32)
    style = int(rng.integers(0, 4)) if scene.kind != "sweep" else 0
    if style == 1:
        count = int(rng.integers(4, 14))
        panel = _WALL_SIDE // count
        for left in range(0, _WALL_SIDE, panel):
            picture[:, left : left + panel // 2] *= np.float32(rng.uniform(0.75, 0.97))
    elif style == 2:
        x, y = (int(v) for v in rng.integers(-20, 70, 2))
        width, height = (int(v) for v in rng.integers(15, 50, 2))
        cv2.rectangle(picture, (x, y), (x + width, y + height), rng.uniform(0.05, 0.9, 3).tolist(), -1)
    if scene.kind == "clutter":
        _clutter(picture, rng)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.2, 3.5))), np.float32)
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR))


def _clutter(picture: Floats, rng: np.random.Generator) -> None:
    """Draw other things, boxes, balls, books and lights, which the caller blurs."""
    side = picture.shape[0]
    for _ in range(int(rng.integers(5, 14))):
        colour = (rng.uniform(0.03, 0.85, 3) ** 1.6).tolist()
        x, y = (int(v) for v in rng.integers(-5, side, 2))
        w, h = (int(v) for v in rng.integers(6, 34, 2))
        if rng.random() < 0.6:
            cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
            cv2.rectangle(picture, (x, y), (x + w // 3, y + h), [c * 0.7 for c in colour], -1)
        else:
            cv2.ellipse(picture, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1)
    for _ in range(int(rng.integers(0, 6))):
        centre = (int(rng.integers(0, side)), int(rng.integers(0, side)))
        cv2.circle(picture, centre, int(rng.integers(2, 6)), (rng.uniform(0.7, 1.6, 3)).tolist(), -1)


def shadow(vertices: Floats, camera: Camera, light: Lighting) -> Floats:
    """Return how much of the lamp's light is kept from the ground, (side, side) float32 0–1: cast and contact shadow.

    Args:
        vertices: (v, 3) of the product in the world.
        camera: that looks.
        light: that the product stands in.
    """
    side = camera.side
    small = side // 2
    scale = small / side
    toward = light.toward
    reach = np.minimum(vertices[:, 2:] / max(toward[2], 0.25), 1.6)
    cast = vertices - reach * toward[None]
    cast[:, 2] = 0
    mask = _splat(camera.project(cast)[:, :2] * scale, small, max(3, small // 26))
    softness = small * (0.012 + 0.05 * light.softness)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), softness), np.float32)
    low = vertices[vertices[:, 2] < 0.07]
    under = low * (1, 1, 0)
    contact = _splat(camera.project(under)[:, :2] * scale, small, max(3, small // 30))
    contact = np.asarray(cv2.GaussianBlur(contact, (0, 0), small * 0.016), np.float32)
    wide = cv2.GaussianBlur(contact, (0, 0), small * 0.05)
    total = 1 - (1 - mask * (0.75 - 0.4 * light.softness)) * (1 - 0.5 * contact) * (1 - 0.3 * wide)
    return np.asarray(cv2.resize(total, (side, side), interpolation=cv2.INTER_LINEAR))


def _splat(points: Floats, side: int, size: int) -> NDArray[np.float32]:
    """Return (side, side) float32: 1 where points lie close together."""
    mask = np.zeros((side, side), np.float32)
    at = np.round(points).astype(np.int64)
    inside = ((at >= 0) & (at < side)).all(axis=1)
    mask[at[inside, 1], at[inside, 0]] = 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel, borderValue=0), np.float32)
