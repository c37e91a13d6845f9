"""Interleaving: both arms answer one search in one list, drafted in turns, and users choose without knowing which is which.

More sensitive than splitting users, for everybody compares for himself. Each result keeps the token that its own arm signed, so a
click tells which arm drafted it; which two searches of the log belong together, only the router knows.

Source: Radlinski, Kurup, Joachims (2008), How does clickthrough data reflect retrieval quality?, CIKM, section 4.2 (team draft).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T", bound=Hashable)
Json = dict[str, Any]


def coins_of(seed: str) -> Callable[[], int]:
    """Return coins (0 or 1) that fall the same way for the same search."""
    coins = random.Random(hashlib.sha256(seed.encode()).digest())
    return lambda: coins.getrandbits(1)


def team_draft(first: Sequence[T], second: Sequence[T], *, k: int, coin: Callable[[], int]) -> list[tuple[T, int]]:
    """Merge two rankings as two captains draft players.

    In each round a coin says who picks first; then each picks its highest that is not taken. A round is played only if both
    could pick whoever leads, so at every place both teams are equally likely: clicks that follow the place alone, and clicks
    on two equal rankings, favour neither team. What only one team has left is not shown.

    Args:
        first: keys, best first, of team 0.
        second: ranking of team 1, best first.
        k: length wanted; shorter where a ranking ends.
        coin: returns the team that leads a round, 0 or 1.

    Returns:
        Keys, each with its team.
    """
    drafted: list[tuple[T, int]] = []
    taken: set[T] = set()
    while len(drafted) < k:
        left = [[key for key in ranking if key not in taken][:2] for ranking in (first, second)]
        if not all(left) or (left[0][0] == left[1][0] and min(map(len, left)) < 2):
            break
        leader = coin()
        for team in (leader, 1 - leader)[: k - len(drafted)]:
            pick = next(key for key in left[team] if key not in taken)
            taken.add(pick)
            drafted.append((pick, team))
    return drafted


def interleave(arms: Mapping[str, Json], *, k: int | None = None) -> Json | None:
    """Make one answer of those of two arms; an item is shown once.

    Args:
        arms: arm → its prediction.
        k: length wanted; None: that of the longer one.

    Returns:
        A prediction whose results name the arm that drafted them, and which names both searches; None: nothing can be shown that
        is fair.
    """
    (one, first), (other, second) = arms.items()
    rankings = [{result["item_id"]: result for result in reversed(answer["results"])} for answer in (first, second)]
    keys = [list(dict.fromkeys(result["item_id"] for result in answer["results"])) for answer in (first, second)]
    length = max(map(len, keys)) if k is None else k
    drafted = team_draft(*keys, k=length, coin=coins_of(first["query_id"]))
    if not drafted:
        return None
    results = [
        {**rankings[team][item], "position": place, "arm": (one, other)[team]}
        for place, (item, team) in enumerate(drafted, 1)
    ]
    return {
        "query_id": first["query_id"],
        "interleaved": {
            arm: {name: answer[name] for name in ("query_id", "release_id", "space_id", "arm")}
            for arm, answer in arms.items()
        },
        "results": results,
    }
