"""The tags of a release's version in MLflow, written and read back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.shared.release.manifest import Manifest

_RELEASE_ID = re.compile(r"r-[0-9a-f]{16}")  # used as the name of a directory, so nothing else is accepted


@dataclass(frozen=True)
class RegisteredRelease:
    """One version of the registered model: one release.

    Attributes:
        version: MLflow's number, from 1.
        generation: 0 for a new encoder, +1 with every re-indexing.
        parent: release that this generation was made from.
        gate_passed: whether the evaluation's gate passed it.
        is_announced: whether its aliases were set after registration.
        metrics: name → number, or {"value", "low", "high"}.
        created_at: time of registration, UTC.
        aliases: aliases of this version, sorted.
        model_id: the LoggedModel that holds its files.
    """

    version: int
    release_id: str
    space_id: str
    generation: int
    parent: str | None
    gate_passed: bool
    is_announced: bool
    metrics: dict[str, Any]
    created_at: datetime
    aliases: tuple[str, ...]
    model_id: str


def tags_of(manifest: Manifest) -> dict[str, str]:
    """Return the tags that a version of this release has from the start."""
    tags = {
        "release_id": manifest.release_id,
        "space_id": manifest.space_id,
        "generation": str(manifest.catalogue.generation),
        "gate_passed": "true" if manifest.gate.get("passed") is True else "false",
        "metrics": json.dumps(manifest.metrics, sort_keys=True, allow_nan=False),
        "images": str(manifest.catalogue.images),
        "items": str(manifest.catalogue.items),
    }
    return tags if manifest.catalogue.parent is None else tags | {"parent": manifest.catalogue.parent}


def read_version(version: Any, aliases: dict[str, int]) -> RegisteredRelease | None:
    """Read MLflow's ModelVersion; None if it was registered by other software.

    Args:
        version: MLflow's object. The SQL store leaves its own `model_id` and `aliases` empty.
        aliases: alias → version, for the registered model.
    """
    tags = version.tags
    number = int(version.version)
    model_id = str(version.source or "").removeprefix("models:/")
    if not _RELEASE_ID.fullmatch(tags.get("release_id", "")) or not model_id.startswith("m-"):
        return None
    return RegisteredRelease(
        version=number,
        release_id=tags["release_id"],
        space_id=tags.get("space_id", ""),
        generation=int(tags.get("generation", 0)),
        parent=tags.get("parent"),
        gate_passed=tags.get("gate_passed") == "true",
        is_announced=tags.get("announced") == "true",
        metrics=json.loads(tags.get("metrics", "{}")),
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1_000, UTC),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        model_id=model_id,
    )
