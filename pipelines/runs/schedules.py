"""Schedules on a Kubeflow Pipelines server ("recurring runs" in its API): one of a name, changed in place, listed, removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.errors import NotReadyError, ParameterError, VisualSearchError
from pipelines.runs.cluster import EXPERIMENT, Kubeflow, named
from pipelines.runs.refusals import one_sentence

_PAGE = 100


@dataclass(frozen=True)
class Schedule:
    """One schedule.

    Attributes:
        cron: six fields, seconds first.
        is_enabled: whether it starts runs.
    """

    schedule_id: str
    name: str
    cron: str
    is_enabled: bool


def check_cron(cron: str) -> None:
    """Refuse what is not a schedule before anything is sent.

    Raises:
        ParameterError: the cron expression does not have six fields.
    """
    if len(cron.split()) != 6:
        raise ParameterError(f"a schedule has six fields, seconds first (0 0 3 * * * is 03:00 every day); got {cron!r}")


def set_schedule(
    kubeflow: Kubeflow,
    package: Path,
    arguments: Mapping[str, Any],
    *,
    name: str,
    cron: str,
    service_account: str = "",
) -> tuple[Schedule, list[Schedule]]:
    """Run a compiled pipeline on a schedule, the only one of its name.

    The API cannot change a schedule. So the new one is created first, which the server may refuse, and then those before it
    are deleted. Runs that those have started continue.

    Args:
        kubeflow: client of the Kubeflow API.
        package: compiled pipeline.
        arguments: the pipeline's arguments, of the types that it declares.
        name: name of the schedule.
        cron: six fields, seconds first; "0 0 3 * * *" is every night at three (UTC).
        service_account: Kubernetes service account of the tasks.

    Returns:
        The schedule, and those that it replaced.

    Raises:
        ParameterError: the cron expression does not have six fields.
        ServerRefusedError: the server refused; then the earlier schedule is unchanged.
        NotReadyError: no answer came, or an earlier schedule could not be deleted.
    """
    check_cron(cron)
    earlier = list_schedules(kubeflow, name)
    with one_sentence(kubeflow.installation.address):
        experiment = kubeflow.client.create_experiment(EXPERIMENT, namespace=kubeflow.installation.namespace or None)
        created = kubeflow.client.create_recurring_run(
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
    schedule = Schedule(str(created.recurring_run_id), name, cron, True)
    try:
        _delete(kubeflow, earlier)
    except VisualSearchError as error:
        raise NotReadyError(
            f"{error}; the schedule {schedule.schedule_id} is created, but an earlier one of the name {name} still starts runs: "
            "repeat the command"
        ) from error
    return schedule, earlier


def list_schedules(kubeflow: Kubeflow, name: str = "") -> list[Schedule]:
    """Return the schedules of our experiment, or those of a name.

    Raises:
        ServerRefusedError: the server refused.
        NotReadyError: no answer came.
    """
    client, namespace = kubeflow.client, kubeflow.installation.namespace or None
    found: list[Schedule] = []
    with one_sentence(kubeflow.installation.address):
        experiments = client.list_experiments(filter=named(EXPERIMENT), namespace=namespace).experiments or []
        for experiment in experiments:
            token = ""
            while True:
                page = client.list_recurring_runs(
                    page_token=token,
                    page_size=_PAGE,
                    experiment_id=experiment.experiment_id,
                    filter=named(name) if name else None,
                )
                found += [_as_schedule(entry) for entry in page.recurring_runs or []]
                token = page.next_page_token or ""
                if not token:
                    break
    return sorted(found, key=lambda schedule: (schedule.name, schedule.schedule_id))


def remove_schedules(kubeflow: Kubeflow, name: str) -> list[Schedule]:
    """Delete the schedules of a name and return them; runs that they have started continue.

    Raises:
        ParameterError: there is none.
        ServerRefusedError: the server refused.
        NotReadyError: no answer came.
    """
    found = list_schedules(kubeflow, name)
    if not found:
        others = ", ".join(sorted({schedule.name for schedule in list_schedules(kubeflow)})) or "none"
        raise ParameterError(f"there is no schedule named {name}; the server has: {others}")
    _delete(kubeflow, found)
    return found


def _delete(kubeflow: Kubeflow, schedules: list[Schedule]) -> None:
    for schedule in schedules:
        with one_sentence(kubeflow.installation.address):
            kubeflow.client.delete_schedule(schedule.schedule_id)


def _as_schedule(entry: Any) -> Schedule:
    cron = getattr(getattr(entry.trigger, "cron_schedule", None), "cron", None)
    enabled = str(entry.mode or "").upper().rpartition(".")[2] != "DISABLE"
    return Schedule(str(entry.recurring_run_id), str(entry.display_name), cron or "-", enabled)
