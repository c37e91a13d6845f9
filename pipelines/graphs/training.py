"""The main pipeline: from a folder of pictures to a registered release."""

from kfp import dsl

from components.catalogue.component import catalogue
from components.embedding.component import embedding
from components.evaluation.component import evaluation
from components.indexing.component import indexing
from components.labelling.component import labelling
from components.registration.component import champion
from components.training.component import training
from pipelines.graphs.placement import WORKSPACE_MOUNT, WORKSPACE_VOLUME, accelerate, place
from pipelines.graphs.registration import placed_registration


@dsl.pipeline(
    name="visual-search-training",
    description="Pictures, judgements and clicks in; a trained encoder and a tuned index out, as one registered release.",
)
def training_pipeline(
    images: str,
    judgements: str = "",
    events: str = "",
    truth: str = "",
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
    """Learn, index, evaluate and register.

    Args:
        images: folder or CSV/Parquet manifest of pictures; local path, s3:// or gs://.
        judgements: CSV or Label Studio export of human judgements; empty: none.
        events: click log in Parquet; empty: none.
        truth: folder with the truth behind a simulated log, to measure labelling by; empty: none.
        tracking_uri: MLflow tracking server and registry.
        workspace: directory that outlives runs, where unfinished work is picked up.
        workspace_volume: name of the volume claim mounted there on the cluster.
        parameters: JSON of parameters by step, for example {"training": {"epochs": 30}}.
        cpu: processors of a task, Kubernetes quantity.
        memory: memory of a task, Kubernetes quantity.
        training_cpu: processors of the training task.
        training_memory: memory of the training task.
        accelerator_type: resource name of the training task's accelerators.
        accelerator_count: how many of them; "0" trains on processors.
    """
    champion_task = champion(workspace=workspace, tracking_uri=tracking_uri)
    catalogue_task = catalogue(images=images, workspace=workspace, parameters=parameters)
    labelling_task = labelling(
        catalogue=catalogue_task.outputs["catalogue"],
        judgements=judgements,
        events=events,
        truth=truth,
        workspace=workspace,
        parameters=parameters,
    )
    training_task = training(
        catalogue=catalogue_task.outputs["catalogue"],
        labels=labelling_task.outputs["labels"],
        workspace=workspace,
        tracking_uri=tracking_uri,
        parameters=parameters,
    )
    embedding_task = embedding(
        catalogue=catalogue_task.outputs["catalogue"],
        encoder=training_task.outputs["encoder"],
        workspace=workspace,
        parameters=parameters,
    )
    indexing_task = indexing(
        catalogue=catalogue_task.outputs["catalogue"],
        embeddings=embedding_task.outputs["embeddings"],
        workspace=workspace,
        parameters=parameters,
    )
    evaluation_task = evaluation(
        catalogue=catalogue_task.outputs["catalogue"],
        labels=labelling_task.outputs["labels"],
        encoder=training_task.outputs["encoder"],
        embeddings=embedding_task.outputs["embeddings"],
        index=indexing_task.outputs["index"],
        champion=champion_task.outputs["champion"],
        workspace=workspace,
        parameters=parameters,
    )
    with dsl.If(evaluation_task.outputs["Output"] == True, name="gate-passed"):  # noqa: E712 (kfp compiles the comparison)
        placed_registration(
            catalogue=catalogue_task.outputs["catalogue"],
            encoder=training_task.outputs["encoder"],
            embeddings=embedding_task.outputs["embeddings"],
            index=indexing_task.outputs["index"],
            evaluation=evaluation_task.outputs["evaluation"],
            champion=champion_task.outputs["champion"],
            workspace=workspace,
            workspace_volume=workspace_volume,
            tracking_uri=tracking_uri,
            parameters=parameters,
            cpu=cpu,
            memory=memory,
        )
    for task in (
        champion_task,
        catalogue_task,
        labelling_task,
        embedding_task,
        indexing_task,
        evaluation_task,
    ):
        place(task, volume=workspace_volume, cpu=cpu, memory=memory)
    place(training_task, volume=workspace_volume, cpu=training_cpu, memory=training_memory)
    accelerate(training_task, kind=accelerator_type, count=accelerator_count)
