from __future__ import annotations

import faiss
import numpy as np
import pytest

from components.indexing.parameters import IndexingParameters
from components.indexing.step import build_index
from components.indexing.verify import check_blocks, sampled_rows, verify_index
from components.shared.errors import ContractError, PoisonedVectorError
from components.shared.vectors.search import CatalogueIndex, read_index_spec
from support.factories.basics import make_vectors

VECTORS = make_vectors(900, 16, spread=0.4)
KINDS = ("exact", "exact_f16", "hnsw", "ivf_flat", "pq", "ivf_pq", "ivf_hnsw_pq")


@pytest.fixture(params=KINDS)
def directory(tmp_path, request):
    faiss.omp_set_num_threads(1)
    build_index(tmp_path, VECTORS, 50, IndexingParameters(kind=request.param))
    return tmp_path


def verify(directory, vectors, built):
    verify_index(directory, read_index_spec(directory), vectors, built, seed=0)


def test_a_good_index_passes(directory):
    verify(directory, VECTORS, CatalogueIndex.open(directory))


def test_an_index_of_other_vectors_is_refused_with_the_row(directory):
    others = VECTORS.copy()
    rows = sampled_rows(900, 256, 0)
    others[rows[5]] = -others[rows[5]]
    with pytest.raises(ContractError, match=f"row {rows[5]} of the index is not the vector that went in"):
        verify(directory, others, CatalogueIndex.open(directory))


def test_an_index_that_answers_otherwise_than_the_built_one_is_refused(tmp_path, directory):
    """The index in memory was built of the same vectors in another order."""
    order = np.random.default_rng(0).permutation(900)
    (tmp_path / "other").mkdir()
    spec = read_index_spec(directory)
    build_index(tmp_path / "other", VECTORS[order], 50, IndexingParameters(kind=spec.kind))
    with pytest.raises(ContractError, match="answers row"):
        verify(directory, VECTORS, CatalogueIndex.open(tmp_path / "other"))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 10_000.0])
def test_blocks_are_checked_to_the_last_row(monkeypatch, value):
    monkeypatch.setattr("components.indexing.verify.BLOCK_ROWS", 64)
    check_blocks(VECTORS)
    for row in (0, 63, 64, 899):
        spoilt = VECTORS.copy()
        spoilt[row] = value * VECTORS[row] if value else 0
        with pytest.raises(PoisonedVectorError, match=f"row {row} ") as caught:
            check_blocks(spoilt)
        assert caught.value.row == row


def test_samples_are_distinct_sorted_and_reproducible():
    rows = sampled_rows(10_000, 300, 4)
    assert len(np.unique(rows)) == 300
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, sampled_rows(10_000, 300, 4))
    np.testing.assert_array_equal(sampled_rows(5, 300, 4), np.arange(5))
