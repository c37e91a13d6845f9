"""From directories to a catalogue: the same in a trial and in earnest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.shared.release.generation import Generation, open_generation
from components.shared.release.manifest import Searchable, open_catalogue
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import SearchOptions
from serving.transformer.search.rules.chain import ChainParameters


@dataclass(frozen=True)
class Trial:
    """What to load.

    Attributes:
        release: directory; None where the release is in use and only the generations are new.
        generations: directories, lowest first.
        release_id: that the generations must lie on; of `release`, if it is given, whatever stands there.
        space_id: of that release.
        dimension: of that release.
        forecast_bytes: what it should take; much more is not granted.
    """

    release: str | None
    generations: tuple[str, ...]
    release_id: str
    space_id: str
    dimension: int
    forecast_bytes: int


def load(
    trial: Trial, *, base: Searchable | None = None, chain: ChainParameters | None = None
) -> Catalogue | list[Generation]:
    """Load and verify.

    Args:
        trial: what to load.
        base: the release, where it is in memory already.
        chain: the rules.

    Returns:
        The catalogue; the generations alone where neither `trial` nor `base` gives a release.

    Raises:
        ContractError: or one of its kinds; nothing of what fails is ever used.
    """
    if trial.release is not None:
        base = open_catalogue(Path(trial.release))
    facts = {"release_id": trial.release_id, "space_id": trial.space_id, "dimension": trial.dimension}
    if base is not None:
        manifest = base.manifest
        facts = {
            "release_id": manifest.release_id,
            "space_id": manifest.space_id,
            "dimension": manifest.encoder.dimension,
        }
    generations = [open_generation(Path(directory), **facts) for directory in trial.generations]  # type: ignore[arg-type]
    return generations if base is None else Catalogue(base, generations, chain)


def try_out(loaded: Catalogue | list[Generation]) -> None:
    """Search a catalogue in the ways that requests do; whatever is wrong with it should show here."""
    if not isinstance(loaded, Catalogue):
        return
    for item in loaded.samples(4, seed=0):
        vector = loaded.vector_of(item.image_id)
        for options in (SearchOptions(k=10, explain=True), SearchOptions(k=200, floor=0.5), SearchOptions(exact=True)):
            answer = loaded.search(vector, options)
            scores = np.array([result.score for result in answer.results])
            if not np.isfinite(scores).all():
                raise ValueError("a test search returns scores that are not finite")
        loaded.recall_at_10(vector)
