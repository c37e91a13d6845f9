"""Facts for the report from the other steps: training, index, labels, data."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.evaluation.report.wording import plain, short_path
from components.shared.files.layout import CATALOGUE_FILE, HISTORY_FILE, QUARANTINE_FILE
from components.shared.files.tables import CATALOGUE, QUARANTINE, SPLITS, read_table
from components.shared.truth.labels import LabelsSpec
from components.shared.vectors.embeddings import FAILED_FILE

Points = list[tuple[float, float]]

_EXAMPLES = 3


@dataclass(frozen=True)
class QuarantineReason:
    """A reason why pictures were left out, with their number and a few examples."""

    reason: str
    number: int
    examples: list[str]


@dataclass(frozen=True)
class DataFacts:
    """Contents of the catalogue.

    Attributes:
        splits: number of images per split.
        withheld: number of images that are private or inappropriate, and so not shown.
        duplicate_images: number of images that have a near-duplicate.
        duplicate_groups: number of groups of near-duplicates.
        identical_files: number of files that repeat another one, byte for byte.
        doubtful_groups: number of groups of near-duplicates in several categories, whose labels should be checked.
        quarantine: unusable pictures per reason, the most frequent first.
    """

    images: int
    items: int
    splits: dict[str, int]
    withheld: int
    duplicate_images: int
    duplicate_groups: int
    identical_files: int
    doubtful_groups: int
    quarantine: list[QuarantineReason]


@dataclass(frozen=True)
class ClickFacts:
    """Results of mining the click log.

    Attributes:
        counts: (description, number) of events, clicks, bots and so on.
        positions: ranks of the results.
        estimated: estimated probability that a user examines each position.
        true: true probabilities, NaN where unknown; None if all are unknown.
        error: mean relative error of the estimates; None if the truth is unknown.
        precision: share of true pairs among the mined ones, per method, ours first; empty if the truth is unknown.
        warnings: doubts reported by labelling.
    """

    counts: list[tuple[str, int]]
    positions: list[float]
    estimated: list[float]
    true: list[float] | None
    error: float | None
    precision: dict[str, float]
    warnings: list[str]


def read_data_facts(catalogue: Path, embeddings: Path) -> DataFacts:
    """Count the images of the catalogue and those that it left out."""
    table = read_table(catalogue / CATALOGUE_FILE, CATALOGUE)
    groups = Counter(table.column("duplicate_group").to_pylist())
    categories: dict[str, set[str | None]] = {}
    for row in table.select(["duplicate_group", "category"]).to_pylist():
        categories.setdefault(row["duplicate_group"], set()).add(row["category"])
    several = [number for number in groups.values() if number > 1]
    splits = Counter(table.column("split").to_pylist())
    flags = zip(table.column("is_public").to_pylist(), table.column("is_appropriate").to_pylist(), strict=True)
    return DataFacts(
        images=table.num_rows,
        items=len(set(table.column("item_id").to_pylist())),
        splits={name: splits[name] for name in SPLITS if splits[name]},
        withheld=sum(not (public and appropriate) for public, appropriate in flags),
        duplicate_images=sum(several),
        duplicate_groups=len(several),
        identical_files=table.num_rows - len(set(table.column("sha256").to_pylist())),
        doubtful_groups=sum(len(found) > 1 for found in categories.values()),
        quarantine=_quarantine([catalogue / QUARANTINE_FILE, embeddings / FAILED_FILE]),
    )


def read_history(encoder: Path) -> dict[str, Points]:
    """Return (epoch, value) per figure: loss, validation figures. Empty without training."""
    path = encoder / HISTORY_FILE
    if not path.exists():
        return {}
    epochs: list[dict[str, Any]] = json.loads(path.read_text())
    curves: dict[str, Points] = {}
    for number, entry in enumerate(epochs, start=1):
        epoch = _number(entry, "epoch")
        epoch = float(number) if epoch is None else epoch
        for name in entry:
            if name != "epoch" and (value := _number(entry, name)) is not None:
                curves.setdefault(name, []).append((epoch, value))
    return curves


def read_click_facts(labels: LabelsSpec) -> ClickFacts | None:
    """Return the facts about the click log; None without one.

    The section "clicks" of `labels.json` is for people: a missing part of it is not shown.
    """
    clicks = labels.clicks
    if not clicks:
        return None
    looked = _mapping(clicks, "propensities")
    bots, mined = _mapping(clicks, "bots"), _mapping(clicks, "mined")
    named = [(name.replace("_", " "), clicks.get(name)) for name in ("events", "impressions", "clicks")]
    named += [
        ("users classed as bots", bots.get("bots")),
        ("bots in truth", bots.get("true")),
        ("pairs mined", mined.get("pairs")),
    ]
    true = [math.nan if value is None else float(value) for value in looked.get("true") or []]
    return ClickFacts(
        counts=[(name, number) for name, number in named if isinstance(number, int)],
        positions=[float(value) for value in looked.get("positions") or []],
        estimated=[float(value) for value in looked.get("estimated") or []],
        true=None if all(math.isnan(value) for value in true) else true,
        error=_number(looked, "mean_relative_error"),
        precision=_precision(_mapping(clicks, "precision")),
        warnings=[str(warning) for warning in clicks.get("warnings") or []],
    )


def _precision(given: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares per method: ours, its parts, and the naive methods; each with its number of pairs."""
    signals = _mapping(given, "by_signal")
    found = [("mined pairs", _number(given, "mined"), _number(given, "pairs"))]
    for name in signals:
        signal = _mapping(signals, name)
        found.append((f"… by {name}", _number(signal, "precision"), _number(signal, "pairs")))
    supported = _number(given, "naive_ctr_supported_pairs")
    found.append(("clicks per view, if enough", _number(given, "naive_ctr_supported"), supported))
    found.append(("clicks per view", _number(given, "naive_ctr"), _number(given, "pairs")))
    return {
        name if pairs is None else f"{name} ({pairs:,.0f})": value for name, value, pairs in found if value is not None
    }


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    return value if isinstance(value, Mapping) else {}


def _quarantine(paths: list[Path]) -> list[QuarantineReason]:
    tables = [read_table(path, QUARANTINE) for path in paths if path.exists()]
    if not tables:
        return []
    by_reason: dict[str, list[str]] = {}
    for row in pa.concat_tables(tables).to_pylist():
        by_reason.setdefault(row["reason"], []).append(row["uri"])
    reasons = [
        QuarantineReason(
            plain(reason).replace("_", " "), len(uris), [short_path(uri) for uri in sorted(uris)[:_EXAMPLES]]
        )
        for reason, uris in by_reason.items()
    ]
    return sorted(reasons, key=lambda r: (-r.number, r.reason))


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
