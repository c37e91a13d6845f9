"""Checks of the preparations before an overlay: namespace, Secrets, the administrator's part, the Gateway."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.doctor.api import ClusterReader, NotReadableError, text_of
from manifests.doctor.needs import Needs, SecretNeed
from manifests.doctor.report import Check, missing, ok, unknown

KNATIVE_FEATURES = ("kubernetes.podspec-topologyspreadconstraints", "tag-header-based-routing")  # manifests/cluster
_CLUSTER_PART = "kubectl apply --server-side --field-manager=visual-search -k manifests/cluster"
_NAMESPACE_PART = "kubectl apply --server-side -f manifests/base/Namespace.yaml"


def check_preparation(cluster: ClusterReader, needs: Needs) -> Iterator[Check]:
    """Check the namespace, each Secret, the administrator's part and each Gateway."""
    yield _namespace(cluster, needs.namespace)
    for need in needs.secrets:
        yield _secret(cluster, needs.namespace, need)
    if needs.modes:
        yield _storage_container(cluster)
    if "Knative" in needs.modes:
        yield _features(cluster)
    for namespace, name in needs.gateways:
        yield _gateway(cluster, namespace, name)


def _namespace(cluster: ClusterReader, name: str) -> Check:
    subject = f"Namespace/{name}"
    try:
        found = cluster.read(f"/api/v1/namespaces/{name}")
    except NotReadableError as error:
        return unknown(subject, f"{error.reason}; if it does not exist yet: {_NAMESPACE_PART}")
    return ok(subject, "exists") if found else missing(subject, f"does not exist; {_NAMESPACE_PART}")


def _secret(cluster: ClusterReader, namespace: str, need: SecretNeed) -> Check:
    subject = f"Secret/{need.name}"
    create = f"kubectl -n {namespace} create secret generic {need.name}"
    create += "".join(f" --from-file={key}" for key in sorted(need.keys))
    try:
        found = cluster.read(f"/api/v1/namespaces/{namespace}/secrets/{need.name}")
    except NotReadableError as error:
        return unknown(subject, f"{error.reason}; if it does not exist yet: {create}")
    if found is None:
        return missing(subject, f"does not exist, and pods wait for it; {create}")
    absent = sorted(need.keys - set(found.get("data") or {}))
    if absent:
        return missing(subject, f"has no key {', '.join(absent)}, and containers wait for it; add the key")
    return ok(subject, f"exists with {', '.join(sorted(need.keys))}" if need.keys else "exists")


def _storage_container(cluster: ClusterReader) -> Check:
    subject = "ClusterStorageContainer/default"
    try:
        found = cluster.read("/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/default")
    except NotReadableError as error:
        return unknown(subject, f"{error.reason}; the administrator applies it once: {_CLUSTER_PART}")
    if text_of(found, "spec", "container", "securityContext", "runAsNonRoot") != "True":
        return missing(
            subject,
            "gives the init container that downloads releases no security context, so the restricted namespace refuses "
            f"every pod; {_CLUSTER_PART}",
        )
    return ok(subject, "downloads releases as a user without rights")


def _features(cluster: ClusterReader) -> Check:
    subject = "ConfigMap/config-features"
    try:
        found = cluster.read("/api/v1/namespaces/knative-serving/configmaps/config-features")
    except NotReadableError as error:
        return unknown(subject, f"{error.reason}; the administrator applies it once: {_CLUSTER_PART}")
    data = (found or {}).get("data") or {}
    off = [name for name in KNATIVE_FEATURES if str(data.get(name, "")).lower() != "enabled"]
    if off:
        return missing(subject, f"does not enable {', '.join(off)} in Knative; {_CLUSTER_PART}")
    return ok(subject, "enables what the pods use")


def _gateway(cluster: ClusterReader, namespace: str, name: str) -> Check:
    subject = f"Gateway/{namespace}/{name}"
    advice = "create it, or patch parentRefs of the HTTPRoute in your overlay to name yours"
    try:
        found = cluster.read(f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/gateways/{name}")
    except NotReadableError as error:
        return unknown(subject, f"{error.reason}; ask the administrator for the name of the Gateway")
    if found is None:
        return missing(subject, f"does not exist; {advice}")
    conditions = {each["type"]: each["status"] for each in (found.get("status") or {}).get("conditions") or []}
    if conditions.get("Programmed") == "True":
        return ok(subject, "is programmed")
    return missing(
        subject, f"is not programmed by any controller ({conditions or 'no status'}); check its GatewayClass"
    )
