"""The output of a step: a directory whose `artifact.json` names every file with its digest and is written last.

A directory without that file is unfinished and is refused, so half-written output is never read as complete.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.shared.errors import ContractError, DamagedArtifactError, UnfinishedArtifactError
from components.shared.files.atomic import digest_of, sha256_of, write_json

ARTIFACT_FILE = "artifact.json"


class FileEntry(BaseModel):
    """Size and SHA-256 (hexadecimal) of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int


class Artifact(BaseModel):
    """The table of contents of a step's output directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    step: str
    files: dict[str, FileEntry]
    summary: dict[str, Any] = {}

    @property
    def digest(self) -> str:
        """Digest of the contents: equal digests mean equal files."""
        return digest_of({"step": self.step, "files": {n: e.sha256 for n, e in self.files.items()}})


def list_files(directory: Path, *, leave_out: frozenset[str] = frozenset()) -> dict[str, FileEntry]:
    """Return every file below `directory` with size and digest, by its relative POSIX path."""
    return {
        name: FileEntry(sha256=sha256_of(path), size_bytes=path.stat().st_size)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and (name := path.relative_to(directory).as_posix()) not in leave_out
    }


def seal_artifact(directory: Path, step: str, summary: dict[str, Any] | None = None) -> Artifact:
    """Declare `directory` finished: write its `artifact.json`. `summary` holds a few numbers for logs and reports."""
    artifact = Artifact(
        step=step, files=list_files(directory, leave_out=frozenset({ARTIFACT_FILE})), summary=summary or {}
    )
    write_json(directory / ARTIFACT_FILE, artifact.model_dump())
    return artifact


def open_artifact(directory: Path, step: str, *, verify: bool = False) -> Artifact:
    """Read the table of contents of an artifact that `step` wrote.

    Sizes are always compared; digests only if `verify` is set (it reads every byte).

    Raises:
        UnfinishedArtifactError: `artifact.json` is missing.
        DamagedArtifactError: a file is missing, or of another size or digest.
        ContractError: the directory is the output of another step or of a newer version.
    """
    path = directory / ARTIFACT_FILE
    if not path.exists():
        raise UnfinishedArtifactError(
            f"{directory} holds no {ARTIFACT_FILE}: the step {step} did not finish; run it again"
        )
    try:
        artifact = Artifact.model_validate(json.loads(path.read_text()))
    except (ValueError, ValidationError) as error:
        raise ContractError(
            f"{path} is not a table of contents of version 1 ({error}); run the step {step} again"
        ) from error
    if artifact.step != step:
        raise ContractError(f"{directory} was written by the step {artifact.step}, expected the output of {step}")
    check_files(directory, artifact.files, digests=verify)
    return artifact


def check_files(directory: Path, files: dict[str, FileEntry], *, digests: bool) -> None:
    """Check that the listed files exist with their sizes and, if `digests` is set, their digests.

    Raises:
        DamagedArtifactError: naming the first file that differs.
    """
    for name, entry in files.items():
        path = directory / name
        if not path.is_file():
            raise DamagedArtifactError(
                f"{path} is missing, but {directory} lists it; fetch or build it again", file=name
            )
        size = path.stat().st_size
        if size != entry.size_bytes:
            raise DamagedArtifactError(
                f"{path} has {size} bytes, its manifest says {entry.size_bytes}; fetch or build it again", file=name
            )
        if digests and sha256_of(path) != entry.sha256:
            raise DamagedArtifactError(
                f"{path} was altered: its SHA-256 differs from the manifest; fetch or build it again", file=name
            )
