"""Requests of clients, checked at the edge: from bodies, query strings, tensors and headers to `SearchRequest`."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

from kserve import InferRequest
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from components.shared.defaults import MOST_RESULTS, RESULTS
from components.shared.errors import ParameterError
from serving.server.media_types import may_be_picture
from serving.server.open_inference import parameters_of
from serving.server.refusals import BodyTooLargeError, MediaTypeError
from serving.transformer.edge.open_inference import bytes_of_tensor

USER_HEADER = "x-visual-search-user"
_USER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_MAX_ID_LENGTH = 512

Crop = tuple[float, float, float, float]
M = TypeVar("M", bound=BaseModel)


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _inside(crop: Crop) -> Crop:
    x, y, width, height = crop
    if not (x + width <= 1.0001 and y + height <= 1.0001 and width >= 0.005 and height >= 0.005):
        raise ValueError("must be x, y, width, height as fractions of the picture, inside it, each side at least 0.005")
    return crop


_Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
CropField = Annotated[
    tuple[_Fraction, _Fraction, _Fraction, _Fraction], BeforeValidator(_split), AfterValidator(_inside)
]


class Parameters(BaseModel):
    """How to search.

    Attributes:
        explain: say what each rule did.
        floor: least score of a good match; "calibrated": the release's own.
        group_items: one result for each item, its other pictures counted.
        collapse_duplicates: one result for near-duplicates.
        exclude_self: leave the query's own picture out.
        crop: part of the picture to search by, for queries that name none of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(default=RESULTS, ge=1, le=MOST_RESULTS)
    explain: bool = False
    floor: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | Literal["calibrated"] | None = None
    group_items: bool = True
    collapse_duplicates: bool = True
    exclude_self: bool = True
    crop: CropField | None = None


class Instance(BaseModel):
    """One query of a JSON body: a picture in base64, or the id of an image of the catalogue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    b64: str | None = None
    image_id: str | None = Field(default=None, min_length=1, max_length=_MAX_ID_LENGTH)
    crop: CropField | None = None


class PredictBody(BaseModel):
    """The JSON body of `:predict`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instances: list[Instance] = Field(min_length=1)
    parameters: Parameters = Parameters()


@dataclass(frozen=True)
class Query:
    """One thing to search by: either `picture` or `image_id`.

    Attributes:
        image_id: an image of the catalogue.
        crop: part of the picture, as fractions.
        sampling_key: key of the query for monitoring's sample; None: it is never sampled.
    """

    picture: bytes | None = None
    image_id: str | None = None
    crop: Crop | None = None
    sampling_key: float | None = None


@dataclass(frozen=True)
class SearchRequest:
    """A whole request.

    Attributes:
        queries: at least one.
        parameters: parameters of every test.
        protocol: protocol of the answer.
        tensors: the request of the Open Inference Protocol, where it is one.
    """

    queries: tuple[Query, ...]
    parameters: Parameters
    protocol: Literal["v1", "v2"]
    tensors: InferRequest | None = None


@dataclass(frozen=True)
class Person:
    """The client, as events record it: a pseudonym and perhaps a country."""

    user_id: str
    country: str | None


def read_request(
    payload: Any, headers: Mapping[str, str], query_string: str, *, max_instances: int, max_bytes: int
) -> SearchRequest:
    """Read what kserve hands on: bytes of a picture, a JSON object, or the request of the Open Inference Protocol.

    Args:
        payload: the body.
        headers: headers of the request, names in lower case.
        query_string: query string of the request's address.
        max_instances: queries of one request at most.
        max_bytes: largest size of one picture.

    Raises:
        ParameterError: a name or value is not what it must be.
        MediaTypeError: the body is of a type that is not taken.
        BodyTooLargeError: more queries or bytes than may be.
    """
    if isinstance(payload, InferRequest):
        request = _read_tensors(payload)
    elif isinstance(payload, bytes | bytearray):
        if not may_be_picture(headers):
            raise MediaTypeError(
                "a body of this type is not taken; send a picture as image/jpeg, image/png or image/webp, or JSON as "
                "application/json"
            )
        parameters = _read_query_string(query_string)
        request = SearchRequest((Query(bytes(payload), crop=parameters.crop),), parameters, "v1")
    else:
        if query_string:
            raise ParameterError("with a JSON body, give the parameters in its field 'parameters', not in the address")
        request = _read_json(payload)
    if len(request.queries) > max_instances:
        raise BodyTooLargeError(f"a request may hold at most {max_instances} queries and this one has more; split it")
    if any(query.picture is not None and len(query.picture) > max_bytes for query in request.queries):
        raise BodyTooLargeError(f"a picture may have at most {max_bytes} bytes; make it smaller")
    return request


def read_person(headers: Mapping[str, str], country_header: str) -> Person:
    """Read who asks; without a header it is a new user.

    Raises:
        ParameterError: the pseudonym is not 1 to 64 of A–Z, a–z, 0–9, "_" and "-".
    """
    user = headers.get(USER_HEADER) or secrets.token_urlsafe(12)
    if not _USER.fullmatch(user):
        raise ParameterError("X-Visual-Search-User must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
    country = headers.get(country_header.lower(), "") if country_header else ""
    return Person(user, country.upper() if _COUNTRY.fullmatch(country) else None)


def _read_query_string(text: str) -> Parameters:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=20)
    except ValueError as error:
        raise ParameterError("the address's parameters cannot be read; write name=value, joined by &") from error
    if len(dict(pairs)) != len(pairs):
        raise ParameterError("each parameter of the address may be given only once")
    return _validated(Parameters, dict(pairs))


def _read_json(payload: Any) -> SearchRequest:
    if not isinstance(payload, dict):
        raise ParameterError('expected a JSON object {"instances": […], "parameters": {…}}')
    body = _validated(PredictBody, payload)
    queries = tuple(
        _query_of(instance, body.parameters, f"instances[{place}]") for place, instance in enumerate(body.instances)
    )
    return SearchRequest(queries, body.parameters, "v1")


def _query_of(instance: Instance, parameters: Parameters, where: str) -> Query:
    if (instance.b64 is None) == (instance.image_id is None):
        raise ParameterError(f"{where} must have either 'b64' (a picture) or 'image_id' (of the catalogue)")
    if instance.b64 is not None:
        return Query(_decode_base64(instance.b64, where), crop=instance.crop or parameters.crop)
    if instance.crop is not None:
        raise ParameterError(
            f"{where}: 'crop' needs a picture; to search by a part of a catalogue image, send that picture"
        )
    return Query(image_id=instance.image_id)


def _read_tensors(request: InferRequest) -> SearchRequest:
    parameters = _validated(Parameters, parameters_of(request))
    if [tensor.name for tensor in request.inputs] != ["images"]:
        raise ParameterError("expected one input tensor, 'images' (BYTES, one encoded picture per element)")
    values = bytes_of_tensor(request.inputs[0])
    if not values:
        raise ParameterError("the input tensor 'images' is empty; give at least one picture")
    pictures = (
        _decode_base64(value, f"images[{place}]") if isinstance(value, str) else value
        for place, value in enumerate(values)
    )
    queries = tuple(Query(picture, crop=parameters.crop) for picture in pictures)
    return SearchRequest(queries, parameters, "v2", request)


def _decode_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ParameterError(f"{where} is not base64 (RFC 4648, without line breaks)") from error


def _validated(model: type[M], values: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ParameterError("; ".join(dict.fromkeys(map(_sentence, error.errors()[:3])))) from error


def _sentence(error: Any) -> str:
    """Say what is wrong without repeating what came: that may be a picture, or a script."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}"[:40] for part in error["loc"]).lstrip(".")
    if error["type"] == "extra_forbidden":
        names = Instance.model_fields if error["loc"][0] == "instances" else Parameters.model_fields
        return f"a field or parameter has an unknown name; known are {', '.join(names)}"
    if "floor" in error["loc"]:
        return "floor must be a number from -1 to 1, or 'calibrated'"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"
