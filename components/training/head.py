"""A linear head on features that are computed already: PCA without any label, then trained contrastively in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import nn
from torch.nn import functional

from components.shared.truth.relevance import Relevance
from components.training.contrastive_loss import contrastive_sum, require_positives
from components.training.dataset import Dataset
from components.training.features import Features, FeatureSets
from components.training.graded_loss import Categories
from components.training.graphs import LinearHead
from components.training.loop import Figures
from components.training.parameters import TrainingParameters
from components.training.relations import Relations, batch_targets
from components.training.sampler import Batch, PairSampler
from components.training.validation import validate

VALIDATIONS = 10
_PCA_PICTURES = 20_000
_PAIRS = 50_000
_SHRINKAGES = (0.3, 0.1, 1.0)
_DECIDING = "validation_mean_average_precision"  # steadier than the hit rate, on the few validation pictures there are
_WHITENINGS = (0.25, 0.0, 0.5)  # the first wins where nothing can be measured
_WARM_UP_STEPS = 20
_WEIGHT_DECAY = 0.05


def fit_pca(features: Features, dimension: int, *, whitening: float, seed: int) -> LinearHead:
    """Return the head that centres features, keeps the components of largest variance and evens the variances out.

    Args:
        features: (n, w); of more than 20,000 a sample is used.
        dimension: d; where there are fewer components than d, the others are 0.
        whitening: components are scaled by variance^−whitening: 0 is plain PCA, 0.5 whitening.
        seed: of the sample.

    Source:
        Jégou and Chum, ECCV 2012, section 2 (whitening of image vectors); between the two lies its power-law form.
    """
    rows = np.arange(len(features))
    if len(rows) > _PCA_PICTURES:
        rows = np.sort(np.random.default_rng((seed, 0x9C)).choice(len(rows), _PCA_PICTURES, replace=False))
    sample = np.asarray(features[rows], np.float64)
    mean = sample.mean(0)
    singular, components = _principal(sample - mean)
    variance = singular[:dimension] ** 2 / max(1, len(sample) - 1)
    kept = variance > 1e-9 * max(float(variance[0]) if len(variance) else 0.0, 1e-30)
    scale = np.where(kept, np.maximum(variance, 1e-30) ** -whitening, 0)
    weight = np.zeros((sample.shape[1], dimension))
    weight[:, : len(scale)] = components[:dimension].T * scale
    weight /= np.sqrt(np.mean(((sample - mean) @ weight) ** 2) * dimension) or 1.0  # vectors of about unit norm
    return LinearHead(weight.astype(np.float32), (-mean @ weight).astype(np.float32))


def _principal(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return singular values and components, largest first; by the covariances where pictures outnumber features."""
    if len(centred) < centred.shape[1]:
        _, singular, components = np.linalg.svd(centred, full_matrices=False)
        return singular, components
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1].T


def fit_frozen(dataset: Dataset, features: FeatureSets, parameters: TrainingParameters) -> tuple[LinearHead, Figures]:
    """Return the PCA head, whitened as far as the parameters say or the validation pictures favour, and its figures."""
    choices = _WHITENINGS if parameters.whitening is None else (parameters.whitening,)
    images = dataset.validation
    found = []
    for whitening in choices:
        head = fit_pca(features.training[0], parameters.dimension, whitening=whitening, seed=parameters.seed)
        figures = judge_head(head, features.validation, images.relevance, images.rows)
        found.append((head, figures | {"whitening": whitening}))
    return max(found, key=lambda each: each[1].get(_DECIDING, -1.0))


def fit_discriminant(
    dataset: Dataset, features: FeatureSets, parameters: TrainingParameters
) -> tuple[LinearHead, Figures]:
    """Return the head in which related pictures differ least compared with all pictures, and its figures.

    Two closed-form steps, without any gradient. The scatter within is half that of the differences of pairs (items,
    categories, clicks, judgements; altered copies where there is nothing else); the scatter between is the rest of the
    whole. Components are scaled by √(λ / (1 + λ)), λ the ratio of between to within: those that tell nothing apart vanish.
    How far the scatter within is shrunk to a multiple of the identity is chosen on the validation pictures.

    Source:
        Mikolajczyk and Matas, ICCV 2007 (projections learnt from pairs); Ioffe, ECCV 2006, section 3 (the scale).
    """
    rng = np.random.default_rng((parameters.seed, 0xDA))
    usable = np.arange(len(dataset.pairs))
    if dataset.is_labelled:  # an altered copy differs less than two related pictures do
        usable = np.flatnonzero(dataset.pairs.query != dataset.pairs.positive)
    drawn = rng.permutation(usable)[:_PAIRS]
    place = np.zeros(len(dataset.training.pixels), np.int64)
    place[dataset.training.rows] = np.arange(len(dataset.training.rows))
    query, positive = (place[rows[drawn]] for rows in (dataset.pairs.query, dataset.pairs.positive))
    views = rng.integers(0, len(features.training), (2, len(drawn)))
    one = np.asarray(features.training[views[0], query], np.float32)
    other = np.asarray(features.training[views[1], positive], np.float32)
    weights = dataset.pairs.weight[drawn] / dataset.pairs.weight[drawn].sum()
    differences = (one - other) * np.sqrt(weights / 2)[:, None]
    mean = one.mean(0)
    within = (differences.T @ differences).astype(np.float64)
    whole = ((one - mean) * np.sqrt(weights)[:, None]).astype(np.float32)
    between = (whole.T @ whole).astype(np.float64) - within
    images, found = dataset.validation, []
    for shrinkage in _SHRINKAGES:
        head = _discriminant(within, between, mean, shrinkage, parameters.dimension)
        figures = judge_head(head, features.validation, images.relevance, images.rows)
        found.append((head, figures | {"shrinkage": shrinkage}))
    return max(found, key=lambda each: each[1].get(_DECIDING, -1.0))


def _discriminant(
    within: NDArray[np.float64],
    between: NDArray[np.float64],
    mean: NDArray[np.float32],
    shrinkage: float,
    dimension: int,
) -> LinearHead:
    width = len(within)
    level = shrinkage * float(np.trace(within)) / width + 1e-12
    ratios, vectors = eigh(
        between, within + level * np.eye(width), subset_by_index=[max(0, width - dimension), width - 1]
    )
    ratios = np.maximum(ratios, 0)
    weight = np.zeros((width, dimension))
    weight[:, : len(ratios)] = (vectors * np.sqrt(ratios / (1 + ratios)))[:, ::-1]
    return LinearHead(weight.astype(np.float32), (-mean @ weight).astype(np.float32))


def random_head(width: int, dimension: int, seed: int) -> LinearHead:
    """Return a random projection: what an encoder is worth before anything was learnt from the catalogue."""
    weight = np.random.default_rng((seed, 0x4D)).normal(size=(width, dimension)) / math.sqrt(width)
    return LinearHead(weight.astype(np.float32), np.zeros(dimension, np.float32))


def judge_head(head: LinearHead, features: Features, relevance: Relevance, rows: NDArray[np.int64]) -> Figures:
    """Return the validation figures of a head, by the names that the history has; empty where nothing is relevant."""
    found = validate(head.apply(np.asarray(features, np.float32)), relevance, rows) if len(rows) else None
    names = ("hit_rate_at_1", "recall_at_10", "mean_average_precision")
    return {} if found is None else {f"validation_{name}": float(getattr(found, name)) for name in names}


def train_head(
    dataset: Dataset,
    features: FeatureSets,
    start: LinearHead,
    parameters: TrainingParameters,
    on_epoch: Callable[[Figures], None] | None = None,
) -> tuple[LinearHead, list[Figures]]:
    """Train a head, and return the best one by validation with the history: `start`, then ten validations.

    It starts from `start` or, where validation finds that better, from `fit_discriminant`. Each step takes pairs of training
    pictures, each shown plainly or by one of its views, and contrasts them by levels of relevance. The heads that it starts
    from count, so that the result is never behind them.

    Args:
        dataset: pairs, relevance and validation pictures.
        features: of the dataset.
        start: head to start from.
        parameters: dials.
        on_epoch: called with the figures of each validation.

    Raises:
        NoPositivePairError: there are no pairs.
    """
    dataset.require_pairs()
    candidate, measured = fit_discriminant(dataset, features, parameters)
    first = judge_head(start, features.validation, dataset.validation.relevance, dataset.validation.rows)
    if measured.get(_DECIDING, 0.0) >= first.get(_DECIDING, 0.0):
        start = candidate
    trainer = _HeadTrainer(dataset, features, start, parameters)
    history: list[Figures] = [{"epoch": 1, "step": 0, **first}]
    best, interval = start, max(1, -(-parameters.head_steps // VALIDATIONS))
    for step in range(0, parameters.head_steps + 1):
        if step:
            trainer.step(step - 1)
        if step % interval and step != parameters.head_steps:
            continue
        head = trainer.head()
        figures: Figures = {"epoch": len(history) + 1, "step": step, "loss": trainer.mean_loss()}
        figures |= judge_head(head, features.validation, dataset.validation.relevance, dataset.validation.rows)
        history.append(figures)
        if best_head(history) == len(history):
            best = head
        if on_epoch is not None:
            on_epoch(figures)
    return best, history


def best_head(history: list[Figures]) -> int:
    """Return the entry (from 1) of the best head: by mean average precision, ties to the later one."""
    return max(range(len(history)), key=lambda i: (history[i].get(_DECIDING, -1.0), i)) + 1


class _HeadTrainer:
    def __init__(
        self, dataset: Dataset, features: FeatureSets, start: LinearHead, parameters: TrainingParameters
    ) -> None:
        self._parameters, self._features = parameters, features.training
        self._relations = Relations(dataset.training.relevance, dataset.pairs)
        self._categories = Categories(dataset.training.relevance)
        self._place = np.full(len(dataset.training.pixels), -1, np.int64)
        self._place[dataset.training.rows] = np.arange(len(dataset.training.rows))
        self._sampler = PairSampler(
            dataset.pairs,
            batch_pairs=parameters.head_pairs,
            pairs_per_epoch=parameters.pairs_per_epoch,
            seed=parameters.seed,
        )
        self._batches: Iterator[Batch] = iter(())
        self._epoch = 0
        # Trained on standardised features: one learning rate then fits all backbones.
        sample = np.asarray(features.training[0][:_PCA_PICTURES], np.float32)
        self._mean, self._scale = sample.mean(0), sample.std(0) + 1e-3 * float(sample.std()) + 1e-12
        width, dimension = start.weight.shape
        self._layer = nn.Linear(width, dimension)
        with torch.no_grad():
            self._layer.weight.copy_(torch.from_numpy((start.weight * self._scale[:, None]).T))
            self._layer.bias.copy_(torch.from_numpy(start.bias + self._mean @ start.weight))
        self._optimiser = torch.optim.AdamW(
            self._layer.parameters(), lr=parameters.head_learning_rate, weight_decay=_WEIGHT_DECAY
        )
        self._losses: list[float] = []

    def head(self) -> LinearHead:
        """Return the head as it is now, for features as they come."""
        weight = self._layer.weight.detach().numpy().T / self._scale[:, None]
        bias = self._layer.bias.detach().numpy() - self._mean @ weight
        return LinearHead(weight.astype(np.float32), bias.astype(np.float32))

    def mean_loss(self) -> float:
        """Return the mean loss since the last call; 0 before the first step."""
        mean = float(np.mean(self._losses)) if self._losses else 0.0
        self._losses = []
        return mean

    def step(self, step: int) -> None:
        """Learn from one batch."""
        parameters = self._parameters
        for group in self._optimiser.param_groups:
            done = step / parameters.head_steps
            rise = min(1.0, (step + 1) / _WARM_UP_STEPS)
            group["lr"] = parameters.head_learning_rate * rise * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        batch = next(self._batches, None)
        if batch is None:
            self._batches = self._sampler.epoch(self._epoch)
            self._epoch += 1
            batch = next(self._batches)
        images = batch.images.reshape(-1)
        views = np.random.default_rng((parameters.seed, step, 0x4E)).integers(0, len(self._features), len(images))
        drawn = np.asarray(self._features[views, self._place[images]], np.float32)
        seen = torch.from_numpy((drawn - self._mean) / self._scale)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(parameters.seed + step)
            seen = functional.dropout(seen, parameters.head_dropout)
        embeddings = functional.normalize(self._layer(seen), dim=1)
        targets = batch_targets(self._relations, batch.images, batch.weights, single=parameters.objective == "single")
        each = parameters.objective == "each"
        total, weight = contrastive_sum(embeddings, embeddings, targets, parameters.temperature, each=each)
        loss = total / require_positives(weight)
        if parameters.category_weight and self._categories.relate_any:
            second = self._categories.targets(targets, images, images)
            total, weight = contrastive_sum(embeddings, embeddings, second, parameters.category_temperature, each=each)
            loss = loss + parameters.category_weight * total / weight.clamp(min=1e-12)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._losses.append(float(loss.detach()))
