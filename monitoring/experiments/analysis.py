"""The current state of an experiment: every metric at every look, sample ratio, guardrails, countries."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import norm

from monitoring.experiments.guardrails import GuardrailResult, watch_guardrails
from monitoring.experiments.metrics import METRICS, Metric
from monitoring.experiments.moments import Floats
from monitoring.experiments.multiplicity import holm
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.experiments.ratios import compare, ratio
from monitoring.experiments.sample_ratio import chi_square_p, sequential_p
from monitoring.experiments.sequences import (
    always_valid_p,
    critical_value,
    log_evidence,
    needed_information,
    tuning,
)
from monitoring.experiments.users import SUMS, UserSums, metric_moments, user_sums
from monitoring.online.propensities import OnlinePropensities, estimate_propensities
from monitoring.online.searches import Cleaning, clean_results, fold_searches

_COUNTRIES = 12


@dataclass(frozen=True)
class Trajectory:
    """A metric over the looks; NaN where an arm has too few users yet. Arrays are (looks,).

    Attributes:
        control: ratio in the control arm.
        treatment: the same for the treatment.
        difference: treatment − control.
        low: lower end of the always-valid interval of the difference.
        high: upper end.
        relative: treatment / control − 1.
        relative_low: lower end of its always-valid interval.
        relative_high: upper end.
        p_value: always valid, for this metric alone.
        fixed_p_value: p-value of a test at this look alone; NOT valid if the experiment is checked repeatedly.
        adjusted_by: share of the variance that CUPED took away at the last look; 0 without.
    """

    metric: Metric
    control: Floats
    treatment: Floats
    difference: Floats
    low: Floats
    high: Floats
    relative: Floats
    relative_low: Floats
    relative_high: Floats
    p_value: Floats
    fixed_p_value: Floats
    adjusted_by: float


@dataclass(frozen=True)
class Analysis:
    """Everything that a verdict and a report need.

    Attributes:
        parameters: parameters of the request.
        start: beginning of the experiment.
        looks: time of each look.
        users: (looks, 2) users with a search so far, control and treatment.
        searches: (looks, 2) searches so far.
        metrics: results by name; the deciding one first.
        holm_p_values: Holm's p-values of the other metrics together, by name (family-wise error, always valid).
        sample_ratio_p: (looks,) always valid.
        sample_ratio_chi_square_p: at the last look only.
        guardrails: results of the guardrails.
        countries: (name, users, trajectory of one look) of the deciding metric, the largest first.
        cleaning: counts of the events left out.
        in_both: users who saw both arms: left out.
        propensities: probability of examination by position, and how it was found; the intervals of the corrected
            click-through take them as known.
    """

    parameters: ExperimentParameters
    start: datetime.datetime
    looks: list[datetime.datetime]
    users: Floats
    searches: Floats
    metrics: dict[str, Trajectory]
    holm_p_values: dict[str, float]
    sample_ratio_p: Floats
    sample_ratio_chi_square_p: float
    guardrails: list[GuardrailResult]
    countries: list[tuple[str, int, Trajectory]]
    cleaning: Cleaning
    in_both: int
    propensities: OnlinePropensities

    @property
    def primary(self) -> Trajectory:
        """The metric that decides."""
        return self.metrics[self.parameters.metric]

    @property
    def days(self) -> float:
        """Days from the start to the last look."""
        return (self.looks[-1] - self.start) / datetime.timedelta(days=1)


def analyse(
    connection: duckdb.DuckDBPyConnection, parameters: ExperimentParameters, service: pa.Table | None = None
) -> Analysis:
    """Analyse an experiment from the view `log` of a connection.

    Raises:
        DataError: an arm has no searches in the time asked for.
    """
    cleaning = clean_results(connection, parameters.online)
    propensities = estimate_propensities(connection, parameters.online)
    fold_searches(connection, parameters.online, propensities.as_dict())
    sums = user_sums(connection, parameters)
    totals = [sums.cumulated(look) for look in range(sums.looks)]
    everybody = np.ones(len(sums.treated), np.bool_)
    before = sums.before() if parameters.cuped and sums.has_before else None
    names = [parameters.metric, *(name for name in METRICS if name != parameters.metric)]
    metrics = {name: trajectory(totals, before, sums, everybody, METRICS[name], parameters) for name in names}
    others = names[1:]
    present = np.stack([total[:, 0] > 0 for total in totals])
    users = np.stack([(present & ~sums.treated).sum(axis=1), (present & sums.treated).sum(axis=1)], axis=1)
    searches = np.stack([[total[~sums.treated, 0].sum(), total[sums.treated, 0].sum()] for total in totals])
    shares = np.array([1 - parameters.treatment_share, parameters.treatment_share])
    counts = users.astype(np.float64)
    adjusted = holm(np.array([metrics[name].p_value[-1] for name in others]))
    return Analysis(
        parameters=parameters,
        start=sums.start,
        looks=sums.ends,
        users=counts,
        searches=searches,
        metrics={str(name): found for name, found in metrics.items()},
        holm_p_values=dict(zip(others, map(float, adjusted), strict=True)),
        sample_ratio_p=sequential_p(counts, shares),
        sample_ratio_chi_square_p=float(chi_square_p(counts[-1], shares)),
        guardrails=watch_guardrails(service, parameters),
        countries=_by_country(totals[-1:], before, sums, parameters),
        cleaning=cleaning,
        in_both=sums.in_both,
        propensities=propensities,
    )


def trajectory(
    totals: list[Floats],
    before: Floats | None,
    sums: UserSums,
    chosen: NDArray[np.bool_],
    metric: Metric,
    parameters: ExperimentParameters,
) -> Trajectory:
    """Follow a metric over the looks.

    Args:
        totals: (users, len(SUMS)) by look.
        before: (users, len(SUMS)) from before the experiment, or None.
        sums: tells who is in which arm.
        chosen: (users,) True for the users to count.
        metric: name of the metric.
        parameters: parameters of the experiment.
    """
    rows = [_look(total, before, sums.treated, chosen, metric, parameters) for total in totals]
    columns = np.array(rows)
    evidence = columns[:, 8]
    return Trajectory(
        metric=metric,
        control=columns[:, 0],
        treatment=columns[:, 1],
        difference=columns[:, 2],
        low=columns[:, 2] - columns[:, 3],
        high=columns[:, 2] + columns[:, 3],
        relative=columns[:, 4],
        relative_low=columns[:, 5],
        relative_high=columns[:, 6],
        p_value=always_valid_p(evidence),
        fixed_p_value=columns[:, 7],
        adjusted_by=float(np.nan_to_num(columns[-1, 9])),
    )


def _look(
    total: Floats,
    before: Floats | None,
    treated: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    metric: Metric,
    parameters: ExperimentParameters,
) -> tuple[float, ...]:
    """Return control, treatment, difference, reach, relative, its ends, fixed p, log evidence, share taken by CUPED."""
    arms = [metric_moments(total, before, chosen & side, metric) for side in (~treated, treated)]
    clicked = total[:, SUMS.index("clicked")]
    clicks = [clicked[chosen & side].sum() for side in (~treated, treated)]
    if min(a.count for a in arms) < parameters.minimum_users or min(clicks) < parameters.minimum_clicks:
        return (np.nan,) * 10
    found = compare(*arms)
    if not (np.isfinite(found.variance) and found.variance > 0):
        return (np.nan,) * 10
    plain = compare(*(metric_moments(total, None, chosen & side, metric) for side in (~treated, treated)))
    information = 1 / found.variance
    # Both arms pooled: their ratio does not depend on the assignment, so it may tune without spending anything.
    pooled = metric_moments(total, None, chosen, metric)
    rho = tuning_of(float(ratio(pooled)), parameters)
    multiple = critical_value(information, rho=rho, alpha=parameters.alpha)
    spread = float(multiple * np.sqrt(found.relative_variance))
    lift = 1 + float(found.relative)
    return (
        float(found.control),
        float(found.treatment),
        float(found.value),
        float(multiple * np.sqrt(found.variance)),
        float(found.relative),
        lift * float(np.exp(-spread)) - 1,
        lift * float(np.exp(spread)) - 1,
        float(2 * norm.sf(abs(found.value) / np.sqrt(found.variance))),
        float(log_evidence(found.value, information, rho=rho)),
        1 - float(found.variance / plain.variance),
    )


def tuning_of(baseline: float, parameters: ExperimentParameters) -> float:
    """Return the ρ of an experiment that looks for `minimum_lift` over a baseline."""
    effect = abs(baseline) * parameters.minimum_lift or 1.0
    return tuning(needed_information(effect, alpha=parameters.alpha, power=parameters.power), parameters.alpha)


def _by_country(
    totals: list[Floats], before: Floats | None, sums: UserSums, parameters: ExperimentParameters
) -> list[tuple[str, int, Trajectory]]:
    names, counts = np.unique(sums.country.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_COUNTRIES]
    metric = METRICS[parameters.metric]
    return [
        (
            str(names[i]) or "unknown",
            int(counts[i]),
            trajectory(totals, before, sums, sums.country == names[i], metric, parameters),
        )
        for i in order
    ]
