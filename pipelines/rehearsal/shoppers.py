"""Simulated users: each wants an item, searches by a picture of it, looks down the list, and clicks what is like it.

Ground truth is the catalogue: the same item is surely wanted, the same category sometimes, others by mistake. Position-based
model of examination: the result at position p is examined with probability p^(−1/2).

Source: Craswell, Zoeter, Taylor, Ramsey (2008), An experimental comparison of click position-bias models, WSDM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.shared.files.tables import ITEMS, read_table

_ATTRACTION = {"item": 0.6, "category": 0.08, "other": 0.01}
_RETURNING = 0.15
_MOST_QUERIES = 3


@dataclass(frozen=True)
class ShopperQuery:
    """A simulated search: the query picture, and the item that it shows."""

    image_id: str
    item_id: str
    category: str | None
    picture: bytes


@dataclass
class Shopper:
    """Somebody; `pin` is what the page remembers of the arm that answered first; None: not asked yet."""

    user_id: str
    pin: dict[str, str] | None = None


class RehearsalShoppers:
    """A stream of visits, the same for the same seed.

    Args:
        queries: queries that users choose from.
        seed: seed of the random choice.
    """

    def __init__(self, queries: Sequence[ShopperQuery], seed: int = 0) -> None:
        self._queries, self._rng, self._seed = queries, np.random.default_rng(seed), seed
        self._known: list[Shopper] = []

    def visit(self) -> tuple[Shopper, list[ShopperQuery]]:
        """Return the next user and query: mostly a new user, sometimes an earlier one."""
        rng = self._rng
        if self._known and rng.random() < _RETURNING:
            shopper = self._known[int(rng.integers(len(self._known)))]
        else:
            shopper = Shopper(f"u{self._seed}-{len(self._known)}")
            self._known.append(shopper)
        chosen = rng.integers(len(self._queries), size=int(rng.integers(1, _MOST_QUERIES + 1)))
        return shopper, [self._queries[int(number)] for number in chosen]


def clicks(query: ShopperQuery, results: Sequence[dict[str, Any]], rng: np.random.Generator) -> list[int]:
    """Return the places (from 0) in a list of results that the user clicks."""
    chosen = []
    for place, result in enumerate(results):
        kind = "other"
        if result["item_id"] == query.item_id:
            kind = "item"
        elif query.category is not None and result["category"] == query.category:
            kind = "category"
        if rng.random() < (place + 1) ** -0.5 * _ATTRACTION[kind]:
            chosen.append(place)
    return chosen


def read_queries(items: Any, read: Any, most: int, seed: int = 0) -> list[ShopperQuery]:
    """Take pictures of the catalogue that may be shown, of items with several of them, as query pictures.

    Args:
        items: path of a table ITEMS.
        read: uri → encoded bytes.
        most: largest number of queries.
        seed: seed of the random choice.
    """
    rows = [r for r in read_table(items, ITEMS).to_pylist() if r["is_public"] and r["is_appropriate"]]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["item_id"]] = counts.get(row["item_id"], 0) + 1
    rows = [row for row in rows if counts[row["item_id"]] > 1]
    order = np.random.default_rng(seed).permutation(len(rows))[:most]
    chosen = [rows[int(number)] for number in order]
    return [ShopperQuery(r["image_id"], r["item_id"], r["category"], read(r["uri"])) for r in chosen]
