"""How a product is photographed: turned how, seen from where, lit how, in which scene, by which camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from components.rendering.designs import Item, linear
from components.rendering.grounds import GROUNDS
from components.rendering.lenses import COVERS, Lens
from components.rendering.light import Lighting
from components.rendering.meshes import Camera
from components.rendering.scenery import Scene
from components.rendering.surfaces import Floats

T = TypeVar("T")

_PAPERS = (
    0xFFFFFF,
    0xF2F2F0,
    0xE4E6E8,
    0xD9CFC2,
    0xEBD3CB,
    0xBFD3DD,
    0xC9D8C5,
    0xF0E3BE,
    0x8C9299,
    0x3C3F45,
    0xA84F3C,
    0x2E4A5E,
    0xD9A441,
)
_WOODS = (0x9A6A3C, 0xC89E6A, 0x6B4426, 0xE0C49A, 0x4A3426)
_STONES = (0xE8E4DC, 0xB9B6B0, 0x7D7C7A, 0x3B3B3D, 0xC7B8A4, 0xA9B4B8)
_CLOTHS = (0xE6DFD2, 0x7F93A6, 0x8A3B3B, 0x3F5E4C, 0xC2A9A0, 0x4A4A58, 0xD0B15A, 0xB0C4B8)


_BY_GROUND = {
    "wood": _WOODS,
    "planks": _WOODS,
    "marble": _STONES,
    "tiles": _STONES,
    "concrete": _STONES,
    "board": _STONES,
}


@dataclass(frozen=True)
class View:
    """One photograph to be taken: everything but the product.

    Attributes:
        yaw: turn of the product, degrees.
        camera: that looks; its height is adjusted to the product.
        light: that falls on it.
        scene: around it.
        lens: of the camera.
        cover: one of `lenses.COVERS`, or "": what stands in front.
        aspect: width : height of the picture.
        seed: of the rest.
    """

    yaw: float
    camera: Camera
    light: Lighting
    scene: Scene
    lens: Lens
    cover: str
    aspect: float
    seed: int


class _Chance:
    """Random numbers as plain Python values."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def about(self, mean: float, deviation: float) -> float:
        return float(self.rng.normal(mean, deviation))

    def excess(self, shape: float, scale: float) -> float:
        return float(self.rng.gamma(shape, scale))

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def seed(self) -> int:
        return int(self.rng.integers(0, 2**31))

    def one_of(self, values: Sequence[T], p: Sequence[float] | None = None) -> T:
        return values[int(self.rng.choice(len(values), p=p))]


def plan_view(item: Item, view: int, *, seed: int, side: int) -> View:
    """Choose how photograph number `view` of a product is taken; number 0 is the shop's own, in the studio."""
    chance, kind, studio = _Chance(seed, 11, int(item.item_id[-5:]), view), item.kind, view == 0
    reach = 0.03 if studio else 0.09
    camera = Camera(
        elevation=chance.between(*kind.elevation),
        roll=0.0 if studio else chance.about(0, 9 if kind.flat else 3),
        distance=chance.between(2.0, 6.0),
        zoom=chance.between(0.68, 0.8) if studio else math.exp(chance.between(math.log(0.62), math.log(1.0))),
        shift=(chance.between(-reach, reach), 0.7 * chance.between(-reach, reach)),
        middle=0.0,
        side=side,
    )
    return View(
        yaw=kind.front + chance.between(-1, 1) * kind.yaw * (0.4 if studio else 0.85),
        camera=camera,
        light=_plan_light(chance, studio=studio),
        scene=_plan_scene(chance, studio=studio, flat=kind.flat),
        lens=_STUDIO_LENS if studio else _plan_lens(chance),
        cover="" if studio or chance.happens(0.8) else chance.one_of(COVERS, p=(0.45, 0.3, 0.25)),
        aspect=1.0 if studio else chance.one_of((1.0, 0.8, 1.25, 0.75, 1.33)),
        seed=chance.seed(),
    )


def _plan_light(chance: _Chance, *, studio: bool) -> Lighting:
    return Lighting(
        azimuth=chance.between(25, 70) * chance.one_of((-1, 1)),
        elevation=chance.between(30, 68),
        strength=chance.between(0.55, 0.8) if studio else chance.between(0.35, 1.15),
        ambient=chance.between(0.42, 0.55) if studio else chance.between(0.16, 0.5),
        kelvin=min(1.0, max(-1.0, chance.about(0, 0.08 if studio else 0.3))),
        softness=chance.between(0.5, 1.0) if studio else chance.between(0, 1),
    )


_STUDIO_LENS = Lens(1.0, (1.0, 1.0, 1.0), contrast=1.03, blur=0.35, motion=0.0, noise=1.0, vignette=0.0, saturation=1.0)


def _plan_lens(chance: _Chance) -> Lens:
    red, green, blue = (math.exp(chance.about(0, 0.05)) for _ in range(3))
    return Lens(
        exposure=math.exp(chance.about(0, 0.16)),
        tint=(red, green, blue),
        contrast=chance.between(0.85, 1.25),
        blur=0.3 + chance.excess(1.2, 0.25),
        motion=chance.between(2, 6) if chance.happens(0.12) else 0.0,
        noise=1 + chance.excess(1.5, 1.8),
        vignette=chance.between(0, 0.4),
        saturation=chance.between(0.75, 1.2),
    )


def _plan_scene(chance: _Chance, *, studio: bool, flat: bool) -> Scene:
    kind = "sweep" if studio else chance.one_of(("sweep", "table", "clutter"), p=(0.32, 0.4, 0.28))
    ground = chance.one_of(tuple(GROUNDS))
    if kind == "sweep":
        wall = linear(chance.one_of(_PAPERS[:3] if studio else _PAPERS))
        floor = wall * 0.97
    else:
        wall = linear(chance.one_of(_PAPERS + _CLOTHS)) * chance.between(0.6, 1.0)
        floor = linear(chance.one_of(_BY_GROUND.get(ground, _CLOTHS))) * chance.between(0.8, 1.15)
    return Scene(
        kind=kind,
        ground=ground,
        ground_colour=_rgb(floor),
        wall_colour=_rgb(wall),
        wall=6.0 if flat else chance.between(0.7, 2.2),
        turn=chance.between(-90, 90),
        grain=chance.between(0.4, 1.1),
        seed=chance.seed(),
    )


def _rgb(colour: Floats) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in np.clip(colour, 0.01, 0.95))
    return red, green, blue
