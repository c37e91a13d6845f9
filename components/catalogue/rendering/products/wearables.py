"""Shoes, backpacks, T-shirts, watches, hats. Slot 0 patterned, 1 trim, 2 accent, 3 inside or sole."""

from __future__ import annotations

import numpy as np

from components.catalogue.rendering.products.tableware import Shape, between
from components.catalogue.rendering.surfaces import Floats, Surface, cushion, disc, evenly, lathe, sheet, smooth, tube


def _outline(along: Floats, toe: float, waist: float, heel: float) -> Floats:
    """Return the half-width of a foot at each share of its length."""
    body = np.interp(along, [0.0, 0.12, 0.3, 0.58, 0.85, 0.97, 1.0], [0.3, 0.8, 1.0, waist, heel, heel * 0.8, 0.35])
    return np.asarray(0.165 * np.minimum(body, np.sqrt(np.clip(along / toe, 0, 1)) * 1.05))


def shoe(form: str, s: Shape) -> list[Surface]:
    """Build a shoe that points left: "sneaker", "hightop", "loafer", "boot" or "runner"."""
    toe, waist, heel = between(s[0], 0.12, 0.3), between(s[1], 0.72, 0.85), between(s[2], 0.74, 0.9)
    along = 0.5 - 0.5 * np.cos(np.linspace(0.02, 0.98, 22) * np.pi)
    wide = _outline(along, toe, waist, heel)
    sole = {"sneaker": 0.07, "hightop": 0.075, "loafer": 0.04, "boot": 0.06, "runner": 0.1}[form] * between(s[3], 0.85, 1.35)
    spring = 0.06 * np.clip(0.3 - along, 0, 1) ** 2 / 0.09 * (1.4 if form == "runner" else 0.6)
    flare = 1.08 + (0.12 * along if form == "runner" else 0.0)
    lift = sole * (1 + (0.5 * along if form in ("runner", "boot") else 0 * along))
    cut = 1.18
    angle = np.linspace(0, 1, 9)
    rim = np.concatenate([np.linspace(-1, 1, 3), []])
    del rim
    sides = []
    for low_edge in (0.0, 1.0):
        sides.append(low_edge)
    section = np.array([(0.001, 0.0), (1.0, 0.0), (1.04, 0.3), (1.04, 0.7), (0.98, 1.0), (0.001, 1.0)])
    ring = np.concatenate([section * (1, 1), section[::-1] * (-1, 1)])
    soles = np.stack(
        [
            np.broadcast_to(along[:, None], (22, 12)),
            wide[:, None] * flare if np.isscalar(flare) else wide[:, None] * flare[:, None],
            np.zeros((22, 12)),
        ]
        if False
        else [
            np.broadcast_to(along[:, None] * 1.02 - 0.01, (22, 12)),
            (wide * flare)[:, None] * ring[None, :, 0],
            spring[:, None] + lift[:, None] * ring[None, :, 1],
        ],
        axis=-1,
    )
    ankle = {"sneaker": 0.33, "hightop": 0.5, "loafer": 0.27, "boot": 0.68, "runner": 0.34}[form] * between(s[4], 0.92, 1.1)
    vamp = between(s[5], 0.13, 0.17)
    opening = between(s[6], 0.5, 0.6) + (0.04 if form == "loafer" else 0.0)
    tall = np.interp(along, [0, 0.06, 0.25, opening, opening + 0.1, 1.0], [0.06, 0.1, vamp + 0.02, ankle * 0.85 if form != "loafer" else ankle * 0.75, ankle * 0.92, ankle])
    tall = np.convolve(np.pad(tall, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    is_open = np.clip((along - opening) / 0.1, 0, 1)
    last = np.pi * (0.5 - 0.13 * is_open)  # how far the sides close over the foot
    upper = []
    for side in (1, -1):
        turn = angle[None, :] * last[:, None]
        bulge = np.cos(turn) ** 0.75
        y = side * wide[:, None] * np.where(is_open[:, None] > 0, np.maximum(bulge, 0.55), bulge)
        z = spring[:, None] + lift[:, None] * 0.9 + tall[:, None] * np.sin(turn) ** 0.9
        x = along[:, None] + 0.03 * np.sin(turn) * (along[:, None] > 0.8)
        points = np.stack([np.broadcast_to(x, y.shape), y, z], -1)
        upper.append(sheet(points if side == -1 else points[:, ::-1], slot=0, scale=1.6))
    heel_cap = np.stack([upper[0].points[-1, ::-1], upper[1].points[-1]], 0)
    parts = [Surface(soles, np.zeros((22, 12, 2)), 3), *upper, sheet(heel_cap, slot=1, scale=1.6)]
    top = along > opening + 0.02
    edge = [points.points[top, -1] if index == 1 else points.points[top, 0] for index, points in enumerate(upper)]
    collar = np.concatenate([edge[0], edge[1][::-1], edge[0][:1]])
    parts.append(tube(evenly(collar, 26), 0.018, slot=1, up=(0, 0.2, 1)))
    hole = np.stack([edge[0], (edge[0] + edge[1]) / 2 - (0, 0, 0.05), edge[1]], 1)
    parts.append(Surface(hole, np.zeros((*hole.shape[:2], 2)), 2))
    if form != "loafer":
        count = 4 + int(s[7] * 2.99) + (3 if form in ("hightop", "boot") else 0)
        for share in np.linspace(0.3, opening - 0.02, count):
            z = float(np.interp(share, along, spring + lift * 0.9 + tall)) + 0.004
            half = 0.055 + 0.02 * share
            lace = smooth([(share, -half, z - 0.03), (share - 0.01, 0, z + 0.005), (share, half, z - 0.03)], 8)
            parts.append(tube(lace, 0.011, slot=1 if s[1] > 0.5 else 3, segments=6, up=(1, 0, 0)))
    else:
        x = between(s[7], 0.36, 0.45)
        z = float(np.interp(x, along, lift + tall))
        parts.append(tube(smooth([(x, -0.13, z - 0.1), (x, -0.07, z - 0.005), (x, 0.07, z - 0.005), (x, 0.13, z - 0.1)], 12), 0.035, slot=1, flat=0.3, up=(1, 0, 0)))
    if form == "boot":
        parts.append(cushion(0.13, 0.13, sole * 0.9, slot=3, round_=0.3).moved(0.85, 0, sole * 0.7))
    del cut, sides
    return parts


def backpack(form: str, s: Shape) -> list[Surface]:
    """Build a backpack: "dome", "square", "rolltop" or "flap"."""
    width, depth, height = between(s[0], 0.3, 0.38), between(s[1], 0.15, 0.21), between(s[2], 0.44, 0.54)
    edge = {"dome": 0.55, "square": 0.22, "rolltop": 0.25, "flap": 0.35}[form] * between(s[3], 0.85, 1.15)
    body = cushion(width, depth, height, round_=edge, rows=16, segments=28)
    points = body.points.copy()
    share = (points[..., 2] / height + 1) / 2
    points[..., :2] *= (1.04 - between(s[4], 0.05, 0.3) * share**2)[..., None]
    body = Surface(points, body.uv, 0, True).mapped(0, 2, 1.1).moved(z=height)
    parts = [body]
    low, tall = between(s[5], 0.28, 0.4), between(s[6], 0.17, 0.26)
    pocket = cushion(width * between(s[7], 0.62, 0.86), 0.07, tall, slot=1, round_=edge).moved(0, -depth * 1.0, low)
    parts.append(pocket)
    zip_path = np.stack([np.linspace(-1, 1, 12) * width * 0.6, np.full(12, -depth - 0.075), np.full(12, low + tall * 0.62)], 1)
    parts.append(tube(zip_path, 0.012, slot=2, segments=6, up=(0, 0, 1)))
    arch = np.linspace(0, np.pi, 14)
    parts.append(tube(np.stack([0.1 * np.cos(arch), np.full(14, depth * 0.5), 2 * height * 0.98 + 0.1 * np.sin(arch)], 1), 0.022, slot=2))
    for x in (-1, 1):
        strap = smooth([(x * width * 0.4, depth, height * 1.85), (x * width * 1.12, depth * 1.35, height * 1.5), (x * width * 1.18, depth * 1.3, height * 0.7), (x * width * 0.8, depth, height * 0.2)], 16)
        parts.append(tube(strap, 0.035, slot=2, flat=0.5, segments=8, up=(0, 1, 0.1)))
    if form == "rolltop":
        roll = np.stack([np.linspace(-1, 1, 9) * width * 0.85, np.full(9, -depth * 0.2), np.full(9, 2 * height * 1.0)], 1)
        parts.append(tube(roll, 0.075, slot=0, segments=12, up=(0, 0, 1)).mapped(0, 2, 1.1))
        parts.append(tube(smooth([(0, -depth * 1.1, low + tall), (0, -depth * 1.05, height * 1.6), (0, -depth * 0.6, height * 2.1)], 10), 0.022, slot=2, flat=0.4, up=(1, 0, 0)))
    if form == "flap":
        across, down = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(0, 1, 9))
        reach = between(s[6], 0.5, 0.85)
        fall = np.stack([across * width * 0.97, -depth * np.clip(down * 3, 0, 1) * 1.12 + 0.04 * down - 0.02, 2 * height * 1.01 - height * reach * np.clip(down - 0.2, 0, 1) * 1.25 * (1 - 0.12 * across**4)], -1)
        parts.append(sheet(fall, slot=1, scale=1.1))
        for x in (-0.5, 0.5):
            z = 2 * height - height * reach
            parts.append(cushion(0.03, 0.02, 0.06, slot=2, round_=0.3).moved(x * width, -depth * 1.15, z))
    return parts


def tshirt(form: str, s: Shape) -> list[Surface]:
    """Build a T-shirt that lies flat: "crew", "vneck", "long", "polo" or "tank"."""
    length, half = between(s[0], 0.95, 1.15), between(s[1], 0.36, 0.44)
    neck, deep = between(s[2], 0.11, 0.16), between(s[3], 0.06, 0.1) + {"vneck": 0.14, "tank": 0.12}.get(form, 0.0)
    slope = between(s[4], 0.04, 0.09)
    shoulder = half * (0.62 if form == "tank" else 0.98)
    across = np.linspace(-1, 1, 27)
    down = np.linspace(0, 1, 18)[:, None]
    x_top = across * shoulder
    inside = np.clip(1 - np.abs(x_top) / neck, 0, 1)
    dip = deep * (inside if form == "vneck" else np.sqrt(np.clip(1 - (x_top / neck) ** 2, 0, 1)))
    top = -slope * np.abs(across) - dip
    share = np.clip(down * 2.5, 0, 1) ** 0.7
    x = x_top * (1 - share) + across * half * share * (1 + (between(s[5], -0.05, 0.12)) * down)
    bottom = -length - 0.015 * across**2
    y = top * (1 - down) + bottom * down
    folds = np.sin(9 * x + 5 * y + 6 * s[6]) * 0.006 + np.sin(4 * x - 13 * y + 9 * s[7]) * 0.005
    z = 0.035 * (1 - np.abs(across) ** 6) * np.minimum(1, (1 - down) * 8 + 0.3) + folds * np.minimum(1, down * 6)
    front = np.stack([x, y, z + 0.01], -1)
    body = Surface(front[::-1], np.zeros((18, 27, 2)), 0).mapped(0, 1, 1.05)
    parts = []
    inner = np.stack([np.broadcast_to(np.linspace(-1, 1, 9) * neck * 1.1, (4, 9)), np.linspace(0.02, -deep * 1.05, 4)[:, None] + np.zeros(9), np.full((4, 9), 0.004)], -1)
    parts.append(Surface(inner[::-1], np.zeros((4, 9, 2)), 2))
    reach = {"long": 0.62, "tank": 0.0}.get(form, between(s[5], 0.2, 0.3))
    if reach:
        cuff = between(s[6], 0.1, 0.135)
        for side in (1, -1):
            t, w = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 7))
            direction = np.array([np.cos(-0.75), np.sin(-0.75)])
            start_top, start_low = np.array([shoulder, -slope * 1.0]), np.array([half, -0.3])
            end_top = start_top + reach * direction
            end_low = end_top + 2 * cuff * np.array([direction[1], -direction[0]])
            edge_top, edge_low = start_top + (end_top - start_top) * t[..., None], start_low + (end_low - start_low) * t[..., None]
            flat = edge_top + (edge_low - edge_top) * w[..., None]
            rise = 0.03 * np.sin(np.pi * w) + 0.008 * np.sin(14 * t + 5 * w) + 0.002
            points = np.stack([side * flat[..., 0], flat[..., 1], rise], -1)
            points = points if side == -1 else points[:, ::-1]
            sleeve = Surface(points, np.zeros((7, 12, 2)), 1 if s[7] > 0.6 else 0).mapped(0, 1, 1.05)
            parts.append(sleeve)
    parts.append(body)
    rows = np.linspace(-1, 1, 21) * neck
    hem = deep * (np.clip(1 - np.abs(rows) / neck, 0, 1) if form == "vneck" else np.sqrt(np.clip(1 - (rows / neck) ** 2, 0, 1)))
    collar = np.stack([rows, -slope * np.abs(rows) / shoulder - hem, np.full(21, 0.05)], 1)
    parts.append(tube(collar, 0.016, slot=1, up=(0, 0, 1), segments=6))
    if form == "polo":
        for side in (-1, 1):
            flap = smooth([(side * neck, 0.01, 0.06), (side * neck * 0.5, -deep * 1.3, 0.07), (side * 0.02, -deep, 0.065)], 8)
            parts.append(tube(flap, 0.04, slot=1, flat=0.3, up=(0, 0, 1), segments=6))
        parts.append(cushion(0.02, 0.09, 0.01, slot=1, round_=0.2).moved(0, -deep - 0.1, 0.05))
        parts.extend(cushion(0.011, 0.011, 0.008, slot=2, round_=0.8, rows=6, segments=10).moved(0, -deep - 0.06 - 0.06 * i, 0.062) for i in range(2))
    return [part.moved(y=length / 2) for part in parts]


def watch(form: str, s: Shape) -> list[Surface]:
    """Build a watch that lies flat: "round", "square", "chrono" or "bracelet"."""
    radius = between(s[0], 0.2, 0.27)
    square = between(s[1], 4, 9) if form == "square" else 2.0
    high = between(s[2], 0.05, 0.085)
    bezel = between(s[3], 0.82, 0.92)
    case = np.array([(0.001, 0.0), (radius * 0.95, 0.0), (radius, high * 0.3), (radius, high * 0.75), (radius * 0.96, high), (radius * bezel, high * 1.05), (radius * bezel * 0.98, high * 0.9)])
    base = 0.1
    parts = [lathe(case, slot=2, square=square, segments=44).moved(z=base)]
    face = radius * bezel * 0.99
    parts.append(disc(face, face, base + high * 0.9, slot=1, square=square, segments=40))
    z = base + high * 0.96
    count = (12, 12, 4, 60)[int(s[4] * 3.999)] if form != "chrono" else 12
    for i in range(min(count, 24)):
        a = 2 * np.pi * i / min(count, 24)
        wide, tall = (0.09, 0.045) if i % 3 == 0 else (0.05, 0.025)
        mark = cushion(face * wide, face * tall, 0.004, slot=3, round_=0.2, rows=5, segments=8).moved(x=face * 0.84)
        parts.append(mark.turned(2, np.rad2deg(a)).moved(z=z))
    if form == "chrono":
        for a in (0, 120, 240):
            x, y = 0.42 * face * np.cos(np.deg2rad(a + 90)), 0.42 * face * np.sin(np.deg2rad(a + 90))
            parts.append(disc(face * 0.22, face * 0.22, z, slot=2, segments=18).moved(x, y))
    for turn, long, wide in ((between(s[5], 20, 70), 0.5, 0.05), (between(s[6], 120, 170), 0.75, 0.035)):
        parts.append(cushion(face * long / 2, face * wide, 0.005, slot=3, round_=0.2, rows=5, segments=8).moved(x=face * long / 2).turned(2, turn).moved(z=z + 0.008))
    parts.append(cushion(0.03, 0.022, 0.025, slot=2, round_=0.4).moved(radius + 0.02, 0, base + high / 2))
    wide = radius * between(s[7], 0.5, 0.78)
    for side in (1, -1):
        t = np.linspace(0, 1, 16)
        y = side * (radius * 0.86 + 0.58 * t)
        curve = base + high * 0.55 - 0.1 * t**2
        narrow = wide * (1 - 0.22 * t)
        if form == "bracelet":
            for i in range(8):
                at = (i + 0.5) / 8
                size = float(np.interp(at, t, narrow))
                for x, share in ((-0.7, 0.28), (0.0, 0.4), (0.7, 0.28)):
                    link = cushion(size * share, 0.036, 0.022, slot=0 if x else 2, round_=0.35, rows=6, segments=12)
                    parts.append(link.mapped(0, 1, 1.5).moved(x * size, side * (radius * 0.86 + 0.58 * at), base + high * 0.5 - 0.1 * at**2))
            continue
        across = np.linspace(-1, 1, 9)
        tip = np.where(t > 0.9, np.sqrt(np.clip(1 - ((t - 0.9) / 0.1) ** 2, 0.05, 1)), 1.0) if side == -1 else np.ones(16)
        strap = np.stack([across[None] * (narrow * tip)[:, None], np.broadcast_to(y[:, None], (16, 9)), curve[:, None] + 0.02 * (1 - across[None] ** 4)], -1)
        band = strap if side == 1 else strap[::-1]
        parts.append(Surface(band, np.zeros((16, 9, 2)), 0).mapped(0, 1, 1.6))
        if side == -1:
            parts.extend(disc(0.014, 0.014, 0, slot=3, segments=10).moved(0, float(y[i]), float(curve[i]) + 0.024) for i in range(7, 14, 2))
        else:
            buckle = np.array([(-1, 0), (-1, 1), (1, 1), (1, 0)]) * (wide * 0.86, 0.07)
            path = np.concatenate([buckle, buckle[:1]])
            loop = evenly(path, 24)
            parts.append(tube(np.stack([loop[:, 0], loop[:, 1] + y[-1] - 0.01, np.full(24, curve[-1] + 0.01)], 1), 0.014, slot=2, up=(0, 0, 1), segments=6))
    return parts


def hat(form: str, s: Shape) -> list[Surface]:
    """Build a hat: "cap", "fedora", "beanie", "bucket" or "sun"."""
    radius, tall = 0.34, between(s[0], 0.3, 0.42)
    if form == "cap":
        crown = smooth([(radius, 0), (radius * 1.0, tall * 0.4), (radius * 0.7, tall * 0.88), (0.001, tall)], 16)
        t, a = np.meshgrid(np.linspace(0, 1, 8), np.linspace(-1.05, 1.05, 15), indexing="ij")
        reach = between(s[1], 0.22, 0.34) * np.cos(a * 0.85) ** 0.6
        r = radius * 0.97 + reach * t
        brim = np.stack([r * np.sin(a), -r * np.cos(a), 0.02 - between(s[2], 0.02, 0.1) * (t**1.5) - 0.16 * np.abs(a) ** 2 * t * 0.3], -1)
        button = cushion(0.035, 0.035, 0.018, slot=1, round_=0.8, rows=6, segments=12).moved(z=tall)
        return [lathe(crown, repeats=2, segments=40), Surface(brim, np.zeros((8, 15, 2)), 1), button, lathe(crown * (0.95, 0.9), slot=3)]
    if form == "beanie":
        tall *= 1.35
        crown = smooth([(radius, 0), (radius * 1.02, tall * 0.4), (radius * 0.75, tall * 0.8), (0.001, tall)], 18)
        cuff_top = tall * between(s[1], 0.22, 0.36)
        cuff = smooth([(radius * 1.03, 0), (radius * 1.09, cuff_top * 0.5), (radius * 1.05, cuff_top)], 8)
        parts = [lathe(crown, flutes=30, depth=0.012, segments=60), lathe(cuff, slot=1, flutes=int(between(s[2], 20, 36)), depth=0.018, segments=72)]
        if s[3] > 0.4:
            ball = between(s[4], 0.08, 0.13)
            parts.append(cushion(ball, ball, ball, slot=2, round_=1.0, rows=10, segments=18).moved(z=tall + ball * 0.6))
        return parts
    if form == "bucket":
        crown = smooth([(radius * 1.04, 0), (radius * between(s[1], 0.82, 0.95), tall * 0.9), (radius * 0.75, tall), (0.001, tall)], 16)
        brim = smooth([(radius * between(s[2], 1.4, 1.7), -between(s[3], 0.1, 0.22)), (radius * 1.04, 0.0)], 6)
        return [lathe(brim * (0.99, 1.0), slot=3), lathe(brim, repeats=2), lathe(crown)]
    wide = radius * (between(s[1], 1.9, 2.5) if form == "sun" else between(s[1], 1.5, 1.85))
    droop = between(s[2], -0.05, 0.09)
    brim = smooth([(wide, -droop), ((wide + radius) / 2, 0.01), (radius, 0.0)], 10)
    crown = smooth([(radius, 0), (radius * 0.97, tall * 0.55), (radius * between(s[3], 0.6, 0.85), tall * 0.97), (radius * 0.3, tall * between(s[4], 0.85, 1.0)), (0.001, tall * 0.85)], 20)
    band = np.array([(radius * 1.015, 0.005), (radius * 1.015, tall * between(s[5], 0.12, 0.3))])
    surfaces = [lathe(brim, segments=48, flutes=2, depth=between(s[6], 0.0, 0.06)), lathe(crown, segments=40), lathe(band, slot=1, segments=40)]
    if s[7] > 0.5:
        surfaces.append(cushion(0.03, 0.02, 0.05, slot=2, round_=0.5).moved(radius * 0.75, -radius * 0.75, tall * 0.12))
    return [part.scaled(0.9, 1.05, 1) for part in surfaces]
