"""Every overlay renders to its golden file (REGENERATE=1 writes them anew), and what is generated in manifests/ is current."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from components.shared.errors import NotReadyError, VisualSearchError
from manifests.checks.pods import pods_of
from manifests.checks.rendering import check_version, load, parse, render
from pipelines.__main__ import main
from pipelines.graphs.compilation import compile_pipeline
from pipelines.runs.waiting import EXIT_CODES
from support.inputs.rendered_overlays import (
    FIRST,
    FOLDERS,
    GOLDEN,
    IN_GIT,
    KUBEFLOW,
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
    compile_pipeline(name, tmp_path / "now.yaml", kubernetes=True)
    stored = MANIFESTS / "pipelines" / f"{name}.yaml"
    if REGENERATE:
        shutil.copyfile(tmp_path / "now.yaml", stored)
    assert (tmp_path / "now.yaml").read_text() == stored.read_text(), "run `make golden`"


@pytest.mark.parametrize(
    ("overlay", "namespace"), [("kubeflow-single-user", "kubeflow"), ("kubeflow-multi-user", "visual-search")]
)
def test_pipelines_are_where_each_kind_of_installation_reads_them_with_images_by_digest(
    overlay: str, namespace: str
) -> None:
    found = documents(overlay)
    assert {document["metadata"]["namespace"] for document in found} == {namespace}
    versions = [document for document in found if document["kind"] == "PipelineVersion"]
    assert {version["spec"]["pipelineName"] for version in versions} == {
        "visual-search-training",
        "visual-search-reindexing",
    }
    executors = [
        e for version in versions for e in version["spec"]["pipelineSpec"]["deploymentSpec"]["executors"].values()
    ]
    images = {executor["container"]["image"] for executor in executors}
    assert len(executors) >= 15
    assert len(images) == 1
    assert "@sha256:" in images.pop()


def test_only_these_overlays_need_the_resources_of_kubeflow() -> None:
    needing = {name for name in FOLDERS for document in documents(name) if document["kind"] == "PipelineVersion"}
    assert needing == {"kubeflow-single-user", "kubeflow-multi-user"}


@pytest.mark.parametrize(("overlay", "namespace"), [("production", "visual-search"), ("staging", "kubeflow")])
def test_every_pod_that_starts_runs_names_the_namespace_of_the_tasks(overlay: str, namespace: str) -> None:
    starters = [
        container.variables()
        for pod in pods_of(documents(overlay))
        for container in pod.containers
        if "VISUAL_SEARCH_KFP_HOST" in container.variables()
    ]
    assert len(starters) >= 2
    assert {starter["VISUAL_SEARCH_KFP_NAMESPACE"] for starter in starters} == {namespace}


def test_the_account_that_starts_runs_has_the_right_to_and_no_other_has() -> None:
    (binding,) = (document for document in documents("kubeflow-multi-user") if document["kind"] == "RoleBinding")
    accounts = {subject["name"] for subject in binding["subjects"]}
    starting = {
        pod.spec["serviceAccountName"]
        for pod in pods_of([*documents("production"), *documents("training")])
        if any("VISUAL_SEARCH_KFP_HOST" in container.variables() for container in pod.containers)
    }
    assert accounts == starting
    assert binding["roleRef"]["name"] == "kubeflow-pipelines-edit"


def test_a_run_that_was_cancelled_is_not_started_again() -> None:
    ends = {EXIT_CODES["CANCELED"], EXIT_CODES["SKIPPED"]}
    jobs = [
        document["spec"]["jobTemplate"]["spec"] if document["kind"] == "CronJob" else document["spec"]
        for document in [*documents("production"), *documents("training")]
        if document["kind"] in ("Job", "CronJob") and "VISUAL_SEARCH_KFP_HOST" in str(document)
    ]
    assert len(jobs) == 3
    for job in jobs:
        (rule,) = job["podFailurePolicy"]["rules"]
        (container,) = job["template"]["spec"]["containers"]
        assert rule["action"] == "FailJob"
        assert rule["onExitCodes"]["containerName"] == container["name"]
        assert set(rule["onExitCodes"]["values"]) == ends


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


@pytest.mark.parametrize("name", [*OVERLAYS, *KUBEFLOW, "cluster"])
def test_golden_file_is_without_fault(name: str) -> None:
    assert faults(documents(name)) == []


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name not in IN_GIT])
def test_golden_file_is_without_fault_beside_what_is_applied_first(name: str) -> None:
    assert faults(documents(name), documents(FIRST[name])) == []


def test_command_checks_an_overlay_together_with_what_is_applied_first(capsys: pytest.CaptureFixture[str]) -> None:
    overlay = str(GOLDEN / "standard.yaml")
    assert main(["manifests", "check", "--first", str(GOLDEN / "first-standard.yaml"), overlay]) == 0
    assert main(["manifests", "check", "--first", str(GOLDEN / "first-knative.yaml"), overlay]) == 1
    told = capsys.readouterr().out
    assert "InferenceService/visual-search: metadata.name: is applied first, but is not among what is applied" in told
    assert "InferenceService/visual-search-champion: spec.predictor.model.storageUri: is missing" in told


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
