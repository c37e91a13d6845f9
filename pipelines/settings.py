"""Settings of the command line, from the environment; read once, where a command starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from components.shared.files.sqlite import sqlite_url
from components.shared.settings import ProcessSettings, names_of, read_environment
from serving.settings import known_names as serving_names


class Settings(ProcessSettings):
    """The locations of everything. Every field is an environment variable with the prefix VISUAL_SEARCH_.

    Attributes:
        home: folder for everything that this machine keeps: workspace, runs, reports, MLflow's database and files.
        tracking_uri: MLflow server; empty: SQLite and a folder below `home`.
        events_url: event store, sqlite:///… or postgresql+psycopg://…; empty: SQLite below `home`.
        api_key: key that `query` and `demo` send to a service that requires one.
        kfp_host: address of the Kubeflow Pipelines API; empty: what the kfp client finds by itself.
        kfp_namespace: namespace that tasks run in; a single-user installation knows only its own.
        release_store: folder or URI that KServe takes releases from; empty: a folder below `home`.
        rollout_mode: how KServe is deployed.
        rollout_namespace: namespace of the service.
    """

    home: Path = Path(".visual-search")
    tracking_uri: str = ""
    events_url: str = ""
    api_key: SecretStr = SecretStr("")
    kfp_host: str = ""
    kfp_namespace: str = ""
    release_store: str = ""
    rollout_mode: Literal["knative", "standard"] = "knative"
    rollout_namespace: str = "visual-search"

    @property
    def registry_uri(self) -> str:
        """MLflow's URI, the embedded default included."""
        return self.tracking_uri or sqlite_url(self.home / "mlflow.db")

    @property
    def event_store(self) -> str:
        """The event store's URL, the embedded default included."""
        return self.events_url or sqlite_url(self.home / "events.db")

    @property
    def service_counts(self) -> Path:
        """Folder of the counters of this machine's servers, from which guardrails are measured."""
        return self.home.absolute() / "service-counts"

    @property
    def workspace(self) -> Path:
        """Folder of the steps' finished and unfinished work."""
        return self.home.absolute() / "workspace"


def known_names() -> frozenset[str]:
    """Return every environment variable with our prefix; `serve` hands those of the serving processes on to them."""
    return names_of(Settings) | serving_names()


def read_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` (from the command line) win where they are not None.

    Raises:
        ParameterError: a variable has our prefix but no such setting exists (a typo must not be silent).
    """
    return read_environment(Settings, known_names(), **overrides)
