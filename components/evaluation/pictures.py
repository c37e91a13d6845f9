"""Descriptions of every held-out picture for the rankers that need pixels: baselines and the champion's encoder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.shared.errors import BadImageError, DamagedArtifactError, SourceError
from components.shared.files.atomic import whole_file
from components.shared.files.progress import progress
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import Pixels, PreprocessingSpec
from components.shared.vectors.embeddings import Vectors

_SHARD = 256  # pictures read at once: 224 × 224 × 3 × 256 = 38 MB

Describe = Callable[[Pixels], Vectors]


@dataclass(frozen=True)
class Descriptions:
    """Vectors of the readable pictures.

    Attributes:
        usable: (n,) whether a picture is readable.
        failures: number of unreadable pictures per reason.
        vectors: (n, d) float32 per ranker, zero rows for unreadable pictures.
    """

    usable: NDArray[np.bool_]
    failures: dict[str, int]
    vectors: dict[str, Vectors]


def describe_pictures(
    images: pa.Table, rankers: dict[str, tuple[PreprocessingSpec, Describe]], scratch: Path, *, threads: int = 0
) -> Descriptions:
    """Read every picture once per preprocessing and describe it for every ranker.

    Finished shards are kept in `scratch`, so that a killed run resumes where it stopped and memory does not grow with the
    number of pictures. An unreadable picture is left out and counted.

    Args:
        images: table CATALOGUE, n rows.
        rankers: name → preprocessing, and pictures (b, side, side, 3) uint8 → (b, d) float32.
        scratch: directory for the shards.
        threads: number of threads that read and decode; 0: one per core.
    """
    uris: list[str] = images.column("uri").to_pylist()
    shards: list[dict[str, Any]] = []
    starts = range(0, len(uris), _SHARD)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for start in progress(starts, "describing held-out pictures", unit=f"×{_SHARD}"):
            path = scratch / f"pictures-{start // _SHARD:05d}.npz"
            if (shard := _read_shard(path)) is None:
                shard = _describe_shard(uris[start : start + _SHARD], rankers, pool)
                _write_shard(path, shard)
            shards.append(shard)
    reasons = np.concatenate([shard["reason"] for shard in shards])
    return Descriptions(
        usable=reasons == "",
        failures={str(k): v for k, v in sorted(Counter(reasons[reasons != ""].tolist()).items())},
        vectors={name: _join([shard[f"vectors.{name}"] for shard in shards]) for name in rankers},
    )


def _describe_shard(
    uris: list[str], rankers: dict[str, tuple[PreprocessingSpec, Describe]], pool: ThreadPoolExecutor
) -> dict[str, NDArray[np.generic]]:
    specs = list(dict.fromkeys(spec for spec, _ in rankers.values()))
    loaded = {spec: list(pool.map(lambda uri, spec=spec: _load(uri, spec), uris)) for spec in specs}
    reasons = ["" if not isinstance(picture, str) else picture for picture in loaded[specs[0]]]
    readable = np.array([reason == "" for reason in reasons], bool)
    shard: dict[str, NDArray[np.generic]] = {"reason": np.array(reasons, dtype=np.str_)}
    for name, (spec, describe) in rankers.items():
        pictures = [picture for picture in loaded[spec] if not isinstance(picture, str)]
        vectors = describe(np.stack(pictures)) if pictures else np.empty((0, 0), np.float32)
        full = np.zeros((len(uris), vectors.shape[1]), np.float32)
        full[readable] = vectors
        shard[f"vectors.{name}"] = full
    return shard


def _join(parts: list[NDArray[np.float32]]) -> Vectors:
    dimension = max(part.shape[1] for part in parts)  # 0 in a shard without a readable picture
    return np.concatenate([part if part.shape[1] else np.zeros((len(part), dimension), np.float32) for part in parts])


def _load(uri: str, spec: PreprocessingSpec) -> Pixels | str:
    try:
        return load_image(uri, spec)
    except BadImageError as error:
        return error.reason
    except SourceError:
        return "unreadable"


def _write_shard(path: Path, shard: dict[str, NDArray[np.generic]]) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **shard)  # type: ignore[arg-type]


def _read_shard(path: Path) -> dict[str, NDArray[np.generic]] | None:
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise DamagedArtifactError(
            f"{path} cannot be read ({error}); remove it and run again", file=path.name
        ) from error
