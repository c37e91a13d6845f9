from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.indexing.parameters import IndexingParameters
from components.indexing.step import run
from components.shared.errors import ContractError, DataError, ParameterError, PoisonedVectorError
from components.shared.files.artifacts import open_artifact, seal_artifact
from components.shared.files.tables import CATALOGUE, ITEMS, read_table, write_table
from components.shared.vectors.embeddings import EmbeddingsSpec, write_embeddings, write_embeddings_spec
from components.shared.vectors.search import CatalogueIndex, exact_search
from support.factories.basics import EPOCH, make_vectors

KINDS = ("exact", "exact_f16", "hnsw", "ivf_flat", "pq", "ivf_pq", "ivf_hnsw_pq")
D = 16


@pytest.fixture(autouse=True)
def one_thread():
    faiss.omp_set_num_threads(1)


def make_inputs(root, n=600, *, absent=0, vectors=None, ids=None):
    """Write a catalogue of n images and the embeddings of all but `absent` of them, in three shards, unchecked."""
    vectors = make_vectors(n, D, spread=0.4) if vectors is None else vectors
    all_ids = [f"image-{row:05d}" for row in range(n)]
    rows = [
        {
            "image_id": image_id,
            "item_id": f"item-{row // 3}",
            "uri": f"memory://{image_id}.jpg",
            "sha256": f"{row:064x}",
            "width": 10,
            "height": 10,
            "category": "cups" if row % 2 else None,
            "is_public": row % 7 != 3,
            "is_appropriate": True,
            "added_at": EPOCH,
            "split": ("train", "train", "validation", "test")[row // 3 % 4],
            "duplicate_group": image_id,
        }
        for row, image_id in enumerate(all_ids)
    ]
    write_table(root / "catalogue/catalogue.parquet", pa.Table.from_pylist(rows, CATALOGUE.schema), CATALOGUE)
    seal_artifact(root / "catalogue", "catalogue")
    ids = (all_ids if ids is None else ids)[absent:]
    vectors = vectors[absent:]
    names = []
    (root / "embeddings").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(ids)), 3)):
        names.append(f"embeddings-{number:05d}.parquet")
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[part].ravel()), D)
        table = pa.table({"image_id": [ids[row] for row in part], "embedding": column})
        table = table.replace_schema_metadata({b"visual_search.space_id": b"s-test"})
        pq.write_table(table, root / "embeddings" / names[-1])
    write_embeddings_spec(
        root / "embeddings", EmbeddingsSpec(space_id="s-test", dimension=D, rows=len(ids), shards=names)
    )
    seal_artifact(root / "embeddings", "embedding")
    return vectors


def build(root, workspace="workspace", destination="index", **parameters):
    return run(
        catalogue=root / "catalogue",
        embeddings=root / "embeddings",
        destination=root / destination,
        workspace=root / workspace,
        parameters=IndexingParameters(**parameters),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_of_the_items_table_is_the_vector_of_its_image(tmp_path, kind):
    vectors = make_inputs(tmp_path, absent=7)
    artifact = build(tmp_path, kind=kind)
    items = read_table(tmp_path / "index/items.parquet", ITEMS)
    index = CatalogueIndex.open(tmp_path / "index")
    assert items.column("row").to_pylist() == list(range(593)) == list(range(index.rows))
    numbers = np.array([int(image_id.removeprefix("image-")) for image_id in items.column("image_id").to_pylist()])
    assert sorted(numbers) == list(range(7, 600))
    np.testing.assert_allclose(index.stored(np.arange(593)), vectors[numbers - 7], atol=1e-3)
    catalogue = read_table(tmp_path / "catalogue/catalogue.parquet", CATALOGUE).take(pa.array(numbers))
    for name in set(ITEMS.schema.names) - {"row"}:
        assert items.column(name).to_pylist() == catalogue.column(name).to_pylist(), name
    assert artifact.summary["not_embedded"] == 7
    assert artifact.summary["rows"] == 593
    expected = {"index.faiss", "index.json", "items.parquet"} | ({"vectors.f16"} if kind == "ivf_hnsw_pq" else set())
    assert set(artifact.files) == expected


def test_an_exact_index_keeps_the_order_of_the_embeddings(tmp_path):
    make_inputs(tmp_path)
    assert build(tmp_path).summary["kind"] == "exact"
    ids = read_table(tmp_path / "index/items.parquet", ITEMS).column("image_id").to_pylist()
    assert ids == [f"image-{row:05d}" for row in range(600)]


def test_queries_of_the_tuning_are_held_out_images(tmp_path):
    make_inputs(tmp_path)
    build(tmp_path, kind="pq")
    spec = CatalogueIndex.open(tmp_path / "index").spec
    assert spec.recall.queries == 60
    last = read_table(tmp_path / "index/items.parquet", ITEMS).column("image_id").to_pylist()[-60:]
    splits = dict(
        zip(
            *(
                read_table(tmp_path / "catalogue/catalogue.parquet", CATALOGUE).column(name).to_pylist()
                for name in ("image_id", "split")
            ),
            strict=True,
        )
    )
    assert {splits[image_id] for image_id in last} == {"validation", "test"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_inputs_give_the_same_bytes_whatever_the_threads(tmp_path, kind):
    make_inputs(tmp_path, 1500)
    digests = []
    for threads in (1, 2, 4):
        faiss.omp_set_num_threads(threads)
        digests.append(build(tmp_path, f"workspace-{threads}", f"index-{threads}", kind=kind).digest)
    assert len(set(digests)) == 1
    assert build(tmp_path, "workspace-9", "index-9", kind=kind, seed=1).digest != digests[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("poison", ["nan", "inf", "zero", "long", "short"])
def test_one_poisoned_vector_stops_the_build_and_is_named(tmp_path, kind, poison):
    vectors = make_vectors(600, D, spread=0.4)
    vectors[451] = {"nan": np.nan, "inf": -np.inf, "zero": 0, "long": 1e4 * vectors[451], "short": 0.99 * vectors[451]}[
        poison
    ]
    make_inputs(tmp_path, vectors=vectors)
    with pytest.raises(PoisonedVectorError, match=r"embeddings-00002.parquet: row 51 \(image image-00451\)") as caught:
        build(tmp_path, kind=kind)
    assert (caught.value.row, caught.value.image_id) == (51, "image-00451")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_with_two_vectors_stops_the_build_and_is_named(tmp_path, kind):
    ids = [f"image-{row:05d}" for row in range(600)]
    ids[555] = ids[12]
    make_inputs(tmp_path, ids=ids)
    with pytest.raises(PoisonedVectorError, match="row 555 repeats image image-00012 of row 12"):
        build(tmp_path, kind=kind)
    assert not (tmp_path / "index").exists()


def test_an_embedding_of_a_foreign_image_is_refused(tmp_path):
    make_inputs(tmp_path, ids=[f"image-{row + 1:05d}" for row in range(600)])
    with pytest.raises(ContractError, match="image image-00600, which is not in the catalogue"):
        build(tmp_path)


def test_no_embeddings_and_impossible_budgets_are_one_clear_sentence(tmp_path):
    make_inputs(tmp_path)
    with pytest.raises(ParameterError, match="memory_budget_bytes is 1,000, but 600 vectors"):
        build(tmp_path, memory_budget_bytes=1000)
    (tmp_path / "none").mkdir()
    write_embeddings(tmp_path / "none/e.parquet", [], np.empty((0, D), np.float32), space_id="s-test")
    write_embeddings_spec(
        tmp_path / "none", EmbeddingsSpec(space_id="s-test", dimension=D, rows=0, shards=["e.parquet"])
    )
    seal_artifact(tmp_path / "none", "embedding")
    with pytest.raises(DataError, match="nothing to index"):
        run(
            catalogue=tmp_path / "catalogue",
            embeddings=tmp_path / "none",
            destination=tmp_path / "index",
            workspace=tmp_path / "workspace",
            parameters=IndexingParameters(),
        )


def test_one_image_is_enough(tmp_path):
    vectors = make_inputs(tmp_path, 1)
    assert build(tmp_path).summary["rows"] == 1
    found = CatalogueIndex.open(tmp_path / "index").search(vectors, 3)
    assert found.rows.tolist() == [[0, -1, -1]]


def test_finished_work_is_not_done_again(tmp_path, capfd):
    make_inputs(tmp_path)
    first = build(tmp_path, kind="hnsw")
    assert "expects" in capfd.readouterr().err
    again = build(tmp_path, destination="again", kind="hnsw")
    assert "expects" not in capfd.readouterr().err
    assert again == first == open_artifact(tmp_path / "again", "indexing", verify=True)


def test_the_forecast_is_printed_before_and_kept(tmp_path, capfd):
    make_inputs(tmp_path)
    build(tmp_path, kind="ivf_pq")
    lines = capfd.readouterr().err.splitlines()
    forecast = next(i for i, line in enumerate(lines) if "expects" in line)
    assert forecast < next(i for i, line in enumerate(lines) if line.startswith("built"))
    spec = CatalogueIndex.open(tmp_path / "index").spec
    assert spec.forecast.ram_bytes > 0
    assert spec.curve


def test_a_large_matrix_is_gathered_in_a_file(tmp_path, monkeypatch):
    make_inputs(tmp_path)
    in_memory = build(tmp_path, kind="ivf_hnsw_pq")
    monkeypatch.setattr("components.indexing.gather._IN_MEMORY_BYTES", 1000)
    mapped = build(tmp_path, "workspace-2", "index-2", kind="ivf_hnsw_pq")
    assert mapped.digest == in_memory.digest


def test_through_the_whole_step_neighbours_are_those_of_the_embeddings(tmp_path):
    vectors = make_inputs(tmp_path, 2000)
    build(tmp_path, kind="ivf_pq")
    ids = read_table(tmp_path / "index/items.parquet", ITEMS).column("image_id").to_pylist()
    numbers = np.array([int(image_id.removeprefix("image-")) for image_id in ids])
    found = numbers[CatalogueIndex.open(tmp_path / "index").search(vectors[:200], 10).rows]
    truth = exact_search(vectors, vectors[:200], 10).rows
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]) > 0.9


PROGRAM = """
import sys
from pathlib import Path
from components.indexing.parameters import IndexingParameters
from components.indexing.step import run
root = Path(sys.argv[1])
run(catalogue=root / "catalogue", embeddings=root / "embeddings", destination=root / "index", workspace=root / "workspace",
    parameters=IndexingParameters(kind="ivf_pq"))
"""


def test_killed_anywhere_a_rerun_ends_in_the_same_index(tmp_path):
    make_inputs(tmp_path, 3000)
    expected = build(tmp_path, "other", "expected", kind="ivf_pq").digest
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    work = tmp_path / "workspace"
    for trace in ("items.parquet", "index.faiss", None):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if trace and list(work.rglob(trace)):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait(60)
    assert process.returncode == 0
    assert open_artifact(tmp_path / "index", "indexing", verify=True).digest == expected
    assert len(list(work.glob("indexing/*/output/artifact.json"))) == 1


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
"""


@pytest.mark.parametrize("kind", ["exact", "ivf_hnsw_pq"])
def test_a_full_disk_is_one_clear_sentence_and_leaves_nothing_half_written(tmp_path, kind):
    make_inputs(tmp_path, 3000)
    program = PROGRAM.replace("ivf_pq", kind)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LIMITED + program, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode != 0
    assert "ResourceError: no space left to write" in result.stderr
    assert not (tmp_path / "index").exists()
    assert not list((tmp_path / "workspace").rglob("*.part"))
    assert build(tmp_path, kind=kind).summary["rows"] == 3000
