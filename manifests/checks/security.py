"""The *restricted* Pod Security Standard for every container, and our additional rules: least rights, pinned images.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (restricted).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from manifests.checks.findings import Finding, Json, name_of
from manifests.checks.pods import Container, Pod, of_kind, pods_of

_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_PROFILES = ("RuntimeDefault", "Localhost")


def check_security(documents: Sequence[Json], *, production: bool = False) -> Iterator[Finding]:
    """Find rights that none of our processes needs.

    Placeholders of digests are faults only in `production`.
    """
    for pod in pods_of(documents):
        yield from _pod(pod)
        for container in pod.containers:
            yield from _container(container, pod)
            yield from _image(container, production)
    for document in of_kind(documents, "ClusterStorageContainer"):
        spec = document["spec"]["container"]
        alone = Container(name_of(document), "spec.container", spec, is_init=True)
        yield from _container(alone, Pod(alone.thing, "spec", {}, {}, (alone,)), writes_root=False)
    for document in of_kind(documents, "Namespace"):
        if document["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield Finding(name_of(document), "metadata.labels.pod-security.kubernetes.io/enforce", "must be restricted")
    for document in of_kind(documents, "ServiceAccount"):
        if document.get("automountServiceAccountToken") is not False:
            yield Finding(
                name_of(document), "automountServiceAccountToken", "must be false; mount a token where it is needed"
            )
    yield from _roles(documents)
    for document in of_kind(documents, "PipelineVersion"):
        yield from _tasks(document, production)


def _pod(pod: Pod) -> Iterator[Finding]:
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield Finding(
            pod.thing, f"{pod.path}.automountServiceAccountToken", "must be false; mount a token where it is needed"
        )
    if pod.spec.get("enableServiceLinks") is not False:
        yield Finding(
            pod.thing,
            f"{pod.path}.enableServiceLinks",
            "must be false; Kubernetes would set variables with our prefix for every Service of the namespace",
        )
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield Finding(pod.thing, f"{pod.path}.{name}", "is forbidden by the restricted profile")
    if (pod.spec.get("securityContext") or {}).get("sysctls"):
        yield Finding(pod.thing, f"{pod.path}.securityContext.sysctls", "are not for us to set")
    for name, volume in pod.volumes.items():
        if bad := set(volume) - _VOLUMES - {"name", "metadata", "spec", "apiVersion", "kind"}:
            yield Finding(
                pod.thing,
                f"{pod.path}.volumes[{name}]",
                f"is a {', '.join(sorted(bad))}, which the restricted profile forbids",
            )


def _container(container: Container, pod: Pod, *, writes_root: bool = False) -> Iterator[Finding]:
    own, shared = container.spec.get("securityContext") or {}, pod.spec.get("securityContext") or {}
    both = {**shared, **own}

    def fault(field: str, sentence: str) -> Finding:
        return Finding(container.thing, f"{container.path}.securityContext.{field}", sentence)

    if both.get("runAsNonRoot") is not True:
        yield fault("runAsNonRoot", "must be true")
    if not both.get("runAsUser"):
        yield fault("runAsUser", "must be a user that is not root, such as 1000")
    if own.get("allowPrivilegeEscalation") is not False:
        yield fault("allowPrivilegeEscalation", "must be false")
    if own.get("privileged"):
        yield fault("privileged", "is forbidden by the restricted profile")
    capabilities = own.get("capabilities") or {}
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield fault("capabilities", "must drop ALL and add none")
    if (both.get("seccompProfile") or {}).get("type") not in _PROFILES:
        yield fault("seccompProfile.type", "must be RuntimeDefault")
    if own.get("readOnlyRootFilesystem") is not True and not writes_root:
        yield fault("readOnlyRootFilesystem", "must be true; mount an emptyDir where it writes")
    for port in container.spec.get("ports") or []:
        if port.get("hostPort"):
            yield Finding(
                container.thing, f"{container.path}.ports", "have a hostPort, which the restricted profile forbids"
            )


def _image(container: Container, production: bool) -> Iterator[Finding]:
    if fault := image_fault(str(container.spec.get("image", "")), production):
        yield Finding(container.thing, f"{container.path}.image", fault)
    words = [str(word) for word in container.spec.get("args") or []]
    for option, image in pairwise(words):
        if option == "--image" and (fault := image_fault(image, production)):  # the image of the tasks of a run
            yield Finding(container.thing, f"{container.path}.args", f"--image {fault}")


def image_fault(image: str, production: bool) -> str | None:
    """Return the fault in the reference of a container image, or None."""
    if not _DIGEST.fullmatch(image):
        return f"is {image or 'missing'!r}; pin it by its digest: NAME@sha256:…"
    if ":latest@" in image:
        return "says latest; leave the tag out, the digest says all"
    if production and image.endswith("@sha256:" + "0" * 64):
        return "has the placeholder of a digest; put that of your build into components/images/kustomization.yaml"
    return None


def _roles(documents: Sequence[Json]) -> Iterator[Finding]:
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        for document in of_kind(documents, kind):
            yield Finding(name_of(document), "kind", "gives rights in the whole cluster; a Role is enough")
    for document in of_kind(documents, "Role"):
        for number, rule in enumerate(document.get("rules") or []):
            where = f"rules[{number}]"
            words = [word for field in ("apiGroups", "resources", "verbs") for word in rule.get(field) or []]
            if "*" in words:
                yield Finding(name_of(document), where, "has a *; name what is needed")
            if {"secrets", "pods/exec", "serviceaccounts/token"} & set(rule.get("resources") or []):
                yield Finding(name_of(document), f"{where}.resources", "let in to secrets or into pods")
            if not rule.get("resourceNames") and set(rule.get("verbs") or []) - {"list", "watch"}:
                yield Finding(name_of(document), f"{where}.resourceNames", "are missing; name the objects")


def _tasks(document: Json, production: bool) -> Iterator[Finding]:
    executors = document["spec"].get("pipelineSpec", {}).get("deploymentSpec", {}).get("executors", {})
    platform = document["spec"].get("platformSpec", {}).get("platforms", {}).get("kubernetes", {})
    contexts = platform.get("deploymentSpec", {}).get("executors", {})
    images = {str(executor.get("container", {}).get("image")) for executor in executors.values()}
    if len(images) > 1:
        yield Finding(
            name_of(document),
            "spec.pipelineSpec.deploymentSpec.executors",
            f"run in {len(images)} images; all tasks belong to one build: list components/pipeline-images after the images",
        )
    for name, executor in executors.items():
        path = f"spec.pipelineSpec.deploymentSpec.executors.{name}"
        if fault := image_fault(str(executor.get("container", {}).get("image", "")), production):
            yield Finding(name_of(document), f"{path}.container.image", fault)
        if not contexts.get(name, {}).get("securityContext", {}).get("runAsNonRoot"):
            yield Finding(name_of(document), f"{path}.securityContext.runAsNonRoot", "must be true")
