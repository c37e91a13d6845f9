"""The catalogue as a pipeline task."""

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def catalogue(catalogue: dsl.Output[dsl.Dataset], images: str, workspace: str, parameters: str) -> None:
    """Validate, fingerprint, group and split the pictures of a folder or manifest."""
    from pathlib import Path

    from components.catalogue.parameters import CatalogueParameters
    from components.catalogue.step import run
    from components.shared.parameters import step_parameters

    run(
        images=images,
        destination=Path(catalogue.path),
        workspace=Path(workspace),
        parameters=step_parameters(parameters, "catalogue", CatalogueParameters),
    )
