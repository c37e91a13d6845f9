"""Knative: one InferenceService; its newest revision is the challenger, the one that last had all traffic the champion.

KServe keeps `canaryTrafficPercent` for the newest revision and the rest for the last one that had everything; it cannot be told
which release that is. So everything goes through states in which that is certain, and an annotation, written with each change
of the template, names the champion behind it. A rollback takes the traffic away at once (0), puts the champion's URI back, and
drops the canary when that is ready.
"""

from __future__ import annotations

from serving.rollout.plan import (
    ARM_VARIABLE,
    CHALLENGER,
    CHAMPION,
    PIN_VARIABLE,
    ArmRelease,
    Desired,
    Json,
    Patch,
    Plan,
    replace,
    set_variable,
    storage_of,
)
from serving.rollout.readiness import newest_ready_revision, newest_revision_has, traffic_of

SERVICE = "visual-search"
_CANARY = "/spec/predictor/canaryTrafficPercent"
_BEHIND = "visual-search/champion"  # annotation
_TAGS = {CHAMPION: "prev", CHALLENGER: "latest"}  # Knative's tags of the two revisions, which pin a user to one


def plan_knative(desired: Desired, service: Json, child: Json | None, namespace: str) -> Plan:
    """Plan the next changes of the one InferenceService.

    Args:
        desired: state that the registry asks for.
        service: the InferenceService as it is.
        child: the Knative Service that KServe makes of it; None: there is none.
        namespace: their namespace.
    """
    return _Knative(service, child, namespace).plan(desired)


class _Knative:
    def __init__(self, service: Json, child: Json | None, namespace: str) -> None:
        self._service, self._child, self._namespace = service, child, namespace
        self._name = str(service["metadata"]["name"])
        self._pointer, self._uri = storage_of(service)
        self._canary: int | None = service["spec"]["predictor"].get("canaryTrafficPercent")

    def plan(self, desired: Desired) -> Plan:
        if self._uri == desired.champion.uri:
            return self._from_champion(desired)
        challenger = desired.challenger
        if challenger is not None and self._canary is not None and self._is_canary(challenger, desired.champion):
            if self._canary == desired.share:
                return Plan()
            says = f"{challenger.release_id} gets {desired.share} % instead of {self._canary} %"
            return self._patch(says, replace(_CANARY, self._canary, desired.share), challenger)
        if self._canary:
            return self._patch(f"{self._uri} loses its {self._canary} %", replace(_CANARY, self._canary, 0))
        if share := self._share_of_newest():
            # At 100 % KServe counts it as rolled out, and goes back to the one before only once it has seen the 0.
            return Plan(waiting=f"{self._uri} still has {share} %")
        says = f"the service goes to {desired.champion.release_id}"
        return self._patch(says, self._serve(desired.champion, CHAMPION, desired.champion), desired.champion)

    def _is_canary(self, challenger: ArmRelease, champion: ArmRelease) -> bool:
        return self._uri == challenger.uri and not self._labels(CHALLENGER, champion)

    def _from_champion(self, desired: Desired) -> Plan:
        champion, challenger = desired.champion, desired.challenger
        if self._canary is not None:
            # Without a canary the newest revision that is ready gets everything, and that may be another release's.
            if not newest_revision_has(self._child, champion.uri):
                return Plan(waiting=f"{champion.release_id} is not ready yet as the newest revision")
            labels = self._labels(CHAMPION, champion)
            says = f"{champion.release_id} gets all traffic"
            remove: list[Json] = [
                {"op": "test", "path": _CANARY, "value": self._canary},
                {"op": "remove", "path": _CANARY},
            ]
            return self._patch(says, [*remove, *labels], champion)
        if labels := self._labels(CHAMPION, champion):
            return self._patch(f"{champion.release_id} is called champion", labels, champion)
        if challenger is None:
            return Plan()
        if not self._has_everything(champion):
            return Plan(
                waiting=f"{champion.release_id} does not have all traffic yet, so there is nothing to go back to"
            )
        add: list[Json] = [{"op": "add", "path": _CANARY, "value": desired.share}]
        says = f"{challenger.release_id} gets {desired.share} %"
        return self._patch(says, [*self._serve(challenger, CHALLENGER, champion), *add], challenger)

    def _serve(self, release: ArmRelease, arm: str, champion: ArmRelease) -> list[Json]:
        return [*replace(self._pointer, self._uri, release.uri), *self._labels(arm, champion)]

    def _labels(self, arm: str, champion: ArmRelease) -> list[Json]:
        """Return what is to be changed for the newest revision to know its arm, and which champion it stands beside."""
        operations = [
            *set_variable(self._service, ARM_VARIABLE, arm),
            *set_variable(self._service, PIN_VARIABLE, _TAGS[arm]),
        ]
        annotations = self._service["metadata"].get("annotations")
        if annotations is None:
            operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        pointer = "/metadata/annotations/" + _BEHIND.replace("/", "~1")
        old = (annotations or {}).get(_BEHIND)
        if old is None:
            operations.append({"op": "add", "path": pointer, "value": champion.release_id})
        elif old != champion.release_id:
            operations += replace(pointer, old, champion.release_id)
        return operations

    def _share_of_newest(self) -> int:
        """Return the share of the newest revision as Knative routes it now, in percent."""
        if self._child is None or self._canary is None:
            return 0
        newest = self._child.get("status", {}).get("latestCreatedRevisionName")
        return traffic_of(self._child).get(str(newest), 0)

    def _has_everything(self, release: ArmRelease) -> bool:
        """Whether the newest revision has a release and all traffic, and KServe has noted that it is the one to go back to."""
        if self._child is None or not newest_revision_has(self._child, release.uri):
            return False
        newest = newest_ready_revision(self._child)
        noted = self._service.get("status", {}).get("components", {}).get("predictor", {})
        return traffic_of(self._child) == {newest: 100} and noted.get("latestRolledoutRevision") == newest

    def _patch(self, says: str, operations: list[Json], *releases: ArmRelease) -> Plan:
        ids = tuple(release.release_id for release in releases)
        return Plan((Patch("inferenceservice", self._name, self._namespace, tuple(operations), says, ids),))
