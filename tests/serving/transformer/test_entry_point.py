"""How the process is told what to do: environment, KServe's arguments, mistakes."""

from __future__ import annotations

import pytest

from components.shared.errors import ParameterError
from serving.server.flags import Flags, read_flags
from serving.transformer.__main__ import main, settings_of


def test_what_kserve_appends_is_taken_and_the_rest_left_to_it():
    flags = read_flags(
        ["--http_port=9000", "--model_name", "shop", "--predictor_host", "shop-predictor.ns", "--workers=1",
         "--predictor_protocol", "v2", "--enable_docs_url=false"]
    )  # fmt: skip
    settings = settings_of(flags)
    assert (settings.transformer_http_port, settings.model_name) == (9000, "shop")
    assert settings.encoder_address == "shop-predictor.ns:8081"
    assert settings_of(Flags(predictor_host="localhost:9001")).encoder_address == "localhost:9001"


def test_environment_of_the_pod_holds_names_of_both_processes(monkeypatch):
    monkeypatch.setenv("VISUAL_SEARCH_ENCODER_THREADS", "2")
    monkeypatch.setenv("VISUAL_SEARCH_ARM", "b")
    monkeypatch.setenv("VISUAL_SEARCH_EVENTS_KEYS", "secret" * 8)
    settings = settings_of(Flags())
    assert settings.arm == "b"
    assert "secret" not in repr(settings)


def test_a_typo_or_a_bad_value_ends_the_process_with_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("VISUAL_SEARCH_ARMM", "b")
    assert main([]) == 2
    assert "VISUAL_SEARCH_ARMM" in capsys.readouterr().err
    monkeypatch.delenv("VISUAL_SEARCH_ARMM")
    monkeypatch.setenv("VISUAL_SEARCH_RECALL_SHARE", "2")
    with pytest.raises(ParameterError, match="VISUAL_SEARCH_RECALL_SHARE"):
        settings_of(Flags())
