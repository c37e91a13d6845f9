"""The release that a server loads: a directory, or a root with `CURRENT`; local, or mirrored from elsewhere first.

Encoder and transformer share it. The transformer takes whole releases and their generations, the encoder a few files.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import unquote

from components.shared.errors import ContractError, SourceError, UnfinishedArtifactError
from components.shared.files.artifacts import FileEntry, check_files
from components.shared.files.atomic import full_disk_named, whole_file
from components.shared.files.layout import MANIFEST_FILE
from components.shared.files.storage import filesystem_of, is_remote, read_bytes
from components.shared.release.generation import GENERATION_FILE, read_generation_manifest, verify_generation
from components.shared.release.manifest import Manifest, check_complete, is_release, read_manifest, verify_release
from components.shared.release.served import CURRENT_FILE, read_current

_MAX_JSON_BYTES = 16 << 20
_UNFINISHED = ".unfinished-"
_LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True)
class Wanted:
    """The current release and generations at a location, as names of directories; the release "." is the location itself."""

    release: str
    generations: tuple[str, ...] = ()


class LoadAttempts:
    """Keeps count of failed loads: the same thing is tried again after a growing pause, something else at once.

    Attributes:
        failures: number of failures so far.
        last_error: why the latest load failed; "" after a success.
    """

    def __init__(self, pause_seconds: float) -> None:
        self._first_pause_seconds = self._pause_seconds = pause_seconds
        self._failed: object = None
        self._not_before = 0.0
        self.failures, self.last_error = 0, ""

    def must_wait(self, wanted: object) -> bool:
        """Whether this has failed too short a while ago to be tried again."""
        return wanted == self._failed and monotonic() < self._not_before

    def note_failure(self, wanted: object, error: Exception) -> None:
        """Count a failure."""
        longer = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
        self._pause_seconds = longer if wanted == self._failed else self._first_pause_seconds
        self._failed, self._not_before = wanted, monotonic() + self._pause_seconds
        self.failures += 1
        self.last_error = str(error) or type(error).__name__

    def note_success(self) -> None:
        """Begin with the shortest pause again."""
        self._failed, self.last_error = None, ""

    def forget(self) -> None:
        """Forget what failed, since it is wanted no more."""
        self._failed = None


class ReleaseMirror:
    """Finds the current release at a location and returns its directories, mirrored if they are remote.

    Args:
        location: local directory or URI.
        cache: folder that a location elsewhere is mirrored to.
        kind: begins the name of the folder in the cache.
        needed: names of the files that are needed of a release; None: all, and those of its generations.
    """

    def __init__(self, location: str, cache: Path, *, kind: str, needed: frozenset[str] | None = None) -> None:
        self._needed = needed
        self._uri = location.rstrip("/") if is_remote(location) else None
        local = Path(unquote(location.removeprefix("file://")) if location.startswith("file://") else location)
        name = f"{kind}-{hashlib.sha256(location.encode()).hexdigest()[:16]}"
        self._root = local if self._uri is None else cache / name

    def look(self) -> Wanted:
        """Return the current release and generations.

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

    def fetch_release(self, name: str) -> tuple[Path, Manifest]:
        """Return the directory of a release and its manifest; the files that are needed are verified each time.

        Raises:
            ContractError: or one of its kinds; a damaged mirror is removed, to be fetched again the next time.
            SourceError: the object store cannot be read.
        """
        directory, _ = self.fetch(Wanted(name))
        try:
            return directory, self._verified(directory)
        except ContractError:
            if self._uri is not None:
                shutil.rmtree(directory, ignore_errors=True)
            raise

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
                    files = self._files_of(read_manifest(place))
                else:
                    files = read_generation_manifest(place).files
                    if not all("/" not in file and file not in (".", "..") for file in files):
                        raise ContractError(f"{name} lists files outside of itself; extend the release again")
                for file, entry in files.items():
                    self._copy(f"{prefix}{file}", place / file, entry.size_bytes)
                self._verified(place) if manifest_file == MANIFEST_FILE else verify_generation(place)
                place.rename(destination)
            finally:
                shutil.rmtree(place, ignore_errors=True)

    def _files_of(self, manifest: Manifest) -> dict[str, FileEntry]:
        return {name: entry for name, entry in manifest.files.items() if self._needed is None or name in self._needed}

    def _verified(self, directory: Path) -> Manifest:
        if self._needed is None:
            return verify_release(directory)
        manifest = read_manifest(directory)
        check_complete(directory, manifest)
        check_files(directory, self._files_of(manifest), digests=True)
        return manifest

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
