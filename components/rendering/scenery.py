"""The surroundings of a product: the ground, the wall behind it, its shadows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.rendering.light import Lighting
from components.rendering.meshes import Camera

Floats = NDArray[np.floating[Any]]

_TILE_SIDE, _WALL_SIDE = 256, 96
_HALF = 2.6  # half-width of the ground, in sizes of the product
_SIDE = np.arange(_TILE_SIDE)


@dataclass(frozen=True)
class Scene:
    """The place of a photograph."""

    kind: str  # "sweep" (a studio's seamless paper), "table" (ground and wall) or "clutter" (other things behind)
    ground: str  # one of GROUNDS, for kinds other than "sweep"
    ground_colour: tuple[float, ...]  # (3,) linear RGB
    wall_colour: tuple[float, ...]  # (3,) linear RGB
    wall: float  # distance of the wall behind the product
    turn: float  # of the ground's texture, degrees
    grain: float  # repetitions of the ground's texture in one size of the product
    seed: int  # of everything accidental


def _noise(rng: np.random.Generator, down: int, across: int) -> Floats:
    values = rng.normal(0, 1, (down, across)).astype(np.float32)
    return np.asarray(cv2.resize(values, (_TILE_SIDE, _TILE_SIDE), interpolation=cv2.INTER_CUBIC))


def _wood(rng: np.random.Generator) -> Floats:
    rings = _noise(rng, 3, 40) * 5 + _noise(rng, 6, 8) * 2 + np.linspace(0, 12, _TILE_SIDE)
    tile = 0.94 + 0.1 * np.sin(rings * 3) + 0.06 * _noise(rng, 8, 128)
    return np.asarray(tile * np.where(_SIDE % 64 < 2, 0.45, rng.uniform(0.75, 1.2, 4)[_SIDE // 64]))


def _tiles(rng: np.random.Generator) -> Floats:
    count = int(rng.integers(2, 5))
    cell, joint = _SIDE * count // _TILE_SIDE, _SIDE % (_TILE_SIDE // count) < 3
    tile = rng.uniform(0.88, 1.1, (count, count))[cell[:, None], cell]
    tile[joint] = tile[:, joint] = 0.6
    return np.asarray(tile)


def _marble(rng: np.random.Generator) -> Floats:
    vein = np.abs(np.sin(_noise(rng, 4, 4) * 3 + _noise(rng, 16, 16) * 0.8 + np.linspace(0, 4, _TILE_SIDE)))
    return np.asarray(1.05 - 0.4 * np.exp(-vein * 14) + 0.05 * _noise(rng, 8, 8))


def _cloth(rng: np.random.Generator) -> Floats:
    return np.asarray(1 + 0.1 * _noise(rng, 5, 5) + 0.08 * _noise(rng, 256, 256))


def _rug(rng: np.random.Generator) -> Floats:
    stripes = np.sin(_SIDE * 2 * np.pi * int(rng.integers(2, 6)) / _TILE_SIDE) > 0
    colour = np.where(stripes[:, None], rng.uniform(0.35, 1.4, 3), 1.0)
    return np.asarray((1 + 0.1 * _noise(rng, 256, 256))[..., None] * colour)


def _board(rng: np.random.Generator) -> Floats:
    return np.asarray(0.55 + 0.55 * (np.add.outer(_SIDE // 64, _SIDE // 64) % 2) + 0.03 * _noise(rng, 20, 20))


GROUNDS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "wood": _wood, "tiles": _tiles, "marble": _marble, "cloth": _cloth, "rug": _rug, "board": _board,
}  # fmt: skip


@lru_cache(maxsize=64)
def _tile(kind: str, variant: int) -> Floats:
    """Return a texture (_TILE_SIDE, _TILE_SIDE, 3) float32 about 1, which multiplies the ground's colour."""
    tile = GROUNDS[kind](np.random.default_rng([variant, 5]))
    tile = tile if tile.ndim == 3 else np.repeat(tile[..., None], 3, axis=2)
    return np.ascontiguousarray(np.clip(tile, 0.1, 1.6), np.float32)


def draw_scene(scene: Scene, camera: Camera, light: Lighting) -> Floats:
    """Return the empty scene as the camera sees it, (side, side, 3) float32 linear RGB, lit."""
    side, studio = camera.side, scene.kind == "sweep"
    lamp = light.colour * light.strength * np.sin(np.deg2rad(max(light.elevation, 8))) + light.ambient
    (x0, y0, _), (x1, y1, _) = camera.project(np.array([[-_HALF, scene.wall, 0.0], [_HALF, scene.wall, 0.0]]))
    line = y0 + (y1 - y0) / (x1 - x0 + 1e-6) * (np.arange(side) - x0)
    soft = side * (0.16 if studio else 0.006)
    share = np.clip((np.arange(side)[:, None] - line[None]) / soft + 0.5, 0, 1).astype(np.float32)
    share *= share * (3 - 2 * share)
    x = np.linspace(-1, 1, side, dtype=np.float32)
    falloff = 1 - np.float32(0.16 * np.sign(-light.azimuth)) * x[None] - np.float32(0.08) * x[:, None] ** 2
    wall = _wall(scene, side) * (lamp * (0.97 if studio else 0.85)).astype(np.float32)
    ground = (lamp * np.array(scene.ground_colour)).astype(np.float32)
    picture = wall + (_ground(scene, camera) * ground - wall) * share[..., None]
    return np.asarray(picture * falloff[..., None])


def _ground(scene: Scene, camera: Camera) -> Floats:
    """Return the ground's texture in perspective, (side, side, 3) about 1, over the whole picture."""
    side = camera.side
    if scene.kind == "sweep":
        return np.ones((side, side, 3), np.float32)
    far = scene.wall + 0.05
    corners = np.array([(-_HALF, far, 0), (_HALF, far, 0), (_HALF, -1.1, 0), (-_HALF, -1.1, 0)])
    seen = camera.project(corners)[:, :2].astype(np.float32)
    a = np.deg2rad(scene.turn)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    source = (corners[:, :2] @ turn.T * scene.grain * _TILE_SIDE).astype(np.float32)
    inverse = np.linalg.inv(cv2.getPerspectiveTransform(source, seen))
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    tile = _tile(scene.ground, scene.seed % 5)
    return np.asarray(cv2.warpPerspective(tile, inverse, (side, side), flags=how, borderMode=cv2.BORDER_WRAP))


def _wall(scene: Scene, side: int) -> Floats:
    """Return the background, (side, side, 3): paper, panels, a picture, or other things out of focus."""
    rng = np.random.default_rng([scene.seed, 9])
    picture = np.full((_WALL_SIDE, _WALL_SIDE, 3), scene.wall_colour, np.float32)
    style = int(rng.integers(0, 4)) if scene.kind != "sweep" else 0
    if style == 1:
        panel = _WALL_SIDE // int(rng.integers(4, 14))
        for left in range(0, _WALL_SIDE, panel):
            picture[:, left : left + panel // 2] *= np.float32(rng.uniform(0.75, 0.97))
    elif style == 2:
        (x, y), (width, height) = rng.integers(-20, 70, 2).tolist(), rng.integers(15, 50, 2).tolist()
        cv2.rectangle(picture, (x, y), (x + width, y + height), rng.uniform(0.05, 0.9, 3).tolist(), -1)
    if scene.kind == "clutter":
        for _ in range(int(rng.integers(5, 14))):
            colour = (rng.uniform(0.03, 0.85, 3) ** 1.6).tolist()
            (x, y), (w, h) = rng.integers(-5, _WALL_SIDE, 2).tolist(), rng.integers(6, 34, 2).tolist()
            if rng.random() < 0.6:
                cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
            else:
                cv2.ellipse(picture, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.2, 3.5))), np.float32)
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR))


def shadow(vertices: Floats, camera: Camera, light: Lighting) -> Floats:
    """Return the share of the lamp's light kept from the ground, (side, side) float32: cast and contact shadow.

    Args:
        vertices: (v, 3) of the product in the world.
        camera: that of the photograph.
        light: that falls on the product.
    """
    small, toward = camera.side // 2, light.toward
    reach = np.minimum(vertices[:, 2:] / max(toward[2], 0.25), 1.6)
    cast = (vertices - reach * toward[None]) * (1, 1, 0)
    mask = _splat(camera.project(cast)[:, :2] / 2, small, max(3, small // 26))
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), small * (0.012 + 0.05 * light.softness)), np.float32)
    under = vertices[vertices[:, 2] < 0.07] * (1, 1, 0)
    contact = _splat(camera.project(under)[:, :2] / 2, small, max(3, small // 30))
    contact = np.asarray(cv2.GaussianBlur(contact, (0, 0), small * 0.016), np.float32)
    wide = cv2.GaussianBlur(contact, (0, 0), small * 0.05)
    total = 1 - (1 - mask * (0.75 - 0.4 * light.softness)) * (1 - 0.5 * contact) * (1 - 0.3 * wide)
    return np.asarray(cv2.resize(total, (camera.side,) * 2, interpolation=cv2.INTER_LINEAR))


def _splat(points: Floats, side: int, size: int) -> NDArray[np.float32]:
    """Return (side, side) float32: 1 where points are close together."""
    mask = np.zeros((side, side), np.float32)
    at = np.round(points).astype(np.int64)
    inside = ((at >= 0) & (at < side)).all(axis=1)
    mask[at[inside, 1], at[inside, 0]] = 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel, borderValue=0), np.float32)
