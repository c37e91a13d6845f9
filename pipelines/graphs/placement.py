"""Placement and resources of a task on the cluster. `kfp.local` ignores all of it, so the same pipeline runs on a laptop."""

from kfp import kubernetes
from kfp.dsl import PipelineTask
from kfp.dsl.pipeline_channel import PipelineParameterChannel

WORKSPACE_MOUNT = "/workspace"
WORKSPACE_VOLUME = "visual-search-workspace"  # the default claim; a claim is found in the namespace of the tasks only

# Credentials of object stores and of the tracking server come from one optional Secret, never from parameters: the
# executor prints every parameter, and parameters are shown to everybody who may see a run.
CREDENTIALS_SECRET = "visual-search-credentials"  # noqa: S105 (the name of a Secret)
CREDENTIALS = {
    name: name
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
    )
}

_USER = 1000


def place(
    task: PipelineTask,
    *,
    volume: PipelineParameterChannel,
    cpu: PipelineParameterChannel | str,
    memory: PipelineParameterChannel | str,
) -> PipelineTask:
    """Give a task its identity (non-root), workspace volume, credentials, processor and memory.

    Kubeflow's cache is off: its key holds names, not contents (a changed folder of pictures would be a hit); the
    workspace keeps finished work by content instead.
    """
    kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
    kubernetes.mount_pvc(task, pvc_name=volume, mount_path=WORKSPACE_MOUNT)
    kubernetes.use_secret_as_env(task, CREDENTIALS_SECRET, CREDENTIALS, optional=True)
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.set_caching_options(False)
    return task


def accelerate(task: PipelineTask, *, kind: PipelineParameterChannel, count: PipelineParameterChannel) -> PipelineTask:
    """Give a training task its accelerators, and shared memory for its worker processes."""
    task.set_accelerator_type(kind).set_accelerator_limit(count)
    kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit="4Gi")  # noqa: S108
    return task
