from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from components.embedding.parameters import EmbeddingParameters
from components.embedding.step import run
from components.shared.errors import (
    ContractError,
    DataError,
    InputError,
    SpaceMismatchError,
)
from components.shared.files.artifacts import open_artifact, seal_artifact
from components.shared.files.tables import CATALOGUE, QUARANTINE, read_table, write_table
from components.shared.pictures.decoder import load_image
from components.shared.release.manifest import read_manifest
from components.shared.vectors.embeddings import read_all_embeddings
from components.shared.vectors.encoder import OnnxEncoder, read_encoder_spec
from support.factories.basics import encode_picture, make_catalogue, make_picture
from support.factories.encoder_factory import make_encoder
from support.factories.release_factory import make_absent_champion, make_release

SMALL = {"shard_images": 11, "batch_images": 4}


@pytest.fixture
def root(tmp_path):
    make_catalogue(tmp_path)
    make_encoder(tmp_path / "encoder")
    return tmp_path


def embed(root, *, workspace="workspace", destination="embeddings", encoder="encoder", previous=None, **parameters):
    return run(
        catalogue=root / "catalogue",
        encoder=root / encoder,
        previous=previous,
        destination=root / destination,
        workspace=root / workspace,
        parameters=EmbeddingParameters(**SMALL | parameters),
    )


def images_of(root):
    return read_table(root / "catalogue/catalogue.parquet", CATALOGUE)


def damage(root, numbers, content=b"\xff\xd8\xff half a picture"):
    """Overwrite the pictures of some rows of the catalogue; return their URIs."""
    uris = [images_of(root).column("uri").to_pylist()[number] for number in numbers]
    for uri in uris:
        Path(uri).write_bytes(content)
    return uris


def test_every_image_gets_the_embedding_that_a_plain_loop_gives_it(root):
    artifact = embed(root)
    ids, vectors = read_all_embeddings(root / "embeddings")
    spec = read_encoder_spec(root / "encoder")
    encoder = OnnxEncoder(root / "encoder/encoder.onnx", threads=1)
    images = images_of(root)
    assert ids == images.column("image_id").to_pylist()
    for uri, vector in zip(images.column("uri").to_pylist(), vectors, strict=True):
        np.testing.assert_allclose(vector, encoder.encode(load_image(uri, spec.preprocessing)[None])[0], atol=1e-6)
    assert artifact.summary == {
        "rows": 48, "dimension": 16, "space_id": spec.space_id, "shards": 5, "failed": {},
    }  # fmt: skip
    assert read_table(root / "embeddings/failed.parquet", QUARANTINE).num_rows == 0


def test_threads_do_not_change_a_bit(root):
    digests = {
        embed(root, workspace=f"w{n}", destination=f"e{n}", workers=n, readers=m).digest
        for n, m in ((1, 1), (2, 3), (5, 2))
    }
    assert len(digests) == 1


def test_bad_pictures_are_listed_and_the_run_goes_on(root):
    cut, not_a_picture, gone = damage(root, [0, 12, 47])
    Path(not_a_picture).write_bytes(b"hello")
    Path(gone).unlink()
    grey = images_of(root).column("uri").to_pylist()[20]
    Path(grey).write_bytes(encode_picture(np.full((64, 64, 3), 128, np.uint8), "PNG"))
    artifact = embed(root)
    failed = {row["uri"]: row for row in read_table(root / "embeddings/failed.parquet", QUARANTINE).to_pylist()}
    assert set(failed) == {cut, not_a_picture, gone, grey}
    assert failed[grey]["reason"] == "no_embedding"
    assert failed[not_a_picture]["reason"] == "not_an_image"
    assert failed[gone]["reason"] == "missing"
    assert all(row["message"] for row in failed.values())
    ids, _ = read_all_embeddings(root / "embeddings")
    everything = images_of(root).column("image_id").to_pylist()
    assert ids == [image_id for row, image_id in enumerate(everything) if row not in (0, 12, 20, 47)]
    assert artifact.summary["rows"] == 44
    assert sum(artifact.summary["failed"].values()) == 4


def test_neighbours_of_a_bad_picture_keep_their_vectors(root):
    embed(root, workspace="w1", destination="good")
    damage(root, [5], encode_picture(np.full((64, 64, 3), 128, np.uint8), "PNG"))
    embed(root, workspace="w2", destination="bad")
    good, bad = (dict(zip(*read_all_embeddings(root / name), strict=True)) for name in ("good", "bad"))
    for image_id, vector in bad.items():
        np.testing.assert_allclose(vector, good[image_id], atol=1e-6)
    assert len(bad) == 47


def test_all_failed_stops_and_a_rerun_after_the_repair_succeeds(root):
    (root / "images").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"48 of 48 images could not be embedded .*: \S+ does not exist"):
        embed(root)
    assert not (root / "embeddings").exists()
    (root / "elsewhere").rename(root / "images")
    assert embed(root).summary["rows"] == 48


def test_too_many_failures_stop(root):
    damage(root, range(10), b"")
    with pytest.raises(DataError, match=r"10 of 48 .*at most 20%"):
        embed(root, max_failed_share=0.2)
    assert embed(root, max_failed_share=0.21).summary["rows"] == 38


def test_a_whole_shard_of_bad_pictures_is_an_empty_shard(root):
    damage(root, range(11, 22), b"nothing")
    assert embed(root).summary["rows"] == 37
    assert len(read_all_embeddings(root / "embeddings")[0]) == 37


PROGRAM = """
import sys
from pathlib import Path
from components.embedding.parameters import EmbeddingParameters
from components.embedding.step import run
root = Path(sys.argv[1])
run(catalogue=root / "catalogue", encoder=root / "encoder", previous=None, destination=root / "embeddings",
    workspace=root / "workspace", parameters=EmbeddingParameters(shard_images=3, batch_images=2))
"""


def test_killed_anywhere_a_rerun_ends_in_the_same_embeddings(root):
    expected = embed(root, workspace="other", destination="expected", shard_images=3, batch_images=2).digest
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    seen: dict[str, tuple[int, int]] = {}
    for shards in (2, 9, None):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(root)], env=environment, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if shards and len(list(root.glob("workspace/embedding-shards/*/embeddings-*"))) >= shards:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait(60)
        files = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
                 for path in root.glob("workspace/embedding-shards/*/embeddings-*")}  # fmt: skip
        assert seen.items() <= files.items() or not files, "a finished shard was written again"
        seen = files
    assert process.returncode == 0
    assert open_artifact(root / "embeddings", "embedding", verify=True).digest == expected
    assert not list(root.glob("workspace/embedding-shards/*"))


def test_finished_work_is_handed_on_without_reading_a_picture(root):
    first = embed(root)
    damage(root, range(48), b"")
    assert embed(root, destination="again") == first == open_artifact(root / "again", "embedding", verify=True)


@pytest.fixture
def renewal(tmp_path):
    """A release, and the catalogue that it was made from: with two pictures changed, one removed and one new."""
    release = make_release(tmp_path / "old")
    images = read_table(tmp_path / "old/parts/catalogue/catalogue.parquet", CATALOGUE).to_pylist()
    for number in (2, 9):
        Path(images[number]["uri"]).write_bytes(encode_picture(make_picture(100 + number)))
        images[number]["sha256"] = f"{number:064x}"
    new = images[-1] | {"image_id": "new", "sha256": "f" * 64, "duplicate_group": "new"}
    write_table(
        tmp_path / "catalogue/catalogue.parquet", pa.Table.from_pylist([*images[1:], new], CATALOGUE.schema), CATALOGUE
    )
    seal_artifact(tmp_path / "catalogue", "catalogue")
    return tmp_path, release


def test_unchanged_images_keep_their_vectors_and_others_are_embedded(renewal):
    root, release = renewal
    images = images_of(root)
    wanted = [number for number, image in enumerate(images.to_pylist()) if image["sha256"][:40] == "0" * 40]
    wanted.append(images.num_rows - 1)
    for number, uri in enumerate(images.column("uri").to_pylist()):
        if number not in wanted and uri != images.column("uri").to_pylist()[-1]:
            Path(uri).unlink()  # whose vectors are taken over need not be read
    artifact = embed(root, encoder=release.relative_to(root), previous=release)
    ids, vectors = read_all_embeddings(root / "embeddings", read_manifest(release).space_id)
    assert ids == images.column("image_id").to_pylist()
    assert artifact.summary["failed"] == {}
    spec = read_manifest(release).encoder
    encoder = OnnxEncoder(release / "encoder.onnx", threads=1)
    for number in wanted:
        picture = load_image(images.column("uri").to_pylist()[number], spec.preprocessing)
        np.testing.assert_allclose(vectors[number], encoder.encode(picture[None])[0], atol=1e-6)


def test_vectors_of_another_space_are_refused(renewal):
    root, release = renewal
    make_encoder(root / "encoder")
    with pytest.raises(SpaceMismatchError, match="leave out the earlier release"):
        embed(root, previous=release)


def test_where_there_is_no_champion_nothing_is_taken_over_and_none_can_encode(root):
    absent = make_absent_champion(root / "champion")
    assert embed(root, previous=absent).digest == embed(root, workspace="w2", destination="e2").digest
    with pytest.raises(InputError, match="no champion yet"):
        embed(root, encoder="champion", workspace="w3")
    with pytest.raises(ContractError, match=r"neither encoder\.json nor a release"):
        embed(root, encoder="catalogue", workspace="w4")
    with pytest.raises(ContractError, match="not a release"):
        embed(root, previous=root / "encoder", workspace="w5")


def test_an_encoder_that_is_not_the_one_described_is_refused(renewal):
    root, release = renewal
    shutil.copy(make_other_encoder(root), release / "encoder.onnx")
    with pytest.raises(ContractError, match="not the encoder of the manifest"):
        embed(root, encoder=release.relative_to(root))


def make_other_encoder(root):
    make_encoder(root / "other", seed=5)
    return root / "other/encoder.onnx"


def test_an_empty_catalogue_is_refused(root):
    write_table(root / "catalogue/catalogue.parquet", CATALOGUE.schema.empty_table(), CATALOGUE)
    seal_artifact(root / "catalogue", "catalogue")
    with pytest.raises(DataError, match="nothing to embed"):
        embed(root)


@pytest.mark.parametrize("wrong", [{"shard_images": 0}, {"batch_images": 0}, {"max_failed_share": 1.5}, {"batch": 4}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        EmbeddingParameters(**wrong)
