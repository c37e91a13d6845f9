"""From directories to a catalogue: the same in a trial and in earnest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.shared.release.generation import open_generation
from components.shared.release.manifest import Searchable, open_catalogue
from components.shared.release.served import open_generations
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import SearchOptions
from serving.transformer.search.rules.chain import ChainParameters


@dataclass(frozen=True)
class Trial:
    """The release and generations to load.

    Attributes:
        release: directory; None where the release is in use and only the generations are new.
        generations: directories, lowest first.
        release_id: release that the generations must build on; the id of `release`, if that is given.
        forecast_bytes: expected memory; a load that takes much more fails.
    """

    release: str | None
    generations: tuple[str, ...]
    release_id: str
    space_id: str
    dimension: int
    forecast_bytes: int


def load(release: Path | Searchable, generations: Sequence[Path], chain: ChainParameters | None = None) -> Catalogue:
    """Load and verify a catalogue.

    Args:
        release: its directory, or the release itself where it is in memory already.
        generations: directories, lowest first.
        chain: the rules.

    Raises:
        ContractError: or one of its kinds; nothing of what fails is ever used.
    """
    base = open_catalogue(release) if isinstance(release, Path) else release
    return Catalogue(base, open_generations(generations, base.manifest), chain)


def try_out(trial: Trial) -> None:
    """Load what a trial names, and search it in the ways that requests do; so that any fault shows here.

    Raises:
        ContractError: or one of its kinds.
        ValueError: a search gives nonsense.
    """
    generations = [Path(directory) for directory in trial.generations]
    if trial.release is None:
        for directory in generations:
            open_generation(directory, release_id=trial.release_id, space_id=trial.space_id, dimension=trial.dimension)
        return
    loaded = load(Path(trial.release), generations)
    for item in loaded.samples(4, seed=0):
        vector = loaded.vector_of(item.image_id)
        for options in (SearchOptions(k=10, explain=True), SearchOptions(k=200, floor=0.5), SearchOptions(exact=True)):
            answer = loaded.search(vector, options)
            scores = np.array([result.score for result in answer.results])
            if not np.isfinite(scores).all():
                raise ValueError("a test search returns scores that are not finite")
        loaded.recall_at_10(vector)
