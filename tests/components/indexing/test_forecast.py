from __future__ import annotations

import faiss
import pytest

from components.indexing.build import fill, train, write_index
from components.indexing.choose import choose
from components.indexing.forecast import IndexPlan, describe, forecast
from components.indexing.parameters import IndexingParameters
from support.factories.basics import make_vectors


@pytest.mark.parametrize("kind", ["exact", "exact_f16", "hnsw", "ivf_flat", "pq", "ivf_pq", "ivf_hnsw_pq"])
def test_the_forecast_of_memory_is_what_the_index_takes(tmp_path, kind):
    faiss.omp_set_num_threads(1)
    vectors = make_vectors(12_000, 32)
    plan, needs = choose(12_000, 32, IndexingParameters(kind=kind))
    index = train(plan, vectors, training_rows_per_list=64, seed=0)
    fill(index, vectors)
    write_index(index, tmp_path / "index.faiss")
    size = (tmp_path / "index.faiss").stat().st_size
    assert needs.ram_bytes == pytest.approx(size, rel=0.08)
    mapped = 2 * 12_000 * 32 if plan.maps_vectors else 0
    assert needs.disk_bytes == pytest.approx(size + mapped, rel=0.08)


def test_figures_at_a_million_are_those_that_were_measured():
    """The table of measurements: bytes by vector, and CPU seconds of the build."""
    measured = {
        IndexPlan("exact", 10**6, 128): (512, 0.2),
        IndexPlan("hnsw", 10**6, 128): (656, 291),
        IndexPlan("ivf_pq", 10**6, 128, 4096, 64): (300, 15),
        IndexPlan("pq", 10**6, 128, 1, 64): (296, 4),
    }
    for plan, (bytes_per_vector, seconds) in measured.items():
        needs = forecast(plan, training_rows_per_list=64, recall_target=0.95)
        assert needs.bytes_per_vector == pytest.approx(bytes_per_vector, rel=0.05), plan
        assert needs.build_cpu_seconds == pytest.approx(seconds, rel=0.5), plan


def test_the_line_for_people_says_all():
    plan = IndexPlan("ivf_pq", 10**6, 128, 4096, 64)
    line = describe(plan, forecast(plan, training_rows_per_list=64, recall_target=0.95))
    for part in (
        "1,000,000 × 128",
        "IVF4096,PQ64x4fs,Refine(SQfp16)",
        "MB of memory",
        "on disk",
        "of CPU",
        "recall@10",
    ):
        assert part in line
