"""Samples: what is read of the transformer's files and of a release, and what is left out."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.shared.errors import ContractError, DataError, PoisonedVectorError, SpaceMismatchError
from components.shared.files.tables import QUERY_SAMPLES, write_table
from components.shared.pictures.statistics import PictureStatistics
from components.shared.release.manifest import REFERENCE_FILE, read_manifest
from components.shared.release.reference import PICTURES_SCHEMA, write_reference_file
from components.shared.vectors.embeddings import read_embeddings
from monitoring.drift.samples import read_reference, read_window, window_of
from support.factories.drift_factory import make_inputs, make_sample, make_vectors
from support.factories.release_factory import make_release

AT = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def rows(vectors: np.ndarray, *, start: int = 0, **changes: object) -> list[dict[str, object]]:
    statistics = PictureStatistics(brightness=0.5, contrast=0.4, sharpness=0.01, saturation=0.3)
    row = {
        "release_id": "r-1", "space_id": "s-1", "arm": "champion", "country": None, "top_score": 0.9, "results": 10,
        "width": 400, "height": 200, "bytes": 8_000, "format": "jpeg", **vars(statistics),
    }  # fmt: skip
    return [
        {
            **row,
            "query_id": f"q-{start + n}",
            "at": AT + datetime.timedelta(hours=n),
            "embedding": v.tolist(),
            **changes,
        }
        for n, v in enumerate(vectors)
    ]


def write(path: Path, values: list[dict[str, object]]) -> Path:
    write_table(path, pa.Table.from_pylist(values, QUERY_SAMPLES.schema), QUERY_SAMPLES)
    return path


@pytest.fixture
def vectors() -> np.ndarray:
    return make_vectors(4, np.random.default_rng(0))


def test_several_files_are_one_window(tmp_path: Path, vectors: np.ndarray) -> None:
    files = [
        write(tmp_path / "b.parquet", rows(vectors[2:], start=2, arm="challenger")),
        write(tmp_path / "a.parquet", rows(vectors[:2])),
    ]
    window = read_window(files, space_id="s-1")
    assert window.ids == ("q-0", "q-1", "q-2", "q-3")
    np.testing.assert_array_equal(window.vectors, vectors)
    assert window.inputs is not None
    assert window.inputs.figures["aspect"][0] == 2
    assert window.inputs.figures["bytes_per_pixel"][0] == 0.1
    assert read_window(files, space_id="s-1", arm="challenger").ids == ("q-2", "q-3")
    late = AT + datetime.timedelta(hours=1)
    assert read_window(files, space_id="s-1", since=late).ids == ("q-1", "q-3")
    assert read_window(files, space_id="s-1", until=late).ids == ("q-0", "q-2")


def test_queries_of_another_space_are_left_out_or_refused(tmp_path: Path, vectors: np.ndarray) -> None:
    mixed = [*rows(vectors[:2]), *rows(vectors[2:], start=2, space_id="s-2")]
    path = write(tmp_path / "a.parquet", mixed)
    assert read_window([path], space_id="s-2").ids == ("q-2", "q-3")
    with pytest.raises(DataError, match="s-3"):
        read_window([path], space_id="s-3")
    with pytest.raises(DataError, match="0 files"):
        read_window([], space_id="s-1")
    with pytest.raises(SpaceMismatchError):
        window_of(pa.Table.from_pylist(mixed, QUERY_SAMPLES.schema))


def test_what_cannot_be_an_embedding_is_refused(vectors: np.ndarray) -> None:
    with pytest.raises(PoisonedVectorError):
        window_of(pa.Table.from_pylist(rows(2 * vectors), QUERY_SAMPLES.schema))
    uneven = [*rows(vectors[:1]), *rows(np.eye(1, 5), start=1)]
    with pytest.raises(ContractError, match="several lengths"):
        window_of(pa.Table.from_pylist(uneven, QUERY_SAMPLES.schema))


def test_reference_with_and_without_pictures(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    manifest = read_manifest(release)
    assert read_reference(release, manifest).inputs is None
    ids, vectors = read_embeddings(release / REFERENCE_FILE)
    picture = {name: value for name, value in rows(vectors[:1])[0].items() if name in PICTURES_SCHEMA.names}
    pictures = pa.Table.from_pylist([{}, *[picture] * (len(ids) - 1)], PICTURES_SCHEMA)
    write_reference_file(tmp_path / "release" / REFERENCE_FILE, ids, vectors, pictures, space_id=manifest.space_id)
    reference = read_reference(release, manifest)
    assert (reference.ids, reference.space_id) == (tuple(ids), manifest.space_id)
    assert reference.inputs is not None
    assert np.isnan(reference.inputs.figures["pixels"][0])
    assert len(reference.inputs.known().formats) == len(ids) - 1


def test_a_part_keeps_rows_together() -> None:
    rng = np.random.default_rng(0)
    whole = make_sample(make_vectors(50, rng), make_inputs(50, rng))
    part = whole.at_most(10, seed=1)
    assert whole.inputs is not None
    assert part.inputs is not None
    for place, name in enumerate(part.ids):
        row = whole.ids.index(name)
        np.testing.assert_array_equal(part.vectors[place], whole.vectors[row])
        assert part.inputs.figures["sharpness"][place] == whole.inputs.figures["sharpness"][row]
    assert whole.at_most(10, seed=1).ids == part.ids
    twice = make_sample(np.concatenate([whole.vectors, whole.vectors]))
    assert len(twice.distinct().ids) == 50
