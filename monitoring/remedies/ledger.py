"""The ledger of remedies: which pipeline was started when, for what, and what became of it. One JSON file.

Whoever acts holds the lock, and the kernel lets it go when the process ends, however that happens. So an entry that is open
while one holds the lock belongs to a pipeline elsewhere, or to a process that was killed.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from components.shared.errors import ContractError, VisualSearchError
from components.shared.files.atomic import digest_of, write_json
from components.shared.files.locks import exclusive_lock
from monitoring.findings import Remedy

LEDGER_FILE = "remedies.json"
ENTRIES_LIMIT = 1000

EntryState = Literal["submitting", "running", "succeeded", "failed", "interrupted"]
OPEN: tuple[EntryState, ...] = ("submitting", "running")


class BusyError(VisualSearchError):
    """Another process is acting at this moment."""


class Entry(BaseModel):
    """One remedy that was started.

    Attributes:
        entry_id: "a-…", digest of what it is for; the same report and remedy give the same one.
        remedy: name of the remedy.
        pipeline: pipeline that was submitted.
        why: the diagnosis' sentence.
        release_id: release that was watched.
        report_at: time of the report.
        started_at, ended_at: of the run; the end is when it was noticed.
        state: "submitting" is written before the pipeline is, the others after.
        reference: the run's folder, or its id on the cluster.
        detail: error or result.
        attempt: from 1; more after an interruption.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry_id: str
    remedy: Remedy
    pipeline: str
    why: str
    release_id: str
    arm: str
    report_at: AwareDatetime
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    state: EntryState = "submitting"
    reference: str = ""
    detail: str = ""
    attempt: int = Field(default=1, ge=1)

    @property
    def is_open(self) -> bool:
        """Whether it may still be running."""
        return self.state in OPEN


class _Pages(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    entries: tuple[Entry, ...] = ()


class Ledger:
    """The ledger in a folder.

    Args:
        folder: folder of monitoring; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER_FILE

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries, oldest first.

        Raises:
            ContractError: the file is no ledger; nothing is started on top of an unknown past.
        """
        try:
            return _Pages.model_validate(json.loads(self._path.read_bytes())).entries
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, RecursionError, ValidationError) as error:
            raise ContractError(
                f"{self._path} is not a ledger of remedies, version 1 ({str(error).splitlines()[0]}); "
                "move it away to start a new one"
            ) from error

    def put(self, entry: Entry) -> Entry:
        """Write an entry in place of the one with its id, or as the newest; the caller holds the lock.

        Raises:
            ResourceError: the disk is full.
        """
        others = [other for other in self.entries() if other.entry_id != entry.entry_id]
        write_json(self._path, _Pages(entries=(*others, entry)[-ENTRIES_LIMIT:]).model_dump(mode="json"))
        return entry

    def alone(self) -> AbstractContextManager[None]:
        """Hold the lock.

        Raises:
            BusyError: another process holds it.
        """
        path = self._path.with_suffix(".lock")

        def refuse() -> None:
            raise BusyError(
                f"another process is starting or running a remedy (it holds {path}); wait until it has ended"
            )

        return exclusive_lock(path, when_held=refuse)


def entry_id_of(remedy: Remedy, release_id: str, arm: str, report_at: str) -> str:
    """Return the id of the entry for a remedy that a report asks for."""
    return "a-" + digest_of([remedy, release_id, arm, report_at])[:12]
