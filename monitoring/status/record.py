"""The stored result of one monitoring run: the report, the online metrics beside it, and facts of the release."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from components.shared.errors import ContractError, UnfinishedArtifactError
from components.shared.files.atomic import write_json
from components.shared.release.manifest import Manifest
from monitoring.findings import Concern, Report, State, worst_state

LATEST_FILE = "latest.json"
HISTORY_FOLDER = "history"
HISTORY_LIMIT = 500
_STAMP = "%Y%m%dT%H%M%S%fZ"
_NAME = re.compile(r"record-\d{8}T\d{12}Z\.json")
_CONFIG = ConfigDict(frozen=True, extra="forbid")


class OnlineRow(BaseModel):
    """Users' reactions to the answers of one arm, release, country, position or hour; see `monitoring.online.metrics`.

    Attributes:
        zero_result_rate: share of the sampled queries that found nothing; only by arm and release.
    """

    model_config = _CONFIG

    label: str
    searches: int | None = None
    users: int | None = None
    impressions: int | None = None
    clicks: int | None = None
    click_through_per_query: FiniteFloat | None = None
    click_through_per_impression: FiniteFloat | None = None
    corrected_click_through: FiniteFloat | None = None
    abandonment: FiniteFloat | None = None
    clicks_at_k: FiniteFloat | None = None
    click_mrr: FiniteFloat | None = None
    median_seconds_to_click: FiniteFloat | None = None
    median_dwell_seconds: FiniteFloat | None = None
    zero_result_rate: FiniteFloat | None = None


class ReleaseFacts(BaseModel):
    """The facts of the manifest that are shown beside a report.

    Attributes:
        images, items: in the release and the generations on it.
        generations: number of generations.
    """

    model_config = _CONFIG

    release_id: str
    space_id: str
    architecture: str
    dimension: int
    index: str
    images: int
    items: int
    generations: int = 0
    metrics: dict[str, float] = Field(default_factory=dict)


class Record(BaseModel):
    """One run of monitoring.

    Attributes:
        report: concerns and diagnoses.
        online: tables by dimension: "arm", "release_id", "country", "position", "hour"; empty: there were no events.
        online_note: why there are none, or "".
        online_since: beginning of the online metrics.
    """

    model_config = _CONFIG

    schema_version: Literal[1] = 1
    report: Report
    release: ReleaseFacts
    online: dict[str, tuple[OnlineRow, ...]] = Field(default_factory=dict)
    online_note: str = ""
    online_since: AwareDatetime | None = None


class TrendPoint(BaseModel):
    """The part of an earlier record that the page's trends show."""

    model_config = _CONFIG

    at: AwareDatetime
    release_id: str
    state: State
    values: dict[str, float] = Field(default_factory=dict)
    states: dict[str, State] = Field(default_factory=dict)


class RecordStore:
    """The records of one arm in a folder: the latest, and a bounded history.

    Each file is whole or absent, the latest is written last; so readers and kills at any moment do no harm.

    Args:
        folder: folder of one arm.
        limit: largest number of records kept.
    """

    def __init__(self, folder: Path, *, limit: int = HISTORY_LIMIT) -> None:
        self.folder = folder
        self._limit = limit

    def add(self, record: Record) -> Path:
        """Write a record and forget the oldest beyond the limit; return the file.

        Raises:
            ResourceError: the disk is full.
        """
        at = record.report.at.astimezone(datetime.UTC)
        path = self.folder / HISTORY_FOLDER / f"record-{at.strftime(_STAMP)}.json"
        value = record.model_dump(mode="json")
        write_json(path, value)
        for old in self._files()[: -self._limit]:
            old.unlink(missing_ok=True)
        write_json(self.folder / LATEST_FILE, value)
        return path

    def latest(self) -> Record:
        """Read the latest record.

        Raises:
            UnfinishedArtifactError: there is none.
            ContractError: it is no record.
        """
        return read_record(self.folder / LATEST_FILE)

    def trend(self, points: int = 60) -> list[TrendPoint]:
        """Return the latest points, oldest first; a file that cannot be read is left out: it is history."""
        return list(self._points(points))

    def _points(self, points: int) -> Iterator[TrendPoint]:
        for path in self._files()[-points:]:
            try:
                report = read_record(path).report
            except (ContractError, UnfinishedArtifactError):
                continue
            yield TrendPoint(
                at=report.at,
                release_id=report.release_id,
                state=overall_state(report),
                values={c.name: value for c in report.concerns if (value := watched(c)) is not None},
                states={c.name: c.state for c in report.concerns},
            )

    def _files(self) -> list[Path]:
        folder = self.folder / HISTORY_FOLDER
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def watched(concern: Concern) -> float | None:
    """Return the figure of a concern that its threshold is about: of a test for a change its effect, else its value."""
    if concern.topic in {"drift", "inputs"} and concern.effect is not None:
        return concern.effect
    return concern.effect if concern.value is None else concern.value


def known_state(concerns: Iterable[Concern]) -> State:
    """Return the worst state of those that are known; "unknown" if none is.

    A figure that is missing, say because no query was judged, does not hide that the others are well. A check that was
    due and failed does: the state is then at best "unknown".
    """
    return worst_state([concern for concern in concerns if concern.state != "unknown" or concern.failed])


def overall_state(report: Report) -> State:
    """Return `known_state` of a report; all is well only if the queries could be checked."""
    state = known_state(report.concerns)
    looked = any(concern.topic == "drift" and concern.state != "unknown" for concern in report.concerns)
    return state if looked or state != "ok" else "unknown"


def read_record(path: Path) -> Record:
    """Read what `RecordStore.add` wrote.

    Raises:
        UnfinishedArtifactError: there is no such file.
        ContractError: it is no record.
    """
    try:
        return Record.model_validate(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise UnfinishedArtifactError(f"{path} is missing; run `visual-search monitor run` first") from error
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ContractError(
            f"{path} is not a monitoring record, version 1 ({str(error).splitlines()[0]}); "
            "run `visual-search monitor run` again"
        ) from error


def release_facts(manifest: Manifest, *, images: int, items: int, generations: int) -> ReleaseFacts:
    """Take from a manifest what is worth seeing."""
    return ReleaseFacts(
        release_id=manifest.release_id,
        space_id=manifest.space_id,
        architecture=manifest.encoder.architecture,
        dimension=manifest.encoder.dimension,
        index=f"{manifest.index.kind} ({manifest.index.factory})",
        images=images,
        items=items,
        generations=generations,
        metrics={
            name: float(value)
            for name, value in manifest.metrics.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        },
    )


def online_rows(table: pa.Table, zero_results: dict[str, float] | None = None) -> tuple[OnlineRow, ...]:
    """Turn a table of `online_metrics` into rows; what is not finite becomes None.

    Args:
        table: result of `summarise`.
        zero_results: label → share of queries that found nothing.
    """
    fields = OnlineRow.model_fields
    rows = []
    for row in table.to_pylist():
        label = row.pop("label")
        kept = {name: value for name, value in row.items() if name in fields and _is_finite(value)}
        text = label.isoformat(timespec="minutes") if isinstance(label, datetime.datetime) else str(label)
        rows.append(OnlineRow(label=text, zero_result_rate=(zero_results or {}).get(text), **kept))
    return tuple(rows)


def _is_finite(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
