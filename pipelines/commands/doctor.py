"""`visual-search manifests doctor`: whether a cluster has what an overlay needs, before anything is applied."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.errors import ParameterError

if TYPE_CHECKING:
    from manifests.checks.findings import Json
    from manifests.doctor.api import ClusterReader
    from manifests.doctor.needs import Needs
    from manifests.doctor.report import Check

_OVERLAYS = Path(__file__).resolve().parents[2] / "manifests" / "overlays"


def doctor(overlay: Path | None, mode: str | None) -> int:
    """Print one line per check; return 1 if something needed is missing.

    Args:
        overlay: folder that kustomize renders, or a rendered file; None: the plain overlay of the mode.
        mode: "knative" or "standard", which must be that of the overlay if both are given.

    Raises:
        ParameterError: neither is given, they contradict each other, or no cluster is configured.
        ResourceError: the API server gives no answer.
    """
    from manifests.checks.rendering import load
    from manifests.doctor.api import ClusterReader
    from manifests.doctor.examine import examine
    from manifests.doctor.report import exit_code

    if overlay is None and mode is None:
        raise ParameterError("give the overlay that you will apply, or --mode knative or --mode standard")
    path = overlay or _OVERLAYS / str(mode)
    documents = load(path)
    if mode is not None:
        _require_mode(path, documents, mode)
    cluster = ClusterReader()
    print(f"{path} against {cluster.address}", file=sys.stderr)
    checks = []
    for check in examine(cluster, documents, more=[_examine_kubeflow]):
        print(check, flush=True)
        checks.append(check)
    return exit_code(checks)


def _require_mode(path: Path, documents: Sequence[Json], mode: str) -> None:
    from manifests.doctor.needs import needs_of

    found = needs_of(documents).modes
    if found != {mode.capitalize()}:
        raise ParameterError(
            f"{path} is for {' and '.join(sorted(found)) or 'no'} mode, but --mode is {mode}; leave out --mode, or give the "
            "overlay of that mode"
        )


def _examine_kubeflow(cluster: ClusterReader, needs: Needs) -> Iterator[Check]:
    """Check the Kubeflow Pipelines that the overlay's pods start runs on, where the settings name it."""
    from manifests.doctor.api import NotReadableError
    from manifests.doctor.report import missing, ok, unknown
    from pipelines.runs.task_resources import examine_kubeflow
    from pipelines.settings import read_settings

    if not needs.starts_pipelines:
        return
    settings = read_settings()
    if not settings.kfp_host:
        yield unknown(
            "KubeflowPipelines", "set VISUAL_SEARCH_KFP_HOST to an address that this machine reaches to check it"
        )
        return

    def exists(kind: str, namespace: str, name: str) -> bool | None:
        if namespace == needs.namespace and f"{kind}/{name}" in needs.made:
            return True  # as soon as the overlay is applied
        try:
            return cluster.read(f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{name}") is not None
        except NotReadableError:
            return None

    report = examine_kubeflow(settings, exists)
    if report.summary:
        yield ok("KubeflowPipelines", report.summary)
    for finding in report.findings:
        yield missing(finding.thing, finding.sentence)
