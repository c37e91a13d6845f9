"""The overlays, as files: what `kubectl kustomize` made of each when `make golden` ran last."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path

from manifests.checks.check import check
from manifests.checks.findings import Finding, Json
from manifests.checks.rendering import parse
from manifests.checks.rollout import combined
from pipelines.settings import known_names

ROOT = Path(__file__).resolve().parents[3]
MANIFESTS = ROOT / "manifests"
GOLDEN = ROOT / "tests" / "manifests" / "golden"
KUBEFLOW = (
    "kubeflow-multi-user",
    "kubeflow-single-user",
)  # the pipelines of each kind of installation; nothing serves there
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir() if path.name not in KUBEFLOW)
FIRST = {name: "first-knative" if name.startswith("knative") else "first-standard" for name in OVERLAYS}
IN_GIT = ("knative-git", "knative-canary", "knative-withdrawn")  # files say which release is served; no rollout
FOLDERS = {name: MANIFESTS / "overlays" / name for name in (*OVERLAYS, *KUBEFLOW)} | {
    "cluster": MANIFESTS / "cluster",
    "training": MANIFESTS / "training",
    "first-knative": MANIFESTS / "first" / "knative",
    "first-standard": MANIFESTS / "first" / "standard",
}
KNOWN_SETTINGS = known_names()


@functools.cache
def _parsed(name: str) -> list[Json]:
    return parse((GOLDEN / f"{name}.yaml").read_text(), name)


def documents(name: str) -> list[Json]:
    return copy.deepcopy(_parsed(name))


def installed(name: str) -> list[Json]:
    """Return an overlay together with what is applied once before it."""
    return documents(name) if name in (*IN_GIT, *KUBEFLOW) else combined(documents(name), documents(FIRST[name]))


def faults(found: list[Json], first: Sequence[Json] = (), *, production: bool = False) -> list[Finding]:
    return check(found, first=first, production=production, known_settings=KNOWN_SETTINGS)


def one(found: list[Json], kind: str, name: str | None = None) -> Json:
    return next(d for d in found if d["kind"] == kind and name in (None, d["metadata"]["name"]))
