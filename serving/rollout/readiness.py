"""Whether the workload behind the traffic has the wanted release, as seen on the Deployment or the Knative Service itself.

An InferenceService cannot tell. KServe copies `status.observedGeneration` from its child, whose generations count apart, and its
condition Ready stays true while old pods answer. So the child is read: the storage URI in its pod template, its own
generations, and its own replicas or revisions.

Source: KServe 0.20, pkg/apis/serving/v1beta1/inference_service_status.go (PropagateRawStatus, PropagateStatus); Kubernetes,
Deployment status; Knative Serving, Service status.
"""

from __future__ import annotations

from typing import Any

from serving.rollout.plan import Json

# KServe writes the storage URI of the InferenceService there, in every pod template.
SOURCE_ANNOTATION = "internal.serving.kserve.io/storage-initializer-sourceuri"


def deployment_has(deployment: Json | None, uri: str) -> bool:
    """Whether every pod of a Deployment has a release and is ready.

    Args:
        deployment: current deployment; None: it does not exist.
        uri: storage URI of the release.
    """
    if deployment is None or source_of(deployment) != uri or not _is_observed(deployment):
        return False
    status = deployment.get("status", {})
    replicas = int(status.get("replicas", 0))
    return replicas > 0 and status.get("updatedReplicas") == status.get("readyReplicas") == replicas


def newest_revision_has(service: Json | None, uri: str) -> bool:
    """Whether the newest revision of a Knative Service has a release and is ready.

    Args:
        service: the Knative Service as it is; None: there is none.
        uri: storage URI of the release.
    """
    if service is None or source_of(service) != uri or not _is_observed(service):
        return False
    return newest_ready_revision(service) is not None


def newest_ready_revision(service: Json) -> str | None:
    """Return the newest revision of a Knative Service if it is ready, else None."""
    status = service.get("status", {})
    newest: str | None = status.get("latestCreatedRevisionName")
    return newest if newest is not None and newest == status.get("latestReadyRevisionName") else None


def traffic_of(service: Json) -> dict[str, int]:
    """Return the share of each revision of a Knative Service that gets traffic, in percent."""
    shares: dict[str, int] = {}
    for target in service.get("status", {}).get("traffic") or []:
        if target.get("revisionName") and target.get("percent"):
            shares[target["revisionName"]] = shares.get(target["revisionName"], 0) + int(target["percent"])
    return shares


def route_is_accepted(route: Json) -> bool:
    """Whether every gateway that has answered for an HTTPRoute has taken its last change, and one has.

    Its condition ResolvedRefs does not count: it is false while the Service of a stopped arm is away, which gets nothing.

    Source: Gateway API, HTTPRouteStatus: a condition holds for its `observedGeneration`.
    """
    generation = route.get("metadata", {}).get("generation", 0)
    parents = route.get("status", {}).get("parents") or []
    return bool(parents) and all(_is_accepted(parent, generation) for parent in parents)


def source_of(child: Json) -> str | None:
    """Return the storage URI in the pod template of a Deployment or Knative Service."""
    template: dict[str, Any] = child.get("spec", {}).get("template", {})
    found: str | None = (template.get("metadata", {}).get("annotations") or {}).get(SOURCE_ANNOTATION)
    return found


def _is_observed(child: Json) -> bool:
    observed = int(child.get("status", {}).get("observedGeneration", -1))
    return observed >= int(child.get("metadata", {}).get("generation", 0))


def _is_accepted(parent: Json, generation: int) -> bool:
    conditions = parent.get("conditions") or []
    accepted: Json = next((each for each in conditions if each.get("type") == "Accepted"), {})
    return accepted.get("status") == "True" and int(accepted.get("observedGeneration", generation)) >= generation
