"""The plan, followed step by step against controllers that do what KServe does: who serves what at every moment."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import ContractError
from serving.rollout.cluster import plan_for
from serving.rollout.plan import ArmRelease, Desired
from support.factories.cluster_controllers import make_controller
from support.factories.cluster_factory import NAMESPACE, make_objects
from support.servers.api_server import ApiServer, apply_json_patch

MODES = ("knative", "standard")
A, B, C = (ArmRelease(n, f"r-{n:016x}", f"s3://store/r-{n:016x}/") for n in (1, 2, 3))


class World:
    """A cluster without a network: objects and a controller."""

    def __init__(self, mode, delay=0):
        self.mode, self.controller = mode, make_controller(mode, delay)
        self.server = ApiServer(make_objects(mode), self.controller)

    def objects(self):
        return {key: self.server.get(key) for key in self.server.objects}

    def plan(self, desired):
        return plan_for(self.mode, desired, self.objects(), NAMESPACE)

    def converge(self, desired, most=60):
        """Do what the plan says until there is nothing to do; returns the patches."""
        done = []
        for _ in range(most):
            plan = self.plan(desired)
            if plan.is_done:
                return done
            for patch in plan.patches:
                self.server.patch(f"{patch.kind}/{patch.name}", "application/json-patch+json", json.loads(patch.body))
                done.append(patch)
            if not plan.patches:
                self.server.control()
        raise AssertionError(f"no end: {plan}")

    def settle(self):
        for _ in range(10):
            self.server.control()


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize("mode", MODES)
def test_canary_steps_and_promotion(mode, delay):
    world = World(mode, delay)
    world.converge(Desired(A))
    world.settle()
    assert world.controller.served == {A.uri: 100}
    start = len(world.controller.history)
    for share in (1, 25, 50):
        world.converge(Desired(A, B, share))
        world.settle()
        assert world.controller.served == {A.uri: 100 - share, B.uri: share}
    world.converge(Desired(B))
    world.settle()
    assert world.controller.served == {B.uri: 100}
    assert world.converge(Desired(B)) == []
    assert {uri for served in world.controller.history[start:] for uri in served} == {A.uri, B.uri}


@pytest.mark.parametrize("mode", MODES)
def test_a_rollback_takes_the_traffic_away_first_and_never_gives_it_back(mode):
    world = World(mode, delay=3)
    world.converge(Desired(A))
    world.settle()
    world.converge(Desired(A, B, 25))
    world.settle()
    moment = len(world.controller.history)
    first, *_ = world.plan(Desired(A, rolled_back=True)).patches
    world.server.patch(f"{first.kind}/{first.name}", "application/json-patch+json", json.loads(first.body))
    assert world.controller.served == {A.uri: 100}
    world.converge(Desired(A, rolled_back=True))
    world.settle()
    assert world.controller.history[moment:] == [{A.uri: 100}]
    assert world.plan(Desired(A, rolled_back=True)).is_done


@pytest.mark.parametrize("mode", MODES)
def test_another_challenger_never_inherits_the_traffic_of_the_last(mode):
    world = World(mode, delay=2)
    world.converge(Desired(A))
    world.settle()
    world.converge(Desired(A, B, 50))
    world.settle()
    moment = len(world.controller.history)
    world.converge(Desired(A, C, 5))
    world.settle()
    assert world.controller.served == {A.uri: 95, C.uri: 5}
    assert all(served.get(C.uri, 0) <= 5 for served in world.controller.history[moment:])


@pytest.mark.parametrize("mode", MODES)
def test_a_challenger_that_never_gets_ready_gets_no_traffic(mode):
    world = World(mode)
    world.converge(Desired(A))
    world.settle()
    world.controller.delay = 1_000_000
    for _ in range(20):
        plan = world.plan(Desired(A, B, 5))
        for patch in plan.patches:
            world.server.patch(f"{patch.kind}/{patch.name}", "application/json-patch+json", json.loads(patch.body))
        world.server.control()
    assert world.controller.served == {A.uri: 100}
    world.converge(Desired(A, rolled_back=True)) if mode == "standard" else None
    assert world.controller.served == {A.uri: 100}


def test_arms_are_named_by_the_revision_that_serves_them():
    world = World("knative")
    world.converge(Desired(A))
    world.converge(Desired(A, B, 5))
    assert "'challenger'" in str(world.controller.revisions[-1].template["spec"])
    assert "'latest'" in str(world.controller.revisions[-1].template["spec"])
    world.converge(Desired(B))
    world.settle()
    assert world.controller.revisions[-1].uri == B.uri
    assert "'challenger'" not in str(world.controller.revisions[-1].template["spec"])
    assert "'prev'" in str(world.controller.revisions[-1].template["spec"])


def test_users_pinned_to_a_challenger_without_traffic_go_to_the_champion():
    world = World("standard")
    world.converge(Desired(A))

    def pinned():
        rules = world.objects()["httproute/visual-search"]["spec"]["rules"]
        return {b["name"].split("-")[2] for b in rules[0]["backendRefs"] if b["weight"]}

    assert pinned() == {"champion"}
    world.converge(Desired(A, B, 5))
    assert pinned() == {"challenger"}
    world.converge(Desired(A, rolled_back=True))
    assert pinned() == {"champion"}


wishes = st.builds(
    lambda champion, challenger, share, back: Desired(
        champion, None if challenger == champion or back else challenger, share, back
    ),
    st.sampled_from([A, B, C]),
    st.sampled_from([None, A, B, C]),
    st.integers(0, 99),
    st.booleans(),
)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.tuples(wishes, st.integers(0, 4)), min_size=1, max_size=5), delay=st.integers(0, 3), last=wishes
)
def test_from_wherever_it_was_left_it_gets_where_it_should(mode, history, delay, last):
    world = World(mode, delay)
    for wish, steps in history:  # wishes change while the one before is half done
        for _ in range(steps):
            for patch in world.plan(wish).patches[:1]:
                world.server.patch(f"{patch.kind}/{patch.name}", "application/json-patch+json", json.loads(patch.body))
            world.server.control()
    world.converge(last)
    world.settle()
    share = last.share if last.challenger else 0
    expected = {last.champion.uri: 100 - share} | ({last.challenger.uri: share} if share else {})
    assert world.controller.served == expected
    assert world.plan(last).is_done


@pytest.mark.parametrize("mode", MODES)
def test_a_late_patch_does_nothing(mode):
    world = World(mode)
    world.converge(Desired(A))
    (late, *_) = world.plan(Desired(B)).patches
    world.converge(Desired(C))
    before = world.objects()
    with pytest.raises(Exception, match="failed"):
        world.server.patch(f"{late.kind}/{late.name}", "application/json-patch+json", json.loads(late.body))
    assert world.objects() == before


def test_objects_that_are_not_ours_are_named():
    service = {"metadata": {"name": "visual-search"}, "spec": {"predictor": {"model": {}}}}
    with pytest.raises(ContractError, match="no storageUri"):
        plan_for("knative", Desired(A), {"inferenceservice/visual-search": service}, NAMESPACE)


def test_storage_uri_may_stand_in_the_environment():
    service = make_objects("knative")[0]
    del service["spec"]["predictor"]["model"]
    container = {"name": "kserve-container", "env": [{"name": "STORAGE_URI", "value": "s3://store/none/"}]}
    service["spec"]["predictor"]["containers"].append(container)
    (patch,) = plan_for("knative", Desired(A), {"inferenceservice/visual-search": service}, NAMESPACE).patches
    after = apply_json_patch(service, list(patch.operations))
    assert after["spec"]["predictor"]["containers"][1]["env"][0]["value"] == A.uri


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("mode", MODES)
def test_kubectl_does_what_the_printed_commands_say(mode, tmp_path):
    planned, printed = World(mode), World(mode)
    with printed.server as server:
        config = server.kubeconfig(tmp_path)
        for wish in (Desired(A), Desired(A, B, 5), Desired(A, rolled_back=True), Desired(A, B, 50), Desired(B)):
            for patch in planned.converge(wish):
                subprocess.run(
                    ["bash", "-c", patch.command],
                    env={"KUBECONFIG": str(config), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
                    check=True, capture_output=True, timeout=60,
                )  # fmt: skip
    assert printed.objects() == planned.objects()
