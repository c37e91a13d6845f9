"""The domain classifier: can a linear rule tell queries of the window from the reference?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.shared.vectors.embeddings import Vectors
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.permutations import Floats, Groups, permuted_groups, sequential_p_value

_RIDGE = 0.05  # of the mean variance, so that directions without variance do not dominate


def domain_classifier(
    reference: Vectors, window: Vectors, parameters: DriftParameters, rng: np.random.Generator
) -> DriftOutcome:
    """Test by the cross-fitted AUC of Fisher's linear discriminant, against its permutations.

    The covariance is that of both samples together: it is blind to which is which, so it is computed once for all
    permutations, and gives the direction that the covariance within the samples would give.

    Args:
        reference: (m, d) unit vectors.
        window: (n, d) unit vectors.
        parameters: folds and permutations.
        rng: source of randomness for both.

    Source: Kim, Ramdas, Singh and Wasserman, Classification accuracy as a proxy for two-sample testing, 2021.
    """
    pooled = _whitened(np.concatenate([reference, window]))
    actual = np.concatenate([np.zeros(len(reference), np.float32), np.ones(len(window), np.float32)])
    folds = np.array_split(rng.permutation(len(pooled)), parameters.folds)
    observed = float(cross_fitted_auc(pooled, actual[None], folds)[0])

    def draw(count: int) -> Floats:
        return cross_fitted_auc(pooled, permuted_groups(len(pooled), len(window), count, rng), folds)

    p_value = sequential_p_value(
        observed, draw, permutations=parameters.permutations, exceedances=parameters.exceedances
    )
    effect = max(0.0, observed - 0.5)
    return DriftOutcome("domain_classifier", observed, p_value, effect, "AUC − 0.5", parameters.minimum_auc)


def cross_fitted_auc(vectors: Vectors, groups: Groups, folds: list[NDArray[np.int64]]) -> Floats:
    """Return the mean AUC over the folds, each scored by the difference of means of the others, for each division.

    Args:
        vectors: (r, d), whitened.
        groups: (p, r), 1 for the window.
        folds: rows of each fold.

    Returns:
        (p,) from 0 to 1; 0.5 says nothing.
    """
    sums = [groups[:, fold] @ vectors[fold] for fold in folds]
    counts = [groups[:, fold].sum(axis=1, keepdims=True) for fold in folds]
    window_sum, window_count = sum(sums), sum(counts)
    total = vectors.sum(axis=0)
    areas = np.zeros(len(groups))
    for fold, fold_sum, fold_count in zip(folds, sums, counts, strict=True):
        inside, number = window_sum - fold_sum, window_count - fold_count
        outside = total - vectors[fold].sum(axis=0) - inside
        direction = inside / number - outside / (len(vectors) - len(fold) - number)
        areas += _auc(direction @ vectors[fold].T, groups[:, fold])
    return areas / len(folds)


def _auc(scores: NDArray[np.float32], positive: Groups) -> Floats:
    """Return the area under the ROC curve by rows: (p, f) scores and ones → (p,)."""
    order = np.argsort(scores, axis=1)
    ranked = np.take_along_axis(positive, order, axis=1)
    ones = positive.sum(axis=1, dtype=np.float64)
    ranks = ranked @ np.arange(1, scores.shape[1] + 1, dtype=np.float64)
    pairs = ones * (scores.shape[1] - ones)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (ranks - ones * (ones + 1) / 2) / pairs
    return np.where(pairs > 0, area, 0.5)


def _whitened(vectors: Vectors) -> Vectors:
    centred = vectors - vectors.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    variances, axes = np.linalg.eigh(covariance.astype(np.float64))
    scale = 1 / np.sqrt(np.maximum(variances, 0) + _RIDGE * variances.mean() + 1e-12)
    return np.ascontiguousarray(centred @ (axes * scale).astype(np.float32))
