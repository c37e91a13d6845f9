"""Hyper-parameter search: catalogue and labels once, then as many trainings as asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.shared.files.sqlite import sqlite_url
from components.shared.files.text_table import text_table
from pipelines.settings import Settings

_SHOWN = 20


def tune_training(
    settings: Settings,
    sources: dict[str, str],
    values: dict[str, dict[str, Any]],
    *,
    trials: int,
    study: str,
    storage: str | None,
) -> str:
    """Search for training parameters on the user's pictures; resumes where an earlier search stopped.

    Args:
        settings: settings with the folder of the workspace.
        sources: images, judgements and events, as addresses.
        values: parameters by step, the starting point of the search.
        trials: number of trials in all, those of earlier calls included.
        study: name under which the search is kept.
        storage: Optuna storage; None: SQLite below the home folder.

    Returns:
        The best trials as a table, and the --set options that repeat the best one.
    """
    from components.catalogue.parameters import CatalogueParameters
    from components.catalogue.step import run as run_catalogue
    from components.labelling.parameters import LabellingParameters
    from components.labelling.step import run as run_labelling
    from components.training.parameters import TrainingParameters
    from components.training.tuning import tune

    folder = settings.home.absolute() / "tuning" / study
    catalogue, labels = folder / "catalogue", folder / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    run_catalogue(
        images=sources["images"],
        destination=catalogue,
        workspace=settings.workspace,
        parameters=CatalogueParameters(**values.get("catalogue", {})),
    )
    run_labelling(
        catalogue=catalogue,
        judgements=sources["judgements"],
        events=sources["events"],
        truth="",
        destination=labels,
        workspace=settings.workspace,
        parameters=LabellingParameters(**values.get("labelling", {})),
    )
    result = tune(
        catalogue=catalogue,
        labels=labels,
        workspace=settings.workspace,
        study_storage=storage or _embedded_storage(settings.home),
        trials=trials,
        parameters=TrainingParameters(**values.get("training", {})),
        study=study,
    )
    return _describe(result.trials, result.best.model_dump(mode="json"))


def _describe(trials: list[dict[str, Any]], best: dict[str, Any]) -> str:
    names = list(trials[0])
    table = text_table(names, [[_cell(trial.get(name)) for name in names] for trial in trials[:_SHOWN]])
    searched = [name for name in names if name in best]
    options = " ".join(f"--set training.{name}={best[name]}" for name in searched)
    return f"{table}\n\nthe best again: visual-search run … {options}"


def _cell(value: object) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _embedded_storage(home: Path) -> str:
    return sqlite_url(home / "tuning" / "optuna.db")
