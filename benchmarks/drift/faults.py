"""Pictures of a release with each kind of fault: embeddings and input statistics."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from components.shared.files.layout import ITEMS_FILE
from components.shared.files.tables import ITEMS, read_table
from components.shared.pictures.decoder import decode_image, decode_picture, decoding_side
from components.shared.pictures.preprocessing import preprocess
from components.shared.pictures.statistics import picture_statistics
from components.shared.release.manifest import read_manifest
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from monitoring.drift.samples import FIGURES, Inputs, Sample

WINDOW = 1_000
KINDS = ("none", "blur", "darker", "jpeg", "noise", "turned 15°", "turned 90°")
OTHER_ENCODER, NEW_CATEGORY, MIX = "other encoder", "new category 5 %", "mix 30 %"


class Pictures:
    """Pictures of a release; computed results are kept in a folder, if there is one."""

    def __init__(self, release: Path, other: Path, most: int, folder: Path | None) -> None:
        self.release, self.manifest = release, read_manifest(release)
        self.encoder = OnnxEncoder(release / ENCODER_FILE, threads=1)
        self.other = OnnxEncoder(other / ENCODER_FILE, threads=1)
        items = read_table(release / ITEMS_FILE, ITEMS).select(["uri", "category"]).to_pylist()
        rows = np.sort(np.random.default_rng(0).permutation(len(items))[:most])
        self.category = np.array([items[row]["category"] for row in rows])
        name = f"pictures-{self.manifest.release_id}-{read_manifest(other).release_id}-{len(rows)}.npz"
        path = None if folder is None else folder / name
        if path is not None and path.exists():
            found = dict(np.load(path))
        else:
            found = self._compute([Path(items[row]["uri"]) for row in rows])
            if path is not None:
                np.savez(path, **found)
        self.vectors = {kind: found[f"vectors {kind}"] for kind in (*KINDS, OTHER_ENCODER)}
        self.facts = {kind: found[f"facts {kind}"] for kind in KINDS} | {OTHER_ENCODER: found["facts none"]}

    def _compute(self, paths: list[Path]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        squares: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        facts: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
        for path in paths:
            picture = decode_image(path.read_bytes())
            for kind in KINDS:
                square, fact = self._sent(picture, kind, rng)
                squares[kind].append(square)
                facts[kind].append(fact)
        found = {f"vectors {kind}": _embed(self.encoder, squares[kind]) for kind in KINDS}
        found |= {f"facts {kind}": np.array(values) for kind, values in facts.items()}
        return found | {f"vectors {OTHER_ENCODER}": _embed(self.other, squares["none"])}

    def _sent(self, picture: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
        changed = np.ascontiguousarray(faulty(picture, kind, rng))
        data = simplejpeg.encode_jpeg(changed, quality=30 if kind == "jpeg" else 90)
        preprocessing = self.manifest.encoder.preprocessing
        found = decode_picture(data, minimum_side=decoding_side(preprocessing))
        seen = picture_statistics(found.pixels)
        pixels = found.width * found.height
        fact = [seen.brightness, seen.contrast, seen.sharpness, seen.saturation]
        return preprocess(found.pixels, preprocessing), [*fact, pixels, found.width / found.height, len(data) / pixels]

    def draw(self, kind: str, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Return a reference and a window that share no picture."""
        rows = rng.permutation(len(self.category))
        new: np.ndarray = rows[:0]
        if kind == NEW_CATEGORY:
            inside = self.category == rng.choice(np.unique(self.category))
            new, rows = rng.permutation(np.flatnonzero(inside))[: WINDOW // 20], rows[~inside[rows]]
        elif kind == MIX:
            few = rng.choice(np.unique(self.category), 2, replace=False)
            new = rng.permutation(np.flatnonzero(np.isin(self.category, few)))[: 3 * WINDOW // 10]
            rows = rows[~np.isin(rows, new)]
        old = WINDOW - len(new)
        as_sent = kind if kind in self.vectors else "none"
        return self._of(("none", rows[old:][:3_000])), self._of((as_sent, rows[:old]), (as_sent, new))

    def _of(self, *parts: tuple[str, np.ndarray]) -> Sample:
        vectors = np.concatenate([self.vectors[kind][rows] for kind, rows in parts])
        facts = np.concatenate([self.facts[kind][rows] for kind, rows in parts])
        figures = {name: facts[:, place] for place, name in enumerate(FIGURES)}
        ids = tuple(map(str, range(len(vectors))))
        return Sample("s-benchmark", ids, vectors, Inputs(figures, np.full(len(vectors), "jpeg")))


def faulty(picture: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return the picture with a fault of this kind."""
    height, width = picture.shape[:2]
    if kind == "blur":
        return cv2.GaussianBlur(picture, (0, 0), min(height, width) / 224)
    if kind == "darker":
        return (picture * 0.7).astype(np.uint8)
    if kind == "noise":
        return np.clip(picture + rng.normal(0, 0.05 * 255, picture.shape), 0, 255).astype(np.uint8)
    if kind == "turned 15°":
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1)
        return cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.rot90(picture) if kind == "turned 90°" else picture


def _embed(encoder: OnnxEncoder, squares: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([encoder.encode(np.stack(squares[at : at + 64])) for at in range(0, len(squares), 64)])
