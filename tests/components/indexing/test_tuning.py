from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.indexing.parameters import IndexingParameters
from components.indexing.step import build_index
from components.shared.truth.metrics import ann_recall_at_k
from components.shared.vectors.search import CatalogueIndex, exact_search
from support.factories.basics import make_vectors

D = 16
TUNED_KINDS = ("hnsw", "ivf_flat", "pq", "ivf_pq", "ivf_hnsw_pq")
ALL = make_vectors(5000, D, clusters=400, spread=0.5, seed=2)
VECTORS, STRANGERS = ALL[:4000], ALL[4000:]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    faiss.omp_set_num_threads(1)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 999))
def test_recall_is_the_share_counted_by_loops(q, k, seed):
    rng = np.random.default_rng(seed)
    found = np.array([rng.choice(20, k, replace=False) for _ in range(q)])
    truth = np.array([rng.choice(20, k, replace=False) for _ in range(q)])
    found[rng.random(found.shape) < 0.2] = -1
    expected = [sum(row in found[i].tolist() for row in truth[i].tolist()) / k for i in range(q)]
    np.testing.assert_allclose(ann_recall_at_k(found, truth, truth.shape[1]), expected)


def test_places_that_cannot_be_filled_do_not_count():
    truth, found = np.array([[4, -1, -1]]), np.array([[-1, 4, -1]])
    np.testing.assert_array_equal(ann_recall_at_k(found, truth, truth.shape[1]), [1.0])
    np.testing.assert_array_equal(ann_recall_at_k(np.array([[-1, 5, -1]]), truth, truth.shape[1]), [0.0])


@pytest.mark.parametrize("kind", TUNED_KINDS)
@pytest.mark.parametrize("target", [0.8, 0.95])
def test_strangers_get_the_recall_that_was_asked_for(tmp_path, kind, target):
    build_index(tmp_path, VECTORS, 400, IndexingParameters(kind=kind, recall_target=target))
    index = CatalogueIndex.open(tmp_path)
    facts = index.spec.recall
    assert facts.reached
    assert facts.ann_recall_at_10 - facts.standard_error >= target
    assert facts.queries == 400
    recalls = ann_recall_at_k(index.search(STRANGERS, 10).rows, exact_search(VECTORS, STRANGERS, 10).rows, 10)
    assert abs(recalls.mean() - facts.ann_recall_at_10) < 4 * facts.standard_error + 0.01
    assert recalls.mean() >= target - 0.02


@pytest.mark.parametrize("kind", TUNED_KINDS)
def test_the_cheapest_sufficient_point_of_the_curve_is_in_force(tmp_path, kind):
    build_index(tmp_path, VECTORS, 400, IndexingParameters(kind=kind, recall_target=0.9))
    spec = CatalogueIndex.open(tmp_path).spec
    point = next(point for point in spec.curve if point.settings == spec.search)
    clearly_good = [p for p in spec.curve if p.ann_recall_at_10 - 2 * spec.recall.standard_error >= 0.9]
    assert all(point.cost_microseconds <= other.cost_microseconds for other in clearly_good)
    assert all(0 <= p.ann_recall_at_10 <= 1 and p.rows_per_query <= 4000 for p in spec.curve)
    assert max(p.ann_recall_at_10 for p in spec.curve) > 0.98


@pytest.mark.parametrize(
    ("kind", "dial", "target"),
    [("hnsw", "ef_search", 0.9985), ("ivf_flat", "nprobe", 0.97), ("ivf_hnsw_pq", "nprobe", 0.97)],
)
def test_a_little_less_work_than_is_chosen_misses_the_target(tmp_path, kind, dial, target):
    build_index(tmp_path, VECTORS, 400, IndexingParameters(kind=kind, recall_target=target))
    spec = CatalogueIndex.open(tmp_path).spec
    chosen = getattr(spec.search, dial)
    less = [p for p in spec.curve if p.settings.rescored == spec.search.rescored and getattr(p.settings, dial) < chosen]
    nearest = max(less, key=lambda point: getattr(point.settings, dial))
    assert chosen - getattr(nearest.settings, dial) <= max(1, chosen / 24)
    assert nearest.ann_recall_at_10 - spec.recall.standard_error < target + 1e-3
    if kind == "ivf_hnsw_pq":
        assert spec.search.quantizer_ef_search == max(32, 2 * chosen)


def test_a_target_out_of_reach_is_said_and_the_most_is_chosen(tmp_path, capsys):
    """Short codes of vectors without structure cannot find the top 10 among 400 candidates."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(6000, 64)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    parameters = IndexingParameters(kind="ivf_pq", recall_target=0.99, memory_budget_bytes=210_000)
    summary = build_index(tmp_path, noise, 200, parameters)
    spec = CatalogueIndex.open(tmp_path).spec
    assert not summary["recall_target_reached"]
    assert spec.recall.ann_recall_at_10 == max(p.ann_recall_at_10 for p in spec.curve)
    assert "is the most that" in capsys.readouterr().err


def test_where_codes_do_not_reach_the_target_a_finer_index_is_built(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("components.indexing.choose.EXACT_VALUES", 1000)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(6000, 64)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    monkeypatch.setattr("components.indexing.tuning.RESCORED", (10, 20))
    summary = build_index(tmp_path, noise, 200, IndexingParameters(recall_target=0.99))
    assert (summary["kind"], summary["recall_target_reached"]) == ("exact_f16", True)
    assert "building SQfp16 instead" in capsys.readouterr().err


@pytest.mark.parametrize("kind", TUNED_KINDS)
def test_without_queries_the_most_work_is_done(tmp_path, kind):
    build_index(tmp_path, VECTORS[:600], 0, IndexingParameters(kind=kind))
    index = CatalogueIndex.open(tmp_path)
    assert (index.spec.recall.queries, index.spec.recall.reached) == (0, False)
    recalls = ann_recall_at_k(index.search(STRANGERS, 10).rows, exact_search(VECTORS[:600], STRANGERS, 10).rows, 10)
    assert recalls.mean() > 0.98
