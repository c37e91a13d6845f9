"""The recurring pipeline: check the champion and, if the remedy is a pipeline, run that one."""

from kfp import dsl

from components.registration.component import champion
from monitoring.component import monitoring
from pipelines.graphs.placement import WORKSPACE_MOUNT, WORKSPACE_VOLUME, place
from pipelines.graphs.reindexing import reindexing_pipeline
from pipelines.graphs.training import training_pipeline


@dsl.pipeline(
    name="visual-search-monitoring",
    description="Drift, diagnosis and online metrics of the champion; then training or re-indexing, if that is the remedy.",
)
def monitoring_pipeline(
    images: str,
    samples: str,
    judgements: str = "",
    events: str = "",
    click_log: str = "",
    tracking_uri: str = "http://mlflow:5000",
    workspace: str = WORKSPACE_MOUNT,
    workspace_volume: str = WORKSPACE_VOLUME,
    parameters: str = "{}",
    hours: float = 24.0,
    cool_down_hours: float = 24.0,
    cpu: str = "4",
    memory: str = "8Gi",
    training_cpu: str = "8",
    training_memory: str = "32Gi",
    accelerator_type: str = "nvidia.com/gpu",
    accelerator_count: str = "0",
):
    """Check the champion, and run the pipeline of its remedy.

    Args:
        images: the catalogue as it is now, for the remedy.
        samples: folder of the transformer's query samples, on the workspace's volume.
        events: event log for the online metrics: Parquet, local or of an object store; empty: none.
        judgements: CSV or Label Studio export of human judgements; empty: none.
        click_log: click log in Parquet to learn from; empty: none.
        tracking_uri: MLflow tracking server and registry.
        workspace: directory that outlives runs; the history of monitoring and the ledger of remedies lie in it too.
        workspace_volume: name of the volume claim mounted there on the cluster.
        parameters: JSON of the remedy's parameters by step.
        hours: length of the window of queries.
        cool_down_hours: between two starts of one remedy.
        cpu: processors of a task, Kubernetes quantity.
        memory: memory of a task, Kubernetes quantity.
        training_cpu: processors of the training task.
        training_memory: memory of the training task.
        accelerator_type: resource name of the training task's accelerators.
        accelerator_count: how many of them; "0" trains on processors.
    """
    champion_task = champion(workspace=workspace, tracking_uri=tracking_uri)
    monitoring_task = monitoring(
        champion=champion_task.outputs["champion"],
        samples=samples,
        events=events,
        workspace=workspace,
        hours=hours,
        cool_down_hours=cool_down_hours,
    )
    for task in (champion_task, monitoring_task):
        place(task, volume=workspace_volume, cpu=cpu, memory=memory)
    shared = {
        "images": images,
        "judgements": judgements,
        "tracking_uri": tracking_uri,
        "workspace": workspace,
        "workspace_volume": workspace_volume,
        "parameters": parameters,
        "cpu": cpu,
        "memory": memory,
    }
    # By a task's only output, the number of a pipeline (monitoring.task): kfp.local finds no other in a condition.
    with dsl.If(monitoring_task.outputs["Output"] == 1, name="train-again"):
        training_pipeline(
            **shared,
            events=click_log,
            truth="",
            training_cpu=training_cpu,
            training_memory=training_memory,
            accelerator_type=accelerator_type,
            accelerator_count=accelerator_count,
        )
    with dsl.If(monitoring_task.outputs["Output"] == 2, name="index-again"):
        reindexing_pipeline(**shared)
