"""The guard of a real process: allow-list, limits, keys, problems, input that nobody can read."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from support.servers.echo_process import JSON, PREDICT, EchoProcess

INTERNALS = re.compile(rb"Traceback|File \"|/work|/etc|site-packages|kserve|Error\b|Exception|0x[0-9a-f]{6}")
KEY = "a-key-of-sixteen-characters"
INFER = "/v2/models/visual-search/infer"


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoProcess]:
    with EchoProcess(guard={"max_body_bytes": 65_536}) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v1/models/visual-search", 200),
        ("GET", "/v2/models/visual-search/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/v2", 404),
        ("GET", "/v1/models", 404),
        ("POST", "/v1/models/visual-search:explain", 404),
        ("POST", "/v2/repository/models/visual-search/load", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v2/models/visual-search/versions/1/infer", 404),
        ("GET", PREDICT, 405),
        ("DELETE", "/metrics", 405),
    ],
)
def test_only_what_is_on_the_allow_list_answers(echo: EchoProcess, method: str, path: str, status: int) -> None:
    assert echo.ask(method, path)[0] == status


def test_nobody_unloads_the_model(echo: EchoProcess) -> None:
    """Promise 15."""
    for _ in range(100):
        assert echo.ask("POST", "/v2/repository/models/visual-search/unload", b"{}", JSON)[0] == 404
    with grpc.insecure_channel(f"127.0.0.1:{echo.grpc}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="visual-search"), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert stub.ModelReady(pb.ModelReadyRequest(name="visual-search"), timeout=10).ready
    assert echo.ask("POST", PREDICT, b'{"instances":[1]}', JSON)[0] == 200


def test_bodies_are_limited_by_declaration_and_by_what_comes(echo: EchoProcess) -> None:
    status, _, body = echo.ask("POST", PREDICT, b"x" * 65_537, {"content-type": "image/png"})
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
    chunked = echo.ask("POST", PREDICT, (b"x" * 1000 for _ in range(66)), {"content-type": "image/png"})  # type: ignore[arg-type]
    assert chunked[0] == 413
    assert echo.ask("POST", PREDICT, b"x" * 65_536, {"content-type": "image/png"})[2] == b'{"bytes":65536}'


@pytest.mark.parametrize(
    "headers",
    [{f"h-{n}": "x" for n in range(100)}, {"h": "x" * 20_000}, {"h": "x" * 400_000}],
    ids=["many", "large", "huge"],
)
def test_headers_are_limited(echo: EchoProcess, headers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", echo.http), timeout=10) as client:
        try:
            client.sendall(f"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 431")
        except ConnectionError:
            assert len(lines) > 100_000  # the answer may be lost where the client was still sending


def test_the_request_id_of_a_client_is_kept_if_well_formed(echo: EchoProcess) -> None:
    headers = echo.ask("GET", "/v2/health/live", headers={"x-request-id": "mine-1"})[1]
    assert headers["x-request-id"] == "mine-1"
    assert headers["x-visual-search-release"] == "r-1"
    assert headers["x-content-type-options"] == "nosniff"
    assert echo.ask("GET", "/v2/health/live", headers={"x-request-id": "<script>"})[1]["x-request-id"] != "<script>"


def test_errors_are_problems_without_internals(echo: EchoProcess) -> None:
    status, headers, body = echo.ask("POST", PREDICT, b'{"fail":1}', JSON)
    assert status == 500
    assert json.loads(body)["error"]["code"] == "internal"
    assert json.loads(body)["request_id"] == headers["x-request-id"]
    assert not INTERNALS.search(body.replace(b"internal", b""))
    status, _, body = echo.ask("POST", PREDICT, b'{"bad":1}', JSON)
    assert (status, json.loads(body)["error"]["reason"]) == (422, "truncated")


def test_keys_are_asked_for_where_configured() -> None:
    with EchoProcess(guard={"api_keys": [KEY, KEY + "-old"]}) as echo:
        for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"authorization": KEY}):
            assert echo.ask("POST", PREDICT, b"{}", JSON | headers)[0] == 401
        for headers in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}-old"}):
            assert echo.ask("POST", PREDICT, b"{}", JSON | headers)[0] == 200
        assert echo.ask("GET", "/v2/health/ready")[0] == 200
        assert echo.ask("GET", "/metrics")[0] == 401
        with grpc.insecure_channel(f"127.0.0.1:{echo.grpc}") as channel:
            stub = GRPCInferenceServiceStub(channel)
            request = pb.ModelInferRequest(model_name="visual-search")
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            stub.ModelInfer(request, timeout=10, metadata=[("x-api-key", KEY)])


def _mutants(count: int, seed: int) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    rng = random.Random(seed)
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": ["eHg="]}
    seeds = [
        (PREDICT, b'{"instances":[{"b64":"eHg="}],"parameters":{"k":3}}'),
        (INFER, json.dumps({"inputs": [tensor]}).encode()),
    ]
    types = ["application/json", "image/png", "application/octet-stream", "application/cloudevents+json", "", "x/\xe9"]
    whole = [b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff\xfe", b"[" * 2000, b'{"inputs":{}}', b'{"inputs":[1]}']
    for _ in range(count):
        path, body = rng.choice(seeds)
        mutated = bytearray(body)
        for _ in range(rng.randint(0, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        body = (
            rng.choice(whole)
            if rng.random() < 0.3
            else bytes(mutated[: rng.randint(0, len(mutated))] if rng.random() < 0.3 else mutated)
        )
        headers = {"content-type": rng.choice(types)}
        if rng.random() < 0.2:
            headers["inference-header-content-length"] = rng.choice(["-1", "x", "5", "99999", str(len(body))])
        if rng.random() < 0.1:
            headers["ce-specversion"] = rng.choice(["1.0", "x"])
        yield path, body, headers


def _check_mutants(echo: EchoProcess, count: int, seed: int) -> None:
    """Promise 16."""
    for path, body, headers in _mutants(count, seed):
        status, _, answer = echo.ask("POST", path, body, headers)
        assert status < 500 or status == 503, (status, path, body, headers, answer)
        if status != 200:
            assert json.loads(answer)["error"]["code"], answer
            assert not INTERNALS.search(answer), answer
    assert echo.ask("POST", PREDICT, b"{}", JSON)[0] == 200


def test_no_input_is_an_internal_error(echo: EchoProcess) -> None:
    _check_mutants(echo, 400, seed=1)


@pytest.mark.long
def test_no_input_is_an_internal_error_long(echo: EchoProcess) -> None:
    _check_mutants(echo, 10_000, seed=2)


def test_the_guard_stands_without_assertions() -> None:
    with EchoProcess("-O", guard={"max_body_bytes": 65_536}) as echo:
        assert echo.ask("POST", "/v2/repository/models/visual-search/unload")[0] == 404
        assert echo.ask("POST", PREDICT, b"x" * 65_537, {"content-type": "image/png"})[0] == 413
        _check_mutants(echo, 50, seed=3)
        code, errors = echo.stop()
    assert code == 0
    assert all(json.loads(line) for line in errors.splitlines())
