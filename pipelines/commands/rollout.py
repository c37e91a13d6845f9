"""The command `visual-search rollout`: joins the registry, the cluster and the A/B statistics, none of which know the others."""

from __future__ import annotations

import argparse
import datetime
import getpass
import json
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING

from components.shared.errors import ParameterError
from pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from components.registration.registry import Registry
    from serving.rollout.cluster import Cluster
    from serving.rollout.reconciler import Outcome
    from serving.rollout.store import ReleaseStore

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run one action."""
    actions = {"status": _status, "reconcile": _reconcile, "auto": _auto, "rehearse": _rehearse}
    return actions.get(options.action, _decide)(options, settings)


def _decide(options: argparse.Namespace, settings: Settings) -> int:
    from serving.rollout import decisions

    registry = _registry(settings)
    words = {"who": options.who or getpass.getuser(), "why": options.why}
    if options.action == "start":
        after = decisions.start(registry, options.version, share=options.share, **words)
    elif options.action == "step":
        after = decisions.step(registry, options.share, **words)
    else:
        decide = decisions.promote if options.action == "promote" else decisions.roll_back
        after = decide(registry, **words)
    print(f"version {after.challenger} against {after.champion}: {after.state}, {after.share} %")
    return 0


def _status(options: argparse.Namespace, settings: Settings) -> int:
    from serving.rollout.status import as_text, status

    settings = _overlaid(options, settings)
    try:
        target = _cluster(settings)
    except ParameterError:  # no cluster is configured on this machine: the registry is shown alone
        target = None
    found = status(_registry(settings), _store(settings), target)
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 0


def _reconcile(options: argparse.Namespace, settings: Settings) -> int:
    from serving.rollout.reconciler import Reconciler

    settings = _overlaid(options, settings)
    cache = settings.home.absolute() / "releases"
    reconciler = Reconciler(_registry(settings), _store(settings), _cluster(settings), cache)
    if options.every is None:
        _print(reconciler.reconcile(dry_run=options.dry_run))
        return 0
    if options.dry_run:
        raise ParameterError("--dry-run prints one plan and stops; leave out --every")
    reconciler.run(seconds_of(options.every), _until_told(), _print)
    return 0


def _print(outcome: Outcome | str) -> None:
    """Print what a reconciliation did: the kubectl commands, nothing else, on standard output."""
    if isinstance(outcome, str):
        print(f"visual-search: {outcome}", file=sys.stderr, flush=True)
        return
    for patch in outcome.patches:
        print(f"# {patch.says}\n{patch.command}", flush=True)
    if outcome.waiting is not None:
        print(f"# waiting: {outcome.waiting}", flush=True)


def _auto(options: argparse.Namespace, settings: Settings) -> int:
    from monitoring.experiments.console import read_parameters
    from pipelines.rehearsal.verdicts import act, judge
    from serving.rollout.decisions import running
    from serving.rollout.ladder import next_action, read_ladder

    registry, ladder = _registry(settings), read_ladder(options.ladder)
    hold, settle = (datetime.timedelta(seconds=seconds_of(text)) for text in (options.hold, options.settle))
    events = options.events or settings.event_store
    service = options.service or str(settings.service_counts)
    parameters = read_parameters(options.parameters, {})
    stopping = threading.Event() if options.every is None else _until_told()
    while True:
        rollout = running(registry)
        verdict = judge(events, service, parameters, rollout, settle)
        action = next_action(rollout, verdict, now=datetime.datetime.now(datetime.UTC), ladder=ladder, hold=hold)
        print(f"{rollout.share} %: {verdict.verdict}. {' '.join(verdict.reasons)}", flush=True)
        if action is not None:
            act(registry, action)
            print(f"→ {action.kind}" + (f" to {action.share} %" if action.kind == "step" else ""), flush=True)
            if action.kind != "step":
                return 0
        if options.every is None or stopping.wait(seconds_of(options.every)):
            return 0


def _rehearse(options: argparse.Namespace, settings: Settings) -> int:
    from pipelines.rehearsal.session import rehearse

    return rehearse(options, settings)


def seconds_of(text: str) -> float:
    """Read "30s", "2m", "1h", "1d", "500ms", or a bare number of seconds.

    Raises:
        ParameterError: it is no such time.

    Example:
        >>> seconds_of("2m"), seconds_of("500ms"), seconds_of("30")
        (120.0, 0.5, 30.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", text.strip())
    if match is None or (seconds := float(match[1]) * _UNITS[match[2] or "s"]) < 0:
        raise ParameterError(f"{text!r} is not a valid duration; use for example 30s, 2m or 1h")
    return seconds


def _until_told() -> threading.Event:
    """Return an event that SIGTERM sets: a pod is stopped so."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    return stopping


def _overlaid(options: argparse.Namespace, settings: Settings) -> Settings:
    given = {
        "rollout_mode": options.mode,
        "rollout_namespace": options.namespace,
        "release_store": options.release_store,
    }
    return read_settings(**{**settings.model_dump(), **{k: v for k, v in given.items() if v is not None}})


def _registry(settings: Settings) -> Registry:
    from components.registration.registry import Registry

    return Registry(settings.registry_uri)


def _store(settings: Settings) -> ReleaseStore:
    from serving.rollout.store import ReleaseStore

    return ReleaseStore(settings.release_store or str(settings.home.absolute() / "release-store"))


def _cluster(settings: Settings) -> Cluster:
    from serving.rollout.cluster import Cluster

    return Cluster(settings.rollout_mode, settings.rollout_namespace)
