"""Monitoring as a pipeline task: look once, say which pipeline is called for."""

from typing import NamedTuple

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def monitoring(
    champion: dsl.Input[dsl.Model],
    page: dsl.Output[dsl.HTML],
    record: dsl.Output[dsl.Artifact],
    figures: dsl.Output[dsl.Metrics],
    samples: str,
    events: str,
    workspace: str,
    hours: float,
    cool_down_hours: float,
) -> NamedTuple("Called", [("training", bool), ("reindexing", bool)]):  # type: ignore[valid-type]  # as kfp reads it
    """Look at the champion; the record, its history and the ledger of remedies lie in the workspace."""
    from pathlib import Path

    from monitoring.task import run

    return run(
        champion=Path(champion.path),
        page=Path(page.path),
        record=Path(record.path),
        log_metric=figures.log_metric,
        samples=samples,
        events=events,
        workspace=Path(workspace),
        hours=hours,
        cool_down_hours=cool_down_hours,
    )
