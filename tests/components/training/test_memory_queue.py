from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from components.training.memory_queue import MemoryQueue


@given(st.integers(1, 9), st.lists(st.integers(1, 12), max_size=6))
def test_holds_the_newest(size: int, batches: list[int]) -> None:
    queue, pushed = MemoryQueue(size, 2), 0
    for count in batches:
        images = torch.arange(pushed, pushed + count)
        queue.push(images[:, None] * torch.ones(1, 2), images)
        pushed += count
    assert sorted(queue.images.tolist()) == list(range(max(0, pushed - size), pushed))
    assert len(queue) == len(queue.embeddings) == min(size, pushed)
    assert torch.equal(queue.embeddings[:, 0], queue.images.float())


def test_takes_up_where_its_state_was_saved() -> None:
    queue, copy = MemoryQueue(5, 2), MemoryQueue(5, 2)
    queue.push(torch.ones(3, 2), torch.arange(3))
    copy.load_state_dict(queue.state_dict())
    for each in (queue, copy):
        each.push(torch.zeros(4, 2), torch.arange(10, 14))
    assert torch.equal(queue.images, copy.images)
    assert torch.equal(queue.embeddings, copy.embeddings)
