from __future__ import annotations

from pathlib import Path

import pytest

import components.training.tuning as module
from components.shared.errors import DataError, ParameterError, ResourceError
from components.training.tuning import TuningResult, tune
from support.factories.basics import make_catalogue
from support.inputs.training_inputs import SMALL, make_labels

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Optuna's libraries


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tuning")
    make_labels(root, make_catalogue(root, items=8, views=4))
    return root


def search(data: Path, workspace: Path, trials: int, **changes: object) -> TuningResult:
    arguments = {"study_storage": "", "dials": ("learning_rate", "temperature")} | changes
    return tune(
        catalogue=data / "catalogue",
        labels=data / "labels",
        workspace=workspace,
        trials=trials,
        parameters=SMALL,
        **arguments,  # type: ignore[arg-type]
    )


def test_goes_on_where_it_stopped_and_ranks_the_trials(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[float] = []
    real = module._train

    def train(dataset, parameters, scratch, trial):  # type: ignore[no-untyped-def]
        trained.append(parameters.learning_rate)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(dataset, parameters, scratch, trial)

    monkeypatch.setattr(module, "_train", train)
    with pytest.raises(KeyboardInterrupt):
        search(data, tmp_path, 3)
    result = search(data, tmp_path, 3)
    assert len(trained) == len(set(trained)) == 4
    over = [row for row in result.trials if row["state"] in {"complete", "pruned"}]
    assert len(over) == 3
    assert result.trials[0]["state"] == "complete"
    assert result.best.learning_rate == result.trials[0]["learning_rate"]
    assert result.best.architecture == SMALL.architecture
    rates = [row["hit_rate_at_1"] for row in result.trials if row["state"] == "complete"]
    assert rates == sorted(rates, reverse=True)
    search(data, tmp_path, 3)
    assert len(trained) == 4
    assert not list(tmp_path.rglob("checkpoint.pt"))


def test_unusable_arguments_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="got epochs"):
        search(data, tmp_path, 1, dials=("epochs",))
    with pytest.raises(ResourceError, match="cannot be used"):
        search(data, tmp_path, 1, study_storage="nosuch://database")


def test_without_validation_images_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    make_labels(tmp_path, make_catalogue(tmp_path, items=2, views=4))
    with pytest.raises(DataError, match="validation"):
        search(tmp_path, tmp_path / "workspace", 1)
