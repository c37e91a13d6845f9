"""Several metrics at once: which differences remain significant when all of them are tested."""

from __future__ import annotations

import numpy as np

from monitoring.experiments.moments import Floats


def holm(p_values: Floats) -> Floats:
    """Return Holm's adjusted p-values, (m,): rejecting those ≤ α errs at all with probability at most α, however dependent.

    Always-valid p-values stay always valid under it, for it is Bonferroni's inequality, step by step.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return adjusted
