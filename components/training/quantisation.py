"""An encoder in int8: activations uint8 and weights int8 per channel, with ranges that real pictures gave."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from components.shared.files.atomic import whole_file
from components.shared.vectors.encoder import INPUT_NAME
from components.training.rounding import Pictures, evenly_spread, round_weights

CALIBRATION_PICTURES = 256
_BATCH = 16
_OPERATIONS = ["Conv", "MatMul", "Gemm", "Relu", "MaxPool"]  # additions stay: they cost little and err most
_HEAVY = ("Conv", "MatMul", "Gemm")


def quantise_encoder(source: Path, destination: Path, pictures: Pictures) -> bool:
    """Write the int8 form of an exported encoder; the same bytes for the same encoder and pictures.

    Arithmetic between the picture and the first convolution (reduction, normalisation), and from the projection to the
    unit vector on, stays in float32. u8 × s8 is what VNNI multiplies; s8 × s8 is 2–3 times slower in ONNX Runtime.

    Args:
        source: `encoder.onnx`.
        destination: file to write.
        pictures: (n, side, side, 3) uint8, what the encoder was trained on; at most 256 are used, evenly spread.

    Returns:
        Whether there was something to quantise; if not, nothing is written.

    Source:
        Nagel et al., A White Paper on Neural Network Quantization, arXiv:2106.08295, sections 2 and 3; the weights as
        in `rounding`.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load_from_string(source.read_bytes())
    body = _body(model.graph)
    if not body:
        return False
    rows = evenly_spread(len(pictures), CALIBRATION_PICTURES)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preparation that the exporter has already done
    try:
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "int8.onnx"
            quantize_static(
                model,
                written,
                _Batches(pictures, rows),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATIONS,
                nodes_to_quantize=body,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"WeightSymmetric": True, "CalibMovingAverage": True},
            )
            quantised = onnx.load(written)
            round_weights(onnx.load_from_string(source.read_bytes()), quantised, pictures)  # `model` is used up
    finally:
        logging.getLogger().setLevel(level)
    quantised.producer_name, quantised.producer_version = "visual-search", ""
    del quantised.metadata_props[:]
    del quantised.graph.value_info[:]
    with whole_file(destination) as temporary:
        temporary.write_bytes(quantised.SerializeToString(deterministic=True))
    return True


class _Batches:
    """What ONNX Runtime calls a CalibrationDataReader: batches until there are none left."""

    def __init__(self, pictures: Pictures, rows: NDArray[np.int64]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = (
            np.array(pictures[rows[start : start + _BATCH]]) for start in range(0, len(rows), _BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


def _body(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes from the first convolution to before the last multiplication (the projection)."""
    nodes = list(graph.node)
    convolutions = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]
    heavy = [place for place, node in enumerate(nodes) if node.op_type in _HEAVY]
    if not convolutions:
        return []
    producers = {output: place for place, node in enumerate(nodes) for output in node.output}
    before: set[int] = set()
    pending = [nodes[convolutions[0]].input[0]]
    while pending:
        place = producers.get(pending.pop())
        if place is not None and place not in before:
            before.add(place)
            pending.extend(nodes[place].input)
    return [
        node.name
        for place, node in enumerate(nodes[: heavy[-1]])
        if place not in before and node.op_type in _OPERATIONS
    ]
