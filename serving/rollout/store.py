"""The release store: where KServe's storage initializer takes releases from, one folder a release, never changed.

A release is whole or not there: its manifest is written last, after every other file was read back and its digest checked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from components.shared.errors import ContractError, DamagedArtifactError, ResourceError, VisualSearchError
from components.shared.files.atomic import full_disk_named
from components.shared.files.layout import MANIFEST_FILE
from components.shared.files.storage import filesystem_of, is_remote
from components.shared.release.manifest import Manifest, copy_release, is_intact, verify_release

_CHUNK_BYTES = 8 << 20


class ReleaseStore:
    """Releases below one place.

    Args:
        place: local folder, or a URI of fsspec, for example s3://bucket/releases.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") if is_remote(place) else str(Path(place.removeprefix("file://")).absolute())

    def uri(self, release_id: str) -> str:
        """Return the storage URI of a release; it ends in "/", since object stores match by prefix (r-1 would match r-12)."""
        return f"{self.place}/{release_id}/"

    def has(self, release_id: str) -> bool:
        """Whether every byte of the release is stored here."""
        try:
            self.verify(release_id)
        except ContractError:
            return False
        return True

    def verify(self, release_id: str) -> None:
        """Read a release back and check every digest.

        Raises:
            ContractError: it is missing, damaged, or another.
            ResourceError: the store cannot be reached.
        """
        if not is_remote(self.place):
            found = verify_release(Path(self.place) / release_id).release_id
            if found != release_id:
                raise ContractError(f"{self.uri(release_id)} holds {found}; publish {release_id} again")
            return
        manifest = self._remote_manifest(release_id)
        files, root = filesystem_of(self.uri(release_id))
        self._check_remote(files, root.rstrip("/"), manifest)

    def publish(self, directory: Path) -> str:
        """Copy a release here unless it is here intact; returns its storage URI.

        Raises:
            ContractError: `directory` is no intact release, or what arrived is not what was sent.
            ResourceError: the store cannot be written.
        """
        manifest = verify_release(directory)
        if not self.has(manifest.release_id):
            if is_remote(self.place):
                self._upload(directory, manifest)
            else:
                self._copy(directory, manifest.release_id)
        return self.uri(manifest.release_id)

    def _copy(self, directory: Path, release_id: str) -> None:
        root = Path(self.place)
        with full_disk_named(root):
            root.mkdir(parents=True, exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix=f".{release_id}.", dir=root))
            try:
                place.chmod(0o755)
                copy_release(directory, place)
                target = root / release_id
                if target.exists():  # damaged, or another process was faster
                    if is_intact(target, release_id):
                        return
                    target.rename(place / "damaged")
                    shutil.rmtree(place / "damaged")
                try:
                    place.rename(target)
                except OSError:
                    if not is_intact(target, release_id):  # else another process was faster
                        raise
            finally:
                shutil.rmtree(place, ignore_errors=True)

    def _upload(self, directory: Path, manifest: Manifest) -> None:
        files, root = filesystem_of(self.uri(manifest.release_id))
        root = root.rstrip("/")
        try:
            for path in files.find(
                root
            ):  # what a killed upload left; the manifest first, so that none is half a release
                if path.rpartition("/")[2] == MANIFEST_FILE:
                    files.rm_file(path)
            for path in files.find(root):
                if path.removeprefix(f"{root}/") not in manifest.files:
                    files.rm_file(path)
            for name in manifest.files:
                files.put_file(str(directory / name), f"{root}/{name}")
            files.invalidate_cache()
            self._check_remote(files, root, manifest, complete=False)
            files.put_file(str(directory / MANIFEST_FILE), f"{root}/{MANIFEST_FILE}")
            files.invalidate_cache()
        except VisualSearchError:
            raise
        except Exception as error:
            raise _unusable(self.place, error) from error
        self.verify(manifest.release_id)

    def _remote_manifest(self, release_id: str) -> Manifest:
        files, root = filesystem_of(self.uri(release_id) + MANIFEST_FILE)
        try:
            data = files.cat_file(root)
        except FileNotFoundError as error:
            raise ContractError(
                f"{self.uri(release_id)} holds no {MANIFEST_FILE}; publish {release_id} again"
            ) from error
        except Exception as error:
            raise _unusable(self.place, error) from error
        try:
            manifest = Manifest.model_validate(json.loads(data))
            digest = manifest.digest()
        except ValueError as error:
            raise ContractError(f"{self.uri(release_id)} holds no release manifest; publish it again") from error
        if not manifest.release_id == digest == release_id:
            raise ContractError(f"{self.uri(release_id)} holds {digest}, not {release_id}; publish it again")
        return manifest

    def _check_remote(self, files: Any, root: str, manifest: Manifest, *, complete: bool = True) -> None:
        try:
            files.invalidate_cache()
            present = {path.removeprefix(f"{root}/") for path in files.find(root)}
            for name, entry in manifest.files.items():
                found = _sha256(files, f"{root}/{name}") if name in present else "nothing"
                if found != entry.sha256:
                    raise DamagedArtifactError(
                        f"{self.place}: {name} of {manifest.release_id} has sha256 {found[:12]}, its manifest says "
                        f"{entry.sha256[:12]}; publish the release again",
                        file=name,
                    )
        except VisualSearchError:
            raise
        except Exception as error:
            raise _unusable(self.place, error) from error
        foreign = sorted(present - set(manifest.files) - ({MANIFEST_FILE} if complete else set()))
        if foreign:
            raise DamagedArtifactError(
                f"{self.place}: {foreign[0]} does not belong to {manifest.release_id}; publish it again",
                file=foreign[0],
            )


def _sha256(files: Any, path: str) -> str:
    digest = hashlib.sha256()
    with files.open(path, "rb", block_size=_CHUNK_BYTES) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _unusable(place: str, error: Exception) -> ResourceError:
    text = str(error) or type(error).__name__
    return ResourceError(f"the release store {place} cannot be used ({text[:300]}); check its address and credentials")
