from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.indexing.parameters import IndexingParameters
from components.indexing.step import build_index
from components.shared.errors import (
    ContractError,
    DamagedArtifactError,
    InputError,
    ParameterError,
    PoisonedVectorError,
    UnfinishedArtifactError,
    VisualSearchError,
)
from components.shared.vectors import search
from components.shared.vectors.search import (
    MAX_K,
    CatalogueIndex,
    RowFilter,
    SearchSettings,
    exact_search,
    read_index_spec,
)
from support.factories.basics import make_vectors

N, D = 3000, 16
KINDS = ("exact", "exact_f16", "hnsw", "ivf_flat", "pq", "ivf_pq", "ivf_hnsw_pq")
VECTORS = make_vectors(N + 40, D, spread=0.4)
VECTORS, QUERIES = VECTORS[:N], VECTORS[N:]
HALF_PRECISION = 2e-3


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    faiss.omp_set_num_threads(1)  # threads of small searches on a busy machine mostly wait for one another
    root = tmp_path_factory.mktemp("indexes")
    for kind in KINDS:
        (root / kind).mkdir()
        build_index(root / kind, VECTORS, 100, IndexingParameters(kind=kind))
    return root


@pytest.fixture(scope="module")
def indexes(directories):
    return {kind: CatalogueIndex.open(directories / kind) for kind in KINDS}


def brute_force(vectors, queries, k, allowed=None):
    """Every pair by an explicit loop in double precision; ties by row."""
    rows = [row for row in range(len(vectors)) if allowed is None or allowed[row]]
    answers = []
    for query in queries.astype(np.float64):
        scored = [(-float(np.dot(vectors[row].astype(np.float64), query)), row) for row in rows]
        best = sorted(scored)[:k]
        answers.append([row for _, row in best] + [-1] * (k - len(best)))
    return np.array(answers)


def share_found(found, truth):
    return np.mean(
        [len(set(a) & set(b) - {-1}) / max(1, len(set(b) - {-1})) for a, b in zip(found, truth, strict=True)]
    )


def check_shape_of_answer(found, k, reachable):
    """Scores descend, rows are distinct, and exactly the reachable number is there."""
    assert found.scores.shape == found.rows.shape == (len(found.rows), k)
    assert found.scores.dtype == np.float32
    assert found.rows.dtype == np.int64
    assert ((found.rows >= 0).sum(axis=1) == reachable).all()
    assert (found.rows[:, reachable:] == -1).all()
    assert (found.scores[:, reachable:] == -np.inf).all()
    assert (np.diff(found.scores[:, :reachable], axis=1) <= 0).all()
    assert all(len(set(rows[:reachable])) == reachable for rows in found.rows.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_what_brute_force_finds(indexes, kind):
    index, truth = indexes[kind], brute_force(VECTORS, QUERIES, 10)
    found = index.search(QUERIES, 10)
    check_shape_of_answer(found, 10, 10)
    assert share_found(found.rows, truth) >= {"exact": 1.0, "exact_f16": 0.98}.get(kind, 0.85)
    expected = np.einsum("qd,qkd->qk", QUERIES.astype(np.float64), VECTORS[found.rows])
    tolerance = 1e-6 if kind in ("exact", "hnsw", "ivf_flat") else HALF_PRECISION
    np.testing.assert_allclose(found.scores, expected, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_search_through_any_kind_finds_all(indexes, kind):
    found = indexes[kind].search(QUERIES, 10, exact=True)
    truth = brute_force(VECTORS, QUERIES, 10)
    assert share_found(found.rows, truth) >= (1.0 if kind in ("exact", "hnsw", "ivf_flat") else 0.98)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scanned_rows", [0, search.SCANNED_ROWS], ids=["inside the index", "by scan"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filters_never_leak_and_always_give_k(indexes, kind, scanned_rows, monkeypatch, data):
    """With the scan switched off, even the most selective filter must be answered by the index (or its fallback)."""
    monkeypatch.setattr(search, "SCANNED_ROWS", scanned_rows)
    share = data.draw(st.sampled_from([0.0, 0.0005, 0.003, 0.02, 0.2, 0.7, 1.0]))
    seed, k = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([1, 3, 10, 50, 400]))
    rng = np.random.default_rng(seed)
    allowed = rng.random(N) < share if rng.random() < 0.5 else np.arange(N) < share * N  # scattered, or all in a row
    queries = QUERIES[rng.choice(len(QUERIES), 4, replace=False)]
    found = indexes[kind].search(queries, k, allowed=allowed)
    check_shape_of_answer(found, k, min(k, int(allowed.sum())))
    assert allowed[found.rows[found.rows >= 0]].all()
    if allowed.any() and k <= 10:
        assert share_found(found.rows, brute_force(VECTORS, queries, k, allowed)) >= 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_filtered_recall_is_no_worse(indexes, kind, monkeypatch):
    monkeypatch.setattr(search, "SCANNED_ROWS", 0)
    allowed = np.random.default_rng(5).random(N) < 0.2
    found = indexes[kind].search(QUERIES, 10, allowed=RowFilter(allowed))
    assert share_found(found.rows, brute_force(VECTORS, QUERIES, 10, allowed)) >= 0.93


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10, 99, N - 1, N, N + 7])
def test_any_number_of_results(indexes, kind, k):
    check_shape_of_answer(indexes[kind].search(QUERIES[:3], k), k, min(k, N))


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_is_answered_alike_alone_and_in_a_batch(indexes, kind):
    together = indexes[kind].search(QUERIES, 10)
    for row in range(len(QUERIES)):
        alone = indexes[kind].search(QUERIES[row : row + 1], 10)
        np.testing.assert_array_equal(alone.rows[0], together.rows[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


@pytest.mark.parametrize("kind", KINDS)
def test_no_query_gives_no_answer(indexes, kind):
    assert indexes[kind].search(QUERIES[:0], 5).rows.shape == (0, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_vectors_come_in_order_of_their_rows(tmp_path, kind):
    """60 copies of one vector, scattered: the first k of them by row, although k cuts through the tie."""
    vectors = make_vectors(N, D, seed=3, spread=0.4)
    copies = np.sort(np.random.default_rng(3).choice(N, 60, replace=False))
    vectors[copies] = vectors[copies[0]]
    build_index(tmp_path, vectors, 0, IndexingParameters(kind=kind))
    index = CatalogueIndex.open(tmp_path)
    for k in (1, 5, 20, 60):
        found = index.search(vectors[copies[:1]], k, settings=SearchSettings(nprobe=16, ef_search=200, rescored=100))
        np.testing.assert_array_equal(found.rows[0], copies[:k])
        np.testing.assert_array_equal(index.search(vectors[copies[:1]], k, exact=True).rows[0], copies[:k])


@given(st.integers(1, 300), st.integers(1, 24), st.integers(1, 40), st.integers(0, 999), st.booleans())
@settings(max_examples=40, deadline=None)
def test_exact_search_is_brute_force(n, d, k, seed, half):
    vectors = make_vectors(n, d, seed=seed)
    vectors[n // 2 :] = vectors[: n - n // 2]  # ties
    queries = make_vectors(3, d, seed=seed + 1)
    stored = vectors.astype(np.float16) if half else vectors
    allowed = np.random.default_rng(seed).random(n) < 0.6 if seed % 2 else None
    found = exact_search(stored, queries, k, allowed)
    reachable = min(k, n if allowed is None else int(allowed.sum()))
    check_shape_of_answer(found, k, reachable)
    truth = brute_force(stored.astype(np.float64), queries, k, allowed)
    expected = np.einsum("qd,qkd->qk", queries.astype(np.float64), stored.astype(np.float64)[truth])
    np.testing.assert_allclose(found.scores[:, :reachable], expected[:, :reachable], atol=1e-6)
    equal = np.diff(found.scores[:, :reachable], axis=1) == 0
    assert (np.diff(found.rows[:, :reachable], axis=1)[equal] > 0).all()


def test_exact_search_over_several_blocks_is_that_over_one(monkeypatch):
    whole = exact_search(VECTORS, QUERIES, 30)
    monkeypatch.setattr("components.shared.vectors.neighbours.BLOCK_ROWS", 7)
    in_blocks = exact_search(VECTORS, QUERIES, 30)
    np.testing.assert_array_equal(in_blocks.rows, whole.rows)
    np.testing.assert_array_equal(in_blocks.scores, whole.scores)
    allowed = np.arange(N) % 3 == 1
    np.testing.assert_array_equal(
        exact_search(VECTORS, QUERIES, 30, allowed).rows, brute_force(VECTORS, QUERIES, 30, allowed)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_calls_do_not_leak_into_one_another(indexes, kind):
    """Threads search with other settings and filters at the same time; each must get what it gets alone."""
    index = indexes[kind]
    jobs = []
    for number in range(48):
        allowed = np.random.default_rng(number).random(N) < 0.5 if number % 3 == 0 else None
        some = SearchSettings(nprobe=1 + number % 16, ef_search=20 + number, rescored=10 + number)
        jobs.append((QUERIES[number % 30 :][:5], 1 + number % 12, allowed, some if number % 2 else None))

    def answer(job):
        queries, k, allowed, chosen = job
        return index.search(queries, k, allowed=allowed, settings=chosen)

    alone = [answer(job) for job in jobs]
    with ThreadPoolExecutor(6) as pool:
        for expected, got in zip(alone * 3, pool.map(answer, jobs * 3), strict=True):
            np.testing.assert_array_equal(got.rows, expected.rows)


def test_a_filter_does_not_follow_later_changes_of_its_mask():
    mask = np.ones(N, np.bool_)
    rows = RowFilter(mask)
    mask[:] = False
    assert rows.count == len(rows.rows()) == N


def bad_queries():
    good = QUERIES[:2].copy()
    nan, zero, long = good.copy(), good.copy(), good.copy()
    nan[1, 3], zero[1], long[1] = np.nan, 0, good[1] * 1.01
    return [
        (good.astype(np.float64), InputError, "float32"),
        (good[0], InputError, "float32"),
        (good.tolist(), InputError, "got list"),
        (good[:, :8], InputError, "16 dimensions"),
        (np.hstack([good, good]), InputError, "16 dimensions"),
        (nan, PoisonedVectorError, "row 1 is not finite"),
        (zero, PoisonedVectorError, "row 1 is zero"),
        (long, PoisonedVectorError, r"row 1 has norm 1\.01"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_unusable_queries_are_refused(indexes, kind):
    for queries, error, message in bad_queries():
        with pytest.raises(error, match=message):
            indexes[kind].search(queries, 5)


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 2**31, 2.0, True, "5"])
def test_unusable_numbers_of_results_are_refused(indexes, k):
    with pytest.raises(ParameterError, match="from 1 to 10000"):
        indexes["exact"].search(QUERIES, k)


@pytest.mark.parametrize(
    "allowed", [np.ones(N + 1, np.bool_), np.ones(N, np.int64), [True] * N, np.ones((N, 1), np.bool_)]
)
def test_unusable_filters_are_refused(indexes, allowed):
    with pytest.raises(InputError, match="expected a filter"):
        indexes["exact"].search(QUERIES, 5, allowed=allowed)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_vectors_are_those_that_went_in(indexes, kind):
    rows = np.array([0, 17, 17, N - 1])
    np.testing.assert_allclose(indexes[kind].stored(rows), VECTORS[rows], atol=1e-3)
    for bad in ([-1], [N], [[0]]):
        with pytest.raises(InputError, match="row numbers from 0"):
            indexes[kind].stored(np.array(bad))


def test_checks_hold_without_assertions(directories):
    """Under -O Faiss's own check of the dimension is off, and it would read beyond its memory."""
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from components.shared.errors import VisualSearchError\n"
        "from components.shared.vectors.search import CatalogueIndex\n"
        "assert False, 'assertions must be off'\n"
        "refused = 0\n"
        "for kind in sys.argv[2:]:\n"
        "    index = CatalogueIndex.open(Path(sys.argv[1]) / kind)\n"
        "    good = np.full((1, 16), 0.25, np.float32)\n"
        "    for queries, k in ((good[:, :8], 5), (good * 2, 5), (good * np.nan, 5), (good, 0), (good * 0, 5)):\n"
        "        try:\n"
        "            index.search(np.ascontiguousarray(queries), k)\n"
        "        except VisualSearchError:\n"
        "            refused += 1\n"
        "print(refused)\n"
    )
    result = run_python("-O", "-c", program, str(directories), *KINDS)
    assert (result.returncode, result.stdout.strip()) == (0, str(5 * len(KINDS))), result.stderr


def run_python(*arguments, timeout=120):
    environment = os.environ | {"PYTHONPATH": str(Path(search.__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_that_does_not_fit_is_refused(directories, kind):
    spec = read_index_spec(directories / kind)
    others = {"exact": "hnsw", "pq": "exact", "ivf_pq": "ivf_hnsw_pq", "ivf_hnsw_pq": "ivf_pq"}
    for change in ({"rows": N - 1}, {"dimension": D + 1}, {"kind": others.get(kind, "exact")}):
        with pytest.raises(ContractError):
            CatalogueIndex.open(directories / kind, spec.model_copy(update=change))


def test_an_index_of_distances_is_refused(tmp_path, directories):
    index = faiss.IndexFlatL2(D)
    index.add(VECTORS)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    spec = read_index_spec(directories / "exact")
    spec = spec.model_copy(update={"index_bytes": (tmp_path / "index.faiss").stat().st_size})
    with pytest.raises(ContractError, match="inner products"):
        CatalogueIndex.open(tmp_path, spec)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_cut_and_lengthened_files_are_refused(tmp_path, directories, kind):
    directory = shutil.copytree(directories / kind, tmp_path / "copy")
    spec = read_index_spec(directory)
    for path in sorted(directory.glob("index.faiss")) + sorted(directory.glob("vectors.f16")):
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0"):
            path.write_bytes(damaged)
            with pytest.raises(DamagedArtifactError, match=path.name):
                CatalogueIndex.open(directory)
        path.unlink()
        with pytest.raises(UnfinishedArtifactError, match=path.name):
            CatalogueIndex.open(directory)
        path.write_bytes(whole)
    # Also where the spec was adapted to the cut file.
    path = directory / "index.faiss"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedArtifactError, match="not an index that can be read"):
        CatalogueIndex.open(directory, spec.model_copy(update={"index_bytes": path.stat().st_size}))


def test_a_header_that_lies_about_sizes_costs_no_memory(tmp_path, directories):
    """A flat file of 2 kB that claims gigabytes would be given them, a minute long, before the end of the file shows."""
    index = faiss.IndexFlatIP(D)
    index.add(VECTORS[:30])
    data = bytearray(faiss.serialize_index(index).tobytes())
    place = data.find((30 * D * 4).to_bytes(8, "little"))
    if place < 0:
        place = data.find((30 * D).to_bytes(8, "little"))
    assert place > 0
    data[place : place + 8] = (3 << 30).to_bytes(8, "little")
    (tmp_path / "index.faiss").write_bytes(data)
    spec = read_index_spec(directories / "exact").model_copy(update={"rows": 30, "index_bytes": len(data)})
    start = time.process_time()
    with pytest.raises(DamagedArtifactError, match="not an index"):
        CatalogueIndex.open(tmp_path, spec)
    assert time.process_time() - start < 1, "gigabytes were filled first"
    before = faiss.get_deserialization_vector_byte_limit()
    assert before > 1 << 32, "the limit must not stay on for others"


MUTATE = """
import sys, numpy as np, shutil
from pathlib import Path
from components.shared.errors import VisualSearchError
from components.shared.vectors.search import CatalogueIndex, read_index_spec
root, kinds = Path(sys.argv[1]), sys.argv[3:]
refused = answered = 0
for kind in kinds:
    spec, whole = read_index_spec(root / kind), (root / kind / "index.faiss").read_bytes()
    work = shutil.copytree(root / kind, Path(sys.argv[2]) / kind)
    rng = np.random.default_rng(7)
    queries = rng.normal(size=(8, spec.dimension)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for number in range(60):
        data = bytearray(whole)
        place = int(rng.integers(0, min(len(data) - 8, 400 if number % 2 else len(data))))
        if number % 3 == 0:
            data[place] ^= 1 << int(rng.integers(8))
        else:
            data[place : place + 8] = (b"\\xff" * 8, bytes(8), int(10**10).to_bytes(8, "little"))[number % 9 // 3]
        (work / "index.faiss").write_bytes(data)
        try:
            index = CatalogueIndex.open(work, spec)
            for allowed in (None, np.arange(spec.rows) % 2 == 0):
                rows = index.search(queries, 5, allowed=allowed).rows
                if not ((rows >= -1) & (rows < spec.rows)).all():
                    sys.exit(f"{kind}: foreign rows served for mutant {number}")
            answered += 1
        except VisualSearchError:
            refused += 1
status = Path("/proc/self/status").read_text()  # not getrusage: its peak is inherited from the process that forked this one
print(refused, answered, status.split("VmHWM:")[1].split()[0])
"""


def test_altered_files_never_kill_nor_give_foreign_rows(tmp_path, directories):
    """Digests refuse altered files before; this is what is left where someone altered the manifest as well."""
    result = run_python("-c", MUTATE, str(directories), str(tmp_path), *KINDS, timeout=240)
    assert result.returncode == 0, result.stderr[-2000:]
    refused, answered, peak_kilobytes = map(int, result.stdout.split())
    assert refused + answered == 60 * len(KINDS)
    assert refused > 60
    assert peak_kilobytes < 1_000_000


def test_answers_cannot_be_rebound(indexes):
    with pytest.raises(dataclasses.FrozenInstanceError):
        indexes["exact"].search(QUERIES, 1).rows = None
    assert issubclass(ContractError, VisualSearchError)


def test_a_row_that_stands_twice_and_another_nowhere_is_found_on_loading(tmp_path, directories):
    index = faiss.read_index(str(directories / "ivf_flat" / "index.faiss"))
    held = next(number for number in range(index.nlist) if index.invlists.list_size(number) > 1)
    ids = faiss.rev_swig_ptr(index.invlists.get_ids(held), 2)
    lost, ids[0] = int(ids[0]), ids[1]
    work = shutil.copytree(directories / "ivf_flat", tmp_path / "work")
    faiss.write_index(index, str(work / "index.faiss"))
    with pytest.raises(ContractError, match=f"no list of the index holds row {lost}"):
        CatalogueIndex.open(work)
