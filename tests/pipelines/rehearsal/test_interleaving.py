"""Lists of both arms: fair at every place, whole, and each result still its own arm's."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rehearsal.interleaving import coins_of, interleave, team_draft

RANKINGS = st.lists(st.integers(0, 7), unique=True, max_size=6)


def all_drafts(first, second, k):
    """Yield every draft that coins can make, with its probability."""
    rounds = -(-k // 2)
    for coins in itertools.product((0, 1), repeat=rounds):
        fallen = iter(coins)
        yield team_draft(first, second, k=k, coin=lambda fallen=fallen: next(fallen)), Fraction(1, 2**rounds)


@given(RANKINGS, RANKINGS, st.integers(1, 8))
def test_at_every_place_both_teams_are_equally_likely(first, second, k):
    """Exactly, over all coins, also where a ranking ends: who clicks by place alone prefers nobody."""
    lead = [Fraction(0)] * k
    for drafted, probability in all_drafts(first, second, k):
        for place, (_, team) in enumerate(drafted):
            lead[place] += probability * (1 if team else -1)
    assert lead == [0] * k


@given(RANKINGS, st.integers(1, 8))
def test_a_ranking_beside_itself_is_credited_half(ranking, k):
    """Exactly, for every result: whatever is clicked, in an A/A comparison each team expects half of it."""
    credit = dict.fromkeys(ranking, Fraction(0))
    shown = dict.fromkeys(ranking, Fraction(0))
    for drafted, probability in all_drafts(ranking, ranking, k):
        assert [key for key, _ in drafted] == ranking[: len(drafted)]
        for key, team in drafted:
            shown[key] += probability
            credit[key] += probability * team
    assert all(credit[key] == shown[key] / 2 for key in ranking)


@given(RANKINGS, RANKINGS, st.integers(1, 8), st.text(max_size=5))
def test_a_draft_takes_the_best_that_is_left(first, second, k, seed):
    drafted = team_draft(first, second, k=k, coin=coins_of(seed))
    assert drafted == team_draft(first, second, k=k, coin=coins_of(seed))
    keys, teams = [key for key, _ in drafted], [team for _, team in drafted]
    assert len(set(keys)) == len(keys) <= k
    for end in range(2, len(teams) + 1, 2):  # even after each round
        assert teams[:end].count(0) == end // 2
    for place, (key, team) in enumerate(drafted):
        ranking = (first, second)[team]
        assert all(better in keys[:place] for better in ranking[: ranking.index(key)])
    if not set(first) & set(second):
        assert len(drafted) == min(k, 2 * min(len(first), len(second)))


def prediction(arm, items):
    results = [
        {"item_id": item, "image_id": f"{arm}-{item}", "position": n, "token": f"{arm} {item}"} for n, item in items
    ]
    return {"query_id": f"q-{arm}", "release_id": f"r-{arm}", "space_id": f"s-{arm}", "arm": arm, "results": results}


def test_each_result_keeps_the_token_of_its_own_arm():
    arms = {arm: prediction(arm, enumerate(items, 1)) for arm, items in (("champion", "abcd"), ("challenger", "cbxd"))}
    merged = interleave(arms, k=4)
    assert [result["position"] for result in merged["results"]] == [1, 2, 3, 4]
    assert len({result["item_id"] for result in merged["results"]}) == 4
    for result in merged["results"]:
        assert result["token"] == f"{result['arm']} {result['item_id']}"
    assert {arm: ids["query_id"] for arm, ids in merged["interleaved"].items()} == {arm: f"q-{arm}" for arm in arms}
    assert {arm: ids["space_id"] for arm, ids in merged["interleaved"].items()} == {arm: f"s-{arm}" for arm in arms}


@pytest.mark.parametrize("items", ["", "a"])
def test_where_an_arm_has_too_little_there_is_no_list_of_both(items):
    arms = {
        "champion": prediction("champion", enumerate("a", 1)),
        "challenger": prediction("challenger", enumerate(items, 1)),
    }
    assert interleave(arms) is None
