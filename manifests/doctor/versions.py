"""Checks whether Kubernetes, KServe, Knative and Gateway API are installed, new enough, and serve the needed kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from manifests.checks.findings import Json
from manifests.doctor.api import ClusterReader, NotReadableError, text_of
from manifests.doctor.needs import Needs
from manifests.doctor.report import Check, missing, ok, unknown

Version = tuple[int, int]


class Source(NamedTuple):
    """The software that provides a group of kinds.

    Attributes:
        name: name of the software.
        install: advice if it is missing.
    """

    name: str
    install: str


KUBERNETES, KSERVE, KNATIVE, GATEWAY_API = (
    (1, 30),
    (0, 18),
    (1, 18),
    (1, 2),
)  # oldest versions that the manifests support
_SOURCES = {
    "serving.kserve.io": Source("KServe", "install KServe 0.18 or later with its CRDs"),
    "gateway.networking.k8s.io": Source("Gateway API", "install the standard channel of Gateway API 1.2 or later"),
    "monitoring.coreos.com": Source(
        "Prometheus operator", "install the Prometheus operator, or leave components/prometheus out"
    ),
    "pipelines.kubeflow.org": Source(
        "Kubeflow Pipelines",
        "install Kubeflow Pipelines in Kubernetes-native mode, or leave the pipelines out of your overlay and submit them",
    ),
}
_KSERVE_LABEL = "control-plane=kserve-controller-manager"
_KSERVE_NAMESPACES = ("kserve", "kubeflow")


def check_versions(cluster: ClusterReader, needs: Needs) -> Iterator[Check]:
    """Check each version that the modes and kinds of an overlay depend on."""
    found = text_of(cluster.read("/version"), "gitVersion")
    yield _compared("Kubernetes", found, KUBERNETES, "upgrade the cluster")
    if needs.modes:
        yield _kserve(cluster)
    if "Knative" in needs.modes:
        yield _knative(cluster)
    for group_version in sorted(needs.kinds):
        if group_version.startswith("gateway.networking.k8s.io/"):
            yield _gateway_api(cluster)
    yield from _kinds(cluster, needs)


def _kinds(cluster: ClusterReader, needs: Needs) -> Iterator[Check]:
    for group_version, wanted in sorted(needs.kinds.items()):
        source = _SOURCES.get(group_version.partition("/")[0], Source(group_version, "install what serves this kind"))
        try:
            served = cluster.kinds(group_version)
        except NotReadableError as error:
            yield unknown(group_version, f"{error.reason}; ask the administrator whether {source.name} is installed")
            continue
        absent = sorted(wanted - (served or set()))
        if absent:
            yield missing(
                group_version, f"the cluster does not serve {', '.join(absent)} of {source.name}; {source.install}"
            )
        else:
            yield ok(group_version, f"serves {', '.join(sorted(wanted))}")


def _kserve(cluster: ClusterReader) -> Check:
    try:
        if cluster.kinds("serving.kserve.io/v1beta1") is None:
            return missing("KServe", f"is not installed; {_SOURCES['serving.kserve.io'].install}")
        images = [_image(each) for each in _kserve_controllers(cluster)]
    except NotReadableError as error:
        return unknown(
            "KServe", f"{error.reason}; ask the administrator whether its version is {_text(KSERVE)} or later"
        )
    tags = [image.rpartition(":")[2] for image in images if ":" in image.rpartition("/")[2]]
    if not tags:
        return unknown(
            "KServe",
            f"its controller's image names no version ({', '.join(images) or 'no controller found'}); "
            f"{_text(KSERVE)} or later is needed",
        )
    return _compared("KServe", tags[0], KSERVE, "upgrade KServe")


def _kserve_controllers(cluster: ClusterReader) -> list[Json]:
    """Return the controller's Deployment: from any namespace, or from the usual ones if the user may not list them all."""
    try:
        return cluster.items("/apis/apps/v1/deployments", label=_KSERVE_LABEL)
    except NotReadableError as refused:
        found = []
        for namespace in _KSERVE_NAMESPACES:
            try:
                each = cluster.read(f"/apis/apps/v1/namespaces/{namespace}/deployments/kserve-controller-manager")
            except NotReadableError:
                continue
            found += [each] if each else []
        if not found:
            raise refused
        return found


def _image(deployment: Json) -> str:
    """Return the controller's image without its digest."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    chosen = next((each for each in containers if each["name"] == "manager"), containers[0])
    return str(chosen["image"]).partition("@")[0]


def _knative(cluster: ClusterReader) -> Check:
    try:
        definition = cluster.definition("services.serving.knative.dev")
        if definition is None and cluster.kinds("serving.knative.dev/v1") is None:
            return missing("Knative", f"is not installed; install Knative Serving {_text(KNATIVE)} or later")
    except NotReadableError as error:
        return unknown(
            "Knative", f"{error.reason}; ask the administrator whether its version is {_text(KNATIVE)} or later"
        )
    version = text_of(definition, "metadata", "labels", "app.kubernetes.io/version")
    return _compared("Knative", version, KNATIVE, "upgrade Knative Serving")


def _gateway_api(cluster: ClusterReader) -> Check:
    try:
        definition = cluster.definition("httproutes.gateway.networking.k8s.io")
    except NotReadableError as error:
        return unknown(
            "Gateway API", f"{error.reason}; ask the administrator whether its version is {_text(GATEWAY_API)} or later"
        )
    if definition is None:
        return missing("Gateway API", f"is not installed; {_SOURCES['gateway.networking.k8s.io'].install}")
    version = text_of(definition, "metadata", "annotations", "gateway.networking.k8s.io/bundle-version")
    return _compared("Gateway API", version, GATEWAY_API, "upgrade the CRDs of Gateway API")


def _compared(name: str, found: str, oldest: Version, advice: str) -> Check:
    numbers = re.match(r"v?(\d+)\.(\d+)", found)
    if numbers is None:
        return unknown(name, f"states the version {found!r}, which has no number; {_text(oldest)} or later is needed")
    if (int(numbers[1]), int(numbers[2])) < oldest:
        return missing(name, f"is {found}, and {_text(oldest)} or later is needed; {advice}")
    return ok(name, found)


def _text(version: Version) -> str:
    return ".".join(map(str, version))
