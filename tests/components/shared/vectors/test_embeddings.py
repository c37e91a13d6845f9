from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import (
    ContractError,
    PoisonedVectorError,
    SpaceMismatchError,
    UnfinishedArtifactError,
)
from components.shared.vectors.embeddings import (
    EmbeddingsSpec,
    check_vectors,
    normalise,
    read_all_embeddings,
    read_embeddings,
    write_embeddings,
    write_embeddings_spec,
)
from support.factories.basics import make_vectors

SPACE = "s-0123456789abcdef"


def write_shards(directory, groups, *, space=SPACE, dimension=8, rows=None):
    """Write one shard for each list of ids, and the description; return the vectors."""
    vectors = make_vectors(sum(map(len, groups)), dimension)
    start = 0
    for number, ids in enumerate(groups):
        path = directory / f"embeddings-{number:05d}.parquet"
        write_embeddings(path, ids, vectors[start : start + len(ids)], space_id=space)
        start += len(ids)
    spec = EmbeddingsSpec(
        space_id=SPACE,
        dimension=dimension,
        rows=start if rows is None else rows,
        shards=[f"embeddings-{number:05d}.parquet" for number in range(len(groups))],
    )
    write_embeddings_spec(directory, spec)
    return vectors


def spoil(vectors, poison):
    """Return the vectors with row 3 made unusable."""
    spoilt = vectors.copy()
    spoilt[3] = {"nan": np.nan, "inf": np.inf, "zero": 0.0, "long": vectors[3] * 1e4, "short": vectors[3] * 0.5}[poison]
    return spoilt


POISONS = ("nan", "inf", "zero", "long", "short")


@pytest.mark.parametrize("poison", POISONS)
def test_check_names_row_and_image(poison):
    ids = [f"image-{row}" for row in range(6)]
    with pytest.raises(PoisonedVectorError, match=r"shard: row 3 \(image image-3\)") as caught:
        check_vectors(spoil(make_vectors(6, 8), poison), ids, source="shard")
    assert (caught.value.row, caught.value.image_id) == (3, "image-3")


def test_check_names_a_repeated_image():
    with pytest.raises(PoisonedVectorError, match="row 2 repeats image a") as caught:
        check_vectors(make_vectors(4, 8), ["a", "b", "a", "b"], source="shard")
    assert (caught.value.row, caught.value.image_id) == (2, "a")


@pytest.mark.parametrize("poison", POISONS)
def test_poisoned_vectors_are_neither_written_nor_read(tmp_path, poison):
    ids, vectors = list("abcdef"), spoil(make_vectors(6, 8), poison)
    path = tmp_path / "shard.parquet"
    with pytest.raises(PoisonedVectorError, match=r"row 3 \(image d\)"):
        write_embeddings(path, ids, vectors, space_id=SPACE)
    assert not list(tmp_path.iterdir())
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8)
    pq.write_table(pa.table({"image_id": ids, "embedding": column}), path)
    with pytest.raises(PoisonedVectorError, match=r"row 3 \(image d\)"):
        read_embeddings(path)


@given(st.integers(1, 40), st.integers(1, 16), st.integers(0, 1000))
def test_write_then_read_is_identity(tmp_path_factory, n, d, seed):
    path = tmp_path_factory.mktemp("shard") / "e.parquet"
    ids, vectors = [f"{seed}/{row}" for row in range(n)], make_vectors(n, d, seed=seed)
    write_embeddings(path, ids, vectors, space_id=SPACE)
    read_ids, read = read_embeddings(path, space_id=SPACE)
    assert read_ids == ids
    np.testing.assert_array_equal(read, vectors)
    assert read.dtype == np.float32


def test_all_shards_are_read_in_order(tmp_path):
    vectors = write_shards(tmp_path, [["z", "a"], [], ["m"], ["c", "b"]])
    ids, read = read_all_embeddings(tmp_path, SPACE)
    assert ids == ["z", "a", "m", "c", "b"]
    np.testing.assert_array_equal(read, vectors)


def test_an_image_in_two_shards_is_named(tmp_path):
    write_shards(tmp_path, [["a", "b"], ["c", "b"]])
    with pytest.raises(PoisonedVectorError, match="row 3 repeats image b"):
        read_all_embeddings(tmp_path)


def test_another_space_is_refused(tmp_path):
    write_shards(tmp_path, [["a", "b"]])
    with pytest.raises(SpaceMismatchError, match="expected s-other") as caught:
        read_all_embeddings(tmp_path, "s-other")
    assert (caught.value.expected, caught.value.received) == ("s-other", SPACE)


def test_a_shard_of_another_space_is_refused(tmp_path):
    write_shards(tmp_path, [["a", "b"]], space="s-other")
    with pytest.raises(SpaceMismatchError, match="holds embeddings of space s-other"):
        read_all_embeddings(tmp_path)


@pytest.mark.parametrize("rows", [1, 3])
def test_more_or_fewer_rows_than_described_are_refused(tmp_path, rows):
    write_shards(tmp_path, [["a"], ["b"]], rows=rows)
    with pytest.raises(ContractError, match=r"holds (2|more) embeddings"):
        read_all_embeddings(tmp_path)


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(UnfinishedArtifactError, match="did not finish"):
        read_all_embeddings(tmp_path)
    write_shards(tmp_path, [["a"], ["b"]])
    (tmp_path / "embeddings-00001.parquet").write_bytes(b"PAR1 half of a file")
    with pytest.raises(ContractError, match="not a readable Parquet file"):
        read_all_embeddings(tmp_path)
    (tmp_path / "embeddings-00001.parquet").unlink()
    with pytest.raises(UnfinishedArtifactError, match="embeddings-00001"):
        read_all_embeddings(tmp_path)
    (tmp_path / "embeddings.json").write_text('{"rows": 2}')
    with pytest.raises(ContractError, match="does not describe embeddings"):
        read_all_embeddings(tmp_path)


@given(st.integers(1, 20), st.integers(1, 16), st.floats(1e-6, 1e6))
def test_normalised_rows_have_unit_norm(n, d, factor):
    vectors = make_vectors(n, d) * np.float32(factor)
    np.testing.assert_allclose(np.linalg.norm(normalise(vectors), axis=1), 1, atol=1e-5)


def test_a_row_without_direction_cannot_be_normalised():
    vectors = make_vectors(3, 4)
    vectors[1] = 0
    with pytest.raises(PoisonedVectorError, match="row 1"):
        normalise(vectors)
