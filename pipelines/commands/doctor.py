"""`visual-search manifests doctor`: whether a cluster has what an overlay needs, before anything is applied."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.errors import ParameterError

if TYPE_CHECKING:
    from manifests.checks.findings import Json
    from manifests.doctor.examine import Examination

_OVERLAYS = Path(__file__).resolve().parents[2] / "manifests" / "overlays"
# Examinations that the package manifests cannot make, since it imports nothing of the pipelines: (reader, needs) → checks.
EXAMINATIONS: tuple[Examination, ...] = ()


def doctor(overlay: Path | None, mode: str | None) -> int:
    """Print one line per check; return 1 if something needed is missing.

    Args:
        overlay: folder that kustomize renders, or a rendered file; None: the plain overlay of the mode.
        mode: "knative" or "standard", which must be that of the overlay if both are given.

    Raises:
        ParameterError: neither is given, they contradict each other, or no cluster is configured.
        ResourceError: the API server gives no answer.
    """
    from manifests.checks.rendering import load
    from manifests.doctor.api import ClusterReader
    from manifests.doctor.examine import examine
    from manifests.doctor.report import exit_code

    if overlay is None and mode is None:
        raise ParameterError("give the overlay that you will apply, or --mode knative or --mode standard")
    path = overlay or _OVERLAYS / str(mode)
    documents = load(path)
    if mode is not None:
        _require_mode(path, documents, mode)
    cluster = ClusterReader()
    print(f"{path} against {cluster.address}", file=sys.stderr)
    checks = []
    for check in examine(cluster, documents, more=EXAMINATIONS):
        print(check, flush=True)
        checks.append(check)
    return exit_code(checks)


def _require_mode(path: Path, documents: Sequence[Json], mode: str) -> None:
    from manifests.doctor.needs import needs_of

    found = needs_of(documents).modes
    if found != {mode.capitalize()}:
        raise ParameterError(
            f"{path} is for {' and '.join(sorted(found)) or 'no'} mode, but --mode is {mode}; leave out --mode, or give the "
            "overlay of that mode"
        )
