"""Training as a pipeline task."""

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def training(
    catalogue: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    encoder: dsl.Output[dsl.Model],
    workspace: str,
    tracking_uri: str,
    parameters: str,
) -> None:
    """Train the encoder contrastively and export it to ONNX."""
    from pathlib import Path

    from components.shared.parameters import step_parameters
    from components.training.parameters import TrainingParameters
    from components.training.step import run

    run(
        catalogue=Path(catalogue.path),
        labels=Path(labels.path),
        destination=Path(encoder.path),
        workspace=Path(workspace),
        tracking_uri=tracking_uri,
        parameters=step_parameters(parameters, "training", TrainingParameters),
    )
