"""The main pipeline on a catalogue that it renders itself, so that it runs where there are no pictures yet."""

from kfp import dsl

from components.rendering.component import rendering
from pipelines.graphs.placement import WORKSPACE_MOUNT, WORKSPACE_VOLUME, place
from pipelines.graphs.training import training_pipeline


@dsl.pipeline(
    name="visual-search-demonstration",
    description="Renders products, judgements and clicks of simulated people, then runs the training pipeline on them.",
)
def demonstration_pipeline(
    tracking_uri: str = "http://mlflow:5000",
    workspace: str = WORKSPACE_MOUNT,
    workspace_volume: str = WORKSPACE_VOLUME,
    parameters: str = "{}",
    cpu: str = "4",
    memory: str = "8Gi",
    training_cpu: str = "8",
    training_memory: str = "32Gi",
    accelerator_type: str = "nvidia.com/gpu",
    accelerator_count: str = "0",
):
    """Render a world and learn it; the parameters are those of the training pipeline."""
    rendering_task = rendering(workspace=workspace, parameters=parameters)
    place(rendering_task, volume=workspace_volume, cpu=cpu, memory=memory)
    training_pipeline(
        images=rendering_task.outputs["images"],
        judgements=rendering_task.outputs["judgements"],
        events=rendering_task.outputs["events"],
        truth=rendering_task.outputs["truth"],
        tracking_uri=tracking_uri,
        workspace=workspace,
        workspace_volume=workspace_volume,
        parameters=parameters,
        cpu=cpu,
        memory=memory,
        training_cpu=training_cpu,
        training_memory=training_memory,
        accelerator_type=accelerator_type,
        accelerator_count=accelerator_count,
    )
