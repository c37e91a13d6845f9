"""Models of KServe, Knative Serving, Kubernetes' Deployments and a Gateway, as far as a rollout depends on them.

What they follow (KServe 0.20, Knative Serving 1.18, observed on a real cluster where "seen" is said):
- KServe builds a Deployment (Standard) or a Knative Service from each InferenceService, writes the storage URI into an
  annotation of the pod template, and copies the InferenceService's own annotations there
  (reconcilers/knative/ksvc_reconciler.go, createKnativeService). So an annotation, or a new image in the ServingRuntime,
  changes the child's generation and not the InferenceService's (seen); a change of the HPA does the reverse (seen).
- `status.observedGeneration` of the InferenceService is the child's (inference_service_status.go, PropagateStatus and
  PropagateRawStatus; seen).
- Ready of a Standard InferenceService is Available of its Deployment, so old pods keep it true in a rolling update (seen).
- With canaryTrafficPercent the newest ready revision gets it, and the revision in `latestRolledoutRevision` the rest; without,
  the newest ready revision gets everything (createKnativeService; seen: a canary dropped too early went to the bad release).
- `latestRolledoutRevision` becomes the newest ready revision once that has 100 % as the latest (PropagateStatus).
- A Deployment replaces pods one by one and keeps an old one until a new one is ready (maxUnavailable 25 % rounds down to 0).
- A gateway serves the last HTTPRoute that it has taken, and says so in `status.parents`.
- With the annotation serving.kserve.io/stop "true" KServe deletes the child (ksvc_reconciler.go, Reconcile).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from serving.rollout.readiness import SOURCE_ANNOTATION

ARMS = ("champion", "challenger")
_STOP = "serving.kserve.io/stop"


@dataclass
class Pods:
    """Pods of one template: a ReplicaSet, or a Knative revision."""

    name: str
    template: dict
    wait: int = 0  # looks until they are ready
    count: int = 1
    ready: int = 0

    @property
    def uri(self) -> str:
        return self.template["metadata"]["annotations"][SOURCE_ANNOTATION]


@dataclass
class Controllers:
    """What both modes share.

    Attributes:
        delay: looks until pods of a new template are ready.
        image: of the ServingRuntime.
        healthy: storage URIs whose pods become ready; None: all.
        history: traffic as users see it: storage URI → percent, each time that it changes.
    """

    delay: int = 0
    image: str = "image-1"
    healthy: set[str] | None = None
    history: list[dict[str, int]] = field(default_factory=list)

    def may_be_ready(self, uri: str) -> bool:
        return self.healthy is None or uri in self.healthy

    def template_of(self, service: dict) -> dict:
        annotations = {k: v for k, v in (service["metadata"].get("annotations") or {}).items() if k != _STOP}
        predictor = service["spec"]["predictor"]
        return {
            "metadata": {"annotations": {**annotations, SOURCE_ANNOTATION: predictor["model"]["storageUri"]}},
            "spec": {"containers": copy.deepcopy(predictor.get("containers") or []), "image": self.image},
        }

    def note(self, served: dict[str, float]) -> None:
        rounded = {uri: round(percent) for uri, percent in served.items() if percent}
        if not self.history or self.history[-1] != rounded:
            self.history.append(rounded)

    @property
    def served(self) -> dict[str, int]:
        return self.history[-1] if self.history else {}


def is_stopped(service: dict) -> bool:
    return (service["metadata"].get("annotations") or {}).get(_STOP) == "true"


def update(objects: dict, key: str, spec: dict) -> dict:
    """Make or change a child; its generation counts changes of its own spec."""
    name = key.partition("/")[2]
    child = objects.setdefault(key, {"metadata": {"name": name, "generation": 0, "resourceVersion": "1"}, "status": {}})
    if child.get("spec") != spec:
        child["spec"] = copy.deepcopy(spec)
        child["metadata"]["generation"] += 1
    return child


class Knative(Controllers):
    """KServe and Knative Serving over one InferenceService."""

    def __init__(self, delay: int = 0, **options) -> None:
        super().__init__(delay, **options)
        self.revisions: list[Pods] = []
        self.newest_ready: Pods | None = None

    def __call__(self, objects: dict) -> None:
        """One round of all controllers."""
        self.kserve(objects)
        self.knative(objects)
        self.kserve(objects)  # its status, and the traffic that follows from it
        self.knative(objects)

    def kserve(self, objects: dict) -> None:
        """Make the Knative Service of the InferenceService, and copy what that one says."""
        service, key = objects["inferenceservice/visual-search"], "knativeservice/visual-search-predictor"
        noted = service.setdefault("status", {}).setdefault("components", {}).setdefault("predictor", {})
        canary, rolled_out = (
            service["spec"]["predictor"].get("canaryTrafficPercent"),
            noted.get("latestRolledoutRevision"),
        )
        traffic = [{"latestRevision": True, "percent": 100}]
        if canary is not None and rolled_out:
            traffic = [{"latestRevision": True, "percent": canary, "tag": "latest"}]
            if canary < 100:
                traffic.append(
                    {"revisionName": rolled_out, "latestRevision": False, "percent": 100 - canary, "tag": "prev"}
                )
        child = update(objects, key, {"template": self.template_of(service), "traffic": traffic})
        self._propagate(service, noted, child["status"])

    @staticmethod
    def _propagate(service: dict, noted: dict, status: dict) -> None:
        newest = status.get("latestReadyRevisionName")
        for target in status.get("traffic", []):
            if target["latestRevision"] and target["revisionName"] == newest:
                shares = sum(each["percent"] for each in status["traffic"] if each["revisionName"] == newest)
                if noted.get("latestRolledoutRevision") != newest:
                    if target["percent"] == 100:
                        noted["previousRolledoutRevision"] = noted.get("latestRolledoutRevision")
                        noted["latestRolledoutRevision"] = newest
                elif (newest == status["latestCreatedRevisionName"] and target["percent"] < 100 and shares == 100
                      and noted.get("previousRolledoutRevision")):  # fmt: skip
                    noted["latestRolledoutRevision"] = noted["previousRolledoutRevision"]
        noted["latestCreatedRevision"] = status.get("latestCreatedRevisionName")
        noted["latestReadyRevision"] = newest
        if "observedGeneration" in status:
            service["status"]["observedGeneration"] = status["observedGeneration"]
            ready = newest == status["latestCreatedRevisionName"]
            service["status"]["conditions"] = [{"type": "Ready", "status": "True" if ready else "Unknown"}]

    def knative(self, objects: dict) -> None:
        """Make revisions of the Knative Service's template, and lead traffic to them."""
        child = objects["knativeservice/visual-search-predictor"]
        template = child["spec"]["template"]
        if not self.revisions or self.revisions[-1].template != template:
            name = f"visual-search-predictor-{len(self.revisions) + 1:05d}"
            self.revisions.append(Pods(name, copy.deepcopy(template), self.delay))
        newest = self.revisions[-1]
        if newest.wait > 0:
            newest.wait -= 1
        elif self.may_be_ready(newest.uri):
            self.newest_ready = newest
        traffic = []
        for target in child["spec"]["traffic"]:
            name = target.get("revisionName") or (self.newest_ready.name if self.newest_ready else None)
            if name is not None:
                traffic.append({**target, "revisionName": name})
        child["status"] = {
            "observedGeneration": child["metadata"]["generation"],
            "latestCreatedRevisionName": newest.name,
            "latestReadyRevisionName": self.newest_ready.name if self.newest_ready else None,
            "traffic": traffic,
        }
        uris = {each.name: each.uri for each in self.revisions}
        served: dict[str, float] = {}
        for target in traffic:
            served[uris[target["revisionName"]]] = served.get(uris[target["revisionName"]], 0) + target["percent"]
        self.note(served)


class Standard(Controllers):
    """KServe, Deployments and a Gateway over two InferenceServices and the HTTPRoute."""

    def __init__(self, delay: int = 0, **options) -> None:
        super().__init__(delay, **options)
        self.replicas = dict.fromkeys(ARMS, 1)  # the HPA's
        self.sets: dict[str, list[Pods]] = {arm: [] for arm in ARMS}
        self.weights: list[dict] = []  # as the gateway has taken them

    def __call__(self, objects: dict) -> None:
        """One round of all controllers."""
        for arm in ARMS:
            if f"inferenceservice/visual-search-{arm}" in objects:
                self.kserve(objects, arm)
                self.deployment(objects, arm)
                self.kserve(objects, arm)
        if "httproute/visual-search" in objects:
            self.gateway(objects)
        self.observe()

    def kserve(self, objects: dict, arm: str) -> None:
        """Make the Deployment of an InferenceService, and copy what that one says."""
        service, key = objects[f"inferenceservice/visual-search-{arm}"], f"deployment/visual-search-{arm}-predictor"
        if is_stopped(service):
            objects.pop(key, None)
            self.sets[arm] = []
            service["status"] = {"conditions": [{"type": "Ready", "status": "False"}]}
            return
        child = update(objects, key, {"replicas": self.replicas[arm], "template": self.template_of(service)})
        status = child["status"]
        if "observedGeneration" in status:
            available = status["readyReplicas"] > 0
            service["status"] = {
                "observedGeneration": status["observedGeneration"],
                "conditions": [{"type": "Ready", "status": "True" if available else "False"}],
            }

    def deployment(self, objects: dict, arm: str) -> None:
        """Replace pods one by one; an old one goes when a new one is ready."""
        child = objects.get(f"deployment/visual-search-{arm}-predictor")
        if child is None:
            return
        sets, wanted = self.sets[arm], child["spec"]["replicas"]
        if not sets or sets[-1].template != child["spec"]["template"]:
            sets.append(Pods(f"{arm}-{len(sets)}", copy.deepcopy(child["spec"]["template"]), self.delay, count=0))
        newest = sets[-1]
        newest.count = wanted  # surge first
        if newest.wait > 0:
            newest.wait -= 1
        elif self.may_be_ready(newest.uri):
            newest.ready = newest.count
        newest.ready = min(newest.ready, newest.count)
        spare = wanted - newest.ready
        for old in sets[:-1]:
            old.count = old.ready = min(old.ready, spare)
            spare -= old.ready
        self.sets[arm] = [each for each in sets if each.count]
        child["status"] = {
            "observedGeneration": child["metadata"]["generation"],
            "replicas": sum(each.count for each in self.sets[arm]),
            "updatedReplicas": newest.count,
            "readyReplicas": sum(each.ready for each in self.sets[arm]),
        }

    def gateway(self, objects: dict) -> None:
        """Take the HTTPRoute as it is now."""
        route = objects["httproute/visual-search"]
        self.weights = copy.deepcopy(route["spec"]["rules"][-1]["backendRefs"])
        accepted = {"type": "Accepted", "status": "True", "observedGeneration": route["metadata"].get("generation", 0)}
        route["status"] = {"parents": [{"parentRef": {"name": "gateway"}, "conditions": [accepted]}]}

    def observe(self) -> None:
        """Note which share of the users gets which release."""
        served: dict[str, float] = {}
        for backend in self.weights:
            arm = "challenger" if "challenger" in backend["name"] else "champion"
            ready = sum(each.ready for each in self.sets[arm])
            for pods in self.sets[arm]:
                if pods.ready and backend["weight"]:
                    served[pods.uri] = served.get(pods.uri, 0) + backend["weight"] * pods.ready / ready
            if backend["weight"] and not ready:
                served["nothing"] = served.get("nothing", 0) + backend["weight"]
        self.note(served)


def make_controller(mode: str, delay: int = 0, **options) -> Knative | Standard:
    """Return the controllers of a mode."""
    return Knative(delay, **options) if mode == "knative" else Standard(delay, **options)
