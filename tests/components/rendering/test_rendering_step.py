"""The whole shop, small: its files, their bytes, what it offers to learn from, and how hard it is."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.rendering.designs import design_items, true_grades
from components.rendering.parameters import RenderingParameters
from components.rendering.step import run
from components.rendering.stock import MANIFEST_COLUMNS
from components.shared.files.artifacts import open_artifact
from components.shared.files.tables import EVENTS, JUDGEMENTS, read_table
from components.shared.pictures.decoder import decode_image

SMALL = RenderingParameters(
    seed=5,
    items=48,
    views=4,
    side=96,
    searches=1500,
    judgements=600,
    private_share=0.05,
    inappropriate_share=0.02,
    processes=1,
)
TINY = RenderingParameters(seed=1, items=12, views=2, side=64, searches=50, judgements=20, processes=1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    run(destination=root / "shop", workspace=root / "workspace", parameters=SMALL)
    return root / "shop"


def manifest(shop: Path) -> list[dict[str, str]]:
    with (shop / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


def test_it_holds_what_was_asked_for(shop):
    rows = manifest(shop)
    artifact = open_artifact(shop, "rendering", verify=True)
    assert tuple(rows[0]) == MANIFEST_COLUMNS
    assert len(rows) == artifact.summary["images"] == 48 * 4 + 8  # 4 % near-duplicates
    assert len({row["image_id"] for row in rows}) == len(rows)
    assert set(Counter(row["item_id"] for row in rows)) == {f"item-{n:05d}" for n in range(48)}
    assert set(Counter(row["category"] for row in rows).values()) <= set(range(24, 33))
    assert {row["uri"] for row in rows} == {
        path.relative_to(shop).as_posix() for path in (shop / "images").rglob("*.*")
    }
    assert {Path(row["uri"]).suffix for row in rows} == {".jpg", ".png", ".webp"}
    assert 0 < sum(row["is_public"] == "false" for row in rows) < len(rows) / 5
    assert 0 < sum(row["is_appropriate"] == "false" for row in rows) < len(rows) / 5


def test_every_picture_decodes_and_is_a_picture(shop):
    for row in manifest(shop):
        pixels = decode_image((shop / row["uri"]).read_bytes())
        assert 50 <= max(pixels.shape[:2]) <= 96
        assert pixels.std() > 5


def test_near_duplicates_are_near_and_other_views_are_not(shop):
    def thumbnail(uri: str) -> np.ndarray:
        return cv2.resize(cv2.imread(str(shop / uri)), (24, 24), interpolation=cv2.INTER_AREA).astype(float)

    rows = manifest(shop)
    copies = [row["uri"] for row in rows if "-" in Path(row["uri"]).stem]
    assert {Path(uri).stem.split("-")[1] for uri in copies} == {"reencoded", "resized", "cropped"}
    for uri in copies:
        stem = Path(uri).stem.split("-")[0]
        siblings = [r["uri"] for r in rows if Path(r["uri"]).parent == Path(uri).parent and r["uri"] not in copies]
        distances = {Path(s).stem: np.abs(thumbnail(uri) - thumbnail(s)).mean() for s in siblings}
        assert min(distances, key=lambda key: distances[key]) == stem
        assert distances[stem] < 14


def test_no_two_products_look_identical(shop):
    studio = [cv2.imread(str(path)) for path in sorted(shop.glob("images/*/*/0.*"))]
    assert len(studio) == 48
    for i, one in enumerate(studio):
        for other in studio[:i]:
            assert np.abs(one.astype(int) - other).mean() > 1


def test_equal_parameters_give_equal_bytes_and_another_seed_does_not(tmp_path):
    first, second, other = (
        run(destination=tmp_path / name / "shop", workspace=tmp_path / name / "workspace", parameters=parameters)
        for name, parameters in (("a", TINY), ("b", TINY), ("c", TINY.model_copy(update={"seed": 2})))
    )
    assert first.digest == second.digest
    names = first.files.keys() & other.files.keys()
    assert all(first.files[name].sha256 != other.files[name].sha256 for name in names)
    assert {"manifest.csv", "judgements.csv", "events.parquet", "truth.json", "truth_relevance.parquet"} <= names


def test_two_processes_write_what_one_writes(tmp_path):
    one = run(destination=tmp_path / "one", workspace=tmp_path / "a", parameters=TINY)
    two = run(
        destination=tmp_path / "two", workspace=tmp_path / "b", parameters=TINY.model_copy(update={"processes": 2})
    )
    assert one.digest == two.digest


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    whole = run(destination=tmp_path / "whole", workspace=tmp_path / "a", parameters=TINY)
    (output,) = (tmp_path / "a" / "rendering").glob("*/output")
    kept = sorted(output.glob("images/*/*"))
    before = {path: path.stat().st_mtime_ns for path in kept[3].iterdir()}
    for path in (*output.glob("*.*"), *kept[:3]):  # as after a kill: no table, three items missing, one begun
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    lost = min(kept[4].iterdir())
    lost.unlink()
    lost.touch()  # as after a power failure
    begun = output.parent / "scratch" / kept[0].name
    begun.mkdir(parents=True)
    (begun / "9.jpg").write_bytes(b"half of a pic")
    again = run(destination=tmp_path / "again", workspace=tmp_path / "a", parameters=TINY)
    assert again.digest == whole.digest
    assert {path: path.stat().st_mtime_ns for path in kept[3].iterdir()} == before


def test_judges_mostly_agree_with_the_truth(shop):
    items = design_items(SMALL.items, SMALL.seed)
    row_of = {item.item_id: row for row, item in enumerate(items)}
    item_of = {row["image_id"]: row_of[row["item_id"]] for row in manifest(shop)}
    with (shop / "judgements.csv").open() as file:
        judged = list(csv.DictReader(file))
    assert len(judged) == SMALL.judgements
    assert len({row["judge"] for row in judged}) == SMALL.judges
    assert {item_of[row["query_image_id"]] for row in judged} == set(range(48))
    query, image = (np.array([item_of[row[name]] for row in judged]) for name in ("query_image_id", "image_id"))
    error = np.array([int(row["grade"]) for row in judged]) - true_grades(items, query, image)
    assert 0.02 < (error != 0).mean() < 0.12
    assert np.abs(error).max() <= 2
    assert all(row["query_image_id"] != row["image_id"] for row in judged)
    pairs: dict[tuple[str, str], set[str]] = {}
    for row in judged:
        pairs.setdefault((row["query_image_id"], row["image_id"]), set()).add(row["grade"])
    assert any(len(grades) > 1 for grades in pairs.values())  # people disagree
    assert [row["at"] for row in judged] == sorted(row["at"] for row in judged)


def test_the_log_shows_only_what_may_be_shown_and_its_truth_is_whole(shop):
    hidden = {r["image_id"] for r in manifest(shop) if "false" in (r["is_public"], r["is_appropriate"])}
    events = read_table(shop / "events.parquet", EVENTS)
    relevance = read_table(shop / "truth_relevance.parquet", JUDGEMENTS)
    truth = json.loads((shop / "truth.json").read_text())
    assert truth["counts"]["impression"] == 15_000
    assert hidden
    assert not hidden & set(events["returned_image_id"].to_pylist())
    grades = dict(
        zip(
            zip(*(relevance[c].to_pylist() for c in ("query_image_id", "image_id")), strict=True),
            relevance["grade"].to_pylist(),
            strict=True,
        )
    )
    shown = set(zip(*(events[c].to_pylist() for c in ("query_image_id", "returned_image_id")), strict=True))
    assert {pair for pair in shown if pair[0] is not None and pair[0] != pair[1]} == set(grades)
    about = truth["items"]
    item_of = {row["image_id"]: row["item_id"] for row in manifest(shop)}
    for (query, image), grade in grades.items():
        one, other = about[item_of[query]], about[item_of[image]]
        same = item_of[query] == item_of[image]
        form = (one["category"], one["form"]) == (other["category"], other["form"])
        assert grade == (3 if same else 2 if one["family"] == other["family"] else int(form))


def hit_rate_at_1(features: np.ndarray, items: np.ndarray) -> float:
    score = features @ features.T
    np.fill_diagonal(score, -np.inf)
    return float((items[score.argmax(1)] == items).mean())


def test_colours_and_small_pixels_do_not_find_the_product(shop):
    rows = [row for row in manifest(shop) if "-" not in Path(row["uri"]).stem]
    items = np.array([row["item_id"] for row in rows])
    histograms, pixels = [], []
    for row in rows:
        picture = cv2.imread(str(shop / row["uri"]))
        histogram = cv2.calcHist([picture], [0, 1, 2], None, [8] * 3, [0, 256] * 3).ravel()
        histograms.append(np.sqrt(histogram / histogram.sum()))
        small = cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        pixels.append((small - small.mean()) / np.linalg.norm(small - small.mean()))
    assert hit_rate_at_1(np.array(histograms), items) < 0.35
    assert hit_rate_at_1(np.array(pixels), items) < 0.35
