"""There is one place for the digests of images. What the check advises is done here, and the check is content afterwards."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.checks.findings import name_of
from manifests.checks.rendering import load
from support.inputs.rendered_overlays import FOLDERS, KUBEFLOW, MANIFESTS, OVERLAYS, faults

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
PLACEHOLDER = "sha256:" + "0" * 64


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MANIFESTS, tmp_path / "manifests", ignore=shutil.ignore_patterns("checks")))


def with_digests(text: str) -> str:
    """Return the images with a digest of its own for each, as a build gives them."""
    numbers = iter(range(1, 100))
    return re.sub(PLACEHOLDER, lambda _: f"sha256:{next(numbers):064x}", text)


def images_in(value: Any) -> set[str]:
    """Return every text that names an image, wherever it is."""
    if isinstance(value, dict):
        return set().union(*map(images_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(images_in, value))
    return set(re.findall(r"\S+@sha256:[0-9a-f]{64}", str(value))) | set(
        re.findall(r"visual-search-\w+-python\S*", str(value))
    )


def by_name(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name_of(document): document for document in found}


@pytest.mark.parametrize("name", [*OVERLAYS, *KUBEFLOW, "training"])
def test_advice_of_the_check_works_when_followed(name: str, manifests: Path) -> None:
    folder = manifests / FOLDERS[name].relative_to(MANIFESTS)
    beside = load(manifests / "overlays" / "production") if name == "training" else []  # its network policies
    told = faults([*load(folder), *beside], production=True)
    (place,) = {found[1] for fault in told if (found := re.search(r"into (\S+\.yaml)", fault.sentence))}
    assert len(told) == sum("placeholder" in fault.sentence for fault in told) > 1
    (manifests / place).write_text(with_digests((manifests / place).read_text()))
    beside = load(manifests / "overlays" / "production") if name == "training" else []
    now = load(folder)
    assert faults([*now, *beside], production=True) == []
    names = [image.partition("@")[0] for image in images_in(now)]
    assert sorted(names) == sorted(set(names)), "one image has two digests"
    assert not [image for image in images_in(now) if "@" not in image]


@pytest.mark.parametrize("below", ["production", *KUBEFLOW])
def test_overlay_of_ones_own_brings_its_images_and_reaches_every_task(below: str, manifests: Path) -> None:
    overlay = manifests / "overlays" / "mine"
    (overlay / "images").mkdir(parents=True)
    theirs = yaml.safe_load((manifests / "components" / "images" / "kustomization.yaml").read_text())
    for image in theirs["images"]:
        image["name"] = image["newName"]
    (overlay / "images" / "kustomization.yaml").write_text(with_digests(yaml.safe_dump(theirs)))
    shutil.copyfile(manifests / "components" / "images" / "executors.yaml", overlay / "images" / "executors.yaml")
    top = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"../{below}"],
        "components": ["images", *(["../../components/pipeline-images"] if below == "production" else [])],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(top))
    assert faults(load(overlay), production=True) == []


@pytest.mark.parametrize(
    ("name", "behind"),
    [("production", {"CronJob/reindex", "CronJob/monitoring"}), *((name, set()) for name in KUBEFLOW)],
)
def test_images_in_an_overlay_without_the_component_leave_arguments_behind_and_are_found(
    name: str, behind: set[str], manifests: Path
) -> None:
    overlay = manifests / "overlays" / name / "kustomization.yaml"
    images = yaml.safe_load((manifests / "components" / "images" / "kustomization.yaml").read_text())["images"]
    for image in images:
        image["name"] = image["newName"]
    document = yaml.safe_load(overlay.read_text()) | {"images": yaml.safe_load(with_digests(yaml.safe_dump(images)))}
    overlay.write_text(yaml.safe_dump(document))
    told = faults(load(overlay.parent), production=True)
    assert {fault.thing for fault in told} == behind


@pytest.mark.parametrize("overlay", ["production", *KUBEFLOW])
def test_new_build_changes_nothing_that_is_immutable(overlay: str, manifests: Path) -> None:
    """What Kubernetes and Kubeflow refuse to change: the spec of a PipelineVersion or Job, claims, selectors."""
    images = manifests / "components" / "images" / "kustomization.yaml"
    before = by_name(load(manifests / "overlays" / overlay))
    images.write_text(with_digests(images.read_text()))
    after = by_name(load(manifests / "overlays" / overlay))
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    assert {name.partition("/")[0] for name in changed} <= {"ServingRuntime", "Deployment", "StatefulSet", "CronJob"}
    for name in changed:
        for field in ("selector", "volumeClaimTemplates", "serviceName"):
            assert before[name]["spec"].get(field) == after[name]["spec"].get(field)
    registered = {name for name in after if name.startswith("PipelineVersion/")}
    assert len(registered) == (2 if overlay in KUBEFLOW else 0)
    assert not registered & set(before)
