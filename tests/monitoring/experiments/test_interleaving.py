from __future__ import annotations

import duckdb
import numpy as np
import pytest
from event_factory import make_events
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from components.shared.errors import DataError
from monitoring.events import add_events
from monitoring.experiments.interleaving import analyse_interleaving, preference, team_draft
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.online.parameters import OnlineParameters
from monitoring.online.searches import clean_results

_LOOKED_AT = 1 / np.arange(1, 7)


@given(st.permutations(range(8)), st.permutations(range(4, 12)), st.integers(1, 10), st.text(max_size=5))
def test_a_draft_is_fair_and_complete(a: list[int], b: list[int], k: int, seed: str) -> None:
    first, second = [f"i{n}" for n in a], [f"i{n}" for n in b]
    drafted, teams = team_draft(first, second, k=k, seed=seed)
    assert (drafted, teams) == team_draft(first, second, k=k, seed=seed)
    assert len(set(drafted)) == len(drafted) == k == len(teams)
    for end in range(2, min(k, len(a)) + 1, 2):  # the teams are even after each round for which both have results
        assert teams[:end].count(0) == end // 2
    for place, (image, team) in enumerate(zip(drafted, teams, strict=True)):
        ranking = (first, second)[team]
        assert all(better in drafted[:place] for better in ranking[: ranking.index(image)])


def test_short_rankings_end_the_list() -> None:
    assert team_draft(["a"], [], k=5, seed="s") == (["a"], [0])
    assert sorted(team_draft(["a", "b"], ["b"], k=5, seed="s")[0]) == ["a", "b"]
    assert team_draft([], [], k=5, seed="s") == ([], [])


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_who_clicks_by_position_only_prefers_nobody(a: list[int], b: list[int]) -> None:
    first, second = [str(n) for n in a], [str(n) for n in b]
    lead = 0.0
    for seed in range(1_500):
        _, teams = team_draft(first, second, k=6, seed=f"{seed}")
        lead += float(_LOOKED_AT @ (2 * np.array(teams) - 1))
    assert abs(lead) / 1_500 < 5 * np.sqrt((_LOOKED_AT**2).sum() / 1_500)


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
            mixed, teams = team_draft(first, second, k=6, seed=str(rng.integers(1 << 40)))
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
    events = make_events(users=40, seed=2).to_pydict()
    events["arm"] = ["challenger" if position % 2 else "champion" for position in events["position"]]
    import pyarrow as pa

    from components.shared.tables import EVENTS

    with duckdb.connect(":memory:") as connection:
        add_events(connection, pa.table(events, EVENTS.schema))
        clean_results(connection, OnlineParameters())
        found = analyse_interleaving(connection, ExperimentParameters(minimum_users=30))
        wins = losses = 0
        by_query: dict[str, int] = {}
        for query, kind, arm in zip(events["query_id"], events["type"], events["arm"], strict=True):
            by_query.setdefault(query, 0)
            if kind == "click":
                by_query[query] += 1 if arm == "challenger" else -1
        wins, losses = sum(v > 0 for v in by_query.values()), sum(v < 0 for v in by_query.values())
        assert (found.wins, found.losses, found.searches, found.users) == (wins, losses, len(by_query), 40)
        with pytest.raises(DataError, match="40 users"):
            analyse_interleaving(connection, ExperimentParameters(minimum_users=50))
