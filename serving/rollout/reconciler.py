"""Brings the cluster to the registry's state. It compares states and keeps no history, so it can be killed at any point."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from components.registration.registry import CHAMPION, Registry
from components.registration.versions import RegisteredRelease
from components.shared.errors import NotReadyError, VisualSearchError
from serving.rollout.cluster import ChangedMeanwhileError, Target
from serving.rollout.decisions import settle
from serving.rollout.plan import ArmRelease, Desired, Patch, Plan
from serving.rollout.state import Rollout, read_rollout
from serving.rollout.store import ReleaseStore

_MOST_PASSES = 20


@dataclass
class Outcome:
    """Result of one reconciliation.

    Attributes:
        patches: applied, or with `dry_run` to be applied.
        waiting: for what; None: the cluster is as it should be (unless `dry_run`).
    """

    patches: list[Patch] = field(default_factory=list)
    waiting: str | None = None


class Reconciler:
    """Brings a target to what the registry wants.

    Args:
        registry: holds the desired state.
        store: place from which the target loads releases.
        target: the cluster.
        cache: folder for releases on their way from the registry to the store; None: a temporary one.
    """

    def __init__(self, registry: Registry, store: ReleaseStore, target: Target, cache: Path | None = None) -> None:
        self._registry, self._store, self._target, self._cache = registry, store, target, cache

    def reconcile(self, *, dry_run: bool = False) -> Outcome:
        """Reconcile until there is nothing to do, or something to wait for.

        Args:
            dry_run: write nothing, neither to the registry nor to the store nor to the cluster; what a first pass would
                apply is given.

        Raises:
            NotReadyError: there is no champion, or the objects are not in the cluster.
            ContractError: a release is damaged in the registry; no traffic goes to it.
            ResourceError: registry, store or cluster cannot be reached.
        """
        outcome = Outcome()
        for _ in range(_MOST_PASSES):
            rollout = read_rollout(self._registry) if dry_run else settle(self._registry)
            plan = self._target.plan(desired_of(self._registry, rollout, self._store))
            if dry_run or not plan.patches:
                outcome.patches += plan.patches
                outcome.waiting = plan.waiting
                return outcome
            outcome.waiting = self._apply(plan, outcome)
        return outcome

    def run(self, every_seconds: float, stopping: threading.Event, report: Callable[[Outcome | str], None]) -> None:
        """Reconcile repeatedly until stopped; a failure is reported and retried at the next interval."""
        while True:
            try:
                report(self.reconcile())
            except VisualSearchError as error:
                report(str(error))
            if stopping.wait(every_seconds):
                return

    def _apply(self, plan: Plan, outcome: Outcome) -> str | None:
        """Apply a plan; returns what stood in its way, if it was late: then the next pass looks again."""
        for release_id in dict.fromkeys(release for patch in plan.patches for release in patch.releases):
            self._provide(release_id)
        try:
            for patch in plan.patches:
                self._target.apply(patch)
                outcome.patches.append(patch)
        except ChangedMeanwhileError as error:
            return str(error)
        return None

    def _provide(self, release_id: str) -> None:
        """Make sure that every byte of a release is in the store, before traffic is sent to it."""
        if self._store.has(release_id):
            return
        with tempfile.TemporaryDirectory(prefix="visual-search-release-") as folder:
            self._store.publish(self._registry.fetch(release_id, self._cache or Path(folder)))


def desired_of(registry: Registry, rollout: Rollout | None, store: ReleaseStore) -> Desired:
    """Return what aliases and state together want.

    Raises:
        NotReadyError: there is no champion.
    """
    releases = registry.releases()
    champion = next((release for release in releases if CHAMPION in release.aliases), None)
    if champion is None:
        raise NotReadyError(f"{registry.model_name} has no champion; register a release, or promote one")
    tried = None
    if rollout is not None and rollout.is_open and rollout.challenger != champion.version:
        tried = next((release for release in releases if release.version == rollout.challenger), None)
    return Desired(
        champion=_arm(champion, store),
        challenger=None if tried is None or tried.release_id == champion.release_id else _arm(tried, store),
        share=0 if tried is None or rollout is None else rollout.share,
        rolled_back=rollout is not None and rollout.state == "rolled_back",
    )


def _arm(release: RegisteredRelease, store: ReleaseStore) -> ArmRelease:
    return ArmRelease(release.version, release.release_id, store.uri(release.release_id))
