"""The README's kubectl commands are those of the planner, on the objects of our own manifests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from support.factories.cluster_factory import make_objects
from support.factories.kubectl_commands import EXAMPLES, example_commands
from support.servers.api_server import merge_patch

ROOT = Path(__file__).parents[3]
KINDS = ("InferenceService", "HTTPRoute")


def keyed(objects):
    return {f"{thing['kind'].lower()}/{thing['metadata']['name']}": thing for thing in objects}


def rendered(mode):
    """Return the objects of a mode, applied first and every time, by kubectl's own kustomize."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    found = {}
    for folder in ("overlays", "first"):
        command = ["kubectl", "kustomize", str(ROOT / "manifests" / folder / mode)]
        text = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
        for key, thing in keyed(t for t in yaml.safe_load_all(text) if t and t["kind"] in KINDS).items():
            found[key] = merge_patch(found.get(key, {}), thing)
    return found


@pytest.mark.parametrize("mode", ["knative", "standard"])
def test_our_manifests_can_be_rolled_out_as_they_are(mode):
    found = example_commands(mode, rendered(mode))
    assert tuple(found) == EXAMPLES
    for commands in found.values():
        assert commands
        assert all(command.startswith("kubectl patch ") for command in commands)
    assert "r-1111111111111111" in found["canary"][0]
    names = {command.split()[3] for commands in found.values() for command in commands}
    assert names <= {"visual-search", "visual-search-champion", "visual-search-challenger"}


def test_a_canary_a_promotion_and_a_rollback_on_knative():
    found = example_commands("knative", keyed(make_objects("knative")))
    assert len(found["canary"]) == len(found["step"]) == len(found["promote"]) == 1
    assert '"path":"/spec/predictor/canaryTrafficPercent","value":5' in found["canary"][0]
    assert '{"op":"remove","path":"/spec/predictor/canaryTrafficPercent"}' in found["promote"][0]
    assert '"value":0}' in found["roll back"][0]
    assert len(found["roll back"]) == 3


def test_the_readme_prints_them():
    """Blocks of the README that patch the service must be the planner's commands, once there are any."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^kubectl patch .*$", text, re.MULTILINE)
    if not blocks:
        pytest.skip("the README shows no kubectl patch yet")
    made = {c for mode in ("knative", "standard") for cs in example_commands(mode, rendered(mode)).values() for c in cs}
    assert set(blocks) <= made
