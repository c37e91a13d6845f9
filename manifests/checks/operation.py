"""Checks for smooth operation: probes, requests, time to stop, settings, pinned releases."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from components.shared.settings import PREFIX
from manifests.checks.findings import Finding, Json, name_of
from manifests.checks.network import selects
from manifests.checks.pods import ENCODER, MODEL_MOUNT, TRANSFORMER, Container, Pod, of_kind, pods_of
from serving.settings import ServingSettings

_PINNED = re.compile(r".+/r-[0-9a-f]{16,64}/?")
_ALIASES = ("champion", "challenger", "latest", "current", "main")
_PARTING_SECONDS = 2.0
_LAME, _GRACE = f"{PREFIX}LAME_DUCK_SECONDS", f"{PREFIX}GRACE_SECONDS"
_CRON_FIELDS = 5


def check_operation(documents: Sequence[Json], known_settings: Collection[str]) -> Iterator[Finding]:
    """Find causes for the service to fail, to start wrongly, or to stop before its requests are answered.

    `known_settings` are the environment variables with our prefix that a process reads.
    """
    pods = list(pods_of(documents))
    budgets = list(of_kind(documents, "PodDisruptionBudget"))
    for pod in pods:
        for container in pod.containers:
            yield from _container(container, pod)
            yield from _settings(container, known_settings)
        if pod.mode:
            yield from _arm(pod, budgets)
    for service in of_kind(documents, "InferenceService"):
        yield from _release(service)
    for document in of_kind(documents, "CronJob"):
        yield from _schedule(document)
    for budget in budgets:
        spec = budget["spec"]
        if not any(selects(spec.get("selector"), pod) for pod in pods):
            yield Finding(name_of(budget), "spec.selector", "selects no pod")
        if spec.get("maxUnavailable") in (0, "0%"):
            yield Finding(name_of(budget), "spec.maxUnavailable", "is 0, so no node can ever be drained")


def _container(container: Container, pod: Pod) -> Iterator[Finding]:
    spec = container.spec
    resources = spec.get("resources") or {}
    for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if name not in (resources.get(kind) or {}):
            yield _at(container, f"resources.{kind}.{name}", "is missing")
    mounts = {mount.get("mountPath"): mount.get("name") for mount in spec.get("volumeMounts") or []}
    if "/tmp" not in mounts:  # noqa: S108
        yield _at(container, "volumeMounts", "lack an emptyDir at /tmp: the root is read-only")
    for path, name in mounts.items():
        if name not in pod.volumes:
            yield _at(container, "volumeMounts", f"mount {name} at {path}, and the pod has no such volume")
    set_ = [str(entry.get("name")) for entry in spec.get("env") or []]
    for name in sorted({name for name in set_ if set_.count(name) > 1}):
        yield _at(container, "env", f"sets {name} twice")
    listens = bool(spec.get("ports")) or (container.name == ENCODER and pod.mode == "Standard")
    if listens and pod.runs_on and not container.is_init:
        for probe in ("readinessProbe", "livenessProbe"):
            if probe not in spec:
                yield _at(container, probe, "is missing")
    liveness, readiness = spec.get("livenessProbe") or {}, spec.get("readinessProbe") or {}
    path = (liveness.get("httpGet") or {}).get("path", "")
    if path.endswith("/ready") or (liveness and liveness.get("httpGet") == readiness.get("httpGet") and path):
        yield _at(
            container, "livenessProbe.httpGet.path", "asks for readiness, so an encoder away would restart every pod"
        )


def _settings(container: Container, known: Collection[str]) -> Iterator[Finding]:
    for name in container.variables():
        if name.startswith(PREFIX) and name not in known:
            yield _at(container, "env", f"sets {name}, which no process knows; it would not start")


def _arm(pod: Pod, budgets: Sequence[Json]) -> Iterator[Finding]:
    named = {container.name: container for container in pod.containers}
    if not any(selects(budget["spec"].get("selector"), pod) for budget in budgets):
        yield Finding(pod.thing, "metadata.name", "has no PodDisruptionBudget that selects its pods")
    if not pod.spec.get("topologySpreadConstraints"):
        yield Finding(pod.thing, f"{pod.path}.topologySpreadConstraints", "are missing, so one node may have all pods")
    for container in (named.get(ENCODER), named.get(TRANSFORMER)):
        if container is not None:
            yield from _process(container)
    if ENCODER in named and TRANSFORMER in named:
        yield from _neighbours(named[ENCODER], named[TRANSFORMER])
        yield from _stopping(pod, named[ENCODER], named[TRANSFORMER])


def _process(container: Container) -> Iterator[Finding]:
    if _triton(container):
        return
    flags = _flags(container)
    if flags.get("workers") != "1":
        yield _at(container, "args", "must say --workers=1: KServe adds another number by itself")
    location = container.variables().get(f"{PREFIX}LOCATION", MODEL_MOUNT)
    if location != MODEL_MOUNT:
        yield _at(container, "env", f"sets {PREFIX}LOCATION to {location}; KServe mounts the release at {MODEL_MOUNT}")


def _neighbours(encoder: Container, transformer: Container) -> Iterator[Finding]:
    asked, flags = _flags(transformer), _flags(encoder)
    port = asked.get("predictor_host", "").rpartition(":")[2]
    listening = flags.get("grpc_port") or _triton_port(encoder)
    if port != listening:
        yield _at(
            transformer, "args", f"ask the encoder at port {port or '(none)'}; it listens at {listening or '(none)'}"
        )
    if not asked.get("predictor_host", "").startswith(("127.0.0.1:", "localhost:")):
        yield _at(transformer, "args", "ask an encoder outside the pod, which may have another release")
    if not _triton(encoder) and asked.get("model_name") != flags.get("model_name"):
        yield _at(transformer, "args", "name another model than the encoder does")
    trusted = transformer.variables().get(f"{PREFIX}ENCODER_SPACE") == "trusted"
    if trusted != _triton(encoder):
        yield _at(transformer, "env", f"{PREFIX}ENCODER_SPACE must be trusted with Triton, and only with Triton")


def _stopping(pod: Pod, encoder: Container, transformer: Container) -> Iterator[Finding]:
    ends = {}
    for container in (encoder, transformer):
        lame, grace = _seconds(container, _LAME, "lame_duck_seconds"), _seconds(container, _GRACE, "grace_seconds")
        ends[container.name] = _sleep(container) + lame + grace
        if container is encoder and not _triton(encoder):
            needed = _sleep(transformer) + _seconds(transformer, _LAME, "lame_duck_seconds")
            needed += _seconds(transformer, _GRACE, "grace_seconds")
            if _sleep(encoder) + lame < needed:
                yield _at(
                    encoder, "env",
                    f"{_LAME} is {lame:g}, but the transformer may ask it for {needed:g} s after the pod is told to stop",
                )  # fmt: skip
    longest = max(ends.values()) + _PARTING_SECONDS
    name = "timeout" if pod.mode == "Knative" else "terminationGracePeriodSeconds"
    given = pod.spec.get(name, 300 if pod.mode == "Knative" else 30)
    if given < longest:
        yield Finding(pod.thing, f"{pod.path}.{name}", f"is {given}; preStop, lame duck and grace take {longest:g} s")


def _release(service: Json) -> Iterator[Finding]:
    model = service["spec"]["predictor"].get("model") or {}
    uri = str(model.get("storageUri", ""))
    if "storageUri" in model and (not _PINNED.fullmatch(uri) or any(f"/{alias}" in uri for alias in _ALIASES)):
        yield Finding(
            name_of(service),
            "spec.predictor.model.storageUri",
            f"is {uri!r}; end it with a release_id (…/r-…/), never an alias",
        )


def _schedule(document: Json) -> Iterator[Finding]:
    spec, thing = document["spec"], name_of(document)
    if len(str(spec.get("schedule", "")).split()) != _CRON_FIELDS:
        yield Finding(thing, "spec.schedule", f"is {spec.get('schedule')!r}; Kubernetes has five fields")
    if spec.get("concurrencyPolicy") != "Forbid":
        yield Finding(
            thing, "spec.concurrencyPolicy", "must be Forbid: a run that takes long must not meet the next one"
        )
    if not (spec.get("jobTemplate", {}).get("spec") or {}).get("activeDeadlineSeconds"):
        yield Finding(
            thing, "spec.jobTemplate.spec.activeDeadlineSeconds", "is missing, so a run that hangs holds up all others"
        )


def _flags(container: Container) -> dict[str, str]:
    words = [str(word) for word in container.spec.get("args") or []]
    return dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)


def _triton(container: Container) -> bool:
    return "tritonserver" in " ".join(map(str, container.spec.get("args") or []))


def _triton_port(container: Container) -> str:
    found = re.search(r"--grpc-port=(\d+)", " ".join(map(str, container.spec.get("args") or [])))
    return found[1] if found else ""


def _seconds(container: Container, variable: str, setting: str) -> float:
    if _triton(container):
        return 25.0 if variable == _GRACE else 0.0
    return float(container.variables().get(variable) or ServingSettings.model_fields[setting].default)


def _sleep(container: Container) -> float:
    command = (((container.spec.get("lifecycle") or {}).get("preStop") or {}).get("exec") or {}).get("command") or []
    return float(command[1]) if len(command) == 2 and command[0] == "sleep" else 0.0


def _at(container: Container, field: str, sentence: str) -> Finding:
    return Finding(container.thing, f"{container.path}.{field}", sentence)
