"""Search on KServe as in its own examples: a transformer that calls a predictor by REST, protocol v2.

    python stock_kserve.py FOLDER predictor --model_name stock --http_port 8085 …
    python stock_kserve.py FOLDER transformer --model_name stock --http_port 8080 --predictor_host 127.0.0.1:8085 …

As in kserve's python/custom_transformer, the picture is sent as a tensor of floats in JSON, the format of its client; the
runtime behind it is the fp32 ONNX Runtime that ours falls back on, and the index is the product's, in bare Faiss.
"""

from __future__ import annotations

import sys
from pathlib import Path

_FOLDER, _ROLE = Path(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]  # kserve reads the rest on import

import faiss  # noqa: E402
import kserve  # noqa: E402
import numpy as np  # noqa: E402
from kserve import InferInput, InferOutput, InferRequest, InferResponse, model_server  # noqa: E402
from kserve.utils.utils import generate_uuid  # noqa: E402
from reference import K, bare_runtime, pillow_square  # noqa: E402

from components.shared.release.manifest import read_manifest  # noqa: E402
from components.shared.vectors.search import CatalogueIndex  # noqa: E402

_RELEASE = _FOLDER / "release"


class Predictor(kserve.Model):  # type: ignore[misc]
    """Computes embeddings."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._embed = bare_runtime(_RELEASE, "onnxruntime-fp32")
        self.ready = True

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """Answer with a tensor."""
        vectors = self._embed(payload.inputs[0].as_numpy().astype(np.uint8))
        output = InferOutput(name="embeddings", shape=list(vectors.shape), datatype="FP32")
        output.set_data_from_numpy(vectors, binary_data=False)
        return InferResponse(response_id=generate_uuid(), model_name=self.name, infer_outputs=[output])


class Transformer(kserve.Model):  # type: ignore[misc]
    """Decodes pictures before, and searches after the predictor."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        faiss.omp_set_num_threads(1)
        manifest = read_manifest(_RELEASE)
        index = CatalogueIndex.open(_RELEASE, manifest.index)
        settings = manifest.index.search
        self._index = index.faiss_index
        self._parameters = index._make_parameters(settings, K, max(K, settings.rescored or K), None)
        self.ready = True

    def preprocess(self, payload: bytes, headers: dict[str, str] | None = None) -> InferRequest:
        """Turn a picture into a request."""
        square = pillow_square(payload)[None]
        tensor = InferInput(name="images", datatype="UINT8", shape=list(square.shape), data=square)
        return InferRequest(model_name=self.name, infer_inputs=[tensor])

    def postprocess(
        self, response: InferResponse, headers: dict[str, str] | None = None, response_headers: object = None
    ) -> dict[str, object]:
        """Search by the embedding."""
        vectors = response.outputs[0].as_numpy().reshape(1, -1).astype(np.float32)
        scores, rows = self._index.search(vectors, K, params=self._parameters)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return {"predictions": [{"image_id": f"image-{row:08d}", "score": score} for row, score in found]}


if __name__ == "__main__":
    kserve.ModelServer().start(
        [{"predictor": Predictor, "transformer": Transformer}[_ROLE](model_server.args.model_name)]
    )
