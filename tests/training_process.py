"""One of torchrun's processes: computes the gradients of one batch and writes them down. Arguments: output, architecture."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from training_inputs import SMALL, make_dataset

from components.training.distributed import process_group
from components.training.loop import Training
from components.training.parameters import TrainingParameters


def gradients_of_one_batch(scratch: Path, parameters: TrainingParameters) -> dict[str, torch.Tensor]:
    """Return loss, gradients and batch statistics after one batch."""
    torch.set_num_threads(1)
    scratch.mkdir(parents=True, exist_ok=True)
    with process_group() as group:
        training = Training(make_dataset(), parameters, scratch, group)
        loss, _ = training.backward(next(training.views()))
        found = {
            f"gradient.{name}": p.grad.clone() for name, p in training.encoder.named_parameters() if p.grad is not None
        }
        found |= {name: value.clone() for name, value in training.encoder.named_buffers() if "running" in name}
    return {"loss": torch.tensor(loss), **found} if group.rank == 0 else {}


if __name__ == "__main__":
    output, architecture = Path(sys.argv[1]), sys.argv[2]
    result = gradients_of_one_batch(
        output.parent / "scratch",
        SMALL.model_copy(update={"architecture": architecture, "precision": "fp32", "processes": 2}),
    )
    if result:
        torch.save(result, output)
