from __future__ import annotations

import pytest

from components.shared.errors import ParameterError
from serving.encoder.__main__ import settings_of
from serving.server.flags import read_flags
from serving.settings import EncoderSettings, TransformerSettings, read_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("VISUAL_SEARCH_"):
            monkeypatch.delenv(name)


def test_each_process_takes_its_own_of_one_set_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL_SEARCH_ENCODER_THREADS", "3")
    monkeypatch.setenv("VISUAL_SEARCH_LOCATION", "/models")
    assert read_settings(EncoderSettings).encoder_threads == 3
    assert read_settings(TransformerSettings).location == "/models"
    assert not hasattr(read_settings(TransformerSettings), "encoder_threads")


@pytest.mark.parametrize("kind", [EncoderSettings, TransformerSettings])
def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch, kind: type[EncoderSettings]) -> None:
    monkeypatch.setenv("VISUAL_SEARCH_ENCODER_TREADS", "3")
    with pytest.raises(ParameterError, match="VISUAL_SEARCH_ENCODER_TREADS"):
        read_settings(kind)


def test_a_value_out_of_range_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL_SEARCH_ENCODER_MAX_BATCH", "0")
    with pytest.raises(ParameterError, match="VISUAL_SEARCH_ENCODER_MAX_BATCH"):
        read_settings(EncoderSettings)


def test_the_command_line_wins_and_kserves_own_arguments_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL_SEARCH_ENCODER_GRPC_PORT", "1")
    given = [
        "--model_name",
        "shop",
        "--grpc_port=9000",
        "--workers=1",
        "--predictor_host",
        "x:1",
        "--enable_grpc",
        "true",
    ]
    settings = settings_of(read_flags(given))
    assert (settings.model_name, settings.encoder_grpc_port, settings.encoder_http_port) == ("shop", 9000, 8085)
    assert settings_of(read_flags([])).encoder_grpc_port == 1
