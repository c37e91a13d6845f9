from __future__ import annotations

import datetime
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.labelling.parameters import LabellingParameters
from components.labelling.step import run
from components.shared.errors import (
    ContractError,
    DataError,
    NoPositivePairError,
    ParameterError,
    SourceError,
    UnfinishedArtifactError,
)
from components.shared.files.artifacts import Artifact, open_artifact, seal_artifact
from components.shared.files.tables import CATALOGUE, EVENTS, JUDGEMENTS, PAIRS, read_table, write_table
from components.shared.truth.labels import read_labels_spec
from support.factories.basics import EPOCH, make_catalogue

Rows = list[dict[str, Any]]


def _run(root: Path, **fields: Any) -> Artifact:
    given: dict[str, Any] = {
        "catalogue": root / "catalogue",
        "judgements": "",
        "events": "",
        "truth": "",
        "destination": root / "labels",
        "workspace": root / "workspace",
        "parameters": LabellingParameters(),
    }
    return run(**(given | fields))


def _pairs(folder: Path) -> Rows:
    return read_table(folder / "pairs.parquet", PAIRS).to_pylist()


@pytest.fixture(scope="module")
def mined(shop: Path) -> Path:
    """Label the simulated shop once."""
    _run(shop, events=str(shop / "events.parquet"), truth=str(shop / "truth"))
    return shop


def test_the_simulated_shop_beside_its_truth(mined: Path) -> None:
    open_artifact(mined / "labels", "labelling", verify=True)
    clicks = read_labels_spec(mined / "labels").clicks
    assert clicks is not None
    assert clicks["propensities"]["true"] == pytest.approx([1 / k for k in range(1, 11)])
    assert clicks["propensities"]["estimated"] == pytest.approx(clicks["propensities"]["true"], rel=0.25)
    assert clicks["propensities"]["mean_relative_error"] < 0.1
    assert set(clicks["propensities"]["method"]) == {"intervention_harvesting_allpairs"}
    assert clicks["precision"]["mined"] > clicks["precision"]["naive_ctr"] + 0.03
    assert clicks["precision"]["mined"] > 0.9
    assert clicks["precision"]["pairs"] == clicks["mined"]["pairs"] > 50
    assert clicks["bots"]["precision"] == clicks["bots"]["recall"] == 1
    assert clicks["dropped"]["bot_clicks"] > 0
    assert clicks["dropped"]["self_clicks"] > 0
    assert clicks["warnings"] == []


def test_pairs_are_of_training_images_and_carry_source_and_weight(mined: Path) -> None:
    catalogue = {
        row["image_id"]: row for row in read_table(mined / "catalogue/catalogue.parquet", CATALOGUE).to_pylist()
    }
    pairs = _pairs(mined / "labels")
    parameters = LabellingParameters()
    for pair in pairs:
        query, positive = catalogue[pair["query_image_id"]], catalogue[pair["positive_image_id"]]
        assert query["split"] == positive["split"] == "train"
        assert (query is positive) == (pair["source"] == "augmentation")
        assert 0 < pair["weight"] <= 1
        if pair["source"] == "item":
            assert query["item_id"] == positive["item_id"]
        if pair["source"] == "click":
            assert pair["weight"] < parameters.click_weight
    counts = Counter(pair["source"] for pair in pairs)
    assert counts == read_labels_spec(mined / "labels").pairs
    assert set(counts) == {"augmentation", "click", "item"}
    assert counts["augmentation"] == sum(row["split"] == "train" for row in catalogue.values())
    keys = [(pair["source"], pair["query_image_id"], pair["positive_image_id"]) for pair in pairs]
    assert keys == sorted(set(keys))


def test_order_repetition_files_and_threads_change_no_byte(mined: Path, tmp_path: Path) -> None:
    rows = pq.read_table(mined / "events.parquet")
    chance = random.Random(1)
    order = list(range(rows.num_rows)) + chance.choices(range(rows.num_rows), k=rows.num_rows // 3)
    chance.shuffle(order)
    for number in range(3):
        path = tmp_path / "log" / f"hour={number}" / "part.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(rows.take(order[number::3]), path)
    _run(
        mined,
        events=str(tmp_path / "log"),
        destination=tmp_path / "labels",
        workspace=tmp_path / "workspace",
        parameters=LabellingParameters(threads=1, memory_gigabytes=0.5),
    )
    assert (tmp_path / "labels/pairs.parquet").read_bytes() == (mined / "labels/pairs.parquet").read_bytes()
    before, after = (read_labels_spec(folder / "labels").clicks for folder in (mined, tmp_path))
    assert before is not None
    assert after is not None
    assert after["dropped"]["repeated"] == before["dropped"]["repeated"] + rows.num_rows // 3
    assert after["prior"] == before["prior"]


def test_a_rerun_finds_its_work_finished_and_a_killed_one_goes_on(mined: Path, tmp_path: Path) -> None:
    events = {"events": str(mined / "events.parquet"), "truth": str(mined / "truth")}
    first = open_artifact(mined / "labels", "labelling")
    assert _run(mined, **events, destination=tmp_path / "again").digest == first.digest
    (work,) = (mined / "workspace/labelling").iterdir()
    copied = shutil.copytree(mined / "workspace", tmp_path / "workspace") / "labelling" / work.name
    (copied / "output/artifact.json").unlink()  # as if killed when writing, with half a table in the scratch folder
    (copied / "output/pairs.parquet").write_bytes(b"half")
    (copied / "scratch").mkdir()
    (copied / "scratch/shown.part").write_bytes(b"half")
    (copied / "scratch/spill").mkdir()
    resumed = _run(mined, **events, destination=tmp_path / "labels", workspace=tmp_path / "workspace")
    assert resumed.digest == first.digest


def test_changed_events_at_the_same_place_are_mined_again(tmp_path: Path) -> None:
    root = tmp_path
    make_catalogue(root)
    event = {
        **dict.fromkeys(EVENTS.schema.names),
        **{"event_id": "e", "query_id": "q", "user_id": "u", "query_image_id": "000-0", "returned_image_id": "000-1"},
        **{"position": 1, "type": "impression", "release_id": "r", "arm": "a", "at": 0},
    }
    summaries = []
    for count in (1, 2):
        rows = [event | {"event_id": f"e{n}", "query_id": f"q{n}"} for n in range(count)]
        write_table(root / "events.parquet", pa.Table.from_pylist(rows, EVENTS.schema), EVENTS)
        summaries.append(_run(root, events=str(root / "events.parquet")).summary["events"])
    assert summaries == [1, 2]


def test_human_judgements_make_pairs_by_grade_and_agreement(tmp_path: Path) -> None:
    make_catalogue(tmp_path, items=12, views=4)
    csv = """query_image_id,image_id,grade,judge
000-0,001-0,3,ann
000-0,001-0,3,bob
000-0,002-0,3,ann
000-0,002-0,1,bob
000-0,001-1,1,ann
000-0,011-0,3,ann
000-0,003-0,3,ann
nowhere,000-0,3,ann
"""
    (tmp_path / "judged.csv").write_text(csv)
    _run(tmp_path, judgements=str(tmp_path / "judged.csv"))
    human = {
        (pair["query_image_id"], pair["positive_image_id"]): pair["weight"]
        for pair in _pairs(tmp_path / "labels")
        if pair["source"] == "human"
    }
    # item 3 is not public, item 11 is of the split test; 001-1 is only marginal
    assert human == {
        ("000-0", "001-0"): 1.0,
        ("000-0", "002-0"): pytest.approx(2 / 3 * (1 - 1 / 1.5), abs=1e-6),
    }
    assert read_table(tmp_path / "labels/judgements.parquet", JUDGEMENTS).num_rows == 7
    spec = read_labels_spec(tmp_path / "labels")
    assert spec.judgements["dropped"] == {"unknown_image": 1}
    assert spec.judgements["disagreements"] == 1
    assert spec.clicks is None
    assert spec.rule.same_category == 0


@pytest.mark.parametrize(("private", "inappropriate"), [(False, False), (True, False), (False, True), (True, True)])
def test_private_and_inappropriate_images_are_trained_on_only_if_wanted(
    tmp_path: Path, private: bool, inappropriate: bool
) -> None:
    make_catalogue(tmp_path, items=24, views=2)
    _run(
        tmp_path,
        parameters=LabellingParameters(
            private_images=private, inappropriate_images=inappropriate, categories_as_judgements=True
        ),
    )
    wanted = {
        row["image_id"]
        for row in read_table(tmp_path / "catalogue/catalogue.parquet", CATALOGUE).to_pylist()
        if row["split"] == "train" and (row["is_public"] or private) and (row["is_appropriate"] or inappropriate)
    }
    pairs = _pairs(tmp_path / "labels")
    assert {pair["query_image_id"] for pair in pairs if pair["source"] == "augmentation"} == wanted
    assert {pair[name] for pair in pairs for name in ("query_image_id", "positive_image_id")} == wanted


def test_categories_stand_in_for_judgements(tmp_path: Path) -> None:
    make_catalogue(tmp_path, items=12, views=3)
    _run(tmp_path, parameters=LabellingParameters(categories_as_judgements=True, category_pairs_per_image=2))
    pairs = [pair for pair in _pairs(tmp_path / "labels") if pair["source"] == "category"]
    category = {
        row["image_id"]: row["category"]
        for row in read_table(tmp_path / "catalogue/catalogue.parquet", CATALOGUE).to_pylist()
    }
    assert all(category[pair["query_image_id"]] == category[pair["positive_image_id"]] for pair in pairs)
    assert set(Counter(pair["query_image_id"] for pair in pairs).values()) == {2}
    assert read_labels_spec(tmp_path / "labels").rule.same_category == 2


def test_nothing_to_train_on_says_what_is_missing(tmp_path: Path) -> None:
    make_catalogue(tmp_path, items=4, views=2)
    path = tmp_path / "catalogue/catalogue.parquet"
    table = read_table(path, CATALOGUE)
    for change, message in (
        ({"split": pa.array(["test"] * 8)}, "none of the catalogue's 8 images is of the split train"),
        ({"is_public": pa.array([False] * 8)}, "4 are of the split train, and none of these is public"),
    ):
        changed = table
        for name, values in change.items():
            changed = changed.set_column(changed.column_names.index(name), name, values)
        write_table(path, changed, CATALOGUE)
        seal_artifact(tmp_path / "catalogue", "catalogue")
        with pytest.raises(NoPositivePairError, match=message):
            _run(tmp_path)
        assert not (tmp_path / "labels").exists()


def test_bad_input_is_refused_in_one_sentence(tmp_path: Path) -> None:
    make_catalogue(tmp_path, items=4, views=2)
    with pytest.raises(ParameterError, match="no click log is given"):
        _run(tmp_path, truth=str(tmp_path))
    with pytest.raises(SourceError, match=r"judged\.csv does not exist"):
        _run(tmp_path, judgements=str(tmp_path / "judged.csv"))
    (tmp_path / "judged.csv").write_text("query_image_id,image_id,grade\nx,y,2\n")
    with pytest.raises(DataError, match="none of the 1 judgements"):
        _run(tmp_path, judgements=str(tmp_path / "judged.csv"))
    with pytest.raises(UnfinishedArtifactError, match="catalogue did not finish"):
        _run(tmp_path, catalogue=tmp_path)
    with pytest.raises(ValidationError, match="click_wieght"):
        LabellingParameters(click_wieght=1)  # type: ignore[call-arg]


def test_an_unknown_truth_is_named(mined: Path, tmp_path: Path) -> None:
    events = str(mined / "events.parquet")
    with pytest.raises(SourceError, match=r"lacks truth\.json"):
        _run(mined, events=events, truth=str(tmp_path))
    truth = shutil.copytree(mined / "truth", tmp_path / "truth")
    (truth / "truth_relevance.parquet").write_bytes(b"half")
    with pytest.raises(ContractError, match="not a readable Parquet file"):
        _run(mined, events=events, truth=str(truth), workspace=tmp_path / "workspace")


def test_an_empty_log_is_no_crash(tmp_path: Path) -> None:
    make_catalogue(tmp_path, items=4, views=2)
    write_table(tmp_path / "events.parquet", EVENTS.schema.empty_table(), EVENTS)
    _run(tmp_path, events=str(tmp_path / "events.parquet"))
    clicks = read_labels_spec(tmp_path / "labels").clicks
    assert clicks is not None
    assert clicks["mined"]["pairs"] == 0
    assert clicks["warnings"] == ["nothing was shown"]
    json.dumps(clicks, allow_nan=False)


def test_a_file_damaged_in_the_middle_is_named(mined: Path, tmp_path: Path) -> None:
    whole = (mined / "events.parquet").read_bytes()
    third = len(whole) // 3
    (tmp_path / "log").mkdir()
    (tmp_path / "log/a.parquet").write_bytes(whole)
    (tmp_path / "log/b.parquet").write_bytes(whole[:third] + bytes(third) + whole[2 * third :])
    with pytest.raises(SourceError, match=r"log/b\.parquet cannot be read to its end .*copy it again"):
        _run(mined, events=str(tmp_path / "log"), workspace=tmp_path / "workspace")


def test_pairs_mined_from_a_log_are_pairs_of_images_alike(mined: Path) -> None:
    truth = read_table(mined / "truth/truth_relevance.parquet", JUDGEMENTS)
    good = truth.filter(pc.greater_equal(truth.column("grade"), 2))
    alike = set(zip(good.column("query_image_id").to_pylist(), good.column("image_id").to_pylist(), strict=True))
    clicked = [
        (pair["query_image_id"], pair["positive_image_id"])
        for pair in _pairs(mined / "labels")
        if pair["source"] == "click"
    ]
    share = sum(pair in alike for pair in clicked) / len(clicked)
    clicks = read_labels_spec(mined / "labels").clicks
    assert clicks is not None
    assert share == pytest.approx(clicks["precision"]["mined"], abs=1e-6)


def _faithful_log(path: Path) -> str:
    """Write 40 searches for 000-0: u0 always clicks 001-0, the others 002-0 and its like 002-1; 004-0 is never clicked."""
    rows: Rows = []
    chance = random.Random(0)
    for number in range(40):
        user = "u0" if number < 20 else f"u{1 + number % 5}"
        shown = chance.sample(["000-0", "001-0", "002-0", "002-1", "004-0", "011-0", "gone"], 7)
        liked = {"001-0", "000-0"} if user == "u0" else {"002-0", "002-1", "011-0", "gone"}
        for position, image in enumerate(shown, start=1):
            for kind in ("impression", "click")[: 1 + (image in liked)]:
                rows.append(
                    {
                        "event_id": f"{number}-{image}-{kind}",
                        "query_id": f"q{number}",
                        "user_id": user,
                        "query_image_id": "000-0",
                        "returned_image_id": image,
                        "position": position,
                        "type": kind,
                        "dwell_ms": None,
                        "release_id": "r",
                        "arm": "a",
                        "at": EPOCH + datetime.timedelta(hours=number),
                        "country": None,
                    }
                )
    write_table(path, pa.Table.from_pylist(rows, EVENTS.schema), EVENTS)
    return str(path)


def _clicked(root: Path, **fields: Any) -> set[tuple[str, str]]:
    events = _faithful_log(root / "events.parquet")
    # two of five results are liked whatever their position, which is what the rule "positions" is for
    parameters = LabellingParameters(bot_position_evidence=1000, **fields)
    _run(root, events=events, parameters=parameters)
    return {
        (pair["query_image_id"], pair["positive_image_id"])
        for pair in _pairs(root / "labels")
        if pair["source"] == "click"
    }


def test_one_users_clicks_are_no_evidence_unless_wanted(tmp_path: Path) -> None:
    make_catalogue(tmp_path, items=12, views=4)
    of_many = {("000-0", "002-0"), ("000-0", "002-1"), ("002-0", "002-1")}
    assert _clicked(tmp_path) == of_many
    clicks = read_labels_spec(tmp_path / "labels").clicks
    assert clicks is not None
    assert clicks["dropped"]["self_clicks"] == 20
    assert clicks["dropped"]["clicks_on_unknown_images"] == 20
    assert _clicked(tmp_path, several_users=False, attraction_lift=0.5) == of_many | {("000-0", "001-0")}
    assert _clicked(tmp_path, minimum_clicks=21, several_users=False) == set()
