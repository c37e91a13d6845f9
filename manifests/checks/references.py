"""Checks of names by which one object refers to another: the other one must exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from manifests.checks.findings import Finding, Json, name_of
from manifests.checks.network import selects
from manifests.checks.pods import of_kind, pods_of

# Made by hand or by the cluster, as manifests/README.md describes.
SECRETS = ("visual-search-credentials", "visual-search-postgresql", "visual-search-object-store")
_STORE, _ENDPOINT = "object-store", "serving.kserve.io/s3-endpoint"
_OF_THE_CLUSTER = ("kube-root-ca.crt",)
_CLUSTER_ROLES = ("kubeflow-pipelines-edit",)  # from a multi-user Kubeflow Pipelines


def check_references(documents: Sequence[Json]) -> Iterator[Finding]:
    """Find names of missing objects, and objects that appear twice."""
    for key, count in Counter((d.get("apiVersion"), d.get("kind"), d["metadata"]["name"]) for d in documents).items():
        if count > 1:
            yield Finding(f"{key[1]}/{key[2]}", "metadata.name", f"is there {count} times")
    names = {
        kind: {document["metadata"]["name"] for document in of_kind(documents, kind)}
        for kind in ("ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Role")
    }
    yield from _accounts(documents)
    pods = list(pods_of(documents))
    for pod in pods:
        account = pod.spec.get("serviceAccountName")
        if account is not None and account not in names["ServiceAccount"]:
            yield Finding(
                pod.thing, f"{pod.path}.serviceAccountName", f"is {account}, and no such ServiceAccount is here"
            )
        for name, volume in pod.volumes.items():
            yield from _volume(pod.thing, f"{pod.path}.volumes[{name}]", volume, names)
        for container in pod.containers:
            for entry in container.spec.get("env") or []:
                secret = ((entry.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name")
                if secret is not None and secret not in SECRETS:
                    yield Finding(
                        container.thing,
                        f"{container.path}.env",
                        f"names the Secret {secret}; ours are {', '.join(SECRETS)}",
                    )
    for document in documents:
        if document.get("kind") in ("Deployment", "StatefulSet"):
            yield from _selector(document)
        if document.get("kind") == "Service" and not any(
            selects({"matchLabels": document["spec"].get("selector")}, pod) for pod in pods
        ):
            yield Finding(name_of(document), "spec.selector", "selects no pod")
        if document.get("kind") == "RoleBinding":
            role = document["roleRef"]
            if role["name"] not in (_CLUSTER_ROLES if role["kind"] == "ClusterRole" else names["Role"]):
                yield Finding(name_of(document), "roleRef.name", "names a Role that is not here")
            for subject in document.get("subjects") or []:
                if subject.get("name") not in names["ServiceAccount"]:
                    yield Finding(
                        name_of(document), "subjects", f"names {subject.get('name')}, and no such account is here"
                    )


def _accounts(documents: Sequence[Json]) -> Iterator[Finding]:
    secrets = {document["metadata"]["name"]: document for document in of_kind(documents, "Secret")}
    inside = [each for each in of_kind(documents, "Service") if each["metadata"]["name"] == _STORE]
    for account in of_kind(documents, "ServiceAccount"):
        for each in account.get("secrets") or []:
            secret = secrets.get(each["name"])
            if secret is None:
                yield Finding(
                    name_of(account),
                    "secrets",
                    f"name {each['name']}, which is not here; KServe admits no pod of an account whose Secret is missing",
                )
            elif inside and _ENDPOINT not in (secret["metadata"].get("annotations") or {}):
                yield Finding(
                    name_of(secret),
                    f"metadata.annotations.{_ENDPOINT}",
                    f"is missing; KServe would look for releases at AWS, not at {_STORE}",
                )


def _volume(thing: str, where: str, volume: Json, names: dict[str, set[str]]) -> Iterator[Finding]:
    config = (volume.get("configMap") or {}).get("name")
    if config is not None and config not in names["ConfigMap"] and config not in _OF_THE_CLUSTER:
        yield Finding(thing, where, f"names the ConfigMap {config}, which is not here")
    claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
    if claim is not None and claim not in names["PersistentVolumeClaim"]:
        yield Finding(thing, where, f"names the PersistentVolumeClaim {claim}, which is not here")
    secret = (volume.get("secret") or {}).get("secretName")
    if secret is not None and secret not in SECRETS:
        yield Finding(thing, where, f"names the Secret {secret}; ours are {', '.join(SECRETS)}")


def _selector(document: Json) -> Iterator[Finding]:
    wanted = document["spec"]["selector"].get("matchLabels") or {}
    labels = document["spec"]["template"].get("metadata", {}).get("labels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        yield Finding(name_of(document), "spec.selector.matchLabels", "do not select the pods of the template")
