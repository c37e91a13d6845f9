from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest, norm

from components.shared.errors import DataError
from components.shared.files.tables import EVENTS
from monitoring.experiments.interleaving import analyse_interleaving, preference
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.online.parameters import OnlineParameters
from monitoring.online.searches import clean_results
from pipelines.rehearsal.interleaving import coins_of, team_draft
from support.factories.event_factory import add_events, make_events

_LOOKED_AT = 1 / np.arange(1, 7)


def _experiment(rng: np.random.Generator, users: int, better: float) -> tuple[float, float]:
    """Return p-values of interleaving and of an A/B test with the same number of users and searches."""
    wins, losses, searches, clicks = np.zeros((4, users))
    treated = rng.random(users) < 0.5
    for user in range(users):
        own = rng.beta(2, 3)
        for _ in range(rng.geometric(0.4)):
            attraction = rng.random(12) ** 2
            first = [str(i) for i in np.argsort(-(attraction + rng.normal(0, 0.5, 12)))]
            second = [str(i) for i in np.argsort(-(attraction + rng.normal(0, 0.5 - better, 12)))]
            luck = rng.random(6)
            mixed, teams = zip(*team_draft(first, second, k=6, coin=coins_of(str(rng.integers(1 << 40)))), strict=True)
            hits = luck < _LOOKED_AT * own * attraction[[int(i) for i in mixed]] * 1.5
            lead = int(hits @ (2 * np.array(teams) - 1))
            wins[user] += lead > 0
            losses[user] += lead < 0
            searches[user] += 1
            shown = (second if treated[user] else first)[:6]
            clicks[user] += (luck < _LOOKED_AT * own * attraction[[int(i) for i in shown]] * 1.5).any()
    ab = [_ratio(clicks[side], searches[side]) for side in (~treated, treated)]
    z = (ab[1][0] - ab[0][0]) / np.sqrt(ab[0][1] + ab[1][1])
    return preference(wins, losses, searches).fixed_p_value, float(2 * norm.sf(abs(z)))


def _ratio(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    r = x.sum() / y.sum()
    return r, float(((x - r * y) ** 2).sum()) / y.sum() ** 2


def test_interleaving_finds_what_the_comparison_of_arms_does_not() -> None:
    rng = np.random.default_rng(0)
    mixed, ab = np.array([_experiment(rng, 250, 0.3) for _ in range(20)]).T
    assert (mixed < 0.05).mean() >= 0.6
    assert (ab < 0.05).mean() <= 0.5 * (mixed < 0.05).mean()


def test_preference_by_loops() -> None:
    rng = np.random.default_rng(4)
    searches = rng.integers(1, 6, 400)
    wins = rng.binomial(searches, 0.45)
    losses = rng.binomial(searches - wins, 0.5)
    found = preference(wins, losses, searches)
    value = (wins.sum() - losses.sum()) / searches.sum()
    assert found.value == pytest.approx(value)
    assert found.low < value < found.high
    assert (found.low > 0) == (found.p_value < 0.05)
    up, down = int((wins > losses).sum()), int((wins < losses).sum())
    assert found.sign_p_value == pytest.approx(binomtest(up, up + down).pvalue)


def test_interleaved_searches_are_found_in_the_log() -> None:
    """Each list is two searches of the log, one of either arm; what was not clicked in either is a tie."""
    rows = [row | {"arm": "champion"} for row in make_events(users=40, seed=2).to_pylist()]
    rows += [
        row | {"arm": "challenger", "query_id": f"{row['query_id']}-twin", "event_id": f"{row['event_id']}-twin"}
        for row in rows
        if row["type"] == "impression"
    ]
    queries = list(dict.fromkeys(row["query_id"] for row in rows if row["arm"] == "champion"))
    clicked = {row["query_id"] for row in rows if row["type"] == "click"}
    together = [(query, f"{query}-twin") for query in queries[1:]]
    with duckdb.connect(":memory:") as connection:
        add_events(connection, pa.Table.from_pylist(rows, EVENTS.schema))
        clean_results(connection, OnlineParameters())
        parameters = ExperimentParameters(minimum_users=30)
        found = analyse_interleaving(connection, together, parameters)
        expected = len(clicked - {queries[0]})
        assert (found.wins, found.losses, found.searches) == (0, expected, len(queries) - 1)
        turned = analyse_interleaving(connection, [(b, a) for a, b in together], parameters)
        assert (turned.wins, turned.losses, turned.value) == (expected, 0, -found.value)
        with pytest.raises(DataError, match="users have had lists"):
            analyse_interleaving(connection, together, ExperimentParameters(minimum_users=50))
