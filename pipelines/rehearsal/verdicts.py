"""A/B verdicts on a running rollout, and how they are written to the registry."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.errors import DataError, SourceError
from components.shared.files.layout import EVENTS_FILE
from pipelines.rehearsal.report import preference_in_words

if TYPE_CHECKING:
    from components.registration.registry import Registry
    from monitoring.experiments.interleaving import Preference
    from monitoring.experiments.parameters import ExperimentParameters
    from serving.rollout.ladder import Action, Verdict
    from serving.rollout.state import Rollout

_AUTO = "rollout auto"
_LOOKS_WORSE = 0.05  # difference of the rates of a guardrail


def act(registry: Registry, action: Action, who: str = _AUTO) -> Rollout:
    """Write a decision of the statistics to the registry."""
    from serving.rollout import decisions

    if action.kind == "step":
        return decisions.step(registry, action.share, who=who, why=action.why)
    decide = decisions.promote if action.kind == "promote" else decisions.roll_back
    return decide(registry, who=who, why=action.why[:2_000])


def judge(
    events: str,
    service: str | None,
    parameters: ExperimentParameters,
    rollout: Rollout,
    settle: datetime.timedelta = datetime.timedelta(),
) -> Verdict:
    """Ask the statistics about the time since a rollout has its share.

    Only users who came first in this time are compared: those of before were assigned by another share, and stay in their arm.

    Args:
        events: log of events, as `ab decide` takes it.
        service: counters of the servers, a file or a folder; None, or nothing there: no guardrail is measured.
        parameters: parameters of the experiment; start and share are the rollout's.
        rollout: current rollout.
        settle: time that the share took to reach users.
    """
    from monitoring.experiments.console import verdict
    from monitoring.experiments.guardrails import TITLES, watch_guardrails
    from monitoring.online.service import read_service
    from serving.rollout.ladder import Verdict

    start = rollout.since + settle
    changed = {"start": start, "treatment_share": max(rollout.share, 1) / 100, "cuped": False}
    parameters = parameters.model_copy(update=changed)
    counted = service is not None and _has_files(Path(service))
    guardrails = watch_guardrails(read_service(service), parameters) if service and counted else []
    # Before the metric: a challenger that answers nothing has no searches to be compared.
    alarms = tuple(
        f"{TITLES[g.name]} rose from {g.control or 0:.1%} to {g.treatment or 0:.1%}." for g in guardrails if g.alarmed
    )
    # What looks worse, though it is not shown to be, gets no larger share.
    measured = bool(guardrails) and all(
        g.control is not None and g.treatment is not None and g.treatment - g.control <= _LOOKS_WORSE
        for g in guardrails
    )
    if alarms:
        return Verdict("roll_back", alarms, measured)
    try:
        with tempfile.TemporaryDirectory(prefix="visual-search-auto-") as folder:
            newcomers = write_newcomers(events, start, Path(folder) / EVENTS_FILE)
            analysis, decision = verdict(newcomers, parameters, service if guardrails else None)
    except (DataError, SourceError) as error:
        return Verdict("continue", (f"Nothing to compare yet: {error}.",), False)
    return Verdict(decision.verdict, tuple(decision.reasons), measured and bool(analysis.users[-1].min() > 0))


def _has_files(place: Path) -> bool:
    return place.is_file() or any(place.glob("*"))


def judge_lists(
    events: str, service: str, parameters: ExperimentParameters, rollout: Rollout, lists: list[dict[str, str]]
) -> tuple[Verdict, Preference | None]:
    """Check the guardrails, then whose results users clicked in lists of both arms.

    Args:
        events: address of the event store.
        service: file of the service's counters.
        parameters: parameters of the experiment.
        rollout: the running one.
        lists: query ids of each list, by arm.
    """
    from monitoring.events import open_events
    from monitoring.experiments.interleaving import analyse_interleaving
    from monitoring.online.searches import clean_results
    from serving.rollout.ladder import Verdict

    found = judge(events, service, parameters, rollout)
    if found.verdict == "roll_back":
        return found, None
    try:
        with open_events(events) as connection:
            clean_results(connection, parameters.online)
            together = [(ids["champion"], ids["challenger"]) for ids in lists]
            preference = analyse_interleaving(connection, together, parameters)
    except (DataError, SourceError) as error:
        return Verdict("continue", (f"Too early to decide: {error}.",), found.is_measured), None
    reasons = (preference_in_words(preference),)
    if preference.high < 0:
        return Verdict("roll_back", reasons, found.is_measured), preference
    return Verdict("promote" if preference.low > 0 else "continue", reasons, found.is_measured), preference


def write_newcomers(events: str, start: datetime.datetime, path: Path) -> str:
    """Write the events of those users who were not seen before `start` to a Parquet file; returns its path.

    Raises:
        SourceError: there is no log.
        DataError: there are no such users.
    """
    from components.shared.files.tables import EVENTS, write_table
    from monitoring.events import open_events

    columns = ", ".join(f'moment AS "{name}"' if name == "at" else name for name in EVENTS.schema.names)
    query = f"SELECT {columns} FROM log WHERE user_id NOT IN (SELECT user_id FROM log WHERE moment < $start)"  # noqa: S608
    with open_events(events) as connection:
        found = connection.sql(query, params={"start": start.astimezone(datetime.UTC).replace(tzinfo=None)})
        table = found.to_arrow_table()
    if not table.num_rows:
        raise DataError("no new users have come since the share was changed; wait for more traffic")
    place = table.schema.get_field_index("at")
    moments = table.column("at").cast("timestamp[us]")
    table = table.set_column(place, "at", moments.cast(EVENTS.schema.field("at").type)).cast(EVENTS.schema)
    write_table(path, table, EVENTS)
    return str(path)
