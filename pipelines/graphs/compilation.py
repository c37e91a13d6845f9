"""Pipelines to the YAML that a Kubeflow Pipelines server takes, and the checks that it must pass first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from components.container_images import PIPELINE_IMAGE
from components.shared.errors import ContractError, ParameterError
from components.shared.files.atomic import whole_file
from pipelines import PIPELINE_NAMES
from pipelines.runs.process import load_pipeline

_ARGUMENT_LIMIT_BYTES = 128 * 1024  # Linux, MAX_ARG_STRLEN: the component's source is one argument
_TEXT_COMPARISON = re.compile(r"[=!<>]=?\s*['\"]")
_SECRET_WORDS = ("secret", "password", "token", "credential", "api_key")


def compile_pipeline(
    name: str, destination: Path, *, image: str = PIPELINE_IMAGE, kubernetes: bool = False, namespace: str = ""
) -> None:
    """Compile a pipeline into `destination`, deterministically.

    Args:
        name: one of `PIPELINE_NAMES`.
        destination: YAML file to write.
        image: OCI image that every task runs in; in production with its digest.
        kubernetes: write the resources Pipeline and PipelineVersion for `kubectl apply` (they register, they never run).
        namespace: namespace of these resources.

    Raises:
        ParameterError: there is no such pipeline.
        ContractError: the compiled pipeline breaks a rule of `check_compiled`.
    """
    from kfp import compiler
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    if name not in PIPELINE_NAMES:
        raise ParameterError(f"unknown pipeline {name!r}; available: {', '.join(PIPELINE_NAMES)}")
    pipeline = load_pipeline(name)
    options = KubernetesManifestOptions(
        pipeline_name=pipeline.name, namespace=namespace or None, include_pipeline_manifest=True
    )
    with whole_file(destination) as temporary:
        draft = temporary.with_suffix(".yaml")
        try:
            compiler.Compiler().compile(
                pipeline,
                str(draft),
                **({"kubernetes_manifest_format": True, "kubernetes_manifest_options": options} if kubernetes else {}),
            )
            text = draft.read_text().replace(PIPELINE_IMAGE, image)
        finally:
            draft.unlink(missing_ok=True)
        faults = check_compiled(list(yaml.safe_load_all(text)), image=image)
        if faults:
            raise ContractError(f"the pipeline {name} breaks rules of the cluster: {'; '.join(faults)}")
        temporary.write_text(text)


def check_compiled(documents: list[dict[str, Any]], *, image: str = PIPELINE_IMAGE) -> list[str]:
    """Return what a compiled pipeline does that it must not, one sentence each.

    Args:
        documents: the YAML documents of a compiled file: pipeline spec and platform spec, or Kubernetes resources.
        image: the image that every task must use.
    """
    spec, platform = _specs(documents)
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    placements = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    faults = [fault for name, executor in executors.items() for fault in _executor_faults(name, executor, image)]
    for name in executors:
        if not placements.get(name, {}).get("securityContext", {}).get("runAsNonRoot"):
            faults.append(f"{name} may run as root (a namespace that enforces the restricted profile refuses it)")
    components = spec.get("components", {})
    leaves = {name for name, component in components.items() if "executorLabel" in component}
    for name, component in {"root": spec.get("root", {}), **components}.items():
        faults += _component_faults(name, component, leaves)
    return faults


def _specs(documents: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    versions = [document["spec"] for document in documents if document.get("kind") == "PipelineVersion"]
    if versions:
        return versions[0]["pipelineSpec"], versions[0].get("platformSpec", {})
    plain = [document for document in documents if "pipelineInfo" in document]
    platforms = [document for document in documents if "platforms" in document]
    return plain[0], platforms[0] if platforms else {}


def _executor_faults(name: str, executor: dict[str, Any], image: str) -> list[str]:
    container = executor.get("container", {})
    words = [*container.get("command", []), *container.get("args", [])]
    faults = []
    if container.get("image") != image:
        faults.append(f"{name} uses the image {container.get('image')}, not {image}")
    if any("pip install" in word or "pip3 install" in word for word in words):
        faults.append(f"{name} installs packages at run time")
    if any(len(word.encode()) > _ARGUMENT_LIMIT_BYTES for word in words):
        faults.append(f"{name} has an argument of more than 128 KiB, which Linux refuses")
    return faults


def _component_faults(name: str, component: dict[str, Any], leaves: set[str]) -> list[str]:
    faults = []
    for parameter in component.get("inputDefinitions", {}).get("parameters", {}):
        if any(word in parameter.lower() for word in _SECRET_WORDS):
            faults.append(f"{name} takes a secret as the parameter {parameter}, which every viewer of the run can read")
    for task_name, task in component.get("dag", {}).get("tasks", {}).items():
        if task["componentRef"]["name"] in leaves and task.get("cachingOptions", {}).get("enableCache"):
            faults.append(f"{task_name} is cached by Kubeflow, which ignores file contents")
        if "parameterIterator" in task or "artifactIterator" in task:
            faults.append(f"{task_name} loops over tasks; fan out inside the step instead (kubeflow/pipelines#12131)")
        if _TEXT_COMPARISON.search(task.get("triggerPolicy", {}).get("condition", "")):
            faults.append(f"{task_name} depends on a comparison of text, which kfp.local evaluates as code")
    return faults
