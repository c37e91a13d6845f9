"""`visual-search events`: export for labelling and monitoring, and what the store holds."""

from __future__ import annotations

import argparse
import datetime
import json
from typing import Any

from components.shared.errors import ParameterError
from pipelines.settings import Settings


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Do `options.action`."""
    url = options.store or settings.event_store
    return _export(url, options) if options.action == "export" else _stats(url, as_json=options.json)


def _export(url: str, options: argparse.Namespace) -> int:
    from serving.events.export import export_events

    done = export_events(url, options.output, since=_moment(options.since))
    print(f"wrote {done.events} events in {len(done.files)} files to {options.output}")
    return 0


def _stats(url: str, *, as_json: bool) -> int:
    from serving.events.database import Database
    from serving.events.tokens import moment

    database = Database(url, read_only=True)
    try:
        store_id = database.prepare()
        rows: list[dict[str, Any]] = [
            {"release_id": release, "arm": arm, "type": kind, "events": count}
            | {"first": moment(first).isoformat(timespec="seconds"), "last": moment(last).isoformat(timespec="seconds")}
            for release, arm, kind, count, first, last in database.counts()
        ]
    finally:
        database.close()
    if as_json:
        print(json.dumps({"store": database.name, "store_id": store_id, "events": rows}, indent=2))
        return 0
    print(f"{sum(row['events'] for row in rows)} events in {database.name}")
    for row in rows:
        print("{events:>12} {type:<10} {arm:<12} {release_id}  {first} – {last}".format(**row))
    return 0


def _moment(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ParameterError(f"--since is {text!r}; write 2026-01-31 or 2026-01-31T12:00:00+00:00") from error
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
