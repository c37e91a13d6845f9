"""The tests as metrics of Evidently: the same figures, pass and fail, JSON, HTML and a workspace; imported only then."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from components.shared.errors import ContractError, DataError, SpaceMismatchError
from components.shared.vectors.embeddings import normalise
from monitoring.drift.comparison import EMBEDDING_TESTS, Comparison, compare
from monitoring.drift.evidently_report import HTML_FILE, JSON_FILE, add_to_workspace, make_report
from monitoring.drift.parameters import DriftParameters
from support.factories.drift_factory import make_inputs, make_sample, make_vectors

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PARAMETERS = DriftParameters(seed=3)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Evidently's imports warn of what its libraries will drop
    from monitoring.drift.evidently_metrics import DriftEffect, DriftPValue, data_set, sample_of

    from evidently import Report  # isort: skip

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::RuntimeWarning")


def compared(*, drift: bool) -> Comparison:
    rng = np.random.default_rng(1)
    vectors = make_vectors(300, rng)
    if drift:
        vectors = normalise(vectors + 0.3 * np.eye(1, 32))
    reference = make_sample(make_vectors(600, rng), make_inputs(600, rng))
    found = compare(reference, make_sample(vectors, make_inputs(300, rng)), PARAMETERS)
    assert found is not None
    return found


@pytest.mark.parametrize("drift", [False, True])
def test_the_report_says_what_the_tests_say(tmp_path: Path, drift: bool) -> None:
    comparison = compared(drift=drift)
    run = make_report(comparison, PARAMETERS, at=AT, tags={"arm": "champion"})
    assert run.passed is not drift
    run.write(tmp_path)
    assert (tmp_path / HTML_FILE).stat().st_size > 100_000
    found = json.loads((tmp_path / JSON_FILE).read_text())
    values = {
        (metric["config"]["type"].split(":")[-1], metric["config"]["test"]): metric["value"]
        for metric in found["metrics"]
    }
    for tested in (*comparison.embeddings, *comparison.inputs):
        assert values["DriftPValue", tested.outcome.name] == pytest.approx(tested.adjusted)
        assert values["DriftEffect", tested.outcome.name] == pytest.approx(tested.outcome.effect)
    failed = [test for test in found["tests"] if test["status"] == "FAIL"]
    assert len(failed) == sum(tested.adjusted <= 0.01 for tested in (*comparison.embeddings, *comparison.inputs))


def test_the_metrics_stand_alone() -> None:
    comparison = compared(drift=True)
    told = PARAMETERS.model_dump(exclude_defaults=True)
    metrics = [DriftPValue(test=EMBEDDING_TESTS[0], parameters=told), DriftEffect(test="brightness", parameters=told)]
    current, reference = data_set(comparison.window), data_set(comparison.reference)
    snapshot = Report(metrics, include_tests=True).run(current, reference)
    found = {metric["config"]["test"]: metric["value"] for metric in json.loads(snapshot.json())["metrics"]}
    assert found[EMBEDDING_TESTS[0]] == pytest.approx(comparison.tested(EMBEDDING_TESTS[0]).adjusted)
    assert found["brightness"] == pytest.approx(comparison.tested("brightness").outcome.effect)
    np.testing.assert_array_equal(sample_of(current).vectors, comparison.window.vectors)


def test_what_the_metrics_refuse() -> None:
    rng = np.random.default_rng(1)
    whole, other = make_sample(make_vectors(300, rng)), make_sample(make_vectors(300, rng), space_id="s-2")

    def go(metric: object, current: object, reference: object) -> None:
        Report([metric], include_tests=False).run(current, reference)

    metric = DriftPValue(test="occupancy")
    with pytest.raises(SpaceMismatchError):
        go(metric, data_set(whole), data_set(other))
    with pytest.raises(DataError, match="fewer than 200"):
        go(metric, data_set(make_sample(whole.vectors[:100])), data_set(whole))
    with pytest.raises(ContractError, match="reference"):
        go(metric, data_set(whole), None)
    with pytest.raises(ContractError, match="brightness"):
        go(DriftPValue(test="brightness"), data_set(whole), data_set(whole))


def test_a_workspace_gathers_the_runs(tmp_path: Path) -> None:
    from evidently.ui.workspace import Workspace

    run = make_report(compared(drift=False), PARAMETERS, at=AT)
    ids = [add_to_workspace(run, tmp_path / "workspace", project="champion") for _ in range(2)]
    add_to_workspace(run, tmp_path / "workspace", project="challenger")
    workspace = Workspace(str(tmp_path / "workspace"))
    projects = {project.name: project for project in workspace.list_projects()}
    assert set(projects) == {"champion", "challenger"}
    assert sorted(map(str, workspace.list_runs(projects["champion"].id))) == sorted(ids)
    panels = projects["champion"].dashboard.model().panels
    assert [panel.title for panel in panels] == ["Adjusted p-values", "Effects"]


def test_evidently_is_imported_by_the_report_only_and_does_not_report_home() -> None:
    code = (
        "import sys, os; import monitoring.assessment, monitoring.drift.evidently_report; "
        "assert 'evidently' not in sys.modules and 'pandas' not in sys.modules, 'imported'; "
        "import monitoring.drift.evidently_metrics; print(os.environ['DO_NOT_TRACK'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
