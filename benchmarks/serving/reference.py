"""The whole path in one process without a server: as fast as the parts allow, and in a straightforward way."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn

from components.shared.pictures.decoder import decode_image, decoding_side
from components.shared.pictures.preprocessing import PreprocessingSpec, preprocess
from components.shared.release.manifest import read_manifest
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_INT8_FILE
from components.shared.vectors.openvino_encoder import computes_bf16
from components.shared.vectors.search import CatalogueIndex

K = 20
_SPEC = PreprocessingSpec()
Embed = Callable[[np.ndarray], np.ndarray]


def decoded(picture: bytes) -> np.ndarray:
    """Decode and preprocess as the product does: (224, 224, 3) uint8."""
    return preprocess(decode_image(picture, minimum_side=decoding_side(_SPEC)), _SPEC)


class Ideal:
    """Decoder, bare runtime and bare Faiss in a loop, without anything that a server adds.

    Args:
        release: directory of the release.
        runtime: "engine-precision".
        batch: number of pictures embedded and searched at a time.
    """

    def __init__(self, release: Path, runtime: str, batch: int) -> None:
        self.embed, self.batch = bare_runtime(release, runtime), batch
        manifest = read_manifest(release)
        index = CatalogueIndex.open(release, manifest.index)
        settings = manifest.index.search
        candidates = K if settings.rescored is None else min(settings.rescored * K // 10, index.rows)
        self._index = index.faiss_index
        self._parameters = index._make_parameters(settings, K, max(K, candidates), None)

    def __call__(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Return (q, K) rows."""
        found = []
        for start in range(0, len(pictures), self.batch):
            squares = np.stack([decoded(picture) for picture in pictures[start : start + self.batch]])
            found.append(self._index.search(self.embed(squares), K, params=self._parameters)[1])
        return np.concatenate(found)


def runtimes() -> list[str]:
    """Return the engines and precisions of this processor, each as "engine-precision"."""
    return ["onnxruntime-fp32", "onnxruntime-int8", "openvino-int8", *(["openvino-bf16"] if computes_bf16() else [])]


def bare_runtime(release: Path, runtime: str) -> Embed:
    """Return a runtime, called as in its own documentation, on one thread."""
    engine, precision = runtime.split("-")
    name = ENCODER_INT8_FILE if precision == "int8" else ENCODER_FILE
    if engine == "openvino":
        few_bits = computes_bf16() and precision != "fp32"
        import openvino  # after `computes_bf16`, whose import disables its telemetry

        hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "bf16" if few_bits else "f32"}
        model = openvino.Core().compile_model(str(release / name), "CPU", hints)
        return lambda squares: model([squares])[0]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(release / name), options)
    return lambda squares: session.run(None, {"images": squares})[0]


class Simple:
    """Pillow, torch eager in fp32 and an exhaustive index, one picture at a time."""

    def __init__(self, network: nn.Module, vectors: np.ndarray) -> None:
        self._network = network
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def __call__(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Return (q, K) rows."""
        return np.concatenate([self.search(picture)[1] for picture in pictures])

    def search(self, picture: bytes, k: int = K) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows, (1, k) each."""
        with torch.inference_mode():
            vector = self._network(torch.from_numpy(pillow_square(picture)[None]))
        scores, rows = self._index.search(vector.numpy(), k)
        return scores, rows


def pillow_square(picture: bytes) -> np.ndarray:
    """Decode with Pillow, in full, and fit into a white square as the encoder's space prescribes."""
    return preprocess(np.array(Image.open(io.BytesIO(picture)).convert("RGB")), _SPEC)
