"""Interleaving: both releases answered one search in one list, and users chose without knowing it; whose results did they click?

More sensitive than an A/B test, for every user compares for himself; it says which ranking is preferred, not by how much
clicks would rise.

Source: Chapelle, Joachims, Radlinski, Yue (2012), Large-scale validation and analysis of interleaved search evaluation, TOIS
30(1), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from scipy.stats import binomtest, norm

from components.shared.errors import DataError
from monitoring.experiments.moments import Moments
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.experiments.ratios import ratio, ratio_variance
from monitoring.experiments.sequences import critical_value, log_evidence, needed_information, tuning

_LOOKED_FOR = 0.05  # preference at which the interval is tightest


@dataclass(frozen=True)
class Preference:
    """Which team users clicked more.

    Attributes:
        searches: interleaved searches.
        users: number of users who made them.
        wins: searches in which the treatment's results had more clicks.
        losses: those in which they had fewer.
        value: (wins − losses) / searches, from −1 to 1; 0: no preference.
        low: lower end of its always-valid interval, clustered by user.
        high: upper end.
        p_value: always valid at this look (take the smallest of all looks).
        fixed_p_value: p-value of the same difference at one look fixed beforehand.
        sign_p_value: exact sign test over users who lean to one side; at one look fixed beforehand.
    """

    searches: int
    users: int
    wins: int
    losses: int
    value: float
    low: float
    high: float
    p_value: float
    fixed_p_value: float
    sign_p_value: float


_SCORES = """
WITH sides AS (
    SELECT number, unnest([control, treatment]) AS query_id, unnest([-1, 1]) AS side
    FROM (SELECT row_number() OVER () AS number, control, treatment FROM searched_together)
), mixed AS (
    SELECT number, min(user_id) AS user_id, sum(side) FILTER (clicked_at IS NOT NULL) AS lead
    FROM sides JOIN results USING (query_id)
    GROUP BY number HAVING count(DISTINCT side) = 2
)
SELECT count(*) FILTER (lead > 0)::DOUBLE AS wins, count(*) FILTER (lead < 0)::DOUBLE AS losses,
    count(*)::DOUBLE AS searches
FROM mixed GROUP BY user_id
"""


def analyse_interleaving(
    connection: duckdb.DuckDBPyConnection, together: Sequence[tuple[str, str]], parameters: ExperimentParameters
) -> Preference:
    """Compare the clicks on what each team drafted.

    Args:
        connection: holds the table `results`.
        together: query_ids of the control's and the treatment's search, of each list that both answered.
        parameters: parameters of the experiment.

    Raises:
        DataError: fewer than `minimum_users` users have such a search.
    """
    control, treatment = (pa.array([pair[side] for pair in together], pa.string()) for side in (0, 1))
    connection.register("searched_together", pa.table({"control": control, "treatment": treatment}))
    rows = connection.sql(_SCORES).to_arrow_table()
    connection.unregister("searched_together")
    if rows.num_rows < parameters.minimum_users:
        raise DataError(
            f"{rows.num_rows} users have had lists of both {parameters.control} and {parameters.treatment} so far, "
            f"{parameters.minimum_users} are needed"
        )
    wins, losses, searches = (rows[name].to_numpy() for name in ("wins", "losses", "searches"))
    return preference(wins, losses, searches, alpha=parameters.alpha)


def preference(wins: np.ndarray, losses: np.ndarray, searches: np.ndarray, *, alpha: float = 0.05) -> Preference:
    """Test whether users prefer a team.

    Args:
        wins: (users,) searches won by the treatment.
        losses: (users,) searches lost per user.
        searches: (users,) interleaved searches, ties included.
        alpha: probability that the interval ever misses.
    """
    moments = Moments.of(np.stack([wins - losses, searches], axis=1).astype(np.float64))
    value, variance = float(ratio(moments)), float(ratio_variance(moments))
    information = 1 / variance if variance > 0 else 1e-12
    rho = tuning(needed_information(_LOOKED_FOR, alpha=alpha, power=0.8), alpha)
    reach = float(critical_value(information, rho=rho, alpha=alpha) / np.sqrt(information))
    lean = np.sign(wins - losses)
    decided = int((lean != 0).sum())
    evidence = float(log_evidence(value, information, rho=rho))
    return Preference(
        searches=int(searches.sum()),
        users=len(searches),
        wins=int(wins.sum()),
        losses=int(losses.sum()),
        value=value,
        low=max(-1.0, value - reach),
        high=min(1.0, value + reach),
        p_value=float(min(1.0, np.exp(-max(evidence, 0.0)))),
        fixed_p_value=float(2 * norm.sf(abs(value) * np.sqrt(information))),
        sign_p_value=float(binomtest(int((lean > 0).sum()), decided).pvalue) if decided else 1.0,
    )
