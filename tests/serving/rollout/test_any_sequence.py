"""Whatever happens, in whatever order: nobody is led to a release that is no arm, and a rollback raises no share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from serving.rollout.plan import Desired
from support.factories.cluster_world import RELEASES, World

SHARES = st.sampled_from([1, 5, 25, 50, 100])
NUMBERS = st.integers(1, 9)


class Rollouts(RuleBasedStateMachine):
    """Decisions in the registry, a reconciler that may be killed, controllers that lag, people and autoscalers beside them.

    Two properties hold from the first whole reconciliation after a decision on: the share of a release rises only if it is an
    arm now or was the champion before, and the share of a refused one never rises.

    Planned on the conditions that KServe copies, as the rollout once did, both modes fail. Knative: start 2, share 50, served;
    generations drift apart; the champion's pods take a while; roll back, reconcile: 2 goes from 50 to 100 %. Standard: start 2,
    served; roll back; start 3, whose pods are not ready: 2 goes from 0 to the share of 3.
    """

    mode = "standard"

    @initialize()
    def begin(self) -> None:
        self.world = World(self.mode)
        self.desired = Desired(RELEASES[0])
        self.champions, self.refused = {RELEASES[0].uri}, set()
        self.is_guarded = True
        self.before = self.world.served

    def decide(self, desired: Desired) -> None:
        self.world.round()  # what was under way arrives
        self.check()
        self.desired = desired
        self.champions.add(desired.champion.uri)
        arms = {desired.champion.uri} | ({desired.challenger.uri} if desired.challenger else set())
        self.refused -= arms
        self.is_guarded = False

    @precondition(lambda self: self.desired.challenger is None)
    @rule(release=st.sampled_from(RELEASES), share=SHARES)
    def start(self, release, share) -> None:
        # A release that the champion's pods still run, since they are being replaced, cannot be taken from users at once.
        if release != self.desired.champion and release.uri not in self.world.served:
            self.decide(Desired(self.desired.champion, release, share))

    @precondition(lambda self: self.desired.challenger is not None)
    @rule(share=SHARES)
    def step(self, share) -> None:
        self.decide(Desired(self.desired.champion, self.desired.challenger, share))

    @precondition(lambda self: self.desired.challenger is not None)
    @rule()
    def roll_back(self) -> None:
        refused = self.desired.challenger.uri
        self.decide(Desired(self.desired.champion, rolled_back=True))
        self.champions.discard(refused)
        self.refused.add(refused)

    @precondition(lambda self: self.desired.challenger is not None)
    @rule()
    def roll_back_at_once(self) -> None:
        self.roll_back()
        self.reconcile()

    @precondition(lambda self: self.desired.challenger is None)
    @rule(release=st.sampled_from(RELEASES), share=SHARES, drift=st.booleans(), delay=st.sampled_from([0, 6, 12]))
    def start_and_serve(self, release, share, drift, delay) -> None:
        """What most rollouts come to, before something else happens."""
        self.start(release, share)
        for _ in range(4):
            self.time_passes()
        if drift:
            self.generations_drift_apart(share)
        self.pods_take(delay)

    @precondition(lambda self: self.desired.challenger is not None)
    @rule()
    def promote(self) -> None:
        self.decide(Desired(self.desired.challenger))

    @rule(release=st.sampled_from(RELEASES))
    def move_the_alias(self, release) -> None:
        challenger = self.desired.challenger if self.desired.challenger != release else None
        self.decide(Desired(release, challenger, self.desired.share if challenger else 0))

    @rule()
    def reconcile(self) -> None:
        self.is_guarded |= self.world.reconcile(self.desired)

    @rule(patches=st.integers(0, 2))
    def reconcile_and_be_killed(self, patches) -> None:
        self.world.reconcile(self.desired, patches)

    @rule()
    def controllers_go_on(self) -> None:
        self.world.round()

    @rule()
    def time_passes(self) -> None:
        for _ in range(4):
            self.is_guarded |= self.world.reconcile(self.desired)
            self.world.round()
            self.check()

    @rule(number=NUMBERS)
    def annotate(self, number) -> None:
        self.world.annotate(str(number))

    @rule(number=NUMBERS)
    def new_image(self, number) -> None:
        self.world.change_image(f"image-{number}")

    @rule(number=NUMBERS)
    def generations_drift_apart(self, number) -> None:
        """What an upgrade and a few annotations do in a day."""
        for each in (f"{number}-a", f"{number}-b"):
            self.world.annotate(each)
            self.world.round()
            self.world.change_image(f"image-{each}")
            for _ in range(4):
                self.world.round()
                self.check()

    @rule(number=NUMBERS)
    def new_limit_of_the_autoscaler(self, number) -> None:
        self.world.change_autoscaler(number)

    @rule(delay=st.sampled_from([0, 2, 4, 12]))
    def pods_take(self, delay) -> None:
        self.world.controller.delay = delay

    @rule(release=st.sampled_from(RELEASES[1:]))
    def pods_fail(self, release) -> None:
        healthy = self.world.controller.healthy or {each.uri for each in RELEASES}
        self.world.controller.healthy = healthy - {release.uri}

    @rule()
    def pods_recover(self) -> None:
        self.world.controller.healthy = None

    @precondition(lambda self: self.mode == "standard")
    @rule(arm=st.sampled_from(["champion", "challenger"]), replicas=st.integers(1, 4))
    def scale(self, arm, replicas) -> None:
        self.world.scale(arm, replicas)

    @precondition(lambda self: self.mode == "standard")
    @rule(arm=st.sampled_from(["champion", "challenger"]))
    def delete_deployment(self, arm) -> None:
        self.world.delete_deployment(arm)

    @precondition(lambda self: self.mode == "standard")
    @rule(percent=st.sampled_from([0, 10, 60, 100]))
    def edit_the_route(self, percent) -> None:
        self.world.edit_weights(percent)
        self.is_guarded = False  # a person did it; the rollout is to put it right

    def teardown(self) -> None:
        """When nothing happens any more, users get what the registry says."""
        if not hasattr(self, "world"):
            return
        self.world.controller.delay, self.world.controller.healthy = 0, None
        self.world.follow(self.desired, rounds=30)
        champion, challenger = self.desired.champion, self.desired.challenger
        shares = {champion.uri: 100 - self.desired.share if challenger else 100}
        if challenger:
            shares[challenger.uri] = self.desired.share
        assert self.world.served == {uri: percent for uri, percent in shares.items() if percent}

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "world"):
            return
        now, before = self.world.served, self.before
        self.before = now
        arms = {self.desired.champion.uri} | ({self.desired.challenger.uri} if self.desired.challenger else set())
        if self.is_guarded:
            for uri, percent in now.items():
                if percent > before.get(uri, 0) and uri != "nothing":
                    assert uri not in self.refused, f"the refused {uri} goes from {before.get(uri, 0)} to {percent} %"
                    assert uri in arms | self.champions, (
                        f"{uri} is no arm and goes from {before.get(uri, 0)} to {percent} %"
                    )


class KnativeRollouts(Rollouts):
    mode = "knative"


def run(machine, examples: int, *, same_each_time: bool) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize=same_each_time,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("machine", [Rollouts, KnativeRollouts])
def test_no_sequence_leads_users_astray(machine):
    run(machine, 100, same_each_time=True)


def _weeks_pass(rollouts) -> None:
    for _ in range(8):
        rollouts.time_passes()


def test_a_plan_that_trusts_too_early_is_found_out(monkeypatch):
    monkeypatch.setattr("serving.rollout.knative.newest_revision_has", lambda *_: True)
    knative = KnativeRollouts()
    knative.begin()
    knative.start_and_serve(RELEASES[1], 50, False, 12)
    knative.roll_back_at_once()
    with pytest.raises(AssertionError, match=r"the refused .* goes from"):
        _weeks_pass(knative)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [Rollouts, KnativeRollouts])
def test_no_sequence_of_thousands_leads_users_astray(machine):
    run(machine, 1500, same_each_time=False)
