"""The pods that documents lead to, for all kinds of objects, so that a policy is written once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from manifests.checks.findings import Json, name_of

TRANSFORMER, ENCODER = "transformer-container", "kserve-container"
MODEL_MOUNT = "/mnt/models"
_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True)
class Container:
    """One container and its place in a document.

    Attributes:
        thing: "Kind/name" of the document that has it.
        path: field in the document.
        spec: contents of that field.
        is_init: whether it runs before the others.
    """

    thing: str
    path: str
    spec: Json
    is_init: bool = False

    @property
    def name(self) -> str:
        """Name of the container."""
        return str(self.spec.get("name", "?"))

    def variables(self) -> dict[str, Any]:
        """Return its environment: name → literal value, or None if the value comes from elsewhere."""
        return {str(entry.get("name")): entry.get("value") for entry in self.spec.get("env") or []}


@dataclass(frozen=True)
class Pod:
    """A pod as the cluster will create it.

    Attributes:
        thing: "Kind/name" of the document that makes it.
        path: field of its spec in the document.
        spec: spec without the containers of the runtime.
        labels: labels of the pod.
        containers: all containers, including those of the runtime.
        volumes: name → volume.
        mode: "Knative", "Standard", or "" for pods that are not KServe's.
        runs_on: whether it should run permanently.
    """

    thing: str
    path: str
    spec: Json
    labels: dict[str, str]
    containers: tuple[Container, ...]
    volumes: dict[str, Json] = field(default_factory=dict)
    mode: str = ""
    runs_on: bool = True


def of_kind(documents: Iterable[Json], kind: str) -> Iterator[Json]:
    """Yield the documents of one kind."""
    return (document for document in documents if document.get("kind") == kind)


def mode_of(service: Json) -> str:
    """Return the mode in which KServe deploys an InferenceService; by default Knative."""
    named = service.get("metadata", {}).get("annotations", {}).get("serving.kserve.io/deploymentMode", "Knative")
    return {"Serverless": "Knative", "RawDeployment": "Standard"}.get(named, str(named))


def pods_of(documents: Sequence[Json]) -> Iterator[Pod]:
    """Yield every pod that the documents lead to."""
    runtimes = {document["metadata"]["name"]: document for document in of_kind(documents, "ServingRuntime")}
    for document in documents:
        kind = str(document.get("kind"))
        if kind in _TEMPLATES:
            yield _from_template(document, _TEMPLATES[kind])
        elif kind == "InferenceService":
            yield _from_service(document, runtimes)


def _from_template(document: Json, way: tuple[str, ...]) -> Pod:
    template: Json = document
    for step in way:
        template = template.get(step) or {}
    spec, path, thing = template.get("spec") or {}, ".".join([*way, "spec"]), name_of(document)
    return Pod(
        thing,
        path,
        spec,
        template.get("metadata", {}).get("labels", {}),
        tuple(_containers(thing, path, spec)),
        _volumes(spec) | {claim["metadata"]["name"]: claim for claim in _claims(document)},
        runs_on=document["kind"] in ("Deployment", "StatefulSet"),
    )


def _claims(document: Json) -> list[Json]:
    found: list[Json] = document.get("spec", {}).get("volumeClaimTemplates") or []
    return found


def _from_service(service: Json, runtimes: dict[str, Json]) -> Pod:
    spec, thing = service.get("spec", {}).get("predictor") or {}, name_of(service)
    runtime = runtimes.get(str((spec.get("model") or {}).get("runtime")), {})
    beside = runtime.get("spec", {})
    own = {container.name: container for container in _containers(thing, "spec.predictor", spec)}
    shared = [
        _merged(each, own.pop(each.name)) if each.name in own else each
        for each in _containers(name_of(runtime), "spec", beside)
    ]
    labels = {**(spec.get("labels") or {}), "serving.kserve.io/inferenceservice": service["metadata"]["name"]}
    return Pod(
        thing,
        "spec.predictor",
        spec,
        labels,
        (*own.values(), *shared),
        {"kserve-provision-location": {}} | _volumes(spec) | _volumes(beside),
        mode=mode_of(service),
    )


def _merged(runtime: Container, own: Container) -> Container:
    """Return a container as KServe merges it: variables by name, arguments one after the other, the service's own last.

    Source: KServe's MergeRuntimeContainers in pkg/controller/v1beta1/inferenceservice/utils/utils.go, version 0.20.
    """
    variables = [entry for entry in runtime.spec.get("env") or [] if entry.get("name") not in own.variables()]
    variables += own.spec.get("env") or []
    arguments = [*(runtime.spec.get("args") or []), *(own.spec.get("args") or [])]
    spec = {**runtime.spec, **own.spec, "env": variables, "args": arguments}
    return Container(runtime.thing, runtime.path, spec, runtime.is_init)


def _containers(thing: str, path: str, spec: Json) -> Iterator[Container]:
    for kind in ("initContainers", "containers"):
        for number, each in enumerate(spec.get(kind) or []):
            yield Container(thing, f"{path}.{kind}[{number}]", each, kind == "initContainers")


def _volumes(spec: Json) -> dict[str, Json]:
    return {str(volume.get("name")): volume for volume in spec.get("volumes") or []}
