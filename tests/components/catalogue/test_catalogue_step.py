"""The catalogue step from end to end: real files in, sealed tables out."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.catalogue import facts
from components.catalogue.parameters import CatalogueParameters
from components.catalogue.step import run
from components.shared.errors import SourceError
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.atomic import sha256_of
from components.shared.files.tables import CATALOGUE, QUARANTINE, read_table
from support.factories.basics import encode_picture
from support.inputs.photographs import copies_of, make_photograph
from support.servers.object_store import s3_server

ONE = CatalogueParameters(workers=1)
AT = 1_750_000_000


def make_shop(root: Path, *, count: int = 12, first: int = 0) -> Path:
    """Different photographs below root/<category>/, all of one time."""
    for number in range(first, first + count):
        path = root / ("shoes" if number % 2 else "hats") / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_picture(make_photograph(number, size=(120, 90)), quality=90))
        os.utime(path, (AT + number, AT + number))
    return root


def make(
    images: Path | str, tmp_path: Path, parameters: CatalogueParameters = ONE, *, name: str = "one"
) -> tuple[Artifact, dict, list]:
    """Run the step; return artifact, catalogue rows by image_id, and quarantine rows."""
    destination = tmp_path / "out-one"
    artifact = run(images=str(images), destination=destination, workspace=tmp_path / "w", parameters=parameters)
    assert open_artifact(destination, "catalogue", verify=True) == artifact
    rows = read_table(destination / "catalogue.parquet", CATALOGUE).to_pylist()
    return (
        artifact,
        {row["image_id"]: row for row in rows},
        read_table(destination / "quarantine.parquet", QUARANTINE).to_pylist(),
    )


def test_folder_becomes_a_catalogue(tmp_path):
    shop = make_shop(tmp_path / "shop")
    artifact, rows, quarantine = make(shop, tmp_path)
    assert list(rows) == sorted(rows)
    assert len(rows) == 12
    assert not quarantine
    row = rows["hats/002.jpg"]
    assert row == {
        "image_id": "hats/002.jpg",
        "item_id": "hats/002.jpg",
        "uri": str(shop / "hats" / "002.jpg"),
        "sha256": sha256_of(shop / "hats" / "002.jpg"),
        "width": 120,
        "height": 90,
        "category": "hats",
        "is_public": True,
        "is_appropriate": True,
        "added_at": datetime.datetime.fromtimestamp(AT + 2, datetime.UTC),
        "split": row["split"],
        "duplicate_group": "hats/002.jpg",
    }
    splits = Counter(row["split"] for row in rows.values())
    assert set(splits) == {"train", "validation", "test"}
    assert artifact.summary == {
        "images": 12,
        "items": 12,
        "categories": 2,
        "duplicates": 0,
        "identical_files": 0,
        "duplicates_of_other_category": 0,
        "splits": dict(splits),
        "moved_between_splits": {},
        "quarantined": {},
        "ignored_files": 0,
        "source": str(shop),
    }


def test_bad_pictures_are_quarantined_and_counted(tmp_path):
    shop = make_shop(tmp_path / "shop", count=6)
    whole = (shop / "hats" / "000.jpg").read_bytes()
    bad = {
        "empty.jpg": (b"", "empty"),
        "cut.jpg": (whole[: len(whole) // 2], "truncated"),
        "page.jpg": (b"<html>", "unsupported_format"),
        "old.gif": (b"GIF89a" + bytes(30), "damaged"),
        "text.png": (b"text", "not_an_image"),
        "big.jpg": (encode_picture(make_photograph(1, size=(700, 500))), "too_many_pixels"),
        "huge.jpg": (bytes(70_000), "too_many_bytes"),
    }
    for name, (data, _) in bad.items():
        (shop / name).write_bytes(data)
    (shop / "nowhere.jpg").symlink_to("gone")
    limits = ONE.limits.model_copy(update={"max_pixels": 200_000, "max_bytes": 60_000})
    artifact, rows, quarantine = make(shop, tmp_path, ONE.model_copy(update={"limits": limits}))
    assert len(rows) == 6
    found = {Path(row["uri"]).name: row["reason"] for row in quarantine}
    assert found == {name: reason for name, (_, reason) in bad.items()} | {"nowhere.jpg": "missing"}
    assert all(row["message"] for row in quarantine)
    assert artifact.summary["quarantined"] == dict(Counter(found.values()))


def test_near_duplicates_share_a_group_and_a_split(tmp_path):
    shop = make_shop(tmp_path / "shop", count=20)
    for number in range(5):
        for name, copy in copies_of(make_photograph(number, size=(120, 90))).items():
            path = shop / "copies" / f"{number}-{name}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode_picture(copy, "PNG"))
    (shop / "copies" / "same.jpg").write_bytes((shop / "hats" / "010.jpg").read_bytes())
    artifact, rows, _ = make(shop, tmp_path)
    for image_id, row in rows.items():
        if image_id.startswith("copies/"):
            number = 10 if image_id == "copies/same.jpg" else int(image_id[7])
            original = rows[f"{'shoes' if number % 2 else 'hats'}/{number:03d}.jpg"]
            assert (row["duplicate_group"], row["split"]) == (original["duplicate_group"], original["split"])
            assert row["duplicate_group"] == min(
                i for i, r in rows.items() if r["duplicate_group"] == row["duplicate_group"]
            )
    assert artifact.summary["duplicates"] == 41
    assert artifact.summary["identical_files"] == 1
    assert artifact.summary["duplicates_of_other_category"] == 6


def test_a_test_picture_that_train_knows_too_is_moved_and_counted(tmp_path):
    make_shop(tmp_path / "shop" / "train", count=10)
    make_shop(tmp_path / "shop" / "test", count=6, first=20)
    make_shop(tmp_path / "shop" / "validation", count=4, first=40)
    leak = tmp_path / "shop" / "test" / "leak.png"
    leak.write_bytes(encode_picture(copies_of(make_photograph(3, size=(120, 90)))["quality 75"], "PNG"))
    artifact, rows, _ = make(tmp_path / "shop", tmp_path)
    assert rows["test/leak.png"]["split"] == "train"
    assert artifact.summary["moved_between_splits"] == {"test to train": 1}
    assert artifact.summary["splits"] == {"train": 11, "validation": 4, "test": 6}


def test_result_does_not_depend_on_workers_cache_or_place_of_work(tmp_path):
    shop = make_shop(tmp_path / "shop", count=60)
    (shop / "bad.jpg").write_bytes(b"bad")
    one, _, _ = make(shop, tmp_path)
    again, _, _ = make(shop, tmp_path, CatalogueParameters(workers=2))
    other = run(
        images=str(shop),
        destination=tmp_path / "x",
        workspace=tmp_path / "w2",
        parameters=CatalogueParameters(workers=2),
    )
    assert one == again == other
    assert len([p for p in (tmp_path / "w" / "catalogue").iterdir() if not p.name.startswith("facts")]) == 1


def test_only_new_and_changed_files_are_read_again(tmp_path, monkeypatch):
    shop = make_shop(tmp_path / "shop")
    make(shop, tmp_path)
    read: list[str] = []
    inspect = facts.inspect_pictures

    def watched(uris, **options):
        read.extend(uris)
        return inspect(uris, **options)

    monkeypatch.setattr(facts, "inspect_pictures", watched)
    make_shop(shop, count=2, first=50)
    changed = shop / "shoes" / "003.jpg"
    changed.write_bytes(encode_picture(make_photograph(99, size=(60, 90))))
    (shop / "hats" / "000.jpg").unlink()
    _, rows, _ = make(shop, tmp_path)
    assert sorted(read) == sorted(str(shop / name) for name in ("hats/050.jpg", "shoes/051.jpg", "shoes/003.jpg"))
    assert (rows["shoes/003.jpg"]["width"], len(rows)) == (60, 13)
    read.clear()
    make(shop, tmp_path, CatalogueParameters(workers=1, seed=5))  # parameters that do not touch the facts
    assert read == []
    limits = ONE.limits.model_copy(update={"max_pixels": 120 * 90 - 1})
    with pytest.raises(SourceError, match="only one usable picture"):
        make(shop, tmp_path, CatalogueParameters(workers=1, limits=limits))
    assert len(read) == 13


def test_a_picture_that_could_not_be_reached_is_tried_again(tmp_path):
    shop = make_shop(tmp_path / "shop", count=4)
    (tmp_path / "m.csv").write_text(
        "uri\n" + "".join(f"shop/{p.relative_to(shop)}\n" for p in sorted(shop.rglob("*.jpg")))
    )
    hidden = (shop / "hats" / "000.jpg").rename(tmp_path / "hidden.jpg")
    _, rows, quarantine = make(tmp_path / "m.csv", tmp_path)
    assert len(rows) == 3
    assert quarantine[0]["reason"] == "missing"
    hidden.rename(shop / "hats" / "000.jpg")
    _, rows, quarantine = make(tmp_path / "m.csv", tmp_path)
    assert len(rows) == 4
    assert not quarantine


def test_many_small_cache_files_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_ROWS_PER_FILE", 1)
    monkeypatch.setattr(facts, "_MANY_FILES", 10)
    shop = make_shop(tmp_path / "shop")
    first, _, _ = make(shop, tmp_path)
    (cache,) = (tmp_path / "w" / "catalogue").glob("facts-*")
    assert len(list(cache.iterdir())) == 12
    (cache / "torn.parquet").write_bytes(b"PAR1")
    again, _, _ = make(shop, tmp_path)
    assert again == first
    (left,) = cache.iterdir()
    assert pq.read_table(left).num_rows == 12


def test_killed_while_reading_the_rerun_reads_the_rest_only(tmp_path, monkeypatch):
    """kill -9 of the whole step: no process stays behind, what was read is kept, and the result is that of one run."""
    shop = make_shop(tmp_path / "shop", count=120)
    program = (
        "import sys; from pathlib import Path; from components.catalogue import facts; facts._ROWS_PER_FILE = 20\n"
        "from components.catalogue.parameters import CatalogueParameters; from components.catalogue.step import run\n"
        "root = Path(sys.argv[1]); run(images=str(root / 'shop'), destination=root / 'out', workspace=root / 'w',"
        " parameters=CatalogueParameters(workers=1))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("w/catalogue/facts-*/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    known = sum(pq.read_table(path).num_rows for path in tmp_path.glob("w/catalogue/facts-*/*.parquet"))
    assert 0 < known < 120
    read: list[str] = []
    inspect = facts.inspect_pictures
    monkeypatch.setattr(
        facts, "inspect_pictures", lambda uris, **options: read.extend(uris) or inspect(uris, **options)
    )
    killed, _, _ = make(shop, tmp_path)
    assert len(read) == 120 - known
    assert run(images=str(shop), destination=tmp_path / "x", workspace=tmp_path / "w2", parameters=ONE) == killed


def test_a_manifest_decides_items_flags_times_and_splits(tmp_path):
    shop = make_shop(tmp_path / "shop", count=8)
    lines = ["uri,image_id,item_id,category,is_public,is_appropriate,added_at,split"]
    for number in range(8):
        folder, split = "shoes" if number % 2 else "hats", "test" if number >= 6 else "train"
        flags = f"{number != 3},{number != 5}"
        lines.append(
            f"shop/{folder}/{number:03d}.jpg,i{number},item{number // 2},c,{flags},2026-05-0{number + 1},{split}"
        )
    (tmp_path / "m.csv").write_text("\n".join(lines))
    artifact, rows, _ = make(tmp_path / "m.csv", tmp_path, CatalogueParameters(workers=1, validation_share=0))
    assert [row["item_id"] for row in rows.values()] == [f"item{n // 2}" for n in range(8)]
    assert [row["split"] for row in rows.values()] == ["train"] * 6 + ["test"] * 2
    assert [i for i, row in rows.items() if not row["is_public"]] == ["i3"]
    assert [i for i, row in rows.items() if not row["is_appropriate"]] == ["i5"]
    assert rows["i4"]["added_at"] == datetime.datetime(2026, 5, 5, tzinfo=datetime.UTC)
    assert artifact.summary["items"] == 4
    assert rows["i1"]["uri"] == str(shop / "shoes" / "001.jpg")


def test_pictures_in_an_object_store(tmp_path):
    objects = {f"shop/all/{'a' if n % 2 else 'b'}/{n} x.jpg": encode_picture(make_photograph(n)) for n in range(6)}
    objects["shop/all/a/bad.jpg"] = b"bad"
    objects["shop/all/m.csv"] = b"uri,item_id\n" + b"".join(f"a/{n} x.jpg,i{n}\n".encode() for n in (1, 3, 5, 7))
    with s3_server(objects):
        artifact, rows, quarantine = make("s3://shop/all", tmp_path)
        assert sorted(rows) == sorted(f"{'a' if n % 2 else 'b'}/{n}%20x.jpg" for n in range(6))
        assert rows["a/1%20x.jpg"]["uri"] == "s3://shop/all/a/1 x.jpg"
        assert [row["reason"] for row in quarantine] == ["not_an_image"]
        assert artifact.summary["ignored_files"] == 1
        _, rows, quarantine = make("s3://shop/all/m.csv", tmp_path)
        assert [row["item_id"] for row in rows.values()] == ["i1", "i3", "i5"]
        assert [row["reason"] for row in quarantine] == ["missing"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no pictures \(0 other files\)"),
        ({"a.jpg": b"x", "b.jpg": b"x", "c.jpg": b""}, r"none of the 3 .* most often \(2 times\) the reason is not_an_image"),
        ({"a.jpg": encode_picture(make_photograph(1))}, "only one usable picture; to learn and to measure, at least two"),
        ({"a.jpg": encode_picture(make_photograph(1)), "b.jpg": b""}, "only one usable picture"),
        ({"a.jpg": encode_picture(make_photograph(1)), "b.jpg": encode_picture(make_photograph(1), quality=50)}, "one another"),
    ],
)  # fmt: skip
def test_what_cannot_become_a_catalogue_is_said_in_one_sentence(tmp_path, files, message):
    shop = tmp_path / "shop"
    shop.mkdir()
    for name, data in files.items():
        (shop / name).write_bytes(data)
    with pytest.raises(SourceError, match=message) as caught:
        make(shop, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out-one").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"seed": -1},
        {"test_share": 0.9},
        {"test_share": 0.5, "validation_share": 0.5},
        {"wrokers": 2},
        {"workers": 1000},
    ],
)
def test_parameters_out_of_range_are_refused(values):
    with pytest.raises(ValidationError):
        CatalogueParameters(**values)
