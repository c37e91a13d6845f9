"""How many events one person or one search may send: what a person cannot do is not counted."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping

_WINDOW_SECONDS = 60.0
_MOST_KEYS = 100_000


class RateLimit:
    """At most N a minute for each key, by the generic cell rate algorithm (ITU-T I.371): one number a key.

    A key whose number is in the past has no effect, so it can be forgotten. Memory is bounded: above
    `most_keys` live ones, the one that was quiet longest is forgotten.

    Not for several threads: the routes call it on the event loop.
    """

    def __init__(self, per_minute: int, *, most_keys: int = _MOST_KEYS) -> None:
        self._cost_seconds = _WINDOW_SECONDS / per_minute
        self._most_keys = most_keys
        self._busy_until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._busy_until)

    def wait_seconds(self, key: str, count: int, now: float) -> float:
        """Return how long to wait until `count` more fit; 0 if they do now. Takes nothing."""
        until = max(self._busy_until.get(key, now), now) + count * self._cost_seconds
        return max(0.0, until - now - _WINDOW_SECONDS - 1e-6)  # rounding must not refuse the last one

    def take(self, key: str, count: int, now: float) -> None:
        """Count `count` more."""
        self._busy_until[key] = max(self._busy_until.get(key, now), now) + count * self._cost_seconds
        self._busy_until.move_to_end(key)
        while self._busy_until:
            oldest = next(iter(self._busy_until))
            if self._busy_until[oldest] > now and len(self._busy_until) <= self._most_keys:
                break
            del self._busy_until[oldest]


class FloodLimits:
    """The limits of each person and of each search together."""

    def __init__(self, *, per_user: int, per_query: int, most_keys: int = _MOST_KEYS) -> None:
        self._users = RateLimit(per_user, most_keys=most_keys)
        self._queries = RateLimit(per_query, most_keys=most_keys)

    def admit(self, senders: Iterable[tuple[str, str]], now: float) -> bool:
        """Take one event for each (user_id, query_id): all of them, or none and return False."""
        pairs = list(senders)
        users, queries = Counter(user for user, _ in pairs), Counter(query for _, query in pairs)
        if _any_waits(self._users, users, now) or _any_waits(self._queries, queries, now):
            return False
        for limit, counts in ((self._users, users), (self._queries, queries)):
            for key, count in counts.items():
                limit.take(key, count, now)
        return True


def _any_waits(limit: RateLimit, counts: Mapping[str, int], now: float) -> bool:
    return any(limit.wait_seconds(key, count, now) > 0 for key, count in counts.items())
