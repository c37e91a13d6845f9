"""Judged queries: people's grades, and the embedded pictures that were graded."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa

from components.shared.errors import BadImageError, SourceError
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.truth.relevance import RELEVANT_GRADE
from monitoring.diagnosis.encoder import JudgedQueries
from monitoring.diagnosis.golden import PictureEncoder

_BATCH = 32


def right_answers(judgements: pa.Table) -> dict[str, frozenset[str]]:
    """Return the relevant images of each query: those whose mean grade over all judges is at least RELEVANT_GRADE.

    Args:
        judgements: table JUDGEMENTS.
    """
    grades: dict[tuple[str, str], list[int]] = defaultdict(list)
    columns = (judgements.column(name).to_pylist() for name in ("query_image_id", "image_id", "grade"))
    for query, image, grade in zip(*columns, strict=True):
        grades[query, image].append(grade)
    found: dict[str, set[str]] = defaultdict(set)
    for (query, image), given in grades.items():
        if query != image and np.mean(given) >= RELEVANT_GRADE:
            found[query].add(image)
    return {query: frozenset(images) for query, images in found.items()}


def embed_judged_queries(
    judgements: pa.Table,
    items: pa.Table,
    encoder: PictureEncoder,
    preprocessing: PreprocessingSpec,
    *,
    most: int,
    seed: int = 0,
) -> JudgedQueries:
    """Read the pictures of judged queries and embed them.

    Left out: queries without a right answer, those whose picture the catalogue does not name, and pictures that cannot be
    read any more.

    Args:
        judgements: table JUDGEMENTS.
        items: table ITEMS, with the locations of the pictures.
        encoder: encoder that is checked.
        preprocessing: preprocessing of the encoder.
        most: largest number of queries; more are sampled with the seed.
        seed: seed of the sample.

    Raises:
        NotReadyError: the encoder is a live one and does not answer.
    """
    answers = right_answers(judgements)
    uris = dict(zip(items.column("image_id").to_pylist(), items.column("uri").to_pylist(), strict=True))
    known = sorted(query for query in answers if query in uris)
    order = np.random.default_rng(seed).permutation(len(known))[:most]
    ids, squares = [], []
    for query in (known[int(place)] for place in np.sort(order)):
        try:
            squares.append(load_image(uris[query], preprocessing))
        except (BadImageError, SourceError):
            continue
        ids.append(query)
    batches = [encoder.encode(np.stack(squares[at : at + _BATCH])) for at in range(0, len(squares), _BATCH)]
    vectors = np.concatenate(batches) if batches else np.zeros((0, 1), np.float32)
    return JudgedQueries(tuple(ids), vectors, tuple(answers[query] for query in ids))
