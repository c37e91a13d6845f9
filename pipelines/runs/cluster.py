"""Runs on a Kubeflow Pipelines server: submit one, schedule many."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared.errors import NotReadyError, ParameterError
from pipelines.settings import Settings

_EXPERIMENT = "visual-search"
_POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")


def connect(settings: Settings) -> Any:
    """Return a client of the Kubeflow Pipelines API.

    The address is `VISUAL_SEARCH_KFP_HOST`, or what kfp finds in the kube configuration. A token comes from the
    environment variable KF_PIPELINES_TOKEN or, inside a pod, from the projected service-account token.

    Raises:
        NotReadyError: there is no server there.
    """
    import kfp

    options: dict[str, Any] = {"host": settings.kfp_host or None}
    if settings.kfp_namespace:
        options["namespace"] = settings.kfp_namespace
    if token := os.environ.get("KF_PIPELINES_TOKEN"):
        options["existing_token"] = token
    elif _POD_TOKEN.exists():
        options["credentials"] = kfp.client.ServiceAccountTokenVolumeCredentials()
    try:
        client = kfp.Client(**options)
        client.list_experiments(page_size=1, namespace=settings.kfp_namespace or None)
    except Exception as error:  # kfp raises whatever its transport raises
        raise NotReadyError(
            f"no Kubeflow Pipelines server answers at {settings.kfp_host or 'the address of your kube configuration'} "
            f"({type(error).__name__}); set VISUAL_SEARCH_KFP_HOST, or run here with `visual-search run`"
        ) from error
    return client


def submit_run(
    client: Any,
    package: Path,
    arguments: Mapping[str, Any],
    *,
    name: str,
    namespace: str = "",
    service_account: str = "",
) -> str:
    """Start one run of a compiled pipeline; return its id."""
    result = client.create_run_from_pipeline_package(
        str(package),
        arguments=dict(arguments),
        run_name=name,
        experiment_name=_EXPERIMENT,
        namespace=namespace or None,
        enable_caching=False,
        service_account=service_account or None,
    )
    return str(result.run_id)


def schedule_runs(
    client: Any,
    package: Path,
    arguments: Mapping[str, Any],
    *,
    name: str,
    cron: str,
    namespace: str = "",
    service_account: str = "",
) -> str:
    """Start a run of a compiled pipeline again and again; return the id of the schedule.

    Args:
        client: what `connect` gave.
        package: compiled pipeline.
        arguments: the pipeline's parameters.
        name: name of the schedule.
        cron: six fields, seconds first, as Kubeflow has it; "0 0 3 * * *" is every night at three (UTC).
        namespace: namespace in a multi-user installation.
        service_account: Kubernetes service account of the tasks.

    Raises:
        ParameterError: the cron expression does not have six fields.
    """
    if len(cron.split()) != 6:
        raise ParameterError(f"a schedule has six fields, seconds first (0 0 3 * * * is 03:00 every day); got {cron!r}")
    experiment = client.create_experiment(_EXPERIMENT, namespace=namespace or None)
    recurring = client.create_recurring_run(
        experiment.experiment_id,
        name,
        cron_expression=cron,
        max_concurrency=1,
        no_catchup=True,
        params=dict(arguments),
        pipeline_package_path=str(package),
        enable_caching=False,
        service_account=service_account or None,
    )
    return str(recurring.recurring_run_id)
