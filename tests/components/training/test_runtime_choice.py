from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.shared.errors import ContractError
from components.shared.files.atomic import sha256_of
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.truth.relevance import Relevance, RelevanceRule
from components.shared.vectors.embeddings import normalise
from components.shared.vectors.encoder import (
    ENCODER_FILE,
    ENCODER_INT8_FILE,
    Engine,
    OnnxEncoder,
    Precision,
    RuntimeChoice,
    RuntimeFigures,
    read_encoder_spec,
    write_encoder_spec,
)
from components.shared.vectors.openvino_encoder import OpenVinoEncoder, computes_bf16, preferred_runtimes
from components.training.dataset import Dataset
from components.training.encoder import build_encoder
from components.training.export import export_encoder
from components.training.runtime_choice import MIN_PICTURES, choose_runtime, judge
from support.inputs.training_inputs import SMALL, make_dataset, unit


def relevance(n: int, size: int = 4) -> Relevance:
    return Relevance(np.arange(n) // size, np.full(n, -1), {}, RelevanceRule())


def rotated(vectors: np.ndarray, angle: float, seed: int = 3) -> np.ndarray:
    """Turn each row by an angle, each in a direction of its own."""
    noise = np.random.default_rng(seed).normal(size=vectors.shape).astype(np.float32)
    noise -= (noise * vectors).sum(1, keepdims=True) * vectors
    return normalise(np.cos(angle) * vectors + np.sin(angle) * normalise(noise))


def test_figures_equal_explicit_loops() -> None:
    n = 60
    expected = unit(n, 12, 0).numpy()
    received = rotated(expected, 0.2)
    figures = judge("openvino", "bf16", expected, received, relevance(n), np.arange(n))
    overlaps, hits = [], [0, 0]
    for i in range(n):
        others = [j for j in range(n) if j != i]
        before = sorted(others, key=lambda j: -float(expected[i] @ expected[j]))
        after = sorted(others, key=lambda j: -float(received[i] @ expected[j]))
        overlaps.append(len(set(before[:10]) & set(after[:10])) / 10)
        hits[0] += before[0] // 4 == i // 4
        hits[1] += after[0] // 4 == i // 4
    assert figures.neighbour_overlap_at_10 == pytest.approx(np.mean(overlaps), abs=1e-4)
    assert figures.hit_rate_difference_points == pytest.approx(100 * (hits[1] - hits[0]) / n, abs=0.01)
    assert figures.hit_rate_resolution_points == pytest.approx(100 / n, abs=0.01)
    assert figures.minimum_cosine == pytest.approx(np.cos(0.2), abs=1e-3)
    assert (figures.pictures, figures.queries) == (n, n)
    assert not figures.passed
    assert "overlap@10" in figures.reason
    assert "cosine" in figures.reason


def test_bf16_must_keep_every_direction_and_its_hit_rate_is_only_reported() -> None:
    rows = np.arange(400)
    vectors = normalise(unit(400, 64, 1).numpy()[rows // 4] + 0.05 * unit(400, 64, 2).numpy())
    near = rotated(vectors, 0.002)
    spoilt = near.copy()
    spoilt[7] = vectors[300]
    assert judge("openvino", "bf16", vectors, near, relevance(400), rows).passed
    assert not judge("openvino", "bf16", vectors, spoilt, relevance(400), rows).passed
    missed = judge("openvino", "bf16", vectors, near, relevance(400, size=400), rows)
    assert missed.hit_rate_difference_points == 0
    unknown = judge("openvino", "bf16", vectors, near, relevance(400, size=1), rows)
    assert (unknown.hit_rate_difference_points, unknown.passed) == (None, True)


def test_equal_embeddings_pass_and_a_lost_query_of_few_does_not() -> None:
    n = 400
    rows = np.arange(n)
    vectors = unit(n, 64, 1).numpy()
    vectors = normalise(vectors[rows // 4] + 0.05 * unit(n, 64, 2).numpy())
    assert judge("onnxruntime", "int8", vectors, vectors, relevance(n), rows).passed
    spoilt = vectors.copy()
    spoilt[7] = vectors[300]  # one query finds another item
    figures = judge("onnxruntime", "int8", vectors, spoilt, relevance(n), rows)
    assert figures.neighbour_overlap_at_10 is not None
    assert figures.neighbour_overlap_at_10 >= 0.985
    assert figures.hit_rate_difference_points == -0.25
    assert not figures.passed
    assert "0.25 points lower on 400 queries" in figures.reason


def test_without_anything_relevant_nothing_is_admitted() -> None:
    vectors = unit(120, 16, 0).numpy()
    figures = judge("onnxruntime", "int8", vectors, vectors, relevance(120, size=1), np.arange(120))
    assert (figures.queries, figures.hit_rate_difference_points, figures.passed) == (0, None, False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("choice")
    export_encoder(build_encoder(SMALL.model_copy(update={"dimension": 64})).eval(), directory / ENCODER_FILE)
    return directory


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset(items=26, views=4)


def test_the_choice_is_the_same_again_and_its_file_is_there_exactly_if_admitted(
    exported: Path, dataset: Dataset, tmp_path: Path
) -> None:
    choices = []
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / ENCODER_FILE).write_bytes((exported / ENCODER_FILE).read_bytes())
        measured = choose_runtime(directory, dataset, threads=1)
        choices.append(measured.choice)
        assert measured.cpu_ms_per_image["onnxruntime-fp32"] > 0
    assert choices[0] == choices[1]
    choice = choices[0]
    candidates = [("onnxruntime", "int8"), ("openvino", "int8"), ("openvino", "bf16")]
    assert [(f.engine, f.precision) for f in choice.figures] == candidates
    *int8, bf16 = choice.figures
    path = directory / ENCODER_INT8_FILE
    assert choice.int8_sha256 == (sha256_of(path) if any(f.passed for f in int8) else None)
    assert path.exists() == any(f.passed for f in int8)
    assert {f.pictures for f in int8} == {len(dataset.validation.rows)}
    assert (bf16.neighbour_overlap_at_10 is not None) == computes_bf16()
    admitted = {(f.engine, f.precision) for f in choice.figures if f.passed}
    expected = [each for each in preferred_runtimes() if each in admitted]
    assert (choice.engine, choice.precision) == (expected or [("onnxruntime", "fp32")])[0]


@pytest.mark.parametrize("admit", [True, False])
def test_the_gate_decides_and_a_refused_file_does_not_stay(
    exported: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, admit: bool
) -> None:
    (tmp_path / ENCODER_FILE).write_bytes((exported / ENCODER_FILE).read_bytes())
    # Untrained weights lie anywhere about the gate; its place is moved instead.
    monkeypatch.setattr("components.training.runtime_choice.MIN_OVERLAP_AT_10", 0.0 if admit else 1.1)
    monkeypatch.setattr("components.training.runtime_choice.MAX_HIT_RATE_LOSS_POINTS", 100.0)
    order = (("onnxruntime", "int8"), ("openvino", "bf16"))
    monkeypatch.setattr("components.training.runtime_choice.preferred_runtimes", lambda: order)
    choice = choose_runtime(tmp_path, dataset, threads=1).choice
    assert choice.precision == ("int8" if admit else "fp32")
    assert choice.engine == "onnxruntime"
    assert (tmp_path / ENCODER_INT8_FILE).exists() is admit
    spec = write_encoder_spec(
        tmp_path, architecture="x", dimension=64, preprocessing=PreprocessingSpec(), training={}, runtime=choice
    )
    assert read_encoder_spec(tmp_path) == spec
    if admit:
        (tmp_path / ENCODER_INT8_FILE).write_bytes(b"other")
        with pytest.raises(ContractError, match=r"encoder\.int8\.onnx"):
            read_encoder_spec(tmp_path)


def test_few_validation_pictures_judge_nothing_and_cost_nothing(tmp_path: Path) -> None:
    few = make_dataset(items=2, views=3)
    (tmp_path / ENCODER_FILE).write_bytes(b"never more than opened")
    with pytest.raises(ContractError):
        choose_runtime(tmp_path, few, threads=1)
    export_encoder(build_encoder(SMALL).eval(), tmp_path / ENCODER_FILE)
    measured = choose_runtime(tmp_path, few, threads=1)
    assert (measured.choice.engine, measured.choice.precision) == ("onnxruntime", "fp32")
    assert all(f"at least {MIN_PICTURES}" in f.reason and not f.passed for f in measured.choice.figures)
    assert not (tmp_path / ENCODER_INT8_FILE).exists()


def test_what_the_gate_refused_is_not_admitted_and_fp32_always_is() -> None:
    figures = (RuntimeFigures(engine="openvino", precision="bf16", passed=False, reason="x"),)
    choice = RuntimeChoice(engine="onnxruntime", precision="fp32", figures=figures)
    assert not choice.admits("openvino", "bf16")
    assert not choice.admits("onnxruntime", "int8")
    assert choice.admits("openvino", "fp32")


@pytest.mark.parametrize(("flags", "last"), [("avx512f amx_bf16 amx_tile", "int8"), ("avx512_bf16 avx2", "bf16")])
def test_matrix_tiles_decide_what_is_preferred(monkeypatch: pytest.MonkeyPatch, flags: str, last: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: f"flags : fpu {flags}\n")
    assert preferred_runtimes()[0] == ("openvino" if last == "int8" else "onnxruntime", "int8")
    assert preferred_runtimes()[-1][1] == last
    assert set(preferred_runtimes()) == {("onnxruntime", "int8"), ("openvino", "int8"), ("openvino", "bf16")}


def test_int8_that_one_engine_alone_may_compute_keeps_its_file(
    exported: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ENCODER_FILE).write_bytes((exported / ENCODER_FILE).read_bytes())

    def judged(engine: Engine, precision: Precision, *_: object) -> RuntimeFigures:
        is_passed = (engine, precision) == ("openvino", "int8")
        return RuntimeFigures(engine=engine, precision=precision, passed=is_passed, reason="x")

    monkeypatch.setattr("components.training.runtime_choice.judge", judged)
    choice = choose_runtime(tmp_path, dataset, threads=1).choice
    assert (choice.engine, choice.precision) == ("openvino", "int8")
    assert choice.int8_sha256 == sha256_of(tmp_path / ENCODER_INT8_FILE)


def test_openvino_computes_what_onnx_runtime_does(exported: Path, dataset: Dataset) -> None:
    pictures = dataset.training.pixels[:23]
    expected = OnnxEncoder(exported / ENCODER_FILE, threads=1).encode(pictures)
    encoder = OpenVinoEncoder(exported / ENCODER_FILE, "fp32", threads=1)
    for size in (1, 2, 3, 7, 8, 9, 23):  # computed in parts of 8, 4, 2 and 1
        np.testing.assert_allclose(encoder.encode(pictures[-size:]), expected[-size:], atol=1e-5)
    assert encoder.dimension == 64
