"""How an exported encoder is best run: int8 or bf16 where the gate on held-out pictures admits it, else fp32.

The choice is the first of the processor's declared preference that passes, never the winner of a race: equal encoders and
pictures give equal releases. What each costs is measured beside it and goes to the step's summary only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import ContractError, PoisonedVectorError
from components.shared.files.atomic import sha256_of
from components.shared.truth.relevance import RELEVANT_GRADE, Relevance
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.encoder import (
    ENCODER_FILE,
    ENCODER_INT8_FILE,
    Engine,
    OnnxEncoder,
    Precision,
    RuntimeChoice,
    RuntimeFigures,
)
from components.shared.vectors.openvino_encoder import computes_bf16, open_encoder, preferred_runtimes
from components.training.dataset import Dataset, ImageSet
from components.training.quantisation import quantise_encoder

MIN_OVERLAP_AT_10 = 0.985
MAX_HIT_RATE_LOSS_POINTS = 0.2  # of int8
MIN_BF16_COSINE = 0.999
MIN_PICTURES = 100  # with fewer, ten neighbours are a large part of everything and overlap by themselves
_CANDIDATES: tuple[tuple[Engine, Precision], ...] = (
    ("onnxruntime", "int8"),
    ("openvino", "int8"),
    ("openvino", "bf16"),
)
_NEIGHBOURS, _BATCH, _BLOCK, _TIMED = 10, 16, 512, 32

Encode = Callable[[NDArray[np.uint8]], Vectors]


@dataclass(frozen=True)
class Measured:
    """A choice, and what each candidate costs here.

    Attributes:
        choice: for the encoder's spec.
        cpu_ms_per_image: "engine-precision" → milliseconds of one core, in batches of 16.
    """

    choice: RuntimeChoice
    cpu_ms_per_image: dict[str, float]


def choose_runtime(directory: Path, dataset: Dataset, *, threads: int) -> Measured:
    """Measure the candidates on the validation pictures, and write `encoder.int8.onnx` if int8 is admitted.

    Args:
        directory: holds `encoder.onnx`, the trained one.
        dataset: training pictures give int8 its ranges, validation pictures judge.
        threads: threads of one call; 0 uses all cores.
    """
    images = dataset.validation
    plain = OnnxEncoder(directory / ENCODER_FILE, threads=threads)
    quantised = directory / ENCODER_INT8_FILE
    if len(images.rows) < MIN_PICTURES:
        reason = (
            f"{len(images.rows)} validation pictures are too few for a comparison; at least {MIN_PICTURES} are needed."
        )
        figures = tuple(_refused(*candidate, reason) for candidate in _CANDIDATES)
        return Measured(RuntimeChoice(engine="onnxruntime", precision="fp32", figures=figures), {})
    expected = _embed(plain.encode, images)
    costs = {"onnxruntime-fp32": _cost(plain.encode, images)}
    training = _Rows(dataset.training.pixels, dataset.training.rows)
    is_quantised = quantise_encoder(directory / ENCODER_FILE, quantised, training)
    judged = []
    for engine, precision in _CANDIDATES:
        if precision == "int8" and not is_quantised:
            judged.append(_refused(engine, precision, "the encoder has no convolution to quantise."))
            continue
        encode, reason = _open(directory, engine, precision, threads)
        if encode is None:
            judged.append(_refused(engine, precision, reason))
            continue
        try:
            received = _embed(encode, images)
        except PoisonedVectorError as error:
            judged.append(_refused(engine, precision, f"it returns embeddings that are not unit vectors: {error}."))
            continue
        judged.append(judge(engine, precision, expected, received, images.relevance, images.rows))
        costs[f"{engine}-{precision}"] = _cost(encode, images)
    admitted = {(figures.engine, figures.precision) for figures in judged if figures.passed}
    int8 = any(precision == "int8" for _, precision in admitted)
    if not int8:
        quantised.unlink(missing_ok=True)
    plainest: tuple[Engine, Precision] = ("onnxruntime", "fp32")
    engine, precision = next((each for each in preferred_runtimes() if each in admitted), plainest)
    choice = RuntimeChoice(
        engine=engine,
        precision=precision,
        figures=tuple(judged),
        int8_sha256=sha256_of(quantised) if int8 else None,
    )
    return Measured(choice, costs)


def judge(
    engine: Engine,
    precision: Precision,
    expected: Vectors,
    received: Vectors,
    relevance: Relevance,
    rows: NDArray[np.int64],
) -> RuntimeFigures:
    """Compare as it is served: each picture, embedded in either way, looks for others in the catalogue embedded in fp32.

    Args:
        engine: of the candidate.
        precision: of the candidate.
        expected: (n, d) of fp32.
        received: (n, d) of the candidate, the same pictures.
        relevance: of pictures, the n and perhaps others; grade ≥ 2 is relevant.
        rows: (n,) which pictures of `relevance` the n are.

    Returns:
        Figures and verdict. int8 must keep the overlap and the hit rate: losing one query of few is more than 0.2 points
        already and then refused, the doubt is the candidate's. bf16 has the very weights, rounded to 8 bits while they
        are multiplied; it must keep the overlap and every picture's direction, and its hit rate is reported only.
    """
    before, after = _neighbours(expected, expected), _neighbours(received, expected)
    overlap = float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(before, after, strict=True)]))
    hits = [0, 0]
    queries = 0
    for start in range(0, len(rows), _BLOCK):
        block = np.arange(start, min(len(rows), start + _BLOCK))
        relevant = relevance.grades(rows[block], rows) >= RELEVANT_GRADE
        counted = np.flatnonzero(relevant.any(1))
        queries += len(counted)
        for way, found in enumerate((before, after)):
            hits[way] += int(relevant[counted, found[block[counted], 0]].sum())
    difference = 100 * (hits[1] - hits[0]) / queries if queries else None
    cosine = float(np.einsum("nd,nd->n", expected, received).min())
    problems = []
    if overlap < MIN_OVERLAP_AT_10:
        problems.append(f"neighbour overlap@10 is {overlap:.4f}, below {MIN_OVERLAP_AT_10}")
    if precision == "bf16":
        if cosine < MIN_BF16_COSINE:
            problems.append(f"a picture's embeddings have the cosine {cosine:.4f}, below {MIN_BF16_COSINE}")
    elif difference is None:
        problems.append("no validation picture has a relevant one, so hit rate@1 cannot be compared")
    elif difference < -MAX_HIT_RATE_LOSS_POINTS:
        problems.append(
            f"hit rate@1 is {-difference:.2f} points lower on {queries} queries (at most {MAX_HIT_RATE_LOSS_POINTS}; one "
            f"query is {100 / queries:.2f})"
        )
    return RuntimeFigures(
        engine=engine,
        precision=precision,
        neighbour_overlap_at_10=round(overlap, 4),
        hit_rate_difference_points=None if difference is None else round(difference, 2) + 0.0,
        hit_rate_resolution_points=round(100 / queries, 2) if queries else None,
        minimum_cosine=round(cosine, 4),
        pictures=len(rows),
        queries=queries,
        passed=not problems,
        reason="; ".join(problems) + "." if problems else "it is within the gate.",
    )


def _open(directory: Path, engine: Engine, precision: Precision, threads: int) -> tuple[Encode | None, str]:
    """Return the candidate ready to embed, or None and why it is not there."""
    if precision == "bf16" and not computes_bf16():
        return None, "the processor that exported does not compute in bf16, so it could not be measured."
    try:
        return open_encoder(directory, engine, precision, threads=threads).encode, ""
    except ContractError as error:
        return None, f"it cannot be loaded: {error}."


class _Rows:
    """The usable pictures of a memory map, by their own numbers, without copying them."""

    def __init__(self, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        self._pixels, self._rows = pixels, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._pixels[self._rows[places]]


def _refused(engine: Engine, precision: Precision, reason: str) -> RuntimeFigures:
    return RuntimeFigures(engine=engine, precision=precision, passed=False, reason=reason)


def _embed(encode: Encode, images: ImageSet) -> Vectors:
    rows = images.rows
    return np.concatenate([encode(images.pixels[rows[i : i + _BATCH]]) for i in range(0, len(rows), _BATCH)])


def _cost(encode: Encode, images: ImageSet) -> float:
    """Return milliseconds of one core per picture: the least of three rounds."""
    parts = [images.pixels[images.rows[i : i + _BATCH]] for i in range(0, _TIMED, _BATCH)]
    rounds = []
    for _ in range(3):
        started = time.process_time()
        for part in parts:
            encode(part)
        rounds.append((time.process_time() - started) / sum(map(len, parts)))
    return round(1000 * min(rounds), 3)


def _neighbours(queries: Vectors, gallery: Vectors) -> NDArray[np.int64]:
    """Return (n, 10) rows nearest to each query, itself left out; ties by row."""
    found = []
    for start in range(0, len(queries), _BLOCK):
        block = np.arange(start, min(len(queries), start + _BLOCK))
        scores = queries[block] @ gallery.T
        scores[np.arange(len(block)), block] = -np.inf
        found.append(np.argsort(-scores, axis=1, kind="stable")[:, :_NEIGHBOURS])
    return np.concatenate(found)
