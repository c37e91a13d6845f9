"""Result of a rehearsal, and its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitoring.experiments.interleaving import Preference
    from pipelines.rehearsal.traffic import Tally
    from serving.rollout.ladder import Action


@dataclass(frozen=True)
class RehearsalDecision:
    """A decision of the rehearsal: after how many queries, at which share of the challenger, and the action."""

    queries: int
    share: int
    action: Action

    @property
    def deed(self) -> str:
        """The action in words."""
        return self.action.kind.replace("_", " ") + (f" to {self.action.share} %" if self.action.kind == "step" else "")


@dataclass
class RehearsalReport:
    """Result of a rehearsal.

    Attributes:
        outcome: state of the rollout at the end.
        champion: release that is champion at the end.
        expected: release that should be served.
        tally: counts of the answers that users got.
        decisions: in order.
        page: the report, if there was enough for one.
        preference: arm whose results users preferred in interleaved lists, if there were enough.
    """

    scenario: str
    outcome: str
    champion: str
    expected: str
    tally: Tally
    decisions: list[RehearsalDecision] = field(default_factory=list)
    page: Path | None = None
    preference: Preference | None = None

    @property
    def passed(self) -> bool:
        """Whether it was decided, for the right release, and every answer was right."""
        decided = self.outcome in ("done", "rolled_back")
        return decided and self.champion == self.expected and self.tally.wrong_count == 0


def preference_in_words(found: Preference) -> str:
    """Say whose results users clicked."""
    return (
        f"In {found.searches:,} lists of both ({found.users:,} users), the challenger's results were clicked more "
        f"in {found.wins:,}, less in {found.losses:,}: preference {found.value:+.1%}, between {found.low:+.1%} "
        f"and {found.high:+.1%} (always-valid interval)."
    )


def as_text(report: RehearsalReport) -> str:
    """Format the outcome as text for a terminal."""
    tally = report.tally
    lines = [
        f"scenario {report.scenario}: {report.outcome.replace('_', ' ')}",
        "",
        "arm         release             answers  with a click",
    ]
    for arm, release in sorted(tally.answered):
        count, clicked = tally.answered[arm, release], tally.clicked[arm, release]
        lines.append(f"{arm:<11} {release:<19} {count:>7}  {clicked / count:>11.1%}")
    lines += ["", "decided after  share  what"]
    for decision in report.decisions:
        lines.append(f"{decision.queries:>13}  {decision.share:>3} %  {decision.deed}: {decision.action.why}")
    failed = ", ".join(f"{count} of the {arm}" for arm, count in sorted(tally.failed.items())) or "none"
    lines += [
        "",
        f"queries               {tally.queries}",
        f"without an answer     {failed}",
        f"mixed answers         {tally.wrong_count} (every answer's ids; {tally.checked} recomputed offline)",
        f"champion at the end   {report.champion}"
        + ("" if report.champion == report.expected else f", not {report.expected}"),
    ]
    if report.preference is not None:
        lines.append(f"in one list           {preference_in_words(report.preference)}")
    lines += [f"  wrong: {text}" for text in tally.wrong]
    if report.page is not None:
        lines.append(f"report                {report.page}")
    lines.append("passed" if report.passed else "FAILED")
    return "\n".join(lines)
