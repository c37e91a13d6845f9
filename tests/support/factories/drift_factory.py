"""Makes samples of embeddings with and without drift."""

from __future__ import annotations

import numpy as np

from components.shared.vectors.embeddings import Vectors, normalise
from monitoring.drift.samples import Inputs, Sample

DIMENSION = 32
CENTRES = normalise(np.random.default_rng(11).normal(size=(12, DIMENSION)))
SHARES = np.random.default_rng(12).dirichlet(np.full(12, 3.0))


def make_vectors(rows: int, rng: np.random.Generator, *, shares: np.ndarray | None = None) -> Vectors:
    """Return unit vectors from twelve clusters."""
    centres = CENTRES[rng.choice(len(CENTRES), rows, p=SHARES if shares is None else shares)]
    return normalise(centres + rng.normal(0, 0.1, (rows, DIMENSION)))


def make_inputs(rows: int, rng: np.random.Generator, **changes: float) -> Inputs:
    """Return statistics of pictures; `changes` multiply a figure."""
    figures = {
        "brightness": rng.normal(0.6, 0.1, rows),
        "contrast": rng.normal(0.4, 0.1, rows),
        "sharpness": rng.lognormal(-4, 0.5, rows),
        "saturation": rng.normal(0.3, 0.1, rows),
        "pixels": rng.choice([1e5, 2e5, 4e5], rows),
        "aspect": rng.choice([0.75, 1.0, 4 / 3], rows),
        "bytes_per_pixel": rng.lognormal(-1, 0.3, rows),
    }
    for name, factor in changes.items():
        figures[name] = figures[name] * factor
    return Inputs(figures, rng.choice(["jpeg", "png"], rows, p=[0.8, 0.2]))


def make_sample(vectors: Vectors, inputs: Inputs | None = None, *, space_id: str = "s-1", name: str = "q") -> Sample:
    """Return a sample of these vectors."""
    return Sample(space_id, tuple(f"{name}-{row}" for row in range(len(vectors))), vectors, inputs)
