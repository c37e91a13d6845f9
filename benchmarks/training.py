"""Training, part by part, beside straightforward implementations.

    python benchmarks/training.py [--rounds 8] [--side 64] [--pairs 32] [--embeddings 8192]

Step: forward, loss, backward and update of a ResNet-18; the plain way is eager float32 in torch's usual memory layout with
NT-Xent written out. Features: what training a head costs, one picture of 224 pixels through the default backbone by
OpenVINO; the plain way is torch eager. Fine-tuning: forward and backward of its last half, norms fixed; the plain way is all
of it. Augmentation: crop, mirroring, rotation, colour, grey, blur and erasing of 224-pixel pictures; the
plain way is torchvision's transforms v2 on Pillow pictures. Loss: NT-Xent with gradients over many embeddings; the plain
way is the similarity matrix and cross-entropy. Variants take turns and the fastest round of each counts, in CPU time of
one thread, so that a busy machine has little effect. Memory is the growth of a fresh process's peak.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2

from components.training.augment import Augmentation, augment, draw
from components.training.contrastive_loss import contrastive_loss
from components.training.encoder import FeatureExtractor, build_encoder
from components.training.export import export_encoder
from components.training.features import FeatureComputer
from components.training.graphs import FEATURES_NAME
from components.training.loop import keep_statistics
from components.training.optimiser import build_optimiser
from components.training.parameters import TrainingParameters
from components.training.precision import choose_type, mixed
from components.training.relations import BatchTargets

Variant = Callable[[], object]
CPU = torch.device("cpu")


def race(variants: dict[str, Variant], rounds: int) -> dict[str, float]:
    """Return the least CPU seconds of each variant; they take turns."""
    best = dict.fromkeys(variants, float("inf"))
    for _ in range(rounds + 1):  # the first round warms up, and counts if it is the fastest
        for name, run in variants.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def partner_targets(views: int) -> BatchTargets:
    """Views 2k and 2k + 1 are positives of each other, all others are negatives."""
    own, nothing = torch.arange(views), torch.empty(0, dtype=torch.int64)
    codes = (own // 2, torch.full((views,), -1))
    ones = torch.ones(views)
    return BatchTargets(own, own ^ 1, ones, ones, codes, codes, (nothing, nothing, torch.empty(0)), True)


def plain_loss(embeddings: torch.Tensor, temperature: float) -> torch.Tensor:
    scores = embeddings @ embeddings.T / temperature
    scores = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf)
    return functional.cross_entropy(scores, torch.arange(len(scores)) ^ 1)


def step_variants(side: int, pairs: int) -> dict[str, Variant]:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2 * pairs, side, side, 3), np.uint8))
    parameters = TrainingParameters(
        architecture="resnet18", training_side=side, head="linear", device="cpu", category_weight=0
    )
    ours = build_encoder(parameters).train()
    optimiser, kind, targets = (
        build_optimiser(ours, parameters),
        choose_type(parameters, CPU),
        partner_targets(2 * pairs),
    )
    plain = torchvision.models.resnet18(num_classes=parameters.dimension).train()
    plain_optimiser = torch.optim.SGD(
        plain.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=False
    )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def run_ours() -> None:
        optimiser.zero_grad(set_to_none=True)
        with mixed(CPU, kind):
            embeddings = ours(pixels)
        contrastive_loss(embeddings, embeddings, targets, 0.1).backward()
        optimiser.step()

    def run_plain() -> None:
        plain_optimiser.zero_grad()
        images = (pixels.permute(0, 3, 1, 2).contiguous().float() / 255 - mean) / std
        plain_loss(functional.normalize(plain(images), dim=1), 0.1).backward()
        plain_optimiser.step()

    return {"ours": run_ours, "plain": run_plain}


def augmentation_variants(side: int, views: int = 64) -> dict[str, Variant]:
    rng = np.random.default_rng(0)
    pictures = [
        cv2.resize(rng.integers(0, 256, (28, 28, 3), np.uint8), (224, 224), interpolation=cv2.INTER_CUBIC)
        for _ in range(views)
    ]
    pillow = [Image.fromarray(picture) for picture in pictures]
    ours = Augmentation(
        side=side, crop_area=0.3, rotation_degrees=10, colour=0.4, hue=0.05, grey=0.1, blur=0.1, erase=0.2
    )
    theirs = v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.3, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(10, interpolation=v2.InterpolationMode.BILINEAR, fill=255),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.05),
            v2.RandomGrayscale(0.1),
            v2.RandomApply([v2.GaussianBlur(7, (0.1, 2.0))], 0.1),
            v2.PILToTensor(),
            v2.RandomErasing(0.2, scale=(0.03, 0.25)),
        ]
    )

    def run_ours() -> None:
        for picture, numbers in zip(pictures, draw(0, 0, 0, views), strict=True):
            augment(picture, numbers, ours)

    def run_theirs() -> None:
        for picture in pillow:
            theirs(picture)

    return {"ours": run_ours, "torchvision": run_theirs}


def loss_variants(embeddings: torch.Tensor) -> dict[str, Variant]:
    targets = partner_targets(len(embeddings))
    return {
        "ours": lambda: contrastive_loss(embeddings, embeddings, targets, 0.1).backward(),
        "plain": lambda: plain_loss(embeddings, 0.1).backward(),
    }


def feature_variants(folder: Path) -> dict[str, Variant]:
    parameters = TrainingParameters(device="cpu")
    extractor = FeatureExtractor(build_encoder(parameters.model_copy(update={"head": "linear"})).eval())
    export_encoder(extractor, folder / "features.onnx", output=FEATURES_NAME)
    computer = FeatureComputer(folder / "features.onnx", threads=1)
    pictures = np.random.default_rng(0).integers(0, 256, (16, computer.side, computer.side, 3), np.uint8)
    return {
        "ours": lambda: computer.compute(pictures),
        "plain": torch.inference_mode()(lambda: extractor(torch.from_numpy(pictures))),
    }


def tuning_variants(pairs: int) -> dict[str, Variant]:
    def step(share: float) -> Variant:
        parameters = TrainingParameters(device="cpu", full_share=share).for_fine_tuning()
        encoder = build_encoder(parameters)
        build_optimiser(encoder, parameters, fine_tuning=share < 1)  # freezes what does not learn
        pixels = torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, (2 * pairs, encoder.side, encoder.side, 3), np.uint8)
        )
        targets = partner_targets(2 * pairs)

        def run() -> None:
            encoder.train()
            if share < 1:
                keep_statistics(encoder)
            embeddings = encoder(pixels)
            contrastive_loss(embeddings, embeddings, targets, 0.1).backward()

        return run

    return {"ours": step(0.5), "plain": step(1.0)}


def random_embeddings(n: int) -> torch.Tensor:
    values = torch.randn(n, 128, generator=torch.Generator().manual_seed(0))
    return functional.normalize(values, dim=1).requires_grad_()


def _peak(name: str, n: int, results: multiprocessing.Queue) -> None:
    torch.set_num_threads(1)
    for variant in loss_variants(random_embeddings(64)).values():
        variant()  # memory kept from a first call does not count
    variant = loss_variants(random_embeddings(n))[name]
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (proc(5))
    before = _high_water_megabytes()
    variant()
    results.put(_high_water_megabytes() - before)


def _high_water_megabytes() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def peak_megabytes(name: str, n: int) -> float:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_peak, args=(name, n, results))
    process.start()
    peak = results.get()
    process.join()
    return float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--side", type=int, default=64, help="side of the views in a step, pixels")
    parser.add_argument("--pairs", type=int, default=32, help="pairs per step")
    parser.add_argument("--embeddings", type=int, default=8192, help="embeddings for the loss")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(
        f"{platform.machine()}, one thread, torch {torch.__version__}, OpenCV {cv2.__version__}, {options.rounds} rounds\n"
    )
    print("| part | ours | plain | ratio |\n|---|---|---|---|")

    views = 2 * options.pairs
    found = race(step_variants(options.side, options.pairs), options.rounds)
    ours, plain = views / found["ours"], views / found["plain"]
    print(f"| step, ResNet-18, {options.side} px, views/s | {ours:.0f} | {plain:.0f} | {ours / plain:.2f} |")

    with tempfile.TemporaryDirectory() as folder:
        found = race(feature_variants(Path(folder)), options.rounds)
    ours, plain = 16 / found["ours"], 16 / found["plain"]
    print(f"| features, EfficientNet-Lite0, pictures/s | {ours:.0f} | {plain:.0f} | {ours / plain:.2f} |")

    found = race(tuning_variants(8), options.rounds)
    ours, plain = 16 / found["ours"], 16 / found["plain"]
    print(f"| fine-tuning, EfficientNet-Lite0, views/s | {ours:.0f} | {plain:.0f} | {ours / plain:.2f} |")

    found = race(augmentation_variants(112), options.rounds)
    ours, plain = 64 / found["ours"], 64 / found["torchvision"]
    print(f"| augmentation to 112 px, views/s | {ours:.0f} | {plain:.0f} | {ours / plain:.2f} |")

    n = options.embeddings
    embeddings = random_embeddings(n)
    gradients = []
    for variant in loss_variants(embeddings).values():
        embeddings.grad = None
        variant()
        gradients.append(embeddings.grad.clone())
    found = race(loss_variants(embeddings), min(3, options.rounds))
    print(
        f"| loss over {n} embeddings, s | {found['ours']:.2f} | {found['plain']:.2f} | {found['plain'] / found['ours']:.2f} |"
    )
    ours, plain = peak_megabytes("ours", n), peak_megabytes("plain", n)
    print(f"| loss over {n} embeddings, peak MB | {ours:.0f} | {plain:.0f} | {plain / ours:.1f} |")
    error = float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())
    print(f"\nlargest difference of the loss's gradients, relative to the largest gradient: {error:.1e}")


if __name__ == "__main__":
    main()
