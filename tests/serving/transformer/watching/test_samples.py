"""The sample of queries: bounded, fair, whole files of the table; and the watch over the index."""

from __future__ import annotations

import datetime
import threading

import numpy as np
from prometheus_client import CollectorRegistry

from components.shared.files.tables import QUERY_SAMPLES, read_table
from serving.server.metrics import ServerMetrics
from serving.transformer.watching.metrics import TransformerMetrics
from serving.transformer.watching.recall import RecallWatch
from serving.transformer.watching.samples import QuerySamples

NOON = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def row(number: int) -> dict:
    return {
        "query_id": f"q-{number}", "release_id": "r-1", "space_id": "s-1", "country": None, "top_score": 0.5,
        "results": 20, "width": 10, "height": 20, "bytes": 300, "format": "jpeg", "brightness": 0.5, "contrast": 0.1,
        "sharpness": 0.2, "saturation": 0.3,
    }  # fmt: skip


def offer(samples: QuerySamples, values: dict, embedding: np.ndarray, at: datetime.datetime) -> None:
    """Offer a query as the transformer does: only if its mark may come into the sample."""
    if (mark := samples.draw(at)) is not None:
        samples.offer(mark, values, embedding, at)


def test_hours_become_whole_files(tmp_path):
    samples = QuerySamples(tmp_path, arm="b", per_hour=3, seed=0)
    for number in range(2):
        offer(samples, row(number), np.array([0.6, 0.8], np.float32), NOON)
    samples.write_finished(NOON + datetime.timedelta(minutes=29))
    assert not list(tmp_path.iterdir())
    samples.write_finished(NOON + HOUR)
    offer(samples, row(9) | {"top_score": None}, np.array([0.6, 0.8], np.float32), NOON + HOUR)
    samples.stop()
    samples.stop()
    early, late = sorted(tmp_path.iterdir())
    assert early.name.startswith("query-samples-b-20260301T12-")
    table = read_table(early, QUERY_SAMPLES)
    assert sorted(table.column("query_id").to_pylist()) == ["q-0", "q-1"]
    np.testing.assert_allclose(table.column("embedding").to_pylist()[0], [0.6, 0.8], rtol=1e-6)
    assert set(table.column("arm").to_pylist()) == {"b"}
    assert read_table(late, QUERY_SAMPLES).column("at").to_pylist() == [NOON + HOUR]


def test_an_hour_that_nobody_closed_is_not_lost(tmp_path):
    samples = QuerySamples(tmp_path, arm="a", per_hour=3)
    offer(samples, row(0), np.ones(1, np.float32), NOON)
    offer(samples, row(1), np.ones(1, np.float32), NOON + 3 * HOUR)
    samples.stop()
    assert len(list(tmp_path.iterdir())) == 2


def test_every_query_has_the_same_chance(tmp_path):
    hits = np.zeros(50)
    for seed in range(400):
        samples = QuerySamples(tmp_path / str(seed), arm="a", per_hour=10, seed=seed)
        for number in range(50):
            offer(samples, row(number), np.ones(1, np.float32), NOON)
        for _, _, kept in samples._hour.kept:
            hits[int(kept["query_id"][2:])] += 1
    # Each is kept with probability 0.2: 80 ± 8 of 400; 5 standard deviations for 50 of them.
    assert hits.sum() == 4_000
    assert np.abs(hits - 80).max() < 40


def test_who_comes_late_seldom_comes_in_and_a_new_hour_begins_anew(tmp_path):
    samples = QuerySamples(tmp_path, arm="a", per_hour=5, seed=0)
    for number in range(1_000):
        offer(samples, row(number), np.ones(1, np.float32), NOON)
    assert sum(samples.draw(NOON) is None for _ in range(1_000)) > 950
    assert all(samples.draw(NOON + HOUR) is not None for _ in range(1_000))
    slow = samples.draw(NOON + HOUR)
    for number in range(5):
        samples.offer(2.0, row(number), np.ones(1, np.float32), NOON + HOUR)  # keys above any that is drawn
    samples.offer(slow, row(9), np.ones(1, np.float32), NOON + HOUR)
    samples.stop()
    (late,) = tmp_path.glob("*T13-*")
    assert sorted(read_table(late, QUERY_SAMPLES).column("query_id").to_pylist()) == [f"q-{n}" for n in range(5)]


def test_a_full_disk_loses_the_sample_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    samples = QuerySamples(tmp_path / "file", arm="a", per_hour=3)
    offer(samples, row(0), np.ones(1, np.float32), NOON)
    samples.stop()


class Index:
    release_id = "r-1"

    def __init__(self) -> None:
        self.asked, self.gate = 0, threading.Event()

    def recall_at_10(self, vector) -> float:
        self.asked += 1
        self.gate.wait(20)
        return 0.5 if self.asked % 2 else 1.0


def test_recall_is_measured_one_at_a_time_and_shown():
    registry, index = CollectorRegistry(), Index()
    watch = RecallWatch(1.0, TransformerMetrics("a", ServerMetrics(registry=registry)), seed=0)
    watch.offer(index, np.ones(1, np.float32))
    for _ in range(20):
        watch.offer(index, np.ones(1, np.float32))  # busy: these pass by
    index.gate.set()
    watch.stop()
    assert index.asked == 1
    labels = {"release_id": "r-1", "arm": "a"}
    assert registry.get_sample_value("visual_search_online_index_recall_at_10", labels) == 0.5
    assert registry.get_sample_value("visual_search_online_index_recall_queries_total", labels) == 1


def test_no_share_no_search():
    index = Index()
    watch = RecallWatch(0.0, TransformerMetrics("a", ServerMetrics()))
    for _ in range(100):
        watch.offer(index, np.ones(1, np.float32))
    watch.stop()
    assert index.asked == 0
