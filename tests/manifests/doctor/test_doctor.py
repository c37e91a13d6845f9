"""`visual-search manifests doctor` against a stand-in for the API server names each thing that an overlay needs and lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from components.shared.errors import ParameterError, ResourceError
from manifests.doctor.api import ClusterReader
from manifests.doctor.examine import examine
from manifests.doctor.needs import needs_of
from manifests.doctor.preparation import KNATIVE_FEATURES
from manifests.doctor.report import Check, exit_code, missing
from pipelines.__main__ import main
from pipelines.runs.installation import describe_installation
from support.factories import platform_factory as platform
from support.inputs.rendered_overlays import GOLDEN, MANIFESTS, OVERLAYS, documents
from support.servers.platform_server import PlatformServer


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with platform.make_platform() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        yield server


def checks(overlay: str) -> list[Check]:
    return list(examine(ClusterReader(), documents(overlay)))


def not_ok(overlay: str) -> list[tuple[str, str]]:
    return [(check.state, check.subject) for check in checks(overlay) if check.state != "ok"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_cluster_with_everything_is_ok_for_each_overlay(server: PlatformServer, overlay: str) -> None:
    assert not_ok(overlay) == []
    assert {request.split()[0] for request in server.requests} == {"GET"}


def removed(path: str) -> Callable[[PlatformServer], object]:
    return lambda server: server.objects.pop(path)


def replaced(path: str, value: dict) -> Callable[[PlatformServer], object]:  # type: ignore[type-arg]
    return lambda server: server.objects.update({path: value})


def unserved(group: str) -> Callable[[PlatformServer], object]:
    return lambda server: server.kinds.pop(group)


def storage_class(provisioner: str, default: str = "true") -> dict:  # type: ignore[type-arg]
    annotations = {"storageclass.kubernetes.io/is-default-class": default}
    return platform.named("shares", metadata={"annotations": annotations}, provisioner=provisioner)


def definition(version: str) -> dict:  # type: ignore[type-arg]
    annotations = {"gateway.networking.k8s.io/bundle-version": version}
    return platform.named("httproutes.gateway.networking.k8s.io", metadata={"annotations": annotations})


OLD_KSERVE = platform.deployment(
    "kserve/kserve-controller:v0.17.1", labels={"control-plane": "kserve-controller-manager"}
)
OLD_KNATIVE = platform.named(
    "services.serving.knative.dev", metadata={"labels": {"app.kubernetes.io/version": "1.17.0"}}
)
FAULTS = {
    "old Kubernetes": ("standard", lambda s: setattr(s, "version", "v1.29.4"), "Kubernetes", "1.30 or later"),
    "no KServe": ("standard", unserved("serving.kserve.io/v1beta1"), "KServe", "install KServe"),
    "old KServe": ("standard", replaced(platform.CONTROLLER, OLD_KSERVE), "KServe", "v0.17.1"),
    "old Knative": ("knative", replaced(platform.KNATIVE_CRD, OLD_KNATIVE), "Knative", "1.17.0"),
    "old Gateway API": ("standard", replaced(platform.ROUTE_CRD, definition("v1.1.0")), "Gateway API", "v1.1.0"),
    "no Gateway API": ("standard", removed(platform.ROUTE_CRD), "Gateway API", "not installed"),
    "no HTTPRoute": ("standard", unserved("gateway.networking.k8s.io/v1"), "gateway.networking.k8s.io/v1", "HTTPRoute"),
    "no Prometheus operator": (
        "production", unserved("monitoring.coreos.com/v1"), "monitoring.coreos.com/v1", "components/prometheus",
    ),
    "no namespace": ("standard", removed(platform.NAMESPACE), "Namespace/visual-search", "kubectl apply"),
    "no Secret of PostgreSQL": (
        "staging", removed(platform.secret("visual-search-postgresql")), "Secret/visual-search-postgresql",
        "create secret generic visual-search-postgresql --from-file=password",
    ),
    "a Secret without its key": (
        "staging", replaced(platform.secret("visual-search-credentials"), platform.named("visual-search-credentials")),
        "Secret/visual-search-credentials", "MLFLOW_BACKEND_STORE_URI",
    ),
    "cluster part not applied": (
        "standard", replaced(platform.STORAGE_CONTAINER, platform.named("default", spec={"container": {}})),
        "ClusterStorageContainer/default", "-k manifests/cluster",
    ),
    "Knative's features off": (
        "knative", replaced(platform.FEATURES, platform.named("config-features", data={})),
        "ConfigMap/config-features", "-k manifests/cluster",
    ),
    "no Gateway": ("standard", removed(platform.GATEWAY), "Gateway/kserve/kserve-ingress-gateway", "parentRefs"),
    "a Gateway without controller": (
        "standard", replaced(platform.GATEWAY, platform.named("kserve-ingress-gateway")),
        "Gateway/kserve/kserve-ingress-gateway", "GatewayClass",
    ),
    "no metrics-server": ("standard", unserved("metrics.k8s.io/v1beta1"), "metrics-server", "install metrics-server"),
    "metrics-server down": ("standard", lambda s: s.broken.add("metrics.k8s.io/v1beta1"), "metrics-server", "does not answer"),
    "disks of one node": (
        "production", replaced(platform.STORAGE_CLASS, storage_class("ebs.csi.aws.com")),
        "PersistentVolumeClaim/visual-search-workspace", "disks of one node",
    ),
    "no default class": (
        "production", replaced(platform.STORAGE_CLASS, storage_class("efs.csi.aws.com", "false")),
        "PersistentVolumeClaim/visual-search-workspace", "no default StorageClass",
    ),
    "flannel": (
        "standard", lambda s: s.objects.update({platform.PLUGIN: platform.named("kube-flannel-ds")}),
        "network policies", "does not enforce",
    ),
    "no GPU": ("standard-gpu", removed(platform.NODE), "nvidia.com/gpu", "no node"),
}  # fmt: skip


FAMILY = {"KServe": "serving.kserve.io"}  # its kinds are missing too


@pytest.mark.parametrize("fault", FAULTS)
def test_each_missing_thing_is_named_with_what_to_do(server: PlatformServer, fault: str) -> None:
    overlay, break_it, subject, words = FAULTS[fault]
    break_it(server)
    found = [check for check in checks(overlay) if check.state == "missing"]
    assert subject in [check.subject for check in found]
    assert all(check.subject == subject or check.subject.startswith(f"{FAMILY.get(subject)}/") for check in found)
    assert words in next(check.sentence for check in found if check.subject == subject)
    assert exit_code(found) == 1


def test_needs_of_one_mode_are_not_asked_of_the_other(server: PlatformServer) -> None:
    for path in (platform.ROUTE_CRD, platform.GATEWAY):
        del server.objects[path]
    for group in ("gateway.networking.k8s.io/v1", "metrics.k8s.io/v1beta1"):
        del server.kinds[group]
    assert not_ok("knative") == []
    for path in (platform.KNATIVE_CRD, platform.FEATURES):
        del server.objects[path]
    assert {subject for _, subject in not_ok("standard")} >= {"Gateway API", "metrics-server"}
    assert not {subject for _, subject in not_ok("standard")} & {"Knative", "ConfigMap/config-features"}


def test_what_a_person_may_not_read_is_not_known_and_no_failure(server: PlatformServer) -> None:
    server.forbidden |= {
        "/apis/apps/v1/deployments", platform.CONTROLLER, "/apis/apps/v1/daemonsets", platform.ROUTE_CRD,
        platform.secret("visual-search-postgresql"), "/apis/storage.k8s.io/v1/storageclasses", platform.NAMESPACE,
        platform.GATEWAY, platform.STORAGE_CONTAINER,
    }  # fmt: skip
    found = [check for check in checks("staging") if check.state != "ok"]
    assert {check.state for check in found} == {"not known"}
    assert {check.subject for check in found} == {
        "KServe", "Gateway API", "Namespace/visual-search", "Secret/visual-search-postgresql", "network policies",
        "PersistentVolumeClaim/visual-search-workspace", "ClusterStorageContainer/default",
        "Gateway/kserve/kserve-ingress-gateway",
    }  # fmt: skip
    assert all("your account may not read" in check.sentence for check in found)
    assert exit_code(found) == 0


def test_controller_is_found_by_name_where_deployments_may_not_be_listed(server: PlatformServer) -> None:
    server.forbidden.add("/apis/apps/v1/deployments")
    assert not_ok("knative") == []


@pytest.mark.parametrize("image", ["kserve/kserve-controller:latest", "registry.local:5000/kserve/kserve-controller"])
def test_a_version_that_an_image_does_not_state_is_not_known(server: PlatformServer, image: str) -> None:
    server.objects[platform.CONTROLLER] = platform.deployment(
        image, labels={"control-plane": "kserve-controller-manager"}
    )
    assert not_ok("knative") == [("not known", "KServe")]


def test_a_bound_claim_needs_no_storage_class(server: PlatformServer) -> None:
    del server.objects[platform.STORAGE_CLASS]
    claim = f"{platform.NAMESPACE}/persistentvolumeclaims/visual-search-workspace"
    server.objects[claim] = platform.named("visual-search-workspace", status={"phase": "Bound"})
    assert not_ok("production") == []


def test_no_value_of_a_secret_is_printed(server: PlatformServer, capsys: pytest.CaptureFixture[str]) -> None:
    value = "c2VjcmV0LXZhbHVl"
    server.objects[platform.secret("visual-search-postgresql")]["data"] = {"other": value}
    assert main(["manifests", "doctor", str(GOLDEN / "staging.yaml")]) == 1
    assert value not in capsys.readouterr().out


def test_command_prints_one_line_per_check_and_its_exit_code_says_whether_something_is_missing(
    server: PlatformServer, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = str(GOLDEN / "standard-gpu.yaml")
    assert main(["manifests", "doctor", overlay, "--mode", "standard"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line[:11] for line in lines} == {"ok         "}
    assert "ok         KServe: v0.20.0" in lines
    server.forbidden.add("/apis/apps/v1/daemonsets")
    assert main(["manifests", "doctor", overlay]) == 0
    del server.objects[platform.NODE]
    assert main(["manifests", "doctor", overlay]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line[:11] for line in lines} == {"ok         ", "missing    ", "not known  "}


def test_a_mode_that_is_not_the_overlays_is_refused(server: PlatformServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifests", "doctor", str(GOLDEN / "knative.yaml"), "--mode", "standard"]) != 0
    assert "is for Knative mode, but --mode is standard" in capsys.readouterr().err
    assert main(["manifests", "doctor"]) != 0
    assert "give the overlay" in capsys.readouterr().err
    assert server.requests == []


def test_another_part_adds_its_examination(server: PlatformServer) -> None:
    found = list(
        examine(ClusterReader(), documents("knative"), more=[lambda reader, needs: [missing("x", needs.namespace)]])
    )
    assert found[-1] == missing("x", "visual-search")


def test_a_cluster_that_does_not_answer_is_one_sentence(server: PlatformServer) -> None:
    reader = ClusterReader()
    server._http.shutdown()
    server._http.server_close()
    with pytest.raises(ResourceError, match="gives no answer"):
        list(examine(reader, documents("knative")))
    server.__enter__()


def test_no_configuration_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ParameterError, match="no cluster is configured"):
        ClusterReader()


def test_secrets_that_the_overlay_makes_are_needed_only_for_their_keys() -> None:
    assert {need.name: need.keys for need in needs_of(documents("standard")).secrets} == {}
    assert {need.name: set(need.keys) for need in needs_of(documents("staging")).secrets} == {
        "visual-search-credentials": {"MLFLOW_BACKEND_STORE_URI"},
        "visual-search-postgresql": {"password"},
        "visual-search-object-store": {"s3.json"},
    }


def test_features_are_those_that_the_administrators_part_switches_on() -> None:
    data = yaml.safe_load((MANIFESTS / "cluster" / "ConfigMap.yaml").read_text())["data"]
    assert set(KNATIVE_FEATURES) == set(data)


@pytest.mark.parametrize("multi_user", [True, False])
def test_kubeflow_is_examined_where_its_tasks_run(
    server: PlatformServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], multi_user: bool
) -> None:
    overlay = str(GOLDEN / "production.yaml")
    assert main(["manifests", "doctor", overlay]) == 0
    assert "not known  KubeflowPipelines: set VISUAL_SEARCH_KFP_HOST" in capsys.readouterr().out
    address = "http://ml-pipeline.kubeflow:8888"
    monkeypatch.setenv("VISUAL_SEARCH_KFP_HOST", address)
    if multi_user:
        monkeypatch.setenv("VISUAL_SEARCH_KFP_NAMESPACE", "tasks")
    monkeypatch.setattr(  # tests/pipelines/runs/test_cluster.py asks a server for its kind
        "pipelines.runs.task_resources.connect",
        lambda settings: SimpleNamespace(
            installation=describe_installation(
                address, multi_user=multi_user, pipeline_store="database", wanted=settings.kfp_namespace or ""
            )
        ),
    )
    namespace = "tasks" if multi_user else "kubeflow"
    assert main(["manifests", "doctor", overlay]) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing")]
    assert [line.split()[1] for line in found] == [
        "PersistentVolumeClaim/visual-search-workspace:", "Secret/visual-search-credentials:",
    ]  # fmt: skip
    for kind, name in (("persistentvolumeclaims", "workspace"), ("secrets", "credentials")):
        server.objects[f"/api/v1/namespaces/{namespace}/{kind}/visual-search-{name}"] = platform.named(name)
    assert main(["manifests", "doctor", overlay]) == 0
    if multi_user:
        monkeypatch.setenv("VISUAL_SEARCH_KFP_NAMESPACE", "visual-search")
        assert main(["manifests", "doctor", overlay]) == 0  # the overlay makes both there
