"""The report of drift by Evidently: JSON, HTML and a workspace for its UI. Evidently is imported by the calls only."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.drift.comparison import EMBEDDING_TESTS, Comparison
from monitoring.drift.parameters import DriftParameters

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

JSON_FILE = "evidently.json"
HTML_FILE = "evidently.html"


@dataclass(frozen=True)
class EvidentlyRun:
    """A report of Evidently.

    Attributes:
        snapshot: Evidently's own object.
        passed: whether all its tests pass.
    """

    snapshot: Snapshot
    passed: bool

    def write(self, directory: Path) -> None:
        """Write `evidently.json` and `evidently.html` (self-contained, 4 MB)."""
        directory.mkdir(parents=True, exist_ok=True)
        self.snapshot.save_json(str(directory / JSON_FILE))
        self.snapshot.save_html(str(directory / HTML_FILE))


def make_report(
    comparison: Comparison,
    parameters: DriftParameters,
    *,
    at: datetime.datetime,
    tags: dict[str, str] | None = None,
    embeddings_drift: bool = False,
) -> EvidentlyRun:
    """Put a comparison into a report of Evidently, a metric and a test for each of our tests.

    Args:
        comparison: results of the tests, which are not run again.
        parameters: parameters of the run.
        at: time of the report.
        tags: further metadata, for example the arm.
        embeddings_drift: also run Evidently's own `EmbeddingsDrift` (a domain classifier with a fixed threshold). It takes
            about 55 CPU seconds for any window, for a map by t-SNE, and its alarms are not calibrated.
    """
    from monitoring.drift.evidently_metrics import EMBEDDING, DriftEffect, DriftPValue, data_set, remember

    from evidently import Report  # isort: skip  # after ours, which keeps it from reporting home

    names = [*EMBEDDING_TESTS, *(tested.outcome.name for tested in comparison.inputs)]
    told = parameters.model_dump(exclude_defaults=True)
    metrics: list[Any] = []
    for name in names:
        metrics += [DriftPValue(test=name, parameters=told), DriftEffect(test=name, parameters=told)]
    if embeddings_drift:
        metrics.append(_embeddings_drift(EMBEDDING))
    current, reference = data_set(comparison.window), data_set(comparison.reference)
    remember(current, comparison)
    metadata = {"space_id": comparison.window.space_id, **(tags or {})}
    snapshot = Report(metrics, include_tests=True).run(current, reference, timestamp=at, metadata=metadata)
    passed = all(result.status.value == "SUCCESS" for result in snapshot.tests_results)
    return EvidentlyRun(snapshot, passed)


def add_to_workspace(run: EvidentlyRun, directory: Path, *, project: str) -> str:
    """Add a report to a workspace, which `evidently ui --workspace DIRECTORY` shows; the project is made if need be.

    Args:
        run: the report.
        directory: the workspace.
        project: its name, for example that of the arm.

    Returns:
        Evidently's id of the run.
    """
    from monitoring.drift import evidently_metrics  # noqa: F401  # keeps Evidently from reporting home

    from evidently.ui.workspace import Workspace  # isort: skip

    workspace = Workspace.create(str(directory))
    found = next((known for known in workspace.list_projects() if known.name == project), None)
    if found is None:
        found = workspace.create_project(project)
        _add_panels(found)
    return str(workspace.add_run(found.id, run.snapshot).id)


def _add_panels(project: Any) -> None:
    """Plot p-value and effect of each test of the embeddings over time."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    for title, metric in (("Adjusted p-values", "DriftPValue"), ("Effects", "DriftEffect")):
        values = [
            PanelMetric(legend=name.replace("_", " "), metric=metric, metric_labels={"test": name})
            for name in EMBEDDING_TESTS
        ]
        project.dashboard.add_panel(line_plot_panel(title=title, values=values))


def _embeddings_drift(name: str) -> Any:
    from evidently.metrics.embeddings import EmbeddingsDrift, ModelDriftMethod
    from evidently.tests import lt

    return EmbeddingsDrift(embeddings_name=name, drift_method=ModelDriftMethod(), tests=[lt(0.55)])
