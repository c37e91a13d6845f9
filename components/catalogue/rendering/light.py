"""Light and materials: what colour a point of a product has in the eye of the camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.catalogue.rendering.meshes import Sight

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
        opacity: 1, less for glass.
        glow: light of its own, for lamp shades.
    """

    colour: Colour
    gloss: float = 0.3
    rough: float = 0.4
    metal: float = 0.0
    wrap: float = 0.1
    opacity: float = 1.0
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
) -> tuple[Floats, Floats]:
    """Return linear RGB (p, 3) and opacity (p,) of the product's pixels, both float32.

    Args:
        sight: what is where.
        texture: (t, t, 3) float32 linear RGB of slot 0, repeated.
        materials: by slot.
        light: in the world's axes.
        toward_camera: unit vector.
        ground: (3,) linear RGB of what the product stands on; it lights it from below.
    """
    albedo = _albedo(sight, texture, materials)
    normals = sight.normals
    lamp, view = light.toward.astype(np.float32), toward_camera.astype(np.float32)
    table = np.array(
        [[m.gloss, m.rough, m.metal, m.wrap, m.opacity, m.glow] for m in materials], np.float32
    )[sight.slots]
    gloss, rough, metal, wrap, opacity, glow = table.T
    facing = normals @ lamp
    diffuse = np.clip((facing + wrap) / (1 + wrap), 0, 1) * light.strength
    upward = normals[:, 2] * 0.5 + 0.5
    near_ground = np.clip(1 - sight.heights / 0.35, 0, 1)
    occlusion = 1 - 0.45 * near_ground * near_ground * (1 - 0.6 * upward)
    window = np.clip(normals @ np.array([-np.sign(lamp[0]) * 0.8, -0.3, 0.5], np.float32), 0, 1) * 0.22
    colour = light.colour.astype(np.float32)
    sky = light.ambient * np.array([0.95, 1.0, 1.08], np.float32)
    below = light.ambient * (0.25 + 0.75 * ground.astype(np.float32))
    around = (sky - below) * upward[:, None] + below
    irradiance = diffuse[:, None] * colour + (around + window[:, None] * sky) * occlusion[:, None]
    result = albedo * (irradiance * (1 - 0.9 * metal[:, None]) + glow[:, None])
    mirrored, edge = _mirror(normals, view, lamp, rough, light)
    shine = gloss * (0.25 + 0.75 * edge) * 0.9
    tint = metal[:, None] * albedo * 1.6 + (1 - metal[:, None]) * shine[:, None]
    result += tint * (mirrored * (0.35 + 0.65 * colour)) * (gloss * 0.5 + 0.5)[:, None]
    return result, np.clip(opacity + edge * 0.6 + gloss * mirrored[:, 0] * 0.35 * (opacity < 1), 0, 1)


def _mirror(normals: Floats, view: Floats, lamp: Floats, rough: Floats, light: Lighting) -> tuple[Floats, Floats]:
    """Return what the surface mirrors (p, 3), grey: a rectangular softbox, sky and floor; and Fresnel's edge (p,)."""
    cosine = np.clip(normals @ view, 0, 1)
    reflected = 2 * cosine[:, None] * normals - view
    across = np.cross(np.array([0, 0, 1], np.float32), lamp)
    across /= np.linalg.norm(across) + 1e-6
    upright = np.cross(lamp, across)
    blur = 0.05 + 0.55 * rough
    ahead = reflected @ lamp
    inside = _step(0.42 - np.abs(reflected @ across), blur) * _step(0.30 - np.abs(reflected @ upright), blur) * (ahead > 0)
    power = light.strength * 2.2 * inside * (0.1 + 0.14 / blur).clip(max=1.4)
    horizon = _step(reflected[:, 2] + 0.05, 0.12 + 0.5 * rough)
    sky = light.ambient * (0.16 + 0.5 * horizon * (0.55 + 0.45 * np.clip(reflected[:, 2], 0, 1)))
    edge = (1 - cosine) ** 4
    return (power + sky)[:, None] * np.ones(3, np.float32), edge


def _step(distance: Floats, width: Floats) -> Floats:
    ramp = np.clip(distance / width * 0.5 + 0.5, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _albedo(sight: Sight, texture: Floats, materials: list[Material]) -> Floats:
    colours = np.array([m.colour for m in materials], np.float32)
    result = colours[sight.slots]
    patterned = np.flatnonzero(sight.slots == 0)
    if len(patterned):
        size = len(texture)
        at = (sight.uv[patterned] % 1.0 * size).astype(np.float32)
        at[:, 1] = size - at[:, 1]
        at = at[None]
        result[patterned] = _remap(texture, at)
    return result


def _remap(texture: Floats, at: Floats) -> Floats:
    """Sample (t, t, 3) bilinearly at (1, p, 2); OpenCV takes at most 32,767 columns, hence the folding."""
    n = at.shape[1]
    width = 4096
    rows = -(-n // width)
    padded = np.zeros((rows * width, 2), np.float32)
    padded[:n] = at[0]
    grid = padded.reshape(rows, width, 2)
    sampled = cv2.remap(texture, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled.reshape(-1, 3)[:n])
