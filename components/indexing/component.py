"""Indexing as a pipeline task."""

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def indexing(
    catalogue: dsl.Input[dsl.Dataset],
    embeddings: dsl.Input[dsl.Dataset],
    index: dsl.Output[dsl.Model],
    workspace: str,
    parameters: str,
) -> None:
    """Choose, train, build, tune and verify the index."""
    from pathlib import Path

    from components.indexing.parameters import IndexingParameters
    from components.indexing.step import run
    from components.shared.parameters import step_parameters

    run(
        catalogue=Path(catalogue.path),
        embeddings=Path(embeddings.path),
        destination=Path(index.path),
        workspace=Path(workspace),
        parameters=step_parameters(parameters, "indexing", IndexingParameters),
    )
