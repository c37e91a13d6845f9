"""What is around the product: the ground it stands on, the wall behind it, its shadows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.catalogue.rendering.light import Lighting
from components.catalogue.rendering.meshes import Camera

Floats = NDArray[np.floating[Any]]

TILE_SIDE = 256
GROUNDS = ("wood", "planks", "marble", "tiles", "cloth", "concrete", "rug", "board")
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


@lru_cache(maxsize=64)
def ground_tile(kind: str, variant: int) -> Floats:
    """Return a texture (TILE_SIDE, TILE_SIDE, 3) float32 about 1, which multiplies the ground's colour."""
    rng = np.random.default_rng([variant, GROUNDS.index(kind), 5])
    side = TILE_SIDE
    tile = np.ones((side, side, 3), np.float32)
    if kind in ("wood", "planks"):
        rings = _noise(rng, (3, 40)) * 5 + _noise(rng, (6, 8)) * 2 + np.linspace(0, 12, side)[None]
        tile *= (0.84 + 0.2 * (0.5 + 0.5 * np.sin(rings * 3)) + 0.06 * _noise(rng, (8, 128)))[..., None]
        if kind == "planks":
            for i in range(4):
                tile[:, i * side // 4 : (i + 1) * side // 4] *= rng.uniform(0.75, 1.2)
                tile[:, i * side // 4 : i * side // 4 + 2] *= 0.45
    elif kind == "marble":
        vein = np.abs(np.sin(_noise(rng, (4, 4)) * 3 + _noise(rng, (16, 16)) * 0.8 + np.linspace(0, 4, side)[None]))
        tile *= (1.05 - 0.4 * np.exp(-vein * 14) + 0.05 * _noise(rng, (8, 8)))[..., None]
    elif kind == "tiles":
        count = int(rng.integers(2, 5))
        shades = cv2.resize(rng.uniform(0.88, 1.1, (count, count)).astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST)
        tile *= shades[..., None]
        for i in range(count):
            tile[i * side // count : i * side // count + 3] = 0.6
            tile[:, i * side // count : i * side // count + 3] = 0.6
    elif kind == "cloth":
        x = np.arange(side)
        weave = np.sin(x * np.pi / 2)[None] * np.sin(x * np.pi / 2)[:, None]
        tile *= (1 + 0.08 * weave + 0.1 * _noise(rng, (5, 5)) + 0.05 * rng.normal(0, 1, (side, side)))[..., None]
    elif kind == "rug":
        stripes = 0.5 + 0.5 * np.sign(np.sin(np.arange(side) * 2 * np.pi * int(rng.integers(2, 6)) / side + rng.uniform(0, 6)))
        colour = rng.uniform(0.35, 1.4, 3)
        tile *= 1 + stripes[None, :, None] * (colour - 1)
        tile *= (1 + 0.1 * rng.normal(0, 1, (side, side)))[..., None]
    elif kind == "board":
        check = (np.add.outer(np.arange(side) * 4 // side, np.arange(side) * 4 // side) % 2).astype(np.float32)
        tile *= (0.55 + 0.55 * check)[..., None]
    else:
        tile *= (1 + 0.08 * _noise(rng, (6, 6)) + 0.06 * _noise(rng, (30, 30)) + 0.03 * rng.normal(0, 1, (side, side)))[..., None]
    return np.clip(tile, 0.1, 1.6).astype(np.float32)


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(rng.normal(0, 1, cells).astype(np.float32), (TILE_SIDE, TILE_SIDE), interpolation=cv2.INTER_CUBIC))


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
    picture = _wall(scene, side, rng) * cv2.merge([above * np.float32(c) for c in lamp * (0.97 if scene.kind == "sweep" else 0.85)])
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
    colour = np.array(scene.wall_colour, np.float32)
    small = 96
    picture = np.broadcast_to(colour, (small, small, 3)).copy()
    if scene.kind == "sweep":
        return np.asarray(cv2.resize(picture, (side, side)))
    kind = rng.integers(0, 4)
    if kind == 1:  # panels or stripes
        count = int(rng.integers(4, 14))
        for i in range(count):
            x = (i * small) // count
            cv2.rectangle(picture, (x, 0), (x + small // count // 2, small), (colour * rng.uniform(0.75, 0.97)).tolist(), -1)
    elif kind == 2:  # a picture or window on the wall
        x, y = (int(v) for v in rng.integers(-20, 70, 2))
        cv2.rectangle(picture, (x, y), (x + int(rng.integers(15, 50)), y + int(rng.integers(15, 50))), rng.uniform(0.05, 0.9, 3).tolist(), -1)
    if scene.kind == "clutter":
        _clutter(picture, rng)
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.2, 3.5)))
    large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large)


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
    mask = cv2.GaussianBlur(mask, (0, 0), softness)
    low = vertices[vertices[:, 2] < 0.07]
    under = low * (1, 1, 0)
    contact = _splat(camera.project(under)[:, :2] * scale, small, max(3, small // 30))
    contact = cv2.GaussianBlur(contact, (0, 0), small * 0.016)
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
