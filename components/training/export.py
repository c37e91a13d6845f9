"""From torch to ONNX: one self-contained file, the same bytes for the same weights, checked against torch."""

from __future__ import annotations

import copy
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from components.shared.errors import ContractError
from components.shared.files.atomic import whole_file
from components.shared.vectors.encoder import INPUT_NAME, OUTPUT_NAME, OnnxEncoder
from components.training.encoder import Encoder, FeatureExtractor

OPSET = 18
MAX_DIFFERENCE = 1e-4
MIN_COSINE = 0.9999


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime and torch are apart on the same pictures.

    Attributes:
        max_difference: largest absolute difference of a component.
        min_cosine: smallest cosine of two embeddings of one picture.
        images: pictures compared.
    """

    max_difference: float
    min_cosine: float
    images: int


def export_encoder(encoder: Encoder | FeatureExtractor, path: Path, *, output: str = OUTPUT_NAME) -> None:
    """Write an encoder as ONNX: input "images" (b, side, side, 3) uint8, one output (b, d) float32, any b.

    Nothing in the file tells of the machine or the moment, so that equal weights give equal bytes.
    """
    encoder = copy.deepcopy(encoder).cpu().float().eval()
    example = torch.zeros(2, encoder.side, encoder.side, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), _quiet("torch.onnx"), _quiet("onnxscript"):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            encoder,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=65_536)},),
            verbose=False,
        )
    assert program is not None
    write_model(program.model_proto, path)


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Check an ONNX model and write it without any trace of the machine or of the exporter."""
    model = _anonymous(model)
    onnx.checker.check_model(model, full_check=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def check_parity(encoder: Encoder, path: Path, pictures: NDArray[np.uint8], *, seed: int = 0) -> Parity:
    """Compare the exported file with torch on real pictures and on noise, in batches of other sizes than exported.

    Args:
        encoder: what was exported.
        path: the file.
        pictures: (n, side, side, 3) uint8.
        seed: of the noise.

    Raises:
        ContractError: they differ by more than 1e-4 in a component, or by a cosine below 0.9999.
    """
    noise = np.random.default_rng(seed).integers(0, 256, (4, encoder.side, encoder.side, 3), np.uint8)
    images = np.concatenate([pictures, noise])
    encoder = copy.deepcopy(encoder).cpu().float().eval()
    with torch.no_grad():
        expected = encoder(torch.from_numpy(images)).numpy()
    exported = OnnxEncoder(path)
    received = np.concatenate([exported.encode(images[:1]), exported.encode(images[1:])])
    parity = Parity(
        max_difference=float(np.abs(expected - received).max()),
        min_cosine=float((expected * received).sum(1).min()),
        images=len(images),
    )
    if parity.max_difference > MAX_DIFFERENCE or parity.min_cosine < MIN_COSINE:
        raise ContractError(
            f"{path} does not compute what torch does: expected a difference of at most {MAX_DIFFERENCE} and a cosine of "
            f"at least {MIN_COSINE}, got {parity.max_difference:.2e} and {parity.min_cosine:.6f}; the export is at fault"
        )
    return parity


def _anonymous(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what depends on the machine or on the exporter: traces with paths, doc strings, versions, inner shapes."""
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.producer_name, clean.producer_version, clean.doc_string = "visual-search", "", ""
    clean.graph.name, clean.graph.doc_string = "encoder", ""
    del clean.metadata_props[:]
    for part in (clean.graph, *clean.graph.node, *clean.graph.initializer, *clean.graph.input, *clean.graph.output):
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del clean.graph.value_info[:]
    return clean


class _quiet:  # noqa: N801  # used like a function
    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
