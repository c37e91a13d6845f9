"""Errors become answers here, by one table: class → HTTP status, code, gRPC status, and whether its sentence may leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
import orjson
from fastapi.exceptions import RequestValidationError
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady, ServerNotLive, ServerNotReady
from kserve.errors import UnsupportedProtocol as UnsupportedProtocolError
from starlette.exceptions import HTTPException

from components.shared.errors import (
    BadImageError,
    InputError,
    NotReadyError,
    ParameterError,
    ResourceError,
    SourceError,
    SpaceMismatchError,
)
from serving.server.refusals import (
    BodyTooLargeError,
    EncoderFailedError,
    EncoderTimeoutError,
    MediaTypeError,
    MethodNotAllowedError,
    MissingKeyError,
    OverloadedError,
    RouteNotFoundError,
    TooManyEventsError,
    UnknownThingError,
)


@dataclass(frozen=True)
class ProblemKind:
    """How one class of errors is answered.

    Attributes:
        code: the machine-readable word of the answer.
        grpc_status: status of a gRPC call that fails with it.
        message: one sentence for the client; None: the error's own sentence, which then must hold nothing internal.
    """

    status: int
    code: str
    grpc_status: grpc.StatusCode
    message: str | None = None


_Status = grpc.StatusCode
_UNREADABLE = ProblemKind(
    400, "bad_request", _Status.INVALID_ARGUMENT, "This endpoint cannot read the body or a parameter of the request."
)
_NOT_READY = ProblemKind(
    503, "not_ready", _Status.UNAVAILABLE, "The server is not ready to answer; try again in a moment."
)
INTERNAL = ProblemKind(
    500, "internal", _Status.INTERNAL, "The server failed; its log has the details under this request id."
)

# The class nearest to the error in its method resolution order wins.
PROBLEMS: Mapping[type[BaseException], ProblemKind] = {
    RouteNotFoundError: ProblemKind(404, "not_found", _Status.UNIMPLEMENTED),
    UnknownThingError: ProblemKind(404, "not_found", _Status.NOT_FOUND),
    MethodNotAllowedError: ProblemKind(405, "method_not_allowed", _Status.UNIMPLEMENTED),
    MissingKeyError: ProblemKind(401, "unauthorised", _Status.UNAUTHENTICATED),
    BodyTooLargeError: ProblemKind(413, "too_large", _Status.RESOURCE_EXHAUSTED),
    MediaTypeError: ProblemKind(415, "unsupported_media_type", _Status.INVALID_ARGUMENT),
    TooManyEventsError: ProblemKind(429, "too_many_events", _Status.RESOURCE_EXHAUSTED),
    OverloadedError: ProblemKind(503, "overloaded", _Status.RESOURCE_EXHAUSTED),
    EncoderFailedError: ProblemKind(502, "encoder_failed", _Status.UNAVAILABLE, "The encoder failed; try again."),
    EncoderTimeoutError: ProblemKind(
        504, "encoder_timeout", _Status.DEADLINE_EXCEEDED, "The encoder did not answer in time; try again."
    ),
    BadImageError: ProblemKind(422, "bad_image", _Status.INVALID_ARGUMENT),
    ParameterError: ProblemKind(400, "bad_request", _Status.INVALID_ARGUMENT),
    InputError: ProblemKind(400, "bad_request", _Status.INVALID_ARGUMENT),
    SourceError: INTERNAL,  # names a path of ours
    NotReadyError: _NOT_READY,
    SpaceMismatchError: ProblemKind(
        503, "not_ready", _Status.FAILED_PRECONDITION, "Encoder and index are of different spaces; try again."
    ),
    ResourceError: ProblemKind(
        503, "overloaded", _Status.RESOURCE_EXHAUSTED, "The server lacks a resource to answer; try again later."
    ),
    InvalidInput: _UNREADABLE,
    InferenceError: _UNREADABLE,  # kserve raises it while it reads tensors
    UnsupportedProtocolError: _UNREADABLE,
    RequestValidationError: _UNREADABLE,
    json.JSONDecodeError: _UNREADABLE,  # orjson's is a subclass
    UnicodeDecodeError: _UNREADABLE,
    ModelNotFound: ProblemKind(404, "not_found", _Status.NOT_FOUND, "There is no such model here."),
    ModelNotReady: _NOT_READY,
    ServerNotReady: _NOT_READY,
    ServerNotLive: _NOT_READY,
}
_BY_STATUS = {
    400: _UNREADABLE,
    401: ProblemKind(401, "unauthorised", _Status.UNAUTHENTICATED, "An API key is needed."),
    404: ProblemKind(404, "not_found", _Status.NOT_FOUND, "There is nothing here."),
    405: ProblemKind(405, "method_not_allowed", _Status.UNIMPLEMENTED, "This path does not have that method."),
    413: ProblemKind(413, "too_large", _Status.RESOURCE_EXHAUSTED, "The body is too large."),
    415: ProblemKind(
        415, "unsupported_media_type", _Status.INVALID_ARGUMENT, "Bodies of this media type are not accepted here."
    ),
    422: _UNREADABLE,
    503: _NOT_READY,
}
_RETRY_AFTER_SECONDS = 2


@dataclass(frozen=True)
class Problem:
    """An error as it is answered.

    Attributes:
        kind: row of the table.
        reason: a finer word than the code, for example "truncated" of a bad image.
        headers: additional HTTP headers.
    """

    kind: ProblemKind
    message: str
    reason: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())

    def body(self, request_id: str) -> bytes:
        """The JSON of the answer."""
        error = {"code": self.kind.code, "message": self.message}
        if self.reason is not None:
            error["reason"] = self.reason
        return bytes(orjson.dumps({"error": error, "request_id": request_id}))


class ProblemTable:
    """The table above, and the rows of one process for errors that only it knows.

    Args:
        extra: further rows; a class that the table already has is refused, so that no code has two meanings.
    """

    def __init__(self, extra: Mapping[type[BaseException], ProblemKind] | None = None) -> None:
        doubled = sorted(each.__name__ for each in (extra or {}) if each in PROBLEMS)
        if doubled:
            raise ParameterError(
                f"the table of problems already has {', '.join(doubled)}; give rows for new errors only"
            )
        self._kinds = {**PROBLEMS, **(extra or {})}

    def problem_of(self, error: BaseException) -> Problem:
        """Look up how an error is answered; what no row knows is "internal" and tells nothing."""
        if isinstance(error, HTTPException):
            kind = _BY_STATUS.get(error.status_code, INTERNAL if error.status_code >= 500 else _UNREADABLE)
        else:
            kind = next((self._kinds[each] for each in type(error).__mro__ if each in self._kinds), INTERNAL)
        reason = getattr(error, "reason", None) if isinstance(error, InputError) else None
        return Problem(kind, _of_parameters(error) or kind.message or str(error), reason, _headers(error, kind))


def _of_parameters(error: BaseException) -> str | None:
    """Name the parameters of the address that are wrong, and what they must be; never repeat what came."""
    if not isinstance(error, RequestValidationError):
        return None
    wrong = [each for each in error.errors() if each["loc"][0] == "query"]
    return "; ".join(f"{each['loc'][-1]}: {each['msg'].replace('Input should', 'it should')}" for each in wrong) or None


def _headers(error: BaseException, kind: ProblemKind) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, MethodNotAllowedError):
        return ((b"allow", ", ".join(error.allowed).encode()),)
    if isinstance(error, MissingKeyError):
        return ((b"www-authenticate", b"Bearer"),)
    if kind.status == 503:
        seconds = getattr(error, "retry_after_seconds", _RETRY_AFTER_SECONDS)
        return ((b"retry-after", str(seconds).encode()),)
    return ()
