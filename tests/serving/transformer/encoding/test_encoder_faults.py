"""The transformer process on an encoder that misbehaves: typed answers in time, none of them wrong, and recovery."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from components.shared.release.manifest import read_manifest
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from support.servers.misbehaving_encoder import DrippingServer, MisbehavingEncoder
from support.servers.serving_processes import make_local_release, pictures_of, transformer_alone

PREDICT = "/v1/models/visual-search:predict"
READY = "/v2/models/visual-search/ready"
FAULTS = {
    "error": (502, "encoder_failed"),
    "hang": (504, "encoder_timeout"),
    "nan": (502, "encoder_failed"),
    "zero": (502, "encoder_failed"),
    "norm": (502, "encoder_failed"),
    "dimension": (502, "encoder_failed"),
    "count": (502, "encoder_failed"),
    "short": (502, "encoder_failed"),
    "space": (502, "encoder_failed"),
    "nameless": (502, "encoder_failed"),
    "precondition": (502, "encoder_failed"),
    "empty": (502, "encoder_failed"),
    "overloaded": (503, "overloaded"),
}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_local_release(tmp_path_factory.mktemp("release"), items=8, views=3)


def until(true, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def test_every_fault_of_the_encoder_is_typed_and_recovered_from(release, tmp_path):
    manifest = read_manifest(release)
    encoder = OnnxEncoder(release / ENCODER_FILE, threads=1)
    picture = pictures_of(release)["000-0"]
    with (
        MisbehavingEncoder(
            space_id=manifest.space_id, dimension=manifest.encoder.dimension, embed=encoder.encode
        ) as server,
        transformer_alone(release, tmp_path, server.address, encoder_deadline_seconds="1") as processes,
        httpx.Client(base_url=processes.url, timeout=30) as http,
    ):

        def ask() -> httpx.Response:
            return http.post(PREDICT, params={"k": 5}, content=picture, headers={"content-type": "image/jpeg"})

        processes.wait_ready()
        right = [result["image_id"] for result in ask().json()["predictions"][0]["results"]]
        for mode, (status, code) in FAULTS.items():
            server.mode = mode
            answer = ask()
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), mode
            assert "secret" not in answer.text
            assert "predictions" not in answer.json()
            assert (answer.headers.get("retry-after") is not None) == (status == 503)
            similar = http.post(PREDICT, json={"instances": [{"image_id": "000-1"}]})
            assert similar.status_code == 200, "an image of the catalogue needs no encoder"
            assert http.get("/v2/health/live").status_code == 200
            server.mode = "well"
            until(lambda: ask().status_code == 200, 20)
            assert [result["image_id"] for result in ask().json()["predictions"][0]["results"]] == right
        server.mode = "error"
        for _ in range(5):
            ask()
        calls, statuses = server.calls, [ask().status_code for _ in range(20)]
        assert set(statuses) <= {502, 503}
        assert 503 in statuses
        assert server.calls - calls < 20, "an encoder that keeps failing is given a rest"
        until(lambda: http.get(READY).status_code == 503)
        assert http.get("/v2/health/live").status_code == 200
        server.mode = "well"
        until(lambda: http.get(READY).status_code == 200)


def test_no_encoder_and_one_that_drips_are_503_or_504_and_liveness_is_untouched(release, tmp_path):
    """Once ready, so that there is a catalogue: the encoder goes away, something else listens, the encoder comes back."""
    manifest = read_manifest(release)
    encoder = OnnxEncoder(release / ENCODER_FILE, threads=1)
    picture = pictures_of(release)["000-0"]
    facts = {"space_id": manifest.space_id, "dimension": manifest.encoder.dimension, "embed": encoder.encode}
    with MisbehavingEncoder(**facts) as server:
        port = server.port
        with transformer_alone(release, tmp_path, server.address, encoder_deadline_seconds="1") as processes:
            processes.wait_ready()
            with httpx.Client(base_url=processes.url, timeout=30) as http:

                def ask() -> httpx.Response:
                    return http.post(PREDICT, content=picture, headers={"content-type": "image/jpeg"})

                assert ask().status_code == 200
                server.__exit__()
                answer = ask()
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
                assert answer.headers["retry-after"]
                until(lambda: http.get(READY).status_code == 503)
                assert http.get("/v2/health/live").status_code == 200
                with DrippingServer(port):
                    assert ask().status_code in {503, 504}
                with MisbehavingEncoder(**facts, port=port):
                    until(lambda: ask().status_code == 200)
                    until(lambda: http.get(READY).status_code == 200)


def test_a_catalogue_without_an_encoder_of_its_space_is_never_ready(release, tmp_path):
    """The encoder works, but speaks of another space: not ready, and a picture gets an error instead of nonsense."""
    picture = pictures_of(release)["000-0"]
    with (
        MisbehavingEncoder(space_id="s-ffffffffffffffff", dimension=16) as server,
        transformer_alone(release, tmp_path, server.address) as processes,
        httpx.Client(base_url=processes.url, timeout=30) as http,
    ):

        def is_loaded() -> bool:
            processes.check()
            try:
                return http.get("/v1/release").status_code == 200
            except httpx.TransportError:
                return False

        until(is_loaded)
        for _ in range(20):
            assert http.get(READY).status_code == 503
            answer = http.post(PREDICT, content=picture, headers={"content-type": "image/jpeg"})
            assert answer.status_code in {502, 503}
            assert "predictions" not in answer.json()
            time.sleep(0.05)
        assert http.get("/v2/health/live").status_code == 200
