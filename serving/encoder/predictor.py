"""The KServe model: Open Inference Protocol v2, uint8 pictures in, unit vectors out, in a named space or not at all."""

from __future__ import annotations

import math
from time import monotonic
from typing import Any

import kserve
import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from numpy.typing import NDArray

from components.shared.errors import DataError, NotReadyError, ParameterError, VisualSearchError
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.encoder import INPUT_NAME, OUTPUT_NAME
from serving.encoder.loading import EncoderHolder, Served
from serving.server.open_inference import keep_binary_tensors, parameters_of
from serving.server.refusals import EncoderFailedError
from serving.server.request import CURRENT_REQUEST
from serving.settings import EncoderSettings

SPACE_PARAMETER = "space_id"
_STUCK_SECONDS = 60.0


class EncoderModel(kserve.Model):  # type: ignore[misc]  # kserve is not typed
    """The predictor `visual-search`.

    Args:
        settings: settings of the process.
        holder: the encoders in use.
    """

    def __init__(self, settings: EncoderSettings, holder: EncoderHolder) -> None:
        super().__init__(settings.model_name)
        keep_binary_tensors()
        self._settings, self.holder = settings, holder

    @property
    def ready(self) -> bool:
        """Whether a release is loaded, its golden pictures hold, and its batches come to an end."""
        served = self.holder.current
        return served is not None and served.batcher.computing_seconds < _STUCK_SECONDS

    @ready.setter
    def ready(self, value: bool) -> None:
        """Ignore what kserve sets at its own convenience: it calls a model ready once it was started."""

    def load(self) -> bool:
        """Answer kserve, which calls this when a model that is not ready is asked; loading is the holder's."""
        return self.ready

    def stop(self) -> None:
        """Do nothing; the holder is stopped by the server, after the last request."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """Describe the input tensor."""
        side = self.holder.current.manifest.encoder.preprocessing.side if self.holder.current else -1
        return [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, side, side, 3]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Describe the output tensor."""
        dimension = self.holder.current.manifest.encoder.dimension if self.holder.current else -1
        return [{"name": OUTPUT_NAME, "datatype": "FP32", "shape": [-1, dimension]}]

    async def predict(
        self, payload: InferRequest | dict[str, Any], headers: dict[str, str] | None = None
    ) -> InferResponse:
        """Embed the pictures of one request.

        Raises:
            ParameterError: the request is not one of this model.
            NotReadyError: nothing is loaded yet.
            SpaceMismatchError: the space that is asked for is not served.
            OverloadedError: too many pictures wait.
            EncoderTimeoutError: the client's deadline, or ours, has passed.
            EncoderFailedError: the encoder gave no embedding for these pictures.
        """
        if not isinstance(payload, InferRequest):
            raise ParameterError("the encoder answers the Open Inference Protocol v2; use /v2/models/…/infer")
        served = self.holder.serving(_space_of(payload))
        images = _images_of(payload, served, self._settings.encoder_max_request_images)
        vectors = await self._encode(served, images, _space_of(payload))
        manifest = served.manifest
        output = InferOutput(name=OUTPUT_NAME, shape=list(vectors.shape), datatype="FP32")
        output.set_data_from_numpy(vectors, binary_data=payload.from_grpc or payload.use_binary_outputs)
        return InferResponse(
            response_id=payload.id or "",
            model_name=self.name,
            infer_outputs=[output],
            parameters={
                SPACE_PARAMETER: manifest.space_id,
                "release_id": manifest.release_id,
                **served.runtime.describe(),
            },
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )

    async def _encode(self, served: Served, images: NDArray[np.uint8], space_id: str | None) -> Vectors:
        current = CURRENT_REQUEST.get()
        deadline = monotonic() + self._settings.encoder_timeout_seconds
        if current is not None:
            current.release_id = served.manifest.release_id
            deadline = min(deadline, current.deadline)
        try:
            try:
                return await served.batcher.encode(images, deadline=deadline)
            except NotReadyError:  # put away between looking it up and asking it
                again = self.holder.serving(space_id or served.manifest.space_id)
                return await again.batcher.encode(images, deadline=deadline)
        except DataError as error:
            raise EncoderFailedError("the encoder gives no embedding for these pictures") from error
        except VisualSearchError:
            raise
        except Exception as error:  # any error of a runtime
            raise EncoderFailedError("the encoder failed on these pictures") from error


def _space_of(request: InferRequest) -> str | None:
    value = parameters_of(request).get(SPACE_PARAMETER)
    if value is not None and not isinstance(value, str):
        raise ParameterError("the parameter space_id must be a string")
    return value or None


def _images_of(request: InferRequest, served: Served, most: int) -> NDArray[np.uint8]:
    """Return the pictures of a request without copying them where they came as bytes.

    Raises:
        ParameterError: another name, type, shape, number or values.
    """
    shape = served.runtime.encoder.shape
    if [tensor.name for tensor in request.inputs] != [INPUT_NAME]:
        raise ParameterError(f"the request must have the one input '{INPUT_NAME}'")
    if request.request_outputs and any(output.name != OUTPUT_NAME for output in request.request_outputs):
        raise ParameterError(f"the only output is '{OUTPUT_NAME}'")
    tensor = request.inputs[0]
    asked = tuple(tensor.shape)
    if tensor.datatype != "UINT8" or len(asked) != 4 or asked[1:] != shape or not 1 <= asked[0] <= most:
        raise ParameterError(
            f"the input '{INPUT_NAME}' must be UINT8 of shape [b, {', '.join(map(str, shape))}] with b from 1 to {most}"
        )
    flat = _flat(tensor)
    if flat.size != math.prod(asked):
        raise ParameterError(f"the input '{INPUT_NAME}' holds {flat.size} values, its shape says {math.prod(asked)}")
    return flat.reshape(asked)


def _flat(tensor: InferInput) -> NDArray[np.uint8]:
    if tensor._raw_data is not None:
        return np.frombuffer(tensor._raw_data, np.uint8)
    try:
        values = np.asarray(tensor.data if tensor.data is not None else [])
    except ValueError as error:
        raise ParameterError(f"the values of the input '{INPUT_NAME}' are not of one shape") from error
    if values.dtype.kind not in "iu" or not values.size or values.min() < 0 or values.max() > 255:
        raise ParameterError(f"the values of the input '{INPUT_NAME}' must be whole numbers from 0 to 255")
    return values.astype(np.uint8).reshape(-1)
