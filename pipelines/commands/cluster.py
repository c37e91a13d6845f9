"""`visual-search submit`, `schedule` and `runs`: pipelines on a Kubeflow Pipelines server."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.container_images import PIPELINE_IMAGE
from components.shared.errors import ParameterError
from pipelines.graphs.placement import WORKSPACE_VOLUME
from pipelines.runs.arguments import convert_arguments, parse_assignments, read_parameters
from pipelines.runs.cluster import Kubeflow, connect
from pipelines.runs.schedules import Schedule, check_cron, list_schedules, remove_schedules, set_schedule
from pipelines.runs.waiting import wait_for_end
from pipelines.settings import Settings, read_settings


@dataclass(frozen=True)
class Request:
    """A compiled pipeline with its arguments, checked against its specification, and the server that they go to."""

    kubeflow: Kubeflow
    package: Path
    arguments: dict[str, Any]

    def place(self) -> str:
        """Say where the tasks run and which volume they mount there."""
        return (
            f"its tasks run in {self.kubeflow.installation.tasks_place} and mount the volume claim {self.volume} there"
        )

    @property
    def volume(self) -> str:
        """The volume claim that the tasks mount."""
        return str(self.arguments.get("workspace_volume") or WORKSPACE_VOLUME)


def submit(options: argparse.Namespace, arguments: dict[str, str]) -> int:
    """Start a run, and wait for its end if asked to."""
    settings = cluster_settings(options)
    with _request(options, settings, arguments) as request:
        run_id = request.kubeflow.submit(
            request.package,
            request.arguments,
            name=f"visual-search-{options.pipeline}",
            service_account=options.service_account,
        )
    print(f"run {run_id} started; {request.place()}", flush=True)
    return wait_for_end(request.kubeflow, run_id) if options.wait else 0


def schedule(options: argparse.Namespace, arguments: dict[str, str]) -> int:
    """Run a pipeline on a schedule, or change that schedule."""
    check_cron(options.cron)
    with _request(options, cluster_settings(options), arguments) as request:
        made, replaced = set_schedule(
            request.kubeflow,
            request.package,
            request.arguments,
            name=options.name or f"visual-search-{options.pipeline}",
            cron=options.cron,
            service_account=options.service_account,
        )
    verb = f"replaces {', '.join(old.schedule_id for old in replaced)}" if replaced else "is new"
    print(f"schedule {made.schedule_id} ({made.name}, {made.cron}) {verb}; {request.place()}")
    return 0


def schedules(options: argparse.Namespace) -> int:
    """List the schedules, or remove those of a name."""
    kubeflow = connect(cluster_settings(options))
    if options.list:
        found = list_schedules(kubeflow)
        print("\n".join(_line(entry) for entry in found) or "there is no schedule")
        return 0
    name = options.name or (f"visual-search-{options.pipeline}" if options.pipeline else "")
    if not name:
        raise ParameterError("give the pipeline, or --name, of the schedule to remove; `schedule --list` shows them")
    for entry in remove_schedules(kubeflow, name):
        print(f"schedule {entry.schedule_id} ({entry.name}, {entry.cron}) removed; its runs continue")
    return 0


def runs(options: argparse.Namespace) -> int:
    """Wait for the end of a run, or cancel it."""
    kubeflow = connect(cluster_settings(options))
    if options.action == "cancel":
        kubeflow.cancel(options.run)
        print(f"run {options.run}: the server cancels it")
        return 0
    return wait_for_end(kubeflow, options.run)


def cluster_settings(options: argparse.Namespace) -> Settings:
    """Return the settings with the server and the namespace of the command line over them."""
    return read_settings(kfp_host=options.host, kfp_namespace=options.namespace or None)


@contextmanager
def _request(options: argparse.Namespace, settings: Settings, arguments: dict[str, str]) -> Iterator[Request]:
    """Compile, check the arguments, connect, and check what the tasks need; raises before anything is sent."""
    from pipelines.graphs.compilation import compile_pipeline

    given = arguments | parse_assignments(options.argument)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{options.pipeline}.yaml"
        compile_pipeline(options.pipeline, package, image=options.image or PIPELINE_IMAGE)
        converted = convert_arguments(options.pipeline, read_parameters(package), given)
        request = Request(connect(settings), package, converted)
        if (
            not settings.kfp_host
        ):  # the server was found in the kube configuration, so that configuration is its cluster's
            _check_resources(request)
        yield request


def _check_resources(request: Request) -> None:
    from pipelines.runs.task_resources import check_claim, cluster_lookup

    for finding in check_claim(request.kubeflow.installation, cluster_lookup(), volume=request.volume):
        print(f"visual-search: {finding.thing}: {finding.sentence}", file=sys.stderr)


def _line(entry: Schedule) -> str:
    return f"{entry.schedule_id}  {entry.cron:<16} {'on ' if entry.is_enabled else 'off'}  {entry.name}"
