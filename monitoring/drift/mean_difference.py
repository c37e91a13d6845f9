"""The permuted mean: has the centre of the queries moved?"""

from __future__ import annotations

import numpy as np

from components.shared.vectors.embeddings import Vectors
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.permutations import Floats, Groups, permuted_groups, sequential_p_value


def mean_difference(
    reference: Vectors, window: Vectors, parameters: DriftParameters, rng: np.random.Generator
) -> DriftOutcome:
    """Test by the distance of the two means, against its permutations.

    Args:
        reference: (m, d) unit vectors.
        window: (n, d) unit vectors.
        parameters: permutations.
        rng: source of randomness.
    """
    pooled = np.concatenate([reference, window])
    actual = np.concatenate([np.zeros(len(reference), np.float32), np.ones(len(window), np.float32)])
    pooled = pooled - pooled.mean(axis=0)
    observed = float(squared_distances(pooled, actual[None])[0])

    def draw(count: int) -> Floats:
        return squared_distances(pooled, permuted_groups(len(pooled), len(window), count, rng))

    p_value = sequential_p_value(
        observed, draw, permutations=parameters.permutations, exceedances=parameters.exceedances
    )
    difference = window.mean(axis=0) - reference.mean(axis=0)
    distance = float(np.linalg.norm(difference))
    # Sampling alone sets the means apart; what it does on average is taken off.
    expected = float(pooled.var(axis=0).sum()) * (1 / len(reference) + 1 / len(window))
    shift = float(np.sqrt(max(0.0, observed - expected)))
    spread = float(np.std(reference @ (difference / max(distance, 1e-12))))
    effect = shift / max(spread, 1e-12)
    return DriftOutcome("mean_difference", distance, p_value, effect, "standard deviations", parameters.minimum_shift)


def squared_distances(centred: Vectors, groups: Groups) -> Floats:
    """Return the squared distance of the means of both groups: (r, d) of mean zero, (p, r) ones for the window → (p,)."""
    window = groups.sum(axis=1, keepdims=True)
    # The sums of the two groups are opposite, since all rows together sum to zero.
    differences = (groups @ centred) * (1 / window + 1 / (groups.shape[1] - window))
    return np.asarray(np.einsum("pd,pd->p", differences, differences, dtype=np.float64), np.float64)
