"""What a cluster must find there so that pods start: the Secret, the store's address, taints, no variables of Services."""

from __future__ import annotations

import pytest

from manifests.checks.pods import pods_of
from support.inputs.rendered_overlays import OVERLAYS, documents, installed, one


@pytest.mark.parametrize("name", [*OVERLAYS, "training"])
def test_no_pod_of_ours_gets_variables_of_services(name: str) -> None:
    pods = list(pods_of(documents(name) if name == "training" else installed(name)))
    assert pods
    assert [pod.thing for pod in pods if pod.spec.get("enableServiceLinks") is not False] == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_secret_of_the_storage_initializer_exists_and_holds_nothing(name: str) -> None:
    account = one(documents(name), "ServiceAccount", "visual-search-serving")
    for each in account["secrets"]:
        secret = one(documents(name), "Secret", each["name"])
        assert set(secret) == {"apiVersion", "kind", "metadata"}


def test_storage_initializer_is_told_the_address_of_the_store_in_the_cluster() -> None:
    annotations = one(documents("staging"), "Secret")["metadata"]["annotations"]
    service = one(documents("staging"), "Service", "object-store")
    port = service["spec"]["ports"][0]["port"]
    assert annotations["serving.kserve.io/s3-endpoint"] == f"object-store.visual-search:{port}"
    assert annotations["serving.kserve.io/s3-usehttps"] == "0"
    assert "annotations" not in one(documents("production"), "Secret")["metadata"]


def test_encoder_on_a_gpu_tolerates_the_taint_of_gpu_nodes() -> None:
    spec = one(documents("standard-gpu"), "ServingRuntime")["spec"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert "tolerations" not in one(documents("standard"), "ServingRuntime")["spec"]


def test_every_image_and_limit_is_outside_of_what_the_rollout_writes() -> None:
    for name in OVERLAYS:
        for service in (d for d in installed(name) if d["kind"] == "InferenceService"):
            (container,) = service["spec"]["predictor"]["containers"]
            assert set(container) == {"name", "env"}
            assert {entry["name"] for entry in container["env"]} == {"VISUAL_SEARCH_ARM", "VISUAL_SEARCH_PIN_VALUE"}
