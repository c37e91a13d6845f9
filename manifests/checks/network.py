"""Checks of network policies: every pod is denied all traffic first, and each exception names its peers and ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from manifests.checks.findings import Finding, Json, name_of
from manifests.checks.pods import Pod, of_kind, pods_of

_INSIDE = tuple(
    ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
)

_STORE_PORTS = {80, 443, 8333, 9000}


def check_network(documents: Sequence[Json]) -> Iterator[Finding]:
    """Find pods whose traffic no policy denies, and exceptions that allow more than is needed."""
    policies = list(of_kind(documents, "NetworkPolicy"))
    for direction in ("Ingress", "Egress"):
        if not any(_denies_all(policy, direction) for policy in policies):
            for pod in pods_of(documents):
                yield Finding(
                    pod.thing,
                    f"{pod.path} (labels)",
                    f"no NetworkPolicy denies every pod all {direction} before others allow some",
                )
    for pod in pods_of(documents):
        uri = str((pod.spec.get("model") or {}).get("storageUri", "left to the rollout"))
        if (
            pod.mode
            and not uri.startswith(("pvc://", "file://"))
            and not any(_leads_out(policy, pod) for policy in policies)
        ):
            yield Finding(
                pod.thing, f"{pod.path}.model.storageUri", f"is {uri}, and no NetworkPolicy lets the pod out to a store"
            )
    for policy in policies:
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for number, rule in enumerate(policy["spec"].get(direction) or []):
                yield from _rule(name_of(policy), f"spec.{direction}[{number}]", rule, side)
        for direction in ("ingress", "egress"):
            if direction in policy["spec"] and direction.capitalize() not in (policy["spec"].get("policyTypes") or []):
                yield Finding(
                    name_of(policy), "spec.policyTypes", f"do not name {direction.capitalize()}, which it has rules of"
                )


def selects(selector: Json | None, pod: Pod) -> bool:
    """Whether a label selector selects a pod."""
    selector = selector or {}
    if any(pod.labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or []:
        label, values = pod.labels.get(each["key"]), each.get("values") or []
        holds = {
            "In": label in values,
            "NotIn": label not in values,
            "Exists": label is not None,
            "DoesNotExist": label is None,
        }
        if not holds.get(each["operator"], False):
            return False
    return True


def _denies_all(policy: Json, direction: str) -> bool:
    spec = policy["spec"]
    return not spec.get("podSelector") and direction in _types(policy) and not spec.get(direction.lower())


def _leads_out(policy: Json, pod: Pod) -> bool:
    ports = [port.get("port") for rule in policy["spec"].get("egress") or [] for port in rule.get("ports") or []]
    return selects(policy["spec"].get("podSelector"), pod) and bool(set(ports) & _STORE_PORTS)


def _types(policy: Json) -> list[str]:
    return list(policy["spec"].get("policyTypes") or ["Ingress"])


def _rule(thing: str, path: str, rule: Json, side: str) -> Iterator[Finding]:
    if not rule.get(side):
        yield Finding(thing, f"{path}.{side}", "is missing, so every peer is meant; name the peers")
    if not rule.get("ports"):
        yield Finding(thing, f"{path}.ports", "are missing, so every port is meant; name the ports")
    for number, peer in enumerate(rule.get(side) or []):
        where = f"{path}.{side}[{number}]"
        if block := peer.get("ipBlock"):
            yield from _block(thing, where, block)
        elif not any(
            (peer.get(kind) or {}).get(part)
            for kind in ("podSelector", "namespaceSelector")
            for part in ("matchLabels", "matchExpressions")
        ):
            yield Finding(thing, where, "selects every pod or namespace; say which")


def _block(thing: str, where: str, block: Json) -> Iterator[Finding]:
    try:
        network = ipaddress.ip_network(block["cidr"])
        left_out = [ipaddress.ip_network(each) for each in block.get("except") or []]
    except (KeyError, ValueError) as error:
        yield Finding(thing, f"{where}.ipBlock", f"is not a block of addresses: {error}")
        return
    if network.prefixlen == 0:
        missing = [str(each) for each in _INSIDE if each.version == network.version and each not in left_out]
        if missing:
            yield Finding(
                thing, f"{where}.ipBlock.except", f"lacks {', '.join(missing)}: addresses inside the cluster, metadata"
            )
