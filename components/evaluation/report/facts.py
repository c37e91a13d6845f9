"""What the other steps left to tell: training, index, labels, data."""

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
from components.shared.artifacts import open_artifact
from components.shared.labels import LabelsSpec
from components.shared.tables import CATALOGUE, QUARANTINE, SPLITS, read_table

Points = list[tuple[float, float]]

_EXAMPLES = 3


@dataclass(frozen=True)
class QuarantineReason:
    """Why pictures were left out, how many, and a few of them."""

    reason: str
    number: int
    examples: list[str]


@dataclass(frozen=True)
class DataFacts:
    """What was in the catalogue.

    Attributes:
        images: number of images.
        items: number of items.
        splits: images by split.
        withheld: images that are private or inappropriate, and so not shown.
        duplicate_images: images that have a near-duplicate.
        duplicate_groups: groups of near-duplicates.
        quarantine: pictures that could not be used, by reason, the most frequent first.
    """

    images: int
    items: int
    splits: dict[str, int]
    withheld: int
    duplicate_images: int
    duplicate_groups: int
    quarantine: list[QuarantineReason]


@dataclass(frozen=True)
class ClickFacts:
    """What the click log gave.

    Attributes:
        positions: places in the ranking.
        estimated: how likely each is to be looked at, as estimated.
        true: as it truly was; None where it is not known.
        precision: share of true pairs among those mined, by method, ours first; empty where the truth is not known.
    """

    positions: list[float]
    estimated: list[float]
    true: list[float] | None
    precision: dict[str, float]


def read_data_facts(catalogue: Path, embeddings: Path) -> DataFacts:
    """Count what the catalogue holds and what it left out."""
    table = read_table(catalogue / "catalogue.parquet", CATALOGUE)
    groups = Counter(table.column("duplicate_group").to_pylist())
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
        quarantine=_quarantine([catalogue / "quarantine.parquet", embeddings / "failed.parquet"]),
    )


def read_summary(directory: Path, step: str) -> dict[str, Any]:
    """Return the few numbers that a step wrote beside its output."""
    return open_artifact(directory, step).summary


def read_history(encoder: Path) -> dict[str, Points]:
    """Return (epoch, value) by figure: loss, validation figures. Empty where no training went before."""
    path = encoder / "history.json"
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
    """Return what is known of the click log; None without one."""
    clicks = labels.clicks
    if not clicks or not clicks.get("positions") or not clicks.get("estimated"):
        return None
    true = clicks.get("true")
    return ClickFacts(
        positions=[float(p) for p in clicks["positions"]],
        estimated=[float(p) for p in clicks["estimated"]],
        true=[float(p) for p in true] if true else None,
        precision=_shares(clicks.get("precision") or {}),
    )


def _shares(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested shares between 0 and 1 to "outer inner" → value."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        title = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            flat |= _shares(value, f"{title} ")
        elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            flat[title] = float(value)
    return flat


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
