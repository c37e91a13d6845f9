"""Rules of the webhooks of KServe, Knative and Gateway API, and mistakes that these accept but that fail later.

Source: KServe's inference_service_validation.go, Knative's fieldmask.go and k8s_validation.go, Gateway API's CRD of HTTPRoute,
all as of August 2026; ports of the rules that concern our manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from manifests.checks.findings import Finding, Json, name_of
from manifests.checks.pods import ENCODER, TRANSFORMER, Container, Pod, mode_of, of_kind, pods_of

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SCHEMES = ("gs://", "s3://", "https://", "http://", "hdfs://", "webhdfs://", "hf://", "pvc://", "oci://", "file://")
_KNATIVE_REFUSES = ("terminationGracePeriodSeconds", "hostname", "subdomain", "activeDeadlineSeconds", "restartPolicy")
# Field of the pod → flag in Knative's ConfigMap config-features that permits it.
_KNATIVE_FLAGS = {
    "affinity": "affinity", "nodeSelector": "nodeselector", "tolerations": "tolerations",
    "topologySpreadConstraints": "topologyspreadconstraints", "securityContext": "securitycontext",
    "initContainers": "init-containers", "priorityClassName": "priorityclassname", "runtimeClassName": "runtimeclassname",
    "hostNetwork": "hostnetwork", "hostPID": "hostpid", "hostIPC": "hostipc",
}  # fmt: skip
ENABLED_FLAGS = frozenset({"topologyspreadconstraints"})  # enabled by manifests/cluster
_RESERVED_PORTS = (8012, 8013, 8022, 8112, 9090, 9091)
_RESERVED_VARIABLES = ("PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION")
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_|~]+")


def check_admission(documents: Sequence[Json]) -> Iterator[Finding]:
    """Find everything that an API server with KServe, Knative and Gateway API would refuse."""
    pods = {pod.thing: pod for pod in pods_of(documents)}
    runtimes = {document["metadata"]["name"]: document for document in of_kind(documents, "ServingRuntime")}
    for service in of_kind(documents, "InferenceService"):
        pod = pods[name_of(service)]
        yield from _kserve(service, pod, runtimes)
        if pod.mode == "Knative":
            yield from _knative(pod)
    for route in of_kind(documents, "HTTPRoute"):
        yield from _gateway(route, documents)


def _kserve(service: Json, pod: Pod, runtimes: dict[str, Json]) -> Iterator[Finding]:
    thing, predictor = name_of(service), service["spec"]["predictor"]
    name = service["metadata"]["name"]
    if not _NAME.fullmatch(name):
        yield Finding(thing, "metadata.name", "must begin with a letter and have letters, digits and - only")
    if len(f"{name}-predictor-{service['metadata'].get('namespace', 'default')}") > 63:
        yield Finding(
            thing, "metadata.name", "is too long: with -predictor and the namespace a host name has 63 characters"
        )
    if pod.mode not in ("Knative", "Standard"):
        yield Finding(thing, "metadata.annotations.serving.kserve.io/deploymentMode", "must be Knative or Standard")
    if "transformer" in service["spec"]:
        yield Finding(
            thing, "spec.transformer",
            "is split from the predictor by KServe's canary, so encoder and index would mix; put transformer-container "
            "beside the predictor",
        )  # fmt: skip
    model, names = predictor.get("model"), [container.name for container in pod.containers]
    if (model is None) == (ENCODER not in [each.get("name") for each in predictor.get("containers") or []]):
        yield Finding(thing, "spec.predictor", f"must have exactly one of `model` and a container named {ENCODER}")
    if TRANSFORMER not in names:
        yield Finding(thing, "spec.predictor.containers", f"has no {TRANSFORMER}, which KServe's Service leads to")
    if model is not None:
        yield from _model(thing, model, runtimes)
    yield from _scaling(thing, service, predictor, pod.mode)
    for container in pod.containers:
        variables = container.variables()
        if "PYTHONPATH" in variables:
            yield _at(container, "env", "sets PYTHONPATH, which KServe's webhook refuses")
        if container.name == TRANSFORMER and "STORAGE_URI" in variables:
            yield _at(container, "env", "sets STORAGE_URI, which only the predictor may set")


def _model(thing: str, model: Json, runtimes: dict[str, Json]) -> Iterator[Finding]:
    runtime = model.get("runtime")
    if not runtime:
        yield Finding(thing, "spec.predictor.model.runtime", "is missing, so KServe would choose one by itself")
    elif runtime not in runtimes:
        yield Finding(thing, "spec.predictor.model.runtime", f"names {runtime}, and no such ServingRuntime is here")
    else:
        formats = [each.get("name") for each in runtimes[runtime]["spec"].get("supportedModelFormats") or []]
        if model["modelFormat"].get("name") not in formats:
            yield Finding(
                thing,
                "spec.predictor.model.modelFormat.name",
                f"is not one of the runtime's: {', '.join(map(str, formats))}",
            )
    uri = str(model.get("storageUri", _SCHEMES[0]))  # if absent, the rollout writes it
    if not uri.startswith(_SCHEMES):
        yield Finding(
            thing, "spec.predictor.model.storageUri", f"is {uri!r}; KServe fetches from {', '.join(_SCHEMES)}"
        )


def _scaling(thing: str, service: Json, predictor: Json, mode: str) -> Iterator[Finding]:
    low, high = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    if low < 0 or high < 0 or (high and low > high):
        yield Finding(
            thing, "spec.predictor.minReplicas", f"is {low} and maxReplicas {high}; 0 ≤ min ≤ max (0: no limit)"
        )
    if predictor.get("containerConcurrency", 0) < 0:
        yield Finding(thing, "spec.predictor.containerConcurrency", "must not be negative")
    share = predictor.get("canaryTrafficPercent")
    if share is not None and not 0 <= share <= 100:
        yield Finding(thing, "spec.predictor.canaryTrafficPercent", f"is {share}; Knative takes 0 to 100")
    if share is not None and mode == "Standard":
        yield Finding(
            thing, "spec.predictor.canaryTrafficPercent", "is ignored in Standard mode; put weights into the HTTPRoute"
        )
    metric, target = predictor.get("scaleMetric"), predictor.get("scaleTarget")
    kind = service["metadata"].get("annotations", {}).get("serving.kserve.io/autoscalerClass", "hpa")
    if kind not in ("hpa", "external", "keda", "none"):
        yield Finding(
            thing, "metadata.annotations.serving.kserve.io/autoscalerClass", "must be hpa, external, keda or none"
        )
    allowed = ("concurrency", "rps") if mode == "Knative" else ("cpu", "memory")
    if metric is not None and metric not in allowed:
        yield Finding(thing, "spec.predictor.scaleMetric", f"is {metric}; in {mode} mode it is {' or '.join(allowed)}")
    if mode == "Standard" and target is not None and not 1 <= target <= 100:
        yield Finding(thing, "spec.predictor.scaleTarget", f"is {target}; a utilisation is 1 to 100 percent")
    if mode == "Knative" and "deploymentStrategy" in predictor:
        yield Finding(thing, "spec.predictor.deploymentStrategy", "is refused in Knative mode")
    if "logger" in predictor and not predictor["logger"].get("mode"):
        yield Finding(thing, "spec.predictor.logger.mode", "is missing")


def _knative(pod: Pod) -> Iterator[Finding]:
    for name in _KNATIVE_REFUSES:
        if name in pod.spec:
            yield Finding(pod.thing, f"{pod.path}.{name}", "is refused by Knative; `timeout` is a pod's time to end")
    for name, flag in _KNATIVE_FLAGS.items():
        if name in pod.spec and flag not in ENABLED_FLAGS:
            yield Finding(
                pod.thing, f"{pod.path}.{name}",
                f"is refused by Knative unless kubernetes.podspec-{flag} is enabled, which manifests/cluster does not do",
            )  # fmt: skip
    ports = [port for container in pod.containers for port in container.spec.get("ports") or []]
    if len(ports) != 1:
        yield Finding(
            pod.thing, f"{pod.path}.containers", f"declare {len(ports)} ports in all; Knative wants exactly one"
        )
    for container in pod.containers:
        yield from _knative_container(container)


def _knative_container(container: Container) -> Iterator[Finding]:
    spec, ports = container.spec, container.spec.get("ports") or []
    if "lifecycle" in spec:
        yield _at(container, "lifecycle", "is refused by Knative, which drains by itself")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in spec and not ports:
            yield _at(container, probe, "is refused by Knative on a container without a port")
    readiness = spec.get("readinessProbe")
    if readiness and ports and readiness.get("successThreshold", 1) < 1:
        yield _at(container, "readinessProbe.successThreshold", "must be at least 1")
    for port in ports:
        if port.get("name") not in (None, "", "http1", "h2c"):
            yield _at(container, "ports", f"names a port {port['name']}; Knative allows http1 and h2c")
        if port.get("containerPort") in _RESERVED_PORTS or "hostPort" in port:
            yield _at(container, "ports", f"has the port {port.get('containerPort')}, which Knative keeps for itself")
    for entry in spec.get("env") or []:
        if entry.get("name") in _RESERVED_VARIABLES:
            yield _at(container, "env", f"sets {entry['name']}, which Knative keeps for itself")
        if {"fieldRef", "resourceFieldRef"} & set(entry.get("valueFrom") or {}):
            yield _at(container, "env", f"takes {entry.get('name')} from a field, which Knative refuses by default")


def _gateway(route: Json, documents: Sequence[Json]) -> Iterator[Finding]:
    thing, spec = name_of(route), route["spec"]
    standard = [each for each in of_kind(documents, "InferenceService") if mode_of(each) == "Standard"]
    backends = {f"{each['metadata']['name']}-predictor": 80 for each in standard}  # KServe's Services
    for service in of_kind(documents, "Service"):
        backends[service["metadata"]["name"]] = service["spec"]["ports"][0]["port"]
    rules = spec.get("rules") or []
    if len(rules) > 16 or sum(len(rule.get("matches") or []) for rule in rules) > 128:
        yield Finding(thing, "spec.rules", "has more than 16 rules or 128 matches in all")
    for number, host in enumerate(spec.get("hostnames") or []):
        if not _HOST.fullmatch(host) or len(host) > 253:
            yield Finding(
                thing,
                f"spec.hostnames[{number}]",
                f"{host!r} is not a host name; leave out port and scheme, and use lower case",
            )
    for number, rule in enumerate(rules):
        yield from _rule(thing, f"spec.rules[{number}]", rule, backends)


def _rule(thing: str, path: str, rule: Json, backends: dict[str, int]) -> Iterator[Finding]:
    for number, match in enumerate(rule.get("matches") or []):
        where, way = f"{path}.matches[{number}]", match.get("path") or {}
        value = str(way.get("value", ""))
        if way.get("type") != "RegularExpression" and (not value.startswith("/") or "//" in value or "/../" in value):
            yield Finding(thing, f"{where}.path.value", f"is {value!r}; it must begin with / and have no // and no ..")
        names = [str(header.get("name", "")).lower() for header in match.get("headers") or []]
        if len(names) != len(set(names)):
            yield Finding(
                thing, f"{where}.headers", "name one header twice; Gateway API takes the first and ignores the other"
            )
        if bad := [name for name in names if not _HEADER.fullmatch(name)]:
            yield Finding(thing, f"{where}.headers", f"{bad[0]!r} is not a valid header name")
    for name, value in (rule.get("timeouts") or {}).items():
        if not _DURATION.fullmatch(str(value)):
            yield Finding(thing, f"{path}.timeouts.{name}", f"is {value!r}; write for example 30s")
    references: list[Any] = rule.get("backendRefs") or []
    if references and not sum(reference.get("weight", 1) for reference in references):
        yield Finding(thing, f"{path}.backendRefs", "have the weight 0 in all, so every request is answered 500")
    for number, reference in enumerate(references):
        where = f"{path}.backendRefs[{number}]"
        if reference.get("name") not in backends:
            yield Finding(
                thing, f"{where}.name", f"is {reference.get('name')!r}; the Services are {', '.join(sorted(backends))}"
            )
        elif reference.get("port") != backends[reference["name"]]:
            yield Finding(
                thing, f"{where}.port", f"is {reference.get('port')}; the Service has {backends[reference['name']]}"
            )


def _at(container: Container, field: str, sentence: str) -> Finding:
    return Finding(container.thing, f"{container.path}.{field}", sentence)
