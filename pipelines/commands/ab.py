"""The command `visual-search ab`: from options to `monitoring.experiments`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from monitoring.experiments import console
from monitoring.experiments.parameters import ExperimentParameters
from pipelines.settings import Settings


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Plan, decide or report; the verdict is in what is printed, not in the exit code."""
    parameters, events = _parameters(options), options.events or settings.event_store
    if options.action == "plan":
        print(console.forecast(events, parameters))
        return 0
    service = options.service
    if service is None and options.events is None:  # never this machine's counters beside the events of another
        service = _counted_here(settings)
    if options.action == "decide":
        analysis, decision = console.verdict(events, parameters, service)
        if options.json:
            print(json.dumps(console.as_json(analysis, decision), indent=2))
        else:
            print("\n".join([decision.verdict, *decision.reasons, *decision.warnings]))
    else:
        output = Path(options.output)
        decision = console.report(
            events,
            parameters,
            service,
            output,
            releases=(Path(options.releases[0]), Path(options.releases[1])) if options.releases else None,
            queries=options.queries,
        )
        print("\n".join([decision.verdict, *decision.reasons, f"wrote {output}"]))
    return 0


def _counted_here(settings: Settings) -> str | None:
    """Return where the servers of this machine keep their counters; None where none have run."""
    place = settings.service_counts
    return str(place) if any(place.glob("*")) else None


def _parameters(options: argparse.Namespace) -> ExperimentParameters:
    given = {
        "metric": options.metric,
        "control": options.control,
        "treatment": options.treatment,
        "treatment_share": options.share,
        "start": getattr(options, "start", None),
        "until": getattr(options, "until", None),
    }
    return console.read_parameters(options.parameters, given)
