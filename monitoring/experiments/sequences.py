"""Always-valid inference: intervals that hold at all looks together, so that one can check daily and stop at any time.

An estimate whose variance by now is V has the information I = 1/V, and its score S = estimate · I behaves like a Brownian
motion with time I (a later estimate adds independent information to an earlier one). Mixing the likelihood ratio over effects
from N(0, 1/ρ) gives a martingale, and Ville's inequality a boundary that the score crosses, at any time, with
probability at most α. Users who come again are in one cluster whose sums grow; where their days are alike, successive estimates
are correlated more strongly than those of the Brownian motion, and the boundary errs on the safe side (Slepian's inequality).

The intervals are asymptotic: they start at a minimum number of users.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Time-uniform central limit theory and asymptotic confidence
sequences, Annals of Statistics 52(6), theorem 2.2 (two-sided), proposition B.1 (one-sided) and appendix B.2 (choice of ρ), with
t ρ² written as I/ρ; Robbins (1970), Statistical methods related to the law of the iterated logarithm; Scharfstein,
Tsiatis, Robins (1997), Semiparametric efficiency and its implications on the design of group-sequential studies, JASA, for the
independent increments.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from monitoring.experiments.moments import Floats

Numbers = float | Floats


def tuning(information: float, alpha: float) -> float:
    """Return the ρ for which the interval is tightest (nearly) at a given information."""
    spent = -2 * np.log(alpha)
    return float(information / (spent + np.log(spent + 1)))


def needed_information(effect: float, *, alpha: float, power: float) -> float:
    """Return the information with which a two-sided test at one fixed time finds an effect with a given power."""
    return float(((norm.isf(alpha / 2) + norm.isf(1 - power)) / effect) ** 2)


def critical_value(information: Numbers, *, rho: Numbers, alpha: float, one_sided: bool = False) -> Floats:
    """Return how many standard errors an always-valid interval reaches to each side (or to one).

    Args:
        information: (…) 1 / variance of the estimate; > 0.
        rho: information at which evidence begins to count; fixed beforehand, from `tuning`.
        alpha: probability that the interval ever misses.
        one_sided: a bound on one side instead of two.
    """
    share = information / rho
    inside = 2 * np.log1p(np.sqrt(1 + share) / (2 * alpha)) if one_sided else np.log1p(share) - 2 * np.log(alpha)
    return np.asarray(np.sqrt((1 + 1 / share) * inside))


def log_evidence(estimate: Numbers, information: Numbers, *, rho: Numbers) -> Floats:
    """Return the logarithm of the mixture likelihood ratio against "no effect".

    Its reciprocal, at the largest so far, is a p-value that is valid whenever one stops.
    """
    shrunk = information / (information + rho)
    return np.asarray(0.5 * np.log1p(-shrunk) + 0.5 * estimate**2 * information * shrunk)


def always_valid_p(evidence: Floats) -> Floats:
    """Return (…, looks) running p-values from (…, looks) logarithms of evidence; NaN (too few users) is no evidence."""
    best = np.maximum.accumulate(np.where(np.isnan(evidence), -np.inf, evidence), axis=-1)
    return np.asarray(np.minimum(1.0, np.exp(-np.maximum(best, 0.0))))
