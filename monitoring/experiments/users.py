"""Actions of each user, by look: from the table `searches` to arrays."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from components.shared.errors import DataError
from monitoring.experiments.metrics import Metric
from monitoring.experiments.moments import Floats, Moments
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.online.searches import BEGINNING, END

SUMS = (
    "searches", "impressions", "clicks", "clicks_at_k", "clicked", "reciprocal_rank", "seconds_to_click", "dwell_seconds",
    "dwells", "corrected_clicks",
)  # fmt: skip

_COLUMNS = ", ".join(
    "count(*)::DOUBLE AS searches" if name == "searches" else f"sum({name}) AS {name}" for name in SUMS
)

_ROWS = f"""
WITH inside AS (
    SELECT * FROM searches WHERE arms = 1 AND arm IN ($control, $treatment) AND moment >= $start AND moment < $until
), kept AS (
    SELECT user_id, row_number() OVER () - 1 AS number, bool_or(arm = $treatment) AS treated, min(country) AS country
    FROM inside GROUP BY user_id HAVING count(DISTINCT arm) = 1
)
SELECT number, treated, kept.country AS country,
    CASE WHEN moment < $start THEN -1 ELSE (epoch_us(moment) - epoch_us($start::TIMESTAMP)) // $look_us END AS look, {_COLUMNS}
FROM searches JOIN kept USING (user_id)
WHERE moment < $until AND (moment < $start OR (arms = 1 AND arm IN ($control, $treatment)))
GROUP BY ALL ORDER BY look, number
"""  # noqa: S608 (our own constants)


@dataclass(frozen=True)
class UserSums:
    """Sums by user and look, sparse.

    Attributes:
        number: (r,) user, dense from 0.
        look: (r,) the look before which it happened; −1: before the experiment.
        values: (r, len(SUMS)).
        treated: (users,) whether in the treatment arm.
        country: (users,) two letters, or "".
        start: beginning of look 0.
        looks: number of looks, the last one perhaps not yet complete.
        ends: (looks,) when each is taken; the last not later than the data.
        in_both: users who saw both arms: left out.
    """

    number: NDArray[np.int64]
    look: NDArray[np.int64]
    values: Floats
    treated: NDArray[np.bool_]
    country: NDArray[np.object_]
    start: datetime.datetime
    looks: int
    ends: list[datetime.datetime]
    in_both: int

    @property
    def has_before(self) -> bool:
        """Whether anything is known of the time before the experiment."""
        return bool((self.look < 0).any())

    def cumulated(self, look: int) -> Floats:
        """Return (users, len(SUMS)) sums from the start up to and with a look."""
        total = np.zeros((len(self.treated), len(SUMS)))
        chosen = (self.look >= 0) & (self.look <= look)
        np.add.at(total, self.number[chosen], self.values[chosen])
        return total

    def before(self) -> Floats:
        """Return (users, len(SUMS)) sums from before the experiment."""
        total = np.zeros((len(self.treated), len(SUMS)))
        chosen = self.look < 0
        np.add.at(total, self.number[chosen], self.values[chosen])
        return total


def user_sums(connection: duckdb.DuckDBPyConnection, parameters: ExperimentParameters) -> UserSums:
    """Sum the table `searches` by user and look.

    Users who saw both arms are left out and counted; so are searches whose results came from both (interleaved).

    Raises:
        DataError: an arm has no searches in the time asked for.
    """
    bounds = connection.execute(
        "SELECT min(moment), max(moment) FROM searches WHERE arms = 1 AND arm IN (?, ?) AND moment >= ? AND moment < ?",
        [
            parameters.control,
            parameters.treatment,
            _naive(parameters.start or BEGINNING),
            _naive(parameters.until or END),
        ],
    ).fetchall()
    first, last = bounds[0]
    if first is None:
        raise DataError(
            f"no searches of the arms {parameters.control} and {parameters.treatment} in this time; "
            "name the arms as the servers do, or give an earlier start"
        )
    start = first if parameters.start is None else _naive(parameters.start)
    values = {
        "control": parameters.control,
        "treatment": parameters.treatment,
        "start": start,
        "until": _naive(parameters.until or END),
        "look_us": int(parameters.look.total_seconds() * 1e6),
    }
    rows = connection.sql(_ROWS, params=values).to_arrow_table()
    number = rows["number"].to_numpy().astype(np.int64)
    treated = np.zeros(int(number.max(initial=-1)) + 1, np.bool_)
    treated[number] = rows["treated"].to_numpy(zero_copy_only=False)
    country = np.full(len(treated), "", object)
    country[number] = [value or "" for value in rows["country"].to_pylist()]
    for arm, present in ((parameters.control, (~treated).any()), (parameters.treatment, treated.any())):
        if not present:
            raise DataError(f"the arm {arm} has no searches in this period; use the arm names of the servers")
    looks = int((last - start) / parameters.look) + 1
    ends = [min(start + (look + 1) * parameters.look, last) for look in range(looks)]
    both = connection.execute(
        "SELECT count(*) FROM (SELECT user_id FROM searches WHERE arms = 1 AND arm IN (?, ?) AND moment >= ? AND moment < ? "
        "GROUP BY user_id HAVING count(DISTINCT arm) > 1)",
        [parameters.control, parameters.treatment, start, values["until"]],
    ).fetchall()
    return UserSums(
        number=number,
        look=rows["look"].to_numpy().astype(np.int64),
        values=np.stack([rows[name].to_numpy() for name in SUMS], axis=1).astype(np.float64),
        treated=treated,
        country=country,
        start=start.replace(tzinfo=datetime.UTC),
        looks=looks,
        ends=[end.replace(tzinfo=datetime.UTC) for end in ends],
        in_both=int(both[0][0]),
    )


def metric_moments(total: Floats, before: Floats | None, chosen: NDArray[np.bool_], metric: Metric) -> Moments:
    """Return the moments of a metric over chosen users who have searched.

    Args:
        total: (users, len(SUMS)) of `cumulated`.
        before: (users, len(SUMS)) of `before`, for CUPED; or None.
        chosen: (users,) True for the users to count.
        metric: ratio of two sums.
    """
    present = chosen & (total[:, SUMS.index("searches")] > 0)
    columns = [SUMS.index(metric.numerator), SUMS.index(metric.denominator)]
    parts = [total[present][:, columns]]
    if before is not None:
        parts.append(before[present][:, columns])
    values = np.concatenate(parts, axis=1)
    return Moments.of((values > 0).astype(np.float64) if metric.by_user else values)


def _naive(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)
