"""The registry as text for the command line; plain arguments in, text out."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from pathlib import Path

from components.registration.promotion_log import Promotion
from components.registration.registry import Registry
from components.registration.versions import RegisteredRelease
from components.shared.defaults import MODEL_NAME
from components.shared.files.text_table import text_table

HEADLINES = ("hit_rate_at_1", "map", "ann_recall_at_10")


def releases(tracking_uri: str, model_name: str = MODEL_NAME) -> str:
    """Return a table of all registered releases, newest first."""
    found = Registry(tracking_uri, model_name).releases()
    if not found:
        return f"no release of {model_name} is registered at {tracking_uri} yet"
    return format_releases(reversed(found))


def promote(
    tracking_uri: str,
    name: str,
    *,
    why: str,
    to: str = "champion",
    who: str | None = None,
    model_name: str = MODEL_NAME,
) -> str:
    """Promote a version, alias or release_id and return a sentence about it."""
    entry = Registry(tracking_uri, model_name).promote(name, to, who=who or getpass.getuser(), why=why)
    return format_history([entry])


def history(tracking_uri: str, model_name: str = MODEL_NAME) -> str:
    """Return the promotion log, newest entry first."""
    entries = Registry(tracking_uri, model_name).history()
    if not entries:
        return f"no alias of {model_name} was ever moved at {tracking_uri}"
    return format_history(reversed(entries))


def fetch(tracking_uri: str, name: str, destination: Path, model_name: str = MODEL_NAME) -> str:
    """Download and verify a release and return its directory."""
    return str(Registry(tracking_uri, model_name).fetch(name, destination))


def format_releases(found: Iterable[RegisteredRelease]) -> str:
    """Format releases as a table: figures with their intervals, if these are known."""
    rows = [
        (
            str(release.version),
            ", ".join(release.aliases) or "–",
            release.release_id,
            release.space_id,
            str(release.generation),
            *(_figure(release, name) for name in HEADLINES),
            release.created_at.strftime("%Y-%m-%d %H:%M UTC"),
        )
        for release in found
    ]
    return text_table(("version", "aliases", "release", "space", "generation", *HEADLINES, "registered"), rows)


def format_history(entries: Iterable[Promotion]) -> str:
    """Format promotions as a table."""
    rows = [
        (
            entry.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            entry.move.alias,
            _place(entry.move.previous_version, entry.move.previous_release_id),
            _place(entry.move.version, entry.move.release_id),
            entry.move.who,
            entry.move.why if entry.took_effect else f"{entry.move.why} (did not take effect)",
        )
        for entry in entries
    ]
    return text_table(("at", "alias", "from", "to", "who", "why"), rows)


def _place(version: int | None, release_id: str | None) -> str:
    return "–" if version is None else f"{version} ({release_id or 'unknown'})"


def _figure(release: RegisteredRelease, name: str) -> str:
    value, low, high = (release.metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
