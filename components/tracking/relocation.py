"""Relocation after a home folder was moved or copied: MLflow keeps absolute addresses of artifacts, which then are wrong."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

ARTIFACTS = "mlartifacts"
# The columns of MLflow's tables that hold addresses of artifacts.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate_artifacts(database: Path) -> int:
    """Change addresses below an earlier place of the database's folder to the folder's current place.

    Only addresses of experiments whose artifacts are beside the database are changed, so artifacts that a user keeps
    elsewhere are not affected. The caller excludes other processes.

    Args:
        database: MLflow's SQLite file; its artifacts are in `mlartifacts` beside it.

    Returns:
        Number of changed addresses.
    """
    here = (database.parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(database)) as connection, connection:
        old = {
            root for (name, location) in _experiments(connection) if (root := _moved(database, here, name, location))
        }
        return sum(
            _replace(connection, table, column, root, here) for root in sorted(old) for table, column in _ADDRESSES
        )


def _experiments(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, artifact_location FROM experiments").fetchall()


def _moved(database: Path, here: str, name: str, location: str | None) -> str | None:
    """Return the earlier address of the artifacts' folder if this experiment's artifacts moved together with the database."""
    found = re.fullmatch(rf"(file://.*/{ARTIFACTS})/[^/]+", location or "")
    if found is None or found[1] == here or not (database.parent / ARTIFACTS / name).is_dir():
        return None
    return found[1]


def _replace(connection: sqlite3.Connection, table: str, column: str, old: str, new: str) -> int:
    length = len(old) + 1
    update = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"  # noqa: S608 - names of ours
    return connection.execute(update, (new + "/", length + 1, length, old + "/")).rowcount
