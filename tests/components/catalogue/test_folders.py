"""Folders as sources: ids, categories, splits, odd names, traps of the file system, and object stores."""

from __future__ import annotations

import datetime
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalogue.folders import modification_of, offer_of_folder
from components.shared.errors import SourceError
from components.shared.files.ids import safe_id
from support.servers.object_store import s3_server


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_ids_categories_and_splits_come_from_the_path(tmp_path):
    names = [
        "a.jpg",
        "shoes/b.PNG",
        "deep/er/hats/c.webp",
        "train/d.jpg",
        "Test/hats/e.jpeg",
        "val/x/y/f.jpg",
        "hats/test/g.jpg",
    ]
    offer = offer_of_folder(str(touch(tmp_path, *names)))
    found = {p.image_id: (p.category, p.split) for p in offer.pictures}
    assert found == {
        "a.jpg": (None, None),
        "shoes/b.PNG": ("shoes", None),
        "deep/er/hats/c.webp": ("hats", None),
        "train/d.jpg": (None, "train"),
        "Test/hats/e.jpeg": ("hats", "test"),
        "val/x/y/f.jpg": ("y", "validation"),
        "hats/test/g.jpg": ("test", None),  # only the first level is a split
    }
    assert [p.image_id for p in offer.pictures] == sorted(found)
    assert all(Path(p.uri).is_file() for p in offer.pictures)


def test_ids_do_not_depend_on_where_the_folder_lies(tmp_path, monkeypatch):
    touch(tmp_path / "one", "a/b.jpg")
    touch(tmp_path / "two", "a/b.jpg")
    monkeypatch.chdir(tmp_path)
    sources = ("one", "two/", f"file://{tmp_path}/one", "./one/../two")
    assert {offer_of_folder(source).pictures[0].image_id for source in sources} == {"a/b.jpg"}
    assert offer_of_folder("one").pictures[0].uri == str(tmp_path / "one" / "a" / "b.jpg")


def test_hidden_and_other_files_are_passed_over_but_foreign_pictures_are_not(tmp_path):
    touch(tmp_path, "a.jpg", ".DS_Store", "._a.jpg", ".git/b.jpg", "README.md", "Thumbs.db", "x.gif", "y.heic")
    offer = offer_of_folder(str(tmp_path))
    assert [p.image_id for p in offer.pictures] == ["a.jpg", "x.gif", "y.heic"]
    assert offer.ignored == 2
    assert not offer.refused


def test_time_and_version_are_those_of_the_file(tmp_path):
    path = touch(tmp_path, "a.jpg") / "a.jpg"
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    before = offer_of_folder(str(tmp_path)).pictures[0]
    assert before.modified_at == datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, datetime.UTC)
    os.utime(path, ns=(0, 1_700_000_000_123_456_790))
    assert offer_of_folder(str(tmp_path)).pictures[0].version != before.version


def test_odd_names_give_safe_ids(tmp_path):
    touch(
        tmp_path,
        "a b.jpg",
        "обувь/туфли.jpg",
        "q?x=1&y#z.jpg",
        "new\nline.jpg",
        "<b>.jpg",
        "100%.jpg",
        "a%20b.jpg",
        'quo"te.jpg',
    )
    offer = offer_of_folder(str(tmp_path))
    ids = {p.image_id for p in offer.pictures}
    assert len(ids) == 8
    assert {"a%20b.jpg", "a%2520b.jpg", "обувь/туфли.jpg", "100%25.jpg", "new%0Aline.jpg", "%3Cb%3E.jpg"} <= ids
    assert all(Path(p.uri).is_file() for p in offer.pictures)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12), unique=True, max_size=8))
def test_ids_are_safe_and_as_distinct_as_the_names(names):
    normal = {unicodedata.normalize("NFC", name) for name in names}
    ids = {safe_id(name) for name in names}
    assert len(ids) == len(normal)
    for image_id in ids:
        assert image_id.isprintable()
        assert not set(image_id) & set(" \t\n\"'<>&?#\\;|*`$:")
        assert safe_id(image_id.replace("%", "")) == image_id.replace("%", "")


def test_one_name_in_two_unicode_forms_stays_two_pictures(tmp_path):
    touch(tmp_path, unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg"))
    ids = [p.image_id for p in offer_of_folder(str(tmp_path)).pictures]
    assert len(set(ids)) == 2
    assert all(image_id.startswith("é.jpg~") for image_id in ids)


def test_traps_of_the_file_system_are_refused_one_by_one(tmp_path):
    touch(tmp_path, "good/a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "good" / "loop").symlink_to(tmp_path)
    (tmp_path / "folder.jpg").mkdir()
    os.close(os.open(os.fsencode(tmp_path) + b"/bad-\xff.jpg", os.O_CREAT))
    offer = offer_of_folder(str(tmp_path))
    assert [p.image_id for p in offer.pictures] == ["good/a.jpg"]
    assert sorted(p.reason for p in offer.refused) == ["missing", "not_a_file", "unusable_name"]
    assert all(p.uri.encode() for p in offer.refused)


def test_linked_folders_and_files_are_followed(tmp_path):
    touch(tmp_path / "elsewhere", "b.jpg")
    touch(tmp_path / "root", "a.jpg")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    offer = offer_of_folder(str(tmp_path / "root"))
    assert [p.image_id for p in offer.pictures] == ["a.jpg", "c.jpg", "linked/b.jpg"]


def test_what_is_no_folder_of_pictures_is_said_in_a_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "texts", "a.txt", "b.md")
    for name, message in (
        ("gone", r"the folder .*gone does not exist; check the path"),
        ("empty", r"empty holds no pictures \(0 other files\); expected files that end in \.jpg"),
        ("texts", r"texts holds no pictures \(2 other files\)"),
        ("texts/a.txt", r"neither a folder nor a manifest that ends in \.csv or \.parquet"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            offer_of_folder(str(tmp_path / name))
        assert caught.value.source


def test_folder_in_an_object_store():
    objects = {
        "shop/catalogue/train/shoes/a.jpg": b"1",
        "shop/catalogue/test/hats/b c.png": b"22",
        "shop/catalogue/.hidden/x.jpg": b"3",
        "shop/catalogue/notes.txt": b"4",
        "shop/catalogue-2/z.jpg": b"5",
    }
    with s3_server(objects) as store:
        offer = offer_of_folder("s3://shop/catalogue/")
        again = offer_of_folder("s3://shop/catalogue")
        assert again.pictures == offer.pictures
        assert [(p.image_id, p.category, p.split) for p in offer.pictures] == [
            ("test/hats/b%20c.png", "hats", "test"),
            ("train/shoes/a.jpg", "shoes", "train"),
        ]
        assert [p.uri for p in offer.pictures] == [
            "s3://shop/catalogue/test/hats/b c.png",
            "s3://shop/catalogue/train/shoes/a.jpg",
        ]
        assert offer.ignored == 1
        assert all(p.modified_at.year >= 2025 and p.version for p in offer.pictures)
        store.pipe_file("shop/catalogue/train/shoes/a.jpg", b"9")
        store.invalidate_cache()
        assert offer_of_folder("s3://shop/catalogue").pictures[1].version != offer.pictures[1].version
        for uri in ("s3://shop/nothing", "s3://nowhere/at/all"):
            with pytest.raises(SourceError, match="check the address"):
                offer_of_folder(uri)


def test_versions_of_stores_that_tell_little():
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    assert modification_of({"size": 3}) == (None, None)
    assert modification_of({"size": 3, "updated": "2026-01-02T00:00:00Z", "generation": 7}) == ("3-7", at)
    assert modification_of({"size": 3, "mtime": at.timestamp()})[1] == at
    assert modification_of({"size": 3, "LastModified": at.replace(tzinfo=None)})[1] == at
    assert modification_of({"size": 3, "mtime": "yesterday", "etag": "e"}) == ("3-e", None)


def test_folders_that_devices_make_are_passed_over(tmp_path):
    touch(tmp_path, *(
        "shoes/1.jpg", "shoes/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/old.jpg", "$RECYCLE.BIN/x.jpg", "__MACOSX/1.jpg",
        "System Volume Information/y.png", "lost+found/z.webp", "Catalog.lrdata/p.jpg", "home/workspace/catalogue/a.jpg",
        "home/runs/b.jpg", "recycled goods/kept.jpg",
    ))  # fmt: skip
    assert [p.image_id for p in offer_of_folder(str(tmp_path)).pictures] == ["recycled%20goods/kept.jpg", "shoes/1.jpg"]


def test_a_real_folder_gives_the_ids_wherever_links_lead(tmp_path):
    touch(tmp_path, "2026-01/0.jpg", "2026-02/0.jpg")
    for target in ("2026-01", "2026-02"):
        link = tmp_path / "latest"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert [p.image_id for p in offer_of_folder(str(tmp_path)).pictures] == ["2026-01/0.jpg", "2026-02/0.jpg"]


def test_a_time_beyond_the_calendar_stops_nothing(tmp_path):
    touch(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", (2**38, 2**38))
    assert [p.image_id for p in offer_of_folder(str(tmp_path)).pictures] == ["a.jpg"]
