"""Where the encoder's release lies: a directory or a URI, a release itself or a root with `CURRENT`.

Of a release only what an encoder needs is read: manifest, encoder files, golden pictures; never the index.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from components.shared.errors import ContractError, SourceError
from components.shared.files.artifacts import check_files
from components.shared.files.atomic import whole_file
from components.shared.files.storage import is_remote, read_bytes
from components.shared.release.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    Manifest,
    check_complete,
    is_release,
    read_manifest,
)
from components.shared.release.served import CURRENT_FILE, read_current
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_INT8_FILE

_NEEDED = (ENCODER_FILE, GOLDEN_FILE)  # and encoder.int8.onnx where the manifest lists it
_MAX_FILE_BYTES = 4 << 30
_MAX_JSON_BYTES = 16 << 20


class ReleaseSource:
    """Gives the release in force, file by file verified.

    Args:
        location: local directory or URI.
        cache: folder that a URI's files are kept in.
    """

    def __init__(self, location: str, cache: Path) -> None:
        self._uri = location.rstrip("/") if is_remote(location) else None
        digest = hashlib.sha256(location.encode()).hexdigest()[:16]
        self._root = Path(location.removeprefix("file://")) if self._uri is None else cache / f"encoder-{digest}"

    def name(self) -> str:
        """Return the directory of the release in force, relative to the root; "." if the location is a release.

        Raises:
            ContractError: there is neither a release nor a readable `CURRENT`.
            SourceError: the object store cannot be read.
        """
        if self._uri is not None and not is_release(self._root):
            try:
                self._download(CURRENT_FILE, _MAX_JSON_BYTES)
            except SourceError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                self._download(MANIFEST_FILE, _MAX_JSON_BYTES)
        return "." if is_release(self._root) else read_current(self._root).release

    def fetch(self, name: str) -> tuple[Path, Manifest]:
        """Return the verified directory with the encoder's files of a release, and its manifest.

        Raises:
            ContractError: or one of its kinds: a file is missing, altered, or not listed in the manifest.
            SourceError: the object store cannot be read.
        """
        directory = self._root / name
        try:
            return directory, self._verified(name)
        except ContractError:
            if self._uri is not None:  # the copy here goes, to be fetched anew the next time
                for file in (MANIFEST_FILE, *_NEEDED, ENCODER_INT8_FILE):
                    (directory / file).unlink(missing_ok=True)
            raise

    def _verified(self, name: str) -> Manifest:
        directory = self._root / name
        if self._uri is not None and not is_release(directory):
            self._download(f"{name}/{MANIFEST_FILE}", _MAX_JSON_BYTES)
        manifest = read_manifest(directory)
        check_complete(directory, manifest)
        listed = {file: entry for file, entry in manifest.files.items() if file in {*_NEEDED, ENCODER_INT8_FILE}}
        if self._uri is not None:
            for file, entry in listed.items():
                if not (directory / file).is_file() or (directory / file).stat().st_size != entry.size_bytes:
                    self._download(f"{name}/{file}", _MAX_FILE_BYTES)
        check_files(directory, listed, digests=True)
        return manifest

    def _download(self, name: str, limit_bytes: int) -> None:
        data = read_bytes(f"{self._uri}/{name.removeprefix('./')}", limit_bytes=limit_bytes)
        with whole_file(self._root / name) as temporary:
            temporary.write_bytes(data)
