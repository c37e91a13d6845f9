"""A Kubeflow Pipelines server: connect to it, start a run, look one up, cancel one."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.errors import NotReadyError
from pipelines.runs.installation import Installation, describe_installation
from pipelines.runs.refusals import one_sentence
from pipelines.settings import Settings

EXPERIMENT = "visual-search"
_POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
_ADVICE = "set VISUAL_SEARCH_KFP_HOST, or run here with `visual-search run`"
_UNKNOWN = "RUNTIME_STATE_UNSPECIFIED"


@dataclass(frozen=True)
class Run:
    """A run as the server knows it.

    Attributes:
        state: PENDING, RUNNING, SUCCEEDED, … in capitals.
    """

    run_id: str
    state: str


class Kubeflow:
    """A server that answered.

    Args:
        client: a client of the API.
        installation: its kind, and where its tasks run.
    """

    def __init__(self, client: Any, installation: Installation) -> None:
        self.client, self.installation = client, installation

    def submit(self, package: Path, arguments: Mapping[str, Any], *, name: str, service_account: str = "") -> str:
        """Start one run of a compiled pipeline; return its id.

        Raises:
            ServerRefusedError: the server refused.
            NotReadyError: no answer came; the run may have started.
        """
        with one_sentence(self.installation.address), _without_warnings():
            result = self.client.create_run_from_pipeline_package(
                str(package),
                arguments=dict(arguments),
                run_name=name,
                experiment_name=EXPERIMENT,
                namespace=self.installation.namespace or None,
                enable_caching=False,
                service_account=service_account or None,
            )
        return str(result.run_id)

    def look_up(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            ServerRefusedError: there is none of this id (status 404), or the server refused.
            NotReadyError: no answer came.
        """
        with one_sentence(self.installation.address):
            return _as_run(self.client.get_run(run_id))

    def find(self, name: str) -> Run | None:
        """Return a run by its name, or None.

        Raises:
            ServerRefusedError: the server refused.
            NotReadyError: no answer came.
        """
        with one_sentence(self.installation.address):
            found = self.client.list_runs(filter=named(name), namespace=self.installation.namespace or None).runs or []
        return next((_as_run(run) for run in found if run.display_name == name), None)

    def cancel(self, run_id: str) -> None:
        """Ask the server to stop a run.

        Raises:
            ServerRefusedError: there is none of this id, or the server refused.
            NotReadyError: no answer came.
        """
        with one_sentence(self.installation.address):
            self.client.terminate_run(run_id)


def connect(settings: Settings) -> Kubeflow:
    """Connect to the Kubeflow Pipelines API.

    The address is `VISUAL_SEARCH_KFP_HOST`, or what kfp finds in the kube configuration. A token comes from the
    environment variable KF_PIPELINES_TOKEN or, inside a pod, from the projected service-account token.

    Raises:
        NotReadyError: no server answers, or something other than Kubeflow Pipelines does.
        ServerRefusedError: the server refused the token or the namespace.
        ParameterError: the namespace does not fit the kind of the installation.
    """
    # Not as kfp.Client(namespace=…): without a host, kfp takes that for the namespace of the server itself.
    options: dict[str, Any] = {"host": settings.kfp_host or None}
    address = settings.kfp_host or "the address of your kube configuration"
    with one_sentence(address, advice=_ADVICE), _without_warnings():
        from kfp.client import ServiceAccountTokenVolumeCredentials

        from pipelines.runs.kfp_client import Client

        if token := os.environ.get("KF_PIPELINES_TOKEN"):
            options["existing_token"] = token
        elif _POD_TOKEN.exists():
            options["credentials"] = ServiceAccountTokenVolumeCredentials()
        client = Client(**options)
        health = client.get_kfp_healthz()
    if health is None or health.multi_user is None:
        raise NotReadyError(
            f"{client.address} answers, but not as the API of Kubeflow Pipelines (a login page, perhaps); "
            "check VISUAL_SEARCH_KFP_HOST, and set KF_PIPELINES_TOKEN where the server asks for a token"
        )
    installation = describe_installation(
        client.address,
        multi_user=health.multi_user,
        pipeline_store=getattr(health, "pipeline_store", None),
        wanted=settings.kfp_namespace,
        account=client.get_user_namespace(),
    )
    with one_sentence(client.address):  # whether the token has a right there
        client.list_experiments(page_size=1, namespace=installation.namespace or None)
    return Kubeflow(client, installation)


def named(name: str) -> str:
    """Return the API's filter for things of a name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _as_run(run: Any) -> Run:
    return Run(str(run.run_id), str(run.state or _UNKNOWN).upper().rpartition(".")[2])


def _without_warnings() -> Any:
    """Hide kfp's warning to everybody that it needs a server of version 2, and those of its dependencies."""
    return warnings.catch_warnings(action="ignore")
