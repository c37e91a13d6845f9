"""Labelling as a pipeline task."""

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def labelling(
    catalogue: dsl.Input[dsl.Dataset],
    labels: dsl.Output[dsl.Dataset],
    judgements: str,
    events: str,
    truth: str,
    workspace: str,
    parameters: str,
) -> None:
    """Turn judgements, clicks and self-supervision into training pairs."""
    from pathlib import Path

    from components.labelling.parameters import LabellingParameters
    from components.labelling.step import run
    from components.shared.parameters import step_parameters

    run(
        catalogue=Path(catalogue.path),
        judgements=judgements,
        events=events,
        truth=truth,
        destination=Path(labels.path),
        workspace=Path(workspace),
        parameters=step_parameters(parameters, "labelling", LabellingParameters),
    )
