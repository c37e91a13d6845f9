"""The registration behind the gate.

A pipeline of its own, since kfp forgets, below an `If`, the pipeline parameters that processor and memory are set by.
"""

from kfp import dsl

from components.registration.component import registration
from pipelines.graphs.placement import place


@dsl.pipeline(name="registration")
def placed_registration(
    catalogue: dsl.Input[dsl.Dataset],
    encoder: dsl.Input[dsl.Model],
    embeddings: dsl.Input[dsl.Dataset],
    index: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    champion: dsl.Input[dsl.Model],
    workspace: str,
    workspace_volume: str,
    tracking_uri: str,
    parameters: str,
    cpu: str,
    memory: str,
):
    """Register a release; the parameters are those of the pipeline around it."""
    task = registration(
        catalogue=catalogue,
        encoder=encoder,
        embeddings=embeddings,
        index=index,
        evaluation=evaluation,
        champion=champion,
        workspace=workspace,
        tracking_uri=tracking_uri,
        parameters=parameters,
    )
    place(task, volume=workspace_volume, cpu=cpu, memory=memory)
