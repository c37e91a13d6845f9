"""Interleaving: both releases answer one search in one list, and users choose without knowing it.

More sensitive than an A/B test, for every user compares for himself; it says which ranking is preferred, not by how much
clicks would rise. In the events, an interleaved result carries the arm of the team that drafted it.

Source: Radlinski, Kurup, Joachims (2008), How does clickthrough data reflect retrieval quality?, CIKM, section 4.2 (team
draft); Chapelle, Joachims, Radlinski, Yue (2012), Large-scale validation and analysis of interleaved search evaluation, TOIS
30(1), section 3.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from scipy.stats import binomtest, norm

from components.shared.errors import DataError
from monitoring.experiments.moments import Moments
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.experiments.ratios import ratio, ratio_variance
from monitoring.experiments.sequences import critical_value, log_evidence, needed_information, tuning

_LOOKED_FOR = 0.05  # preference at which the interval is tightest


def team_draft(first: Sequence[str], second: Sequence[str], *, k: int, seed: str) -> tuple[list[str], list[int]]:
    """Merge two rankings as two captains draft players.

    In each round a coin says who picks first; each then picks its highest result that is not yet taken. A click at
    random is equally likely for both teams.

    Args:
        first: image ids, best first, of team 0.
        second: likewise, of team 1.
        k: length wanted; shorter if the rankings are.
        seed: for example the query_id: the same search gives the same list.

    Returns:
        The list, and the team (0 or 1) of each result.
    """
    coins = random.Random(hashlib.sha256(seed.encode()).digest())
    rankings, cursors = (first, second), [0, 0]
    drafted: list[str] = []
    teams: list[int] = []
    taken: set[str] = set()
    while len(drafted) < k:
        before = len(drafted)
        leader = coins.getrandbits(1)
        for team in (leader, 1 - leader):
            ranking = rankings[team]
            while cursors[team] < len(ranking) and ranking[cursors[team]] in taken:
                cursors[team] += 1
            if cursors[team] < len(ranking) and len(drafted) < k:
                drafted.append(ranking[cursors[team]])
                teams.append(team)
                taken.add(ranking[cursors[team]])
        if len(drafted) == before:
            break
    return drafted, teams


@dataclass(frozen=True)
class Preference:
    """Which team users clicked more.

    Attributes:
        searches: interleaved searches.
        users: who made them.
        wins: searches in which the treatment's results had more clicks.
        losses: those in which they had fewer.
        value: (wins − losses) / searches, from −1 to 1; 0: no preference.
        low: lower end of its always-valid interval, clustered by user.
        high: upper end.
        p_value: always valid at this look (take the smallest of all looks).
        fixed_p_value: of the same difference at one look fixed beforehand.
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
WITH mixed AS (
    SELECT query_id, min(user_id) AS user_id,
        count(clicked_at) FILTER (arm = $treatment) - count(clicked_at) FILTER (arm = $control) AS lead
    FROM results GROUP BY query_id
    HAVING count(*) FILTER (arm = $treatment) > 0 AND count(*) FILTER (arm = $control) > 0
)
SELECT count(*) FILTER (lead > 0)::DOUBLE AS wins, count(*) FILTER (lead < 0)::DOUBLE AS losses,
    count(*)::DOUBLE AS searches
FROM mixed GROUP BY user_id
"""


def analyse_interleaving(connection: duckdb.DuckDBPyConnection, parameters: ExperimentParameters) -> Preference:
    """Compare the teams in the table `results`: searches that show results of both arms.

    Raises:
        DataError: fewer than `minimum_users` users have such a search.
    """
    rows = connection.sql(
        _SCORES, params={"control": parameters.control, "treatment": parameters.treatment}
    ).to_arrow_table()
    if rows.num_rows < parameters.minimum_users:
        raise DataError(
            f"{rows.num_rows} users have searches with results of both {parameters.control} and {parameters.treatment}, "
            f"{parameters.minimum_users} are needed; collect more, or compare the arms instead"
        )
    wins, losses, searches = (rows[name].to_numpy() for name in ("wins", "losses", "searches"))
    return preference(wins, losses, searches, alpha=parameters.alpha)


def preference(wins: np.ndarray, losses: np.ndarray, searches: np.ndarray, *, alpha: float = 0.05) -> Preference:
    """Test whether users prefer a team.

    Args:
        wins: (users,) searches won by the treatment.
        losses: (users,) likewise lost.
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
