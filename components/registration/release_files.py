"""The files of releases in MLflow: LoggedModels without a flavour, either complete or not found.

MLflow registers models that are still pending, changes finished ones silently and gives an empty folder for deleted
ones. So a model is finished only after every digest was checked in the store, and is checked again on every read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from components.shared.errors import ContractError, UnfinishedArtifactError
from components.shared.files.layout import MANIFEST_FILE
from components.shared.release.manifest import Manifest, copy_release, is_intact, verify_release
from components.tracking.store import TrackingStore, has_code

_RELEASE_TAG = "release_id"
_READY = "READY"


class ReleaseFiles:
    """The files of all releases of one registered model.

    Args:
        store: store that holds the files.
        model_name: MLflow's registered model; the experiment that holds the files is named after it.
    """

    def __init__(self, store: TrackingStore, model_name: str) -> None:
        self._store = store
        self._experiment = f"{model_name}-releases"

    def models(self, release_id: str) -> list[Any]:
        """Return MLflow's LoggedModels of a release: finished, pending and failed ones."""
        experiment = self._store.client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return []
        condition = f"tags.{_RELEASE_TAG} = '{release_id}'"
        return list(
            self._store.client.search_logged_models(
                [experiment.experiment_id], filter_string=condition, max_results=100
            )
        )

    def upload(self, directory: Path, manifest: Manifest, run_id: str | None) -> str:
        """Upload a release, unless an interrupted attempt has done so, and return the id of its model.

        Raises:
            ContractError: the stored files differ from the uploaded ones.
        """
        for model in self.models(manifest.release_id):
            if str(model.status) == _READY and self.are_intact(model.model_id, manifest.release_id):
                return str(model.model_id)
        model_id = self._store.client.create_logged_model(
            self._store.experiment_id(self._experiment),
            name=manifest.release_id,
            source_run_id=run_id,
            tags={_RELEASE_TAG: manifest.release_id},
        ).model_id
        self._send(directory, manifest, model_id)
        self._store.client.finalize_logged_model(model_id, _READY)
        return str(model_id)

    def mend(self, directory: Path, manifest: Manifest, model_id: str) -> None:
        """Write the files of a finished model again if they have changed.

        Raises:
            ContractError: they still differ.
        """
        with self.opened(model_id) as stored:
            if is_intact(stored, manifest.release_id):
                return
            for path in stored.glob("*"):  # also files left by a killed upload, which MLflow never removes
                if path.is_file() and path.name not in {*manifest.files, MANIFEST_FILE}:
                    path.unlink()
        self._send(directory, manifest, model_id)

    def are_intact(self, model_id: str, release_id: str) -> bool:
        """Whether a model holds exactly this release."""
        with self.opened(model_id) as stored:
            return is_intact(stored, release_id)

    def verify(self, model_id: str, release_id: str) -> None:
        """Check every byte of a model.

        Raises:
            ContractError: it is damaged, or belongs to another release.
        """
        with self.opened(model_id) as stored:
            _expect(verify_release(stored), release_id)

    def copy(self, model_id: str, release_id: str, destination: Path) -> None:
        """Copy and verify a model's files as the directory `destination`, which must not exist.

        Raises:
            ContractError: they are damaged, or belong to another release.
        """
        with self.opened(model_id, near=destination.parent) as stored:
            if self._path_here(model_id) is not None:
                _expect(copy_release(stored, destination), release_id)
            else:
                _expect(verify_release(stored), release_id)
                stored.rename(destination)

    def discard_others(self, release_id: str, keep: str) -> None:
        """Move models left by killed attempts into MLflow's bin (`mlflow gc` frees their space)."""
        for model in self.models(release_id):
            if model.model_id != keep:
                with unless_gone():
                    self._store.client.delete_logged_model(model.model_id)

    @contextmanager
    def opened(self, model_id: str, near: Path | None = None) -> Iterator[Path]:
        """Yield the directory with a model's files: the original if it is on this machine, else a download.

        Args:
            model_id: MLflow's LoggedModel.
            near: directory to download into; None: the folder for temporary files.

        Raises:
            UnfinishedArtifactError: the model was deleted.
        """
        path = self._path_here(model_id)
        if path is not None:
            yield path
            return
        with tempfile.TemporaryDirectory(prefix=".download-", dir=near, ignore_cleanup_errors=True) as folder:
            files = self._store.client.list_logged_model_artifacts(model_id)
            # MLflow treats an empty folder as a file and fails on it.
            yield self._store.download(self._location(model_id), Path(folder)) if files else Path(folder)

    def _send(self, directory: Path, manifest: Manifest, model_id: str) -> None:
        for name in (*manifest.files, MANIFEST_FILE):
            self._store.client.log_model_artifact(model_id, str(directory / name))
        with self.opened(model_id) as stored:
            _expect(verify_release(stored), manifest.release_id)
        if (path := self._path_here(model_id)) is not None:
            _sync(path)  # SQLite syncs the database, which must not outlive the files that it names

    def _path_here(self, model_id: str) -> Path | None:
        location = self._location(model_id)
        parts = urlsplit(location)
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        return None if parts.scheme else Path(location)

    def _location(self, model_id: str) -> str:
        try:
            return str(self._store.client.get_logged_model(model_id).artifact_location)
        except Exception as error:
            if not has_code(error, "RESOURCE_DOES_NOT_EXIST"):
                raise
            raise UnfinishedArtifactError(
                f"the files of model {model_id} were deleted from the tracking store; delete its version there, then "
                "register the release again"
            ) from error


@contextmanager
def unless_gone() -> Iterator[None]:
    """Ignore that another process has already deleted the object."""
    try:
        yield
    except Exception as error:
        if not has_code(error, "RESOURCE_DOES_NOT_EXIST"):
            raise


def _expect(manifest: Manifest, release_id: str) -> None:
    if manifest.release_id != release_id:
        raise ContractError(
            f"the tracking store gives {manifest.release_id} where {release_id} was registered; register it again"
        )


def _sync(directory: Path) -> None:
    for path in (*directory.iterdir(), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
