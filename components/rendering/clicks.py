"""A click log of simulated users, of which everything is known: position bias, noise, bots.

Users follow the position-based model. Two arms of a mediocre ranker, jitter from search to search and random swaps
show one pair at several positions, so that propensities can be recovered from the log (intervention harvesting).

Source: Joachims et al. (2017), Unbiased learning-to-rank with biased feedback; Agarwal et al. (2019), Estimating
position bias without intrusive interventions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.rendering.parameters import ClickBehaviour
from components.rendering.shoppers import DAY_US, TAIL_US, Searches, Shoppers, zipf
from components.shared.files.tables import EVENTS

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
ARMS = ("champion", "challenger")
RELEASES = ("r-rendered-champion", "r-rendered-challenger")
COUNTRIES = ("DE", "US", "FR", "GB", "JP", "BR", "IN", "NL")
BATCH_SEARCHES = 50_000

Integers = NDArray[np.integer[Any]]


def propensities(behaviour: ClickBehaviour) -> NDArray[np.float64]:
    """Return the probability that a user examines each position, (results,) float64, 1 at the first."""
    return np.arange(1, behaviour.results + 1, dtype=np.float64) ** -behaviour.eta


def attractiveness(behaviour: ClickBehaviour) -> NDArray[np.float64]:
    """Return the probability of a click on an examined result by true grade, mistakes included, (4,) float64."""
    return 1 - (1 - np.asarray(behaviour.appeal)) * (1 - behaviour.noise)


class SimulatedClicks:
    """A log that is made in batches of 50,000 searches, so that its length is bounded by the disk alone.

    Args:
        query_ids: q image ids that users search with; the earlier ones are searched more often (Zipf).
        candidate_ids: image ids that may be returned.
        candidates: (q, c) rows of `candidate_ids` among which the ranker chooses for each query; c ≥ results.
        grades: (q, c) true grades 0–3 of these pairs.
        searches: number of searches; about 12.5 events each at 10 results.
        seed: equal seeds, equal logs.
        behaviour: how users click and the ranker errs.

    Raises:
        ValueError: the shapes do not fit together.
    """

    def __init__(
        self,
        query_ids: list[str],
        candidate_ids: list[str],
        candidates: Integers,
        grades: Integers,
        *,
        searches: int,
        seed: int,
        behaviour: ClickBehaviour | None = None,
    ) -> None:
        behaviour = behaviour or ClickBehaviour()
        if candidates.shape != grades.shape or candidates.ndim != 2 or len(candidates) != len(query_ids):
            raise ValueError(
                f"expected candidates and grades (q, c) of {len(query_ids)} queries, got {candidates.shape}, {grades.shape}"
            )
        if candidates.shape[1] < behaviour.results:
            raise ValueError(f"expected at least {behaviour.results} candidates a query, got {candidates.shape[1]}")
        self.behaviour, self.searches, self.seed = behaviour, searches, seed
        self._query_ids, self._candidate_ids = pa.array(query_ids, pa.string()), pa.array(candidate_ids, pa.string())
        self._candidates, self._grades = candidates.astype(np.int32), grades.astype(np.int8)
        self._query_weights = zipf(len(query_ids), 0.8)
        rng = np.random.default_rng([seed, 1])
        stray = rng.standard_normal((len(ARMS), *grades.shape), np.float32)
        stray *= np.asarray(behaviour.ranker_noise, np.float32)[:, None, None]
        self._scores = grades.astype(np.float32) + stray  # (arm, q, c): stable, so each arm errs in its own way
        self._shoppers = Shoppers.of(searches, behaviour, rng, countries=len(COUNTRIES))
        self._user_ids = _numbered("u-", self._shoppers.codes, 7)
        self._counts = dict.fromkeys(("searches", "bot_searches", "self_clicks", "impression", "click", "dwell"), 0)

    def whole(self) -> tuple[pa.Table, dict[str, Any]]:
        """Return all batches as one table, in order of time, and the truth about them."""
        table = pa.concat_tables([*self.batches(), EVENTS.schema.empty_table()])
        return table, self.truth()

    def batches(self) -> Iterator[pa.Table]:
        """Yield the log as EVENTS tables, in order of time within and across batches."""
        self._counts = dict.fromkeys(self._counts, 0)
        number = max(1, -(-self.searches // BATCH_SEARCHES))
        window = max(self.behaviour.days * DAY_US // number, 4 * TAIL_US)
        first_event = 0
        for index in range(number):
            first = index * BATCH_SEARCHES
            count = min(BATCH_SEARCHES, self.searches - first)
            if count <= 0:
                return
            rng = np.random.default_rng([self.seed, 2, index])
            searches = self._search(rng, count, START_US + index * window, window)
            table = self._table(searches, first_search=first, first_event=first_event, rng=rng)
            first_event += table.num_rows
            yield table

    def truth(self) -> dict[str, Any]:
        """Return what an honest analysis of the batches yielded so far should find."""
        return {
            "model": "position-based",
            "propensities": [float(value) for value in propensities(self.behaviour)],
            "attractiveness": [float(value) for value in attractiveness(self.behaviour)],
            "click_noise": self.behaviour.noise,
            "bots": sorted(self._user_ids.slice(self._shoppers.humans).to_pylist()),
            "arms": dict(zip(ARMS, RELEASES, strict=True)),
            "counts": dict(self._counts),
        }

    def _search(self, rng: np.random.Generator, count: int, start: int, window: int) -> Searches:
        """Let `count` searches happen in the time window: who, what, which results, which clicks, when."""
        behaviour, shoppers = self.behaviour, self._shoppers
        user, is_bot = shoppers.draw(rng, count, behaviour)
        query = rng.choice(len(self._query_ids), count, p=self._query_weights)
        arm = (user * 2_654_435_761 >> 7) % len(ARMS)  # a user stays in one arm
        shown = self._rank(rng, query, arm)
        rows, grade = self._candidates[query[:, None], shown], self._grades[query[:, None], shown]
        is_self = np.zeros(rows.shape, bool)
        with_self = np.flatnonzero(rng.random(count) < behaviour.self_share)
        place = np.where(rng.random(len(with_self)) < 0.7, 0, rng.integers(0, behaviour.results, len(with_self)))
        is_self[with_self, place] = True
        appeal = np.where(is_self, behaviour.self_appeal, attractiveness(behaviour)[grade])
        clicked = rng.random(rows.shape, np.float32) < appeal * propensities(behaviour)
        clicked = np.where(is_bot[:, None], shoppers.bot_clicks(rng, user, behaviour.results), clicked)
        at = shoppers.clock(rng, user, is_bot, start=start, window=window)
        uploaded = (rng.random(count) < behaviour.upload_share) & ~is_self.any(axis=1)
        return Searches(user, is_bot, query, arm, rows, np.where(is_self, 3, grade), is_self, clicked, uploaded, at)

    def _rank(self, rng: np.random.Generator, query: Integers, arm: Integers) -> Integers:
        """Return the (s, results) candidates that each search shows, best first."""
        k = self.behaviour.results
        scores = self._scores[arm, query]
        scores += self.behaviour.jitter * rng.standard_normal(scores.shape, np.float32)
        shown = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, shown, 1), axis=1, kind="stable")
        shown = np.take_along_axis(shown, order, 1)
        swapped = np.flatnonzero(rng.random(len(query)) < self.behaviour.swap_share)
        one, other = rng.integers(0, k, (2, len(swapped)))
        shown[swapped, one], shown[swapped, other] = shown[swapped, other], shown[swapped, one]
        return shown

    def _table(self, s: Searches, *, first_search: int, first_event: int, rng: np.random.Generator) -> pa.Table:
        search, position, kind, at, dwell_ms = s.events(rng, self.behaviour.dwell_share)
        n = len(search)
        for name, code in (("impression", 0), ("click", 1), ("dwell", 2)):
            self._counts[name] += int((kind == code).sum())
        self._counts["searches"] += len(s.user)
        self._counts["bot_searches"] += int(s.is_bot.sum())
        self._counts["self_clicks"] += int((s.clicked & s.is_self).sum())
        query, arm, user = s.query[search], s.arm[search], s.user[search]
        returned = self._candidate_ids.take(pa.array(s.rows[search, position]))
        returned = pc.if_else(pa.array(s.is_self[search, position]), self._query_ids.take(pa.array(query)), returned)
        columns = {
            "event_id": _numbered("e-", first_event + np.arange(n), 9),
            "query_id": _numbered("q-", first_search + search, 8),
            "user_id": self._user_ids.take(pa.array(user)),
            "query_image_id": self._query_ids.take(pa.array(query, mask=s.uploaded[search])),
            "returned_image_id": returned,
            "position": pa.array(position + 1, pa.int32()),
            "type": pa.array(["impression", "click", "dwell"]).take(pa.array(kind)),
            "dwell_ms": pa.array(dwell_ms, pa.int64(), mask=kind != 2),
            "release_id": pa.array(RELEASES).take(pa.array(arm)),
            "arm": pa.array(ARMS).take(pa.array(arm)),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "country": pa.array(COUNTRIES).take(pa.array(self._shoppers.country[user])),
        }
        return pa.table(columns, schema=EVENTS.schema)


def _numbered(prefix: str, numbers: Integers, width: int) -> pa.Array:
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")
