"""Search for better dials with Optuna: resumable, several processes at a time, poor trials cut short."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from components.shared.errors import DataError, NoPositivePairError, ParameterError, ResourceError
from components.shared.files.artifacts import open_artifact
from components.shared.files.atomic import digest_of
from components.shared.files.sqlite import sqlite_url
from components.training.backbone import input_format
from components.training.dataset import Dataset, open_dataset
from components.training.distributed import Group
from components.training.features import FeatureSets, compute_features
from components.training.head import fit_frozen, train_head
from components.training.job import TrainingJob
from components.training.loop import Figures, Training
from components.training.modes import needs_features
from components.training.parameters import TrainingParameters
from components.training.pretrained import open_pretrained

Dial = Callable[[Trial, str, Any], Any]

# How a dial is searched, given the value that it would have otherwise: rates are searched around it.
DIALS: Mapping[str, Dial] = {
    "learning_rate": lambda trial, name, value: trial.suggest_float(name, value / 10, min(10 * value, 10.0), log=True),
    "temperature": lambda trial, name, value: trial.suggest_float(name, 0.03, 0.3, log=True),
    "weight_decay": lambda trial, name, value: trial.suggest_float(
        name, value / 10 or 1e-5, min(10 * value or 1e-2, 1.0), log=True
    ),
    "crop_area": lambda trial, name, value: trial.suggest_float(name, 0.1, 0.7),
    "colour": lambda trial, name, value: trial.suggest_float(name, 0.0, 0.8),
    "erase": lambda trial, name, value: trial.suggest_float(name, 0.0, 0.5),
    "average_decay": lambda trial, name, value: trial.suggest_categorical(name, [0.99, 0.995, 0.998]),
    "dimension": lambda trial, name, value: trial.suggest_categorical(name, [64, 128, 256]),
    "objective": lambda trial, name, value: trial.suggest_categorical(name, ["multiple", "each", "single"]),
    "category_weight": lambda trial, name, value: trial.suggest_float(name, 0.0, 1.0),
    "head_learning_rate": lambda trial, name, value: trial.suggest_float(name, value / 10, 10 * value, log=True),
    "head_steps": lambda trial, name, value: trial.suggest_categorical(name, [200, 600, 1800]),
}
DEFAULT_DIALS = ("learning_rate", "temperature", "crop_area", "colour")
# On features that are computed once: augmentation and backbone are the same for all trials.
HEAD_DIALS = ("head_learning_rate", "head_steps", "temperature", "objective", "category_weight")

Train = Callable[[TrainingParameters, Path, Trial], float]

_NOTHING_TO_JUDGE_BY = (
    "tuning compares trials on the validation images, and none of them has anything relevant to it; "
    "add images to the validation split, or label them"
)
_HEARTBEAT_SECONDS = 30
_RETRIES = 2
_OVER = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class TuningResult:
    """What a search found.

    Attributes:
        best: the parameters of the best trial, ready to train with.
        trials: one row per trial, best first: trial, state, hit_rate_at_1 (None if it has none), epochs, and its dials.
    """

    best: TrainingParameters
    trials: list[dict[str, Any]]


def tune(
    *,
    catalogue: Path,
    labels: Path,
    workspace: Path,
    study_storage: str,
    trials: int,
    parameters: TrainingParameters,
    study: str = "visual-search",
    dials: tuple[str, ...] | None = None,
) -> TuningResult:
    """Search until `trials` trials are over, counting those of earlier calls and of other processes of the study.

    A trial whose process was killed is noticed by its silence and tried again from its last checkpoint. From scratch, each
    trial trains the network; with a pretrained backbone, each trains a head on features that are computed once.

    Args:
        catalogue: output of the catalogue step.
        labels: output of the labelling step.
        workspace: where decoded pictures and checkpoints are kept.
        study_storage: database URL; "" is a SQLite file in the workspace.
        trials: how many trials in all.
        parameters: where the dials that are not searched stand; more processes than one are not used.
        study: name of the study; data and fixed parameters are part of its identity, so that unlike trials never mix.
        dials: names from `DIALS`; None: those that suit the way to train.

    Raises:
        ParameterError: an unknown dial.
        DataError: there are no validation images to judge by, or no trial has come to an end.
        ResourceError: the database cannot be used.
    """
    on_features = needs_features(parameters)
    dials = dials or (HEAD_DIALS if on_features else DEFAULT_DIALS)
    if on_features and (useless := sorted(set(dials) - {*HEAD_DIALS, "dimension"})):
        raise ParameterError(
            f"dials: {', '.join(useless)} change nothing that a head on computed features depends on; choose among "
            f"{', '.join(HEAD_DIALS)} and dimension, or set training.mode to scratch"
        )
    if unknown := sorted(set(dials) - set(DIALS)):
        raise ParameterError(f"dials: expected names among {', '.join(DIALS)}, got {', '.join(unknown)}")
    fixed = parameters.model_dump(mode="json", exclude=set(dials))
    facts = {"fixed": fixed, "dials": sorted(dials)}
    facts |= {"data": [open_artifact(catalogue, "catalogue").digest, open_artifact(labels, "labelling").digest]}
    directory = workspace / "tuning" / digest_of(facts)[:20]
    directory.mkdir(parents=True, exist_ok=True)
    if parameters.threads:
        torch.set_num_threads(parameters.threads)
    threads = parameters.threads or torch.get_num_threads()
    train: Train
    if on_features:
        job = TrainingJob(catalogue=catalogue, labels=labels, scratch=directory, tracking_uri="", parameters=parameters)
        _, dataset, computer = open_pretrained(job)
        features = compute_features(dataset, computer, directory, parameters, views=parameters.head_views)
        train = partial(_train_head, dataset, features)
    else:
        preprocessing = input_format(parameters).preprocessing
        dataset = open_dataset(catalogue, labels, directory, parameters, preprocessing=preprocessing, threads=threads)
        train = partial(_train, dataset)
    dataset.require_pairs()
    with _database_named(study_storage), _experiments_allowed():
        found = _open_study(
            study_storage or sqlite_url(directory / "study.db"), f"{study}-{directory.name}", parameters
        )
        _run(found, train, directory, parameters, dials, trials)
        return _result(found, parameters)


def _open_study(storage: str, name: str, parameters: TrainingParameters) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database = optuna.storages.RDBStorage(
        storage,
        heartbeat_interval=_HEARTBEAT_SECONDS,
        grace_period=4 * _HEARTBEAT_SECONDS,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
            max_retry=_RETRIES, inherit_intermediate_values=True
        ),
    )
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, parameters.epochs // 4))
    study = optuna.create_study(
        storage=database, study_name=name, direction="maximize", pruner=pruner, load_if_exists=True
    )
    # A sampler that started with the same seed at every call would propose its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=parameters.seed + len(study.get_trials(deepcopy=False)))
    return study


def _run(
    study: optuna.Study,
    train: Train,
    directory: Path,
    parameters: TrainingParameters,
    dials: tuple[str, ...],
    trials: int,
) -> None:
    def objective(trial: Trial) -> float:
        chosen = {name: DIALS[name](trial, name, getattr(parameters, name)) for name in dials}
        values = TrainingParameters.model_validate({**parameters.model_dump(), **chosen, "processes": 1})
        scratch = directory / f"trial-{digest_of(chosen)[:16]}"  # not by number: a retried trial finds its checkpoint
        scratch.mkdir(exist_ok=True)
        try:
            value = train(values, scratch, trial)
        except NoPositivePairError as error:
            raise optuna.TrialPruned(str(error)) from error
        shutil.rmtree(scratch, ignore_errors=True)
        return value

    def stop_when_done(found: optuna.Study, _: FrozenTrial) -> None:
        if len(found.get_trials(deepcopy=False, states=_OVER)) >= trials:
            found.stop()

    missing = trials - len(study.get_trials(deepcopy=False, states=_OVER))
    if missing > 0:
        study.optimize(objective, n_trials=missing, callbacks=[stop_when_done])


def _train(dataset: Dataset, parameters: TrainingParameters, scratch: Path, trial: Trial) -> float:
    rates: list[float] = []

    def judge(figures: Figures, _: float) -> None:
        if (rate := figures.get("validation_hit_rate_at_1")) is None:
            return
        rates.append(rate)
        trial.report(rate, int(figures["epoch"]))
        if trial.should_prune():
            shutil.rmtree(scratch, ignore_errors=True)
            raise optuna.TrialPruned

    training = Training(dataset, parameters, scratch, Group())
    rates += [f["validation_hit_rate_at_1"] for f in training.history if "validation_hit_rate_at_1" in f]
    training.run(judge)
    if not rates:
        raise DataError(_NOTHING_TO_JUDGE_BY)
    return max(rates)


def _train_head(
    dataset: Dataset, features: FeatureSets, parameters: TrainingParameters, scratch: Path, trial: Trial
) -> float:
    start, _ = fit_frozen(dataset, features, parameters)
    _, history = train_head(dataset, features, start, parameters)
    rates = [figures["validation_hit_rate_at_1"] for figures in history if "validation_hit_rate_at_1" in figures]
    if not rates:
        raise DataError(_NOTHING_TO_JUDGE_BY)
    trial.report(max(rates), len(history))
    return max(rates)


def _result(study: optuna.Study, parameters: TrainingParameters) -> TuningResult:
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "hit_rate_at_1": trial.value
            if trial.value is not None
            else trial.intermediate_values.get(trial.last_step or 0),
            "epochs": trial.last_step or 0,
            **trial.params,
        }
        for trial in study.get_trials(deepcopy=False)
    ]
    if not any(row["state"] == "complete" for row in rows):
        raise DataError(f"none of the {len(rows)} trials of the study {study.study_name} has finished; run more")
    rows.sort(key=lambda row: (row["state"] != "complete", -(row["hit_rate_at_1"] or 0.0), row["trial"]))
    best = TrainingParameters.model_validate({**parameters.model_dump(), **study.best_params})
    return TuningResult(best, rows)


@contextmanager
def _database_named(storage: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        raise ResourceError(
            f"the study's database {storage or 'in the workspace'} cannot be used ({error}); expected an address such as "
            "sqlite:////home/me/study.db or postgresql://user@host/name"
        ) from error


@contextmanager
def _experiments_allowed() -> Iterator[None]:
    """Optuna marks heartbeats as experimental; that is no news to the user of this step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
