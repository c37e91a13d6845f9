"""The exported encoder: uint8 pictures in, unit vectors out, computed by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from components.shared.errors import ContractError, InputError
from components.shared.files.atomic import digest_of, sha256_of
from components.shared.files.specs import read_spec, write_spec
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.vectors.embeddings import Vectors, check_vectors

ENCODER_FILE = "encoder.onnx"
ENCODER_INT8_FILE = "encoder.int8.onnx"  # only if `RuntimeChoice` admits int8
ENCODER_SPEC_FILE = "encoder.json"
INPUT_NAME = "images"
OUTPUT_NAME = "embeddings"


Engine = Literal["onnxruntime", "openvino"]
Precision = Literal["fp32", "bf16", "int8"]


class RuntimeFigures(BaseModel):
    """Effect of an engine and a precision on the embeddings of held-out pictures, compared with fp32 on ONNX Runtime.

    Attributes:
        neighbour_overlap_at_10: mean share of the 10 nearest pictures of fp32 that are found again; None: not measured.
        hit_rate_difference_points: hit rate@1 minus that of fp32, percentage points; None if no query has a relevant image.
        hit_rate_resolution_points: change caused by a single query; smaller differences are not measurable.
        minimum_cosine: smallest cosine between the two embeddings of a picture.
        pictures: number of compared pictures.
        queries: number of these with a relevant image.
        passed: whether the gate admits the engine and precision.
        reason: one sentence that explains the verdict.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Engine
    precision: Precision
    neighbour_overlap_at_10: float | None = None
    hit_rate_difference_points: float | None = None
    hit_rate_resolution_points: float | None = None
    minimum_cosine: float | None = None
    pictures: int = 0
    queries: int = 0
    passed: bool
    reason: str


class RuntimeChoice(BaseModel):
    """Engine and precision of an encoder, with the evidence. They change arithmetic within a space, never the space.

    Attributes:
        engine, precision: the first admitted pair in the order that the exporting processor prefers.
        figures: all measured candidates, including the choice.
        int8_sha256: digest of `encoder.int8.onnx`, if int8 is admitted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Engine
    precision: Precision
    figures: tuple[RuntimeFigures, ...] = ()
    int8_sha256: str | None = None

    def admits(self, engine: Engine, precision: Precision) -> bool:
        """Whether the gate admitted an engine with a precision; fp32 is always admitted."""
        return precision == "fp32" or any(
            f.passed for f in self.figures if (f.engine, f.precision) == (engine, precision)
        )


class EncoderSpec(BaseModel):
    """Description of an encoder; stored beside `encoder.onnx` and in the release's manifest.

    Attributes:
        architecture: for example "resnet18".
        dimension: length d of an embedding.
        space_id: digest of encoder and preprocessing; only embeddings with equal space_id are comparable.
        training: facts for people (parameters, epochs, validation figures); no code depends on them.
        runtime: engine and precision; None, as in older releases, means fp32 on ONNX Runtime.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    architecture: str
    dimension: int
    preprocessing: PreprocessingSpec
    onnx_sha256: str
    space_id: str
    training: dict[str, Any] = {}
    runtime: RuntimeChoice | None = None

    @model_serializer(mode="wrap")
    def _without_absent_runtime(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out an absent choice, so that older manifests keep their digests."""
        fields: dict[str, Any] = handler(self)
        if self.runtime is None:
            fields.pop("runtime", None)
        return fields


def space_id_of(onnx_sha256: str, preprocessing: PreprocessingSpec) -> str:
    """Return the id of the space that an encoder and a preprocessing span together."""
    return "s-" + digest_of({"encoder": onnx_sha256, "preprocessing": preprocessing.model_dump(mode="json")})[:16]


def write_encoder_spec(
    directory: Path,
    *,
    architecture: str,
    dimension: int,
    preprocessing: PreprocessingSpec,
    training: dict[str, Any],
    runtime: RuntimeChoice | None = None,
) -> EncoderSpec:
    """Describe the `encoder.onnx` in `directory` by an `encoder.json` beside it."""
    sha256 = sha256_of(directory / ENCODER_FILE)
    spec = EncoderSpec(
        architecture=architecture,
        dimension=dimension,
        preprocessing=preprocessing,
        onnx_sha256=sha256,
        space_id=space_id_of(sha256, preprocessing),
        training=training,
        runtime=runtime,
    )
    write_spec(directory / ENCODER_SPEC_FILE, spec)
    return spec


def read_encoder_spec(directory: Path) -> EncoderSpec:
    """Read `encoder.json` and check that it describes the `encoder.onnx` beside it.

    Raises:
        ContractError: the file is missing, unreadable, or describes another encoder.
    """
    path = directory / ENCODER_SPEC_FILE
    spec = read_spec(path, EncoderSpec, subject="an encoder", step="training")
    if sha256_of(directory / ENCODER_FILE) != spec.onnx_sha256:
        raise ContractError(
            f"{path} describes another encoder than {ENCODER_FILE} beside it; run the training step again"
        )
    if spec.runtime is not None and spec.runtime.int8_sha256 is not None:
        quantised = directory / ENCODER_INT8_FILE
        if not quantised.is_file() or sha256_of(quantised) != spec.runtime.int8_sha256:
            raise ContractError(
                f"{path} describes another {ENCODER_INT8_FILE} than the one beside it; run the training step again"
            )
    return spec


class OnnxEncoder:
    """An encoder in ONNX Runtime. It has one session; several threads may call it at once.

    Args:
        path: an `encoder.onnx`: input "images" (b, side, side, 3) uint8, output "embeddings" (b, d) float32.
        threads: number per call; 0 uses all cores.

    Attributes:
        shape: (side, side, 3) of one picture.
        dimension: d.

    Raises:
        ContractError: the file is missing, damaged or has other inputs and outputs.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        available = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
        try:
            # Bytes, not a path, so that external data (which could point anywhere) are refused.
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises many unrelated classes
            raise ContractError(f"{path} is not an encoder that ONNX Runtime can load: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [i.name for i in inputs] != [INPUT_NAME] or [o.name for o in outputs] != [OUTPUT_NAME]:
            raise ContractError(f"{path} must have the input {INPUT_NAME!r} and the output {OUTPUT_NAME!r} only")
        self.shape = tuple(inputs[0].shape[1:])
        self._source = str(path)
        if inputs[0].type != "tensor(uint8)" or len(self.shape) != 3 or self.shape[2] != 3:
            raise ContractError(
                f"{path} must take uint8 (b, side, side, 3), it takes {inputs[0].type} {inputs[0].shape}"
            )
        self.dimension = int(outputs[0].shape[1])

    def encode(self, images: NDArray[np.uint8]) -> Vectors:
        """Embed pictures.

        Args:
            images: (b, side, side, 3) uint8 RGB, preprocessed; b ≥ 1.

        Returns:
            (b, d) float32, rows finite and of unit L2 norm.

        Raises:
            InputError: the shape or type differs.
            PoisonedVectorError: the encoder returned a vector that is not of unit norm.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.shape or not len(images):
            raise InputError(
                f"expected uint8 (b, {', '.join(map(str, self.shape))}), got {images.dtype} {images.shape}"
            )
        (vectors,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: images})
        check_vectors(vectors, source=self._source)
        return np.asarray(vectors, np.float32)
