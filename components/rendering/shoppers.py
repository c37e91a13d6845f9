"""Who searches: genuine users with a heavy tail, bots with inhuman rates; when they search, click and come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from components.rendering.parameters import ClickBehaviour

DAY_US = 86_400_000_000
TAIL_US = 1_200_000_000  # no event of a search comes later than this after it

_SEARCHES_PER_BOT = 200
_COUNTRY_WEIGHTS = (0.3, 0.22, 0.12, 0.12, 0.08, 0.06, 0.06, 0.04)
_DWELL_MEDIAN_MS = (3_500.0, 9_000.0, 22_000.0, 45_000.0)  # by true grade
_LONGEST_DWELL_MS = 900_000

Integers = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]


def zipf(n: int, exponent: float) -> NDArray[np.float64]:
    """Return n probabilities that fall as rank**-exponent."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class Searches:
    """The events of s searches with k results each."""

    user: Integers  # (s,) row of the user
    is_bot: Flags  # (s,)
    query: Integers  # (s,) row of the query image
    arm: Integers  # (s,) row of the arm
    rows: Integers  # (s, k) rows of the returned images
    grade: Integers  # (s, k) their true grades; 3 for the query itself
    is_self: Flags  # (s, k) whether the query image itself was returned there instead
    clicked: Flags  # (s, k)
    uploaded: Flags  # (s,) whether the query picture was not taken from the catalogue
    at: Integers  # (s,) int64 microseconds since 1970

    def events(self, rng: np.random.Generator, dwell_share: float) -> list[Integers]:
        """Return search, position from 0, type (0 impression, 1 click, 2 dwell), time in µs and dwell in ms, by time."""
        shape = self.rows.shape
        search, position = (axis.ravel() for axis in np.indices(shape))
        hit, place = np.nonzero(self.clicked)
        n, bot = len(hit), self.is_bot[hit]
        wait = rng.gamma(2.0, 1.6e6, n) * (0.6 + 0.25 * place) + 150_000
        wait = np.where(bot, 40_000 * (place + 1), np.minimum(wait, 120_000_000)).astype(np.int64)
        dwell = np.asarray(_DWELL_MEDIAN_MS)[self.grade[hit, place]] * np.exp(0.6 * rng.standard_normal(n))
        dwell_ms = np.where(bot, rng.integers(20, 120, n), np.minimum(dwell, _LONGEST_DWELL_MS)).astype(np.int64)
        told = np.flatnonzero(rng.random(n) < dwell_share)
        clicked_at = self.at[hit] + wait
        impressions = (
            search,
            position,
            np.zeros(search.size, np.int8),
            self.at[search],
            np.zeros(search.size, np.int64),
        )
        clicks = (hit, place, np.ones(n, np.int8), clicked_at, np.zeros(n, np.int64))
        dwells = (hit, place, np.full(n, 2, np.int8), clicked_at + dwell_ms * 1000, dwell_ms)
        columns: Any = zip(impressions, clicks, (column[told] for column in dwells), strict=True)
        joined: list[Any] = [np.concatenate(parts) for parts in columns]
        order = np.argsort(joined[3], kind="stable")  # stable: impressions stay before their clicks
        return [column[order] for column in joined]


@dataclass(frozen=True)
class Shoppers:
    """Everybody who searches; rows from `humans` on are bots, though nothing in their ids (`codes`) tells."""

    humans: int
    bots: int
    codes: Integers
    country: Integers
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, searches: int, behaviour: ClickBehaviour, rng: np.random.Generator, *, countries: int) -> Self:
        """Bring together as many as make that many searches."""
        humans = max(1, round(searches * (1 - behaviour.bot_share) / behaviour.searches_per_user))
        bots = max(1, round(searches * behaviour.bot_share / _SEARCHES_PER_BOT)) if behaviour.bot_share > 0 else 0
        codes = rng.permutation(humans + bots)
        country = rng.choice(countries, humans + bots, p=_COUNTRY_WEIGHTS)
        return cls(humans, bots, codes, country, zipf(humans, 0.6))

    def draw(self, rng: np.random.Generator, count: int, behaviour: ClickBehaviour) -> tuple[Integers, Flags]:
        """Choose who makes each search: (rows of users, whether they are bots)."""
        is_bot = rng.random(count) < (behaviour.bot_share if self.bots else 0.0)
        bot = self.humans + rng.integers(0, max(1, self.bots), count)
        return np.where(is_bot, bot, rng.choice(self.humans, count, p=self.weights)), is_bot

    def bot_clicks(self, rng: np.random.Generator, user: Integers, results: int) -> Flags:
        """Return (s, results): bots of three kinds click nearly everything, half of it, or the first three."""
        kind = (user % 3)[:, None]
        rate = np.where(kind == 0, 0.95, np.where(kind == 1, 0.5, np.where(np.arange(results) < 3, 1.0, 0.02)))
        return rng.random((len(user), results), np.float32) < rate

    def clock(self, rng: np.random.Generator, user: Integers, is_bot: Flags, *, start: int, window: int) -> Integers:
        """Return when each search happens, µs: people by day, more in the evening; a bot's in one burst, 0.8 s apart."""
        span = window - TAIL_US
        fraction = rng.random(len(user))
        at = (fraction * span).astype(np.int64)
        night = (at % DAY_US < DAY_US * 6 // 24) & (rng.random(len(user)) < 0.8)
        at = np.where(night, (at + DAY_US * 12 // 24) % max(1, span), at)
        bots = np.flatnonzero(is_bot)
        if len(bots):
            order = bots[np.argsort(user[bots], kind="stable")]
            first = np.r_[True, user[order][1:] != user[order][:-1]]
            begins = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
            at[order] = (at[order[begins]] + (np.arange(len(order)) - begins) * 800_000) % span
        return start + at
