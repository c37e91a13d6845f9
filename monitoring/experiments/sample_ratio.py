"""Sample-ratio mismatch: are there as many users in each arm as there should be?

If not, something decides who is counted (a crash, a lost cookie, a cache), and no other figure of the experiment means
anything.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import chi2

from monitoring.experiments.moments import Floats


def chi_square_p(counts: Floats, shares: Floats) -> Floats:
    """Return Pearson's test for one look, (…) from (…, arms) counts and (arms,) expected shares.

    Example:
        >>> float(chi_square_p(np.array([500.0, 500.0]), np.array([0.5, 0.5])))
        1.0
        >>> bool(chi_square_p(np.array([500.0, 600.0]), np.array([0.5, 0.5])) < 0.01)
        True
    """
    total = counts.sum(axis=-1, keepdims=True)
    expected = np.maximum(total * shares, 1e-300)
    return np.asarray(chi2.sf(((counts - expected) ** 2 / expected).sum(axis=-1), counts.shape[-1] - 1))


def sequential_p(counts: Floats, shares: Floats, *, concentration: float = 1_000.0) -> Floats:
    """Return p-values that are valid at all looks at once, (…, looks), from (…, looks, arms) counts so far.

    The Bayes factor of the shares being Dirichlet(concentration · shares) against their being exact is a martingale under the
    latter, in any order of arrival of users. The concentration is the mismatch looked for: 1,000 stands for a
    deviation of 1.6 percentage points in arms of half.

    Source: Lindon, Malek (2022), Anytime-valid inference for multinomial count data, NeurIPS, equation 7 and theorem 3.1.
    """
    prior = concentration * shares
    total = counts.sum(axis=-1)
    log_factor = (
        gammaln(concentration)
        - gammaln(concentration + total)
        + (gammaln(prior + counts) - gammaln(prior) - xlogy(counts, shares)).sum(axis=-1)
    )
    return np.asarray(np.minimum(1.0, np.exp(-np.maximum.accumulate(np.maximum(log_factor, 0.0), axis=-1))))
