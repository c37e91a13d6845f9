"""Objects of a rollout as our manifests make them, and controllers that do to them what KServe does."""

from __future__ import annotations

NAMESPACE = "visual-search"


def make_service(
    name: str = "visual-search", uri: str = "s3://store/none/", *, arm: str = "champion", knative: bool = True
):
    """Return an InferenceService with encoder and transformer in one pod."""
    pin = {"champion": "prev", "challenger": "latest"}[arm] if knative else arm
    env = [
        {"name": "VISUAL_SEARCH_BIND", "value": "0.0.0.0"},
        {"name": "VISUAL_SEARCH_ARM", "value": arm},
        {"name": "VISUAL_SEARCH_PIN_VALUE", "value": pin},
    ]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "predictor": {
                "model": {"name": "kserve-container", "modelFormat": {"name": "visual-search"}, "storageUri": uri},
                "containers": [{"name": "transformer-container", "image": "x", "env": env}],
            }
        },
    }


def make_route():
    """Return the HTTPRoute of Standard mode: the pins, then the weights."""
    backends = {arm: {"name": f"visual-search-{arm}-predictor", "port": 80} for arm in ("champion", "challenger")}

    def rule(pin, **weights):
        found = {"backendRefs": [{**backends[arm], "weight": weight} for arm, weight in weights.items()]}
        if pin:
            found["matches"] = [{"headers": [{"name": "X-Visual-Search-Arm", "value": pin}]}]
        return found

    rules = [
        rule("challenger", champion=100, challenger=0),
        rule("champion", champion=100),
        rule(None, champion=100, challenger=0),
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "visual-search", "namespace": NAMESPACE},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": rules},
    }


class Knative:
    """KServe in Knative mode, as far as a rollout sees it.

    A change of the template makes a revision, ready after `delay` looks. Traffic follows KServe's rules: with a canary, the
    newest ready revision gets it and the last that had everything gets the rest; without, the newest ready one gets all.
    `served` tells at every moment which storage URI gets which share; a revision's URI and labels never change.
    """

    def __init__(self, delay: int = 0):
        self.delay, self.revisions, self.waits = delay, [], {}
        self.rolled_out = self.newest_ready = None
        self.history: list[dict[str, int]] = []

    def __call__(self, objects):
        service = objects["inferenceservice/visual-search"]
        predictor = service["spec"]["predictor"]
        template = {
            "uri": predictor["model"]["storageUri"],
            "env": str(predictor["containers"][0]["env"]),
            "annotations": str(service["metadata"].get("annotations", {})),
        }
        if not self.revisions or self.revisions[-1] != template:
            self.revisions.append(template)
            self.waits[len(self.revisions) - 1] = self.delay
        newest = len(self.revisions) - 1
        if self.waits[newest] > 0:
            self.waits[newest] -= 1
        else:
            self.newest_ready = newest
        canary = predictor.get("canaryTrafficPercent")
        if self.newest_ready is None:
            return
        if canary is None or self.rolled_out is None or canary == 100:
            traffic = {self.newest_ready: 100}
            self.rolled_out = self.newest_ready
        else:
            traffic = {self.rolled_out: 100 - canary}
            traffic[self.newest_ready] = traffic.get(self.newest_ready, 0) + canary
        served: dict[str, int] = {}
        for revision, percent in traffic.items():
            uri = self.revisions[revision]["uri"]
            served[uri] = served.get(uri, 0) + percent
        served = {uri: percent for uri, percent in served.items() if percent}
        if not self.history or self.history[-1] != served:
            self.history.append(served)
        ready = self.newest_ready == newest
        service["status"] = {
            "observedGeneration": service["metadata"]["generation"],
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
            "components": {
                "predictor": {
                    "latestCreatedRevision": f"v{newest}",
                    "latestReadyRevision": f"v{self.newest_ready}",
                    "latestRolledoutRevision": f"v{self.rolled_out}",
                }
            },
        }

    @property
    def served(self):
        return self.history[-1]


class Standard:
    """KServe in Standard mode: a service is ready with its new release after `delay` looks; the route is taken as it is."""

    def __init__(self, delay: int = 0):
        self.delay, self.waits, self.ready, self.history = delay, {}, {}, []

    def __call__(self, objects):
        for arm in ("champion", "challenger"):
            service = objects.get(f"inferenceservice/visual-search-{arm}")
            if service is None:
                return
            uri = service["spec"]["predictor"]["model"]["storageUri"]
            if self.waits.get(arm, (None,))[0] != uri:
                self.waits[arm] = (uri, self.delay)
            elif self.waits[arm][1] > 0:
                self.waits[arm] = (uri, self.waits[arm][1] - 1)
            is_ready = self.waits[arm][1] == 0
            if is_ready:
                self.ready[arm] = uri
            service["status"] = {
                "observedGeneration": service["metadata"]["generation"],
                "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
            }
        if (route := objects.get("httproute/visual-search")) is None:
            return
        served: dict[str, int] = {}
        for backend in route["spec"]["rules"][-1]["backendRefs"]:
            arm = "challenger" if "challenger" in backend["name"] else "champion"
            if backend["weight"]:
                uri = self.ready.get(arm, "nothing")
                served[uri] = served.get(uri, 0) + backend["weight"]
        if not self.history or self.history[-1] != served:
            self.history.append(served)

    @property
    def served(self):
        return self.history[-1]


def make_objects(mode: str):
    """Return the objects that the manifests of a mode apply."""
    if mode == "knative":
        return [make_service()]
    services = [make_service(f"visual-search-{arm}", arm=arm, knative=False) for arm in ("champion", "challenger")]
    return [*services, make_route()]


def make_controller(mode: str, delay: int = 0):
    return Knative(delay) if mode == "knative" else Standard(delay)
