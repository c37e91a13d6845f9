from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.shared.errors import ContractError
from components.shared.files.layout import MANIFEST_FILE
from components.shared.release.manifest import read_manifest, verify_release
from serving.rollout.store import ReleaseStore
from support.servers.object_store import s3_server


def test_a_local_store_publishes_whole_releases_once(release_folders, tmp_path):
    store = ReleaseStore(str(tmp_path / "store"))
    release_id = read_manifest(release_folders[0]).release_id
    assert not store.has(release_id)
    uri = store.publish(release_folders[0])
    assert uri == f"{tmp_path}/store/{release_id}/"
    inode = (Path(uri) / MANIFEST_FILE).stat().st_ino
    store.publish(release_folders[0])
    assert (Path(uri) / MANIFEST_FILE).stat().st_ino == inode
    (Path(uri) / "items.parquet").write_bytes(b"rotten")
    with pytest.raises(ContractError, match=r"items\.parquet"):
        store.verify(release_id)
    store.publish(release_folders[0])
    assert verify_release(Path(uri)).release_id == release_id
    assert [path.name for path in (tmp_path / "store").iterdir()] == [release_id]


def test_a_damaged_release_is_never_published(release_folders, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(release_folders[0], damaged)
    (damaged / "encoder.onnx").write_bytes(b"rotten")
    store = ReleaseStore(str(tmp_path / "store"))
    with pytest.raises(ContractError):
        store.publish(damaged)
    assert not list((tmp_path / "store").glob("*"))


def test_an_object_store_gets_the_manifest_last_and_heals(release_folders, tmp_path):
    release_id = read_manifest(release_folders[1]).release_id
    with s3_server({"shop/other": b"x"}) as files:
        store = ReleaseStore("s3://shop/releases/")
        root = f"shop/releases/{release_id}"
        files.pipe_file(f"{root}/left-behind.bin", b"of a killed upload")
        files.pipe_file(f"{root}/{MANIFEST_FILE}", (release_folders[1] / MANIFEST_FILE).read_bytes())
        with pytest.raises(ContractError):
            store.verify(release_id)
        assert store.publish(release_folders[1]) == f"s3://shop/releases/{release_id}/"
        store.verify(release_id)
        copy = tmp_path / "copy"
        files.get(f"{root}/", str(copy) + "/", recursive=True)
        assert verify_release(copy).release_id == release_id
        files.pipe_file(f"{root}/encoder.onnx", b"rotten")
        assert not store.has(release_id)
        store.publish(release_folders[1])
        assert store.has(release_id)
        with pytest.raises(ContractError, match="holds no"):
            store.verify("r-" + "0" * 16)
