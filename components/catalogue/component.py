"""The catalogue as pipeline tasks: pictures from a folder or manifest, or rendered ones to start from."""

from typing import NamedTuple

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def catalogue(catalogue: dsl.Output[dsl.Dataset], images: str, workspace: str, parameters: str) -> None:
    """Validate, fingerprint, group and split the pictures of a folder or manifest."""
    import json
    from pathlib import Path

    from components.catalogue.parameters import CatalogueParameters
    from components.catalogue.step import run

    run(
        images=images,
        destination=Path(catalogue.path),
        workspace=Path(workspace),
        parameters=CatalogueParameters(**json.loads(parameters).get("catalogue", {})),
    )


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def rendering(workspace: str, parameters: str) -> NamedTuple(  # type: ignore[valid-type]
    "World", [("images", str), ("judgements", str), ("events", str), ("truth", str)]
):
    """Render a catalogue with judgements and clicks of simulated people into the workspace."""
    import json
    from pathlib import Path

    from components.catalogue.rendering.parameters import RenderingParameters
    from components.catalogue.rendering.step import run

    world = Path(workspace) / "rendered"
    run(
        destination=world,
        workspace=Path(workspace),
        parameters=RenderingParameters(**json.loads(parameters).get("rendering", {})),
    )
    return str(world / "manifest.csv"), str(world / "judgements.csv"), str(world / "events.parquet"), str(world)
