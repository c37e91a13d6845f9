"""Every overlay renders to its golden file (REGENERATE=1 writes them anew), and what is generated in manifests/ is current."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from components.shared.errors import NotReadyError, VisualSearchError
from manifests.checks.rendering import check_version, load, parse, render
from pipelines.graphs.compilation import compile_pipeline
from support.inputs.rendered_overlays import (
    FIRST,
    FOLDERS,
    GOLDEN,
    IN_GIT,
    MANIFESTS,
    OVERLAYS,
    ROOT,
    documents,
    faults,
)

REGENERATE = os.environ.get("REGENERATE") == "1"
needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed; the golden files are checked as they are"
)
_RULE = """# monitoring/alerts.yaml as a resource; `make golden` writes it.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: visual-search
spec:
"""


@pytest.mark.parametrize("name", ["training", "reindexing"])
def test_pipelines_in_the_manifests_are_compiled_from_the_code(name: str, tmp_path: Path) -> None:
    compile_pipeline(name, tmp_path / "now.yaml", kubernetes=True, namespace="visual-search")
    stored = MANIFESTS / "components" / "pipelines" / f"{name}.yaml"
    if REGENERATE:
        shutil.copyfile(tmp_path / "now.yaml", stored)
    assert (tmp_path / "now.yaml").read_text() == stored.read_text(), "run `make golden`"


@pytest.mark.parametrize("name", ["training", "reindexing"])
def test_every_task_of_a_pipeline_gets_the_image_by_digest(name: str) -> None:
    version = next(
        d
        for d in documents("production")
        if d["kind"] == "PipelineVersion" and d["spec"]["pipelineName"].endswith(name)
    )
    images = {
        executor["container"]["image"]
        for executor in version["spec"]["pipelineSpec"]["deploymentSpec"]["executors"].values()
    }
    assert len(images) == 1
    assert "@sha256:" in images.pop()


def test_the_rules_of_prometheus_are_those_of_monitoring() -> None:
    alerts = (ROOT / "monitoring" / "alerts.yaml").read_text()
    body = alerts[alerts.index("groups:") :]
    now = _RULE + "".join("  " + line if line.strip() else line for line in body.splitlines(keepends=True))
    stored = MANIFESTS / "components" / "prometheus" / "PrometheusRule.yaml"
    if REGENERATE:
        stored.write_text(now)
    assert now == stored.read_text(), "run `make golden`"


@needs_kubectl
@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_overlay_renders_to_its_golden_file(name: str) -> None:
    now = render(FOLDERS[name])
    golden = GOLDEN / f"{name}.yaml"
    if REGENERATE:
        golden.write_text(now)
    assert golden.exists(), "run `make golden`"
    # Other versions of kustomize order keys and wrap lines in another way: the documents count.
    assert parse(now, name) == parse(golden.read_text(), name), "run `make golden` and look at the difference"


def test_there_is_a_golden_file_for_every_folder_and_no_other() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(FOLDERS)


@pytest.mark.parametrize("name", [*OVERLAYS, "cluster"])
def test_golden_file_is_without_fault(name: str) -> None:
    assert faults(documents(name)) == []


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name not in IN_GIT])
def test_golden_file_is_without_fault_beside_what_is_applied_first(name: str) -> None:
    assert faults(documents(name), documents(FIRST[name])) == []


def test_the_job_that_starts_a_training_is_without_fault_and_is_not_applied_every_time() -> None:
    assert faults([*documents("production"), *documents("training")]) == []
    assert [d["metadata"]["name"] for name in OVERLAYS for d in documents(name) if d["kind"] == "Job"] == []


def test_placeholders_of_digests_are_refused_in_production() -> None:
    found = faults(documents("production"), production=True)
    assert {finding.thing for finding in found} >= {"ServingRuntime/visual-search-encoder", "StatefulSet/postgresql"}
    assert all("placeholder" in finding.sentence for finding in found)
    real = yaml.safe_load(yaml.safe_dump(documents("production")).replace("sha256:" + "0" * 64, "sha256:" + "1a" * 32))
    assert faults(real, production=True) == []


@pytest.mark.parametrize(
    ("text", "is_fine"),
    [
        ("Client Version: v1.27.0\nKustomize Version: v5.0.1\n", True),
        ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0\n", True),
        ("Client Version: v2.0.0\n", True),
        ("Client Version: v1.26.15\n", False),
        ("Client Version: v1.9.0\n", False),
        ("", False),
    ],
)
def test_versions_of_kubectl(text: str, is_fine: bool) -> None:
    if is_fine:
        check_version(text)
    else:
        with pytest.raises(NotReadyError, match=r"1\.27"):
            check_version(text)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "", "kind: Pod\n", "kind: Pod\nmetadata: x\n"])
def test_what_is_no_manifest_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(text)
    with pytest.raises(VisualSearchError, match=r"rendered\.yaml"):
        load(tmp_path / "rendered.yaml")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError, match="nothing at"):
        load(tmp_path / "absent")
