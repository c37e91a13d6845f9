"""Variables that Kubernetes sets for Services stop no process; a misspelt setting still does."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from components.shared.errors import ParameterError
from components.shared.settings import PREFIX, is_service_link
from pipelines.settings import read_settings as read_pipeline_settings
from serving.settings import EncoderSettings, TransformerSettings, known_names, read_settings
from support.factories.release_factory import make_release
from support.inputs.service_links import service_links
from support.servers.serving_processes import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in service_links().items():
        monkeypatch.setenv(name, value)
    return service_links()


def test_every_service_link_is_known_by_name_and_value(links: dict[str, str]) -> None:
    assert len(links) > 40
    assert [name for name, value in links.items() if not is_service_link(name, value)] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENCODER_HTP_PORT", "8085"),
        ("ENCODER_GRPC_PROT", "8081"),
        ("TRANSFORMER_HTTP_PORTS", "tcp://10.96.0.9:80"),
        ("CHAMPION_PREDICTOR_PORT", "80"),
        ("CHAMPION_PREDICTOR_PORT_80", "tcp://10.96.0.9:80"),
        ("CHAMPION_SERVICE_HOST", "champion.example.com"),
        ("CHAMPION_SERVICE_PORT", "http"),
        ("KFP_HOST_PORT", "http://10.96.0.9:80"),
        ("PORT_80_TCP_ADDRESS", "10.96.0.9"),
    ],
)
def test_misspelt_setting_is_refused_beside_service_links(
    name: str, value: str, links: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    for read in (
        lambda: read_settings(EncoderSettings),
        lambda: read_settings(TransformerSettings),
        read_pipeline_settings,
    ):
        with pytest.raises(ParameterError, match=rf"sets {PREFIX}{name}, but"):
            read()


def test_setting_in_small_letters_is_read_and_its_misspelling_refused_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("visual_search_rollout_mode", "standard")
    assert read_pipeline_settings().rollout_mode == "standard"
    monkeypatch.setenv("visual_search_rollout_mod", "standard")
    with pytest.raises(ParameterError, match="visual_search_rollout_mod,"):
        read_pipeline_settings()


def test_setting_out_of_range_is_one_sentence_for_the_command_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL_SEARCH_ROLLOUT_MODE", "serverless")
    with pytest.raises(ParameterError, match="VISUAL_SEARCH_ROLLOUT_MODE: Input should be 'knative' or 'standard'"):
        read_pipeline_settings()


def test_service_with_the_name_of_a_setting_leaves_the_default(links: dict[str, str]) -> None:
    taken = known_names() & set(links)
    assert taken == {"VISUAL_SEARCH_ENCODER_HTTP_PORT", "VISUAL_SEARCH_TRANSFORMER_HTTP_PORT"}
    assert read_settings(EncoderSettings).encoder_http_port == 8085
    assert read_settings(TransformerSettings).transformer_http_port == 8080
    assert read_settings(EncoderSettings, encoder_http_port=9).encoder_http_port == 9


def test_encoder_and_transformer_serve_beside_service_links(tmp_path: Path, links: dict[str, str]) -> None:
    release = make_release(tmp_path / "release")
    ours = {name: value for name, value in links.items() if name.startswith(PREFIX) and name not in known_names()}
    more = {name.removeprefix(PREFIX).lower(): value for name, value in ours.items()}
    with serving(release, tmp_path, **more) as processes:
        with urllib.request.urlopen(f"{processes.url}/v1/release", timeout=30) as answer:
            assert answer.status == 200
        environments = [
            Path(f"/proc/{child.pid}/environ").read_text().split("\0") for child in processes.children.values()
        ]
    assert len(environments) == 2
    assert all({f"{name}={value}" for name, value in ours.items()} <= set(each) for each in environments)


@pytest.mark.parametrize(
    "command",
    [
        ("monitoring", "serve", "--folder", "records", "--port", "0", "--seconds", "0.1"),
        ("pipelines", "monitor", "serve", "--port", "0", "--seconds", "0.1"),
        ("pipelines", "parameters", "catalogue"),
    ],
    ids=" ".join,
)
def test_process_starts_beside_service_links(command: tuple[str, ...], links: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
