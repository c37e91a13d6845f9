"""Golden pictures: a few encoded pictures with the embedding and the neighbours that they must give.

They are checked wherever a release is loaded, and so find out a decoder, a preprocessing, an encoder or an index that is
not the release's, whatever the digests say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.decoder import decode_image, decoding_side
from components.shared.embeddings import Vectors, check_vectors, read_embeddings
from components.shared.encoder import OnnxEncoder
from components.shared.errors import ContractError
from components.shared.files import whole_file
from components.shared.preprocessing import PreprocessingSpec, preprocess
from components.shared.search import CatalogueIndex

MIN_COSINE = 0.9995  # decoders and arithmetic differ a little between CPUs; another encoder is far below
MIN_OVERLAP = 0.8  # share of the expected ids; ties and rounding may move the last ones


def embed_pictures(pictures: list[bytes], encoder: OnnxEncoder, preprocessing: PreprocessingSpec) -> Vectors:
    """Decode, preprocess and embed encoded pictures, in the one way of the product: (p, d) float32."""
    side = decoding_side(preprocessing)
    return encoder.encode(np.stack([preprocess(decode_image(p, minimum_side=side), preprocessing) for p in pictures]))


def write_golden(
    path: Path,
    *,
    image_ids: list[str],
    pictures: list[bytes],
    embeddings: np.ndarray,
    expected: list[list[str]],
    space_id: str,
) -> None:
    """Write golden pictures: encoded bytes, the embedding and the ids of the neighbours that they must give.

    Args:
        path: file to write.
        image_ids: g ids of public, appropriate images.
        pictures: their encoded bytes (the decoder is part of what is checked).
        embeddings: (g, d) float32.
        expected: ids in rank order, for each.
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


def check_golden(
    path: Path,
    *,
    space_id: str,
    encoder: OnnxEncoder,
    preprocessing: PreprocessingSpec,
    index: CatalogueIndex,
    image_ids: list[str],
) -> None:
    """Decode, embed and search every golden picture and compare with what was found when the release was made.

    Args:
        path: what `write_golden` wrote.
        space_id: space of the encoder.
        encoder: pictures → embeddings.
        preprocessing: of the encoder.
        index: embeddings → rows.
        image_ids: n ids, by row.

    Raises:
        ContractError: naming the picture and how far it is off.
    """
    ids, expected_vectors = read_embeddings(path, space_id=space_id)
    rows = pq.read_table(path, columns=["picture", "expected_image_ids"]).to_pylist()
    if not ids or not all(row["expected_image_ids"] for row in rows):
        raise ContractError(f"{path} holds no golden picture, or one that expects nothing; build the release again")
    vectors = embed_pictures([row["picture"] for row in rows], encoder, preprocessing)
    cosines = np.einsum("gd,gd->g", vectors, expected_vectors)
    k = max(len(row["expected_image_ids"]) for row in rows)
    found = index.search(vectors, min(k, len(image_ids))).rows
    for place, (image_id, row) in enumerate(zip(ids, rows, strict=True)):
        if not cosines[place] >= MIN_COSINE:
            raise ContractError(
                f"{path}: golden picture {image_id} gives an embedding of cosine {cosines[place]:.4f} to the recorded one "
                f"(at least {MIN_COSINE}); decoder, preprocessing or encoder differ from the release's"
            )
        expected = set(row["expected_image_ids"])
        got = {image_ids[int(r)] for r in found[place] if r >= 0}
        if len(got & expected) < MIN_OVERLAP * len(expected):
            raise ContractError(
                f"{path}: golden picture {image_id} finds {len(got & expected)} of the {len(expected)} expected images; "
                "the index is not the release's"
            )
