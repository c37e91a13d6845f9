"""Seeded event logs of people who look at positions with known probabilities and click what attracts them."""

from __future__ import annotations

import datetime

import duckdb
import numpy as np
import pyarrow as pa

from components.shared.files.tables import EVENTS
from monitoring.events import _make_view

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
K = 8
PROPENSITY = 1 / np.arange(1, K + 1) ** 0.8


def make_events(
    *,
    users: int = 300,
    searches_per_user: int = 6,
    days: int = 7,
    images: int = 40,
    lift: float = 0.0,
    share: float = 0.5,
    seed: int = 0,
    arms: tuple[str, str] = ("champion", "challenger"),
    upside_down: bool = False,
    dwell: bool = True,
) -> pa.Table:
    """Return impressions, clicks and dwells. Attraction is a fixed number for each pair of query picture and image.

    Args:
        users: in both arms.
        searches_per_user: mean, geometric.
        days: length.
        images: pictures of the catalogue; a query shows K of them, mostly the more attractive first.
        lift: relative increase of attraction in the second arm.
        share: of users in the second arm.
        seed: decides.
        arms: names.
        upside_down: the second arm shows the least attractive first.
        dwell: whether dwells are told.
    """
    rng = np.random.default_rng(seed)
    attraction = np.random.default_rng(99).uniform(0.05, 0.6, (images, images))
    rows = []
    for user in range(users):
        arm = int(rng.random() < share)
        own = rng.beta(4, 2) / (4 / 6)
        for search in range(rng.geometric(1 / searches_per_user)):
            query = int(rng.integers(images))
            others = rng.permutation(np.delete(np.arange(images), query))[:K]
            order = np.argsort(-attraction[query, others] + rng.normal(0, 0.15, K))
            shown = others[order[::-1] if upside_down and arm else order]
            at = START + datetime.timedelta(seconds=float(rng.uniform(0, days * 86_400)))
            base = {
                "query_id": f"q-{user}-{search}", "user_id": f"u-{user}", "query_image_id": f"i-{query}",
                "release_id": f"r-{arms[arm]}", "arm": arms[arm], "country": ("DE", "FR")[user % 2], "dwell_ms": None,
            }  # fmt: skip
            chance = np.minimum(PROPENSITY * attraction[query, shown] * own * (1 + lift * arm), 1)
            for place, image in enumerate(shown):
                one = {**base, "returned_image_id": f"i-{image}", "position": place + 1}
                rows.append({**one, "type": "impression", "at": at})
                if rng.random() < chance[place]:
                    clicked = at + datetime.timedelta(seconds=1.5 + place)
                    rows.append({**one, "type": "click", "at": clicked})
                    if dwell and rng.random() < 0.8:
                        stay = int(2_000 + rng.exponential(20_000))
                        rows.append(
                            {**one, "type": "dwell", "dwell_ms": stay, "at": clicked + datetime.timedelta(seconds=30)}
                        )
    for number, row in enumerate(rows):
        row["event_id"] = f"e-{seed}-{number}"
    return pa.Table.from_pylist(rows, EVENTS.schema)


def add_events(connection: duckdb.DuckDBPyConnection, events: pa.Table) -> None:
    """Make a table the log of a connection, as `open_events` makes what a store holds."""
    connection.register("raw_events", events)
    _make_view(connection, "raw_events")
