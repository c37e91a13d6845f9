"""The Open Inference Protocol v2, as far as pictures and results go: BYTES in, tensors out."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse

from components.shared.errors import ParameterError

_LENGTH = struct.Struct("<I")
_PADDING_SCORE = -1.0


def bytes_of_tensor(tensor: InferInput) -> list[bytes | str]:
    """Return the elements of a BYTES tensor of shape [b] or [b, 1]: bytes from the binary forms, text from JSON.

    Raises:
        ParameterError: another type or shape, or the bytes are not those of such a tensor.
    """
    if tensor.datatype != "BYTES":
        raise ParameterError("the input tensor 'images' must be of type BYTES, one encoded picture per element")
    raw = tensor._raw_data
    values: list[Any] = _split(raw) if raw is not None else list(tensor.data or [])
    if not all(isinstance(value, bytes | str) for value in values):
        raise ParameterError("the elements of the input tensor 'images' must be base64 text in JSON, or bytes")
    shape = list(tensor.shape)
    if shape not in ([len(values)], [len(values), 1]):
        raise ParameterError(
            "the shape of the input tensor 'images' must be [b] for b pictures, and b of them must follow"
        )
    return values


def response_of(request: InferRequest, model_name: str, answers: Sequence[dict[str, Any]]) -> InferResponse:
    """Lay answers out as tensors (b, k); rows with fewer results end in empty texts and scores of −1.

    Args:
        request: what is answered.
        model_name: for the response.
        answers: one for each query, as `answers` makes them.
    """
    width = max(len(answer["results"]) for answer in answers)
    outputs = [
        _texts("image_id", answers, width),
        _texts("item_id", answers, width),
        _texts("uri", answers, width),
        _texts("token", answers, width),
        _scores(answers, width),
    ]
    if request.request_outputs:
        wanted = {output.name for output in request.request_outputs}
        if unknown := sorted(wanted - {output.name for output in outputs}):
            raise ParameterError(f"there is no output {', '.join(name[:40] for name in unknown)}")
        outputs = [output for output in outputs if output.name in wanted]
    first = answers[0]
    parameters = {name: first[name] for name in ("release_id", "space_id", "generation", "arm")}
    parameters["query_id"] = ",".join(answer["query_id"] for answer in answers)
    parameters["no_good_match"] = ",".join(str(answer["no_good_match"]).lower() for answer in answers)
    return InferResponse(
        response_id=request.id or first["query_id"],
        model_name=model_name,
        infer_outputs=outputs,
        parameters=parameters,
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def _texts(name: str, answers: Sequence[dict[str, Any]], width: int) -> InferOutput:
    rows = [[str(result[name]) for result in answer["results"]] for answer in answers]
    values = np.array([text.encode() for row in rows for text in row + [""] * (width - len(row))], np.object_)
    output = InferOutput(name=name, shape=[len(answers), width], datatype="BYTES")
    output.set_data_from_numpy(values.reshape(len(answers), width), binary_data=False)
    return output


def _scores(answers: Sequence[dict[str, Any]], width: int) -> InferOutput:
    values = np.full((len(answers), width), _PADDING_SCORE, np.float32)
    for row, answer in enumerate(answers):
        values[row, : len(answer["results"])] = [result["score"] for result in answer["results"]]
    output = InferOutput(name="score", shape=list(values.shape), datatype="FP32")
    output.set_data_from_numpy(values, binary_data=False)
    return output


def _split(raw: bytes) -> list[bytes]:
    values, position = [], 0
    while position < len(raw):
        if position + _LENGTH.size > len(raw):
            raise ParameterError("the bytes of the input tensor 'images' end within an element's length")
        (length,) = _LENGTH.unpack_from(raw, position)
        position += _LENGTH.size
        if position + length > len(raw):
            raise ParameterError("the bytes of the input tensor 'images' end within an element")
        values.append(raw[position : position + length])
        position += length
    return values
