"""The evaluation step: measure, decide, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.evaluation.baselines import centred_pixels, colour_histogram
from components.evaluation.built_index import BuiltIndex
from components.evaluation.gallery import Gallery, align, held_out_images, make_gallery
from components.evaluation.gate import GateDecision, decide
from components.evaluation.measurement import Ranker, measure
from components.evaluation.parameters import EvaluationParameters
from components.evaluation.pictures import Describe, describe_pictures
from components.evaluation.report.page import ReportInputs, template_digest, write_report
from components.evaluation.results import Results, flat_metrics, metrics_json, per_query_table, summarise
from components.evaluation.score_floors import floors_of
from components.shared.errors import DataError
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.atomic import whole_file, write_json
from components.shared.files.layout import GATE_FILE, METRICS_FILE, REPORT_FILE, UNTRAINED_FILE
from components.shared.files.workspace import StepWork, Workspace
from components.shared.pictures.preprocessing import Pixels, PreprocessingSpec
from components.shared.release.manifest import is_release, read_manifest
from components.shared.truth.labels import LabelsSpec, read_labels_spec
from components.shared.vectors.embeddings import Vectors, read_all_embeddings
from components.shared.vectors.encoder import ENCODER_FILE, EncoderSpec, OnnxEncoder, read_encoder_spec

PER_QUERY_FILE = "per_query.parquet"

TITLES = {
    "trained": "trained encoder",
    "index": "trained encoder, through the index",
    "champion": "champion",
    "untrained": "untrained encoder",
    "pixels": "small centred pixels",
    "colour_histogram": "colour histogram",
    "chance": "chance",
}
BASELINES = ("untrained", "pixels", "colour_histogram", "chance")

_ENCODER_BATCH = 32


@dataclass(frozen=True)
class _Inputs:
    """The artifacts that the step reads."""

    catalogue: Path
    labels: Path
    encoder: Path
    embeddings: Path
    index: Path
    champion: Path


def run(
    *,
    catalogue: Path,
    labels: Path,
    encoder: Path,
    embeddings: Path,
    index: Path,
    champion: Path,
    destination: Path,
    workspace: Path,
    parameters: EvaluationParameters,
) -> Artifact:
    """Measure the encoder and its index on held-out images, decide, and draw the report.

    Args:
        catalogue: output of the catalogue step.
        labels: output of the labelling step.
        encoder: output of the training step; or the champion's release, whose encoder is kept when new images are
            indexed. Then there is no untrained encoder for comparison.
        embeddings: output of the embedding step.
        index: output of the indexing step.
        champion: a release directory, or a directory with `absent.json` alone.
        destination: directory to publish: metrics.json, gate.json, per_query.parquet and report.html.
        workspace: folder for finished and unfinished work.
        parameters: parameters of this step.

    Raises:
        DataError: there are too few held-out images, or none has a relevant image.
        ContractError: the artifacts do not belong together.
    """
    paths = {
        "catalogue": catalogue,
        "labels": labels,
        "encoder": encoder,
        "embeddings": embeddings,
        "index": index,
        "champion": champion,
    }
    inputs: dict[str, Path | str] = {**paths, "template": template_digest()}
    with Workspace(workspace).step("evaluation", inputs=inputs, parameters=parameters) as work:
        if not work.is_finished:
            for name, step in _WRITERS.items():
                if not (name == "encoder" and is_release(encoder)):
                    open_artifact(paths[name], step)
            work.finish(_evaluate(_Inputs(**paths), work, parameters))
        return work.publish(destination)


_WRITERS = {
    "catalogue": "catalogue",
    "labels": "labelling",
    "encoder": "training",
    "embeddings": "embedding",
    "index": "indexing",
}


def _evaluate(inputs: _Inputs, work: StepWork, parameters: EvaluationParameters) -> dict[str, Any]:
    spec, labels = _encoder_spec(inputs.encoder), read_labels_spec(inputs.labels)
    champion = read_manifest(inputs.champion) if is_release(inputs.champion) else None
    champion_spec = champion.encoder if champion else None
    gallery, rankers, built, failures = _prepare(inputs, work, spec, labels, champion_spec, parameters)
    trained = rankers[0].vectors
    assert trained is not None
    answers = built.answer(gallery, trained, parameters.index_depth)
    rankers.insert(1, Ranker("index", TITLES["index"], answers=answers))
    ann_recall = built.ann_recall(gallery, trained)
    outcomes = measure(gallery, rankers, seed=parameters.seed)
    results = summarise(gallery, outcomes, ann_recall, parameters)
    _check_measurable(results, gallery)
    decision = _decide(results, parameters)
    facts = {
        "space_id": spec.space_id,
        "champion": {"release_id": champion.release_id, "space_id": champion.space_id} if champion else None,
        "unreadable_pictures": failures,
    }
    metrics = metrics_json(results, gallery, outcomes, parameters, facts)
    floors = floors_of(outcomes["index"], gallery.clusters(), confidence=parameters.confidence)
    metrics["score_floors"] = floors.as_json()
    write_json(work.output / METRICS_FILE, metrics)
    write_json(work.output / GATE_FILE, decision.as_json())
    with whole_file(work.output / PER_QUERY_FILE) as temporary:
        pq.write_table(per_query_table(gallery, outcomes), temporary, compression="zstd")
    write_report(
        work.output / REPORT_FILE,
        ReportInputs(
            gallery=gallery,
            outcomes=outcomes,
            results=results,
            decision=decision,
            metrics=metrics,
            encoder=spec,
            labels=labels,
            catalogue_directory=inputs.catalogue,
            encoder_directory=inputs.encoder,
            embeddings_directory=inputs.embeddings,
            index_directory=inputs.index,
            titles=TITLES,
            parameters=parameters,
        ),
    )
    return {"passed": decision.passed, "queries": results.rankers["trained"]["map"].queries, **flat_metrics(results)}


def _prepare(
    inputs: _Inputs,
    work: StepWork,
    spec: EncoderSpec,
    labels: LabelsSpec,
    champion: EncoderSpec | None,
    parameters: EvaluationParameters,
) -> tuple[Gallery, list[Ranker], BuiltIndex, dict[str, int]]:
    """Read the inputs of all rankers and keep the images that every ranker can use."""
    images = held_out_images(inputs.catalogue)
    ids, vectors = read_all_embeddings(inputs.embeddings, space_id=spec.space_id)
    built = BuiltIndex(inputs.index, ids, vectors)
    embedded, trained = align(images, ids, vectors)
    describers: dict[str, tuple[PreprocessingSpec, Describe]] = {}
    if champion is not None:
        encode = _encode_with(inputs.champion / ENCODER_FILE, parameters.threads)
        describers["champion"] = (champion.preprocessing, encode)
    if not is_release(inputs.encoder):
        encode = _encode_with(inputs.encoder / UNTRAINED_FILE, parameters.threads)
        describers["untrained"] = (spec.preprocessing, encode)
    describers["pixels"] = (spec.preprocessing, centred_pixels)
    describers["colour_histogram"] = (spec.preprocessing, colour_histogram)
    described = describe_pictures(images, describers, work.scratch, threads=parameters.threads)
    usable = embedded & described.usable
    gallery = make_gallery(
        images,
        usable,
        inputs.labels,
        labels,
        not_embedded=int((~embedded).sum()),
        max_queries=parameters.max_queries,
        seed=parameters.seed,
    )
    rankers = [Ranker("trained", TITLES["trained"], trained[usable])]
    rankers += [Ranker(name, TITLES[name], vectors=described.vectors[name][usable]) for name in describers]
    rankers.append(Ranker("chance", TITLES["chance"]))
    return gallery, rankers, built, described.failures


def _encoder_spec(directory: Path) -> EncoderSpec:
    return read_manifest(directory).encoder if is_release(directory) else read_encoder_spec(directory)


def _decide(results: Results, parameters: EvaluationParameters) -> GateDecision:
    return decide(
        measured=results.rankers,
        ahead=results.ahead,
        ann_recall=results.ann_recall,
        baselines={name: TITLES[name] for name in BASELINES if name in results.rankers},
        parameters=parameters,
    )


def _check_measurable(results: Results, gallery: Gallery) -> None:
    if not results.rankers["trained"]["hit_rate_at_1"].queries:
        raise DataError(
            f"none of the {len(gallery.queries)} held-out queries has a relevant image among the {gallery.size} "
            "held-out images, so there is nothing to measure; give several images of an item, judgements, or categories as "
            "judgements"
        )


def _encode_with(path: Path, threads: int) -> Describe:
    encoder = OnnxEncoder(path, threads=threads)

    def encode(pictures: Pixels) -> Vectors:
        import numpy as np

        return np.concatenate(
            [encoder.encode(pictures[i : i + _ENCODER_BATCH]) for i in range(0, len(pictures), _ENCODER_BATCH)]
        )

    return encode
