"""The kubectl commands of a canary, a promotion and a rollback, as the README prints them: made by the planner itself."""

from __future__ import annotations

import copy

import jsonpatch

from serving.rollout.cluster import Mode, plan_for
from serving.rollout.plan import ArmRelease, Desired, Json, storage_of
from support.factories.cluster_controllers import make_controller

EXAMPLES = ("canary", "step", "promote", "roll back")
_OLD, _NEW = "r-" + "0" * 16, "r-" + "1" * 16


def example_commands(mode: Mode, objects: dict[str, Json], namespace: str = "visual-search") -> dict[str, list[str]]:
    """Return the commands that take a cluster from its champion to 5 %, to 50 %, to a promotion; or back from 50 %.

    Args:
        mode: how KServe is deployed.
        objects: as the manifests make them, "inferenceservice/NAME" and "httproute/NAME"; their champion is r-000….
        namespace: of them.
    """
    place = storage_of(next(thing for key, thing in objects.items() if key.startswith("inferenceservice/")))[1]
    store = place.rstrip("/").rpartition("/")[0]
    old, new = (ArmRelease(number, name, f"{store}/{name}/") for number, name in ((1, _OLD), (2, _NEW)))
    begun = _follow(Desired(old), _State(mode, copy.deepcopy(objects)), namespace)[1]
    canary, tried = _follow(Desired(old, new, 5), begun, namespace)
    step, half = _follow(Desired(old, new, 50), tried, namespace)
    promote, _ = _follow(Desired(new), half, namespace)
    back, _ = _follow(Desired(old, rolled_back=True), half, namespace)
    return dict(zip(EXAMPLES, (canary, step, promote, back), strict=True))


class _State:
    """Objects, and the controllers that know their pods."""

    def __init__(self, mode: Mode, objects: dict[str, Json]) -> None:
        self.mode, self.objects, self.controllers = mode, objects, make_controller(mode)


def _follow(desired: Desired, state: _State, namespace: str) -> tuple[list[str], _State]:
    """Return the commands of a wish on a cluster whose pods are soon ready, and the state afterwards."""
    state = copy.deepcopy(state)
    objects = state.objects
    commands: list[str] = []
    while True:
        for _ in range(2):  # until all controllers have seen the last change
            state.controllers(objects)
        plan = plan_for(state.mode, desired, objects, namespace)
        if not plan.patches:
            return commands, state
        for patch in plan.patches:
            key = f"{patch.kind}/{patch.name}"
            objects[key] = jsonpatch.apply_patch(objects[key], patch.body)
            commands.append(patch.command)
