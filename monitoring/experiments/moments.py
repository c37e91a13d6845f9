"""Counts, means and covariances of what users did: all that the statistics of an experiment need of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """First and second moments over users. Leading axes (experiments, looks) are allowed everywhere.

    Attributes:
        count: (…) number n of users.
        mean: (…, m) means of m variables.
        covariance: (…, m, m) sample covariances (n − 1).
    """

    count: Floats
    mean: Floats
    covariance: Floats

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Take them from (…, n, m) values, in two passes."""
        count = values.shape[-2]
        mean = values.sum(axis=-2) / max(count, 1)  # without users: 0, without a warning
        centred = values - mean[..., None, :]
        products = np.einsum("...ni,...nj->...ij", centred, centred)
        return cls(np.full(values.shape[:-2], float(count)), mean, products / max(count - 1, 1))

    @classmethod
    def of_sums(cls, count: Floats, sums: Floats, products: Floats) -> Moments:
        """Take them from n (…), sums (…, m) and sums of products (…, m, m)."""
        n = np.asarray(count, np.float64)[..., None]
        mean = sums / np.maximum(n, 1)
        centred = products - n[..., None] * mean[..., :, None] * mean[..., None, :]
        return cls(n[..., 0], mean, centred / np.maximum(n[..., None] - 1, 1))

    def __add__(self, other: Moments) -> Moments:
        """Pool two groups of users (Chan, Golub, LeVeque, 1983)."""
        n, m = self.count[..., None], other.count[..., None]
        total = np.maximum(n + m, 1)
        gap = other.mean - self.mean
        between = (n * m / total)[..., None] * gap[..., :, None] * gap[..., None, :]
        within = np.maximum(n - 1, 0)[..., None] * self.covariance + np.maximum(m - 1, 0)[..., None] * other.covariance
        covariance = (within + between) / np.maximum(n + m - 1, 1)[..., None]
        return Moments(self.count + other.count, self.mean + gap * m / total, covariance)
