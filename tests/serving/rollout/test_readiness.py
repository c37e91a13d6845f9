"""Ready means ready: what happened on a real cluster, played again with controllers whose generations count apart."""

from __future__ import annotations

import pytest

from serving.rollout.plan import Desired
from serving.rollout.readiness import deployment_has, newest_revision_has, route_is_accepted
from support.factories.cluster_world import RELEASES, World

A, B, C, *_ = RELEASES
MODES = ("knative", "standard")
DRIFTS = {
    "annotation": lambda world: world.annotate("1"),
    "image": lambda world: world.change_image("image-2"),
    "both, twice": lambda world: (world.annotate("1"), world.change_image("image-2"), world.annotate("2")),
}


@pytest.mark.parametrize("share", [5, 50, 100])
@pytest.mark.parametrize("mode", MODES)
def test_a_rollback_takes_the_traffic_away_before_the_champion_is_ready_again(mode, share):
    world = World(mode)
    world.follow(Desired(A, B, share))
    assert world.served == {uri: percent for uri, percent in ((A.uri, 100 - share), (B.uri, share)) if percent}
    world.controller.delay = 1000  # new pods never become ready
    for _ in range(4):
        world.reconcile(Desired(A, rolled_back=True))
        world.round()
    assert world.served == {A.uri: 100}


def never_served(world, since, uri):
    return all(uri not in served for served in world.controller.history[since:])


@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("mode", MODES)
def test_a_rollback_never_gives_traffic_back_however_generations_drift(mode, drift):
    world = World(mode)
    world.follow(Desired(A, B, 50))
    assert world.served == {A.uri: 50, B.uri: 50}
    DRIFTS[drift](world)
    world.settle()
    world.controller.delay = 8  # the champion's pods take a while
    world.reconcile(Desired(A, rolled_back=True))
    world.round()
    moment = len(world.controller.history)
    world.follow(Desired(A, rolled_back=True), rounds=40)
    assert world.served == {A.uri: 100}
    assert never_served(world, moment, B.uri)


@pytest.mark.parametrize("drift", [None, *DRIFTS])
def test_a_challenger_gets_no_traffic_while_pods_of_the_last_one_answer(drift):
    world = World("standard")
    world.follow(Desired(A, B, 50))
    world.follow(Desired(A, rolled_back=True), rounds=2)  # its pods still run
    if drift:
        DRIFTS[drift](world)
        world.round()
    moment = len(world.controller.history)
    world.controller.healthy = {A.uri, B.uri}  # the pods of release 3 never become ready
    world.follow(Desired(A, C, 5), rounds=30)
    assert world.served == {A.uri: 100}
    assert never_served(world, moment, B.uri)
    world.controller.healthy = None
    world.follow(Desired(A, C, 5))
    assert world.served == {A.uri: 95, C.uri: 5}


@pytest.mark.parametrize("mode", MODES)
def test_a_change_that_only_the_autoscaler_reads_stops_no_rollout(mode):
    world = World(mode)
    world.follow(Desired(A, B, 5))
    world.change_autoscaler(12)
    world.follow(Desired(A, B, 25), rounds=4)
    assert world.served == {A.uri: 75, B.uri: 25}


@pytest.mark.parametrize("mode", MODES)
def test_new_images_under_a_canary_move_no_traffic(mode):
    world = World(mode)
    world.follow(Desired(A, B, 25))
    before = world.served
    moment = len(world.controller.history)
    world.change_image("image-2")
    world.controller.delay = 3
    world.follow(Desired(A, B, 25))
    assert world.served == before
    assert all(served == before for served in world.controller.history[moment - 1 :])


@pytest.mark.parametrize("mode", MODES)
def test_a_deleted_child_is_waited_for(mode):
    world = World(mode)
    world.follow(Desired(A, B, 5))
    child = (
        "knativeservice/visual-search-predictor"
        if mode == "knative"
        else "deployment/visual-search-challenger-predictor"
    )
    del world.server.objects[child]
    if mode == "standard":
        world.controller.sets["challenger"] = []
        before = list(world.controller.history)
        world.reconcile(Desired(A, B, 50))
        assert world.controller.history == before
        world.follow(Desired(A, B, 50))
        assert world.served == {A.uri: 50, B.uri: 50}
    else:
        assert world.reconcile(Desired(A, rolled_back=True))
        assert world.server.objects["inferenceservice/visual-search"]["spec"]["predictor"]["canaryTrafficPercent"] == 0


def test_a_promotion_is_finished_only_when_every_pod_has_the_release():
    world = World("standard")
    world.scale("champion", 3)
    world.follow(Desired(A, B, 50))
    world.controller.delay = 5
    world.reconcile(Desired(B))
    for _ in range(3):
        world.round()
        world.reconcile(Desired(B))
        weights = world.server.objects["httproute/visual-search"]["spec"]["rules"][-1]["backendRefs"]
        assert [each["weight"] for each in weights] == [50, 50]
    world.follow(Desired(B))
    assert world.served == {B.uri: 100}


def test_judgements_of_children_that_say_too_little():
    template = {"metadata": {"annotations": {"internal.serving.kserve.io/storage-initializer-sourceuri": A.uri}}}
    whole = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    deployment = {"metadata": {"generation": 2}, "spec": {"template": template}, "status": whole}
    assert deployment_has(deployment, A.uri)
    assert not deployment_has(deployment, B.uri)
    assert not deployment_has(None, A.uri)
    for lack in (
        {"observedGeneration": 1},
        {"updatedReplicas": 1},
        {"readyReplicas": 1},
        {"replicas": 3},
        {"replicas": 0},
    ):
        assert not deployment_has({**deployment, "status": {**whole, **lack}}, A.uri)
    for absent in whole:
        assert not deployment_has(
            {**deployment, "status": {key: value for key, value in whole.items() if key != absent}}, A.uri
        )
    named = {"observedGeneration": 2, "latestCreatedRevisionName": "b", "latestReadyRevisionName": "b"}
    service = {"metadata": {"generation": 2}, "spec": {"template": template}, "status": named}
    assert newest_revision_has(service, A.uri)
    for lack in ({"observedGeneration": 1}, {"latestReadyRevisionName": "a"}, {"latestReadyRevisionName": None}):
        assert not newest_revision_has({**service, "status": {**named, **lack}}, A.uri)
    accepted = {"type": "Accepted", "status": "True", "observedGeneration": 4}
    route = {"metadata": {"generation": 4}, "status": {"parents": [{"conditions": [accepted]}]}}
    assert route_is_accepted(route)
    assert not route_is_accepted({**route, "metadata": {"generation": 5}})
    assert not route_is_accepted({**route, "status": {}})
    assert not route_is_accepted({**route, "status": {"parents": [{"conditions": [{**accepted, "status": "False"}]}]}})
