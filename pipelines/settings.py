"""Settings of the command line, from the environment; read once, where a command starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from components.shared.errors import ParameterError
from serving.settings import known_names as serving_names

PREFIX = "VISUAL_SEARCH_"


class Settings(BaseSettings):
    """Where things lie. Every field is an environment variable with the prefix VISUAL_SEARCH_.

    Attributes:
        home: folder for everything that this machine keeps: workspace, runs, reports, MLflow's database and files.
        tracking_uri: MLflow server; empty: SQLite and a folder below `home`.
        events_url: event store, sqlite:///… or postgresql+psycopg://…; empty: SQLite below `home`.
        api_key: what `query` and `demo` show a service that asks for a key.
        kfp_host: address of the Kubeflow Pipelines API; empty: what the kfp client finds by itself.
        kfp_namespace: namespace that tasks run in; a single-user installation knows only its own.
        release_store: folder or URI that KServe takes releases from; empty: a folder below `home`.
        rollout_mode: how KServe is deployed.
        rollout_namespace: namespace of the service.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

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
        return self.tracking_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"

    @property
    def event_store(self) -> str:
        """The event store's URL, the embedded default included."""
        return self.events_url or f"sqlite:///{self.home.absolute() / 'events.db'}"

    @property
    def service_counts(self) -> Path:
        """Where the servers of this machine keep their counters, which guardrails are measured by."""
        return self.home.absolute() / "service-counts"

    @property
    def workspace(self) -> Path:
        """Where steps keep finished and unfinished work."""
        return self.home.absolute() / "workspace"


def read_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` (from the command line) win where they are not None.

    Raises:
        ParameterError: a variable has our prefix but no such setting exists (a typo must not be silent).
    """
    # `serve` hands the serving processes' own variables on to them.
    known = {PREFIX + name.upper() for name in Settings.model_fields} | serving_names()
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ParameterError(
            f"the environment sets {', '.join(unknown)}, but the settings are {', '.join(sorted(known))}"
        )
    return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
