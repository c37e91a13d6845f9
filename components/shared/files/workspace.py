"""The workspace, where steps keep finished and unfinished work, so that a rerun resumes where it stopped.

A step's work is stored under a key made of its name, the code that it runs, its parameters and the digests of its inputs.
When the same work is requested again, the finished output is reused; after a crash, the step finds its scratch files (shards,
checkpoints). Kubeflow's own cache cannot do this, since it does not see the contents of files or the code of packages.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.shared.errors import ResourceError
from components.shared.files.artifacts import ARTIFACT_FILE, Artifact, open_artifact, seal_artifact
from components.shared.files.atomic import digest_of, publish_tree, remove_unfinished_files, write_json
from components.shared.files.dependencies import code_digest
from components.shared.files.locks import exclusive_lock


@dataclass
class StepWork:
    """One step's work under one key.

    Attributes:
        key: hexadecimal digest of everything that the result depends on.
        output: directory for the finished files.
        scratch: directory for shards, checkpoints and other temporary files; kept until the step has finished.
    """

    name: str
    key: str
    output: Path
    scratch: Path

    @property
    def is_finished(self) -> bool:
        """Whether the output is complete, so that only `publish` remains."""
        return (self.output / ARTIFACT_FILE).exists()

    def finish(self, summary: dict[str, Any] | None = None) -> Artifact:
        """Seal the output and remove the scratch files."""
        artifact = seal_artifact(self.output, self.name, summary)
        shutil.rmtree(self.scratch, ignore_errors=True)
        return artifact

    def publish(self, destination: Path) -> Artifact:
        """Publish the finished output as the directory `destination` (hard links where possible)."""
        artifact = open_artifact(self.output, self.name)
        publish_tree(self.output, destination)
        return artifact


def require_writable(root: Path) -> None:
    """Create the workspace if needed and test that it is writable.

    Code that works outside `Workspace.step` calls this first. A new volume belongs to root, while tasks of Kubeflow run as
    another user and without an fsGroup.

    Raises:
        ResourceError: this user cannot write there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        place = next(folder for folder in (root, *root.parents) if folder.exists())
        owner = place.stat()
        raise ResourceError(
            f"the workspace {root} cannot be written to ({error.strerror}): {place} belongs to user {owner.st_uid} and group "
            f"{owner.st_gid} with mode {owner.st_mode & 0o7777:o}, and this process runs as user {os.geteuid()} and group "
            f"{os.getegid()}; make the volume writable for that group, as manifests/README.md describes, and start again"
        ) from error


class Workspace:
    """A directory that is kept between runs: a folder on a laptop, a mounted volume on the cluster."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @contextmanager
    def step(
        self, name: str, *, inputs: Mapping[str, Path | str], parameters: BaseModel | Mapping[str, Any]
    ) -> Iterator[StepWork]:
        """Open the work of one step exclusively; a second process that wants the same work waits and then finds it finished.

        Args:
            name: the step, a package below `components`.
            inputs: artifact directories (identified by digest) or strings (used unchanged).
            parameters: everything else that the result depends on.

        Raises:
            UnfinishedArtifactError: an input directory is unfinished.
            ResourceError: this user cannot write to the workspace.
        """
        require_writable(self.root)
        values = parameters.model_dump(mode="json") if isinstance(parameters, BaseModel) else dict(parameters)
        facts = {
            "step": name,
            "code": code_digest(f"components.{name}.step"),
            "parameters": values,
            "inputs": {key: _input_digest(value) for key, value in inputs.items()},
        }
        key = digest_of(facts)[:20]
        directory = self.root / name / key
        work = StepWork(name, key, directory / "output", directory / "scratch")
        work.output.mkdir(parents=True, exist_ok=True)
        notice = f"another process is doing this work of the step {name} ({directory}); waiting for it"
        with exclusive_lock(directory / "lock", when_held=lambda: print(notice, file=sys.stderr, flush=True)):
            if not work.is_finished:
                work.scratch.mkdir(exist_ok=True)
                remove_unfinished_files(work.output)  # left by a killed attempt; they must not be sealed
                write_json(directory / "key.json", facts)
            yield work


def _input_digest(value: Path | str) -> str:
    if isinstance(value, str):
        return value
    path = value / ARTIFACT_FILE
    step = Artifact.model_validate_json(path.read_text()).step if path.exists() else "before this one"
    return open_artifact(value, step).digest
