"""Simulated experiments with users as they are: many come once, few come daily, and each clicks at a rate of his own.

For calibration: what an analysis promises is counted over thousands of experiments, all at once in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitoring.experiments.moments import Floats, Moments
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.experiments.ratios import Difference, compare


@dataclass(frozen=True)
class Population:
    """How users behave.

    Attributes:
        users: in each arm.
        days: length of the experiment.
        searches_per_day: median of the users' rates.
        spread: standard deviation of the logarithm of that rate: at 1.2, a tenth of the users makes half of the searches.
        click_rate: mean probability that a search gets a click.
        concentration: a + b of the Beta distribution of the users' own click rates.
    """

    users: int = 500
    days: int = 14
    searches_per_day: float = 0.3
    spread: float = 1.2
    click_rate: float = 0.3
    concentration: float = 4.0


def simulate(experiments: int, lift: float, population: Population, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw experiments.

    Args:
        experiments: how many, e.
        lift: relative increase of every treated user's click rate.
        population: simulated users.
        rng: source of randomness.

    Returns:
        Clicked searches and searches so far, each (e, 2 arms, users, days), cumulated; users begin on different days.
    """
    shape = (experiments, 2, population.users)
    rate = population.searches_per_day * np.exp(population.spread * rng.standard_normal(shape))
    own = rng.beta(
        population.click_rate * population.concentration, (1 - population.click_rate) * population.concentration, shape
    )
    own[:, 1] = np.minimum(own[:, 1] * (1 + lift), 1.0)
    arrival = rng.integers(0, population.days, shape) * (rng.random(shape) < 0.7)
    days = np.arange(population.days)
    searches = rng.poisson(rate[..., None] * (days >= arrival[..., None]))
    clicked = np.zeros_like(searches)
    some = searches > 0  # binomials of nothing cost as much as others
    clicked[some] = rng.binomial(searches[some], np.broadcast_to(own[..., None], searches.shape)[some])
    return np.cumsum(clicked, axis=-1).astype(np.float64), np.cumsum(searches, axis=-1).astype(np.float64)


def compare_simulated(clicked: Floats, searches: Floats) -> Difference:
    """Compare the arms of all experiments at all looks: arrays (e, days), by the same code as real experiments."""
    arms = [_moments(clicked[:, arm], searches[:, arm]) for arm in (0, 1)]
    return compare(*arms)


def _moments(x: Floats, y: Floats) -> Moments:
    count = (y > 0).sum(axis=1).astype(np.float64)
    sums = np.stack([x.sum(axis=1), y.sum(axis=1)], axis=-1)
    xx, xy, yy = (np.einsum("eud,eud->ed", a, b) for a, b in ((x, x), (x, y), (y, y)))
    products = np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)
    return Moments.of_sums(count, sums, products)


def rejections(
    found: Difference, clicked: Floats, searches: Floats, parameters: ExperimentParameters
) -> dict[str, Floats]:
    """Return whether each method ever rejects "no difference": (e, days) of 0 and 1, for each look alone.

    pooled: a z-test over searches as if independent; delta: the same by user; sequence: the always-valid interval.
    """
    from scipy.stats import norm

    from monitoring.experiments.analysis import tuning_of
    from monitoring.experiments.sequences import critical_value

    totals, shown = clicked.sum(axis=2), searches.sum(axis=2)
    rate = totals.sum(axis=1) / shown.sum(axis=1)
    naive = (totals[:, 1] / shown[:, 1] - totals[:, 0] / shown[:, 0]) / np.sqrt(
        rate * (1 - rate) * (1 / shown[:, 0] + 1 / shown[:, 1])
    )
    z = found.value / np.sqrt(found.variance)
    information = 1 / found.variance
    rho = np.vectorize(lambda baseline: tuning_of(baseline, parameters))(rate)
    limit = norm.isf(parameters.alpha / 2)
    enough = (searches > 0).sum(axis=2).min(axis=1) >= parameters.minimum_users
    enough &= (clicked > 0).sum(axis=2).min(axis=1) >= parameters.minimum_clicks
    reach = critical_value(information, rho=rho, alpha=parameters.alpha)
    return {
        "pooled": (np.abs(naive) > limit).astype(np.float64),
        "delta": (np.abs(z) > limit).astype(np.float64),
        "sequence": ((np.abs(z) > reach) & enough).astype(np.float64),
    }
