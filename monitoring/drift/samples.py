"""The samples of a comparison: a window of queries, and a reference from the release or from an earlier window."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.shared.errors import ContractError, DataError, SpaceMismatchError
from components.shared.files.tables import QUERY_SAMPLES, read_table
from components.shared.release.manifest import REFERENCE_FILE, Manifest
from components.shared.release.reference import read_reference_pictures
from components.shared.vectors.embeddings import Vectors, check_vectors, read_embeddings

FIGURES = ("brightness", "contrast", "sharpness", "saturation", "pixels", "aspect", "bytes_per_pixel")


@dataclass(frozen=True)
class Inputs:
    """Statistics of n pictures as they were sent.

    Attributes:
        figures: name of FIGURES → (n,) float64; NaN where the picture could not be read.
        formats: (n,) "jpeg", "png" or "webp"; empty there.
    """

    figures: dict[str, NDArray[np.float64]]
    formats: NDArray[np.str_]

    def take(self, rows: NDArray[np.int64]) -> Inputs:
        """Return some of them."""
        return Inputs({name: values[rows] for name, values in self.figures.items()}, self.formats[rows])

    def known(self) -> Inputs:
        """Return those of pictures that could be read."""
        return self.take(np.flatnonzero(np.isfinite(self.figures["brightness"])))


@dataclass(frozen=True)
class Sample:
    """Embeddings of one space, with the statistics of their pictures where these are known.

    Attributes:
        ids: n query ids or image ids.
        vectors: (n, d) float32 unit vectors.
        inputs: inputs of the same n pictures; None: not known.
        at: n times of asking; None: not known.
        release_ids: the releases that answered, ascending.
    """

    space_id: str
    ids: tuple[str, ...]
    vectors: Vectors
    inputs: Inputs | None = None
    at: tuple[datetime.datetime, ...] | None = None
    release_ids: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> Sample:
        """Return some of them."""
        return replace(
            self,
            ids=tuple(self.ids[int(row)] for row in rows),
            vectors=self.vectors[rows],
            inputs=None if self.inputs is None else self.inputs.take(rows),
            at=None if self.at is None else tuple(self.at[int(row)] for row in rows),
        )

    def at_most(self, rows: int, seed: int) -> Sample:
        """Return a seeded sample of `rows`, or itself if there are no more."""
        if len(self.ids) <= rows:
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self.ids), rows, replace=False)))

    def distinct(self) -> Sample:
        """Leave out repetitions of a vector: one picture that is sent a thousand times says no more than sent once."""
        first = np.unique(np.ascontiguousarray(self.vectors), axis=0, return_index=True)[1]
        return self if len(first) == len(self.ids) else self.take(np.sort(first))


def check_spaces(reference: Sample, window: Sample) -> None:
    """Refuse to compare embeddings of two spaces.

    Raises:
        SpaceMismatchError: they are of two spaces, or not of one dimension.
    """
    if reference.space_id != window.space_id or reference.vectors.shape[1] != window.vectors.shape[1]:
        raise SpaceMismatchError(
            f"the window is of space {window.space_id} ({window.vectors.shape[1]} dimensions), the reference of space "
            f"{reference.space_id} ({reference.vectors.shape[1]}); compare with the reference of the release that answered",
            expected=reference.space_id,
            received=window.space_id,
        )


def read_window(
    paths: Sequence[Path],
    *,
    space_id: str,
    arm: str | None = None,
    release_id: str | None = None,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
) -> Sample:
    """Read query samples and keep those of one space.

    Args:
        paths: files QUERY_SAMPLES, in any order.
        space_id: others are left out: during a change of encoders the files hold both.
        arm: keep this arm; None: all.
        release_id: keep this release; None: all of the space.
        since: earliest time of asking.
        until: times from here on are left out.

    Raises:
        ContractError: a file is no table of samples.
        PoisonedVectorError: an embedding is not a unit vector.
        DataError: nothing is left.
    """
    keep = pc.field("space_id") == space_id
    for name, value in (("arm", arm), ("release_id", release_id)):
        if value is not None:
            keep &= pc.field(name) == value
    if since is not None:
        keep &= pc.field("at") >= pa.scalar(since, pa.timestamp("us", tz="UTC"))
    if until is not None:
        keep &= pc.field("at") < pa.scalar(until, pa.timestamp("us", tz="UTC"))
    tables = [read_table(path, QUERY_SAMPLES).filter(keep) for path in sorted(paths)]
    table = pa.concat_tables(tables) if tables else QUERY_SAMPLES.schema.empty_table()
    if not table.num_rows:
        raise DataError(
            f"none of the {len(tables)} files of samples holds a query of space {space_id} that is asked for; collect samples, "
            "or choose another window"
        )
    return window_of(table)


def window_of(table: pa.Table) -> Sample:
    """Return the sample that a table QUERY_SAMPLES holds; all rows must be of one space.

    Raises:
        SpaceMismatchError: they are not.
        ContractError: its embeddings are of several lengths.
        PoisonedVectorError: an embedding is not a unit vector.
    """
    spaces = sorted(table.column("space_id").unique().to_pylist())
    if len(spaces) > 1:
        raise SpaceMismatchError(
            f"the samples are of the spaces {', '.join(spaces)}; check one space at a time",
            expected=spaces[0],
            received=spaces[1],
        )
    column = table.column("embedding").combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    if len(pc.list_value_length(column).unique()) != 1:
        raise ContractError(f"the samples of space {spaces[0]} have embeddings of several lengths; remove these files")
    vectors = np.ascontiguousarray(flat.reshape(table.num_rows, -1), np.float32)
    ids = table.column("query_id").to_pylist()
    check_vectors(vectors, source="query samples")
    return Sample(
        space_id=spaces[0],
        ids=tuple(ids),
        vectors=vectors,
        inputs=inputs_of(table),
        at=tuple(table.column("at").to_pylist()),
        release_ids=tuple(sorted(table.column("release_id").unique().to_pylist())),
    )


def read_reference(directory: Path, manifest: Manifest) -> Sample:
    """Read the reference of a release; releases from before there were picture statistics have none.

    Raises:
        ContractError: or one of its kinds: the file is not what the release says.
    """
    ids, vectors = read_embeddings(directory / REFERENCE_FILE, space_id=manifest.space_id)
    pictures = read_reference_pictures(directory / REFERENCE_FILE)
    return Sample(
        space_id=manifest.space_id,
        ids=tuple(ids),
        vectors=vectors,
        inputs=None if pictures is None else inputs_of(pictures),
        release_ids=(manifest.release_id,),
    )


def inputs_of(table: pa.Table) -> Inputs:
    """Return the input statistics of a table with the columns of a picture's (see QUERY_SAMPLES), empty rows as NaN."""

    def column(name: str) -> NDArray[np.float64]:
        return np.asarray(table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)

    pixels = column("width") * column("height")
    figures = {name: column(name) for name in ("brightness", "contrast", "sharpness", "saturation")}
    figures |= {
        "pixels": pixels,
        "aspect": column("width") / column("height"),
        "bytes_per_pixel": column("bytes") / pixels,
    }
    return Inputs(figures, np.array([name or "" for name in table.column("format").to_pylist()], np.str_))


def sample_files(folder: Path) -> list[Path]:
    """Return the files of query samples in a folder, whichever arm wrote them."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith(".")) if folder.is_dir() else []
