"""Current state: aliases and state of the rollout, the cluster, and pending changes."""

from __future__ import annotations

from typing import Any

from components.registration.registry import CHALLENGER, CHAMPION, Registry
from components.shared.errors import VisualSearchError
from serving.rollout.cluster import Target
from serving.rollout.reconciler import desired_of
from serving.rollout.state import read_rollout
from serving.rollout.store import ReleaseStore

_DECISIONS = 5


def status(registry: Registry, store: ReleaseStore, target: Target | None) -> dict[str, Any]:
    """Return everything as data; what cannot be reached is named under "problem" instead of failing.

    Args:
        registry: MLflow.
        store: for the addresses of releases.
        target: the cluster; None: there is none to look at.
    """
    rollout = read_rollout(registry)
    found: dict[str, Any] = {"rollout": None if rollout is None else rollout.model_dump(mode="json")}
    for alias in (CHAMPION, CHALLENGER):
        release = registry.find(alias)
        found[alias] = None if release is None else {"version": release.version, "release_id": release.release_id}
    found["decisions"] = [
        {"at": e.at.isoformat(timespec="seconds"), "what": e.move.alias, "version": e.move.version, "who": e.move.who,
         "why": e.move.why, "took_effect": e.took_effect}
        for e in registry.history()[-_DECISIONS:]
    ]  # fmt: skip
    if target is None:
        return found
    try:
        plan = target.plan(desired_of(registry, rollout, store))
        found["to_do"] = [patch.says for patch in plan.patches]
        found["waiting"] = plan.waiting
    except VisualSearchError as error:
        found["problem"] = str(error)
    return found


def as_text(found: dict[str, Any]) -> str:
    """Format it as text for a terminal."""
    lines = []
    for alias in (CHAMPION, CHALLENGER):
        release = found[alias]
        text = "none" if release is None else f"version {release['version']}  {release['release_id']}"
        lines.append(f"{alias:<11} {text}")
    rollout = found["rollout"]
    if rollout is None:
        lines.append("rollout     none so far")
    else:
        lines.append(
            f"rollout     version {rollout['challenger']} against {rollout['champion']}: {rollout['state']}, "
            f"{rollout['share']} % since {rollout['since']}"
        )
        lines.append(f"            {rollout['why']}")
    if "problem" in found:
        lines.append(f"cluster     {found['problem']}")
    elif "to_do" in found:
        todo = [*found["to_do"], *([f"waiting: {found['waiting']}"] if found["waiting"] else [])]
        lines.append(f"cluster     {'; '.join(todo) or 'as it should be'}")
    lines += [
        f"{entry['at']}  {entry['what']} → {entry['version']}  {entry['who']}: {entry['why']}"
        + ("" if entry["took_effect"] else "  (did not take effect)")
        for entry in found["decisions"]
    ]
    return "\n".join(lines)
