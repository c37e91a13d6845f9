"""Checks around the rollout: fields that only it may write, and the one mode of all objects in a namespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.shared.settings import PREFIX
from manifests.checks.findings import Finding, Json, name_of
from manifests.checks.pods import Container, mode_of, of_kind, pods_of

_MODE = f"{PREFIX}ROLLOUT_MODE"
_STOP = "serving.kserve.io/stop"


def check_rollout(documents: Sequence[Json]) -> Iterator[Finding]:
    """Find fields of the rollout in manifests that are applied repeatedly, and objects of different modes.

    Applied again, such a field would conflict with the rollout, or restore an old release. Without a rollout, files may
    name the served release.
    """
    reconcilers = [container for pod in pods_of(documents) for container in pod.containers if _reconciles(container)]
    modes = {mode_of(service) for service in of_kind(documents, "InferenceService")}
    if reconcilers:
        for document in documents:
            yield from _owned(document)
    if len(modes) > 1:
        for service in of_kind(documents, "InferenceService"):
            yield Finding(
                name_of(service),
                "metadata.annotations.serving.kserve.io/deploymentMode",
                f"is {mode_of(service)}, but there are InferenceServices of {' and '.join(sorted(modes))}; choose one mode",
            )
    if modes == {"Knative"}:
        for route in of_kind(documents, "HTTPRoute"):
            yield Finding(
                name_of(route), "kind", "leads to Services of Standard mode, but the InferenceService is Knative's"
            )
    for container in reconcilers:
        wanted = str(container.variables().get(_MODE) or "knative")
        if modes and wanted not in {mode.lower() for mode in modes}:
            yield Finding(
                container.thing,
                f"{container.path}.env",
                f"sets {_MODE} to {wanted}, but the InferenceServices are of {' and '.join(sorted(modes))} mode",
            )


def combined(documents: Sequence[Json], first: Sequence[Json]) -> list[Json]:
    """Return the objects in the cluster after both have been applied.

    Args:
        documents: objects that are applied repeatedly.
        first: objects that are applied once before; the rollout owns them afterwards.
    """
    found = {_key(document): document for document in documents}
    for document in first:
        found[_key(document)] = _joined(found.get(_key(document), {}), document)
    return list(found.values())


def check_first(documents: Sequence[Json], first: Sequence[Json]) -> Iterator[Finding]:
    """Find objects of a first installation that do not fit those applied repeatedly."""
    known = {_key(document) for document in documents}
    for document in first:
        if _key(document) not in known:
            yield Finding(
                name_of(document), "metadata.name", "is applied first, but is not among what is applied every time"
            )
    for service in of_kind(combined(documents, first), "InferenceService"):
        if not (service["spec"]["predictor"].get("model") or {}).get("storageUri"):
            yield Finding(
                name_of(service), "spec.predictor.model.storageUri", "is missing; nothing says which release is served"
            )


def _reconciles(container: Container) -> bool:
    return [str(word) for word in container.spec.get("args") or []][:2] == ["rollout", "reconcile"]


def _owned(document: Json) -> Iterator[Finding]:
    advice = "belongs to the rollout; leave it to manifests/first, or applying this again conflicts or puts it back"
    spec = document.get("spec") or {}
    if document.get("kind") == "HTTPRoute" and "rules" in spec:
        yield Finding(name_of(document), "spec.rules", advice)
    if document.get("kind") != "InferenceService":
        return
    predictor = spec["predictor"]
    if "storageUri" in (predictor.get("model") or {}):
        yield Finding(name_of(document), "spec.predictor.model.storageUri", advice)
    if _STOP in (document["metadata"].get("annotations") or {}):
        yield Finding(name_of(document), f"metadata.annotations.{_STOP}", advice)
    if mode_of(document) == "Knative":
        for field in sorted({"canaryTrafficPercent", "containers"} & set(predictor)):
            yield Finding(name_of(document), f"spec.predictor.{field}", advice)


def _key(document: Json) -> tuple[str, str, str]:
    return str(document.get("apiVersion")), str(document.get("kind")), str(document["metadata"]["name"])


def _joined(below: Json, above: Json) -> Json:
    joined = dict(below)
    for name, value in above.items():
        joined[name] = (
            _joined(joined[name], value) if isinstance(value, dict) and isinstance(joined.get(name), dict) else value
        )
    return joined
