"""`visual-search monitor run | report | serve`: collect the locations, call `monitoring`, start pipelines (`--act`)."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa

from components.shared.files.sqlite import sqlite_url
from components.shared.release.manifest import is_release
from components.shared.release.served import CURRENT_FILE, open_in_force
from monitoring import console
from monitoring.evidence import RunInputs
from monitoring.remedies.act import ActPolicy, Submitter
from monitoring.run import run as run_monitoring
from monitoring.status.page import PAGE_FILE
from pipelines.commands.serve import running_address
from pipelines.runs.arguments import parse_assignments
from pipelines.runs.remedies import ClusterRuns, LocalRuns, Sources
from pipelines.settings import Settings


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Do `options.action`."""
    folder = Path(options.folder) if options.folder else settings.home.absolute() / "monitoring"
    if options.action == "report":
        output = Path(options.output) if options.output else None
        return console.report(folder, options.arm, as_json_text=options.json, output=output)
    if options.action == "serve":
        return console.serve(folder, host=options.host, port=options.port, seconds=options.seconds)
    inputs = _inputs(options, settings, folder)
    submitter = _submitter(options, settings) if options.act else None
    record, action = run_monitoring(inputs, submitter, ActPolicy(cool_down_hours=options.cool_down))
    page = folder / options.arm / PAGE_FILE
    print(console.as_json(record, action) if options.json else console.as_text(record, page, action))
    return console.exit_code(record)


def _inputs(options: argparse.Namespace, settings: Settings, folder: Path) -> RunInputs:
    home = settings.home.absolute()
    own_store = home / "events.db"
    events = options.events or settings.events_url or (sqlite_url(own_store) if own_store.exists() else None)
    location = _location(options.release, settings)
    return RunInputs(
        location=location,
        samples=Path(options.samples) if options.samples else home / "query-samples",
        events=events,
        folder=folder,
        arm=options.arm,
        hours=options.hours,
        listing=_listing(options.images, settings),
        url=options.url or running_address(home, "url"),
        encoder_url=options.encoder_url or running_address(home, "encoder_url"),
        judgements=_judgements(options.judgements, location),
        previous=_fetched(options.previous, settings) if options.previous else None,
        service_counts=Path(options.service_counts) if options.service_counts else _existing(settings.service_counts),
        evidently=Path(options.evidently) if options.evidently else None,
    )


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _listing(images: str | None, settings: Settings) -> pa.Table | None:
    """Return what should be found: all images that can be used."""
    if not images:
        return None
    from components.catalogue.listing import list_images
    from components.catalogue.parameters import CatalogueParameters

    return list_images(_absolute(images), workspace=settings.workspace, parameters=CatalogueParameters()).items


def _judgements(uri: str, location: Path) -> pa.Table | None:
    """Return the judgements of images that the catalogue has."""
    if not uri:
        return None
    from components.labelling.judgements import fetch_judgements, read_judgements

    known = set(open_in_force(location).release_items["image_id"].to_pylist())
    return read_judgements(uri, fetch_judgements(_absolute(uri)), known).table


def _location(release: str | None, settings: Settings) -> Path:
    """Return what is watched: what `serve` serves from this home, or what was named, fetched from the registry if need be."""
    served = settings.home.absolute() / "served"
    if release is None and (served / CURRENT_FILE).is_file():
        return served
    path = Path(release or "champion")
    return path if (path / CURRENT_FILE).is_file() else _fetched(str(path), settings)


def _fetched(release: str, settings: Settings) -> Path:
    """Return the directory of a release, fetched from the registry if it is a version or an alias."""
    if is_release(Path(release)):
        return Path(release)
    from components.registration.registry import Registry

    return Registry(settings.registry_uri).fetch(release, settings.home.absolute() / "releases")


def _submitter(options: argparse.Namespace, settings: Settings) -> Submitter:
    sources = Sources(
        images=_absolute(options.images or ""),
        judgements=_absolute(options.judgements),
        events=_absolute(options.click_log),
        assignments=options.assignments,
    )
    if not settings.kfp_host:
        return LocalRuns(settings, sources, verbose=options.verbose)
    return ClusterRuns(
        settings,
        sources,
        arguments=parse_assignments(options.argument),
        image=options.image,
        service_account=options.service_account,
    )


def _absolute(uri: str) -> str:
    return uri if not uri or "://" in uri else str(Path(uri).expanduser().absolute())
