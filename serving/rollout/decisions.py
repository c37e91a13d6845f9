"""Decisions about a rollout, by operators or statistics, written to the registry; the cluster follows by the reconciler.

Each is safe to be killed anywhere: a rollout that was being promoted is finished by the next call (`settle`).
"""

from __future__ import annotations

from components.registration.registry import CHALLENGER, CHAMPION, Registry
from components.shared.errors import ParameterError
from serving.rollout.state import Rollout, begin, change, read_rollout

LARGEST_SHARE = 99  # at 100 a cluster would take the challenger for what it goes back to


def start(registry: Registry, version: str | int, *, share: int, who: str, why: str) -> Rollout:
    """Make a version the challenger and give it a share of the traffic.

    Raises:
        ParameterError: no such version, no champion, it is the champion, it failed its gate, or another rollout runs.
    """
    _check_share(share)
    release, champion = registry.get(version), registry.get(CHAMPION)
    before = settle(registry)
    if before is not None and before.is_open:
        raise ParameterError(
            f"version {before.challenger} is being rolled out already ({before.share} %); promote it or roll it back first"
        )
    if release.version == champion.version:
        raise ParameterError(f"version {release.version} is the champion; there is nothing to roll out")
    if not release.gate_passed:
        raise ParameterError(f"version {release.version} did not pass the quality gate; it must not serve users")
    if CHALLENGER not in release.aliases:
        registry.promote(release.version, CHALLENGER, who=who, why=why)
    return begin(registry, before, challenger=release.version, champion=champion.version, share=share, who=who, why=why)


def step(registry: Registry, share: int, *, who: str, why: str) -> Rollout:
    """Give the challenger another share.

    Raises:
        ParameterError: nothing is being rolled out, or it has this share.
    """
    _check_share(share)
    before = running(registry)
    if before.share == share:
        raise ParameterError(f"version {before.challenger} has {share} % already")
    return change(registry, before, state="running", share=share, who=who, why=why)


def promote(registry: Registry, *, who: str, why: str) -> Rollout:
    """Make the challenger champion.

    Raises:
        ParameterError: nothing is being rolled out.
        ContractError: the release is damaged in the registry; it stays challenger.
    """
    return _finish(registry, change(registry, running(registry), state="promoting", who=who, why=why), who)


def roll_back(registry: Registry, *, who: str, why: str) -> Rollout:
    """Take the challenger's traffic away.

    Raises:
        ParameterError: nothing is being rolled out.
    """
    return change(registry, running(registry), state="rolled_back", share=0, who=who, why=why)


def _check_share(share: int) -> None:
    if not 0 <= share <= LARGEST_SHARE:
        raise ParameterError(f"a share is 0 to {LARGEST_SHARE} %, not {share}; all of the traffic is `rollout promote`")


def running(registry: Registry) -> Rollout:
    """Return the rollout that runs.

    Raises:
        ParameterError: there is none.
    """
    rollout = settle(registry)
    if rollout is None or rollout.state != "running":
        raise ParameterError("nothing is being rolled out; start it with `visual-search rollout start VERSION`")
    return rollout


def settle(registry: Registry, who: str = "rollout") -> Rollout | None:
    """Finish what a killed process began, and take note of aliases that were moved by hand; returns the state then.

    A champion that is neither the old one nor the challenger ends the rollout: what it was compared with is gone.

    Raises:
        StaleTagError: another process has changed the rollout concurrently.
        ContractError: the release being promoted is damaged in the registry.
    """
    rollout = read_rollout(registry)
    if rollout is None or not rollout.is_open:
        return rollout
    if rollout.state == "promoting":
        return _finish(registry, rollout, who)
    champion = registry.find(CHAMPION)
    version = None if champion is None else champion.version
    if version == rollout.challenger:
        return change(registry, rollout, state="done", share=100, who=who, why="it was made champion in the registry")
    if version != rollout.champion:
        why = f"version {version} has become champion, so the comparison with {rollout.champion} is void"
        return change(registry, rollout, state="rolled_back", share=0, who=who, why=why)
    return rollout


def _finish(registry: Registry, rollout: Rollout, who: str) -> Rollout:
    champion = registry.find(CHAMPION)
    if champion is None or champion.version != rollout.challenger:
        registry.promote(rollout.challenger, CHAMPION, who=who, why=rollout.why)
    return change(registry, rollout, state="done", share=100, who=who, why=rollout.why)
