"""Where a catalogue comes from: a release, or a root with `CURRENT`; on this machine, or mirrored from elsewhere first."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from components.shared.errors import ContractError, SourceError, UnfinishedArtifactError
from components.shared.files.artifacts import FileEntry
from components.shared.files.atomic import full_disk_named, whole_file
from components.shared.files.storage import filesystem_of, is_remote, read_bytes
from components.shared.release.generation import GENERATION_FILE, read_generation_manifest, verify_generation
from components.shared.release.manifest import MANIFEST_FILE, is_release, read_manifest, verify_release
from components.shared.release.served import CURRENT_FILE, read_current

_MAX_JSON_BYTES = 16 << 20
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Wanted:
    """What is in force at a location: names of directories; the release "." is the location itself."""

    release: str
    generations: tuple[str, ...] = ()


class CatalogueSource:
    """Says what is in force and gives its directories.

    Args:
        location: local directory or URI.
        cache: folder that a location elsewhere is mirrored to.
    """

    def __init__(self, location: str, cache: Path) -> None:
        self._uri = location.rstrip("/") if is_remote(location) else None
        local = Path(unquote(location.removeprefix("file://")) if location.startswith("file://") else location)
        name = f"catalogue-{hashlib.sha256(location.encode()).hexdigest()[:16]}"
        self._root = local if self._uri is None else cache / name

    def look(self) -> Wanted:
        """Return what is in force.

        Raises:
            ContractError: there is neither a release nor a readable `CURRENT`.
            SourceError: the object store cannot be read.
        """
        if self._uri is not None:
            try:
                self._copy(CURRENT_FILE, self._root / CURRENT_FILE, _MAX_JSON_BYTES)
            except SourceError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                return self._look_for_release()
        elif is_release(self._root):
            return Wanted(".")
        current = read_current(self._root)
        return Wanted(current.release, tuple(current.generations))

    def fetch(self, wanted: Wanted) -> tuple[Path, tuple[Path, ...]]:
        """Return the directories of the release and of the generations; what was mirrored is verified and whole.

        Raises:
            ContractError: or one of its kinds.
            SourceError: the object store cannot be read.
        """
        if self._uri is not None:
            self._mirror(wanted.release, MANIFEST_FILE)
            for name in wanted.generations:
                self._mirror(name, GENERATION_FILE)
        return self._directory(wanted.release), tuple(self._root / name for name in wanted.generations)

    def prune(self, kept: list[Wanted]) -> None:
        """Remove mirrored directories that nothing in use needs."""
        if self._uri is None or not self._root.is_dir():
            return
        names = {self._directory(wanted.release).name for wanted in kept}
        names |= {name for wanted in kept for name in wanted.generations}
        for path in self._root.iterdir():
            if path.is_dir() and path.name not in names:
                shutil.rmtree(path, ignore_errors=True)

    def _look_for_release(self) -> Wanted:
        if is_release(self._directory(".")):
            return Wanted(".")
        try:
            read_bytes(f"{self._uri}/{MANIFEST_FILE}", limit_bytes=_MAX_JSON_BYTES)
        except SourceError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise UnfinishedArtifactError(
                f"{self._uri} holds neither {CURRENT_FILE} nor {MANIFEST_FILE}; publish a release there first"
            ) from error
        return Wanted(".")

    def _directory(self, name: str) -> Path:
        return self._root / ("release" if name == "." and self._uri is not None else name)

    def _mirror(self, name: str, manifest_file: str) -> None:
        """Download a directory under another name, verify it, then give it its own."""
        destination = self._directory(name)
        if destination.is_dir():
            return
        self._root.mkdir(parents=True, exist_ok=True)
        prefix = "" if name == "." else f"{name}/"
        with full_disk_named(self._root):
            place = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._root))
            try:
                self._copy(f"{prefix}{manifest_file}", place / manifest_file, _MAX_JSON_BYTES)
                files: Mapping[str, FileEntry]
                if manifest_file == MANIFEST_FILE:
                    files = read_manifest(place).files
                else:
                    files = read_generation_manifest(place).files
                    if not all("/" not in file and file not in (".", "..") for file in files):
                        raise ContractError(f"{name} lists files outside of itself; extend the release again")
                for file, entry in files.items():
                    self._copy(f"{prefix}{file}", place / file, entry.size_bytes)
                verify_release(place) if manifest_file == MANIFEST_FILE else verify_generation(place)
                place.rename(destination)
            finally:
                shutil.rmtree(place, ignore_errors=True)

    def _copy(self, name: str, destination: Path, limit_bytes: int) -> None:
        """Download one file in pieces, but never more than the limit.

        Raises:
            SourceError: it is missing (then the cause is a FileNotFoundError), too long, or cannot be read.
        """
        uri = f"{self._uri}/{name}"
        filesystem, path = filesystem_of(uri)
        try:
            with filesystem.open(path, "rb") as source, whole_file(destination) as temporary:
                with temporary.open("wb") as target:
                    left = limit_bytes + 1
                    while left and (piece := source.read(min(left, 1 << 22))):
                        target.write(piece)
                        left -= len(piece)
                if not left:
                    raise SourceError(f"{uri} has more than {limit_bytes} bytes; publish it again", source=uri)
        except SourceError:
            raise
        except FileNotFoundError as error:
            raise SourceError(f"{uri} does not exist; publish it again", source=uri) from error
        except OSError:
            raise
        except Exception as error:  # drivers raise their own classes: no credentials, no network, access denied
            raise SourceError(f"{uri} cannot be read: {str(error) or type(error).__name__}", source=uri) from error
