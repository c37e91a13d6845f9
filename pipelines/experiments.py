"""The command `visual-search ab`: from options to `monitoring.experiments`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from monitoring.experiments import console
from monitoring.experiments.parameters import ExperimentParameters


def run(options: argparse.Namespace) -> int:
    """Plan, decide or report; the verdict is in what is printed, not in the exit code."""
    parameters = _parameters(options)
    if options.action == "plan":
        print(console.forecast(options.events, parameters))
    elif options.action == "decide":
        analysis, decision = console.verdict(options.events, parameters, options.service)
        if options.json:
            print(json.dumps(console.as_json(analysis, decision), indent=2))
        else:
            print("\n".join([decision.verdict, *decision.reasons, *decision.warnings]))
    else:
        output = Path(options.output)
        decision = console.report(
            options.events,
            parameters,
            options.service,
            output,
            releases=(Path(options.releases[0]), Path(options.releases[1])) if options.releases else None,
            queries=options.queries,
        )
        print("\n".join([decision.verdict, *decision.reasons, f"wrote {output}"]))
    return 0


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
