"""`python -m monitoring run | report | serve`: monitoring alone, as in its container; everything is given by path.

`visual-search monitor` is the same with the paths of a home folder, a registry to fetch releases from, and `--act`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def add_actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Add run, report and serve with the options that both command lines have; return their parsers."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = actions.add_parser(
        "run",
        help="check search health once: drift, diagnosis, online metrics; write the record and the page",
        description="Check search health once. Exit code 0: healthy or worth watching; 4: alarm; 5: not enough data; 1: error.",
    )
    report = actions.add_parser("report", help="print the latest record", description="Print the latest record.")
    serve = actions.add_parser(
        "serve",
        help="serve the status page, and gauges for Prometheus, over HTTP",
        description="Serve the status page, and gauges for Prometheus, read-only.",
    )
    for action in (run, report, serve):
        action.add_argument("--folder", metavar="DIR", help="monitoring folder (default: monitoring below the home)")
    for action in (run, report):
        action.add_argument("--arm", default="champion", help="arm to monitor (default champion)")
        action.add_argument("--json", action="store_true", help="as JSON")
    run.add_argument("--samples", metavar="DIR", help="query samples of the transformer")
    run.add_argument("--events", metavar="SOURCE", help="Parquet file or folder, sqlite:///FILE or postgresql://…")
    run.add_argument("--hours", type=float, default=24.0, help="length of the window of queries (default 24)")
    run.add_argument("--url", help="address of the running service, to check its answers to the golden pictures")
    run.add_argument(
        "--encoder-url", metavar="URL", help="address of the live encoder (HTTP), to check that it is the release's"
    )
    run.add_argument(
        "--service-counts", metavar="DIR", help="the transformer's counts of requests, for zero-result rates"
    )
    run.add_argument(
        "--evidently", metavar="DIR", help="also add a snapshot to this workspace of Evidently's own pages"
    )
    report.add_argument("--output", metavar="FILE", help="also write the page to this file")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, default=9108, help="port (default 9108; 0: any)")
    serve.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds")
    return {"run": run, "report": report, "serve": serve}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns what the action says, or 1 for an error."""
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=(__doc__ or "").splitlines()[0])
    actions = add_actions(parser)
    actions["run"].add_argument(
        "--release", metavar="DIR", required=True, help="a release, or the root of what is served (with CURRENT)"
    )
    actions["run"].add_argument("--judgements", metavar="FILE", help="judged queries: table JUDGEMENTS in Parquet")
    actions["run"].add_argument(
        "--previous", metavar="DIR", help="the previous release, for comparison on the judged queries"
    )
    options = parser.parse_args(arguments)
    from components.shared.errors import VisualSearchError
    from monitoring import console

    folder = Path(options.folder or "monitoring")
    try:
        if options.action == "report":
            output = Path(options.output) if options.output else None
            return console.report(folder, options.arm, as_json_text=options.json, output=output)
        if options.action == "serve":
            return console.serve(folder, host=options.host, port=options.port, seconds=options.seconds)
        return _run(options, folder)
    except VisualSearchError as error:
        print(f"monitoring: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, folder: Path) -> int:
    from components.shared.files.tables import JUDGEMENTS, read_table
    from monitoring import console
    from monitoring.evidence import RunInputs
    from monitoring.run import run
    from monitoring.status.page import PAGE_FILE

    inputs = RunInputs(
        location=Path(options.release),
        samples=Path(options.samples or "query-samples"),
        events=options.events,
        folder=folder,
        arm=options.arm,
        hours=options.hours,
        url=options.url,
        encoder_url=options.encoder_url,
        judgements=read_table(Path(options.judgements), JUDGEMENTS) if options.judgements else None,
        previous=Path(options.previous) if options.previous else None,
        service_counts=Path(options.service_counts) if options.service_counts else None,
        evidently=Path(options.evidently) if options.evidently else None,
    )
    record, _ = run(inputs)
    page = folder / options.arm / PAGE_FILE
    print(console.as_json(record) if options.json else console.as_text(record, page))
    return console.exit_code(record)


if __name__ == "__main__":
    sys.exit(main())
