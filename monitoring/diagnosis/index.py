"""The index: does it still find the exact neighbours, and do quantiser and lists still fit what was added?"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm

from components.shared.truth.metrics import ann_recall_at_k
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.search import CatalogueIndex
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.findings import Concern

_K = 10  # the index was tuned for it
_BUILT_ROWS = 5_000  # rows of the index itself that represent the build
_SIMULATIONS = 1_999


def index_recall(index: CatalogueIndex, queries: Vectors, parameters: DiagnosisParameters, *, seed: int = 0) -> Concern:
    """Compare the index's answers to sampled queries with exact ones.

    Args:
        index: index of the release.
        queries: (q, d) sampled query embeddings of its space.
        parameters: how many, and what alarms.
        seed: seed of the sample, if there are more.
    """
    target = index.spec.recall.target
    if not len(queries):
        return _unknown("index_recall", "there is no sampled query to measure the index's recall on")
    if len(queries) > parameters.recall_queries:
        chosen = np.random.default_rng(seed).choice(len(queries), parameters.recall_queries, replace=False)
        queries = queries[np.sort(chosen)]
    found, exact = index.search(queries, _K), index.search(queries, _K, exact=True)
    last = np.where(exact.rows >= 0, exact.scores, np.inf).min(axis=1, keepdims=True)
    recalls = ann_recall_at_k(found.rows, exact.rows, _K, tied=found.scores >= last)
    mean = float(recalls.mean())
    error = float(recalls.std(ddof=1) / np.sqrt(len(recalls))) if len(recalls) > 1 else 0.0
    p_value = float(norm.sf((target - mean) / error)) if error else float(mean >= target)
    lost = target - mean
    shown = p_value <= parameters.alpha
    state = "ok" if not shown else "alarm" if lost >= parameters.minimum_recall_loss else "watch"
    return Concern.model_validate({
        "name": "index_recall", "topic": "index", "state": state, "value": mean, "threshold": target,
        "p_value": p_value, "effect": max(0.0, lost), "effect_name": "recall below target", "window": len(queries),
        "sentence": f"The index finds {mean:.1%} of the exact 10 nearest images of {len(queries)} sampled queries; "
        f"{target:.1%} was asked for and {index.spec.recall.ann_recall_at_10:.1%} was measured when it was built.",
    })  # fmt: skip


def quantiser_age(
    index: CatalogueIndex, additions: Vectors, parameters: DiagnosisParameters, *, seed: int = 0
) -> tuple[Concern, ...]:
    """Compare quantisation error and list imbalance of recent additions with those of what the index was built on.

    Args:
        index: index of the release; its rows represent its build.
        additions: (a, d) vectors added since, of the generations.
        parameters: thresholds of the alarms.
        seed: seed of the sample of the index's rows.
    """
    base = _base(index)
    if not isinstance(base, faiss.IndexIVF | faiss.IndexPQ):
        sentence = f"An index of kind {index.spec.kind} has neither lists nor codes that could age."
        return (_concern("quantisation_error", "ok", sentence, window=len(additions)),)
    if len(additions) < parameters.minimum_additions:
        sentence = (
            f"{len(additions)} images were added since the index was built; {parameters.minimum_additions} are needed to "
            "tell whether the quantiser still fits"
        )
        return (_unknown("quantisation_error", sentence, window=len(additions)),)
    rows = np.random.default_rng(seed).permutation(index.rows)[:_BUILT_ROWS].astype(np.int64)
    built = index.stored(np.sort(rows))
    concerns = [_error(base, built, additions, parameters)]
    if isinstance(base, faiss.IndexIVF):
        concerns.append(_imbalance(base, additions, parameters, seed))
    return tuple(concerns)


def quantisation_errors(base: Any, vectors: Vectors) -> NDArray[np.float64]:
    """Return the squared distance of each vector to its code, or to the centroid of its list where lists hold vectors."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    if isinstance(base, faiss.IndexIVF) and not isinstance(base, faiss.IndexIVFPQ):
        places = base.quantizer.search(vectors, 1)[1][:, 0]
        near = np.stack([base.quantizer.reconstruct(int(place)) for place in places])
    else:
        near = base.sa_decode(base.sa_encode(vectors))
    return np.asarray(((vectors - near) ** 2).sum(axis=1), np.float64)


def list_sizes(base: Any) -> NDArray[np.int64]:
    """Return how many vectors each inverted list holds."""
    return np.array([base.invlists.list_size(place) for place in range(base.nlist)], np.int64)


def imbalance(sizes: NDArray[np.int64]) -> float:
    """Return Faiss's imbalance factor: 1 for equal lists; proportional to what a search has to scan."""
    return float(len(sizes) * (sizes.astype(np.float64) ** 2).sum() / float(sizes.sum()) ** 2)


def _error(base: Any, built: Vectors, additions: Vectors, parameters: DiagnosisParameters) -> Concern:
    before, now = quantisation_errors(base, built), quantisation_errors(base, additions)
    ratio = float(now.mean() / max(before.mean(), 1e-12))
    p_value = float(mannwhitneyu(now, before, alternative="greater").pvalue)
    aged = p_value <= parameters.alpha and ratio >= parameters.error_ratio
    return _concern(
        "quantisation_error",
        "alarm" if aged else "ok",
        f"The quantiser is off by {now.mean():.3g} on the {len(now)} images added since the index was built, and by "
        f"{before.mean():.3g} on those that it was built on: {ratio:.2f} times as much.",
        value=float(now.mean()), threshold=float(before.mean() * parameters.error_ratio), p_value=p_value,
        effect=ratio - 1, effect_name="error of additions / error at build − 1", window=len(now),
    )  # fmt: skip


def _imbalance(base: Any, additions: Vectors, parameters: DiagnosisParameters, seed: int) -> Concern:
    sizes = list_sizes(base)
    places = base.quantizer.search(np.ascontiguousarray(additions, np.float32), 1)[1][:, 0]
    added = np.bincount(places, minlength=base.nlist)
    draws = np.random.default_rng(seed).multinomial(len(additions), sizes / sizes.sum(), size=_SIMULATIONS)
    factors = np.array([imbalance(draw) for draw in draws])
    value, usual = imbalance(added), float(factors.mean())
    p_value = float((1 + (factors >= value).sum()) / (_SIMULATIONS + 1))
    aged = p_value <= parameters.alpha and value >= parameters.imbalance_ratio * usual
    return _concern(
        "list_imbalance",
        "alarm" if aged else "ok",
        f"The {len(additions)} additions crowd in the index's lists with an imbalance of {value:.2f}; as many of the "
        f"images that it was built on would give {usual:.2f}.",
        value=value, threshold=parameters.imbalance_ratio * usual, p_value=p_value,
        effect=value / usual - 1, effect_name="imbalance / imbalance at build − 1", window=len(additions),
    )  # fmt: skip


def _base(index: CatalogueIndex) -> Any:
    whole = index.faiss_index
    return faiss.downcast_index(whole.base_index) if isinstance(whole, faiss.IndexRefine) else whole


def _concern(name: str, state: str, sentence: str, **figures: Any) -> Concern:
    return Concern.model_validate({"name": name, "topic": "index", "state": state, "sentence": sentence, **figures})


def _unknown(name: str, sentence: str, window: int = 0) -> Concern:
    return _concern(name, "unknown", f"{sentence[0].upper()}{sentence[1:]}.", window=window)
