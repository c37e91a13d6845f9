"""Monitoring as a pipeline task: look once, say which pipeline is called for."""

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
) -> int:
    """Look at the champion; return the pipeline that is to run: 0 none, 1 training, 2 re-indexing.

    The record, its history and the ledger of remedies are stored in the workspace.
    """
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
