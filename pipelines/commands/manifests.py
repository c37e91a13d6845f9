"""`visual-search manifests check`: what a cluster would refuse, and what our policies do, in front of both."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.settings import known_names


def check(paths: Sequence[Path], *, first: Path | None = None, production: bool) -> int:
    """Print every fault of each path, one a line; return 1 if there is one.

    Args:
        paths: folders that kustomize renders, or rendered files.
        first: folder or file of what is applied once before each of them; both are judged together.
        production: whether placeholders are faults.
    """
    from manifests.checks.check import check as faults_of
    from manifests.checks.rendering import load

    before = load(first) if first else []
    count = 0
    for path in paths:
        documents = load(path)
        faults = faults_of(documents, first=before, production=production, known_settings=known_names())
        for fault in faults:
            print(f"{path}: {fault}")
        count += len(faults)
        if not faults:
            print(f"{path}: {len(documents)} objects, no fault", file=sys.stderr)
    return 1 if count else 0
