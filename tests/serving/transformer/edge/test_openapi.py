"""The description at /openapi.json is true: real requests and real answers fit it, and no route is missing or too many."""

from __future__ import annotations

import base64
import re

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from components import VERSION
from serving.server.routes import kserve_routes, routes_of
from serving.settings import TransformerSettings
from serving.transformer.app import Application
from serving.transformer.edge.openapi import describe
from support.servers.serving_processes import make_local_release, pictures_of, serving

MODEL = "visual-search"
PREDICT, INFER = f"/v1/models/{MODEL}:predict", f"/v2/models/{MODEL}/infer"
KEY = "a-key-of-this-test-0001"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make_local_release(tmp_path_factory.mktemp("release"), items=6, views=3)


@pytest.fixture(scope="module")
def service(release, tmp_path_factory):
    with serving(release, tmp_path_factory.mktemp("service"), api_keys=KEY) as processes:
        yield processes


@pytest.fixture(scope="module")
def http(service):
    with httpx.Client(base_url=service.url, timeout=30, headers={"x-api-key": KEY}) as client:
        yield client


@pytest.fixture(scope="module")
def described(http):
    return http.get("/openapi.json").json()


def fits(described: dict, schema: dict, value: object) -> bool:
    return Draft202012Validator({**schema, "components": described["components"]}).is_valid(value)


def check(described: dict, method: str, path: str, response: httpx.Response) -> object:
    """Hold an answer against the description of its status; return its JSON."""
    answers = described["paths"][path][method]["responses"]
    answer = answers[str(response.status_code)]
    if "$ref" in answer:
        answer = described["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    media_type = response.headers["content-type"].partition(";")[0]
    schema = answer["content"][media_type]["schema"]
    if media_type != "application/json":
        return None
    Draft202012Validator({**schema, "components": described["components"]}).validate(response.json())
    if response.status_code >= 400:
        assert response.json()["error"]["code"] in answers[str(response.status_code)]["description"].split(", ")
    return response.json()


def test_the_description_is_valid_openapi(described) -> None:
    OpenAPIV31SpecValidator(described).validate()
    assert described["info"]["version"] == VERSION
    assert described == describe(MODEL, needs_key=True)


def test_it_describes_every_route_but_the_page_and_no_other(described, tmp_path) -> None:
    application = Application(TransformerSettings(cache=tmp_path))
    routes = [*routes_of(application.routers()), *kserve_routes(MODEL)]
    allowed = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in routes
        for method in route.methods
        if method != "HEAD" and route.path != "/" and not route.path.startswith("/static/")
    }
    assert {(path, method) for path, found in described["paths"].items() for method in found} == allowed
    is_open = {route.path for route in routes if route.is_open}
    for path, found in described["paths"].items():
        for operation in found.values():
            assert (operation.get("security") == []) == (path in is_open), path


def test_searches_are_as_described(described, http, release) -> None:
    pictures = pictures_of(release)
    picture, encoded = pictures["000-0"], base64.b64encode(pictures["000-1"]).decode()
    jpeg = {"content-type": "image/jpeg"}
    parameters = {"k": 3, "explain": "true", "floor": "-1"}
    found = check(described, "post", PREDICT, http.post(PREDICT, params=parameters, content=picture, headers=jpeg))
    assert len(found["predictions"][0]["results"]) == 3
    body = {"instances": [{"b64": encoded}, {"image_id": "001-1"}], "parameters": {"k": 2, "floor": 0.99}}
    assert fits(described, described["components"]["schemas"]["PredictBody"], body)
    check(described, "post", PREDICT, http.post(PREDICT, json=body))
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [encoded]}
    for infer in (
        {"inputs": [tensor], "parameters": {"k": 2}},
        {"inputs": [tensor], "id": "a", "outputs": [{"name": "score"}]},
    ):
        assert fits(described, described["components"]["schemas"]["InferBody"], infer)
        check(described, "post", INFER, http.post(INFER, json=infer))
    for status, response in (
        (400, http.post(PREDICT, params={"k": 0}, content=picture, headers=jpeg)),
        (404, http.post(PREDICT, json={"instances": [{"image_id": "none"}]})),
        (415, http.post(PREDICT, content=b"x", headers={"content-type": "text/css"})),
        (422, http.post(PREDICT, content=picture[:200], headers=jpeg)),
        (401, http.post(PREDICT, content=picture, headers={**jpeg, "x-api-key": "wrong"})),
        (413, http.post(PREDICT, json={"instances": [{"image_id": "001-1"}] * 17})),
    ):
        assert response.status_code == status, response.text
        check(described, "post", PREDICT, response)


def test_events_and_the_catalogue_are_as_described(described, http) -> None:
    result = http.post(PREDICT, json={"instances": [{"image_id": "001-1"}]}).json()["predictions"][0]["results"][0]
    body = {"events": [{"token": result["token"], "type": "click"}, {"token": "no", "type": "dwell", "dwell_ms": 5}]}
    assert fits(described, described["components"]["schemas"]["EventsBody"], body)
    answer = check(described, "post", "/v1/events", http.post("/v1/events", json=body))
    assert answer["accepted"] == len(answer["refused"]) == 1
    assert check(described, "post", "/v1/events", http.post("/v1/events", json={})) is not None
    check(described, "get", "/v1/release", http.get("/v1/release"))
    assert check(described, "get", "/v1/samples", http.get("/v1/samples", params={"n": 2}))["samples"]
    check(described, "get", "/v1/samples", http.get("/v1/samples", params={"n": 61}))
    path = "/v1/images/{image_id}/thumbnail"
    check(described, "get", path, http.get("/v1/images/001-1/thumbnail", params={"side": 64}))
    for wrong in ("/v1/images/none/thumbnail", "/v1/images/001-1/thumbnail?side=0"):
        assert check(described, "get", path, http.get(wrong)) is not None


def test_health_is_as_described(described, http) -> None:
    beginnings = ("/v2/health", "/metrics", "/v1/models", "/v2/models", "/openapi")
    for path in (path for path, found in described["paths"].items() if "get" in found and path.startswith(beginnings)):
        response = http.get(path)
        assert response.status_code == 200, path
        check(described, "get", path, response)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("Parameters", {"k": 201}),
        ("Parameters", {"kk": 1}),
        ("Instance", {"b64": 1}),
        ("PredictBody", {"instances": []}),
        ("PredictBody", {"parameters": {}}),
        ("EventsBody", {"events": [{"token": "t", "type": "impression"}]}),
    ],
)
def test_a_request_that_the_service_refuses_does_not_fit(described, name, wrong) -> None:
    assert not fits(described, described["components"]["schemas"][name], wrong)
