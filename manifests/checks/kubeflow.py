"""Checks of pods that start runs on Kubeflow Pipelines: they must name the namespace of the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from manifests.checks.findings import Finding, Json
from manifests.checks.pods import pods_of

_HOST, _NAMESPACE = "VISUAL_SEARCH_KFP_HOST", "VISUAL_SEARCH_KFP_NAMESPACE"


def check_kubeflow(documents: Sequence[Json]) -> Iterator[Finding]:
    """Yield a finding for each container that has a server but no namespace for the tasks.

    A multi-user server rejects its runs, and a single-user one starts the tasks in a namespace that can lack their volume.
    """
    for pod in pods_of(documents):
        for container in pod.containers:
            variables = container.variables()
            if _HOST in variables and _NAMESPACE not in variables:
                yield Finding(
                    container.thing,
                    f"{container.path}.env",
                    f"{container.name} starts runs of Kubeflow Pipelines without {_NAMESPACE}; set it to the namespace that has "
                    "the volume and the Secret of the tasks (a single-user server: its own)",
                )
