"""One of torchrun's processes: computes the gradients of one batch and writes them down. Arguments: folder, architectures."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from training_inputs import SMALL, make_dataset

from components.training.distributed import Group, process_group
from components.training.loop import Training
from components.training.parameters import TrainingParameters


def gradients_of_one_batch(scratch: Path, parameters: TrainingParameters, group: Group) -> dict[str, torch.Tensor]:
    """Return loss, gradients and batch statistics after one batch."""
    torch.set_num_threads(1)
    scratch.mkdir(parents=True, exist_ok=True)
    training = Training(make_dataset(), parameters, scratch, group)
    loss, _ = training.backward(next(training.views()))
    found = {
        f"gradient.{name}": p.grad.clone() for name, p in training.encoder.named_parameters() if p.grad is not None
    }
    found |= {name: value.clone() for name, value in training.encoder.named_buffers() if "running" in name}
    return {"loss": torch.tensor(loss), **found}


if __name__ == "__main__":
    with process_group() as everyone:
        for name in sys.argv[2:]:
            small = SMALL.model_copy(
                update={"architecture": name, "precision": "fp32", "processes": everyone.size, "head": "normed"}
            )
            result = gradients_of_one_batch(Path(sys.argv[1]) / f"scratch-{name}", small, everyone)
            if everyone.rank == 0:
                torch.save(result, Path(sys.argv[1]) / f"{name}.pt")
