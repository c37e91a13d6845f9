"""The position-based model of clicks: a user clicks a result if they examine its position and it attracts them.

Source: Agarwal, Zaitsev, Wang, Li, Najork, Joachims (2019), Estimating position bias without intrusive interventions, WSDM,
section 4.3 (AllPairs); Wang, Golbandi, Bendersky, Metzler, Najork (2018), Position bias estimation for unbiased learning to
rank in personal search, WSDM, section 4 (the same likelihood, maximised directly instead of by EM).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]

_LARGEST_PRODUCT = -1e-9  # upper limit of log(p · r)


def pair_groups(clicks: Floats, shown: Floats) -> tuple[Floats, Floats]:
    """Turn the K × K sums into groups of two positions: (K (K − 1) / 2, K) clicks and impressions."""
    upper, lower = np.triu_indices(len(clicks), 1)
    rows = np.arange(len(upper))
    group_clicks, group_shown = np.zeros((2, len(upper), len(clicks)))
    group_clicks[rows, upper], group_clicks[rows, lower] = clicks[upper, lower], clicks[lower, upper]
    group_shown[rows, upper], group_shown[rows, lower] = shown[upper, lower], shown[lower, upper]
    used = group_shown.sum(axis=1) > 0
    return group_clicks[used], group_shown[used]


def fit_position_model(clicks: Floats, shown: Floats) -> Floats:
    """Maximise the likelihood of the position-based model over groups with a common attraction.

    Args:
        clicks: (groups, K) clicks, fractions allowed.
        shown: (groups, K) impressions, at least as many as clicks.

    Returns:
        (K,) propensities, the first is 1. A position without clicks gets a tiny one.
    """
    groups, k = clicks.shape
    scale = max(clicks.sum(), 1.0)
    c, rest = clicks / scale, np.maximum(shown - clicks, 0) / scale
    used = (clicks + shown) > 0

    def loss(theta: Floats) -> tuple[float, Floats]:
        x = np.minimum(theta[:k][None, :] + theta[k:][:, None], _LARGEST_PRODUCT)
        x = np.where(used, x, -1.0)
        miss = -np.expm1(x)
        slope = np.where(used, -c + rest * np.exp(x) / miss, 0.0)
        value = -(c * x + rest * np.log(miss))[used].sum()
        gradient = np.concatenate([slope.sum(axis=0), slope.sum(axis=1)])
        gradient[0] = 0.0  # the first propensity is 1
        return float(value), gradient

    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.nan_to_num(clicks.sum(axis=1) / shown.sum(axis=1))
    start = np.concatenate([np.zeros(k), np.log(np.clip(rate, 1e-4, 0.5))])
    bounds = [(0.0, 0.0), *[(-14.0, 4.0)] * (k - 1), *[(-18.0, 4.0)] * groups]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 5000, "ftol": 1e-13, "gtol": 1e-9}
    )
    values: Floats = np.exp(found.x[:k])
    return values
