"""The twelve categories: their forms, how they stand before a camera, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from components.rendering.products.backpacks import backpack
from components.rendering.products.bottles import bottle
from components.rendering.products.chairs import chair
from components.rendering.products.hats import hat
from components.rendering.products.lamps import lamp
from components.rendering.products.mugs import mug
from components.rendering.products.parts import Shape
from components.rendering.products.shoes import shoe
from components.rendering.products.sofas import sofa
from components.rendering.products.teapots import teapot
from components.rendering.products.tshirts import tshirt
from components.rendering.products.vases import vase
from components.rendering.products.watches import watch
from components.rendering.surfaces import Surface


@dataclass(frozen=True)
class Finish:
    """How one slot answers light (see `light.Material`), whatever its colour."""

    gloss: float
    rough: float
    metal: float = 0.0
    wrap: float = 0.1
    glow: float = 0.0


GLAZE = Finish(0.75, 0.12)
SATIN = Finish(0.35, 0.45)
MATT = Finish(0.08, 0.8, wrap=0.2)
CLOTH = Finish(0.02, 1.0, wrap=0.35)
LEATHER = Finish(0.28, 0.5, wrap=0.15)
METAL = Finish(0.9, 0.18, metal=0.85)
WOOD = Finish(0.22, 0.55)
RUBBER = Finish(0.12, 0.7)
LIT = Finish(0.05, 1.0, wrap=0.6, glow=0.35)


@dataclass(frozen=True)
class Category:
    """A kind of product.

    Attributes:
        name: plural noun; also the folder of the pictures.
        build: form and shape → surfaces.
        forms: values of `form`; products of one category and form count as marginally similar (grade 1).
        finishes: of the slots 0–3, several choices; a family takes one.
        accents: which accents (slot 2) go with it: "metal", "wood", "dark", "trim".
        elevation: of the camera, degrees, lowest and highest.
        yaw: largest turn of the product, degrees; `front` is added.
        front: turn at which it shows itself best.
        flat: photographed lying down, from above.
        bare: share of products without a pattern.
    """

    name: str
    build: Callable[[str, Shape], list[Surface]]
    forms: tuple[str, ...]
    finishes: tuple[tuple[Finish, Finish, Finish, Finish], ...]
    accents: tuple[str, ...]
    elevation: tuple[float, float] = (6, 38)
    yaw: float = 38
    front: float = 0
    flat: bool = False
    bare: float = 0.1


_MIX = ("metal", "wood", "dark")
_PLAIN = ("dark", "trim")
_CLAY = ((GLAZE, GLAZE, GLAZE, GLAZE), (MATT, MATT, MATT, GLAZE), (SATIN, SATIN, SATIN, GLAZE))
_POTS = ((GLAZE, GLAZE, WOOD, GLAZE), (MATT, MATT, WOOD, MATT), (GLAZE, GLAZE, METAL, GLAZE))
_FLASKS = ((SATIN, GLAZE, METAL, SATIN), (MATT, SATIN, RUBBER, SATIN), (GLAZE, GLAZE, WOOD, SATIN))
_LAMPS = ((LIT, SATIN, METAL, LIT), (LIT, GLAZE, WOOD, LIT), (CLOTH, METAL, METAL, LIT))
_CHAIRS = ((CLOTH, WOOD, WOOD, CLOTH), (LEATHER, METAL, METAL, CLOTH), (CLOTH, SATIN, SATIN, CLOTH))
_SOFAS = ((CLOTH, CLOTH, WOOD, CLOTH), (LEATHER, CLOTH, METAL, CLOTH))
_SHOES = ((CLOTH, CLOTH, RUBBER, RUBBER), (LEATHER, LEATHER, RUBBER, RUBBER), (MATT, SATIN, RUBBER, RUBBER))
_BAGS = ((CLOTH, CLOTH, CLOTH, CLOTH), (LEATHER, LEATHER, RUBBER, CLOTH), (SATIN, CLOTH, RUBBER, CLOTH))
_WATCHES = ((LEATHER, SATIN, METAL, GLAZE), (RUBBER, GLAZE, METAL, GLAZE), (CLOTH, SATIN, METAL, GLAZE))
_HATS = ((CLOTH, CLOTH, CLOTH, CLOTH), (MATT, CLOTH, LEATHER, CLOTH))

CATEGORIES = (
    Category("mugs", mug, ("straight", "tapered", "belly", "bowl", "square"), _CLAY, ("trim",), (8, 42)),
    Category("teapots", teapot, ("round", "tall", "squat", "faceted"), _POTS, ("wood", "metal", "trim"), (8, 38)),
    Category("vases", vase, ("amphora", "cylinder", "gourd", "trumpet", "ball", "fluted"), _CLAY, ("trim",), (4, 34)),
    Category("bottles", bottle, ("wine", "sport", "flask", "square", "jug"), _FLASKS, (*_MIX, "trim"), (2, 28)),
    Category("lamps", lamp, ("table", "globe", "desk", "tripod", "mushroom"), _LAMPS, _MIX, (-2, 22), bare=0.2),
    Category(
        "chairs", chair, ("panel", "slats", "shell", "stool", "armchair"), _CHAIRS, _MIX, (8, 34), 42, 22, bare=0.2
    ),
    Category("sofas", sofa, ("two", "three", "round", "chesterfield"), _SOFAS, _MIX, (8, 32), 34, 12, bare=0.2),
    Category("shoes", shoe, ("sneaker", "hightop", "loafer", "boot", "runner"), _SHOES, _PLAIN, (8, 40), 34, -12),
    Category("backpacks", backpack, ("dome", "square", "rolltop", "flap"), _BAGS, _PLAIN, (4, 30), 34, 14),
    Category(
        "t-shirts", tshirt, ("crew", "vneck", "long", "polo", "tank"), ((CLOTH,) * 4,), _PLAIN, (66, 89), 16, flat=True
    ),
    Category(
        "watches",
        watch,
        ("round", "square", "chrono", "bracelet"),
        _WATCHES,
        ("metal", "dark"),
        (48, 86),
        40,
        flat=True,
        bare=0.2,
    ),
    Category("hats", hat, ("cap", "fedora", "beanie", "bucket", "sun"), _HATS, _PLAIN, (12, 46), 48, 15),
)
