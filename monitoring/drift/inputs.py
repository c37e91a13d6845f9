"""Input statistics: have the pictures themselves changed, as files and as pictures?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from monitoring.drift.occupancy import chi_square
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import FIGURES, Inputs

_SIMULATIONS = 9_999


def input_outcomes(
    reference: Inputs, window: Inputs, parameters: DriftParameters, rng: np.random.Generator
) -> tuple[DriftOutcome, ...]:
    """Test every figure by the Kolmogorov-Smirnov distance, and the formats by χ²."""
    reference, window = reference.known(), window.known()
    outcomes = [_figure(name, reference.figures[name], window.figures[name], parameters) for name in FIGURES]
    return (*outcomes, _formats(reference.formats, window.formats, parameters, rng))


def _figure(
    name: str, reference: NDArray[np.float64], window: NDArray[np.float64], parameters: DriftParameters
) -> DriftOutcome:
    found = ks_2samp(reference, window, method="asymp")
    return DriftOutcome(
        name,
        float(np.median(window)),
        float(found.pvalue),
        float(found.statistic),
        "KS distance",
        parameters.minimum_distance,
    )


def _formats(
    reference: NDArray[np.str_], window: NDArray[np.str_], parameters: DriftParameters, rng: np.random.Generator
) -> DriftOutcome:
    names, pooled = np.unique(np.concatenate([reference, window]), return_inverse=True)
    both = np.bincount(pooled, minlength=len(names))
    inside = np.bincount(pooled[len(reference) :], minlength=len(names))
    moved = float(np.abs(inside / len(window) - (both - inside) / len(reference)).sum() / 2)
    p_value = 1.0
    if len(names) > 1:
        draws = rng.multivariate_hypergeometric(both, len(window), size=_SIMULATIONS)
        observed = chi_square(inside[None], both)[0]
        reached = np.count_nonzero(chi_square(draws, both) >= observed * (1 - 1e-12))
        p_value = (1 + reached) / (_SIMULATIONS + 1)
    return DriftOutcome(
        "format", moved, float(p_value), moved, "share that changed format", parameters.minimum_distance
    )
