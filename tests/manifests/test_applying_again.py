"""Day 2: an overlay with a new image is applied again after a rollout. Nothing conflicts, and what the rollout wrote stays."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from serving.rollout.cluster import plan_for
from serving.rollout.plan import ArmRelease, Desired
from support.factories.cluster_controllers import make_controller
from support.factories.cluster_factory import NAMESPACE
from support.inputs.rendered_overlays import FIRST, IN_GIT, OVERLAYS, documents, installed
from support.servers.api_server import ApiServer
from support.servers.field_ownership import ConflictError, FieldOwnership

Json = dict[str, Any]
KINDS = ("InferenceService", "HTTPRoute", "ServingRuntime")
FIRST_MANAGER = "visual-search-first"
A, B = (ArmRelease(n, f"r-{n:016x}", f"s3://visual-search/releases/r-{n:016x}/") for n in (1, 2))
STAGES = {
    "before any rollout": [Desired(A)],
    "with a canary": [Desired(A), Desired(A, B, 50)],
    "after a rollback": [Desired(A), Desired(A, B, 50), Desired(A, rolled_back=True)],
    "after a promotion": [Desired(A), Desired(A, B, 50), Desired(B)],
}


class Namespace:
    """The objects of an overlay with the managers of their fields, and a reconciler that patches them."""

    def __init__(self, overlay: str, first: list[Json], every_time: list[Json]) -> None:
        self.mode = "knative" if overlay.startswith("knative") else "standard"
        self.controller = make_controller(self.mode)
        self.fields = FieldOwnership()
        self.fields.apply(first, FIRST_MANAGER)
        self.fields.apply(every_time)

    @property
    def live(self) -> dict[str, Json]:
        return self.fields.live

    def follow(self, stages: list[Desired]) -> None:
        """Let the rollout do what is wanted, stage by stage."""
        server = ApiServer(
            [self.live[key] for key in self.live if not key.startswith("servingruntime")], self.controller
        )
        for desired in stages:
            for _ in range(40):
                objects = {key: server.get(key) for key in server.objects}
                plan = plan_for(self.mode, desired, objects, NAMESPACE)  # type: ignore[arg-type]
                for patch in plan.patches:
                    operations = json.loads(patch.body)
                    server.patch(f"{patch.kind}/{patch.name}", "application/json-patch+json", operations)
                    self.fields.patch(f"{patch.kind}/{patch.name}", operations, "visual-search-rollout")
                if plan.is_done:
                    break
                server.control()
            else:
                raise AssertionError(plan)


def of_kserve(found: list[Json]) -> list[Json]:
    return [document for document in found if document["kind"] in KINDS]


def with_new_images(found: list[Json]) -> list[Json]:
    return json.loads(json.dumps(found).replace("sha256:" + "0" * 64, "sha256:" + "b" * 64))


def traffic_of(live: dict[str, Json]) -> Json:
    """Return what decides who gets which release."""
    kept: Json = {}
    for key, thing in live.items():
        if thing["kind"] == "InferenceService":
            predictor = thing["spec"]["predictor"]
            fields = (predictor["model"]["storageUri"], predictor.get("canaryTrafficPercent"), predictor["containers"])
            kept[key] = (*fields, thing["metadata"]["annotations"])
        elif thing["kind"] == "HTTPRoute":
            kept[key] = thing["spec"]["rules"]
    return copy.deepcopy(kept)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name not in IN_GIT])
def test_overlay_applied_again_changes_images_and_no_traffic(overlay: str, stage: str) -> None:
    every_time = of_kserve(documents(overlay))
    namespace = Namespace(overlay, documents(FIRST[overlay]), every_time)
    namespace.follow(STAGES[stage])
    before = traffic_of(namespace.live)
    namespace.fields.apply(with_new_images(every_time))
    assert traffic_of(namespace.live) == before
    containers = namespace.live["servingruntime/visual-search-encoder"]["spec"]["containers"]
    assert [each["image"][-64:] for each in containers] == ["b" * 64] * 2
    namespace.follow(STAGES[stage][-1:])
    assert traffic_of(namespace.live) == before


@pytest.mark.parametrize("overlay", ["standard", "knative"])
def test_overlay_applied_again_before_the_rollout_has_written_keeps_what_was_applied_first(overlay: str) -> None:
    every_time = of_kserve(documents(overlay))
    namespace = Namespace(overlay, documents(FIRST[overlay]), every_time)
    before = traffic_of(namespace.live)
    namespace.fields.apply(with_new_images(every_time))
    assert traffic_of(namespace.live) == before


@pytest.mark.parametrize("overlay", ["standard", "knative"])
def test_order_of_first_and_every_time_makes_no_difference(overlay: str) -> None:
    namespace = Namespace(overlay, documents(FIRST[overlay]), of_kserve(documents(overlay)))
    other = Namespace(overlay, [], of_kserve(documents(overlay)))
    other.fields.apply(documents(FIRST[overlay]), FIRST_MANAGER)
    assert other.live == namespace.live
    assert other.live == {f"{d['kind'].lower()}/{d['metadata']['name']}": d for d in of_kserve(installed(overlay))}


@pytest.mark.parametrize("overlay", ["standard", "knative"])
def test_first_installation_applied_a_second_time_is_refused_and_resets_nothing(overlay: str) -> None:
    namespace = Namespace(overlay, documents(FIRST[overlay]), of_kserve(documents(overlay)))
    namespace.follow(STAGES["with a canary"])
    before = traffic_of(namespace.live)
    with pytest.raises(ConflictError, match="visual-search-rollout"):
        namespace.fields.apply(documents(FIRST[overlay]), FIRST_MANAGER)
    assert traffic_of(namespace.live) == before


@pytest.mark.parametrize(
    ("overlay", "conflicts"),
    [
        ("standard", {"spec.rules", "spec.predictor.model.storageUri", "metadata.annotations.serving.kserve.io/stop"}),
        ("knative", {"spec.predictor.containers", "spec.predictor.model.storageUri"}),
    ],
)
def test_overlay_that_says_all_of_it_every_time_conflicts_as_it_did_on_a_real_cluster(
    overlay: str, conflicts: set[str]
) -> None:
    namespace = Namespace(overlay, [], of_kserve(installed(overlay)))
    namespace.follow(STAGES["with a canary"])
    with pytest.raises(ConflictError) as caught:
        namespace.fields.apply(with_new_images(of_kserve(installed(overlay))))
    assert {".".join(path) for path in caught.value.conflicts["visual-search-rollout/Update"]} == conflicts


def test_idle_challenger_has_no_pods_until_there_is_one_and_afterwards() -> None:
    namespace = Namespace("standard-gpu", documents("first-standard"), of_kserve(documents("standard-gpu")))

    def is_stopped() -> bool:
        annotations = namespace.live["inferenceservice/visual-search-challenger"]["metadata"]["annotations"]
        return annotations["serving.kserve.io/stop"] == "true"

    told = [is_stopped()]
    for desired in (
        Desired(A),
        Desired(A, B, 5),
        Desired(A, rolled_back=True),
        Desired(A, B, 0),
        Desired(A, B, 50),
        Desired(B),
    ):
        namespace.follow([desired])
        told.append(is_stopped())
    assert told == [True, True, False, True, False, False, True]
    champion = namespace.live["inferenceservice/visual-search-champion"]["metadata"]["annotations"]
    assert "serving.kserve.io/stop" not in champion
