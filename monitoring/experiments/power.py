"""Before an experiment: how many users and days it will take, from what users did lately.

History tells how the variance of a metric falls with the days: by new users and by users who come again. Beyond the history
its power law is followed. The arms get their shares of the users.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from components.shared.errors import DataError
from monitoring.experiments.analysis import tuning_of
from monitoring.experiments.metrics import METRICS
from monitoring.experiments.moments import Floats
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.experiments.ratios import ratio, ratio_variance
from monitoring.experiments.sequences import critical_value, needed_information
from monitoring.experiments.users import SUMS, metric_moments

_DAYS = """
SELECT user_id, (epoch_us(moment) - epoch_us(min(moment) OVER ())) // 86400000000 AS day, {columns}
FROM searches
"""
_LONGEST_DAYS = 3_650.0


@dataclass(frozen=True)
class PowerForecast:
    """Users and days needed to detect a lift.

    Attributes:
        lift: relative improvement.
        fixed_users: users in both arms, for one look at a time fixed beforehand.
        fixed_days: days for that test; None: more than ten years.
        sequential_users: users until an always-valid interval shows it with the power asked for.
        sequential_days: days for a sequential test; None: more than ten years.
    """

    lift: float
    fixed_users: int | None
    fixed_days: float | None
    sequential_users: int | None
    sequential_days: float | None


@dataclass(frozen=True)
class ExperimentPlan:
    """A forecast for several lifts.

    Attributes:
        metric: machine-readable name.
        baseline: its value in the history.
        days: length of the history.
        users: number of users.
        users_per_day: new users by day, at the end of the history.
        forecasts: forecasts, by ascending lift.
    """

    metric: str
    baseline: float
    days: int
    users: int
    users_per_day: float
    forecasts: list[PowerForecast]


def plan(
    connection: duckdb.DuckDBPyConnection,
    parameters: ExperimentParameters,
    lifts: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2),
) -> ExperimentPlan:
    """Forecast from the table `searches`, of all arms.

    Raises:
        DataError: fewer than three days, or no click in them.
    """
    users, variances, baseline = _history(connection, parameters)
    if len(users) < 3 or not variances[-1] > 0:
        raise DataError(
            f"the events cover {len(users)} days{'' if len(users) < 3 else ' without a click'}; a forecast needs three days "
            "with clicks: give a longer log"
        )
    # Two arms with shares s and 1 − s have the variances V/s and V/(1 − s).
    share = parameters.treatment_share
    spread = 1 / share + 1 / (1 - share)
    least = parameters.minimum_users / min(share, 1 - share)
    forecasts = []
    for lift in sorted({*lifts, parameters.minimum_lift}):
        effect = baseline * lift
        fixed = needed_information(effect, alpha=parameters.alpha, power=parameters.power)
        sequential = _sequential_information(effect, baseline, parameters)
        days = [_days_until(spread * needed, variances) for needed in (fixed, sequential)]
        days[1] = None if days[1] is None else max(days[1], _when(least, users) or _LONGEST_DAYS)
        people = [None if d is None else round(_users_by(d, users)) for d in days]
        forecasts.append(PowerForecast(lift, people[0], days[0], people[1], days[1]))
    recent = np.diff(users)[-7:]
    return ExperimentPlan(parameters.metric, baseline, len(users), int(users[-1]), float(recent.mean()), forecasts)


def _sequential_information(effect: float, baseline: float, parameters: ExperimentParameters) -> float:
    """Return the information at which the interval excludes 0 with the power, at that look alone: on the safe side."""
    rho = tuning_of(baseline, parameters)

    def lacking(log_information: float) -> float:
        information = float(np.exp(log_information))
        reach = float(critical_value(information, rho=rho, alpha=parameters.alpha))
        return effect * float(np.sqrt(information)) - reach - float(norm.ppf(parameters.power))

    begin = float(np.log(1 / effect**2))
    return float(np.exp(brentq(lacking, begin, begin + 20)))


def _history(connection: duckdb.DuckDBPyConnection, parameters: ExperimentParameters) -> tuple[Floats, Floats, float]:
    """Return users so far and variance of the metric by whole day, and its value."""
    columns = ", ".join("1.0 AS searches" if name == "searches" else name for name in SUMS)
    inner = _DAYS.format(columns=columns)
    sums = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
    rows = connection.sql(
        f"SELECT dense_rank() OVER (ORDER BY user_id) - 1 AS number, day, {sums} FROM ({inner}) "  # noqa: S608
        "GROUP BY user_id, day ORDER BY day"
    ).to_arrow_table()
    number, day = rows["number"].to_numpy().astype(np.int64), rows["day"].to_numpy().astype(np.int64)
    values = np.stack([rows[name].to_numpy() for name in SUMS], axis=1).astype(np.float64)
    total = np.zeros((int(number.max(initial=-1)) + 1, len(SUMS)))
    everybody = np.ones(len(total), np.bool_)
    metric = METRICS[parameters.metric]
    users, variances, baseline = [], [], 0.0
    for today in range(int(day.max(initial=-1)) + 1):
        chosen = day == today
        np.add.at(total, number[chosen], values[chosen])
        moments = metric_moments(total, None, everybody, metric)
        users.append(float(moments.count))
        variances.append(float(ratio_variance(moments)))
        baseline = float(ratio(moments))
    return np.array(users), np.array(variances), baseline


def _slope(values: Floats) -> float:
    """Return the power of the days by which values change, from the later half of the history."""
    days = np.arange(1, len(values) + 1)
    late = slice(len(values) // 2 - (len(values) < 4), None)
    x, y = np.log(days[late]), np.log(values[late])
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def _days_until(information: float, variances: Floats) -> float | None:
    """Return after how many days all users together give an information; None: not in ten years."""
    return _when(information, np.asarray(1 / np.maximum(variances, 1e-300)))


def _when(wanted: float, growing: Floats) -> float | None:
    if growing[-1] >= wanted:
        return float(np.interp(wanted, np.r_[0, growing], np.arange(len(growing) + 1)))
    slope = max(_slope(growing), 1e-3)
    days = len(growing) * (wanted / growing[-1]) ** min(1 / slope, 50.0)
    return float(days) if days < _LONGEST_DAYS else None


def _users_by(days: float, users: Floats) -> float:
    if days <= len(users):
        return float(np.interp(days, np.arange(len(users) + 1), np.r_[0, users]))
    return float(users[-1] * (days / len(users)) ** min(max(_slope(users), 0.0), 1.0))
