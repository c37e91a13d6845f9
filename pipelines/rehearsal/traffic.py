"""Simulated users at the router; the oracle checks every answer that they get."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from pipelines.rehearsal.oracle import Oracle
from pipelines.rehearsal.router import PIN_HEADER, Router
from pipelines.rehearsal.shoppers import RehearsalShoppers, Shopper, ShopperQuery, clicks

_PREDICT = "/v1/models/visual-search:predict"
_KINDS = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png", b"RI": "image/webp"}
_MOST_WRONG_KEPT = 20
BOTH = "both"  # in place of the arm, of answers that both arms drafted
_PATIENCE_SECONDS = 0.2  # of a user who got an error, before the next query


@dataclass
class Tally:
    """Counts of the answers that users got.

    Attributes:
        failed: without an answer, by arm: errors, which are no wrong answers.
        answered: number of answers by arm and release; interleaved ones under `BOTH`.
        clicked: answers with a click per arm.
        wrong: answers that mix releases: what is wrong with each (the first few).
        checked: answers recomputed offline.
    """

    queries: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    clicked: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    wrong_count: int = 0
    checked: int = 0

    @property
    def answers(self) -> int:
        """Number of answers."""
        return sum(self.answered.values())


@dataclass(frozen=True)
class RehearsalPlan:
    """How to rehearse.

    Attributes:
        queries: largest number of queries.
        batch: queries between two looks.
        workers: users at a time.
        check_every: one answer in this many is recomputed.
        k: results of a query.
        ladder: shares; few and large, since of some thousand queries one percent tells nothing.
        hold_seconds: least time at a share.
        interleaved: queries, at most, that both arms answer in one list before any user is split.
    """

    queries: int = 4_000
    batch: int = 150
    workers: int = 4
    check_every: int = 20
    k: int = 5
    ladder: Sequence[int] = (10, 50)
    hold_seconds: float = 0.0
    seed: int = 0
    interleaved: int = 0


class Traffic:
    """Users at the router.

    Args:
        router: receives their queries.
        shoppers: simulated users.
        oracle: checks every answer.
        plan: amount of traffic.
    """

    def __init__(self, router: Router, shoppers: RehearsalShoppers, oracle: Oracle, plan: RehearsalPlan) -> None:
        self._router, self._shoppers, self._oracle, self._plan = router, shoppers, oracle, plan
        self.tally = Tally()
        self._lock = threading.Lock()
        self._http = httpx.Client(base_url=router.url, timeout=30, trust_env=False)
        self._pool = ThreadPoolExecutor(plan.workers, thread_name_prefix="user")

    def close(self) -> None:
        """Let everybody go."""
        self._pool.shutdown()
        self._http.close()

    def send(self, queries: int) -> None:
        """Simulate users until the given number of queries was asked."""
        wanted = self.tally.queries + queries
        while self.tally.queries < wanted:
            visits: list[tuple[Shopper, list[ShopperQuery]]] = []
            while sum(len(found) for _, found in visits) < min(queries, wanted - self.tally.queries):
                visits.append(self._shoppers.visit())
            for _ in self._pool.map(self._visit, visits):
                pass

    def _visit(self, visit: tuple[Shopper, list[ShopperQuery]]) -> None:
        shopper, queries = visit
        headers = {"X-Visual-Search-User": shopper.user_id}
        if shopper.pin is None:
            shopper.pin = self._ask_pin(headers)
        for query in queries:
            self._search(shopper, query, headers | (shopper.pin or {}))

    def _ask_pin(self, headers: dict[str, str]) -> dict[str, str] | None:
        try:
            found = self._http.get("/v1/release", headers=headers)
            return dict(found.json().get("pin") or {}) if found.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None

    def _search(self, shopper: Shopper, query: ShopperQuery, headers: dict[str, str]) -> None:
        kind = _KINDS[query.picture[:2]]
        found = self._http.post(
            _PREDICT, params={"k": self._plan.k}, content=query.picture, headers={**headers, "Content-Type": kind}
        )
        with self._lock:
            self.tally.queries += 1
            number = self.tally.queries
        if found.status_code != 200:
            pin = next((value for name, value in headers.items() if name.lower() == PIN_HEADER), None)
            with self._lock:
                self.tally.failed[self._router.arm_of(shopper.user_id, pin)] += 1
            time.sleep(_PATIENCE_SECONDS)
            return
        answer = found.json()["predictions"][0]
        checked = number % self._plan.check_every == 0
        if is_interleaved := "interleaved" in answer:
            for arm, part, beside in _parts(answer):
                self._look_at(part, query, part["release_id"], arm, checked=checked, beside=beside)
        else:
            released, arm = (found.headers.get(f"X-Visual-Search-{name}") for name in ("Release", "Arm"))
            self._look_at(answer, query, released, arm, checked=checked)
        chosen = clicks(query, answer["results"], np.random.default_rng([self._plan.seed, number]))
        events = [{"token": answer["results"][place]["token"], "type": "click"} for place in chosen]
        if events:
            self._http.post("/v1/events", json={"events": events}, headers=headers)
        with self._lock:
            key = (BOTH, "in one list") if is_interleaved else (answer["arm"], answer["release_id"])
            self.tally.answered[key] += 1
            self.tally.clicked[key] += bool(chosen)

    def _look_at(
        self,
        answer: dict[str, Any],
        query: ShopperQuery,
        released: str | None,
        arm: str | None,
        *,
        checked: bool,
        beside: Sequence[str] = (),
    ) -> None:
        wrong = self._oracle.belongs_together(answer, released, arm)
        if wrong is None and checked:
            wrong = self._oracle.check(query.picture, answer, beside)
        with self._lock:
            self.tally.checked += checked
            if wrong is not None:
                self.tally.wrong_count += 1
                self.tally.wrong = [*self.tally.wrong, wrong][:_MOST_WRONG_KEPT]


def _parts(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any], list[str]]]:
    """Take an interleaved answer apart: arm, what it drafted as an answer of its own, and the other's items."""
    parts = []
    for arm, ids in answer["interleaved"].items():
        own = [result for result in answer["results"] if result["arm"] == arm]
        others = [result["item_id"] for result in answer["results"] if result["arm"] != arm]
        parts.append((arm, {**ids, "results": own}, others))
    return parts
