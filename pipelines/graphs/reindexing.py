"""The second pipeline: new and removed pictures into a new generation of the champion, with the champion's encoder."""

from kfp import dsl

from components.catalogue.component import catalogue
from components.embedding.component import renewal
from components.evaluation.component import evaluation
from components.indexing.component import indexing
from components.labelling.component import labelling
from components.registration.component import champion
from pipelines.graphs.placement import WORKSPACE_MOUNT, WORKSPACE_VOLUME, place
from pipelines.graphs.registration import placed_registration


@dsl.pipeline(
    name="visual-search-reindexing",
    description="The catalogue as it is now, embedded with the champion's encoder: a new generation in the same space.",
)
def reindexing_pipeline(
    images: str,
    judgements: str = "",
    tracking_uri: str = "http://mlflow:5000",
    workspace: str = WORKSPACE_MOUNT,
    workspace_volume: str = WORKSPACE_VOLUME,
    parameters: str = "{}",
    cpu: str = "4",
    memory: str = "8Gi",
):
    """Index the catalogue anew without a new encoder.

    Args:
        images: folder or CSV/Parquet manifest of pictures; local path, s3:// or gs://.
        judgements: CSV or Label Studio export of human judgements, for the evaluation; empty: none.
        tracking_uri: MLflow tracking server and registry; it must have a champion.
        workspace: directory that outlives runs, where unfinished work is picked up.
        workspace_volume: name of the volume claim mounted there on the cluster.
        parameters: JSON of parameters by step, for example {"indexing": {"recall_target": 0.98}}.
        cpu: processors of a task, Kubernetes quantity.
        memory: memory of a task, Kubernetes quantity.
    """
    champion_task = champion(workspace=workspace, tracking_uri=tracking_uri)
    catalogue_task = catalogue(images=images, workspace=workspace, parameters=parameters)
    labelling_task = labelling(
        catalogue=catalogue_task.outputs["catalogue"],
        judgements=judgements,
        events="",
        truth="",
        workspace=workspace,
        parameters=parameters,
    )
    renewal_task = renewal(
        catalogue=catalogue_task.outputs["catalogue"],
        champion=champion_task.outputs["champion"],
        workspace=workspace,
        parameters=parameters,
    )
    indexing_task = indexing(
        catalogue=catalogue_task.outputs["catalogue"],
        embeddings=renewal_task.outputs["embeddings"],
        workspace=workspace,
        parameters=parameters,
    )
    evaluation_task = evaluation(
        catalogue=catalogue_task.outputs["catalogue"],
        labels=labelling_task.outputs["labels"],
        encoder=champion_task.outputs["champion"],
        embeddings=renewal_task.outputs["embeddings"],
        index=indexing_task.outputs["index"],
        champion=champion_task.outputs["champion"],
        workspace=workspace,
        parameters=parameters,
    )
    with dsl.If(evaluation_task.outputs["Output"] == True, name="gate-passed"):  # noqa: E712 (kfp compiles the comparison)
        placed_registration(
            catalogue=catalogue_task.outputs["catalogue"],
            encoder=champion_task.outputs["champion"],
            embeddings=renewal_task.outputs["embeddings"],
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
        renewal_task,
        indexing_task,
        evaluation_task,
    ):
        place(task, volume=workspace_volume, cpu=cpu, memory=memory)
