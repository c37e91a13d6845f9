"""MLflow, opened: one tracking store, quiet, without telemetry, safe to open by several processes at once."""

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
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # 7 would wait four minutes for a server that is not there
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
    """One MLflow tracking store and registry: an SQLite file here, or a server.

    Args:
        tracking_uri: "sqlite:///…/mlflow.db" (artifacts then lie in "mlartifacts" beside it), or "http(s)://host:port".
            Credentials come from the environment (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or
            MLFLOW_TRACKING_TOKEN), never from the URI.

    Attributes:
        uri: the tracking URI, paths made absolute.
        client: MLflow's client for it.

    Raises:
        ParameterError: another kind of URI, or one with credentials in it.
        ResourceError: the store cannot be reached.
        ContractError: the database is of another MLflow version.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.uri, self._database = _checked(tracking_uri)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)  # read by MLflow when it is imported, hence the import below
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # MLflow's own debts towards its libraries
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):  # after the import, which sets levels of its own
                logging.getLogger(name).setLevel(logging.ERROR)
            with self.lock("opening"), self.in_our_words():
                # Six processes that open a fresh SQLite file together: five fail. So the tables are made under the lock.
                self.client: Any = MlflowClient(self.uri, registry_uri=self.uri)
                self.client.search_experiments(max_results=1)
                self.client.search_registered_models(max_results=1)
                if self._database is not None:
                    relocate_artifacts(self._database)
                    self._remove_stray_folder(self._database)

    def _remove_stray_folder(self, database: Path) -> None:
        """Remove the empty folder that MLflow makes for a database: it does not decode the escapes of the address."""
        stray = Path(self.uri.removeprefix("sqlite:///")).parent
        if stray != database.parent:
            with suppress(OSError):  # it is not there, or not empty
                os.removedirs(stray)

    def lock(self, purpose: str = "writing") -> AbstractContextManager[None]:
        """Keep other processes of this machine out of a local store; a server keeps no lock.

        Raises:
            ResourceError: the folder of the database cannot be written.
        """
        if self._database is None:
            return nullcontext()
        return exclusive_lock(self._database.with_name(f".{self._database.name}.{purpose}.lock"))

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment; it is made, or brought back from MLflow's bin, where necessary."""
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

        MLflow's SQL store looks a version's model up in the process-wide store, whatever the client was given.
        """
        import mlflow

        mlflow.set_tracking_uri(self.uri)

    def download(self, location: str, destination: Path) -> Path:
        """Copy a directory of artifacts below `destination` and return where it lies there."""
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(artifact_uri=location, dst_path=str(destination), tracking_uri=self.uri))

    @contextmanager
    def in_our_words(self) -> Iterator[None]:
        """Turn MLflow's errors into ours.

        Raises:
            ResourceError: the store cannot be reached, or its disk is full.
            ParameterError: it refuses the credentials.
            ContractError: its database is of another version, or it answers something unexpected.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError  # some of these escape from MLflow as they are

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
