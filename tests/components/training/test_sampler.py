from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from components.shared.errors import NoPositivePairError
from components.training.sampler import PairSampler
from support.inputs.training_inputs import make_pairs


def make_sampler(**changes: object) -> PairSampler:
    pairs = make_pairs(*((q, 100 + 3 * q + k, 1.0 + k) for q in range(20) for k in range(3)))
    options = {"batch_pairs": 4, "pairs_per_epoch": 1000, "seed": 3} | changes
    return PairSampler(pairs, **options)  # type: ignore[arg-type]


def test_every_query_comes_once_an_epoch_with_one_of_its_own_positives() -> None:
    batches = list(make_sampler().epoch(0))
    images = np.concatenate([batch.images for batch in batches])
    assert sorted(images[:, 0]) == list(range(20))
    assert ((images[:, 1] - 100) // 3 == images[:, 0]).all()
    assert [len(batch.images) for batch in batches] == [4] * 5


def test_equal_epochs_are_equal_and_others_are_not() -> None:
    first, again, other = (np.concatenate([b.images for b in make_sampler().epoch(e)]) for e in (2, 2, 3))
    assert (first == again).all()
    assert (first != other).any()


def test_positives_are_drawn_in_proportion_to_their_weights() -> None:
    sampler = make_sampler()
    drawn = Counter(int((p - 100) % 3) for e in range(300) for b in sampler.epoch(e) for p in b.images[:, 1])
    shares = np.array([drawn[k] for k in range(3)]) / sum(drawn.values())
    assert shares == pytest.approx(np.array([1, 2, 3]) / 6, abs=0.02)


def test_queries_with_thin_evidence_weigh_less() -> None:
    sampler = PairSampler(make_pairs((0, 1, 0.1), (2, 3, 0.9)), batch_pairs=2, pairs_per_epoch=9, seed=0)
    (batch,) = sampler.epoch(0)
    weights = dict(zip(batch.images[:, 0].tolist(), batch.weights.tolist(), strict=True))
    assert weights == {0: pytest.approx(0.2), 2: pytest.approx(1.8)}


def test_batches_split_evenly_among_processes_and_an_epoch_can_be_a_sample() -> None:
    sampler = make_sampler(batch_pairs=7, processes=3, pairs_per_epoch=13)
    sizes = [len(batch.images) for batch in sampler.epoch(0)]
    assert sizes == [6, 6]
    assert len(sampler) == 2


def test_nothing_to_sample_is_an_error() -> None:
    with pytest.raises(NoPositivePairError, match="got 0"):
        PairSampler(make_pairs(), batch_pairs=2, pairs_per_epoch=2, seed=0)
    with pytest.raises(NoPositivePairError, match="at least 3 query images"):
        PairSampler(make_pairs((0, 1, 1.0), (1, 0, 1.0)), batch_pairs=3, pairs_per_epoch=3, seed=0, processes=3)
