"""The OpenAPI description of the service, served at `/openapi.json`: built from the models that read the requests.

The schemas of answers are written here, beside the functions of `answers` that make them; a test holds real answers, and
the allow-list of the server, against this description.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from components import VERSION
from serving.events.records import MOST_EVENTS, ClientEvent
from serving.server.problems import PROBLEMS, ProblemKind
from serving.transformer.edge.requests import USER_HEADER, Instance, Parameters
from serving.transformer.edge.routes import MOST_SAMPLES
from serving.web.routes import THUMBNAIL_SIDES

OPENAPI_VERSION = "3.1.0"
Schema = dict[str, Any]

_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_PICTURE: Schema = {"type": "string", "contentMediaType": "image/*"}
_ORIGIN = {"release_id": _TEXT, "space_id": _TEXT, "generation": _COUNT, "arm": _TEXT}


def openapi_router(model_name: str, *, needs_key: bool) -> APIRouter:
    """Return the route `/openapi.json`.

    Args:
        model_name: name of the model in the paths.
        needs_key: whether the service asks for an API key.
    """
    router = APIRouter()
    description = describe(model_name, needs_key=needs_key)

    async def openapi() -> JSONResponse:
        return JSONResponse(description)

    router.add_api_route("/openapi.json", openapi, methods=["GET"], tags=["open"])
    return router


def describe(model_name: str, *, needs_key: bool = False) -> Schema:
    """Return the description.

    Args:
        model_name: name of the model in the paths.
        needs_key: whether the service asks for an API key.

    Example:
        >>> list(describe("visual-search")["paths"])[0]
        '/v1/models/visual-search:predict'
    """
    described: Schema = {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Visual search",
            "version": VERSION,
            "summary": "Search a catalogue of images by a picture.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**_search_paths(model_name), **_catalogue_paths(), **_health_paths(model_name)},
        "components": {"schemas": _schemas(), "responses": {"Problem": _problem_response()}},
    }
    if needs_key:
        described["components"]["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        described["security"] = [{"key": []}, {"bearer": []}]
    return described


def _search_paths(model_name: str) -> Schema:
    user = {
        "name": USER_HEADER,
        "in": "header",
        "schema": {**_TEXT, "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "description": "Pseudonym of the user; without it, each request counts as a new user.",
    }
    predict = _operation(
        "Search by a picture, or by images of the catalogue",
        "With a JPEG, PNG or WebP picture as the body, the parameters are in the query string; with JSON they are in "
        "`parameters`. "
        "A request is answered as a whole or not at all.",
        answer=_ref("PredictAnswer"),
        parameters=[user, *_query_parameters()],
        body={"image/*": {"schema": _PICTURE}, "application/json": {"schema": _ref("PredictBody")}},
        problems=(400, 404, 413, 415, 422, 502, 503, 504),
    )
    infer = _operation(
        "Search by pictures, in the Open Inference Protocol",
        "One input tensor `images` of type BYTES, one encoded picture per element; base64 text in JSON, or binary tensor data.",
        answer=_ref("InferAnswer"),
        parameters=[user],
        body={"application/json": {"schema": _ref("InferBody")}, "application/octet-stream": {"schema": _TEXT}},
        problems=(400, 404, 413, 415, 422, 502, 503, 504),
    )
    events = _operation(
        "Report clicks and dwell times",
        "The answer comes when the events are stored. Each event vouches for its impression by the token of the result.",
        answer=_ref("EventsAnswer"),
        body={name: {"schema": _ref("EventsBody")} for name in ("application/json", "text/plain")},
        problems=(400, 413, 415, 429, 503),
    )
    return {
        f"/v1/models/{model_name}:predict": {"post": predict},
        f"/v2/models/{model_name}/infer": {"post": infer},
        "/v1/events": {"post": events},
    }


def _catalogue_paths() -> Schema:
    number = {"type": "integer", "minimum": 1, "maximum": MOST_SAMPLES, "default": 12}
    side = {"type": "integer", "minimum": 1, "maximum": THUMBNAIL_SIDES[-1], "default": 256}
    samples = _operation(
        "Images of different items, drawn at random",
        answer=_object({"samples": {"type": "array", "items": _ref("Sample")}}),
        parameters=[{"name": "n", "in": "query", "schema": number}],
        problems=(400, 503),
    )
    thumbnail = _operation(
        "A catalogue image, scaled to fit into side × side pixels",
        parameters=[
            {"name": "image_id", "in": "path", "required": True, "schema": _TEXT},
            {"name": "side", "in": "query", "schema": side},
        ],
        problems=(400, 404),
    )
    thumbnail["responses"]["200"]["content"] = {name: {"schema": _PICTURE} for name in ("image/jpeg", "image/webp")}
    return {
        "/v1/release": {"get": _operation("The served release", answer=_ref("Release"), problems=(503,))},
        "/v1/samples": {"get": samples},
        "/v1/images/{image_id}/thumbnail": {"get": thumbnail},
        "/openapi.json": {"get": _operation("This description", answer={"type": "object"}, is_open=True)},
    }


def _health_paths(model_name: str) -> Schema:
    ready = _object({"name": _TEXT, "ready": {"type": "boolean"}})
    metadata = _object({"name": _TEXT, "platform": _TEXT, "inputs": {"type": "array"}, "outputs": {"type": "array"}})
    metadata["properties"]["versions"] = {"type": ["array", "null"], "items": _TEXT}
    metrics = _operation("Metrics for Prometheus")
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": _TEXT}}
    return {
        "/v2/health/live": {
            "get": _operation("Whether the process runs", answer=_object({"live": {"type": "boolean"}}), is_open=True)
        },
        "/v2/health/ready": {
            "get": _operation(
                "Whether queries can be answered",
                answer=_object({"ready": {"type": "boolean"}}),
                problems=(503,),
                is_open=True,
            )
        },
        f"/v1/models/{model_name}": {
            "get": _operation("Whether the model is ready", answer=ready, problems=(503,), is_open=True)
        },
        f"/v2/models/{model_name}/ready": {
            "get": _operation("Whether the model is ready", answer=ready, problems=(503,), is_open=True)
        },
        f"/v2/models/{model_name}": {
            "get": _operation("Inputs and outputs of the model", answer=metadata, problems=(503,))
        },
        "/metrics": {"get": metrics},
    }


def _schemas() -> dict[str, Schema]:
    result = {
        "position": {"type": "integer", "minimum": 1},
        "image_id": _TEXT,
        "item_id": _TEXT,
        "uri": _TEXT,
        "category": _TEXT_OR_NULL,
        "score": {**_NUMBER, "minimum": -1.001, "maximum": 1.001, "description": "cosine similarity; higher is better"},
        "grouped": {**_COUNT, "description": "other images that this result represents"},
        "thumbnail": _TEXT,
        "token": {**_TEXT, "description": "sent back with a click or dwell time"},
    }
    prediction = {
        "query_id": _TEXT,
        **_ORIGIN,
        "query_image_id": _TEXT_OR_NULL,
        "no_good_match": {"type": "boolean"},
        "results": {"type": "array", "items": _ref("Result")},
        "explain": {"type": "array", "items": _object({"rule": _TEXT, "text": _TEXT})},
    }
    release = {
        **_ORIGIN,
        "pin": {"type": "object", "additionalProperties": _TEXT},
        "images": _COUNT,
        "items": _COUNT,
        "floors": {"type": "object", "additionalProperties": _NUMBER},
    }
    refusal = _object({"index": _COUNT, "reason": _TEXT})
    return {
        "Parameters": _schema_of(Parameters),
        "Instance": _schema_of(Instance),
        "PredictBody": _object(
            {"instances": {"type": "array", "items": _ref("Instance"), "minItems": 1}},
            optional={"parameters": _ref("Parameters")},
        ),
        "Result": _object(result, optional={"explain": {"type": "array", "items": _TEXT}}),
        "Prediction": _object(prediction),
        "PredictAnswer": _object({"predictions": {"type": "array", "items": _ref("Prediction")}}),
        "ClientEvent": _schema_of(ClientEvent),
        "EventsBody": _object(
            {"events": {"type": "array", "items": _ref("ClientEvent"), "minItems": 1, "maxItems": MOST_EVENTS}}
        ),
        "EventsAnswer": _object(
            {"accepted": _COUNT, "repeated": _COUNT, "refused": {"type": "array", "items": refusal}}
        ),
        "Release": _object(release),
        "Sample": _object({"image_id": _TEXT, "item_id": _TEXT, "category": _TEXT_OR_NULL, "thumbnail": _TEXT}),
        **_inference_schemas(),
        "Problem": _object(
            {"error": _object({"code": _TEXT, "message": _TEXT}, optional={"reason": _TEXT}), "request_id": _TEXT}
        ),
    }


def _inference_schemas() -> dict[str, Schema]:
    shape = {"type": "array", "items": _COUNT}
    tensor = {"name": _TEXT, "shape": shape, "datatype": _TEXT}
    images = {**tensor, "name": {"const": "images"}, "datatype": {"const": "BYTES"}}
    wanted = {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}}}
    body = _object(
        {
            "inputs": {
                "type": "array",
                "items": _object(images, optional={"data": {}, "parameters": {"type": "object"}}),
            }
        },
        optional={"id": _TEXT, "parameters": _ref("Parameters"), "outputs": wanted},
    )
    output = _object({**tensor, "data": {"type": "array"}}, optional={"parameters": {"type": ["object", "null"]}})
    answer = _object(
        {"model_name": _TEXT, "id": _TEXT, "outputs": {"type": "array", "items": output}},
        optional={"model_version": _TEXT_OR_NULL, "parameters": {"type": "object"}},
    )
    return {"InferBody": body, "InferAnswer": answer}


def _operation(
    summary: str,
    text: str = "",
    *,
    answer: Schema | None = None,
    parameters: list[Schema] | None = None,
    body: Mapping[str, Schema] | None = None,
    problems: tuple[int, ...] = (),
    is_open: bool = False,
) -> Schema:
    content = {} if answer is None else {"content": {"application/json": {"schema": answer}}}
    kinds = kinds_by_status()
    operation: Schema = {"summary": summary, "responses": {"200": {"description": "The answer", **content}}}
    for status in problems if is_open else sorted({401, *problems}):
        codes = ", ".join(sorted({kind.code for kind in kinds[status]}))
        operation["responses"][str(status)] = {"$ref": "#/components/responses/Problem", "description": codes}
    if is_open:
        operation["security"] = []
    if text:
        operation["description"] = text
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": dict(body)}
    return operation


def _query_parameters() -> list[Schema]:
    properties = _schema_of(Parameters)["properties"]
    return [
        {"name": name, "in": "query", "schema": schema if name != "crop" else _TEXT}
        for name, schema in properties.items()
    ]


@cache
def kinds_by_status() -> dict[int, tuple[ProblemKind, ...]]:
    """Return the kinds of problems by HTTP status, from the table that answers them."""
    found: dict[int, list[ProblemKind]] = {}
    for kind in PROBLEMS.values():
        found.setdefault(kind.status, []).append(kind)
    return {status: tuple(kinds) for status, kinds in found.items()}


def _problem_response() -> Schema:
    return {"description": "A problem", "content": {"application/json": {"schema": _ref("Problem")}}}


def _schema_of(model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {name: value for name, value in schema.items() if name not in {"title", "description", "$defs"}}


def _object(properties: Schema, *, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
