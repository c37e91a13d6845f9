"""The whole training pipeline in its container image by KFP's DockerRunner, hardened: uid 1000, read-only root, no network."""

from __future__ import annotations

import builtins
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.container_images import PIPELINE_IMAGE
from pipelines.runs.parameters import encode_parameters, merge_assignments
from support.factories.basics import make_folder
from support.inputs.small_run import SMALL
from support.servers.container_images import build, docker, require_engine

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
_USER = 1000
_BUILD_SECONDS = 1800


@pytest.fixture(scope="module")
def image() -> str:
    require_engine()
    if os.geteuid() != 0:
        pytest.skip("only root can give the pipeline's folder to uid 1000")
    return build(PIPELINE_IMAGE, "pipelines", seconds=_BUILD_SECONDS)


@pytest.fixture
def quiet_kfp() -> Iterator[None]:
    """Put back what kfp.local changes for good: print and the root logger."""
    root, printed = logging.getLogger(), builtins.print
    handlers, level = root.handlers[:], root.level
    yield
    from kfp import local

    builtins.print = printed
    root.handlers[:] = handlers
    root.setLevel(level)
    local.config.LocalExecutionConfig.instance = None


@pytest.mark.filterwarnings("ignore:.*have no effect in the current local runner.*")
@pytest.mark.usefixtures("quiet_kfp")
def test_training_pipeline_in_hardened_containers(image: str, tmp_path: Path) -> None:
    from kfp import local

    from pipelines.runs.process import load_pipeline

    root = tmp_path / "root"  # the one folder that a task sees
    images = make_folder(root / "images", items=12, views=3)
    for path in (root, *root.rglob("*")):
        os.chown(path, _USER, _USER)
    for path in tmp_path.parents:
        if path.stat().st_mode & 0o055 != 0o055 and str(path).startswith("/tmp/pytest"):
            path.chmod(path.stat().st_mode | 0o055)
    runner = local.DockerRunner(
        user=f"{_USER}:{_USER}", read_only=True, tmpfs={"/tmp": "size=2g"}, cap_drop=["ALL"],
        security_opt=["no-new-privileges"], network_mode="none", shm_size="512m", entrypoint=[""],
    )  # fmt: skip
    local.init(runner=runner, pipeline_root=str(root), raise_on_error=True)
    component = load_pipeline("training")
    defaults = {name: spec.default for name, spec in component.component_spec.inputs.items() if spec.optional}
    arguments = {
        "images": str(images),
        "tracking_uri": f"sqlite:///{root / 'mlflow.db'}",
        "workspace": str(root / "workspace"),
        "parameters": encode_parameters(merge_assignments([*SMALL, "labelling.categories_as_judgements=true"], {})),
    }
    component(**{**defaults, **arguments})
    (release,) = [path.parent for path in root.rglob("manifest.json") if path.parent.name == "release"]
    assert (release / "encoder.onnx").is_file()
    assert release.stat().st_uid == _USER
    left = docker("ps", "--all", "--quiet", f"--filter=ancestor={image}").stdout.split()
    assert left == []
