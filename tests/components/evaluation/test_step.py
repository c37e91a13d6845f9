"""The whole step on small real artifacts."""

from __future__ import annotations

import json
import math
import pathlib
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.evaluation.parameters import EvaluationParameters
from components.evaluation.step import run
from components.shared.errors import ContractError, DataError, SpaceMismatchError, UnfinishedArtifactError
from components.shared.files.artifacts import open_artifact, seal_artifact
from components.shared.files.tables import CATALOGUE, read_table, write_table
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.truth.relevance import RelevanceRule
from components.shared.vectors.encoder import OnnxEncoder
from support.inputs.evaluation_inputs import EvaluationInputs, make_champion, make_evaluation_inputs, make_labels

FAST = EvaluationParameters(resamples=200, min_queries=10, map_images=0, report_queries=2, threads=1)


def evaluate(inputs: EvaluationInputs, root, parameters=FAST, name="out"):
    artifact = run(**inputs.arguments(), destination=root / name, workspace=root / "workspace", parameters=parameters)
    metrics = json.loads((root / name / "metrics.json").read_text())
    assert set(metrics["score_floors"]["floors"]) == {"0.8", "0.9", "0.95"}
    return artifact, metrics, json.loads((root / name / "gate.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluation")
    judged = [("018-0", "019-0", 2), ("018-0", "020-1", 1), ("019-2", "019-3", 0)]
    inputs = make_evaluation_inputs(root, judgements=judged)
    return root, inputs, *evaluate(inputs, root)


def test_the_output_is_whole(finished):
    root, _, artifact, metrics, gate = finished
    assert set(open_artifact(root / "out", "evaluation", verify=True).files) == {
        "metrics.json",
        "gate.json",
        "per_query.parquet",
        "report.html",
    }
    assert list(metrics["rankers"]) == sorted(metrics["rankers"])
    assert set(metrics["rankers"]) == {"trained", "index", "untrained", "pixels", "colour_histogram", "chance"}
    assert artifact.summary["passed"] is gate["passed"]
    assert artifact.summary["recall_at_10"] == metrics["flat"]["recall_at_10"]


def test_flat_names_suit_mlflow(finished):
    flat = finished[3]["flat"]
    assert {"recall_at_10", "map", "mrr", "untrained_map", "index_ndcg_at_10", "ann_recall_at_10"} <= set(flat)
    assert all(re.fullmatch(r"[A-Za-z0-9_\-./ ]+", name) for name in flat)
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in flat.values())


def test_figures_equal_the_means_of_the_queries(finished):
    root, _, _, metrics, _ = finished
    table = pq.read_table(root / "out" / "per_query.parquet")
    for ranker, figures in metrics["rankers"].items():
        rows = table.filter(np.array([name == ranker for name in table.column("ranker").to_pylist()]))
        for metric, figure in figures.items():
            values = [v for v in rows.column(metric).to_pylist() if v is not None]
            assert figure["value"] == pytest.approx(math.fsum(values) / len(values), abs=1e-6)
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert (figure["queries"], figure["left_out"]) == (len(values), rows.num_rows - len(values))


def test_an_exact_index_answers_like_the_exact_search(finished):
    metrics = finished[3]
    assert metrics["index"]["ann_recall_at_10"]["value"] == 1.0
    assert metrics["rankers"]["index"] == metrics["rankers"]["trained"]
    assert set(metrics["trained_minus"]["index"]["map"].values()) <= {0.0, 24}


def test_the_gallery_is_the_held_out_images_alone(finished):
    root, inputs, _, metrics, _ = finished
    catalogue = read_table(inputs.catalogue / "catalogue.parquet", CATALOGUE).to_pylist()
    held_out = {row["image_id"] for row in catalogue if row["split"] == "test"}
    table = pq.read_table(root / "out" / "per_query.parquet").to_pylist()
    assert {row["query_image_id"] for row in table} == held_out
    for row in table:
        assert set(row["neighbour_image_ids"]) <= held_out - {row["query_image_id"]}
    assert metrics["protocol"]["gallery_images"] == len(held_out)


def test_label_sources_are_measured_apart(finished):
    sources = finished[3]["sources"]
    assert set(sources) == {"item", "category", "judged"}
    assert sources["judged"]["trained"]["map"]["queries"] == 2
    assert sources["item"]["trained"]["map"]["queries"] == 24
    # Categories have more relevant images, so a share of them among ten is smaller.
    assert sources["category"]["trained"]["recall_at_1"]["value"] < sources["item"]["trained"]["recall_at_1"]["value"]


def test_every_category_has_figures(finished):
    categories = finished[3]["categories"]
    assert set(categories) == {"cups", "shoes"}
    assert sum(c["trained"]["map"]["queries"] for c in categories.values()) == 24
    assert set(categories["cups"]) == {"trained", "untrained", "pixels", "colour_histogram"}


def test_a_rerun_gives_the_same_bytes(finished, tmp_path):
    root, inputs, artifact, _, _ = finished
    again, _, _ = evaluate(inputs, tmp_path)
    assert again.files == artifact.files
    finished_work, _, _ = evaluate(inputs, root, name="again")  # from the workspace
    assert finished_work.digest == artifact.digest


def test_a_killed_run_goes_on_with_its_shards(finished, tmp_path, monkeypatch):
    _, inputs, artifact, _, _ = finished
    monkeypatch.setattr("components.evaluation.pictures._SHARD", 10)

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr("components.evaluation.step.measure", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate(inputs, tmp_path)
    with monkeypatch.context() as after:
        after.setattr("components.evaluation.pictures.load_image", stop)  # no picture is described again
        after.setattr("components.evaluation.step.write_report", lambda path, _: path.write_text(""))
        again, _, _ = evaluate(inputs, tmp_path)
    assert again.files["metrics.json"] == artifact.files["metrics.json"]


def test_pictures_that_cannot_be_used_are_left_out_and_counted(tmp_path):
    inputs = make_evaluation_inputs(tmp_path, leave_out=frozenset({"018-1"}))
    rows = read_table(inputs.catalogue / "catalogue.parquet", CATALOGUE).to_pylist()
    uris = {row["image_id"]: row["uri"] for row in rows}
    with pathlib.Path(uris["019-1"]).open("wb") as file:
        file.write(b"\xff\xd8 no picture any more")
    (tmp_path / "images").joinpath("cups", "020-0.jpg").unlink()
    _, metrics, _ = evaluate(inputs, tmp_path)
    assert metrics["protocol"]["gallery_images"] == 21
    assert metrics["protocol"]["not_embedded"] == 1
    assert sum(metrics["unreadable_pictures"].values()) == 2


def test_many_images_are_sampled(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    _, metrics, _ = evaluate(inputs, tmp_path, FAST.model_copy(update={"max_queries": 7}))
    assert metrics["protocol"]["queries"] == 7
    assert metrics["protocol"]["gallery_images"] == 24


def test_the_champion_is_compared_on_the_same_queries(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    make_champion(inputs, cells=1)
    _, metrics, gate = evaluate(inputs, tmp_path)
    assert metrics["champion"]["release_id"].startswith("r-")
    assert metrics["rankers"]["champion"]["map"]["queries"] == 24
    checks = {check["name"]: check for check in gate["checks"]}
    assert checks["not_behind_champion_on_map"]["value"] == metrics["trained_minus"]["champion"]["map"]["low"]


def test_the_champion_sees_pictures_by_its_own_preprocessing(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    make_champion(inputs, cells=2)
    evaluate(inputs, tmp_path)
    uris = {
        row["image_id"]: row["uri"] for row in read_table(inputs.catalogue / "catalogue.parquet", CATALOGUE).to_pylist()
    }
    encoder = OnnxEncoder(inputs.champion / "encoder.onnx")
    answers = [
        r for r in pq.read_table(tmp_path / "out" / "per_query.parquet").to_pylist() if r["ranker"] == "champion"
    ]
    for answer in answers[:3]:
        shown = [answer["query_image_id"], *answer["neighbour_image_ids"]]
        vectors = {
            fit: encoder.encode(np.stack([load_image(uris[i], PreprocessingSpec(fit=fit)) for i in shown]))
            for fit in ("crop", "pad")
        }
        np.testing.assert_allclose(answer["neighbour_scores"], vectors["crop"][1:] @ vectors["crop"][0], atol=1e-5)
        assert np.abs(np.array(answer["neighbour_scores"]) - vectors["pad"][1:] @ vectors["pad"][0]).max() > 1e-3


def test_new_images_are_judged_with_the_champions_own_encoder(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    make_champion(inputs, like_encoder=True)
    as_encoder = EvaluationInputs(**{**inputs.arguments(), "encoder": inputs.champion})
    _, metrics, gate = evaluate(as_encoder, tmp_path)
    assert "untrained" not in metrics["rankers"]
    assert not any("untrained" in check["name"] for check in gate["checks"])
    assert metrics["trained_minus"]["champion"]["map"]["value"] == 0.0
    assert "before training" not in (tmp_path / "out" / "report.html").read_text()


def test_too_few_queries_are_refused_by_the_gate_with_a_reason(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    _, _, gate = evaluate(inputs, tmp_path, FAST.model_copy(update={"min_queries": 50}))
    assert not gate["passed"]
    assert any("24 held-out queries" in reason for reason in gate["reasons"])


def rewrite_catalogue(inputs: EvaluationInputs, **changes) -> None:
    path = inputs.catalogue / "catalogue.parquet"
    rows = read_table(path, CATALOGUE).to_pylist()
    for number, row in enumerate(rows):
        row.update({name: value(number, row) for name, value in changes.items()})
    import pyarrow as pa

    write_table(path, pa.Table.from_pylist(rows, CATALOGUE.schema), CATALOGUE)
    seal_artifact(inputs.catalogue, "catalogue")


def test_without_held_out_images_there_is_one_clear_sentence(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    rewrite_catalogue(inputs, split=lambda _, row: "train")
    with pytest.raises(DataError, match="holds 0 test images of 96, and at least two"):
        evaluate(inputs, tmp_path)


def test_without_anything_relevant_there_is_one_clear_sentence(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    rewrite_catalogue(inputs, item_id=lambda number, _: f"single-{number}")
    with pytest.raises(DataError, match="none of the 24 held-out queries has a relevant image"):
        evaluate(inputs, tmp_path)


def test_categories_as_judgements_make_single_images_measurable(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    rewrite_catalogue(inputs, item_id=lambda number, _: f"single-{number}")
    shutil.rmtree(inputs.labels)
    make_labels(inputs.labels, rule=RelevanceRule(same_category=2))
    _, metrics, _ = evaluate(inputs, tmp_path)
    assert metrics["rankers"]["trained"]["map"]["queries"] == 24
    assert metrics["sources"]["item"]["trained"]["map"]["value"] is None


def test_embeddings_of_another_encoder_are_refused(tmp_path):
    inputs = make_evaluation_inputs(tmp_path / "a")
    others = make_evaluation_inputs(tmp_path / "b", dimension=12)
    with pytest.raises(SpaceMismatchError):
        evaluate(EvaluationInputs(**{**inputs.arguments(), "embeddings": others.embeddings}), tmp_path)


def test_an_index_of_other_images_is_refused(tmp_path):
    inputs = make_evaluation_inputs(tmp_path / "a")
    others = make_evaluation_inputs(tmp_path / "b", leave_out=frozenset({"000-0"}))
    with pytest.raises(ContractError, match="indexes 95 images, the embeddings are of 96"):
        evaluate(EvaluationInputs(**{**inputs.arguments(), "index": others.index}), tmp_path)


def test_unfinished_inputs_are_refused(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    (inputs.labels / "artifact.json").unlink()
    with pytest.raises(UnfinishedArtifactError):
        evaluate(inputs, tmp_path)
