"""Bytes from local paths with odd names and from a real S3 server on loopback."""

from __future__ import annotations

import pytest

from components.shared.errors import ImageTooLargeError, SourceError
from components.shared.files.storage import filesystem_of, is_remote, read_bytes
from support.servers.object_store import s3_server

ODD_NAMES = [
    "a b.jpg",
    "a::b.jpg",
    "a#b?c=1.jpg",
    "ü-ß-猫.jpg",
    "[x]*.jpg",
    "100%25.jpg",
    "~home.jpg",
    "a\nb.jpg",
    "c:d.jpg",
    "-",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_local_names_are_taken_as_they_are(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"content")
    assert read_bytes(str(path), limit_bytes=100) == b"content"
    assert not is_remote(str(path))


def test_file_uris_are_local(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"content")
    assert read_bytes(f"file://{tmp_path}/a.jpg", limit_bytes=100) == b"content"
    assert not is_remote(f"file://{tmp_path}/a.jpg")
    assert is_remote("s3://bucket/a.jpg")
    assert is_remote("gs://bucket/a.jpg")


def test_limit_is_kept_without_reading_on(tmp_path):
    path = tmp_path / "big.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)  # a sparse file, far larger than memory
    with pytest.raises(ImageTooLargeError, match="more than 1000 bytes") as caught:
        read_bytes(str(path), limit_bytes=1000)
    assert caught.value.reason == "too_many_bytes"
    path.write_bytes(bytes(1000))
    assert len(read_bytes(str(path), limit_bytes=1000)) == 1000


def test_missing_and_unreadable_files_and_unknown_schemes(tmp_path):
    with pytest.raises(SourceError, match="does not exist") as caught:
        read_bytes(str(tmp_path / "gone"), limit_bytes=9)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert caught.value.source == str(tmp_path / "gone")
    with pytest.raises(SourceError, match="cannot be read"):
        read_bytes(str(tmp_path), limit_bytes=9)
    with pytest.raises(SourceError, match="cannot be opened"):
        filesystem_of("gopher://host/a.jpg")


def test_chained_filesystems_still_work(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as file:
        file.writestr("a.jpg", b"zipped")
    assert read_bytes(f"zip://a.jpg::file://{tmp_path}/pictures.zip", limit_bytes=100) == b"zipped"


def test_objects_of_a_real_s3_server():
    with s3_server({"bucket/a b.jpg": b"content", "bucket/empty.jpg": b"", "bucket/x::y.jpg": b"odd"}):
        assert read_bytes("s3://bucket/a b.jpg", limit_bytes=100) == b"content"
        assert read_bytes("s3://bucket/a b.jpg", limit_bytes=7) == b"content"
        assert read_bytes("s3://bucket/x::y.jpg", limit_bytes=7) == b"odd"
        assert read_bytes("s3://bucket/empty.jpg", limit_bytes=7) == b""
        with pytest.raises(ImageTooLargeError):
            read_bytes("s3://bucket/a b.jpg", limit_bytes=6)
        for uri in ("s3://bucket/gone.jpg", "s3://nowhere/a.jpg"):
            with pytest.raises(SourceError, match="does not exist") as caught:
                read_bytes(uri, limit_bytes=100)
            assert isinstance(caught.value.__cause__, FileNotFoundError)
