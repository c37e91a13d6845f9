"""The eight categories: their forms, how they are photographed, and their materials; and products that no wheel turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from components.rendering.light import Finish
from components.rendering.surfaces import Surface, cushion, smooth, tube
from components.rendering.vessels import Shape, between, bottle, hat, lamp, mug, rod, vase


def chair(form: str, s: Shape) -> list[Surface]:
    """Build a chair: "panel", "slats", "bars", "shell" or "stool". Upholstery is slot 0."""
    height, w, d = (
        between(s[0], 0.42, 0.6 if form == "stool" else 0.5),
        between(s[1], 0.22, 0.28),
        between(s[2], 0.2, 0.26),
    )
    thick, edge, back = between(s[5], 0.025, 0.07), between(s[6], 0.2, 0.7), between(s[7], 0.4, 0.62)
    radius, splay, sides = between(s[3], 0.018, 0.034), 1 + between(s[4], 0.0, 0.35), (-1, 1)
    corners = [(x * w * 0.8, y * d * 0.8) for x in sides for y in sides]
    legs = [rod((x, y, height), (x * splay, y * splay, 0), radius) for x, y in corners]
    seat = cushion(w, d, thick, round_=edge).mapped(0, 1, 1.8).moved(z=height + thick * 0.5)
    if form == "stool":
        return [*legs, seat]
    if form == "shell":
        across, up = np.meshgrid(np.linspace(-1.15, 1.15, 17), np.linspace(0, 1, 12))
        y = -0.32 * (1 - np.cos(across)) * (1 - 0.3 * up)
        points = np.stack([np.sin(across) * w * (1.05 - 0.25 * up**2 * s[6]), y, up * back], -1)
        parts = [Surface(points, np.stack([across * 0.5, up], -1))]
    else:
        parts = [rod((x * w * 0.85, 0.0, 0.0), (x * w * 0.85, 0.0, back), 0.024) for x in sides]
        count = 3 + int(s[5] * 3.99)
        if form == "panel":
            panel = cushion(w * 0.95, 0.03 + 0.02 * s[5], back * 0.38, round_=edge).mapped(0, 2, 1.8)
            parts.append(panel.moved(z=back * 0.66))
        elif form == "slats":
            bar = cushion(w * 0.88, 0.014, back * 0.26 / count, slot=1)
            parts += [bar.moved(z=float(z)) for z in back * np.linspace(0.3, 0.96, count)]
        else:
            places = w * np.linspace(-0.6, 0.6, count + 1)
            parts += [rod((x, 0, 0), (x, 0, back * 0.95), 0.015, slot=1) for x in places.tolist()]
            parts.append(cushion(w * 0.97, 0.02, 0.035, slot=1).moved(z=back * 0.95))
    return [*legs, seat, *(part.turned(0, -10 - 8 * s[3]).moved(0, d * 0.85, height + thick * 0.6) for part in parts)]


def backpack(form: str, s: Shape) -> list[Surface]:
    """Build a backpack: "dome", "square", "rolltop" or "flap"."""
    w, d, half = between(s[0], 0.3, 0.38), between(s[1], 0.15, 0.21), between(s[2], 0.44, 0.54)
    edge = {"dome": 0.55, "square": 0.22, "rolltop": 0.25, "flap": 0.35}[form] * between(s[3], 0.85, 1.15)
    low, tall = between(s[5], 0.28, 0.4), between(s[6], 0.17, 0.26)
    body = cushion(w, d, half, round_=edge, rows=16, segments=28)
    narrow = 1.04 - between(s[4], 0.05, 0.3) * ((body.points[..., 2:] / half + 1) / 2) ** 2
    body = replace(body, points=body.points * np.concatenate([narrow, narrow, np.ones_like(narrow)], -1))
    pocket = cushion(w * between(s[7], 0.62, 0.86), 0.07, tall, slot=1, round_=edge).moved(0, -d, low)
    arch, x = np.linspace(0, np.pi, 14), np.linspace(-0.85, 0.85, 12) * w
    loop = np.stack([0.1 * np.cos(arch), np.full(14, d * 0.5), 2 * half * 0.98 + 0.1 * np.sin(arch)], 1)
    zipper = np.stack([x * 0.7, np.full(12, -d - 0.075), np.full(12, low + tall * 0.62)], 1)
    parts = [body.mapped(0, 2, 1.1).moved(z=half), pocket, tube(loop, 0.022, slot=2)]
    parts.append(tube(zipper, 0.012, slot=2, segments=6, up=(0, 0, 1)))
    for side in (-w, w):
        strap = [(side * 0.4, d, half * 1.85), (side * 1.15, d * 1.35, half * 1.5), (side * 1.2, d * 1.3, half * 0.7)]
        path = smooth([*strap, (side * 0.8, d, half * 0.2)], 16)
        parts.append(tube(path, 0.035, slot=2, flat=0.5, segments=8, up=(0, 1, 0.1)))
    if form == "rolltop":
        roll = np.stack([x, np.full(12, -d * 0.2), np.full(12, 2 * half)], 1)
        parts.append(tube(roll, 0.075, slot=0, segments=12, up=(0, 0, 1)).mapped(0, 2, 1.1))
    if form == "flap":
        across, down = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(0, 1, 9))
        fall = np.clip(down - 0.2, 0, 1) * 1.25 * (1 - 0.12 * across**4)
        y = -d * np.clip(down * 3, 0, 1) * 1.12 + 0.04 * down - 0.02
        points = np.stack([across * w * 0.97, y, half * (2.02 - between(s[6], 0.5, 0.85) * fall)], -1)
        parts.append(Surface(points, np.zeros((9, 13, 2)), 1).mapped(0, 2, 1.1))
    return parts


def tshirt(form: str, s: Shape) -> list[Surface]:
    """Build a T-shirt that is flat on the ground, its collar away from the camera: "crew", "vneck", "long" or "tank"."""
    length, half, neck = between(s[0], 0.95, 1.15), between(s[1], 0.36, 0.44), between(s[2], 0.11, 0.16)
    deep, slope = between(s[3], 0.06, 0.1) + (0.0 if form in ("crew", "long") else 0.13), between(s[4], 0.04, 0.09)
    shoulder = half * (0.62 if form == "tank" else 0.98)

    def collar(x: np.ndarray) -> np.ndarray:
        share = np.clip(1 - np.abs(x) / neck, 0, 1)
        edge: np.ndarray = -slope * np.abs(x) / shoulder - deep * (
            share if form == "vneck" else np.sqrt(share * (2 - share))
        )
        return edge

    across, down = np.meshgrid(np.linspace(-1, 1, 27), np.linspace(1, 0, 18))
    share = np.clip(down * 2.5, 0, 1) ** 0.7
    x = across * (shoulder * (1 - share) + half * share * (1 + between(s[5], -0.05, 0.12) * down))
    y = collar(across * shoulder) * (1 - down) - (length + 0.015 * across**2) * down
    folds = 0.006 * np.sin(9 * x + 5 * y + 6 * s[6]) + 0.005 * np.sin(4 * x - 13 * y + 9 * s[7])
    z = 0.035 * (1 - across**6) * np.minimum(1, (1 - down) * 8 + 0.3) + folds * np.minimum(1, down * 6) + 0.01
    sheets = [(np.stack([x, y, z], -1), 0)]
    x, y = np.meshgrid(np.linspace(-1.1, 1.1, 9) * neck, np.linspace(-deep * 1.05, 0.02, 4))
    sheets.append((np.stack([x, y, np.full(x.shape, 0.004)], -1), 2))  # the inside of the back, seen through the collar
    if form != "tank":
        reach, cuff = 0.62 if form == "long" else between(s[5], 0.2, 0.3), between(s[6], 0.1, 0.135)
        along, across = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 7))
        ahead, aside = np.array([np.cos(-0.75), np.sin(-0.75)]), np.array([np.sin(-0.75), -np.cos(-0.75)])
        top, low = np.array([shoulder, -slope]), np.array([half, -0.3])
        upper, end = top + reach * ahead * along[..., None], top + reach * ahead + 2 * cuff * aside
        flat = upper + (low + (end - low) * along[..., None] - upper) * across[..., None]
        rise = 0.03 * np.sin(np.pi * across) + 0.008 * np.sin(14 * along + 5 * across) + 0.002
        sheets += [(np.stack([x * flat[..., 0], flat[..., 1], rise], -1), int(s[7] > 0.6)) for x in (1, -1)]
    x = np.linspace(-1, 1, 21) * neck
    edge = tube(np.stack([x, collar(x), np.full(21, 0.05)], 1), 0.016, slot=1, up=(0, 0, 1), segments=6)
    parts = [Surface(points, np.zeros((*points.shape[:2], 2)), slot).mapped(0, 1, 1.05) for points, slot in sheets]
    return [part.moved(y=length / 2) for part in (*parts, edge)]


GLAZE, SATIN, MATT = Finish(0.75, 0.12), Finish(0.35, 0.45), Finish(0.08, 0.8, wrap=0.2)
CLOTH, LEATHER = Finish(0.02, 1.0, wrap=0.35), Finish(0.28, 0.5, wrap=0.15)
METAL, WOOD, LIT = Finish(0.9, 0.18, metal=0.85), Finish(0.22, 0.55), Finish(0.05, 1.0, wrap=0.6, glow=0.35)


@dataclass(frozen=True)
class Category:
    """A kind of product."""

    name: str  # plural noun; also the folder of the pictures
    build: Callable[[str, Shape], list[Surface]]
    forms: tuple[str, ...]  # products of one category and form count as marginally similar (grade 1)
    finishes: tuple[tuple[Finish, Finish, Finish, Finish], ...]  # of the slots 0–3; a family takes one choice
    accents: tuple[str, ...]  # of slot 2: "metal", "wood", "dark", "trim"
    elevation: tuple[float, float]  # of the camera, degrees, lowest and highest
    yaw: float = 38  # largest turn of the product from `front`, degrees
    front: float = 0  # turn at which it is seen best
    flat: bool = False  # photographed from above
    bare: float = 0.1  # share of products without a pattern


_CLAY = ((GLAZE, GLAZE, GLAZE, GLAZE), (MATT, MATT, MATT, GLAZE), (SATIN, SATIN, SATIN, GLAZE))
_FLASKS = ((SATIN, GLAZE, METAL, SATIN), (MATT, SATIN, MATT, SATIN), (GLAZE, GLAZE, WOOD, SATIN))
_LAMPS = ((LIT, SATIN, METAL, LIT), (LIT, GLAZE, WOOD, LIT), (CLOTH, METAL, METAL, LIT))
_CHAIRS = ((CLOTH, WOOD, WOOD, CLOTH), (LEATHER, METAL, METAL, CLOTH), (CLOTH, SATIN, SATIN, CLOTH))
_BAGS = ((CLOTH, CLOTH, CLOTH, CLOTH), (LEATHER, LEATHER, MATT, CLOTH), (SATIN, CLOTH, MATT, CLOTH))
_CLOTHES = ((CLOTH, CLOTH, CLOTH, CLOTH), (MATT, CLOTH, LEATHER, CLOTH))
_MIX, _DARK = ("metal", "wood", "dark"), ("dark", "trim")
_VASES = ("amphora", "cylinder", "gourd", "ball", "trumpet", "fluted")

CATEGORIES = (
    Category("mugs", mug, ("straight", "tapered", "belly", "bowl", "square"), _CLAY, ("trim",), (8, 42)),
    Category("vases", vase, _VASES, _CLAY, ("trim",), (4, 34)),
    Category("bottles", bottle, ("wine", "sport", "flask", "square", "jug"), _FLASKS, (*_MIX, "trim"), (2, 28)),
    Category("lamps", lamp, ("table", "globe", "tripod", "mushroom"), _LAMPS, _MIX, (-2, 22), bare=0.2),
    Category("chairs", chair, ("panel", "slats", "bars", "shell", "stool"), _CHAIRS, _MIX, (8, 34), 42, 22, bare=0.2),
    Category("backpacks", backpack, ("dome", "square", "rolltop", "flap"), _BAGS, _DARK, (4, 30), 34, 14),
    Category("t-shirts", tshirt, ("crew", "vneck", "long", "tank"), _CLOTHES[:1], _DARK, (66, 89), 16, flat=True),
    Category("hats", hat, ("cap", "sun", "beanie", "bucket"), _CLOTHES, _DARK, (12, 46), 48, 15),
)
