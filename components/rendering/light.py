"""Light and materials: the colour of each point of a product in the camera's eye."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.rendering.meshes import Sight

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Finish:
    """How a surface reflects light, whatever its colour."""

    gloss: float = 0.3  # strength of the mirror image of the lamp: 0 for cloth, 1 for glaze
    rough: float = 0.4  # how blurred that image is, 0–1
    metal: float = 0.0  # share of the light that is mirrored in the material's own colour
    wrap: float = 0.1  # how far light reaches round the edge: 0 for ceramics, 0.5 for cloth
    glow: float = 0.0  # own light, for lamp shades


@dataclass(frozen=True)
class Lighting:
    """One softbox, and light from all around."""

    azimuth: float  # degrees of the softbox, 0 in front of the product, positive to its right
    elevation: float  # degrees above the horizon
    strength: float
    ambient: float
    kelvin: float  # colour temperature relative to the camera's white balance: −1 warm to +1 cold
    softness: float  # of the shadow's edge, 0–1

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
    sight: Sight, texture: Floats, colours: Floats, finishes: tuple[Finish, ...], light: Lighting, toward: Floats
) -> Floats:
    """Return linear RGB (3, p) float32 of the product's pixels.

    Args:
        sight: the pixels.
        texture: (t, t, 3) float32 linear RGB of slot 0, repeated.
        colours: (slots, 3) linear RGB; slot 0 takes the texture's instead.
        finishes: of the slots.
        light: in the world's axes.
        toward: unit vector to the camera.
    """
    normals, lamp, view = sight.normals, light.toward.astype(np.float32), toward.astype(np.float32)
    traits = np.array([[f.gloss, f.rough, f.metal, f.wrap, f.glow] for f in finishes], np.float32).T
    gloss, rough, metal, wrap, glow = traits.take(sight.slots, axis=1)
    upward = normals[2] * 0.5 + 0.5
    occlusion = 1 - 0.45 * np.clip(1 - sight.heights / 0.35, 0, 1) ** 2 * (1 - 0.6 * upward)
    diffuse = np.clip((lamp @ normals + wrap) / (1 + wrap), 0, 1) * np.float32(light.strength)
    colour = light.colour.astype(np.float32)[:, None]
    lit = np.float32(light.ambient) * (0.45 + 0.55 * upward) * occlusion + colour * diffuse
    albedo = _albedo(sight, texture, colours)
    mirrored, edge = _mirror(normals, view, lamp, rough, light)
    white = (0.35 + 0.65 * colour) * mirrored
    result = albedo * (lit * (1 - 0.9 * metal) + glow + 1.6 * metal * white)
    result += white * (1 - metal) * gloss * (gloss * 0.5 + 0.5) * (0.22 + 0.68 * edge)
    return np.asarray(result)


def _mirror(normals: Floats, view: Floats, lamp: Floats, rough: Floats, light: Lighting) -> tuple[Floats, Floats]:
    """Return the light that the surface mirrors, (p,): a softbox, sky and floor, all grey; and Fresnel's edge (p,)."""
    cosine = np.clip(view @ normals, 0, 1)
    reflected = normals * (2 * cosine) - view[:, None]
    blur = 0.03 + 0.35 * rough
    softbox = np.clip((lamp @ reflected - 0.9) / blur * 0.5 + 0.5, 0, 1)
    softbox *= softbox * (3 - 2 * softbox)
    power = np.float32(light.strength * 2.2) * softbox * np.minimum(0.1 + 0.08 / blur, 1.4)
    horizon = np.clip(reflected[2] / (0.24 + rough) + 0.5, 0, 1)
    power += np.float32(light.ambient) * (0.16 + 0.5 * horizon * (0.55 + 0.45 * np.clip(reflected[2], 0, 1)))
    return power, (1 - cosine) ** 4


def _albedo(sight: Sight, texture: Floats, colours: Floats) -> Floats:
    """Return the surface's own colours (3, p); OpenCV takes few columns, hence the folding."""
    result = np.asarray(colours, np.float32).T.take(sight.slots, axis=1)
    patterned = np.flatnonzero(sight.slots == 0)
    n, width = len(patterned), 4096
    if n:
        places = np.zeros((2, -(-n // width) * width), np.float32)
        places[:, :n] = sight.uv.take(patterned, axis=1) % 1.0 * np.float32(len(texture))
        columns, rows = places.reshape(2, -1, width)
        sampled = cv2.remap(
            np.ascontiguousarray(texture[::-1]), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        result[:, patterned] = sampled.reshape(-1, 3)[:n].T
    return np.asarray(result)
