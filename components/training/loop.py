"""The training loop: batches to gradients, epochs to validation, and everything to a checkpoint that resumes exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from components.shared.files.progress import progress_bar
from components.training.augment import Augmentation
from components.training.checkpoint import load_checkpoint, save_checkpoint
from components.training.contrastive_loss import contrastive_sum, require_positives
from components.training.dataset import Dataset
from components.training.distributed import Group, share_statistics
from components.training.encoder import Encoder, build_encoder
from components.training.graded_loss import Categories
from components.training.optimiser import WeightAverage, build_optimiser, learning_rate, scale_gradients
from components.training.parameters import TrainingParameters
from components.training.precision import choose_device, choose_type, mixed
from components.training.relations import Relations, Rows, batch_targets
from components.training.sampler import PairSampler
from components.training.validation import validate
from components.training.views import Views, make_views

Figures = dict[str, float]

CHECKPOINT_INTERVAL_SECONDS = 60.0
_EMBED_IMAGES = 64


class Training:
    """One training from its first (or its interrupted) epoch to its last.

    Args:
        dataset: pictures, pairs and validation images.
        parameters: all dials.
        scratch: where the checkpoint lies.
        group: the processes that train together.
        start: weights of a whole encoder to fine-tune; None trains all layers from the parameters' initial weights. Then
            only the last layers learn, the earlier of them more slowly, and norms keep their statistics.

    Attributes:
        encoder: the network as it is now.
        history: the figures of each finished epoch.
    """

    def __init__(
        self,
        dataset: Dataset,
        parameters: TrainingParameters,
        scratch: Path,
        group: Group,
        *,
        start: Path | None = None,
    ) -> None:
        self._dataset, self._parameters, self._scratch, self._group = dataset, parameters, scratch, group
        self._device = choose_device(parameters, group.rank)
        self._kind = choose_type(parameters, self._device)
        self._threads = parameters.threads or torch.get_num_threads()
        self._relations = Relations(dataset.training.relevance, dataset.pairs)
        self._categories = Categories(dataset.training.relevance)
        self._sampler = PairSampler(
            dataset.pairs,
            batch_pairs=parameters.batch_pairs,
            pairs_per_epoch=parameters.pairs_per_epoch,
            seed=parameters.seed,
            processes=group.size,
        )
        self.encoder = build_encoder(parameters, load=start is None)
        self._is_fine_tuning = start is not None
        if start is not None:
            self.encoder.load_state_dict(load_file(start))
        elif group.size > 1:
            share_statistics(self.encoder)
        self.encoder.to(self._device)
        self._optimiser = build_optimiser(self.encoder, parameters, fine_tuning=self._is_fine_tuning)
        self._average = WeightAverage(self.encoder, parameters.average_decay) if parameters.average_decay else None
        self._epoch = 0
        self._losses: list[float] = []  # of the current epoch
        self._saved = time.monotonic()
        self._best: dict[str, Tensor] = {}
        self.history: list[Figures] = []
        self._resume()

    def run(self, on_epoch: Callable[[Figures, float], None] | None = None) -> dict[str, Tensor]:
        """Train to the end and return the weights of the best validated epoch.

        Args:
            on_epoch: called after each epoch with its figures and the seconds it took; in every process.
        """
        while self._epoch < self._parameters.epochs and not self._is_exhausted():
            started = time.monotonic()
            self._run_epoch()
            if on_epoch is not None:
                on_epoch(self.history[-1], time.monotonic() - started)
        self.save()
        return self._best

    def save(self) -> None:
        """Write the checkpoint (first process only)."""
        if self._group.rank == 0:
            save_checkpoint(self._scratch, self._state())
        self._saved = time.monotonic()

    def views(self) -> Iterator[Views]:
        """Yield this process's parts of the batches that the current epoch still has."""
        return make_views(
            self._sampler.epoch(self._epoch),
            self._dataset.training.pixels,
            Augmentation.of(self._parameters, side=self._view_side()),
            seed=self._parameters.seed,
            epoch=self._epoch,
            first=len(self._losses),
            group=self._group,
            threads=self._threads,
        )

    def _view_side(self) -> int:
        return self.encoder.side if self._parameters.is_timm else self._parameters.view_side(self._epoch)

    def _run_epoch(self) -> None:
        parameters, epoch = self._parameters, self._epoch
        title = f"epoch {epoch + 1}/{parameters.epochs}"
        bar: tqdm[None] = progress_bar(None, title, total=len(self._sampler), unit="batch")
        with bar:
            bar.disable = self._group.rank > 0
            bar.update(len(self._losses))
            for part in self.views():
                self._losses.append(self._step(part, epoch * len(self._sampler) + len(self._losses)))
                bar.set_postfix(self._shown(), refresh=False)
                bar.update()
                if time.monotonic() - self._saved > CHECKPOINT_INTERVAL_SECONDS:
                    self.save()
        self._conclude()

    def _shown(self) -> dict[str, str]:
        shown = {"loss": f"{np.mean(self._losses):.3f}"}
        rates = [
            figures["validation_hit_rate_at_1"] for figures in self.history if "validation_hit_rate_at_1" in figures
        ]
        return shown | ({"hit rate@1": f"{rates[-1]:.3f}"} if rates else {})

    def _conclude(self) -> None:
        """Validate, note the figures and keep the weights if they are the best so far."""
        parameters = self._parameters
        figures: Figures = {"epoch": self._epoch + 1, "loss": float(np.mean(self._losses))}
        figures["learning_rate"] = self._optimiser.param_groups[0]["lr"]
        self._epoch, self._losses = self._epoch + 1, []
        if self._epoch % parameters.validation_interval == 0 or self._epoch == parameters.epochs:
            figures |= self._validate()
        self.history.append(figures)
        if best_epoch(self.history) == self._epoch:
            self._best = {name: value.detach().cpu().clone() for name, value in self._exported().state_dict().items()}

    def _validate(self) -> Figures:
        images = self._dataset.validation
        found = validate(self._embed(images.pixels, images.rows), images.relevance, images.rows)
        names = ("hit_rate_at_1", "recall_at_10", "mean_average_precision")
        values = [getattr(found, name) if found is not None else math.nan for name in names]
        # One process decides for all: a last bit that differs between GPUs must not stop one and not the others.
        shared = self._group.same(torch.tensor(values, dtype=torch.float64, device=self._device)).tolist()
        return {} if math.isnan(shared[0]) else {f"validation_{n}": v for n, v in zip(names, shared, strict=True)}

    def _is_exhausted(self) -> bool:
        return bool(self._parameters.patience) and self._epoch - best_epoch(self.history) >= self._parameters.patience

    def _step(self, views: Views, step: int) -> float:
        parameters = self._parameters
        rate = learning_rate(step, parameters.epochs * len(self._sampler), parameters)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        loss, _ = self.backward(views)
        scale_gradients(self.encoder, parameters.gradient_norm)
        self._optimiser.step()
        if self._average is not None:
            self._average.update(self.encoder, step)
        return loss

    def backward(self, views: Views) -> tuple[float, Tensor]:
        """Compute the gradients of a batch, summed over all processes.

        Args:
            views: this process's part of the batch.

        Returns:
            The loss of the whole batch, and the (b, d) embeddings of this process's views, without gradient.
        """
        self.encoder.train()
        if self._is_fine_tuning:
            keep_statistics(self.encoder)
        self._optimiser.zero_grad(set_to_none=True)
        with mixed(self._device, self._kind):
            embeddings = self.encoder(views.pixels.to(self._device))
        loss = self._loss(embeddings, views)
        loss.backward()  # type: ignore[no-untyped-call]
        self._group.sum_gradients(self.encoder)
        return float(self._group.sum(loss)), embeddings.detach()

    def _loss(self, embeddings: Tensor, views: Views) -> Tensor:
        """Return this process's part of the loss; the parts of all processes add up to the loss of the whole batch."""
        parameters, images = self._parameters, views.batch.images.reshape(-1)
        count = len(embeddings) // 2
        targets = batch_targets(
            self._relations,
            views.batch.images,
            views.batch.weights,
            first=views.first,
            count=count,
            single=parameters.objective == "single",
        ).to(self._device)
        candidates, each = self._group.gather(embeddings), parameters.objective == "each"
        total, weight = contrastive_sum(embeddings, candidates, targets, parameters.temperature, each=each)
        loss = total / require_positives(self._group.sum(weight))
        if not (parameters.category_weight and self._categories.relate_any):
            return loss
        anchors = images[2 * views.first : 2 * (views.first + count)]
        second = self._categories.targets(targets, anchors, images).to(self._device)
        total, weight = contrastive_sum(embeddings, candidates, second, parameters.category_temperature, each=each)
        return loss + parameters.category_weight * total / self._group.sum(weight).clamp(min=1e-12)

    def _exported(self) -> Encoder:
        encoder = self._average.encoder if self._average is not None else self.encoder
        assert isinstance(encoder, Encoder)
        return encoder

    def _embed(self, pictures: NDArray[np.uint8], rows: Rows) -> NDArray[np.float32]:
        """Embed pictures as they will be embedded later: no augmentation, averaged weights. (len(rows), d) float32."""
        if not len(rows):
            return np.zeros((0, self._parameters.dimension), np.float32)
        blocks = (pictures[rows[start : start + _EMBED_IMAGES]] for start in range(0, len(rows), _EMBED_IMAGES))
        parts = [part for block in blocks for part in self._embed_parts(self._exported(), torch.from_numpy(block))]
        return torch.cat(parts).cpu().numpy()

    @torch.no_grad()
    def _embed_parts(self, encoder: Encoder, pixels: Tensor) -> Iterator[Tensor]:
        was_training = encoder.training
        encoder.eval()
        for part in torch.split(pixels, _EMBED_IMAGES):
            with mixed(self._device, self._kind):
                yield encoder(part.to(self._device))
        encoder.train(was_training)

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "losses": self._losses,
            "history": self.history,
            "encoder": self.encoder.state_dict(),
            "average": self._average.encoder.state_dict() if self._average is not None else {},
            "optimiser": self._optimiser.state_dict(),
            "best": self._best,
        }

    def _resume(self) -> None:
        state = load_checkpoint(self._scratch)
        if state is None:
            return
        self._epoch, self._losses = state["epoch"], state["losses"]
        self.history, self._best = state["history"], state["best"]
        self.encoder.load_state_dict(state["encoder"])
        if self._average is not None:
            self._average.encoder.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])


def best_epoch(history: list[Figures]) -> int:
    """Return the epoch (from 1) with the best validation hit rate.

    Mean average precision decides ties, then the longer training. Epochs without validation are passed over; where
    nothing was validated it is the last one, and 0 before the first.
    """
    validated = [figures for figures in history if "validation_hit_rate_at_1" in figures]
    if not validated:
        return len(history)
    best = max(
        validated,
        key=lambda f: (f["validation_hit_rate_at_1"], f["validation_mean_average_precision"], f["epoch"]),
    )
    return int(best["epoch"])


def keep_statistics(network: nn.Module) -> None:
    """Have batch normalisation use its running statistics, and not update them: batches are small and unlike theirs."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
