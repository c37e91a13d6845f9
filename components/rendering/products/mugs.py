"""Mugs: a wall turned on the wheel and a handle."""

from __future__ import annotations

import numpy as np

from components.rendering.products.parts import Shape, between, handle, vessel
from components.rendering.surfaces import Surface, smooth


def mug(form: str, s: Shape) -> list[Surface]:
    """Build a mug: "straight", "tapered", "belly", "bowl" or "square"."""
    radius, height = 0.4, between(s[0], 0.72, 1.15)
    if form == "straight":
        knots = [(radius * 0.95, 0.0), (radius, 0.04), (radius, height)]
    elif form == "tapered":
        foot = radius * between(s[1], 0.55, 0.78)
        knots = [(foot, 0.0), (foot + 0.02, 0.03), ((foot + radius) / 2, height / 2), (radius, height)]
    elif form == "belly":
        neck, widest = radius * between(s[1], 0.72, 0.88), height * between(s[2], 0.25, 0.45)
        knots = [(radius * 0.6, 0.0), (radius * 1.05, widest), (neck, height * 0.85), (neck * 1.06, height)]
    elif form == "bowl":
        radius, height = 0.5, height * 0.62
        knots = [(radius * 0.4, 0.0), (radius * 0.45, 0.05), (radius * 0.85, height * 0.35), (radius, height)]
    else:
        knots = [(radius * 0.9, 0.0), (radius * 0.95, 0.04), (radius * 0.95, height)]
    profile = smooth(knots, 17)
    grip = handle(
        float(np.interp(height * 0.6, profile[:, 1], profile[:, 0])),
        height * between(s[5], 0.12, 0.3),
        height * 0.85,
        between(s[6], 0.2, 0.34),
        between(s[7], 0.035, 0.06),
        int(s[4] * 3.999),
        flat=between(s[3], 0.8, 1.7),
    )
    return [*vessel(profile, square=between(s[3], 4, 7) if form == "square" else 2.0), grip]
