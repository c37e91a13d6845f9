"""What serves: a real fault of encoder, index, catalogue or preprocessing, and the cause that is named."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from components.shared.pictures.decoder import decode_image
from components.shared.pictures.preprocessing import preprocess
from components.shared.release.manifest import open_release
from components.shared.release.served import open_in_force
from components.shared.vectors.embeddings import normalise
from components.shared.vectors.encoder import OnnxEncoder
from components.shared.vectors.index_spec import Forecast, IndexSpec, RecallFacts, SearchSettings
from components.shared.vectors.search import CatalogueIndex, exact_search
from monitoring.assessment import Evidence, assess
from monitoring.diagnosis.catalogue import catalogue_lag
from monitoring.diagnosis.decision import diagnose
from monitoring.diagnosis.encoder import Expected, JudgedQueries, encoder_quality, judged_hits, sign_test
from monitoring.diagnosis.golden import LiveEncoder, golden_scores, golden_vectors
from monitoring.diagnosis.index import imbalance, index_recall, list_sizes, quantisation_errors, quantiser_age
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.findings import Concern
from support.factories.drift_factory import make_vectors
from support.factories.release_factory import make_encoder, make_release

PARAMETERS = DiagnosisParameters()
NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def causes(*concerns: Concern) -> list[tuple[str, str]]:
    return [(found.cause, found.remedy) for found in diagnose(concerns)]


def lists(vectors: np.ndarray, *, nprobe: int = 8, target: float = 0.95) -> CatalogueIndex:
    """Return an index of 16 inverted lists."""
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    index.make_direct_map()
    spec = IndexSpec(
        kind="ivf_flat", factory="IVF16,Flat", dimension=vectors.shape[1], rows=len(vectors),
        search=SearchSettings(nprobe=nprobe), index_bytes=1,
        recall=RecallFacts(target=target, reached=True, ann_recall_at_10=0.99, standard_error=0.001, queries=100),
        forecast=Forecast(
            ram_bytes=1, disk_bytes=1, bytes_per_vector=1, build_cpu_seconds=0, build_ram_bytes=1, expected_recall=1
        ),
    )  # fmt: skip
    return CatalogueIndex(index, spec)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def test_recall_is_the_share_of_the_exact_neighbours(rng: np.random.Generator) -> None:
    vectors, queries = make_vectors(2_000, rng), make_vectors(60, rng)
    index = lists(vectors, nprobe=1)
    expected = np.mean([
        len(set(f) & set(e)) / 10
        for f, e in zip(index.search(queries, 10).rows, exact_search(vectors, queries, 10).rows, strict=True)
    ])  # fmt: skip
    assert index_recall(index, queries, PARAMETERS).value == pytest.approx(expected)


def test_index_recall_fell(rng: np.random.Generator) -> None:
    vectors = normalise(rng.normal(size=(2_000, 32)))  # no clusters: one list of sixteen holds few neighbours
    queries = normalise(rng.normal(size=(200, 32)))
    assert causes(index_recall(lists(vectors, nprobe=16), queries, PARAMETERS)) == []
    found = index_recall(lists(vectors, nprobe=1), queries, PARAMETERS)
    assert found.state == "alarm"
    assert causes(found) == [("index_recall_fell", "reindex")]
    assert index_recall(lists(vectors), queries[:0], PARAMETERS).state == "unknown"


def test_quantiser_aged(rng: np.random.Generator) -> None:
    index = lists(make_vectors(3_000, rng))
    fresh = quantiser_age(index, make_vectors(300, rng), PARAMETERS)
    assert [concern.state for concern in fresh] == ["ok", "ok"]
    place = normalise(np.random.default_rng(5).normal(size=32)[None])
    strange = normalise(place + rng.normal(0, 0.1, (300, 32)))
    aged = quantiser_age(index, strange, PARAMETERS)
    assert [concern.state for concern in aged] == ["alarm", "alarm"]
    fallen = Concern(name="index_recall", topic="index", state="alarm", sentence="fell")
    assert causes(*aged, fallen) == [("quantiser_aged", "retrain_quantiser")]
    assert quantiser_age(index, strange[:20], PARAMETERS)[0].state == "unknown"


def test_figures_of_lists_and_codes_by_loops(rng: np.random.Generator) -> None:
    vectors = make_vectors(500, rng)
    base = lists(vectors).faiss_index
    centroids = base.quantizer.reconstruct_n(0, 16)
    nearest = np.argmax(vectors @ centroids.T, axis=1)
    expected = [((v - centroids[c]) ** 2).sum() for v, c in zip(vectors, nearest, strict=True)]
    np.testing.assert_allclose(quantisation_errors(base, vectors), expected, rtol=1e-4)
    np.testing.assert_array_equal(list_sizes(base), np.bincount(nearest, minlength=16))
    assert imbalance(np.array([5, 5, 5])) == 1
    assert imbalance(np.array([9, 0, 0])) == 3
    coded = faiss.index_factory(32, "IVF4,PQ8x4", faiss.METRIC_INNER_PRODUCT)
    coded.train(vectors)
    near = coded.sa_decode(coded.sa_encode(vectors))
    np.testing.assert_allclose(quantisation_errors(coded, vectors), ((vectors - near) ** 2).sum(axis=1), rtol=1e-5)


def test_hits_of_judged_queries_by_hand(rng: np.random.Generator) -> None:
    vectors = make_vectors(50, rng)
    ids = [f"i{row}" for row in range(50)]
    order = np.argsort(-(vectors[:3] @ vectors.T), axis=1)
    relevant = (frozenset({ids[order[0][1]]}), frozenset({ids[order[1][40]]}), frozenset({"absent"}))
    queries = JudgedQueries(tuple(ids[:3]), vectors[:3], relevant)
    np.testing.assert_array_equal(judged_hits(queries, lists(vectors, nprobe=16), ids, 5), [1, 0, np.nan])


def test_encoder_worse(rng: np.random.Generator) -> None:
    promised = Expected(0.9, 0.87, 0.93)
    good, bad = (rng.random(200) < 0.9).astype(float), (rng.random(200) < 0.6).astype(float)
    assert causes(*encoder_quality(good, promised, PARAMETERS)) == []
    assert causes(*encoder_quality(bad, promised, PARAMETERS)) == [("encoder_worse", "retrain")]
    assert causes(*encoder_quality(bad, promised, PARAMETERS, previous=good)) == [("encoder_worse", "roll_back")]
    assert encoder_quality(bad[:10], promised, PARAMETERS)[0].state == "unknown"


def test_sign_test_by_counting() -> None:
    from math import comb

    assert sign_test(7, 2) == pytest.approx(sum(comb(9, lost) for lost in range(7, 10)) / 2**9)
    assert sign_test(0, 0) == 1.0


def test_catalogue_lags() -> None:
    def listing(waiting: int, hours: float) -> pa.Table:
        times = [NOW - datetime.timedelta(hours=hours)] * 100
        return pa.table({
            "image_id": [f"i{row}" for row in range(100)],
            "added_at": pa.array(times, pa.timestamp("us", tz="UTC")),
        })  # fmt: skip

    indexed = {f"i{row}" for row in range(90)}
    found = catalogue_lag(listing(10, 50), indexed, PARAMETERS, now=NOW)
    assert [(c.name, c.state, c.value) for c in found] == [
        ("indexed_share", "alarm", pytest.approx(0.9)), ("oldest_waiting", "alarm", pytest.approx(50)),
    ]  # fmt: skip
    assert causes(*found) == [("catalogue_lags", "reindex")]
    everything = indexed | {f"i{row}" for row in range(90, 100)}
    assert causes(*catalogue_lag(listing(0, 50), everything, PARAMETERS, now=NOW)) == []


@contextmanager
def live(encoder: OnnxEncoder, release: Path, *, mirrored: bool = False) -> Iterator[str]:
    """Serve the encoder by the Open Inference Protocol and a search, as the containers do; `mirrored`: a fault."""
    opened = open_release(release, threads=1)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = self.infer(body) if "/v2/" in self.path else self.predict(body)
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def infer(self, body: bytes) -> dict:
            tensor = json.loads(body)["inputs"][0]
            images = np.array(tensor["data"], np.uint8).reshape(tensor["shape"])
            vectors = encoder.encode(images)
            output = {"name": "embeddings", "shape": list(vectors.shape), "data": vectors.ravel().tolist()}
            return {"outputs": [output | {"datatype": "FP32"}]}

        def predict(self, body: bytes) -> dict:
            square = preprocess(decode_image(body), opened.manifest.encoder.preprocessing)
            square = np.ascontiguousarray(square[:, ::-1]) if mirrored else square
            found = opened.index.search(encoder.encode(square[None]), 5)
            ids = opened.items.column("image_id").to_pylist()
            results = [
                {"image_id": ids[int(row)], "score": float(score)}
                for row, score in zip(found.rows[0], found.scores[0], strict=True)
            ]
            return {"predictions": [{"space_id": opened.manifest.space_id, "results": results}]}

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("golden"))


def test_preprocessing_differs(release: Path, tmp_path: Path) -> None:
    opened = open_release(release, threads=1)

    def scores(url: str) -> Concern:
        return golden_scores(release, opened.manifest, opened.index, opened.items, url, PARAMETERS)

    own = golden_vectors(release, opened.manifest, None, PARAMETERS)
    assert (own.state, own.value) == ("ok", pytest.approx(1, abs=1e-4))
    with live(opened.encoder, release) as url:
        assert golden_vectors(release, opened.manifest, LiveEncoder(url), PARAMETERS).state == "ok"
        assert scores(url).state == "ok"
    with live(opened.encoder, release, mirrored=True) as url:
        assert causes(scores(url)) == [("preprocessing_differs", "roll_back")]
    make_encoder(tmp_path / "other", seed=1)
    other = OnnxEncoder(tmp_path / "other" / "encoder.onnx", threads=1)
    with live(other, release) as url:
        found = golden_vectors(release, opened.manifest, LiveEncoder(url), PARAMETERS)
        assert found.state == "alarm"
        assert causes(found) == [("preprocessing_differs", "roll_back")]
    assert golden_vectors(release, opened.manifest, LiveEncoder(url), PARAMETERS).state == "unknown"
    assert scores(url).state == "unknown"


def test_an_arm_is_assessed(release: Path) -> None:
    opened = open_release(release, threads=1)
    listing = pa.table({"image_id": [*opened.items.column("image_id").to_pylist(), *(f"new-{i}" for i in range(9))]})
    report, _ = assess(Evidence(open_in_force(release), listing=listing), arm="champion", at=NOW)
    assert (report.release_id, report.arm, report.window) == (opened.manifest.release_id, "champion", 0)
    assert {concern.name: concern.state for concern in report.concerns} == {
        "drift": "unknown", "golden_vectors": "ok", "indexed_share": "alarm",
    }  # fmt: skip
    assert [found.cause for found in report.diagnoses] == ["catalogue_lags"]
