"""From a product to a photograph of it: where it stands, how it is lit, what the camera adds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.catalogue.rendering.designs import Item, linear
from components.catalogue.rendering.light import Lighting, shade
from components.catalogue.rendering.meshes import Camera, Mesh, look, mesh_of
from components.catalogue.rendering.scenery import GROUNDS, Scene, draw_scene, shadow
from components.catalogue.rendering.surfaces import rotation

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]

OVERSAMPLING = 1.5  # the product is drawn larger, for smooth edges

_SHADOW_DEPTH = 0.74
_TONES = 4096

_PAPERS = (0xFFFFFF, 0xF2F2F0, 0xE4E6E8, 0xD9CFC2, 0xEBD3CB, 0xBFD3DD, 0xC9D8C5, 0xF0E3BE, 0x8C9299, 0x3C3F45, 0xA84F3C, 0x2E4A5E, 0xD9A441)
_WOODS = (0x9A6A3C, 0xC89E6A, 0x6B4426, 0xE0C49A, 0x4A3426)
_STONES = (0xE8E4DC, 0xB9B6B0, 0x7D7C7A, 0x3B3B3D, 0xC7B8A4, 0xA9B4B8)
_CLOTHS = (0xE6DFD2, 0x7F93A6, 0x8A3B3B, 0x3F5E4C, 0xC2A9A0, 0x4A4A58, 0xD0B15A, 0xB0C4B8)


@dataclass(frozen=True)
class Lens:
    """What the camera does to the picture.

    Attributes:
        exposure: factor.
        tint: (3,) remaining colour cast.
        contrast: exponent about mid-grey.
        blur: standard deviation, pixels of the final picture.
        motion: length of a shake, pixels.
        noise: standard deviation at mid-grey, of 255.
        vignette: darkening of the corners.
        saturation: factor.
    """

    exposure: float
    tint: tuple[float, float, float]
    contrast: float
    blur: float
    motion: float
    noise: float
    vignette: float
    saturation: float


@dataclass(frozen=True)
class View:
    """One photograph to be taken: everything but the product."""

    yaw: float
    camera: Camera
    light: Lighting
    scene: Scene
    lens: Lens
    cover: int  # 0 nothing in front, 1 leaves, 2 something blurred, 3 a sticker
    aspect: float  # width : height
    seed: int


def plan_view(item: Item, view: int, *, seed: int, side: int) -> View:
    """Choose how photograph number `view` of a product is taken; number 0 is the shop's own, in the studio."""
    rng = np.random.default_rng([seed, 11, int(item.item_id[-5:]), view])
    kind = item.kind
    studio = view == 0
    elevation = float(rng.uniform(*kind.elevation))
    yaw = kind.front + float(rng.uniform(-1, 1)) * kind.yaw * (0.5 if studio else 1.0)
    zoom = float(rng.uniform(0.62, 0.74)) if studio else float(np.exp(rng.uniform(np.log(0.42), np.log(0.95))))
    reach = 0.03 if studio else 0.16
    shift = (float(rng.uniform(-reach, reach)), float(rng.uniform(-reach, reach) * 0.7))
    roll = 0.0 if studio else float(rng.normal(0, 4 if not kind.flat else 18))
    distance = float(rng.uniform(2.0, 6.0))
    camera = Camera(elevation, roll, distance, zoom, shift, 0.0, side)
    warm = float(np.clip(rng.normal(0, 0.08 if studio else 0.42), -1, 1))
    light = Lighting(
        azimuth=float(rng.uniform(25, 70) * rng.choice([-1, 1])),
        elevation=float(rng.uniform(30, 68)),
        strength=float(rng.uniform(0.55, 0.8)) if studio else float(rng.uniform(0.35, 1.15)),
        ambient=float(rng.uniform(0.42, 0.55)) if studio else float(rng.uniform(0.16, 0.5)),
        kelvin=warm,
        softness=float(rng.uniform(0.5, 1.0)) if studio else float(rng.uniform(0, 1)),
    )
    lens = Lens(
        exposure=1.0 if studio else float(np.exp(rng.normal(0, 0.2))),
        tint=(1.0, 1.0, 1.0) if studio else tuple(float(v) for v in np.exp(rng.normal(0, 0.05, 3))),  # type: ignore[arg-type]
        contrast=float(rng.uniform(0.95, 1.1)) if studio else float(rng.uniform(0.8, 1.3)),
        blur=0.35 if studio else float(0.3 + rng.gamma(1.2, 0.35)),
        motion=0.0 if studio or rng.random() > 0.15 else float(rng.uniform(2, 6)),
        noise=1.0 if studio else float(1 + rng.gamma(1.5, 2.2)),
        vignette=0.0 if studio else float(rng.uniform(0, 0.4)),
        saturation=1.0 if studio else float(rng.uniform(0.7, 1.25)),
    )
    cover = 0 if studio else int(rng.choice(4, p=[0.72, 0.12, 0.1, 0.06]))
    aspect = 1.0 if studio else float(rng.choice([1.0, 0.8, 1.25, 0.75, 1.33]))
    return View(yaw, camera, light, _plan_scene(rng, studio=studio, flat=kind.flat), lens, cover, aspect, int(rng.integers(0, 2**31)))


def _plan_scene(rng: np.random.Generator, *, studio: bool, flat: bool) -> Scene:
    kind = "sweep" if studio else str(rng.choice(["sweep", "table", "clutter"], p=[0.2, 0.42, 0.38]))
    ground = str(rng.choice(GROUNDS))
    if kind == "sweep":
        paper = linear(_PAPERS[int(rng.integers(0, 3 if studio else len(_PAPERS)))])
        colours = paper, paper * 0.97
    else:
        choices = {"wood": _WOODS, "planks": _WOODS, "marble": _STONES, "tiles": _STONES, "concrete": _STONES, "board": _STONES}
        options = choices.get(ground, _CLOTHS)
        wall = linear((_PAPERS + _CLOTHS)[int(rng.integers(0, len(_PAPERS) + len(_CLOTHS)))])
        colours = linear(options[int(rng.integers(0, len(options)))]) * rng.uniform(0.8, 1.15), wall * rng.uniform(0.6, 1.0)
    first, second = (tuple(float(v) for v in np.clip(colour, 0.01, 0.95)) for colour in colours)
    return Scene(kind, ground, first, second, float(rng.uniform(0.7, 2.2)) if not flat else 6.0,
                 float(rng.uniform(-90, 90)), float(rng.uniform(0.4, 1.1)), int(rng.integers(0, 2**31)))  # type: ignore[arg-type]


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
        _cover(picture, view.cover, rng)
    return _develop(picture, view, rng)


def _draw_product(item: Item, mesh: Mesh, turn: Floats, camera: Camera, view: View) -> tuple[Floats, Floats]:
    """Return the product alone, (side, side, 3) linear RGB times coverage, and its coverage (side, side) 0–1."""
    sight = look(mesh, turn, camera)
    ground = np.array(view.scene.ground_colour)
    layer = np.zeros((camera.side**2, 4), np.float32)
    drawn = np.ones((len(sight.places), 4), np.float32)
    drawn[:, :3] = shade(sight, item.texture, item.materials, view.light, camera.toward, ground).T
    layer[sight.places] = drawn
    layer = layer.reshape(camera.side, camera.side, 4)
    planes = cv2.split(cv2.resize(layer, (view.camera.side,) * 2, interpolation=cv2.INTER_AREA))
    return np.asarray(cv2.merge(planes[:3])), np.asarray(planes[3])


def _aimed(camera: Camera, vertices: Floats) -> Camera:
    """Return the camera at the distance and height at which the product's middle is in the middle of the picture."""
    low, high = vertices.min(0), vertices.max(0)
    middle = float((low[2] + high[2]) / 2)
    first = Camera(camera.elevation, camera.roll, camera.distance, 1.0, (0.0, 0.0), middle, camera.side)
    seen = first.project(vertices)[:, :2] / camera.side - 0.5
    extent = float((seen.max(0) - seen.min(0)).max())
    zoom = camera.zoom / extent
    centre = (seen.max(0) + seen.min(0)) / 2 * zoom
    shift = (camera.shift[0] - float(centre[0]), camera.shift[1] - float(centre[1]))
    return Camera(camera.elevation, camera.roll, camera.distance, zoom, shift, middle, camera.side)


def _cover(picture: Floats, kind: int, rng: np.random.Generator) -> None:
    """Put something in front of the product: 1 leaves, 2 a blurred edge of something, 3 a sticker."""
    side = picture.shape[0]
    small = 128
    layer = np.zeros((small, small, 4), np.float32)
    corner = rng.integers(0, 2, 2) * small
    if kind == 1:
        green = (0.05 + 0.08 * rng.random(), 0.16 + 0.2 * rng.random(), 0.03 + 0.06 * rng.random())
        for _ in range(int(rng.integers(3, 7))):
            angle = float(np.rad2deg(np.arctan2(small / 2 - corner[1], small / 2 - corner[0])) + rng.normal(0, 28))
            length = float(rng.uniform(22, 42))
            centre = corner + length * 0.9 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
            shade_ = float(rng.uniform(0.6, 1.3))
            colour = (green[0] * shade_, green[1] * shade_, green[2] * shade_, 1.0)
            cv2.ellipse(layer, (int(centre[0]), int(centre[1])), (int(length), int(length * 0.24)), angle, 0, 360, colour, -1)
        layer = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(0.8, 2.0)))
    elif kind == 2:
        colour = (*(rng.uniform(0.05, 0.7, 3) ** 1.5).tolist(), 1.0)
        across = int(rng.integers(14, 34))
        if rng.random() < 0.5:
            cv2.rectangle(layer, (0, small - across), (small, small), colour, -1)
        else:
            cv2.circle(layer, (int(corner[0]), int(corner[1])), across + 14, colour, -1)
        layer = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(2, 5)))
    else:
        centre = tuple(int(v) for v in np.where(corner > 0, small - 24, 24))
        colour = (*[(0.75, 0.03, 0.04), (0.95, 0.6, 0.03), (0.02, 0.25, 0.55), (0.03, 0.4, 0.12)][int(rng.integers(0, 4))], 1.0)
        cv2.circle(layer, centre, 16, colour, -1, cv2.LINE_AA)
        x, y, white = *centre, (0.95, 0.95, 0.95, 1.0)
        cv2.line(layer, (x - 6, y + 8), (x + 6, y - 8), white, 2, cv2.LINE_AA)
        for spot in ((x - 6, y - 5), (x + 6, y + 5)):
            cv2.circle(layer, spot, 4, white, 2, cv2.LINE_AA)
    planes = cv2.split(cv2.resize(layer, (side, side), interpolation=cv2.INTER_LINEAR))
    free = 1 - planes[3]
    picture *= cv2.merge([free, free, free])
    picture += cv2.merge(planes[:3])


def _develop(picture: Floats, view: View, rng: np.random.Generator) -> Pixels:
    """Turn linear light into pixels: crop, blur, exposure, tone, noise."""
    lens, side = view.lens, view.camera.side
    width, height = (side, round(side / view.aspect)) if view.aspect >= 1 else (round(side * view.aspect), side)
    top, left = (side - height) // 2, (side - width) // 2
    full = np.ascontiguousarray(picture[top : top + height, left : left + width], np.float32)
    if lens.blur > 0.32:
        full = cv2.GaussianBlur(full, (0, 0), lens.blur)
    if lens.motion:
        full = cv2.filter2D(full, -1, _shake(lens.motion, float(rng.uniform(0, np.pi))))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    gain = np.float32(lens.exposure) * (1 - np.float32(lens.vignette / 2) * (x[None] ** 2 + y[:, None] ** 2))
    full *= cv2.merge([gain * np.float32(tint * _TONES / 2) for tint in lens.tint])
    tone = _tone_curve(lens.contrast).take(full.astype(np.int16), mode="clip")
    mixing = lens.saturation * np.eye(3) + (1 - lens.saturation) * np.array([0.3, 0.59, 0.11])
    tone = cv2.transform(tone, mixing.astype(np.float32))
    dx, dy = rng.integers(0, 64, 2)
    tone += _grain(side)[dy : dy + height, dx : dx + width] * np.float32(lens.noise)
    return np.asarray(np.clip(tone, 0, 255).astype(np.uint8))


def _shake(length: float, angle: float) -> Floats:
    """Return the kernel of a short movement of the camera."""
    size = int(length) | 1
    kernel = np.zeros((size, size), np.float32)
    x, y = (round(size // 2 * value) for value in (np.cos(angle), np.sin(angle)))
    middle = size // 2
    cv2.line(kernel, (middle - x, middle - y), (middle + x, middle + y), 1.0)
    return np.asarray(kernel / kernel.sum())


def _tone_curve(contrast: float) -> Floats:
    """Return the pixel value for each of _TONES levels of linear light from 0 to 2: roll-off, gamma, contrast."""
    light = np.linspace(0, 2, _TONES)
    light = light / (1 + np.maximum(light - 0.75, 0) * 0.9)
    tone = np.clip(light, 0, 1) ** (1 / 2.2)
    return np.asarray((0.5 + (tone - 0.5) * contrast) * 255, np.float32)


@lru_cache(maxsize=4)
def _grain(side: int) -> Floats:
    """Return noise of unit variance, partly common to the channels, from which every photograph cuts its own."""
    noise = np.random.default_rng(41).standard_normal((side + 64, side + 64, 3), np.float32)
    return np.asarray(noise + noise.mean(-1, keepdims=True))
