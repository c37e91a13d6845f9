"""Position bias: the probability that a user examines a result, per position, estimated from the log itself.

The position-based model: a user clicks the result d of query q at position k with probability p_k · r(q, d), the
propensity that k is examined times the attraction of d for q. Two sources separate p_k from r:

1. Intervention harvesting. If rankings differ between releases, arms and days, one pair (q, d) is shown at several
   positions. Its attraction is the same there, so the clicks differ by the propensities alone. Needs no randomisation.
2. Regression, if too few pairs move. r depends only on a few known groups of pairs (same item, same category, other).

Both maximise one likelihood, over groups g of pairs with a common attraction r_g:
    Σ_g Σ_k clicks_gk · log(p_k r_g) + (shown_gk − clicks_gk) · log(1 − p_k r_g)
In 1 a group is all results shown at both of two positions; in 2 it is a relation in the catalogue.

Source: Agarwal, Zaitsev, Wang, Li, Najork, Joachims (2019), Estimating position bias without intrusive interventions,
WSDM, section 4.3 (AllPairs); Wang, Golbandi, Bendersky, Metzler, Najork (2018), Position bias estimation for unbiased
learning to rank in personal search, WSDM, section 4 (regression EM; here the same likelihood is maximised directly).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.labelling.engine import SCALE, Engine, Frame
from components.labelling.parameters import LabellingParameters
from components.shared.truth.position_model import fit_position_model, pair_groups

Floats = NDArray[np.float64]

HARVESTED, REGRESSION = "intervention_harvesting_allpairs", "regression_position_based_model"


@dataclass(frozen=True)
class Propensities:
    """Probability of examination per position, 1 at the first.

    Attributes:
        positions: (K,) 1, 2, …; positions that were shown.
        values: (K,) > 0.
        methods: (K,) method of each estimate.
        evidence: (K,) clicks on images that were shown there and elsewhere.
        warnings: reasons to distrust some values.
    """

    positions: list[int]
    values: list[float]
    methods: list[str]
    evidence: list[float]
    warnings: list[str] = field(default_factory=list)

    def spec(self) -> dict[str, Any]:
        """Return them for `labels.json`."""
        return {
            "positions": self.positions,
            "estimated": [round(value, 6) for value in self.values],
            "method": self.methods,
            "evidence_clicks": [round(value, 1) for value in self.evidence],
        }


def estimate_propensities(engine: Engine, cells: Frame, parameters: LabellingParameters) -> Propensities:
    """Estimate propensities from the cells (query image, image, position, relation, n shown, c clicks) of clean results."""
    positions, by_relation = _relations(engine, cells)
    clicks, shown = _harvest(engine, cells, positions)
    return combine(positions, clicks, shown, *by_relation, minimum_clicks=parameters.propensity_minimum_clicks)


def _relations(engine: Engine, cells: Frame) -> tuple[list[int], tuple[Floats, Floats]]:
    """Return the positions, and clicks and impressions, (relations, K)."""
    total, col = engine.total, engine.functions.col
    rows = engine.rows(
        cells.groupBy("relation", "position").agg(total(col("n")).alias("n"), total(col("c")).alias("c"))
    )
    positions = sorted({int(row["position"]) for row in rows})
    relations = sorted({row["relation"] for row in rows})
    clicks, shown = np.zeros((2, len(relations), len(positions)))
    for row in rows:
        place = relations.index(row["relation"]), positions.index(int(row["position"]))
        clicks[place], shown[place] = row["c"], row["n"]
    return positions, (clicks, shown)


def _harvest(engine: Engine, cells: Frame, positions: list[int]) -> tuple[Floats, Floats]:
    """Return (K, K) clicks and impressions at row k of the pairs that were shown at k and at column k′, weighted.

    A pair shown n times at k and n′ times at k′ has weight n n′ / (n + n′) in both, the weight of Mantel and Haenszel
    (1959), which has the smallest variance. Agarwal et al. weigh all pairs equally; both estimates are consistent.
    """
    F = engine.functions  # noqa: N806
    moved = cells.where(F.col("query_image_id").isNotNull()).select("query_image_id", "image_id", "position", "n", "c")
    here = moved.select(
        "query_image_id", "image_id", F.col("position").alias("k1"), F.col("n").alias("n1"), F.col("c").alias("c1")
    )
    there = moved.select(
        "query_image_id", "image_id", F.col("position").alias("k2"), F.col("n").alias("n2"), F.col("c").alias("c2")
    )
    n1, n2, c1, c2 = (F.col(name).cast("double") for name in ("n1", "n2", "c1", "c2"))
    rows = engine.rows(
        here.join(there, ["query_image_id", "image_id"])
        .where(F.col("k1") < F.col("k2"))
        .groupBy("k1", "k2")
        .agg(
            engine.total(engine.fixed(n1 * n2 / (n1 + n2))).alias("weight"),
            engine.total(engine.fixed(c1 * n2 / (n1 + n2))).alias("clicks1"),
            engine.total(engine.fixed(c2 * n1 / (n1 + n2))).alias("clicks2"),
        )
    )
    place = {position: index for index, position in enumerate(positions)}
    clicks, shown = np.zeros((2, len(positions), len(positions)))
    for row in rows:
        i, j = place[int(row["k1"])], place[int(row["k2"])]
        shown[i, j] = shown[j, i] = row["weight"] / SCALE
        clicks[i, j], clicks[j, i] = row["clicks1"] / SCALE, row["clicks2"] / SCALE
    return clicks, shown


def combine(
    positions: list[int],
    clicks: Floats,
    shown: Floats,
    relation_clicks: Floats,
    relation_shown: Floats,
    *,
    minimum_clicks: float,
) -> Propensities:
    """Estimate by harvesting if there is enough evidence, by regression otherwise.

    Harvesting reaches a position if it has `minimum_clicks` in common with positions already reached, starting from the
    first. The others follow the regression's curve from the nearest harvested position above.

    Args:
        positions: K positions, ascending.
        clicks: (K, K) from `_harvest`.
        shown: (K, K) from `_harvest`.
        relation_clicks: (relations, K).
        relation_shown: (relations, K).
        minimum_clicks: evidence that a position needs.
    """
    if not positions:
        return Propensities([], [], [], [], ["nothing was shown"])
    common = clicks + clicks.T
    reached = _reach(common, minimum_clicks)
    values = fit_position_model(relation_clicks, relation_shown)
    methods = [REGRESSION] * len(positions)
    if len(reached) > 1:
        inside = np.array(reached)
        harvested = fit_position_model(*pair_groups(clicks[np.ix_(inside, inside)], shown[np.ix_(inside, inside)]))
        curve = values.copy()
        for index in range(len(positions)):
            anchor = max(i for i in reached if i <= index)
            values[index] = harvested[reached.index(anchor)] * curve[index] / curve[anchor]
            methods[index] = HARVESTED if index in reached else REGRESSION
    evidence = [float(common[index].sum()) for index in range(len(positions))]
    values = np.maximum(np.round(values, 6), 1e-6)  # rounded, so that the optimiser's last bits do not matter
    return Propensities(positions, [float(v) for v in values], methods, evidence, _warnings(positions, methods))


def _reach(common: Floats, minimum_clicks: float) -> list[int]:
    reached = [0]
    while True:
        gain = common[:, reached].sum(axis=1)
        gain[reached] = -1
        best = int(np.argmax(gain))
        if gain[best] < minimum_clicks:
            return sorted(reached)
        reached.append(best)


def _warnings(positions: list[int], methods: list[str]) -> list[str]:
    thin = [str(position) for position, method in zip(positions, methods, strict=True) if method == REGRESSION]
    if not thin or len(positions) == 1:
        return []
    return [
        f"too few images moved between positions to harvest the propensities of position{'s' if len(thin) > 1 else ''} "
        f"{', '.join(thin)}: estimated by the position-based model instead, which credits the position with clicks that "
        "better images at the top have earned"
    ]
