"""How a product is photographed: its turn, the camera, the light, the scene, and the development of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from components.rendering.designs import Item, linear
from components.rendering.light import Lighting
from components.rendering.meshes import Camera
from components.rendering.scenery import GROUNDS, Scene

T = TypeVar("T")

_PAPERS = (
    0xFFFFFF, 0xF2F2F0, 0xE4E6E8, 0xD9CFC2, 0xEBD3CB, 0xBFD3DD, 0xC9D8C5, 0xF0E3BE, 0x8C9299, 0x3C3F45, 0xA84F3C, 0x2E4A5E,
    0xD9A441,
)  # fmt: skip
_WOODS = (0x9A6A3C, 0xC89E6A, 0x6B4426, 0xE0C49A, 0x4A3426)
_STONES = (0xE8E4DC, 0xB9B6B0, 0x7D7C7A, 0x3B3B3D, 0xC7B8A4, 0xA9B4B8)
_CLOTHS = (0xE6DFD2, 0x7F93A6, 0x8A3B3B, 0x3F5E4C, 0xC2A9A0, 0x4A4A58, 0xD0B15A, 0xB0C4B8)
_BY_GROUND = {"wood": _WOODS, "marble": _STONES, "tiles": _STONES, "board": _STONES}


@dataclass(frozen=True)
class View:
    """One photograph to be taken: everything but the product."""

    yaw: float  # turn of the product, degrees
    camera: Camera  # its height is adjusted to the product
    light: Lighting
    scene: Scene
    exposure: tuple[float, ...]  # (3,) factors of red, green and blue
    contrast: float  # exponent about mid-grey
    blur: float  # standard deviation, pixels
    noise: float  # standard deviation at mid-grey, of 255
    vignette: float  # darkening of the corners
    aspect: float  # width : height of the picture
    seed: int  # of the noise


def plan_view(item: Item, view: int, *, seed: int, side: int) -> View:
    """Choose how photograph number `view` of a product is taken; number 0 is the shop's own, in the studio."""
    rng, kind, studio = np.random.default_rng([seed, 11, int(item.item_id[-5:]), view]), item.kind, view == 0

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    reach = 0.03 if studio else 0.1
    camera = Camera(
        elevation=between(*kind.elevation),
        roll=0.0 if studio else float(rng.normal(0, 9 if kind.flat else 4)),
        distance=between(2.0, 6.0),
        zoom=between(0.68, 0.8) if studio else float(np.exp(between(np.log(0.6), np.log(1.05)))),
        shift=(between(-reach, reach), 0.7 * between(-reach, reach)),
        middle=0.0,
        side=side,
    )
    light = Lighting(
        azimuth=between(25, 70) * _one_of(rng, (-1, 1)),
        elevation=between(30, 68),
        strength=between(0.55, 0.8) if studio else between(0.35, 1.15),
        ambient=between(0.42, 0.55) if studio else between(0.16, 0.5),
        kelvin=float(np.clip(rng.normal(0, 0.08 if studio else 0.32), -1, 1)),
        softness=between(0.5, 1.0) if studio else between(0, 1),
    )
    gain = np.exp(rng.normal(0, 0.16) + rng.normal(0, 0.06, 3))
    return View(
        yaw=kind.front + between(-1, 1) * kind.yaw * (0.4 if studio else 0.85),
        camera=camera,
        light=light,
        scene=_plan_scene(rng, studio=studio, flat=kind.flat),
        exposure=(1.0, 1.0, 1.0) if studio else tuple(gain.tolist()),
        contrast=1.03 if studio else between(0.85, 1.25),
        blur=0.35 if studio else 0.3 + float(rng.gamma(1.2, 0.3)),
        noise=1.0 if studio else 1.0 + float(rng.gamma(1.5, 1.8)),
        vignette=0.0 if studio else between(0, 0.4),
        aspect=1.0 if studio else _one_of(rng, (1.0, 0.8, 1.25, 0.75, 1.33)),
        seed=int(rng.integers(0, 2**31)),
    )


def _plan_scene(rng: np.random.Generator, *, studio: bool, flat: bool) -> Scene:
    kind, ground = (
        "sweep" if studio else _one_of(rng, ("sweep", "table", "table", "clutter")),
        _one_of(rng, (*GROUNDS,)),
    )
    wall = linear(_one_of(rng, _PAPERS[:3] if studio else _PAPERS))
    floor = wall * 0.97
    if kind != "sweep":
        wall = linear(_one_of(rng, _PAPERS + _CLOTHS)) * rng.uniform(0.6, 1.0)
        floor = linear(_one_of(rng, _BY_GROUND.get(ground, _CLOTHS))) * rng.uniform(0.8, 1.15)
    return Scene(
        kind=kind,
        ground=ground,
        ground_colour=tuple(np.clip(floor, 0.01, 0.95).tolist()),
        wall_colour=tuple(np.clip(wall, 0.01, 0.95).tolist()),
        wall=6.0 if flat else float(rng.uniform(0.7, 2.2)),
        turn=float(rng.uniform(-90, 90)),
        grain=float(rng.uniform(0.4, 1.1)),
        seed=int(rng.integers(0, 2**31)),
    )


def _one_of(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(0, len(values)))]
