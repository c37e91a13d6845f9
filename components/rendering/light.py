"""Light and materials: what colour a point of a product has in the eye of the camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.rendering.meshes import Sight

Floats = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """How a surface answers light.

    Attributes:
        colour: linear RGB 0–1; slot 0 takes the texture's instead.
        gloss: strength of the mirror image of the lamps, 0 for cloth, 1 for glaze.
        rough: how blurred that image is, 0–1.
        metal: share of the light that is mirrored in the material's own colour.
        wrap: how far light reaches round the edge, 0 for ceramics, 0.5 for cloth.
        glow: light of its own, for lamp shades.
    """

    colour: Colour
    gloss: float = 0.3
    rough: float = 0.4
    metal: float = 0.0
    wrap: float = 0.1
    glow: float = 0.0


@dataclass(frozen=True)
class Lighting:
    """One softbox, one window opposite, and light from all around.

    Attributes:
        azimuth: degrees of the softbox, 0 in front of the product, positive to its right.
        elevation: degrees above the horizon.
        strength: of the softbox.
        ambient: of the light from all around.
        kelvin: colour temperature relative to the camera's white balance: −1 warm to +1 cold.
        softness: of the shadow's edge, 0–1.
    """

    azimuth: float
    elevation: float
    strength: float
    ambient: float
    kelvin: float
    softness: float

    @property
    def toward(self) -> Floats:
        """Unit vector to the softbox, in the world."""
        a, e = np.deg2rad(self.azimuth), np.deg2rad(self.elevation)
        return np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])

    @property
    def colour(self) -> Floats:
        """Linear RGB of the light, green 1."""
        return np.array([1 - 0.28 * self.kelvin, 1.0, 1 + 0.38 * self.kelvin])


def shade(
    sight: Sight, texture: Floats, materials: list[Material], light: Lighting, toward_camera: Floats, ground: Floats
) -> Floats:
    """Return linear RGB (3, p) float32 of the product's pixels.

    Args:
        sight: what is where.
        texture: (t, t, 3) float32 linear RGB of slot 0, repeated.
        materials: by slot.
        light: in the world's axes.
        toward_camera: unit vector.
        ground: (3,) linear RGB of what the product stands on; it lights it from below.
    """
    normals, lamp, view = sight.normals, light.toward.astype(np.float32), toward_camera.astype(np.float32)
    traits = np.array([[m.gloss, m.rough, m.metal, m.wrap, m.glow] for m in materials], np.float32).T
    gloss, rough, metal, wrap, glow = traits.take(sight.slots, axis=1)
    diffuse = np.clip((lamp @ normals + wrap) / (1 + wrap), 0, 1) * np.float32(light.strength)
    upward = normals[2] * 0.5 + 0.5
    near_ground = np.clip(1 - sight.heights / 0.35, 0, 1)
    occlusion = 1 - 0.45 * near_ground * near_ground * (1 - 0.6 * upward)
    window = np.array([-np.sign(lamp[0]) * 0.8, -0.3, 0.5], np.float32)
    filled = np.clip(window @ normals, 0, 1) * 0.22
    colour = light.colour.astype(np.float32)[:, None]
    sky = light.ambient * np.array([[0.95], [1.0], [1.08]], np.float32)
    below = light.ambient * (0.25 + 0.75 * ground.astype(np.float32))[:, None]
    result = sky * ((upward + filled) * occlusion)
    result += below * ((1 - upward) * occlusion)
    result += colour * diffuse
    result *= 1 - 0.9 * metal
    result += glow
    albedo = _albedo(sight, texture, materials)
    result *= albedo
    mirrored, edge = _mirror(normals, view, lamp, rough, light)
    mirrored *= gloss * 0.5 + 0.5
    result += (0.35 + 0.65 * colour) * ((1 - metal) * gloss * (0.22 + 0.68 * edge) * mirrored)
    shiny = np.flatnonzero(metal)
    if len(shiny):
        result[:, shiny] += albedo[:, shiny] * (0.35 + 0.65 * colour) * (1.6 * metal * mirrored)[shiny]
    return np.asarray(result)


def _mirror(normals: Floats, view: Floats, lamp: Floats, rough: Floats, light: Lighting) -> tuple[Floats, Floats]:
    """Return what the surface mirrors (p,): a rectangular softbox, sky and floor, all grey; and Fresnel's edge (p,)."""
    cosine = np.clip(view @ normals, 0, 1)
    reflected = normals * (2 * cosine)
    reflected -= view[:, None]
    across = np.cross(np.array([0, 0, 1], np.float32), lamp)
    across /= np.linalg.norm(across) + 1e-6
    ahead, aside, above = np.stack([lamp, across, np.cross(lamp, across)]) @ reflected
    blur = 0.05 + 0.55 * rough
    inside = _step(0.42 - np.abs(aside), blur) * _step(0.30 - np.abs(above), blur) * (ahead > 0)
    power = np.float32(light.strength * 2.2) * inside * np.minimum(0.1 + 0.14 / blur, 1.4)
    horizon = _step(reflected[2] + 0.05, 0.12 + 0.5 * rough)
    power += np.float32(light.ambient) * (0.16 + 0.5 * horizon * (0.55 + 0.45 * np.clip(reflected[2], 0, 1)))
    dark = 1 - cosine
    dark *= dark
    return power, dark * dark


def _step(distance: Floats, width: Floats) -> Floats:
    ramp = np.clip(distance / width * 0.5 + 0.5, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _albedo(sight: Sight, texture: Floats, materials: list[Material]) -> Floats:
    """Return the colours (3, p) of the surface itself."""
    result = np.array([m.colour for m in materials], np.float32).T.take(sight.slots, axis=1)
    patterned = np.flatnonzero(sight.slots == 0)
    if len(patterned):
        size = len(texture)
        u, v = sight.uv.take(patterned, axis=1) % 1.0 * np.float32(size)
        result[:, patterned] = _sampled(texture, u, size - v)
    return np.asarray(result)


def _sampled(texture: Floats, x: Floats, y: Floats) -> Floats:
    """Sample (t, t, 3) bilinearly at p places and return (3, p); OpenCV takes few columns, hence the folding."""
    n, width = len(x), 4096
    places = np.zeros((2, -(-n // width) * width), np.float32)
    places[0, :n], places[1, :n] = x, y
    columns, rows = places.reshape(2, -1, width)
    sampled = cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled.reshape(-1, 3)[:n].T)
