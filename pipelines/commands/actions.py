"""The actions of the subcommands, a few lines each; the work is in the steps, in `runs` and in `cluster`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.container_images import PIPELINE_IMAGE
from components.shared.errors import ParameterError
from pipelines.runs import presets, summary
from pipelines.runs.parameters import STEPS, describe_parameters, encode_parameters, merge_assignments, model_of
from pipelines.settings import Settings, read_settings

GATE_REFUSED = 3


def demo(options: argparse.Namespace) -> int:
    """Render a catalogue, learn it and show what was learnt."""
    code = _run("demonstration", {}, presets.DEMONSTRATION, options)
    if code or options.serve is False:
        return code
    from pipelines.commands import serve as serving_command

    settings = _settings(options)
    if options.serve or sys.stdin.isatty():
        return serving_command.serve(settings, serving_command.ServeOptions(port=serving_command.preferred_port()))
    return serving_command.serve_once(settings, serving_command.ServeOptions(port=0))


def run(options: argparse.Namespace) -> int:
    """Learn from the user's pictures and register a release."""
    if options.pipeline == "monitoring":
        raise ParameterError("that pipeline is for a cluster; here, `visual-search monitor run --act` does the same")
    sources = _sources(options)
    if options.pipeline == "reindexing":
        sources = {name: sources[name] for name in ("images", "judgements")}
    return _run(options.pipeline, sources, _with_categories(presets.FOLDER, options), options)


def tune(options: argparse.Namespace) -> int:
    """Search for better training parameters."""
    from pipelines.commands.tune import tune_training

    settings = _settings(options)
    sources = {name: _absolute(value) for name, value in _sources(options).items()}
    values = _parameters(_with_categories(presets.FOLDER, options), options)
    print(tune_training(settings, sources, values, trials=options.trials, study=options.study, storage=options.storage))
    return 0


def parameters(options: argparse.Namespace) -> int:
    """List parameters."""
    for step in [options.step] if options.step else STEPS:
        print(describe_parameters(step) + "\n")
    return 0


def compile(options: argparse.Namespace) -> int:
    """Compile a pipeline."""
    from pipelines.graphs.compilation import compile_pipeline

    output = Path(options.output or f"{options.pipeline}.yaml")
    compile_pipeline(
        options.pipeline,
        output,
        image=options.image or PIPELINE_IMAGE,
        kubernetes=options.kubernetes,
        namespace=options.namespace,
    )
    print(f"wrote {output}")
    return 0


def submit(options: argparse.Namespace) -> int:
    """Start a run on a server."""
    from pipelines.commands import cluster

    return cluster.submit(options, _pipeline_arguments(options))


def schedule(options: argparse.Namespace) -> int:
    """Run a pipeline on a schedule on a server, or list or remove schedules."""
    from pipelines.commands import cluster

    if options.list or options.remove:
        return cluster.schedules(options)
    if not options.pipeline:
        raise ParameterError("give the pipeline to run on this schedule, for example `schedule reindexing --cron …`")
    return cluster.schedule(options, _pipeline_arguments(options))


def runs(options: argparse.Namespace) -> int:
    """Wait for the end of a run on a server, or cancel it."""
    from pipelines.commands import cluster

    return cluster.runs(options)


def releases(options: argparse.Namespace) -> int:
    """List releases."""
    from components.registration import console
    from components.registration.registry import Registry

    uri = _settings(options).registry_uri
    if options.json:
        print(json.dumps([asdict(release) for release in Registry(uri).releases()], indent=2, default=str))
    else:
        print(console.releases(uri))
    return 0


def promote(options: argparse.Namespace) -> int:
    """Move an alias, after verifying the release behind it."""
    from components.registration import console

    uri = _settings(options).registry_uri
    print(console.promote(uri, options.version, to=options.to, who=options.who, why=options.why))
    return 0


def history(options: argparse.Namespace) -> int:
    """Show the promotion log."""
    from components.registration import console
    from components.registration.registry import Registry

    uri = _settings(options).registry_uri
    if options.json:
        print(json.dumps([asdict(entry) for entry in Registry(uri).history()], indent=2, default=str))
    else:
        print(console.history(uri))
    return 0


def fetch(options: argparse.Namespace) -> int:
    """Download and verify a release."""
    from components.registration import console

    settings = _settings(options)
    destination = Path(options.output) if options.output else settings.home / "releases"
    print(console.fetch(settings.registry_uri, options.version, destination))
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve a release on this machine."""
    from pipelines.commands import serve as serving_command

    wanted = serving_command.ServeOptions(
        options.release, options.host, options.port, options.arm, options.seconds, browser=not options.no_browser
    )
    return serving_command.serve(_settings(options), wanted)


def manifests(options: argparse.Namespace) -> int:
    """Check Kubernetes manifests, or a cluster before they are applied to it."""
    if options.action == "doctor":
        from pipelines.commands.doctor import doctor

        return doctor(Path(options.overlay) if options.overlay else None, options.mode)
    from pipelines.commands import manifests as manifests_command

    first = Path(options.first) if options.first else None
    return manifests_command.check([Path(path) for path in options.paths], first=first, production=options.production)


def extend(options: argparse.Namespace) -> int:
    """Add images to what is served, and remove others."""
    from pipelines.commands.extend import ExtendOptions, extend

    root = Path(options.root) if options.root else None
    images, add = (_absolute(value) if value else None for value in (options.images, options.add))
    print(extend(_settings(options), ExtendOptions(root, images, add, options.remove)))
    return 0


def query(options: argparse.Namespace) -> int:
    """Ask a running service."""
    from pipelines.commands import serve as serving_command

    output = Path(options.output) if options.output else None
    answer = serving_command.query(
        _settings(options), Path(options.image), url=options.url, k=options.k, crop=options.crop, output=output
    )
    print(serving_command.answer_as_json(answer) if options.json else serving_command.format_answer(answer))
    if output is not None:
        print(f"wrote {output}", file=sys.stderr)
    return 0


def ab(options: argparse.Namespace) -> int:
    """Plan, decide or report an A/B test."""
    from pipelines.commands import ab as experiments

    return experiments.run(options, _settings(options))


def rollout(options: argparse.Namespace) -> int:
    """Roll a release out, or back."""
    from pipelines.commands import rollout as rollout_command

    return rollout_command.run(options, _settings(options))


def monitor(options: argparse.Namespace) -> int:
    """Look whether search is healthy, report it, or serve the status page."""
    from pipelines.commands import monitor as monitor_command

    return monitor_command.run(options, _settings(options))


def events(options: argparse.Namespace) -> int:
    """Export or count events."""
    from pipelines.commands import events as event_store

    return event_store.run(options, _settings(options))


def _settings(options: argparse.Namespace) -> Settings:
    return read_settings(home=options.home, tracking_uri=options.tracking_uri)


def _sources(options: argparse.Namespace) -> dict[str, str]:
    return {"images": options.images or "", "judgements": options.judgements, "events": options.events}


def _absolute(uri: str) -> str:
    return uri if not uri or "://" in uri else str(Path(uri).expanduser().absolute())


def _with_categories(defaults: dict[str, dict[str, Any]], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    table = options.images and options.images.lower().endswith((".csv", ".parquet"))
    by_itself = not (options.judgements or options.events or table)
    use = options.categories == "judgements" or (options.categories == "auto" and by_itself)
    merged = {step: dict(values) for step, values in defaults.items()}
    merged.setdefault("labelling", {})["categories_as_judgements"] = use
    return merged


def _parameters(defaults: dict[str, dict[str, Any]], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    defaults = presets.with_mode(defaults, merge_assignments(options.assignments, {}))
    merged = merge_assignments(options.assignments, defaults)
    if options.seed is not None:
        for step in STEPS:
            if "seed" in model_of(step).model_fields:
                merged.setdefault(step, {}).setdefault("seed", options.seed)
    return merged


def _run(
    pipeline: str, sources: dict[str, str], defaults: dict[str, dict[str, Any]], options: argparse.Namespace
) -> int:
    from pipelines.runs.local import read_verdict, start_run

    settings = _settings(options)
    sources = {name: _absolute(value) for name, value in sources.items()}
    for name, path in sources.items():  # at once, rather than when the step that reads it begins
        if path and "://" not in path and not Path(path).exists():
            raise ParameterError(f"--{name}: {path} does not exist; check the path")
    arguments = {
        **sources,
        "tracking_uri": settings.registry_uri,
        "workspace": str(settings.workspace),
        "parameters": encode_parameters(_parameters(defaults, options)),
    }
    result = start_run(pipeline, arguments, settings.home, verbose=options.verbose)
    print(summary.run_summary(result))
    return 0 if read_verdict(result)["passed"] else GATE_REFUSED


def _pipeline_arguments(options: argparse.Namespace) -> dict[str, str]:
    """Return the arguments that the options other than --argument give, as text."""
    settings = read_settings()
    defaults = (
        presets.DEMONSTRATION if options.pipeline == "demonstration" else _with_categories(presets.FOLDER, options)
    )
    arguments = {"parameters": encode_parameters(_parameters(defaults, options))}
    if options.pipeline != "demonstration":
        if not options.images:
            raise ParameterError(
                f"the pipeline {options.pipeline} needs --images, an address that the cluster can read (s3://, gs://)"
            )
        names = ("images", "judgements") if options.pipeline == "reindexing" else ("images", "judgements", "events")
        arguments |= {name: value for name, value in _sources(options).items() if value and name in names}
    if options.tracking_uri or settings.tracking_uri:
        arguments["tracking_uri"] = options.tracking_uri or settings.tracking_uri
    return arguments
