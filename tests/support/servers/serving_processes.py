"""Starts the real two processes on loopback for tests: encoder and transformer, on a release or a root with `CURRENT`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from components.shared.files.layout import ITEMS_FILE, MANIFEST_FILE
from components.shared.files.tables import ITEMS, read_table, write_table
from components.shared.release.manifest import read_manifest, seal_release
from pipelines.commands.serving_processes import ServingProcesses
from support.factories.release_factory import make_release

KEY = "0123456789abcdef" * 4


def make_local_release(root: Path, **options) -> Path:
    """Make a release as `make_release` does, whose uris name the pictures on this disk, so that there are thumbnails."""
    directory = make_release(root, **options)
    manifest = read_manifest(directory)
    items = read_table(directory / ITEMS_FILE, ITEMS)
    pictures = {path.stem: str(path) for path in (root / "parts" / "images").rglob("*.jpg")}
    uris = pa.array([pictures[image_id] for image_id in items.column("image_id").to_pylist()])
    write_table(directory / ITEMS_FILE, items.set_column(items.schema.get_field_index("uri"), "uri", uris), ITEMS)
    (directory / MANIFEST_FILE).unlink()
    seal_release(
        directory,
        encoder=manifest.encoder,
        index=manifest.index,
        catalogue=manifest.catalogue,
        metrics=manifest.metrics,
        gate=manifest.gate,
    )
    return directory


def pictures_of(release: Path) -> dict[str, bytes]:
    """Return image_id → encoded bytes of a release that `make_local_release` made."""
    items = read_table(release / ITEMS_FILE, ITEMS)
    ids, uris = items.column("image_id").to_pylist(), items.column("uri").to_pylist()
    return {image_id: Path(uri).read_bytes() for image_id, uri in zip(ids, uris, strict=True)}


def hidden_ids(release: Path) -> set[str]:
    """Return the ids of private and inappropriate images."""
    rows = read_table(release / ITEMS_FILE, ITEMS).to_pylist()
    return {row["image_id"] for row in rows if not (row["is_public"] and row["is_appropriate"])}


def settings_for(folder: Path, **more: str) -> dict[str, str]:
    """Return settings of a service that keeps its events below `folder`, quick to notice what is published."""
    return {
        "events_url": f"sqlite:///{folder / 'events.db'}",
        "events_keys": KEY,
        "cache": str(folder / "cache"),
        "poll_seconds": "0.2",
        "encoder_threads": "1",
        "search_threads": "1",
        "decode_workers": "1",
        **more,
    }


@contextmanager
def serving(
    location: Path, folder: Path, *, python_options: tuple[str, ...] = (), timeout_seconds: float = 240.0, **more: str
) -> Iterator[ServingProcesses]:
    """Serve until the block ends: `.url`, `.port`, `.encoder_grpc_port`, `.children`, logs in folder/logs.

    Args:
        location: a release or a root.
        folder: for logs, events and caches.
        python_options: of the interpreter.
        timeout_seconds: to get ready in.
        **more: settings, without the prefix.
    """
    processes = ServingProcesses(location, folder / "logs", settings_for(folder, **more), python_options=python_options)
    with processes:
        processes.wait_ready(timeout_seconds)
        yield processes
        processes.stop(60)  # in peace, however busy the machine is


@contextmanager
def transformer_alone(location: Path, folder: Path, encoder_address: str, **more: str) -> Iterator[ServingProcesses]:
    """Start the transformer only, on an encoder that the test provides; ready or not, the block begins at once."""
    processes = ServingProcesses(
        location, folder / "logs", settings_for(folder, encoder_address=encoder_address, **more)
    )
    processes.logs.mkdir(parents=True, exist_ok=True)
    processes.start_one("transformer")
    try:
        yield processes
    finally:
        processes.stop()


def log_lines(processes: ServingProcesses, name: str) -> list[dict]:
    """Return the structured lines of a process's log."""
    lines = (processes.logs / f"{name}.log").read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]
