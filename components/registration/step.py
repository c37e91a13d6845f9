"""The registration step: one release, one version."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from components.registration.assembly import ReleaseParts, assemble_release
from components.registration.parameters import RegistrationParameters
from components.registration.registry import Registry
from components.registration.verdict import read_gate
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.workspace import Workspace


def run(
    *,
    catalogue: Path,
    encoder: Path,
    embeddings: Path,
    index: Path,
    evaluation: Path,
    champion: Path,
    destination: Path,
    workspace: Path,
    tracking_uri: str,
    parameters: RegistrationParameters,
) -> Artifact:
    """Assemble the release, verify it, and register it as one version in MLflow.

    The release depends on everything but the champion and the registry, so a rerun gives the same one. Registration is
    repeated on each run, since another registry, or a restored one, can lack the release.

    Args:
        catalogue: output of the catalogue step.
        encoder: output of the training step, or of `fetch_champion` if the champion's encoder is reused.
        embeddings: output of the embedding step.
        index: output of the indexing step.
        evaluation: output of the evaluation step.
        champion: output of `fetch_champion`.
        destination: directory to publish: the release.
        workspace: folder for finished and unfinished work.
        tracking_uri: MLflow's registry; credentials come from the environment.
        parameters: parameters of this step.

    Returns:
        The artifact; its summary names the release and, not stored in the file, its version and aliases.

    Raises:
        DataError: the gate did not pass, or no picture is usable as a golden one.
        ContractError: the parts do not belong together, or the registered copy is damaged.
        ResourceError: the registry cannot be used.
    """
    read_gate(evaluation)
    open_artifact(champion, "champion")
    parts = ReleaseParts(
        catalogue=catalogue, encoder=encoder, embeddings=embeddings, index=index, evaluation=evaluation
    )
    with Workspace(workspace).step("registration", inputs=parts.paths(), parameters=parameters) as work:
        if not work.is_finished:
            shutil.rmtree(work.output)  # files left by a killed attempt must not get into the manifest
            work.output.mkdir()
            manifest = assemble_release(work.output, parts, parameters)
            work.finish(
                {
                    "release_id": manifest.release_id,
                    "space_id": manifest.space_id,
                    "generation": manifest.catalogue.generation,
                    "images": manifest.catalogue.images,
                    "items": manifest.catalogue.items,
                }
            )
        registry = Registry(tracking_uri, parameters.model_name)
        # Kubeflow's MLflow plugin names the task's run in the environment.
        version = registry.register(work.output, run_id=os.environ.get("MLFLOW_RUN_ID"))
        artifact = work.publish(destination)
    extra = {"version": version.version, "aliases": list(version.aliases)}
    return artifact.model_copy(update={"summary": artifact.summary | extra})
