"""Decoded pictures on disk, so that each is decoded once and no epoch holds more in memory than a batch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from components.shared.errors import BadImageError, SourceError
from components.shared.files.atomic import whole_file
from components.shared.files.progress import progress_bar
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec

_BLOCK = 256
_PENDING, _READY, _BAD = 0, 1, 2


def cache_images(
    directory: Path, name: str, uris: Sequence[str], spec: PreprocessingSpec, *, threads: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Decode pictures into a memory-mapped file, going on where an earlier call was stopped.

    Args:
        directory: where the files lie.
        name: distinguishes caches in one directory.
        uris: where the n pictures lie.
        spec: how each becomes a square.
        threads: pictures decoded at a time.

    Returns:
        (n, side, side, 3) uint8 read-only memory map, and (n,) bool: whether the picture could be used.
    """
    shape = (len(uris), spec.side, spec.side, 3)
    path, status_path = directory / f"{name}.u8", directory / f"{name}.status"
    size = int(np.prod(shape))
    if not len(uris):
        return np.zeros(shape, np.uint8), np.zeros(0, bool)
    if not (status_path.exists() and path.exists() and path.stat().st_size == size):
        status_path.unlink(missing_ok=True)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            file.truncate(size)
    status = (
        np.frombuffer(status_path.read_bytes(), np.uint8).copy()
        if status_path.exists()
        else np.zeros(len(uris), np.uint8)
    )
    if (status == _PENDING).any():
        pixels = np.memmap(path, np.uint8, "r+", shape=shape)
        _fill(pixels, status, status_path, uris, spec, threads, name)
        del pixels
    return np.memmap(path, np.uint8, "r", shape=shape), status == _READY


def _fill(
    pixels: NDArray[np.uint8],
    status: NDArray[np.uint8],
    status_path: Path,
    uris: Sequence[str],
    spec: PreprocessingSpec,
    threads: int,
    name: str,
) -> None:
    def load(row: int) -> int:
        try:
            pixels[row] = load_image(uris[row], spec)
        except (BadImageError, SourceError):
            return _BAD
        return _READY

    pending = np.flatnonzero(status == _PENDING)
    bar: tqdm[None] = progress_bar(None, f"decode {name} images", total=len(pending), unit="image")
    with ThreadPoolExecutor(threads) as pool, bar:
        for start in range(0, len(pending), _BLOCK):
            rows = pending[start : start + _BLOCK]
            status[rows] = list(pool.map(load, rows.tolist()))
            pixels.flush()  # type: ignore[attr-defined]  # the pixels first, then the word that they are there
            with whole_file(status_path) as temporary:
                temporary.write_bytes(status.tobytes())
            bar.update(len(rows))
