"""The needs of an overlay, read from its own rendered objects, so that a new component brings its needs along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from manifests.checks.findings import Json, name_of
from manifests.checks.pods import Pod, mode_of, of_kind, pods_of

# Groups that Kubernetes itself serves; all others come from installed software.
_BUILT_IN = ("apps", "autoscaling", "batch", "policy")
_BUILT_IN_SUFFIX, _GATEWAY_GROUP = ".k8s.io", "gateway.networking.k8s.io"
GPU = "nvidia.com/gpu"
_STARTERS = ("submit", "schedule")  # subcommands of our command line
# Secrets that are mounted whole: the file that the process reads, which the mount does not name.
MOUNTED_KEYS = {"visual-search-postgresql": "password", "visual-search-object-store": "s3.json"}


@dataclass(frozen=True)
class SecretNeed:
    """A Secret that pods wait for.

    Attributes:
        keys: keys without which a container does not start.
    """

    name: str
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Needs:
    """Everything that must exist before an overlay is applied.

    Attributes:
        namespace: namespace of its objects.
        modes: "Knative" and "Standard", as used by its InferenceServices.
        kinds: custom kinds per group and version.
        secrets: Secrets that pods or service accounts name and that the overlay itself does not fill.
        shared_claims: claims for a volume of many nodes: name → storage class, "" for the default.
        gateways: (namespace, name) of each Gateway to which a route is attached.
        has_autoscaler: whether it scales by CPU use (HPA), which KServe does in Standard mode.
        has_policies: whether it has network policies.
        needs_gpu: whether a container requests a GPU.
        starts_pipelines: whether a pod starts runs of Kubeflow Pipelines.
        made: "Kind/name" of each object that the overlay makes in its namespace.
    """

    namespace: str
    modes: frozenset[str] = frozenset()
    kinds: dict[str, set[str]] = field(default_factory=dict)
    secrets: tuple[SecretNeed, ...] = ()
    shared_claims: dict[str, str] = field(default_factory=dict)
    gateways: tuple[tuple[str, str], ...] = ()
    has_autoscaler: bool = False
    has_policies: bool = False
    needs_gpu: bool = False
    starts_pipelines: bool = False
    made: frozenset[str] = frozenset()


def needs_of(documents: Sequence[Json]) -> Needs:
    """Return the needs of rendered documents."""
    namespace = next(
        (str(d["metadata"]["namespace"]) for d in documents if d["metadata"].get("namespace")), "visual-search"
    )
    services = list(of_kind(documents, "InferenceService"))
    modes = frozenset(mode_of(service) for service in services)
    kinds: dict[str, set[str]] = {}
    for document in documents:
        version = str(document.get("apiVersion", ""))
        group = version.partition("/")[0] if "/" in version else ""
        if group and not _is_built_in(group):
            kinds.setdefault(version, set()).add(str(document["kind"]))
    pods = list(pods_of(documents))
    return Needs(
        namespace=namespace,
        modes=modes,
        kinds=kinds,
        secrets=tuple(_secrets(documents, pods)),
        shared_claims=dict(_shared_claims(documents)),
        gateways=tuple(_gateways(documents, namespace)),
        has_autoscaler="Standard" in modes or any(of_kind(documents, "HorizontalPodAutoscaler")),
        has_policies=any(of_kind(documents, "NetworkPolicy")),
        needs_gpu=any(GPU in (c.spec.get("resources") or {}).get("limits", {}) for pod in pods for c in pod.containers),
        starts_pipelines=any((c.spec.get("args") or [""])[0] in _STARTERS for pod in pods for c in pod.containers),
        made=frozenset(name_of(document) for document in documents),
    )


def _is_built_in(group: str) -> bool:
    return group in _BUILT_IN or (group.endswith(_BUILT_IN_SUFFIX) and group != _GATEWAY_GROUP)


def _secrets(documents: Sequence[Json], pods: Sequence[Pod]) -> Iterator[SecretNeed]:
    """Yield each Secret with the keys that are not optional; one that the overlay makes counts only for its keys."""
    made = {document["metadata"]["name"] for document in of_kind(documents, "Secret")}
    keys: dict[str, set[str]] = {}
    for account in of_kind(documents, "ServiceAccount"):
        for each in account.get("secrets") or []:
            keys.setdefault(each["name"], set())
    for name, key in (pair for pod in pods for pair in _keys_of(pod)):
        keys.setdefault(name, set()).update({key} if key else ())
    for name, needed in sorted(keys.items()):
        if needed or name not in made:
            yield SecretNeed(name, frozenset(needed))


def _keys_of(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield (Secret, key) of each reference that is not optional; the key is "" for all of them."""
    for container in pod.containers:
        for entry in container.spec.get("env") or []:
            reference = (entry.get("valueFrom") or {}).get("secretKeyRef") or {}
            if reference and not reference.get("optional"):
                yield str(reference["name"]), str(reference["key"])
        for entry in container.spec.get("envFrom") or []:
            reference = entry.get("secretRef") or {}
            if reference and not reference.get("optional"):
                yield str(reference["name"]), ""
    for volume in pod.volumes.values():
        reference = volume.get("secret") or {}
        if reference and not reference.get("optional"):
            name = str(reference["secretName"])
            for item in reference.get("items") or [{"key": MOUNTED_KEYS.get(name, "")}]:
                yield name, str(item["key"])


def _shared_claims(documents: Sequence[Json]) -> Iterator[tuple[str, str]]:
    for claim in of_kind(documents, "PersistentVolumeClaim"):
        if "ReadWriteMany" in (claim["spec"].get("accessModes") or []):
            yield claim["metadata"]["name"], str(claim["spec"].get("storageClassName") or "")


def _gateways(documents: Sequence[Json], namespace: str) -> Iterator[tuple[str, str]]:
    for route in of_kind(documents, "HTTPRoute"):
        for parent in route["spec"].get("parentRefs") or []:
            yield str(parent.get("namespace", namespace)), str(parent["name"])
