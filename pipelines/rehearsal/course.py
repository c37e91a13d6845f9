"""The course of a rehearsal: users come, statistics judge, decisions are made, and the arms follow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.registration.registry import Registry
from components.shared.errors import VisualSearchError
from components.shared.files.atomic import whole_file
from components.shared.files.tables import SERVICE_SCHEMA
from monitoring.experiments.interleaving import Preference
from monitoring.experiments.parameters import ExperimentParameters
from pipelines.rehearsal.local import LocalCluster
from pipelines.rehearsal.report import RehearsalDecision
from pipelines.rehearsal.traffic import RehearsalPlan, Traffic
from pipelines.rehearsal.verdicts import act, judge, judge_lists
from serving.rollout import decisions
from serving.rollout.ladder import Action, Verdict, next_action
from serving.rollout.reconciler import Reconciler

_FOLLOW_SECONDS = 180.0


@dataclass
class Course:
    """One rehearsal under way."""

    plan: RehearsalPlan
    registry: Registry
    cluster: LocalCluster
    reconciler: Reconciler
    traffic: Traffic
    events: str  # address of the event store
    service: Path  # file of the router's counters
    parameters: ExperimentParameters
    disturb: Callable[[], None] | None  # the scenario's fault, once the challenger has its first traffic
    say: Callable[[str], None]  # prints progress
    preference: Preference | None = None  # of users who saw lists of both arms

    def follow(self) -> None:
        """Reconcile until the arms are what the registry says.

        Raises:
            VisualSearchError: it takes too long.
        """
        deadline = time.monotonic() + _FOLLOW_SECONDS
        while (waiting := self.reconciler.reconcile().waiting) is not None:
            if time.monotonic() > deadline:
                raise VisualSearchError(f"the arms do not reach the planned state: {waiting}; check their logs")
            time.sleep(0.2)

    def interleave(self) -> RehearsalDecision:
        """Answer every search in one list of both arms, before any user is split, until users prefer one.

        A challenger that loses there, or breaks, is rolled back unseen.
        """
        plan, tally, router = self.plan, self.traffic.tally, self.cluster.router
        rollout, verdict = decisions.running(self.registry), None
        router.is_interleaving = True
        try:
            while verdict is None or (verdict.verdict == "continue" and tally.queries < plan.interleaved):
                if verdict is not None:
                    self._disturb()
                self.traffic.send(min(plan.batch, plan.interleaved - tally.queries))
                service, lists = self._count(), list(router.interleaved)
                verdict, found = judge_lists(self.events, service, self.parameters, rollout, lists)
                self.preference = found or self.preference
                self._tell("both", verdict)
        finally:
            router.is_interleaving = False
        self.disturb = None
        back = verdict.verdict == "roll_back"
        action = Action("roll_back" if back else "step", 0 if back else plan.ladder[0], " ".join(verdict.reasons))
        act(self.registry, action, "rehearsal")
        self.follow()
        return RehearsalDecision(tally.queries, rollout.share, action)

    def split(self) -> list[RehearsalDecision]:
        """Send users to the arms and decide until the challenger is champion or gone, or the queries are used up."""
        plan, tally = self.plan, self.traffic.tally
        hold, made = timedelta(seconds=plan.hold_seconds), list[RehearsalDecision]()
        while tally.queries < plan.queries:
            self.traffic.send(min(plan.batch, plan.queries - tally.queries))
            rollout = decisions.running(self.registry)
            verdict = judge(self.events, self._count(), self.parameters, rollout)
            action = next_action(rollout, verdict, now=datetime.now(UTC), ladder=plan.ladder, hold=hold)
            self._tell(f"{rollout.share} %", verdict)
            if action is not None:
                made.append(RehearsalDecision(tally.queries, rollout.share, action))
                act(self.registry, action, "rehearsal")
                self.follow()
                self.say(f"{'':>14} → {made[-1].deed}")
                if action.kind != "step":
                    self.traffic.send(min(plan.batch, 60))  # later users must reach the right arm, too
                    break
            if action is None or rollout.share >= plan.ladder[0]:
                self._disturb()
        return made

    def _disturb(self) -> None:
        if self.disturb is not None:
            self.disturb()
        self.disturb = None

    def _tell(self, share: str, verdict: Verdict) -> None:
        self.say(f"{self.traffic.tally.queries:>6} queries  {share:>5}  {verdict.verdict:<10} {verdict.reasons[0]}")

    def _count(self) -> str:
        """Write the router's counters; return the file."""
        rows = [vars(window) for window in self.cluster.router.finished_windows()]
        with whole_file(self.service) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, SERVICE_SCHEMA), temporary)
        return str(self.service)
