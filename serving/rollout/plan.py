"""Plans of changes: wanted state + observed objects → patches, each printable as a kubectl command.

Pure. Every patch is a JSON patch (RFC 6902) that begins by testing what it was planned on, so one that is late does nothing.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any, Literal

from components.shared.errors import ContractError

Json = dict[str, Any]
Kind = Literal["inferenceservice", "httproute"]
CHAMPION, CHALLENGER = "champion", "challenger"
ARM_VARIABLE = "VISUAL_SEARCH_ARM"
PIN_VARIABLE = "VISUAL_SEARCH_PIN_VALUE"
_STOP = "serving.kserve.io/stop"  # annotation; KServe deletes the pods, and creates them again when it is "false"


@dataclass(frozen=True)
class ArmRelease:
    """Wanted state of an arm.

    Attributes:
        version: in the registry.
    """

    version: int
    release_id: str
    uri: str


@dataclass(frozen=True)
class Desired:
    """Wanted state, as read from the registry.

    Attributes:
        champion: release that serves all users.
        challenger: release for a share of the users; None: all users get the champion.
        share: share of the challenger, in percent.
        rolled_back: the last challenger was refused, so its traffic goes before anything else.
    """

    champion: ArmRelease
    challenger: ArmRelease | None = None
    share: int = 0
    rolled_back: bool = False


@dataclass(frozen=True)
class Patch:
    """One change of one object.

    Attributes:
        operations: JSON patch.
        says: description of the change.
        releases: releases that it sends traffic to; their digests are checked before.
    """

    kind: Kind
    name: str
    namespace: str
    operations: tuple[Json, ...]
    says: str
    releases: tuple[str, ...] = ()

    @property
    def body(self) -> str:
        """The patch as JSON, as it is sent and printed."""
        return json.dumps(list(self.operations), separators=(",", ":"))

    @property
    def command(self) -> str:
        """The kubectl command that does the same."""
        return f"kubectl patch {self.kind} {self.name} -n {self.namespace} --type=json -p {shlex.quote(self.body)}"


@dataclass(frozen=True)
class Plan:
    """The changes to apply now.

    Attributes:
        patches: in this order.
        waiting: for what, before there may be more to do; None: nothing.
    """

    patches: tuple[Patch, ...] = ()
    waiting: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the cluster is as it should be."""
        return not self.patches and self.waiting is None


def replace(path: str, old: Any, new: Any) -> list[Json]:
    """Return operations that set a value, if it is still `old`."""
    return [{"op": "test", "path": path, "value": old}, {"op": "replace", "path": path, "value": new}]


def storage_of(service: Json) -> tuple[str, str]:
    """Return the JSON pointer to the storage URI of an InferenceService, and the URI.

    Raises:
        ContractError: it has none.
    """
    predictor = service.get("spec", {}).get("predictor", {})
    if isinstance(model := predictor.get("model"), dict) and isinstance(model.get("storageUri"), str):
        return "/spec/predictor/model/storageUri", model["storageUri"]
    if (found := _variable(service, "STORAGE_URI")) is not None:
        return found
    raise ContractError(
        f"InferenceService {service.get('metadata', {}).get('name')} has no storageUri in its predictor; apply manifests/first"
    )


def set_variable(service: Json, name: str, value: str) -> list[Json]:
    """Return operations that set an environment variable wherever the service's containers have it."""
    operations: list[Json] = []
    for pointer, old in _variables(service, name):
        if old != value:
            operations += replace(pointer, old, value)
    return operations


def set_stopped(service: Json, stopped: bool) -> list[Json]:
    """Return operations that stop or start the pods of an InferenceService; none where its manifest has no such annotation."""
    now, wanted = (service["metadata"].get("annotations") or {}).get(_STOP), "true" if stopped else "false"
    if now is None or now == wanted:
        return []
    return replace("/metadata/annotations/" + _STOP.replace("/", "~1"), now, wanted)


def _variable(service: Json, name: str) -> tuple[str, str] | None:
    return next(iter(_variables(service, name)), None)


def _variables(service: Json, name: str) -> list[tuple[str, str]]:
    predictor = service.get("spec", {}).get("predictor", {})
    places: list[tuple[str, Any]] = [("/spec/predictor/model", predictor.get("model"))]
    places += [(f"/spec/predictor/containers/{i}", c) for i, c in enumerate(predictor.get("containers") or [])]
    return [
        (f"{place}/env/{number}/value", entry["value"])
        for place, container in places
        if isinstance(container, dict)
        for number, entry in enumerate(container.get("env") or [])
        if entry.get("name") == name and isinstance(entry.get("value"), str)
    ]
