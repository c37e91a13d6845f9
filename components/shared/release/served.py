"""The state of a server: a root with releases, generations on top of them, and `CURRENT`, which names the active ones.

Everything below a root is immutable once it has its final name, which it gets only when complete; `CURRENT` is written
last. A reader therefore sees the old or the new state, even after a crash, and a rollback rewrites `CURRENT`.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from components.shared.errors import ContractError, UnfinishedArtifactError
from components.shared.files.atomic import full_disk_named, link_or_copy, sync, write_json
from components.shared.files.layout import MANIFEST_FILE
from components.shared.files.locks import exclusive_lock
from components.shared.release.generation import (
    GENERATION_FILE,
    Generation,
    open_generation,
    read_generation_manifest,
    stack_items,
    verify_generation,
)
from components.shared.release.manifest import (
    Manifest,
    is_intact,
    is_release,
    open_catalogue,
    read_manifest,
    verify_release,
)
from components.shared.vectors.search import CatalogueIndex

CURRENT_FILE = "CURRENT"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MAX_CURRENT_BYTES = 1 << 20
_UNFINISHED = ".unfinished-"
_LOCK = ".lock"


class Current(BaseModel):
    """The active release and generations, as names of directories below the root.

    Attributes:
        release: directory of the release.
        generations: directories of its generations, lowest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    release: str
    generations: list[str] = []

    @field_validator("release", "generations")
    @classmethod
    def _names_stay_inside(cls, value: str | list[str]) -> str | list[str]:
        """Refuse names that lead out of the root."""
        for name in [value] if isinstance(value, str) else value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a valid directory name of a release or generation")
        return value


def read_current(root: Path) -> Current:
    """Read which release and generations are active.

    Raises:
        UnfinishedArtifactError: `CURRENT` does not exist.
        ContractError: it is unreadable or of a newer version.
    """
    path = root / CURRENT_FILE
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_CURRENT_BYTES + 1)
    except FileNotFoundError as error:
        raise UnfinishedArtifactError(f"{root} holds no {CURRENT_FILE}; publish a release there first") from error
    try:
        if len(text) > _MAX_CURRENT_BYTES:
            raise ValueError(f"more than {_MAX_CURRENT_BYTES} bytes")
        return Current.model_validate(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise ContractError(f"{path} does not name the served release ({error}); publish the release again") from error


@dataclass(frozen=True)
class ReleaseInForce:
    """A release with its generations, verified and ready to be searched.

    Attributes:
        release_items: table ITEMS of the release's own rows.
        generations: its generations, lowest first.
        items: table ITEMS of all images that searches return.
    """

    directory: Path
    manifest: Manifest
    index: CatalogueIndex
    release_items: pa.Table
    generations: tuple[Generation, ...]
    items: pa.Table


def open_in_force(location: Path) -> ReleaseInForce:
    """Open a release, or the active release of a root with its generations.

    Raises:
        ContractError: there is none, or it is damaged (or a subclass).
    """
    directory, names = location, []
    if not is_release(location):
        current = read_current(location)
        directory, names = location / current.release, current.generations
    release = open_catalogue(directory)
    generations = open_generations([location / name for name in names], release.manifest)
    items, present = stack_items(release.items, generations)
    return ReleaseInForce(
        directory,
        release.manifest,
        release.index,
        release.items,
        tuple(generations),
        items.filter(pa.array(present)),
    )


def open_generations(directories: Sequence[Path], manifest: Manifest) -> list[Generation]:
    """Verify and load the generations, lowest first, of the release with this manifest.

    Raises:
        ContractError: a check failed (or a subclass).
    """
    facts = {"release_id": manifest.release_id, "space_id": manifest.space_id}
    return [open_generation(each, **facts, dimension=manifest.encoder.dimension) for each in directories]


def write_current(root: Path, current: Current) -> None:
    """Activate directories below the root, all or nothing.

    Raises:
        UnfinishedArtifactError: a named directory does not exist; then nothing changes.
        ResourceError: the disk is full.
    """
    wanted = {current.release: MANIFEST_FILE} | dict.fromkeys(current.generations, GENERATION_FILE)
    for name, file in wanted.items():
        if not (root / name / file).is_file():
            raise UnfinishedArtifactError(f"{root / name} holds no {file}; publish it there first")
    write_json(root / CURRENT_FILE, current.model_dump())


def publish_release(root: Path, release_directory: Path) -> Current:
    """Copy a release (hard links where the disk allows) below the root and activate it.

    A release that is already active keeps its generations.

    Raises:
        ContractError: a check failed (or a subclass); then nothing changes.
        ResourceError: the disk is full.
    """
    manifest = verify_release(release_directory)
    with exclusive_lock(root / _LOCK):
        name = manifest.release_id
        if not is_intact(root / name, name):
            with _unfinished(root) as place:
                for file in (*manifest.files, MANIFEST_FILE):
                    link_or_copy(release_directory / file, place / file)
                verify_release(place)
                _give_name(place, root / name)
        current = _current_or_none(root)
        if current is None or current.release != name:
            current = Current(release=name)
            write_current(root, current)
        return current


def publish_generation(root: Path, generation_directory: Path) -> Current:
    """Copy a generation below the root and activate it on top of the current state.

    Raises:
        ContractError: it is damaged, or was not made for the current state (or a subclass); then nothing changes.
        ResourceError: the disk is full.
    """
    manifest = verify_generation(generation_directory)
    with exclusive_lock(root / _LOCK):
        current = read_current(root)
        release_id = read_manifest(root / current.release).release_id
        below = read_generation_manifest(root / current.generations[-1]) if current.generations else None
        top = (release_id, 0, None) if below is None else (release_id, below.number, below.generation_id)
        if (manifest.release_id, manifest.number - 1, manifest.parent) != top:
            raise ContractError(
                f"{generation_directory} was made for another state than {root} serves now; extend the release again"
            )
        name = manifest.generation_id
        with _unfinished(root) as place:
            for file in (*manifest.files, GENERATION_FILE):
                link_or_copy(generation_directory / file, place / file)
            verify_generation(place)
            _give_name(place, root / name)
        current = current.model_copy(update={"generations": [*current.generations, name]})
        write_current(root, current)
        return current


def _current_or_none(root: Path) -> Current | None:
    try:
        return read_current(root)
    except ContractError:
        return None


@contextmanager
def _unfinished(root: Path) -> Iterator[Path]:
    """Yield an empty directory below the root, and remove those that killed processes left."""
    for old in root.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(old, ignore_errors=True)
    with full_disk_named(root):
        place = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=root))
        place.chmod(0o755)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _give_name(place: Path, destination: Path) -> None:
    """Sync a finished directory and rename it; a damaged one of that name is replaced."""
    for path in (*place.iterdir(), place):
        sync(path)
    if destination.exists():
        damaged = destination.with_name(f"{_UNFINISHED}{destination.name}")
        shutil.rmtree(damaged, ignore_errors=True)
        destination.rename(damaged)
    place.rename(destination)
    sync(destination.parent)
