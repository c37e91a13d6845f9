"""Manifests: what every column means, and one sentence for every mistake."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.catalogue.manifests import offer_of_manifest
from components.shared.errors import SourceError
from support.servers.object_store import s3_server

UTC = datetime.UTC


def manifest(folder: Path, text: str | bytes, *pictures: str) -> str:
    for name in pictures:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    path = folder / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_all_columns(tmp_path):
    text = (
        "price,uri,image_id,item_id,category,is_public,is_appropriate,added_at,split\n"
        "9.5,a/1.jpg,i1,shoe,shoes,true,Yes,2026-01-31T12:00:00+02:00,train\n"
        'n/a,"a/2,3.jpg",i2,,,0,NO,2026-02-01,val\n'
        ",b.jpg,,  ,NA,1,true,,\n"
    )
    offer = offer_of_manifest(manifest(tmp_path, text, "a/1.jpg", "a/2,3.jpg", "b.jpg"))
    one, two, three = sorted(offer.pictures, key=lambda p: p.uri)
    assert (one.image_id, one.item_id, one.category, one.split) == ("i1", "shoe", "shoes", "train")
    assert one.added_at == datetime.datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert (one.is_public, one.is_appropriate) == (True, True)
    assert one.uri == str(tmp_path / "a" / "1.jpg")
    assert (two.item_id, two.category, two.split) == (None, None, "validation")
    assert (two.is_public, two.is_appropriate) == (False, False)
    assert two.added_at == datetime.datetime(2026, 2, 1, tzinfo=UTC)
    assert (three.image_id, three.category, three.added_at, three.split) == ("b.jpg", "NA", None, None)
    assert three.modified_at is not None
    assert not offer.refused


@pytest.mark.parametrize(("given", "meant"), [
    ("is_publik", "is_public"), ("categroy", "category"), ("Item_ID", "item_id"), ("is_apropriate", "is_appropriate"),
])  # fmt: skip
def test_a_misspelt_column_is_not_passed_over(tmp_path, given, meant):
    with pytest.raises(SourceError, match=f"did you mean {meant}"):
        offer_of_manifest(manifest(tmp_path, f"uri,{given}\na.jpg,1\n", "a.jpg"))


def test_columns_of_other_meaning_are_passed_over(tmp_path):
    text = "uri,category,categories,price,public_price,item,split_pack,brand_id\na.jpg,x,y,1,2,3,4,5\n"
    (picture,) = offer_of_manifest(manifest(tmp_path, text, "a.jpg")).pictures
    assert (picture.category, picture.item_id, picture.split) == ("x", None, None)


def test_parquet_with_its_own_types(tmp_path):
    at = datetime.datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    table = pa.table(
        {
            "uri": pa.array(["a.jpg", f"file://{tmp_path}/b.jpg"]).dictionary_encode(),
            "image_id": pa.array([1, 2]),
            "category": pa.array(["x", None]).dictionary_encode(),
            "is_public": pa.array([True, False]),
            "added_at": pa.array([at, None], pa.timestamp("ns", tz="UTC")),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    one, two = offer_of_manifest(str(tmp_path / "m.parquet")).pictures
    assert (one.image_id, one.category, one.is_public, one.added_at) == ("1", "x", True, at)
    assert (two.image_id, two.category, two.is_public, two.is_appropriate) == ("2", None, False, True)


def test_relative_to_the_manifest_not_to_the_process(tmp_path, monkeypatch):
    manifest(tmp_path / "data", "uri\n../other/a.jpg\nb.jpg\n", "b.jpg", "../other/a.jpg")
    monkeypatch.chdir(tmp_path)
    offer = offer_of_manifest("data/manifest.csv")
    assert {p.uri for p in offer.pictures} == {str(tmp_path / "other" / "a.jpg"), str(tmp_path / "data" / "b.jpg")}


def test_missing_files_are_refused_and_the_rest_goes_on(tmp_path):
    offer = offer_of_manifest(
        manifest(tmp_path, "uri\na.jpg\ngone.jpg\nfolder\na.jpg/below.jpg\n", "a.jpg", "folder/x")
    )
    assert [p.image_id for p in offer.pictures] == ["a.jpg"]
    assert [(p.reason, Path(p.uri).name) for p in offer.refused] == [
        ("missing", "gone.jpg"),
        ("unreadable", "folder"),
        ("missing", "below.jpg"),
    ]
    assert "(row 2 of " in offer.refused[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,category\na.jpg,x\n", r"lacks the column uri \(it has path, category\); add or rename it"),
        ("uri,category\na.jpg,x,y\n", r"row 1 \(header not counted\) has 3 cells, but the header has 2 columns"),
        ("", "is empty; its first line must name uri"),
        ("uri\n", "lists no pictures; add a row for each"),
        (b"uri\n\x81\x01.jpg\n", "not text in UTF-8, UTF-16 or Windows-1252"),
        ("uri,uri\na.jpg,b.jpg\n", "has the column uri twice"),
        ("uri,x\n,1\n", r"row 1 \(header not counted\): uri is empty; give a path"),
        ("uri,image_id\na.jpg,i\nb.jpg,i\n", r"names the image i twice \(rows 1 and 2, header not counted\)"),
        ("uri\na.jpg\na.jpg\n", r"names the image a\.jpg twice \(rows 1 and 2"),
        ("uri,is_public\na.jpg,true\nb.jpg,maybe\n", r"row 2 .*: is_public is 'maybe'; write true or false"),
        ("uri,is_public\na.jpg,\n", r"row 1 .*: is_public is ''; write true or false"),
        ("uri,is_appropriate\na.jpg,2\n", r"is_appropriate is '2'; write true or false"),
        ("uri,added_at\na.jpg,last week\n", r"added_at is 'last week'; write a time like 2026"),
        ("uri,split\na.jpg,holdout\n", r"split is 'holdout'; write train, validation or test, or leave it empty"),
        ("uri,image_id\na.jpg,x\ty\n", r"image_id is 'x\\ty'; use at most 512 printable characters"),
        ("uri,item_id\na.jpg," + "y" * 513 + "\n", "item_id is 'yyy"),
    ],
)
def test_every_mistake_gets_one_sentence(tmp_path, text, message):
    with pytest.raises(SourceError, match=message) as caught:
        offer_of_manifest(manifest(tmp_path, text, "a.jpg", "b.jpg"))
    assert "manifest.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_of_a_parquet_manifest(tmp_path):
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1garbagePAR1")
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        offer_of_manifest(str(path))
    pq.write_table(pa.table({"url": ["a"]}), path)
    with pytest.raises(SourceError, match=r"lacks the column uri \(it has url\)"):
        offer_of_manifest(str(path))
    with pytest.raises(SourceError, match="does not exist; check the path"):
        offer_of_manifest(str(tmp_path / "gone.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SourceError, match="cannot be read"):
        offer_of_manifest(str(tmp_path / "folder.csv"))


def test_byte_order_mark_and_windows_lines(tmp_path):
    offer = offer_of_manifest(manifest(tmp_path, b"\xef\xbb\xbfuri,category\r\na.jpg,x\r\n", "a.jpg"))
    assert [(p.image_id, p.category) for p in offer.pictures] == [("a.jpg", "x")]


def test_manifest_in_an_object_store(tmp_path):
    (tmp_path / "local.jpg").write_bytes(b"x")
    text = f"uri,item_id\na.jpg,one\ns3://shop/other/b.jpg,two\n{tmp_path.as_uri()}/local.jpg,three\ngone.jpg,four\n"
    with s3_server({"shop/lists/m.csv": text.encode(), "shop/lists/a.jpg": b"1", "shop/other/b.jpg": b"2"}):
        offer = offer_of_manifest("s3://shop/lists/m.csv")
        assert {p.item_id: p.uri.rpartition("/")[0] for p in offer.pictures} == {
            "one": "s3://shop/lists",
            "two": "s3://shop/other",
            "three": tmp_path.as_uri(),
        }
        assert [p.image_id for p in offer.pictures if p.item_id == "two"] == ["s3/shop/other/b.jpg"]
        assert [(p.uri, p.reason) for p in offer.refused] == [("s3://shop/lists/gone.jpg", "missing")]
        assert all(p.version for p in offer.pictures)
