"""The reference sample: statistics of its pictures are those of a query that sends the same picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from components.registration.reference import write_reference
from components.shared.errors import ContractError
from components.shared.files.tables import ITEMS, read_table
from components.shared.pictures.decoder import decode_picture, decoding_side
from components.shared.pictures.statistics import picture_statistics
from components.shared.release.reference import PICTURES_SCHEMA, read_reference_pictures, write_reference_file
from components.shared.vectors.embeddings import read_all_embeddings, read_embeddings, write_embeddings
from components.shared.vectors.encoder import read_encoder_spec
from support.factories.release_factory import make_parts


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    return make_parts(tmp_path, items=4, views=3)


def write(parts: dict[str, Path], path: Path, rows: int = 8) -> int:
    spec = read_encoder_spec(parts["encoder"])
    return write_reference(
        path,
        parts["embeddings"],
        read_table(parts["index"] / "items.parquet", ITEMS),
        space_id=spec.space_id,
        preprocessing=spec.preprocessing,
        rows=rows,
        seed=0,
    )


def test_each_picture_is_measured_as_a_query_would_be(parts: dict[str, Path], tmp_path: Path) -> None:
    assert write(parts, tmp_path / "reference.parquet") == 12
    ids, vectors = read_embeddings(
        tmp_path / "reference.parquet", space_id=read_encoder_spec(parts["encoder"]).space_id
    )
    all_ids, all_vectors = read_all_embeddings(parts["embeddings"])
    np.testing.assert_array_equal(vectors, all_vectors[[all_ids.index(i) for i in ids]])
    uris = {row["image_id"]: row["uri"] for row in read_table(parts["index"] / "items.parquet", ITEMS).to_pylist()}
    found = read_reference_pictures(tmp_path / "reference.parquet")
    assert found is not None
    assert found.num_rows == len(ids) == 8
    for image_id, row in zip(ids, found.to_pylist(), strict=True):
        data = Path(uris[image_id]).read_bytes()
        picture = decode_picture(data, minimum_side=decoding_side(read_encoder_spec(parts["encoder"]).preprocessing))
        assert (row["width"], row["height"], row["bytes"], row["format"]) == (
            picture.width, picture.height, len(data), picture.format,
        )  # fmt: skip
        for name, value in asdict(picture_statistics(picture.pixels)).items():
            assert row[name] == pytest.approx(value, rel=1e-6)


def test_a_picture_that_is_gone_keeps_its_embedding(parts: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "reference.parquet"
    uris = read_table(parts["index"] / "items.parquet", ITEMS).column("uri").to_pylist()
    Path(uris[0]).unlink()
    Path(uris[1]).write_bytes(b"no picture")
    write(parts, path, rows=12)
    assert len(read_embeddings(path)[0]) == 12
    found = read_reference_pictures(path)
    assert found is not None
    assert found.column("brightness").null_count == 2
    assert found.num_rows == 12


def test_references_without_statistics_stay_readable(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "old.parquet", ["a"], np.eye(1, 4, dtype=np.float32), space_id="s-1")
    assert read_reference_pictures(tmp_path / "old.parquet") is None


def test_a_picture_for_each_embedding(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="0 pictures for 1 embeddings"):
        write_reference_file(
            tmp_path / "new.parquet",
            ["a"],
            np.eye(1, 4, dtype=np.float32),
            PICTURES_SCHEMA.empty_table(),
            space_id="s-1",
        )
