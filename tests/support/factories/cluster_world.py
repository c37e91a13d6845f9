"""A cluster without a network: objects, controllers, and hands that change things beside the rollout."""

from __future__ import annotations

import copy
import json

from serving.rollout.cluster import plan_for
from serving.rollout.plan import ArmRelease, Desired
from support.factories.cluster_controllers import make_controller
from support.factories.cluster_factory import NAMESPACE, make_objects
from support.servers.api_server import ApiServer

RELEASES = tuple(ArmRelease(n, f"r-{n:016x}", f"s3://store/r-{n:016x}/") for n in range(1, 6))


class World:
    """Objects that controllers follow only when told to, so that they may lag behind."""

    def __init__(self, mode: str, planner=plan_for) -> None:
        self.mode, self._planner = mode, planner
        self.controller = make_controller(mode)
        self.server = ApiServer(make_objects(mode))
        self.round()  # KServe sees the objects as they are applied, before any rollout
        self.follow(Desired(RELEASES[0]))

    @property
    def served(self) -> dict[str, int]:
        """Storage URI → percent of the users, now."""
        return self.controller.served

    def round(self) -> None:
        """Let all controllers go on once."""
        self.controller(self.server.objects)

    def settle(self) -> None:
        for _ in range(6):
            self.round()

    def reconcile(self, desired: Desired, most_patches: int | None = None) -> bool:
        """Plan and apply until there is nothing to do or to wait for, as `Reconciler.reconcile` does between two looks of the
        controllers; returns False where it was killed after so many patches.
        """
        for _ in range(20):
            objects = copy.deepcopy(self.server.objects)
            patches = self._planner(self.mode, desired, objects, NAMESPACE).patches
            if not patches:
                return True
            for patch in patches:
                if most_patches is not None:
                    if not most_patches:
                        return False
                    most_patches -= 1
                self.server.patch(f"{patch.kind}/{patch.name}", "application/json-patch+json", json.loads(patch.body))
        raise AssertionError(f"the plan has no end: {patches}")

    def follow(self, desired: Desired, rounds: int = 20) -> None:
        """Let rollout and controllers take turns."""
        for _ in range(rounds):
            self.reconcile(desired)
            self.round()

    def annotate(self, value: str) -> None:
        """Change an annotation of every InferenceService, as a person might: its generation stays."""
        for key in self._services():
            self._merge(key, {"metadata": {"annotations": {"example.com/note": value}}})

    def change_image(self, image: str) -> None:
        """Apply a ServingRuntime with another image."""
        self.controller.image = image

    def change_autoscaler(self, value: int) -> None:
        """Change what only the HPA reads: the generation of the InferenceService rises, that of its child stays."""
        for key in self._services():
            self._merge(key, {"spec": {"predictor": {"maxReplicas": value}}})

    def scale(self, arm: str, replicas: int) -> None:
        """Let the HPA choose another number of pods."""
        self.controller.replicas[arm] = replicas

    def delete_deployment(self, arm: str) -> None:
        self.server.objects.pop(f"deployment/visual-search-{arm}-predictor", None)
        self.controller.sets[arm] = []

    def edit_weights(self, percent: int) -> None:
        """Write weights into the route by hand."""
        rules = copy.deepcopy(self.server.objects["httproute/visual-search"]["spec"]["rules"])
        rules[-1]["backendRefs"][0]["weight"], rules[-1]["backendRefs"][1]["weight"] = 100 - percent, percent
        self._merge("httproute/visual-search", {"spec": {"rules": rules}})

    def _services(self) -> list[str]:
        return [key for key in self.server.objects if key.startswith("inferenceservice/")]

    def _merge(self, key: str, patch: dict) -> None:
        self.server.patch(key, "application/merge-patch+json", patch)
