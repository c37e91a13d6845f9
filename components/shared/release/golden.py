"""Golden pictures: a few encoded pictures with the embedding and the neighbours that they must give.

They are checked wherever a release is loaded, and so detect a decoder, preprocessing, encoder or index that differs from
the release's even if the digests agree.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.shared.errors import ContractError
from components.shared.files.atomic import whole_file
from components.shared.pictures.decoder import decode_image, decoding_side
from components.shared.pictures.preprocessing import PreprocessingSpec, preprocess
from components.shared.vectors.embeddings import Vectors, check_vectors, read_embeddings
from components.shared.vectors.encoder import OnnxEncoder
from components.shared.vectors.search import CatalogueIndex

MIN_COSINE = 0.9995  # decoders and arithmetic differ a little between CPUs; another encoder gives far less
MIN_OVERLAP = 0.8  # share of the expected ids; ties and rounding can move the last ones


def embed_pictures(pictures: list[bytes], encoder: OnnxEncoder, preprocessing: PreprocessingSpec) -> Vectors:
    """Decode, preprocess and embed encoded pictures as the whole product does; returns (p, d) float32."""
    return encoder.encode(_preprocessed(pictures, preprocessing))


def write_golden(
    path: Path,
    *,
    image_ids: list[str],
    pictures: list[bytes],
    embeddings: np.ndarray,
    expected: list[list[str]],
    space_id: str,
) -> None:
    """Write golden pictures: encoded bytes, embedding and ids of the expected neighbours.

    Args:
        path: file to write.
        image_ids: g ids of public, appropriate images.
        pictures: their encoded bytes (so that the check covers the decoder).
        embeddings: (g, d) float32.
        expected: neighbours' ids per picture, in rank order.
        space_id: space of the embeddings.
    """
    check_vectors(embeddings, image_ids, source=str(path))
    flat = pa.array(np.ascontiguousarray(embeddings, np.float32).reshape(-1))
    table = pa.table(
        {
            "image_id": pa.array(image_ids, pa.string()),
            "picture": pa.array(pictures, pa.binary()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1]),
            "expected_image_ids": pa.array(expected, pa.list_(pa.string())),
        }
    ).replace_schema_metadata({b"visual_search.space_id": space_id.encode()})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def check_golden_embeddings(
    path: Path,
    *,
    space_id: str,
    encode: Callable[[NDArray[np.uint8]], Vectors],
    preprocessing: PreprocessingSpec,
    minimum_cosine: float = MIN_COSINE,
) -> Vectors:
    """Decode and embed every golden picture and compare with the embeddings recorded when the release was made.

    Args:
        path: output of `write_golden`.
        space_id: space of the encoder.
        encode: (b, side, side, 3) uint8 → (b, d) float32 unit vectors.
        preprocessing: preprocessing of the encoder.
        minimum_cosine: smallest accepted cosine per picture; lower for arithmetic in few bits.

    Returns:
        (g, d) float32 embeddings from `encode`.

    Raises:
        ContractError: a picture differs too much; the message names it and its cosine.
    """
    ids, recorded = read_embeddings(path, space_id=space_id)
    pictures = pq.read_table(path, columns=["picture"]).column("picture").to_pylist()
    if not ids:
        raise ContractError(f"{path} holds no golden picture; build the release again")
    vectors = encode(_preprocessed(pictures, preprocessing))
    if vectors.shape != recorded.shape:
        raise ContractError(
            f"{path}: the golden embeddings are {recorded.shape}, the encoder gives {vectors.shape}; it is not the release's"
        )
    cosines = np.einsum("gd,gd->g", vectors, recorded)
    for image_id, cosine in zip(ids, cosines, strict=True):
        if not cosine >= minimum_cosine:
            raise ContractError(
                f"{path}: golden picture {image_id} gives an embedding of cosine {cosine:.4f} to the recorded one "
                f"(at least {minimum_cosine}); decoder, preprocessing or encoder differ from the release's"
            )
    return vectors


def check_golden_neighbours(path: Path, *, space_id: str, index: CatalogueIndex, image_ids: list[str]) -> None:
    """Search the recorded golden embeddings and compare with the neighbours recorded when the release was made.

    Args:
        path: output of `write_golden`.
        space_id: space of the index.
        index: index of the release.
        image_ids: id of each of the n rows.

    Raises:
        ContractError: a picture finds too few of its expected neighbours; the message names it and the numbers.
    """
    ids, vectors = read_embeddings(path, space_id=space_id)
    lists = pq.read_table(path, columns=["expected_image_ids"]).column("expected_image_ids").to_pylist()
    if not ids or not all(lists):
        raise ContractError(f"{path} holds no golden picture, or one that expects nothing; build the release again")
    found = index.search(vectors, min(max(map(len, lists)), len(image_ids))).rows
    for image_id, rows, expected in zip(ids, found, map(set, lists), strict=True):
        got = {image_ids[int(row)] for row in rows if row >= 0}
        if len(got & expected) < MIN_OVERLAP * len(expected):
            raise ContractError(
                f"{path}: golden picture {image_id} finds {len(got & expected)} of the {len(expected)} expected images; "
                "the index is not the release's"
            )


def _preprocessed(pictures: list[bytes], preprocessing: PreprocessingSpec) -> NDArray[np.uint8]:
    side = decoding_side(preprocessing)
    return np.stack([preprocess(decode_image(p, minimum_side=side), preprocessing) for p in pictures])
