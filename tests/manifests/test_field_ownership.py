"""The model of server-side apply does what Kubernetes' field manager does, conflict by conflict and field by field.

`tests/support/inputs/field_ownership/recorded.json` holds random sequences with the outcomes of k8s.io/apimachinery 0.34
(util/managedfields) on the CRDs of KServe 0.20 and Gateway API 1.4. REGENERATE=1 writes the sequences anew; then `go run main.go
recorded.json` beside the two CRDs (isvc.yaml, httproute.yaml) adds the outcomes.
"""

from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from support.servers.field_ownership import ConflictError, FieldOwnership, leaves

Json = dict[str, Any]
RECORDED = Path(__file__).parents[1] / "support" / "inputs" / "field_ownership" / "recorded.json"
MANAGERS = ("kubectl", "visual-search-first", "visual-search-rollout")


def service(draw: random.Random) -> Json:
    """Return an InferenceService with some of the fields that we write."""
    predictor: Json = {"model": {"modelFormat": {"name": "release"}}}
    found: Json = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"predictor": predictor},
    }
    if draw.random() < 0.5:
        predictor["model"]["storageUri"] = f"s3://a/r-{draw.randrange(3)}/"
    if draw.random() < 0.5:
        predictor["containers"] = [
            {"name": "transformer-container", "env": [{"name": "ARM", "value": draw.choice("ab")}]}
        ]
    if draw.random() < 0.5:
        predictor["canaryTrafficPercent"] = draw.choice([0, 5, 50])
    if draw.random() < 0.4:
        predictor["topologySpreadConstraints"] = [
            {
                "maxSkew": draw.choice([1, 2]),
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"a": draw.choice("xy")}},
            }
            for key in draw.sample(["host", "zone"], draw.choice([1, 2]))
        ]
    if draw.random() < 0.5:
        found["metadata"]["annotations"] = {name: draw.choice("tf") for name in draw.sample(["stop", "mode"], 1)}
    if draw.random() < 0.4:
        predictor["maxReplicas"] = draw.choice([4, 10])
    return found


def route(draw: random.Random) -> Json:
    """Return an HTTPRoute with some of its fields."""
    spec: Json = {"parentRefs": [{"name": draw.choice(["gateway", "gateway", "other"])}]}
    if draw.random() < 0.6:
        spec["hostnames"] = [f"{draw.choice('ab')}.example.com"]
    if draw.random() < 0.6:
        spec["rules"] = [{"backendRefs": [{"name": "a", "port": 80, "weight": draw.choice([0, 50, 100])}]}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": spec,
    }


def sequence(number: int) -> Json:
    draw = random.Random(number)
    make = service if number % 3 else route
    model, steps = FieldOwnership(), []
    for _ in range(7):
        wanted = make(draw)
        live = next(iter(model.live.values()), None)
        if live is None or draw.random() < 0.7:
            step = {"do": "apply", "manager": draw.choice(MANAGERS), "force": draw.random() < 0.2, "object": wanted}
        else:
            changed = copy.deepcopy(live)
            changed["spec"] = changed.get("spec", {}) | wanted["spec"]
            step = {"do": "update", "manager": "visual-search-rollout", "object": changed}
        steps.append(copy.deepcopy(step))
        play(model, step)
    return {"kind": steps[0]["object"]["kind"], "steps": steps}


def play(model: FieldOwnership, step: Json) -> set[str]:
    try:
        if step["do"] == "apply":
            model.apply([copy.deepcopy(step["object"])], step["manager"], force=step.get("force", False))
        else:
            model.update(copy.deepcopy(step["object"]), step["manager"])
    except ConflictError as error:
        return {f"{owner.split('/')[0]} {dotted(path)}" for owner, paths in error.conflicts.items() for path in paths}
    return set()


def dotted(path: tuple[str, ...]) -> str:
    return "".join(_element(part) if part.startswith("{") else f".{part}" for part in path)


def _element(part: str) -> str:
    return "[" + ",".join(f'{name}="{value}"' for name, value in json.loads(part).items()) + "]"


def owned(fields: Json, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Return the paths of a FieldsV1."""
    found = set()
    for name, below in fields.items():
        if name == ".":
            found.add(path)
        else:
            step = (
                json.dumps(json.loads(name[2:]), sort_keys=True, separators=(",", ":")) if name[0] == "k" else name[2:]
            )
            found |= owned(below, (*path, step)) if below else {(*path, step)}
    return found


if os.environ.get("REGENERATE") == "1" and not RECORDED.exists():
    RECORDED.write_text(json.dumps([sequence(number) for number in range(24)]))
CASES: list[Json] = json.loads(RECORDED.read_text())


@pytest.mark.parametrize("number", range(len(CASES)))
def test_sequence_ends_as_in_kubernetes(number: int) -> None:
    model = FieldOwnership()
    for step, outcome in zip(CASES[number]["steps"], CASES[number]["outcomes"], strict=True):
        assert play(model, step) == set(outcome.get("conflicts", []))
        ((key, live),) = model.live.items()
        assert leaves(live) == leaves(outcome["live"])
        mine = {name: {path for path in paths if path in leaves(live)} for name, paths in model.owners[key].items()}
        theirs = {name: owned(fields) & set(leaves(live)) for name, fields in outcome["owners"].items()}
        assert {n: p for n, p in mine.items() if p} == {n: p for n, p in theirs.items() if p}


def test_recorded_sequences_have_conflicts_and_removals() -> None:
    outcomes = [outcome for case in CASES for outcome in case["outcomes"]]
    assert sum(bool(outcome.get("conflicts")) for outcome in outcomes) > 20
    assert {case["kind"] for case in CASES} == {"InferenceService", "HTTPRoute"}
