"""Whether an answer is of one release alone: encoder, index and id map.

Every answer: its release and its space belong together, and the arm was given that release. A sample, exactly: the picture is
embedded by that release's own encoder and multiplied with that release's own vectors, offline; each score must come out, and
nothing that may be shown may score higher than the first.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.release.golden import embed_pictures
from components.shared.release.manifest import Release, open_release

TOLERANCE = 0.02  # an encoder in few bits, vectors in float16


class Oracle:
    """Knows the releases.

    Args:
        releases: release_id → its directory.
    """

    def __init__(self, releases: Mapping[str, Path]) -> None:
        self._releases: dict[str, Release] = {name: open_release(path, threads=1) for name, path in releases.items()}
        self._rows = {
            name: {image_id: row for row, image_id in enumerate(release.items.column("image_id").to_pylist())}
            for name, release in self._releases.items()
        }
        self._lock = threading.Lock()

    def belongs_together(self, answer: Mapping[str, Any], released: str | None, arm: str | None) -> str | None:
        """Say what is wrong with the ids of an answer, or None.

        Args:
            answer: one prediction.
            released: the release that the answer's header names.
            arm: the same for the arm.
        """
        release = self._releases.get(answer["release_id"])
        if release is None:
            return f"unknown release {answer['release_id']}"
        if answer["space_id"] != release.manifest.space_id:
            return f"space {answer['space_id']} with release {answer['release_id']}"
        if (released, arm) != (answer["release_id"], answer["arm"]):
            return f"header says {released} of {arm}, body {answer['release_id']} of {answer['arm']}"
        strangers = [r["image_id"] for r in answer["results"] if r["image_id"] not in self._rows[answer["release_id"]]]
        return f"{strangers[0]} is not in {answer['release_id']}" if strangers else None

    def check(self, picture: bytes, answer: Mapping[str, Any], beside: Collection[str] = ()) -> str | None:
        """Compute an answer's scores offline and say what is wrong with it, or None.

        Args:
            picture: query picture.
            answer: one prediction; of an interleaved one, what one arm drafted.
            beside: items that the other arm drafted, among which this one's best may be.
        """
        name = answer["release_id"]
        release, rows = self._releases[name], self._rows[name]
        with self._lock:
            vector = embed_pictures([picture], release.encoder, release.manifest.encoder.preprocessing)[0]
        scores = release.index.stored(np.arange(release.index.rows)) @ vector
        for result in answer["results"]:
            expected = float(scores[rows[result["image_id"]]])
            if abs(result["score"] - expected) > TOLERANCE:
                return f"{result['image_id']} scores {result['score']:.3f}, by {name} alone {expected:.3f}"
        items = release.items
        allowed = np.logical_and(
            *(items[column].to_numpy(zero_copy_only=False) for column in ("is_public", "is_appropriate"))
        )
        own = hashlib.sha256(picture).hexdigest()
        allowed &= np.array([digest != own for digest in items["sha256"].to_pylist()])
        allowed &= np.array([item not in beside for item in items["item_id"].to_pylist()])
        if allowed.any() and answer["results"] and answer["results"][0]["score"] < scores[allowed].max() - TOLERANCE:
            return (
                f"the first scores {answer['results'][0]['score']:.3f}, the best of {name} {scores[allowed].max():.3f}"
            )
        return None
