"""Download of the champion, the release that serves now, for comparison and to reuse its encoder."""

from __future__ import annotations

import shutil
from pathlib import Path

from components.registration.parameters import RegistrationParameters
from components.registration.registry import CHAMPION, Registry
from components.shared.files.artifacts import Artifact, seal_artifact
from components.shared.files.atomic import publish_tree, write_json
from components.shared.files.layout import ABSENT_FILE
from components.shared.files.workspace import require_writable

STEP = "champion"


def run_fetch_champion(
    *,
    destination: Path,
    workspace: Path,
    tracking_uri: str,
    parameters: RegistrationParameters = RegistrationParameters(),  # noqa: B008 (frozen)
) -> Artifact:
    """Write the champion's release directory, or `absent.json` with the reason for its absence.

    The alias is looked up on each call; only the download is kept, by release_id, in `workspace`/champion.

    Args:
        destination: directory to write.
        workspace: root of the workspace.
        tracking_uri: MLflow's registry.
        parameters: parameters of the registration, for the model's name.

    Raises:
        ContractError: the champion is damaged in the registry.
        ResourceError: the registry cannot be used, or the workspace is not writable.
    """
    require_writable(workspace)
    registry = Registry(tracking_uri, parameters.model_name)
    release = registry.find(CHAMPION)
    if release is None:
        if destination.exists():
            shutil.rmtree(destination)
        destination.mkdir(parents=True)
        write_json(destination / ABSENT_FILE, {"reason": f"no version of {parameters.model_name} is {CHAMPION} yet"})
        return seal_artifact(destination, STEP, {"release_id": None})
    publish_tree(registry.fetch(release.version, workspace / STEP), destination)
    return seal_artifact(destination, STEP, {"release_id": release.release_id, "version": release.version})
