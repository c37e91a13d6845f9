"""The shop's products: families of one shape and pattern in several colourways, and how similar two products are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.rendering.categories import CATEGORIES, Category
from components.rendering.patterns import PATTERNS, draw_texture

Floats = NDArray[np.floating[Any]]

_PALETTE = (
    0xF4F1EA, 0xE8DCC4, 0x1F2124, 0x4A4E54, 0x9A9C9C, 0x1E2F52, 0x2F5FA8, 0x6FA8D6, 0x1F7A7A, 0x8CC7BC, 0x21523A, 0x5C8A3C,
    0x9A9A3E, 0xE0B93A, 0xF2D77C, 0xE07A2C, 0xB5542F, 0xC0272D, 0x7A1F2E, 0xE88FA0, 0xD94F82, 0xB79BD0, 0x5E3A87, 0x5B3A26,
    0xB88A5B, 0xC9B7A0,
)  # fmt: skip
_ACCENTS = {
    "metal": (0xC8C8C8, 0xD8B26A, 0xB87A5A, 0x6A6C70),
    "wood": (0x8A5A32, 0xC49A62, 0x5A3820, 0xD8B888),
    "dark": (0x222326, 0x3A2C24),
}
_FAMILY_SIZES = (0.3, 0.3, 0.27, 0.13)  # shares of families with 1, 2, 3 and 4 colourways


def linear(code: int) -> Floats:
    """Return the linear RGB (3,) of a colour given as 0xRRGGBB in sRGB (IEC 61966-2-1, approximated by gamma 2.2)."""
    return (np.array([code >> 16, code >> 8 & 255, code & 255]) / 255) ** 2.2


@dataclass(frozen=True)
class Item:
    """One product."""

    item_id: str  # "item-00012"
    category: int  # row of CATEGORIES
    form: str  # one of the category's forms
    family: int  # products of a family differ in colour alone
    shape: tuple[float, ...]  # eight numbers 0–1
    pattern: str  # a key of PATTERNS
    seed: int  # of the pattern; the family's
    finish: int  # row of the category's finishes
    colours: tuple[tuple[float, ...], ...]  # (6, 3) linear RGB: ground, two figures, trim, accent, inside

    @property
    def kind(self) -> Category:
        """The category itself."""
        return CATEGORIES[self.category]

    @cached_property
    def texture(self) -> Floats:
        """Texture of slot 0."""
        return draw_texture(self.pattern, self.seed, np.array(self.colours[:3]))


def design_items(count: int, seed: int) -> list[Item]:
    """Design `count` different products, spread evenly over the categories; ids reveal neither category nor family."""
    rng = np.random.default_rng([seed, 3])
    items: list[Item] = []
    family = 0
    for row, members in enumerate(np.array_split(np.arange(count), len(CATEGORIES))):
        left = len(members)
        while left:
            size = min(left, 1 + int(rng.choice(len(_FAMILY_SIZES), p=_FAMILY_SIZES)))
            items.extend(_family(rng, row, family, size))
            family, left = family + 1, left - size
    numbers = rng.permutation(count)
    return [replace(item, item_id=f"item-{number:05d}") for number, item in zip(numbers, items, strict=True)]


def _family(rng: np.random.Generator, row: int, family: int, size: int) -> list[Item]:
    kind = CATEGORIES[row]
    form = str(rng.choice(kind.forms))
    shape = tuple(float(value) for value in rng.random(8))
    pattern = "plain" if rng.random() < kind.bare else str(rng.choice([name for name in PATTERNS if name != "plain"]))
    seed, finish = int(rng.integers(0, 2**31)), int(rng.integers(0, len(kind.finishes)))
    accent = str(rng.choice(kind.accents))
    grounds = [_PALETTE[int(i)] for i in rng.permutation(len(_PALETTE))[:size]]
    return [
        Item("", row, form, family, shape, pattern, seed, finish, _colourway(rng, ground, accent)) for ground in grounds
    ]


def _colourway(rng: np.random.Generator, ground: int, accent: str) -> tuple[tuple[float, ...], ...]:
    """Choose figures that stand out from the ground, a trim that goes with them, an accent and an inside."""
    base = _varied(rng, linear(ground))
    others = sorted(_PALETTE, key=lambda code: -_contrast(base, linear(code)) + 0.25 * rng.random())
    first = _varied(rng, linear(others[0] if rng.random() < 0.35 else others[int(rng.integers(1, 12))]))
    offered = [linear(int(code)) for code in rng.choice(_PALETTE, 8, replace=False)]
    second = _varied(rng, max(offered, key=lambda colour: min(_contrast(base, colour), _contrast(first, colour))))
    trims = [base, first, second, linear(0xF0EDE6), base * 0.35]
    trim = trims[int(rng.choice(5, p=[0.3, 0.25, 0.15, 0.15, 0.15]))]
    metal = trim if accent == "trim" else linear(int(rng.choice(_ACCENTS[accent])))
    insides = [linear(0xF3EEE4), linear(0xE9E4DA), base * 0.6 + 0.1, linear(0x2A2A2C), linear(0xC9A27A)]
    inside = insides[int(rng.choice(5, p=[0.4, 0.2, 0.15, 0.15, 0.1]))]
    return tuple(tuple(float(v) for v in np.clip(c, 0.004, 0.92)) for c in (base, first, second, trim, metal, inside))


def _varied(rng: np.random.Generator, colour: Floats) -> Floats:
    """Return a colour a little lighter or darker, warmer or colder."""
    return np.asarray(np.clip(colour ** (1 / 2.2) + rng.normal(0, 0.025) + rng.normal(0, 0.012, 3), 0.03, 0.97) ** 2.2)


def _contrast(one: Floats, other: Floats) -> float:
    return float(np.abs(one ** (1 / 2.2) - other ** (1 / 2.2)) @ np.array([0.35, 0.5, 0.15]))


def true_grades(
    items: list[Item], queries: NDArray[np.integer[Any]], others: NDArray[np.integer[Any]]
) -> NDArray[np.int8]:
    """Return the true grades of pairs of items, by their rows; the arrays broadcast.

    3 the same item; 2 the same family in another colour; 1 the same category and form; 0 anything else.
    """
    family = np.array([item.family for item in items])
    forms = {pair: code for code, pair in enumerate(sorted({(item.category, item.form) for item in items}))}
    form = np.array([forms[item.category, item.form] for item in items])
    grade = (form[queries] == form[others]).astype(np.int8)
    grade[family[queries] == family[others]] = 2
    grade[np.broadcast_to(queries == others, grade.shape)] = 3
    return np.asarray(grade, np.int8)
