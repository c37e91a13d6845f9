"""Position bias from the log itself: the probability that a position is examined, 1 at the first.

Rankings differ between releases, arms and days, so many pairs of query image and result are shown at several positions. A
pair's attraction is the same there; what differs in its clicks is the position. That needs no randomised traffic. Positions
which too few pairs reached follow a power of the position, fitted to those that were.

Source: `components/shared/truth/position_model.py`; Joachims, Swaminathan, Schnabel (2017), section 5 (the power).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from components.shared.truth.position_model import Floats, fit_position_model, pair_groups
from monitoring.online.parameters import OnlineParameters

_PAIRS = """
WITH cells AS (
    SELECT query_image_id, image_id, position, count(*)::DOUBLE AS n, count(clicked_at)::DOUBLE AS c
    FROM results WHERE query_image_id IS NOT NULL GROUP BY ALL
), moved AS (
    SELECT * FROM cells SEMI JOIN (
        SELECT query_image_id, image_id FROM cells GROUP BY ALL HAVING count(*) > 1
    ) USING (query_image_id, image_id)
)
SELECT a.position AS here, b.position AS there, sum(a.c * b.n / (a.n + b.n)) AS clicks,
    sum(a.n * b.n / (a.n + b.n)) AS shown
FROM moved a JOIN moved b USING (query_image_id, image_id) WHERE a.position <> b.position GROUP BY ALL
"""


@dataclass(frozen=True)
class OnlinePropensities:
    """Probability of examination, by position.

    Attributes:
        positions: positions that were shown.
        values: > 0; the first is 1.
        harvested: whether each was estimated from pairs that moved, or follows the curve.
    """

    positions: list[int]
    values: list[float]
    harvested: list[bool]

    def as_dict(self) -> dict[int, float]:
        """Return position → probability; empty if nothing is known."""
        return dict(zip(self.positions, self.values, strict=True))


def estimate_propensities(connection: duckdb.DuckDBPyConnection, parameters: OnlineParameters) -> OnlinePropensities:
    """Estimate them from the table `results`; empty if fewer than two positions can be compared.

    A pair shown n times at one position and n′ at another has the weight n n′ / (n + n′) (Mantel, Haenszel, 1959).
    """
    positions = [
        int(row[0]) for row in connection.execute("SELECT DISTINCT position FROM results ORDER BY 1").fetchall()
    ]
    place = {position: i for i, position in enumerate(positions)}
    clicks, shown = np.zeros((2, len(positions), len(positions)))
    for here, there, c, n in connection.execute(_PAIRS).fetchall():
        clicks[place[here], place[there]], shown[place[here], place[there]] = c, n
    reached = _reach(clicks + clicks.T, parameters.propensity_minimum_clicks)
    if len(reached) < 2:
        return OnlinePropensities([], [], [])
    inside = np.array(reached)
    found = fit_position_model(*pair_groups(clicks[np.ix_(inside, inside)], shown[np.ix_(inside, inside)]))
    values = _power_curve(np.array(positions, np.float64), inside, found)
    values[inside] = found
    floor = parameters.propensity_floor
    return OnlinePropensities(
        positions, [max(float(v), floor) for v in values], [i in reached for i in range(len(positions))]
    )


def _reach(common: Floats, minimum_clicks: float) -> list[int]:
    """Return the positions that are tied to the first by enough clicks on images shown at both, directly or in steps."""
    reached = [0] if len(common) else []
    while len(reached) < len(common):
        gain = common[:, reached].sum(axis=1)
        gain[reached] = -1
        best = int(np.argmax(gain))
        if gain[best] < minimum_clicks:
            break
        reached.append(best)
    return sorted(reached)


def _power_curve(positions: Floats, inside: np.ndarray, found: Floats) -> Floats:
    x = np.log(positions / positions[0])
    known, y = x[inside], np.log(np.maximum(found, 1e-6))
    exponent = min(0.0, float((known * y).sum() / max((known**2).sum(), 1e-12)))
    return np.asarray(np.exp(exponent * x))
