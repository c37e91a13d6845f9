"""The rendered shop as a pipeline task: pictures, judgements and clicks to start from."""

from typing import NamedTuple

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def rendering(workspace: str, parameters: str) -> NamedTuple(  # type: ignore[valid-type]
    "World", [("images", str), ("judgements", str), ("events", str), ("truth", str)]
):
    """Render a catalogue with judgements and clicks of simulated people into the workspace."""
    from pathlib import Path

    from components.rendering.parameters import RenderingParameters
    from components.rendering.step import run
    from components.shared.files.layout import EVENTS_FILE
    from components.shared.parameters import step_parameters

    world = Path(workspace) / "rendered"
    run(
        destination=world,
        workspace=Path(workspace),
        parameters=step_parameters(parameters, "rendering", RenderingParameters),
    )
    return str(world / "manifest.csv"), str(world / "judgements.csv"), str(world / EVENTS_FILE), str(world)
