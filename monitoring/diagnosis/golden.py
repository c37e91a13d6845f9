"""The golden pictures, sent to what is live: do they still give the golden vectors, and the golden scores?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.shared.defaults import MODEL_NAME
from components.shared.errors import NotReadyError, VisualSearchError
from components.shared.release.golden import embed_pictures
from components.shared.release.manifest import GOLDEN_FILE, Manifest
from components.shared.vectors.embeddings import Vectors, read_embeddings
from components.shared.vectors.encoder import ENCODER_FILE, INPUT_NAME, OUTPUT_NAME, OnnxEncoder
from components.shared.vectors.search import CatalogueIndex
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.findings import Concern

_TIMEOUT_SECONDS = 20.0
_RESULTS = 50


class PictureEncoder(Protocol):
    """Embeds preprocessed pictures."""

    def encode(self, images: NDArray[np.uint8]) -> Vectors:
        """Embed (b, side, side, 3) uint8 pictures: (b, d) float32."""


class LiveEncoder:
    """An encoder behind the Open Inference Protocol (REST).

    Args:
        url: url of the server, for example http://localhost:8085.
        model: its name.
    """

    def __init__(self, url: str, *, model: str = MODEL_NAME) -> None:
        self._url = f"{url.rstrip('/')}/v2/models/{model}/infer"

    def encode(self, images: NDArray[np.uint8]) -> Vectors:
        """Embed pictures, one call for each.

        Raises:
            NotReadyError: it does not answer, or not as the protocol says.
        """
        return np.concatenate([self._encode(image) for image in images])

    def _encode(self, image: NDArray[np.uint8]) -> Vectors:
        tensor = {
            "name": INPUT_NAME,
            "datatype": "UINT8",
            "shape": [1, *image.shape],
            "data": image.reshape(-1).tolist(),
        }
        answer = _post(self._url, json={"inputs": [tensor]})
        try:
            output = next(found for found in answer["outputs"] if found["name"] == OUTPUT_NAME)
            return np.asarray(output["data"], np.float32).reshape(output["shape"])
        except (KeyError, StopIteration, TypeError, ValueError) as error:
            raise NotReadyError(f"{self._url} answers without embeddings; pass the address of the encoder") from error


def golden_vectors(
    release: Path, manifest: Manifest, encoder: PictureEncoder | None, parameters: DiagnosisParameters
) -> Concern:
    """Embed the golden pictures and compare with the recorded embeddings.

    Args:
        release: directory of the release.
        manifest: its manifest.
        encoder: the live one; None: the release's own, which finds a decoder or a runtime that differs here.
        parameters: how near they must come.
    """
    path = release / GOLDEN_FILE
    _, recorded = read_embeddings(path, space_id=manifest.space_id)
    who = "the release's own encoder, on this machine," if encoder is None else "the live encoder"
    try:
        used: Any = encoder or OnnxEncoder(release / ENCODER_FILE, threads=1)
        vectors = embed_pictures(_pictures(path), used, manifest.encoder.preprocessing)
    except VisualSearchError as error:
        return _concern(
            "golden_vectors", "unknown", f"The golden pictures could not be embedded: {error}.", failed=True
        )
    if vectors.shape != recorded.shape:
        return _concern(
            "golden_vectors", "alarm", f"{_capital(who)} gives embeddings {vectors.shape[1]} long, not {recorded.shape[1]}.",
            window=len(recorded),
        )  # fmt: skip
    norms = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    cosines = np.einsum("gd,gd->g", vectors, recorded) / norms
    worst, off = float(cosines.min()), int((cosines < parameters.minimum_cosine).sum())
    return _concern(
        "golden_vectors",
        "alarm" if off else "ok",
        f"{_capital(who)} gives {off or 'none'} of {len(recorded)} golden pictures another embedding than the recorded "
        f"(smallest cosine {worst:.4f}, at least {parameters.minimum_cosine} is due).",
        value=worst, threshold=parameters.minimum_cosine, effect=1 - worst, effect_name="1 − cosine", window=len(recorded),
    )  # fmt: skip


def golden_scores(
    release: Path,
    manifest: Manifest,
    index: CatalogueIndex,
    items: pa.Table,
    url: str,
    parameters: DiagnosisParameters,
    *,
    headers: dict[str, str] | None = None,
    model: str = MODEL_NAME,
) -> Concern:
    """Send the golden pictures to the live search and compare the scores of what it finds with what they must be.

    A score is the inner product of the query's embedding and a stored vector, so a decoder or a preprocessing that differs
    shows in it, though the service never gives an embedding away.

    Args:
        release: directory of the release.
        manifest: its manifest.
        index: its vectors.
        items: table ITEMS of the release.
        url: url of the transformer.
        parameters: allowed difference of scores.
        headers: sent along, for example an API key, or what pins the arm.
        model: its name.
    """
    path = release / GOLDEN_FILE
    ids, recorded = read_embeddings(path, space_id=manifest.space_id)
    rows = {image_id: row for row, image_id in enumerate(items.column("image_id").to_pylist())}
    worst, compared = 0.0, 0
    target = f"{url.rstrip('/')}/v1/models/{model}:predict"
    options = {"k": str(_RESULTS), "group_items": "false", "collapse_duplicates": "false"}
    try:
        for picture, vector in zip(_pictures(path), recorded, strict=True):
            sent = {"Content-Type": "application/octet-stream", **(headers or {})}
            found = _post(target, content=picture, params=options, headers=sent)["predictions"][0]
            if found["space_id"] != manifest.space_id:
                return _concern(
                    "golden_scores", "alarm",
                    f"The live search answers in space {found['space_id']}, the release is of space {manifest.space_id}.",
                )  # fmt: skip
            known = [result for result in found["results"] if result["image_id"] in rows]
            if known:
                stored = index.stored(np.array([rows[result["image_id"]] for result in known], np.int64))
                given = np.array([result["score"] for result in known])
                worst = max(worst, float(np.abs(given - stored @ vector).max()))
                compared += 1
    except (VisualSearchError, KeyError, IndexError, TypeError) as error:
        return _concern(
            "golden_scores", "unknown", f"The live search did not answer the golden pictures: {error}.", failed=True
        )
    if not compared:
        return _concern(
            "golden_scores",
            "unknown",
            "The live search finds no image of the release for a golden picture.",
            failed=True,
        )
    return _concern(
        "golden_scores",
        "alarm" if worst > parameters.score_tolerance else "ok",
        f"The scores that the live search gives {compared} of {len(ids)} golden pictures differ by at most {worst:.4f} from "
        f"those of the release ({parameters.score_tolerance} may be).",
        value=worst, threshold=parameters.score_tolerance, effect=worst, effect_name="difference of scores", window=compared,
    )  # fmt: skip


def _pictures(path: Path) -> list[bytes]:
    pictures: list[bytes] = pq.read_table(path, columns=["picture"]).column("picture").to_pylist()
    return pictures


def _post(url: str, **request: Any) -> Any:
    import httpx

    try:
        answer = httpx.post(url, timeout=_TIMEOUT_SECONDS, **request)
        answer.raise_for_status()
        return answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise NotReadyError(
            f"{url} does not answer ({error}); check the address, and that the encoder is ready"
        ) from error


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _concern(name: str, state: str, sentence: str, **figures: Any) -> Concern:
    return Concern.model_validate({"name": name, "topic": "serving", "state": state, "sentence": sentence, **figures})
