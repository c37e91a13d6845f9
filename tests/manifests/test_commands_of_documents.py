"""The kubectl commands of README.md and manifests/README.md run in the order in which they are written, a block in one mode."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipelines.__main__ import build_parser, main
from support.clients.kubectl_model import KubectlModel, lines_of
from support.factories.platform_factory import make_platform
from support.inputs.rendered_overlays import MANIFESTS, ROOT
from support.servers.api_server import RefusedError
from support.servers.field_ownership import ConflictError

MANIFESTS_README = (MANIFESTS / "README.md").read_text()
README = (ROOT / "README.md").read_text()
PREPARED = [
    "kubectl apply --server-side -f manifests/base/Namespace.yaml",
    "kubectl -n visual-search create secret generic visual-search-credentials --from-file=MLFLOW_BACKEND_STORE_URI",
    "kubectl -n visual-search create secret generic visual-search-postgresql --from-file=password",
]


def blocks(text: str) -> list[list[str]]:
    """Return the shell blocks that have a kubectl command."""
    found = [lines_of(block) for block in re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.S | re.M)]
    return [lines for lines in found if any(line.startswith("kubectl ") for line in lines)]


def mode_of(lines: list[str]) -> str:
    """Return the only mode that a block installs."""
    modes = {
        "knative" if name.startswith("knative") else "standard"
        for name in re.findall(r"(?:overlays|first)/([a-z-]+)", str(lines))
    }
    assert len(modes) == 1, lines
    return modes.pop()


def run(lines: list[str]) -> KubectlModel:
    cluster = KubectlModel(mode_of(lines))
    for line in lines:
        if line.startswith("kubectl ") or "rollout reconcile" in line:
            cluster.run(line)
    return cluster


def test_installation_runs_in_its_order() -> None:
    (install,) = blocks(MANIFESTS_README)
    live = run(install).fields.live
    assert {"inferenceservice/visual-search-champion", "job/start-training", "httproute/visual-search"} <= set(live)
    assert live["secret/visual-search-credentials"]["data"]  # the overlay's empty Secret leaves the keys alone
    assert live["httproute/visual-search"]["spec"]["rules"]


def test_installation_can_be_applied_again_but_what_is_done_once_is_refused() -> None:
    (install,) = blocks(MANIFESTS_README)
    cluster = run(install)
    for line in install[-2:]:
        cluster.run(line)
    with pytest.raises(RefusedError, match="already exists"):
        cluster.run(next(line for line in install if " create secret " in line))


@pytest.mark.parametrize("left_out", ["Namespace.yaml", "visual-search-postgresql", "visual-search-credentials"])
def test_no_preparation_can_be_left_out(left_out: str) -> None:
    (install,) = blocks(MANIFESTS_README)
    shorter = [line for line in install if left_out not in line]
    assert len(shorter) < len(install)
    with pytest.raises(RefusedError, match=r"not found|find key"):
        run(shorter)


def test_rollout_by_hand_runs_in_one_mode() -> None:
    (by_hand,) = blocks(README)
    cluster = run([*PREPARED, *by_hand])
    predictor = cluster.fields.live["inferenceservice/visual-search"]["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == 0
    assert predictor["model"]["storageUri"].endswith("r-1111111111111111/")


def test_the_patches_of_knative_are_refused_after_an_overlay_of_standard_mode() -> None:
    (by_hand,) = blocks(README)
    patches = [line for line in by_hand if line.startswith("kubectl patch ")]
    (install,) = blocks(MANIFESTS_README)
    with pytest.raises(RefusedError, match="not found"):
        run([*install, *patches])


def test_a_late_patch_is_refused() -> None:
    (by_hand,) = blocks(README)
    with pytest.raises(RefusedError, match="test"):
        run([*PREPARED, *by_hand, by_hand[-1]])


def test_a_second_first_installation_conflicts_with_the_rollout() -> None:
    (by_hand,) = blocks(README)
    with pytest.raises(ConflictError):
        run([*PREPARED, *by_hand, by_hand[0]])


def test_the_command_for_other_paths_of_the_route_runs_while_the_challenger_has_no_share() -> None:
    (command,) = re.findall(r"`(kubectl apply [^`]*manifests/[^`]+)`", MANIFESTS_README)
    (install,) = blocks(MANIFESTS_README)
    assert run([*install, command]).fields.live["httproute/visual-search"]["spec"]["rules"]


def test_our_own_commands_of_the_installation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    (install,) = blocks(MANIFESTS_README)
    ours = [shlex.split(line, comments=True)[1:] for line in install if line.startswith("visual-search ")]
    assert [words[1] for words in ours] == ["doctor", "doctor", "check"]
    for words in ours:
        build_parser().parse_args(words)
    if subprocess.run(["sh", "-c", "command -v kubectl"], capture_output=True, check=False).returncode != 0:
        pytest.skip("kubectl is not installed, so folders cannot be rendered")
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with make_platform() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        assert main(ours[1]) == 0
    capsys.readouterr()
    assert main(ours[2]) == 1  # the placeholders of components/images
    faults = capsys.readouterr().out.splitlines()
    assert faults
    assert all("digest" in fault or "placeholder" in fault for fault in faults), faults


def test_the_page_of_the_real_cluster_says_of_each_line_where_it_was_run() -> None:
    page = (ROOT / "docs" / "real-cluster.md").read_text()
    table = page[page.index("| line | mode | run against |") : page.index("## What only a real cluster can show")]
    for line in (line for block in [*blocks(README), *blocks(MANIFESTS_README)] for line in block):
        words = shlex.split(line, comments=True)
        if words[0] == "kubectl":
            (named,) = [word for word in words if word.startswith("manifests/")] or [
                "patch" if "patch" in words else "create secret"
            ]
            assert named in table, line
        assert words[0] in ("kubectl", "visual-search")
