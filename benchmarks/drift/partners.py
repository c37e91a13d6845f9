"""Evidently's methods for embeddings, called without its t-SNE plot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Method = Callable[[np.ndarray, np.ndarray], bool]

# Number of windows without drift: each bootstrap costs twice our five tests, MMD ten times.
WINDOWS = {
    "model, 0.55": 1_000, "euclidean, 0.2": 1_000, "cosine, 0.2": 1_000, "model, bootstrap": 50,
    "euclidean, bootstrap": 50, "ratio wasserstein": 50, "ratio ks": 50, "mmd, 0.015": 10,
}  # fmt: skip


def evidently_methods() -> dict[str, Method]:
    """Return name → (reference, window) → drift detected; the word after the comma is the threshold."""
    import pandas as pd
    from evidently.legacy.metrics.data_drift import embedding_drift_methods as methods

    def caller(method: Callable[..., tuple[float, bool, str]]) -> Method:
        return lambda reference, window: bool(method(pd.DataFrame(window), pd.DataFrame(reference))[1])

    return {
        "model, 0.55": caller(methods.model()),
        "euclidean, 0.2": caller(methods.distance(dist="euclidean")),
        "cosine, 0.2": caller(methods.distance(dist="cosine")),
        "model, bootstrap": caller(methods.model(bootstrap=True)),
        "euclidean, bootstrap": caller(methods.distance(dist="euclidean", bootstrap=True)),
        "ratio wasserstein": caller(methods.ratio()),
        "ratio ks": caller(methods.ratio(component_stattest="ks")),
        "mmd, 0.015": caller(methods.mmd()),
    }
