"""An image encoder of one's own as ONNX: checked, and wrapped to uint8 pictures in and features out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto

from components.shared.errors import ImageTooLargeError, ParameterError, SourceError
from components.shared.files.storage import read_bytes
from components.shared.pictures.preprocessing import LARGEST_SIDE, PreprocessingSpec
from components.training.export import write_model
from components.training.graphs import wrap_pictures
from components.training.parameters import NORMALISATIONS, TrainingParameters
from components.training.weights import WeightsFacts

_LARGEST_BYTES = 2 << 30  # of a protobuf message
_USUAL_SIDE = 224
_OLDEST_OPSET = 13
_TOLERANCE = 1e-3  # of features, relative to their length, between batches of different sizes
_FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class OwnEncoder:
    """An encoder of one's own, wrapped and checked.

    Attributes:
        preprocessing: from a decoded picture to its input.
        width: length of its features.
        parity: smallest cosine between features of the wrapped and of the original graph.
        facts: origin.
    """

    preprocessing: PreprocessingSpec
    width: int
    parity: float
    facts: WeightsFacts


def wrap_own(uri: str, parameters: TrainingParameters, destination: Path) -> OwnEncoder:
    """Check an encoder and write it with uint8 pictures as input and features as output.

    Args:
        uri: an .onnx file, local or in an object store.
        parameters: normalisation, side and fit.
        destination: file to write.

    Raises:
        ParameterError: naming what is wrong with the file and what is expected.
    """
    data = _read(uri)
    model = _parse(data, uri)
    layout = _Layout.of(model, uri, parameters.side)
    mean, std = NORMALISATIONS[parameters.normalisation]
    session = _session(layout.with_free_batch(model).SerializeToString(), uri)
    pictures = _noise(layout.side)
    expected = _features_of(session, layout.floats(pictures, mean, std), uri)
    _check(session, layout.floats(pictures, mean, std), expected, uri)
    wrapped = wrap_pictures(
        layout.with_free_batch(model),
        side=layout.side,
        channels_first=layout.channels_first,
        mean=mean,
        std=std,
        output=session.get_outputs()[0].name,
        width=expected.shape[1],
        element=layout.element,
    )
    try:
        write_model(wrapped, destination)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ParameterError(f"onnx: {uri} cannot be joined with the pictures' normalisation ({error})") from error
    received = _session(destination.read_bytes(), uri).run(None, {"images": pictures})[0]
    parity = float(_cosines(expected, received).min())
    if parity < 1 - _TOLERANCE:
        raise ParameterError(
            f"onnx: {uri} computes other features once it is wrapped (cosine {parity:.4f}); use float32"
        )
    return OwnEncoder(
        PreprocessingSpec(side=layout.side, fit=parameters.fit, pad_level=parameters.pad_level),
        expected.shape[1],
        parity,
        WeightsFacts(source=Path(uri).name, licence="unknown", sha256=hashlib.sha256(data).hexdigest()),
    )


@dataclass(frozen=True)
class _Layout:
    """Form of the input: name, side, order of the axes and type."""

    name: str
    side: int
    channels_first: bool
    element: int

    @classmethod
    def of(cls, model: onnx.ModelProto, uri: str, side: int) -> _Layout:
        given = {tensor.name for tensor in model.graph.initializer}
        inputs = [each for each in model.graph.input if each.name not in given]
        if len(inputs) != 1:
            raise ParameterError(f"onnx: {uri} must take one input, the pictures; it takes {[i.name for i in inputs]}")
        kind = inputs[0].type.tensor_type
        shape = [axis.dim_value if axis.HasField("dim_value") else 0 for axis in kind.shape.dim]
        if len(shape) != 4 or 3 not in {shape[1], shape[3]} or kind.elem_type not in _FLOATS:
            raise ParameterError(
                f"onnx: {uri} must take float pictures (b, 3, s, s) or (b, s, s, 3); it takes "
                f"{TensorProto.DataType.Name(kind.elem_type)} {tuple(n or '?' for n in shape)}"
            )
        first = shape[1] == 3
        height, width = (shape[2], shape[3]) if first else (shape[1], shape[2])
        if height != width:
            raise ParameterError(f"onnx: {uri} must take square pictures; it takes {height} × {width}")
        if height and side and height != side:
            raise ParameterError(f"side: {uri} takes {height} pixels, {side} were asked for; set side to 0 or {height}")
        chosen = height or side or _USUAL_SIDE
        if not 32 <= chosen <= LARGEST_SIDE:
            raise ParameterError(f"onnx: {uri} takes {chosen} pixels per side; from 32 to {LARGEST_SIDE} are supported")
        return cls(inputs[0].name, chosen, first, kind.elem_type)

    def with_free_batch(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the model with any number of pictures, whatever its file says; running it shows whether that holds."""
        free = onnx.ModelProto()
        free.CopyFrom(model)
        given = {tensor.name for tensor in free.graph.initializer}
        entrance = next(each for each in free.graph.input if each.name not in given)
        dims = entrance.type.tensor_type.shape.dim
        dims[0].dim_param = "batch"
        for axis in (2, 3) if self.channels_first else (1, 2):
            dims[axis].dim_value = self.side
        for output in free.graph.output:
            if output.type.tensor_type.shape.dim:
                output.type.tensor_type.shape.dim[0].dim_param = "batch"
        del free.graph.value_info[:]
        return free

    def floats(
        self, pictures: Pictures, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> dict[str, Any]:
        """Return the input that the original graph takes for pictures."""
        values = (pictures.astype(np.float32) - np.array(mean, np.float32)) / np.array(std, np.float32)
        values = values.transpose(0, 3, 1, 2) if self.channels_first else values
        return {self.name: np.ascontiguousarray(values, _FLOATS[self.element])}


def _read(uri: str) -> bytes:
    try:
        return read_bytes(uri, limit_bytes=_LARGEST_BYTES)
    except (SourceError, ImageTooLargeError) as error:
        raise ParameterError(f"onnx: {uri} cannot be read ({error})") from error


def _parse(data: bytes, uri: str) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(data)
    except DecodeError as error:
        raise ParameterError(f"onnx: {uri} is not an ONNX file") from error
    if not model.graph.node:
        raise ParameterError(f"onnx: {uri} is not an ONNX file, or is empty")
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ParameterError(f"onnx: {uri} keeps its weights in other files; save it as one file")
    version = next((each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}), 0)
    if version < _OLDEST_OPSET:
        raise ParameterError(f"onnx: {uri} has opset {version}; export it with {_OLDEST_OPSET} or later")
    return model


def _session(data: bytes, uri: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many unrelated classes
        raise ParameterError(f"onnx: {uri} cannot be loaded by ONNX Runtime ({error})") from error


def _features_of(session: onnxruntime.InferenceSession, values: dict[str, Any], uri: str) -> NDArray[np.float32]:
    """Return the features (b, w) of pictures; axes of length 1 at the end are dropped."""
    try:
        found = np.asarray(session.run([session.get_outputs()[0].name], values)[0])
    except Exception as error:  # ONNX Runtime raises many unrelated classes
        raise ParameterError(
            f"onnx: {uri} cannot compute several pictures at once; export it with a dynamic batch ({error})"
        ) from error
    count = len(next(iter(values.values())))
    if found.ndim < 2 or found.shape[0] != count or found.shape[1] != found[0].size:
        raise ParameterError(
            f"onnx: {uri} must give one vector a picture as its first output, (b, w); for {count} pictures it gives {found.shape}"
        )
    return found.reshape(count, -1).astype(np.float32)


def _check(
    session: onnxruntime.InferenceSession, values: dict[str, Any], expected: NDArray[np.float32], uri: str
) -> None:
    if not np.isfinite(expected).all():
        raise ParameterError(f"onnx: {uri} gives features that are not finite; check training.normalisation")
    if not np.array_equal(_features_of(session, values, uri), expected):
        raise ParameterError(f"onnx: {uri} gives other features each time; export it in evaluation mode (no dropout)")
    alone = np.concatenate([_features_of(session, {n: v[i : i + 1] for n, v in values.items()}, uri) for i in range(3)])
    if _cosines(alone, expected[:3]).min() < 1 - _TOLERANCE:
        raise ParameterError(f"onnx: {uri} gives a picture other features in company; export it in evaluation mode")
    if np.ptp(expected, axis=0).max() == 0:
        raise ParameterError(f"onnx: {uri} gives every picture the same features; check the export")


def _noise(side: int) -> Pictures:
    return np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(norms, 1e-30))
