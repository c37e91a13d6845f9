"""A click log whose truth is known, and the accuracy of labelling on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.labelling.engine import Engine
from components.labelling.mining import SIGNALS, MinedClicks
from components.shared.errors import SourceError
from components.shared.files.atomic import sha256_of
from components.shared.files.layout import TRUE_RELEVANCE_FILE, TRUTH_FILE
from components.shared.files.tables import JUDGEMENTS, read_table
from components.shared.truth.relevance import MAX_GRADE, RELEVANT_GRADE

# "propensities" (by position, from 1), "bots" (user ids), and "items" (item id → {"family": …}) if there are; more is ignored

Pair = tuple[str, str]


def truth_digest(directory: str) -> str:
    """Return a digest that changes when the truth does.

    Raises:
        SourceError: a file is missing.
    """
    if not directory:
        return ""
    return " ".join(sha256_of(_file(directory, name)) for name in (TRUTH_FILE, TRUE_RELEVANCE_FILE))


def _file(directory: str, name: str) -> Path:
    path = Path(directory.removeprefix("file://")) / name
    if not path.is_file():
        raise SourceError(
            f"the truth {directory} lacks {name}; give the folder that the rendered catalogue wrote, or none",
            source=directory,
        )
    return path


class Truth:
    """The true propensities, bots and grades behind a simulated log."""

    def __init__(self, directory: str, images: pa.Table) -> None:
        """Read the truth.

        Args:
            directory: local folder with truth.json and truth_relevance.parquet.
            images: image_id and item_id. Where no grade is given (two images that were clicked together need not be a query
                and result of the log), two images of an item have grade 3, of a family grade 2.

        Raises:
            SourceError: a file is missing or unreadable.
        """
        path = _file(directory, TRUTH_FILE)
        try:
            values = json.loads(path.read_text())
            self.propensities = [float(value) for value in values["propensities"]]
            self.bots = {str(user) for user in values["bots"]}
            self._families = {str(item): facts.get("family") for item, facts in values.get("items", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f'{path} does not hold "propensities" and "bots" ({error!r}); render the catalogue again',
                source=str(path),
            ) from error
        table = read_table(_file(directory, TRUE_RELEVANCE_FILE), JUDGEMENTS, ["query_image_id", "image_id", "grade"])
        self._grades: dict[Pair, int] = dict(
            zip(
                zip(table.column("query_image_id").to_pylist(), table.column("image_id").to_pylist(), strict=True),
                table.column("grade").to_pylist(),
                strict=True,
            )
        )
        self._items: dict[str, str] = dict(
            zip(images.column("image_id").to_pylist(), images.column("item_id").to_pylist(), strict=True)
        )

    def grade(self, one: str, other: str) -> int:
        """Return the true grade of two images, in either role; 0 if unknown."""
        known = [self._grades[pair] for pair in ((one, other), (other, one)) if pair in self._grades]
        if known:
            return max(known)
        first, second = self._items.get(one), self._items.get(other)
        if first is None or second is None:
            return 0
        if first == second:
            return MAX_GRADE
        family = self._families.get(first)
        return RELEVANT_GRADE if family is not None and family == self._families.get(second) else 0

    def precision(self, pairs: list[Pair]) -> float | None:
        """Return the share of pairs whose true grade is at least 2; None without pairs."""
        if not pairs:
            return None
        return round(sum(self.grade(*pair) >= RELEVANT_GRADE for pair in pairs) / len(pairs), 6)


def compare_with_truth(engine: Engine, mined: MinedClicks, truth: Truth, images: pa.Table) -> dict[str, Any]:
    """Return propensities, bots and mined pairs beside the truth, ready to be plotted.

    "precision" is the share of pairs with a true grade of 2 or more, for three sets: the mined pairs; the same number of
    pairs with the highest raw click rate (bots, positions and thin evidence uncorrected); and the same number with the
    highest raw click rate among those with enough clicks, the best possible result without corrections.
    """
    found, actual = set(mined.bots), truth.bots
    caught = len(found & actual)
    propensities = mined.propensities.spec()
    true = dict(enumerate(truth.propensities, start=1))
    compared = [
        (estimate, true[position])
        for position, estimate in zip(propensities["positions"], propensities["estimated"], strict=True)
        if position in true
    ]
    pairs = list(
        zip(mined.pairs.column("query_image_id").to_pylist(), mined.pairs.column("image_id").to_pylist(), strict=True)
    )
    naive, supported = _naive_pairs(engine, mined, images, len(pairs))
    return {
        "propensities": {
            **propensities,
            "true": [true.get(position) for position in propensities["positions"]],
            "mean_relative_error": round(sum(abs(e / t - 1) for e, t in compared) / len(compared), 6)
            if compared
            else None,
        },
        "precision": {
            "mined": truth.precision(pairs),
            "naive_ctr": truth.precision(naive),
            "naive_ctr_supported": truth.precision(supported),
            "pairs": len(pairs),
            "naive_ctr_supported_pairs": len(supported),
            "by_signal": {
                signal: {
                    "pairs": len(
                        chosen := [
                            pair
                            for pair, flag in zip(pairs, mined.pairs.column(signal).to_pylist(), strict=True)
                            if flag
                        ]
                    ),
                    "precision": truth.precision(chosen),
                }
                for signal in SIGNALS
            },
        },
        "bots": {
            **mined.spec["bots"],
            "true": len(actual),
            "precision": round(caught / len(found), 6) if found else None,
            "recall": round(caught / len(actual), 6) if actual else None,
        },
    }


def _naive_pairs(engine: Engine, mined: MinedClicks, images: pa.Table, count: int) -> tuple[list[Pair], list[Pair]]:
    """Return the `count` pairs of highest raw click rate: of all, and of those with at least as many clicks as mined ones."""
    F = engine.functions  # noqa: N806
    col = F.col
    trainable = engine.small("trainable", images.select(["image_id", "trainable"]))
    counted = (
        mined.shown.where(col("position").isNotNull() & (col("query_image_id") != col("image_id")))
        .groupBy("query_image_id", "image_id")
        .agg(F.count("*").alias("n"), engine.total(col("clicked")).alias("clicks"))
        .where(col("clicks") > 0)
        .join(trainable.where(col("trainable") == 1).select("image_id"), "image_id", "left_semi")
        .join(
            trainable.where(col("trainable") == 1).select(col("image_id").alias("query_image_id")),
            "query_image_id",
            "left_semi",
        )
        .select(
            "query_image_id",
            "image_id",
            "n",
            "clicks",
            (col("clicks").cast("double") / col("n").cast("double")).alias("ctr"),
        )
    )
    order = [col("ctr").desc(), col("n").desc(), col("query_image_id").asc(), col("image_id").asc()]

    def best(frame: Any) -> list[Pair]:
        chosen = frame.orderBy(*order).limit(count)
        return [(row["query_image_id"], row["image_id"]) for row in engine.rows(chosen)]

    return best(counted), best(counted.where(col("clicks") >= 5))
