"""The whole step on real parts: what the release holds, that it is the same each time, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registration.fetch_champion import run_fetch_champion
from components.registration.parameters import RegistrationParameters
from components.registration.registry import CHAMPION, Registry
from components.registration.step import run
from components.shared.errors import ContractError, DataError, SpaceMismatchError, UnfinishedArtifactError
from components.shared.files.artifacts import open_artifact, seal_artifact
from components.shared.files.atomic import sha256_of, write_json
from components.shared.files.tables import ITEMS, read_table, write_table
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, open_release, read_manifest
from components.shared.vectors.embeddings import read_all_embeddings, read_embeddings, write_embeddings
from components.shared.vectors.encoder import (
    ENCODER_FILE,
    ENCODER_INT8_FILE,
    ENCODER_SPEC_FILE,
    RuntimeChoice,
    read_encoder_spec,
)
from support.factories.basics import encode_picture
from support.factories.release_factory import make_absent_champion, make_encoder, make_evaluation, make_parts

PARAMETERS = RegistrationParameters(threads=1, reference_rows=20)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    make_parts(root)
    return root


@pytest.fixture
def parts(pristine: Path, tmp_path: Path) -> dict[str, Path]:
    names = ("catalogue", "encoder", "embeddings", "index", "evaluation", "champion")
    return {name: Path(shutil.copytree(pristine / name, tmp_path / name)) for name in names}


@pytest.fixture
def go(parts: dict[str, Path], tmp_path: Path, uri: str) -> Callable[..., Any]:
    def register(**changes: Any) -> Any:
        arguments = {
            **parts,
            "destination": tmp_path / "release",
            "workspace": tmp_path / "workspace",
            "tracking_uri": uri,
            "parameters": PARAMETERS,
        }
        return run(**{**arguments, **changes})

    return register


def test_release_holds_what_the_architecture_says(
    go: Callable[..., Any], parts: dict[str, Path], tmp_path: Path, uri: str
) -> None:
    artifact = go()
    assert artifact.summary["version"] == 1
    assert open_artifact(tmp_path / "release", "registration", verify=True).digest == artifact.digest
    release = open_release(tmp_path / "release", threads=1)
    manifest = release.manifest
    assert artifact.summary["release_id"] == manifest.release_id
    assert (manifest.catalogue.images, manifest.catalogue.items, manifest.catalogue.generation) == (48, 12, 0)
    assert manifest.gate == {
        "passed": True,
        "checks": [{"name": "index_recall", "value": 1.0, "threshold": 0.95, "passed": True}],
    }
    assert manifest.metrics["hit_rate_at_1"] == 0.75
    assert (manifest.metrics["hit_rate_at_1_low"], manifest.metrics["hit_rate_at_1_high"]) == (0.7, 0.8)
    assert Registry(uri).get(CHAMPION).release_id == manifest.release_id

    ids, vectors = read_embeddings(tmp_path / "release" / REFERENCE_FILE, space_id=manifest.space_id)
    all_ids, all_vectors = read_all_embeddings(parts["embeddings"])
    assert len(ids) == len(set(ids)) == 20
    np.testing.assert_array_equal(vectors, all_vectors[[all_ids.index(i) for i in ids]])
    assert any(i in all_ids[:24] for i in ids)
    assert any(i in all_ids[24:] for i in ids)

    items = {row["image_id"]: row for row in read_table(tmp_path / "release" / "items.parquet", ITEMS).to_pylist()}
    golden = pq.read_table(tmp_path / "release" / GOLDEN_FILE).to_pylist()
    assert len(golden) == 8
    assert len({items[row["image_id"]]["item_id"] for row in golden}) == 8
    for row in golden:
        item = items[row["image_id"]]
        assert item["is_public"]
        assert item["is_appropriate"]
        assert hashlib.sha256(row["picture"]).hexdigest() == item["sha256"]
        assert row["expected_image_ids"][0] == row["image_id"]
        assert len(row["expected_image_ids"]) == 10


def test_release_is_the_same_in_another_workspace_and_registry(
    go: Callable[..., Any], tmp_path: Path, new_store: Callable[[str], str]
) -> None:
    first = go().summary["release_id"]
    again = go(workspace=tmp_path / "elsewhere", destination=tmp_path / "other", tracking_uri=new_store("other home"))
    assert again.summary["release_id"] == first
    for name in ("manifest.json", GOLDEN_FILE, REFERENCE_FILE):
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "release" / name).read_bytes()


def test_second_run_finds_the_work_done(go: Callable[..., Any], uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = go()
    monkeypatch.setattr("components.registration.step.assemble_release", None)
    assert go() == first
    assert len(Registry(uri).releases()) == 1


def test_lost_registry_gets_the_finished_release_again(go: Callable[..., Any], new_store: Callable[[str], str]) -> None:
    first = go()
    fresh = new_store("a new home")
    assert go(tracking_uri=fresh) == first
    assert Registry(fresh).get(1).release_id == first.summary["release_id"]


def test_rerun_after_it_became_champion_itself_is_the_same_release(
    go: Callable[..., Any], parts: dict[str, Path], tmp_path: Path, uri: str
) -> None:
    first = go()
    champion = tmp_path / "now the champion"
    run_fetch_champion(destination=champion, workspace=tmp_path / "workspace", tracking_uri=uri)
    metrics = json.loads((parts["evaluation"] / "metrics.json").read_text())
    metrics["champion"] = {"release_id": first.summary["release_id"]}
    metrics["flat"] |= {"champion_hit_rate_at_1": 0.75, "hit_rate_at_1": 0.75 + 1e-15}
    gate = json.loads((parts["evaluation"] / "gate.json").read_text())
    gate["checks"].append(
        {"name": "not_behind_champion_on_map", "value": 0.0, "threshold": -0.03, "passed": True, "explanation": "…"}
    )
    evaluation = tmp_path / "evaluation beside the champion"
    make_evaluation(evaluation, metrics=metrics, gate=gate)
    again = go(champion=champion, evaluation=evaluation)
    assert again.summary == first.summary
    assert len(Registry(uri).releases()) == 1


def test_leftovers_of_a_killed_attempt_do_not_get_into_the_release(go: Callable[..., Any], tmp_path: Path) -> None:
    first = go().summary["release_id"]
    (output,) = (tmp_path / "workspace" / "registration").glob("*/output")
    (output / "artifact.json").unlink()  # as if killed before the seal
    (output / ".golden.parquet.x.part").write_bytes(b"half")
    (output / "junk").write_bytes(b"junk")
    assert go().summary["release_id"] == first


def test_gate_that_refused_is_final(go: Callable[..., Any], tmp_path: Path, uri: str) -> None:
    evaluation = make_evaluation(
        tmp_path / "refused", passed=False, reasons=["hit rate behind chance.", "Too few queries."]
    )
    with pytest.raises(DataError, match=r"hit rate behind chance\. Too few queries\."):
        go(evaluation=evaluation)
    assert not Registry(uri).releases()


@pytest.mark.parametrize("passed", ["true", 1, None])
def test_gate_must_say_true_and_nothing_like_it(go: Callable[..., Any], tmp_path: Path, passed: object) -> None:
    with pytest.raises(DataError, match="no reason given"):
        go(evaluation=make_evaluation(tmp_path / "odd", gate={"passed": passed}))


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"passed": true}'])
def test_gate_of_another_make_is_refused(go: Callable[..., Any], tmp_path: Path, content: str) -> None:
    evaluation = make_evaluation(tmp_path / "odd")
    (evaluation / "gate.json").write_text(content)
    seal_artifact(evaluation, "evaluation")
    with pytest.raises(ContractError, match=r"gate\.json"):
        go(evaluation=evaluation)


def test_metrics_of_another_make_are_refused(go: Callable[..., Any], tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path / "odd", metrics={"rankers": {}})
    with pytest.raises(ContractError, match=r"metrics\.json lacks 'trained'"):
        go(evaluation=evaluation)


@pytest.mark.parametrize("name", ["catalogue", "encoder", "embeddings", "index", "evaluation", "champion"])
def test_unfinished_part_is_refused(go: Callable[..., Any], parts: dict[str, Path], name: str) -> None:
    (parts[name] / "artifact.json").unlink()
    with pytest.raises(UnfinishedArtifactError, match="did not finish"):
        go()


@pytest.mark.parametrize("name", ["encoder/encoder.onnx", "index/index.faiss", "embeddings/embeddings-00001.parquet"])
def test_altered_part_is_refused(go: Callable[..., Any], parts: dict[str, Path], tmp_path: Path, name: str) -> None:
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ContractError, match="altered"):
        go()


def test_embeddings_of_another_space_are_refused(go: Callable[..., Any], tmp_path: Path) -> None:
    make_encoder(tmp_path / "another", seed=5)
    seal_artifact(tmp_path / "another", "training")
    with pytest.raises(SpaceMismatchError):
        go(encoder=tmp_path / "another")


def test_index_of_other_images_is_refused(go: Callable[..., Any], parts: dict[str, Path]) -> None:
    items = read_table(parts["index"] / "items.parquet", ITEMS)
    place = items.schema.get_field_index("image_id")
    ids = items.column("image_id").to_pylist()
    write_table(
        parts["index"] / "items.parquet", items.set_column(place, "image_id", pa.array(["new", *ids[1:]])), ITEMS
    )
    seal_artifact(parts["index"], "indexing")
    with pytest.raises(ContractError, match="image new, which is not in"):
        go()


def test_index_and_embeddings_must_be_as_many(go: Callable[..., Any], parts: dict[str, Path]) -> None:
    directory = parts["embeddings"]
    shard = directory / "embeddings-00001.parquet"
    ids, vectors = read_embeddings(shard)
    spec = json.loads((directory / "embeddings.json").read_text())
    write_embeddings(shard, ids[:-1], vectors[:-1], space_id=spec["space_id"])
    (directory / "embeddings.json").write_text(json.dumps(spec | {"rows": spec["rows"] - 1}))
    seal_artifact(directory, "embedding")
    with pytest.raises(ContractError, match="indexes 48 images"):
        go()


# Golden pictures


def change_items(parts: dict[str, Path], change: Callable[[dict[str, Any]], None]) -> None:
    items = read_table(parts["index"] / "items.parquet", ITEMS)
    rows = items.to_pylist()
    for row in rows:
        change(row)
    write_table(parts["index"] / "items.parquet", pa.Table.from_pylist(rows, items.schema), ITEMS)
    seal_artifact(parts["index"], "indexing")


def test_private_changed_and_missing_pictures_are_never_golden(
    go: Callable[..., Any], parts: dict[str, Path], tmp_path: Path
) -> None:
    def change(row: dict[str, Any]) -> None:
        number = int(row["image_id"].split("-")[0])
        row["is_public"], row["is_appropriate"] = number != 0, number != 1
        row["sha256"] = "0" * 64 if number == 2 else row["sha256"]
        row["uri"] = "/nowhere.jpg" if number == 3 else row["uri"]
        row["uri"] = __file__ if number == 4 else row["uri"]

    change_items(parts, change)
    go(parameters=PARAMETERS.model_copy(update={"golden_pictures": 40}))
    numbers = {row["image_id"].split("-")[0] for row in pq.read_table(tmp_path / "release" / GOLDEN_FILE).to_pylist()}
    assert numbers == {f"{n:03d}" for n in range(5, 12)}


def test_nothing_to_show_is_said(go: Callable[..., Any], parts: dict[str, Path]) -> None:
    change_items(parts, lambda row: row.update(is_public=False))
    with pytest.raises(DataError, match="at least one must be public"):
        go()


def test_large_pictures_are_passed_over_or_shrunk(
    go: Callable[..., Any], parts: dict[str, Path], tmp_path: Path
) -> None:
    large = encode_picture(np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8), "PNG")
    (tmp_path / "large.png").write_bytes(large)
    facts = {"uri": str(tmp_path / "large.png"), "sha256": hashlib.sha256(large).hexdigest()}
    assert len(large) > PARAMETERS.golden_max_bytes
    change_items(parts, lambda row: row.update(facts if row["item_id"] != "item-007" else {}))
    go()
    golden = pq.read_table(tmp_path / "release" / GOLDEN_FILE).to_pylist()
    sizes = {row["image_id"]: len(row["picture"]) for row in golden}
    assert len(sizes) == 8
    assert {image_id for image_id, size in sizes.items() if size < 20_000} == {f"007-{view}" for view in range(4)}
    assert max(sizes.values()) <= PARAMETERS.golden_max_bytes
    assert open_release(tmp_path / "release", threads=1)


# Generations


def test_reindexing_makes_the_next_generation(
    go: Callable[..., Any], parts: dict[str, Path], tmp_path: Path, uri: str
) -> None:
    first = go()
    champion = tmp_path / "fetched"
    run_fetch_champion(destination=champion, workspace=tmp_path / "workspace", tracking_uri=uri)
    assert go(encoder=champion, champion=champion).summary == first.summary  # nothing is new: the same release
    change_items(parts, lambda row: row.update(category="new"))
    second = go(encoder=champion, champion=champion)
    manifest = read_manifest(tmp_path / "release")
    assert second.summary["version"] == 2
    assert (manifest.catalogue.generation, manifest.catalogue.parent) == (1, first.summary["release_id"])
    assert manifest.space_id == first.summary["space_id"]
    (registered,) = [r for r in Registry(uri).releases() if r.version == 2]
    assert (registered.generation, registered.parent) == (1, first.summary["release_id"])


# The choice of a runtime


def test_the_quantised_encoder_goes_into_the_release_and_into_its_next_generation(
    go: Callable[..., Any], parts: dict[str, Path], tmp_path: Path, uri: str
) -> None:
    encoder = parts["encoder"]
    (encoder / ENCODER_INT8_FILE).write_bytes((encoder / ENCODER_FILE).read_bytes())
    choice = RuntimeChoice(engine="onnxruntime", precision="int8", int8_sha256=sha256_of(encoder / ENCODER_INT8_FILE))
    spec = read_encoder_spec(encoder).model_copy(update={"runtime": choice})
    write_json(encoder / ENCODER_SPEC_FILE, spec.model_dump(mode="json"))
    seal_artifact(encoder, "training")
    go()
    first = open_release(tmp_path / "release", threads=1).manifest
    assert first.encoder.runtime == choice
    assert first.files[ENCODER_INT8_FILE].sha256 == choice.int8_sha256
    champion = tmp_path / "fetched"
    run_fetch_champion(destination=champion, workspace=tmp_path / "workspace", tracking_uri=uri)
    change_items(parts, lambda row: row.update(is_public=False) if row["row"] == 0 else None)
    go(encoder=champion, champion=champion)
    second = open_release(tmp_path / "release", threads=1).manifest
    assert second.catalogue.generation == 1
    assert (second.encoder, second.files[ENCODER_INT8_FILE]) == (first.encoder, first.files[ENCODER_INT8_FILE])


# The champion


def test_absent_champion_is_said(tmp_path: Path, uri: str) -> None:
    artifact = run_fetch_champion(destination=tmp_path / "champion", workspace=tmp_path / "workspace", tracking_uri=uri)
    assert artifact.step == "champion"
    assert set(artifact.files) == {"absent.json"}
    assert "is champion yet" in json.loads((tmp_path / "champion" / "absent.json").read_text())["reason"]
    assert open_artifact(tmp_path / "champion", "champion", verify=True) == artifact
    other = make_absent_champion(tmp_path / "other")
    assert open_artifact(other, "champion").digest != artifact.digest


def test_champion_is_looked_up_each_time(tmp_path: Path, uri: str, release: Path, second_release: Path) -> None:
    def fetch() -> Any:
        return run_fetch_champion(destination=tmp_path / "champion", workspace=tmp_path / "workspace", tracking_uri=uri)

    absent, registry = fetch(), Registry(uri)
    registry.register(release)
    first = fetch()
    assert read_manifest(tmp_path / "champion") == read_manifest(release)
    assert not (tmp_path / "champion" / "absent.json").exists()
    registry.register(second_release)
    assert fetch() == first
    registry.promote(2, CHAMPION, who="ada", why="better")
    second = fetch()
    assert read_manifest(tmp_path / "champion") == read_manifest(second_release)
    assert len({absent.digest, first.digest, second.digest}) == 3
    assert open_artifact(tmp_path / "champion", "champion", verify=True).summary["version"] == 2
    assert open_release(tmp_path / "champion", threads=1)
