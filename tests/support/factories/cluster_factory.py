"""Objects of a rollout as our manifests make them; `cluster_controllers` does to them what KServe does."""

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


def make_objects(mode: str):
    """Return the objects that the manifests of a mode apply."""
    if mode == "knative":
        return [make_service()]
    services = [make_service(f"visual-search-{arm}", arm=arm, knative=False) for arm in ("champion", "challenger")]
    return [*services, make_route()]
