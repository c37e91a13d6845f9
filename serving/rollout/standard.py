"""Standard (no Knative): an InferenceService an arm, and an HTTPRoute of ours with the weights and the rules of the pins.

Traffic is taken away from an arm before its release changes, and given to it only when every pod of its Deployment has the
release and is ready. A user pinned to an arm that has no traffic goes to the champion. The challenger's pods run only while
there is a challenger.
"""

from __future__ import annotations

from typing import Any

from components.shared.errors import ContractError
from serving.rollout.plan import (
    CHALLENGER,
    CHAMPION,
    ArmRelease,
    Desired,
    Json,
    Patch,
    Plan,
    replace,
    set_stopped,
    storage_of,
)
from serving.rollout.readiness import deployment_has, route_is_accepted

ROUTE = "visual-search"
_NOT_ACCEPTED = "the gateway has not taken the last change of the HTTPRoute yet"
SERVICES = {CHAMPION: "visual-search-champion", CHALLENGER: "visual-search-challenger"}
PIN_HEADER = "x-visual-search-arm"


def plan_standard(
    desired: Desired, services: dict[str, Json], deployments: dict[str, Json | None], route: Json, namespace: str
) -> Plan:
    """Plan the next changes of the two InferenceServices and the route.

    Args:
        desired: state that the registry asks for.
        services: arm → InferenceService as it is.
        deployments: arm → Deployment that KServe makes of it; None: there is none.
        route: the HTTPRoute as it is.
        namespace: their namespace.
    """
    champion, challenger = desired.champion, desired.challenger
    _, serving = storage_of(services[CHAMPION])
    _, tried = storage_of(services[CHALLENGER])
    is_wanted = challenger is not None and tried == challenger.uri
    withdrawal = _weigh(route, 0, namespace)
    if withdrawal is not None and not is_wanted and tried != champion.uri:
        return Plan((withdrawal,))  # users get a release that is no arm any more: that goes first, ready or not
    if serving != champion.uri:
        return Plan((_serve(services[CHAMPION], champion, namespace),))
    if challenger is None:
        return _without_challenger(desired, services, deployments, route, namespace)
    if not is_wanted or set_stopped(services[CHALLENGER], False):
        if withdrawal is not None:
            return _withdraw(withdrawal, desired, deployments)
        if not route_is_accepted(route):
            return Plan(waiting=_NOT_ACCEPTED)
        return Plan((_serve(services[CHALLENGER], challenger, namespace),))
    patch = _weigh(route, desired.share, namespace, challenger)
    if patch is None:
        return Plan()
    is_raised = desired.share > _share_of(route)
    if is_raised and not deployment_has(deployments[CHALLENGER], challenger.uri):
        return Plan(waiting=f"not all of the challenger's pods have {challenger.release_id} and are ready yet")
    return Plan((patch,))


def _withdraw(withdrawal: Patch, desired: Desired, deployments: dict[str, Json | None]) -> Plan:
    """Take the traffic from the challenger's arm, which has the champion's release since a promotion.

    Those who have the new release already keep it until the champion's pods have it too.
    """
    if not deployment_has(deployments[CHAMPION], desired.champion.uri):
        release_id = desired.champion.release_id
        return Plan(waiting=f"not all of the champion's pods have {release_id} and are ready yet")
    return Plan((withdrawal,))


def _without_challenger(
    desired: Desired, services: dict[str, Json], deployments: dict[str, Json | None], route: Json, namespace: str
) -> Plan:
    """Plan the way to a champion alone, which has the right release in its InferenceService already."""
    withdrawal = _weigh(route, 0, namespace)
    if withdrawal is not None:
        return _withdraw(withdrawal, desired, deployments)
    stop = set_stopped(services[CHALLENGER], True)
    if stop and not route_is_accepted(route):
        return Plan(waiting=_NOT_ACCEPTED)
    return Plan(_change(services[CHALLENGER], stop, "stops, since there is no challenger", namespace))


def _serve(service: Json, release: ArmRelease, namespace: str) -> Patch:
    pointer, old = storage_of(service)
    operations = [*replace(pointer, old, release.uri), *set_stopped(service, False)]
    (patch,) = _change(service, operations, f"goes to {release.release_id}", namespace, release.release_id)
    return patch


def _change(service: Json, operations: list[Json], what: str, namespace: str, *releases: str) -> tuple[Patch, ...]:
    """Return the patch of an InferenceService, none if there is nothing to do."""
    name = str(service["metadata"]["name"])
    if not operations:
        return ()
    return (Patch("inferenceservice", name, namespace, tuple(operations), f"{name} {what}", releases),)


def _weigh(route: Json, share: int, namespace: str, challenger: ArmRelease | None = None) -> Patch | None:
    """Return the patch that gives the challenger a share, None where it has it."""
    backends = _backends(route)
    operations: list[Json] = []
    for number, rule in enumerate(route["spec"]["rules"]):
        pinned = _pinned_arm(rule)
        percent = share if pinned is None else 100 if pinned == CHALLENGER and share else 0
        wanted = [{**backends[CHAMPION], "weight": 100 - percent}, {**backends[CHALLENGER], "weight": percent}]
        old = rule.get("backendRefs") or []
        if _weights(old) != {CHAMPION: 100 - percent, CHALLENGER: percent}:
            operations += replace(f"/spec/rules/{number}/backendRefs", old, wanted)
    if not operations:
        return None
    name = str(route["metadata"]["name"])
    says = "all traffic goes to the champion" if share == 0 else f"the challenger gets {share} %"
    ids = () if challenger is None or share == 0 else (challenger.release_id,)
    return Patch("httproute", name, namespace, tuple(operations), says, ids)


def _share_of(route: Json) -> int:
    """Return the largest share of the challenger in the rules without a pin, in percent."""
    rules = [rule for rule in route["spec"]["rules"] if _pinned_arm(rule) is None]
    return max((_weights(rule.get("backendRefs") or []).get(CHALLENGER, 0) for rule in rules), default=0)


def _backends(route: Json) -> dict[str, dict[str, Any]]:
    """Return the route's own backend of each arm, as a template.

    Raises:
        ContractError: it lacks one.
    """
    found: dict[str, dict[str, Any]] = {}
    for rule in route.get("spec", {}).get("rules", []):
        for backend in rule.get("backendRefs") or []:
            if (arm := _arm_of(backend)) is not None:
                found.setdefault(arm, {key: value for key, value in backend.items() if key != "weight"})
    if missing := sorted(set(SERVICES) - set(found)):
        raise ContractError(
            f"HTTPRoute {route['metadata']['name']} has no backend of the {missing[0]}; apply manifests/first/standard"
        )
    return found


def _arm_of(backend: Json) -> str | None:
    name = str(backend.get("name", ""))
    return next((arm for arm, service in SERVICES.items() if name == service or name.startswith(f"{service}-")), None)


def _weights(backends: list[Json]) -> dict[str, int]:
    """Return the percentage of each arm; a backend without a weight has weight 1, as in Gateway API."""
    sums = {CHAMPION: 0, CHALLENGER: 0}
    for backend in backends:
        arm = _arm_of(backend)
        if arm is None:
            return {}
        sums[arm] += int(backend.get("weight", 1))
    total = sum(sums.values())
    return {arm: 100 * weight // total for arm, weight in sums.items()} if total and 100 % total == 0 else sums


def _pinned_arm(rule: Json) -> str | None:
    for match in rule.get("matches") or []:
        for header in match.get("headers") or []:
            if str(header.get("name", "")).lower() == PIN_HEADER:
                return str(header.get("value"))
    return None
