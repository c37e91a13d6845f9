"""The MLflow tracking store: quiet, without telemetry, and safe to open by several processes at once."""

from __future__ import annotations

import errno
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.shared.errors import ContractError, ParameterError, ResourceError, VisualSearchError
from components.shared.files.locks import exclusive_lock
from components.shared.files.sqlite import sqlite_path, sqlite_url
from components.tracking.relocation import ARTIFACTS, relocate_artifacts

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # 7 would wait four minutes for an unreachable server
}
_UNUSABLE = (
    "Max retries exceeded",
    "Connection refused",
    "unable to open database file",
    "readonly database",
    "disk I/O error",
    "database is locked",
)
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")


class TrackingStore:
    """One MLflow tracking store and registry: a local SQLite file, or a server.

    Args:
        tracking_uri: "sqlite:///…/mlflow.db" (artifacts are then in "mlartifacts" beside it), or "http(s)://host:port".
            Credentials come from the environment (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or
            MLFLOW_TRACKING_TOKEN), never from the URI.

    Attributes:
        uri: the tracking URI with absolute paths.
        client: MLflow's client for it.

    Raises:
        ParameterError: the URI is of another kind, or contains credentials.
        ResourceError: the store cannot be reached.
        ContractError: the database is of another MLflow version.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.uri, self._database = _checked(tracking_uri)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)  # MLflow reads them when it is imported, so the import comes after
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # MLflow itself uses deprecated functions of its libraries
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):  # after the import, which sets other levels
                logging.getLogger(name).setLevel(logging.ERROR)
            with self.lock("opening"), self.in_our_words():
                # Of six processes that open a fresh SQLite file together, five fail. So the lock covers creating the tables.
                self.client: Any = MlflowClient(self.uri, registry_uri=self.uri)
                self.client.search_experiments(max_results=1)
                self.client.search_registered_models(max_results=1)
                if self._database is not None:
                    relocate_artifacts(self._database)
                    self._remove_stray_folder(self._database)

    def _remove_stray_folder(self, database: Path) -> None:
        """Remove the empty folder that MLflow makes for a database because it does not decode the escapes of the address."""
        stray = Path(self.uri.removeprefix("sqlite:///")).parent
        if stray != database.parent:
            with suppress(OSError):  # it does not exist, or is not empty
                os.removedirs(stray)

    def lock(self, purpose: str = "writing") -> AbstractContextManager[None]:
        """Exclude other processes of this machine from a local store; a server needs no lock.

        Raises:
            ResourceError: the folder of the database is not writable.
        """
        if self._database is None:
            return nullcontext()
        return exclusive_lock(self._database.with_name(f".{self._database.name}.{purpose}.lock"))

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment; create it, or restore it from MLflow's bin, if needed."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            root = None if self._database is None else (self._database.parent / ARTIFACTS / name).as_uri()
            try:
                return str(self.client.create_experiment(name, artifact_location=root))
            except Exception as error:  # another process was faster
                if not has_code(error, "RESOURCE_ALREADY_EXISTS"):
                    raise
                found = self.client.get_experiment_by_name(name)
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def make_global(self) -> None:
        """Make this the process's own tracking store.

        MLflow's SQL store looks up a version's model in the process-wide store, not in the client's.
        """
        import mlflow

        mlflow.set_tracking_uri(self.uri)

    def download(self, location: str, destination: Path) -> Path:
        """Copy a directory of artifacts below `destination` and return the local path."""
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(artifact_uri=location, dst_path=str(destination), tracking_uri=self.uri))

    @contextmanager
    def in_our_words(self) -> Iterator[None]:
        """Turn MLflow's errors into ours.

        Raises:
            ResourceError: the store cannot be reached, or its disk is full.
            ParameterError: it rejects the credentials.
            ContractError: its database is of another version, or its answer is unexpected.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError  # MLflow lets some of these through unchanged

        try:
            yield
        except (MlflowException, SQLAlchemyError) as error:
            raise self._translated(error) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise self._no_room() from error
            raise

    def _translated(self, error: Exception) -> VisualSearchError:
        text = str(error)
        first = text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
        if "out-of-date database schema" in text or "Can't locate revision" in text:
            return ContractError(
                f"{self.uri} was written by another version of MLflow; back it up and run `mlflow db upgrade {self.uri}`"
            )
        if "database or disk is full" in text or "No space left" in text:
            return self._no_room()
        if any(has_code(error, code) for code in _REFUSED):
            return ParameterError(
                f"{self.uri} refuses the credentials ({first}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or MLFLOW_TRACKING_TOKEN"
            )
        if any(sign in text for sign in _UNUSABLE):
            return ResourceError(
                f"the tracking store {self.uri} cannot be used ({first}); start it, make it writable, or correct the "
                "tracking URI"
            )
        return ContractError(f"the tracking store {self.uri} answers: {first}")

    def _no_room(self) -> ResourceError:
        return ResourceError(
            f"no space left in the tracking store {self.uri}: free some space, then run the command again"
        )


def has_code(error: Exception, code: str) -> bool:
    """Whether an error of MLflow's carries this error code."""
    return str(getattr(error, "error_code", "")) == code


def _checked(uri: str) -> tuple[str, Path | None]:
    """Return the URI with absolute paths and, for SQLite, the database file."""
    if (database := sqlite_path(uri)) is not None:
        return sqlite_url(database.resolve()), database.resolve()
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ParameterError(
            f"{parts.scheme or uri!r} is not a tracking store address; expected sqlite:///path/to/mlflow.db or http(s)://host:port"
        )
    if parts.username or parts.password:
        raise ParameterError(
            f"the tracking URI of {parts.hostname} holds credentials; put them into MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD instead"
        )
    return uri.rstrip("/"), None
