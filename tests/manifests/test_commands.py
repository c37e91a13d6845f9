"""The commands in the manifests are ours as they are now: the command line parses each, and settings are read from each pod."""

from __future__ import annotations

import pytest

from manifests.checks.pods import ENCODER, TRANSFORMER, Container, pods_of
from pipelines.__main__ import build_parser
from serving.encoder.__main__ import settings_of as encoder_settings
from serving.server.flags import read_flags
from serving.transformer.__main__ import settings_of as transformer_settings
from support.inputs.rendered_overlays import OVERLAYS, installed, one


def containers(overlay: str, image: str) -> list[Container]:
    found = [container for pod in pods_of(installed(overlay)) for container in pod.containers]
    return [container for container in found if f"/{image}@" in container.spec["image"]]


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_command_line_parses_what_jobs_run(overlay: str) -> None:
    parsed = [
        build_parser().parse_args([str(word) for word in container.spec["args"]])
        for container in containers(overlay, "pipeline-python")
        if "command" not in container.spec
    ]
    assert {options.command for options in parsed} == {"events", "submit", "rollout"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_processes_accept_their_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, read in ((ENCODER, encoder_settings), (TRANSFORMER, transformer_settings)):
        image = {ENCODER: "encoder", TRANSFORMER: "transformer"}[name]
        for container in containers(overlay, image):
            with monkeypatch.context() as patched:
                for key, value in container.variables().items():
                    if value is not None:
                        patched.setenv(key, value)
                settings = read(read_flags(container.spec["args"]))
            assert settings.bind == "0.0.0.0"
            assert settings.location == "/mnt/models"
            assert settings.model_name == "visual-search"


def test_every_arm_names_itself_and_its_pin() -> None:
    for overlay, pins in (
        ("knative", {"champion": "prev"}),
        ("knative-git", {"champion": "prev"}),
        ("knative-canary", {"challenger": "latest"}),
        ("knative-withdrawn", {"champion": "prev"}),
        ("standard", {"champion": "champion", "challenger": "challenger"}),
    ):
        found = {
            variables["VISUAL_SEARCH_ARM"]: variables["VISUAL_SEARCH_PIN_VALUE"]
            for variables in (container.variables() for container in containers(overlay, "transformer"))
        }
        assert found == pins


def test_the_route_and_the_rollout_use_the_same_names() -> None:
    from serving.rollout.standard import PIN_HEADER, ROUTE, SERVICES

    route = one(installed("standard"), "HTTPRoute", ROUTE)
    backends = {reference["name"] for rule in route["spec"]["rules"] for reference in rule["backendRefs"]}
    assert backends == {f"{name}-predictor" for name in SERVICES.values()}
    headers = {
        header["name"].lower()
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
        for header in match.get("headers", [])
    }
    assert headers == {PIN_HEADER}


@pytest.mark.parametrize(("mode", "overlay"), [("knative", "knative"), ("standard", "standard")])
def test_the_rollout_plans_on_these_very_objects(mode: str, overlay: str) -> None:
    from serving.rollout.cluster import plan_for
    from serving.rollout.plan import ArmRelease, Desired

    found = installed(overlay)
    objects = {
        f"{document['kind'].lower()}/{document['metadata']['name']}": document
        for document in found
        if document["kind"] in ("InferenceService", "HTTPRoute")
    }
    champion = ArmRelease(1, "r-1", "s3://visual-search/releases/r-1111111111111111/")
    plan = plan_for(mode, Desired(champion), objects, "visual-search")  # type: ignore[arg-type]
    (patch,) = plan.patches
    assert patch.command.startswith("kubectl patch inferenceservice visual-search")
    assert champion.uri in patch.body
