"""Embedding as pipeline tasks: with a new encoder, or with the champion's."""

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def embedding(
    catalogue: dsl.Input[dsl.Dataset],
    encoder: dsl.Input[dsl.Model],
    embeddings: dsl.Output[dsl.Dataset],
    workspace: str,
    parameters: str,
) -> None:
    """Embed the catalogue with the exported encoder."""
    from pathlib import Path

    from components.embedding.parameters import EmbeddingParameters
    from components.embedding.step import run
    from components.shared.parameters import step_parameters

    run(
        catalogue=Path(catalogue.path),
        encoder=Path(encoder.path),
        previous=None,
        destination=Path(embeddings.path),
        workspace=Path(workspace),
        parameters=step_parameters(parameters, "embedding", EmbeddingParameters),
    )


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def renewal(
    catalogue: dsl.Input[dsl.Dataset],
    champion: dsl.Input[dsl.Model],
    embeddings: dsl.Output[dsl.Dataset],
    workspace: str,
    parameters: str,
) -> None:
    """Embed what is new in the catalogue with the champion's encoder; unchanged images keep the champion's vectors."""
    from pathlib import Path

    from components.embedding.parameters import EmbeddingParameters
    from components.embedding.step import run
    from components.shared.parameters import step_parameters

    run(
        catalogue=Path(catalogue.path),
        encoder=Path(champion.path),
        previous=Path(champion.path),
        destination=Path(embeddings.path),
        workspace=Path(workspace),
        parameters=step_parameters(parameters, "embedding", EmbeddingParameters),
    )
