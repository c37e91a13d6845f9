"""kfp's client of the API, without its waiting and its files."""

from __future__ import annotations

from typing import Any

import kfp


class Client(kfp.Client):  # type: ignore[misc]  # kfp carries no types
    """Asks for the server's health once instead of five times, and remembers a namespace in memory, not in the user's home."""

    _health: Any = None

    @property
    def address(self) -> str:
        """The API's address, found in the kube configuration if none was given."""
        return str(self._existing_config.host)

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Return the kind of the installation, asked for once; kfp's constructor does it as well."""
        if self._health is None:
            self._health = self._healthz_api.healthz_service_get_healthz()
        return self._health

    def _load_config(self, *arguments: Any, **options: Any) -> Any:
        config = super()._load_config(*arguments, **options)
        config.host = config.host.rstrip(
            "/"
        )  # kfp ends the path of the API server's proxy with one, and paths begin with one
        return config

    def set_user_namespace(self, namespace: str) -> None:
        """Remember the namespace of this pod; kfp would write it to ~/.config, which is read-only in a hardened pod."""
        self._context_setting["namespace"] = namespace

    def delete_schedule(self, recurring_run_id: str) -> None:
        """Delete a recurring run but not the runs that it started: they belong to it, and Kubernetes would delete them too."""
        self._recurring_run_api.recurring_run_service_delete_recurring_run(
            recurring_run_id=recurring_run_id, propagation_policy="ORPHAN"
        )
