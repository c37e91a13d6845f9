"""Resources that tasks need in their namespace: the claim of the workspace volume, and the Secret of credentials.

Without the claim a task's pod waits forever; the Secret is optional, so without it a task silently has no credentials.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from components.shared.errors import ParameterError, VisualSearchError
from manifests.checks.findings import Finding
from pipelines.graphs.placement import CREDENTIALS_SECRET, WORKSPACE_VOLUME
from pipelines.runs.cluster import connect
from pipelines.runs.installation import Installation
from pipelines.settings import Settings

CLAIM, SECRET = "PersistentVolumeClaim", "Secret"

# (kind, namespace, name) → whether it exists; None: access is denied.
Exists = Callable[[str, str, str], bool | None]


@dataclass(frozen=True)
class KubeflowReport:
    """Facts about the Kubeflow Pipelines server, read before a run.

    Attributes:
        summary: kind of installation and where tasks run, or "" if no server answers.
        findings: faults; empty if runs can start.
    """

    summary: str
    findings: list[Finding] = field(default_factory=list)


def examine_kubeflow(settings: Settings, exists: Exists, *, volume: str = WORKSPACE_VOLUME) -> KubeflowReport:
    """Examine the server and the namespace of its tasks, for `visual-search manifests doctor`.

    Args:
        settings: address and namespace.
        exists: looks a resource up in the cluster.
        volume: name of the volume claim.
    """
    try:
        installation = connect(settings).installation
    except VisualSearchError as error:
        return KubeflowReport("", [Finding("KubeflowPipelines", "VISUAL_SEARCH_KFP_HOST", str(error))])
    findings = missing_resources(installation, exists, volume=volume)
    summary = f"{installation.address}: {installation.kind}; tasks run in {installation.tasks_place}"
    return KubeflowReport(summary, findings)


def missing_resources(installation: Installation, exists: Exists, *, volume: str = WORKSPACE_VOLUME) -> list[Finding]:
    """Return a finding for each resource that tasks need and that does not exist where they run.

    Nothing is found where the namespace of the tasks is unknown, or may not be read.
    """
    namespace = installation.tasks_namespace
    if not namespace:
        return []
    consequences = {
        (CLAIM, volume): "the pods of all tasks would wait for it forever; create it there, or give "
        "--argument workspace_volume=NAME",
        (
            SECRET,
            CREDENTIALS_SECRET,
        ): "tasks would have no credentials of the object store and of MLflow; create it there (it may be empty)",
    }
    return [
        Finding(
            f"{kind}/{name}",
            "metadata.namespace",
            f"it does not exist in {namespace}, where this {installation.kind} Kubeflow Pipelines runs tasks: {consequence}",
        )
        for (kind, name), consequence in consequences.items()
        if exists(kind, namespace, name) is False
    ]


def check_claim(installation: Installation, exists: Exists, *, volume: str) -> list[Finding]:
    """Refuse a run whose tasks would wait for their volume forever; return the other findings.

    Raises:
        ParameterError: the claim does not exist where tasks run.
    """
    findings = missing_resources(installation, exists, volume=volume)
    for finding in findings:
        if finding.thing.startswith(CLAIM):
            raise ParameterError(f"{finding.thing}: {finding.sentence}")
    return findings


def cluster_lookup() -> Exists:
    """Return a look-up in the cluster of this pod or of the kube configuration, in kfp's order; without both it knows nothing."""
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        try:  # the library itself reads KUBECONFIG only once, when it is imported
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except config.ConfigException:
            return lambda kind, namespace, name: None
    configuration.retries = 1
    core = client.CoreV1Api(client.ApiClient(configuration))
    read = {CLAIM: core.read_namespaced_persistent_volume_claim, SECRET: core.read_namespaced_secret}

    def exists(kind: str, namespace: str, name: str) -> bool | None:
        try:
            read[kind](name, namespace, _request_timeout=30)
        except client.ApiException as error:
            return False if error.status == 404 else None
        except HTTPError:
            return None
        return True

    return exists
