"""The embedding step: every image of the catalogue through the exported encoder, shard by shard."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from components.embedding.images import TRANSIENT_REASONS, ImageEmbedder
from components.embedding.parameters import EmbeddingParameters
from components.embedding.shards import Shard, make_shard, plan_shards
from components.embedding.source import EarlierVectors, encoder_spec_of
from components.shared.errors import ContractError, DataError
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.atomic import digest_of, link_or_copy
from components.shared.files.layout import CATALOGUE_FILE
from components.shared.files.progress import progress_bar
from components.shared.files.tables import CATALOGUE, QUARANTINE, read_table, write_table
from components.shared.files.workspace import Workspace
from components.shared.vectors.embeddings import FAILED_FILE, EmbeddingsSpec, write_embeddings_spec
from components.shared.vectors.encoder import ENCODER_FILE, EncoderSpec, OnnxEncoder


def run(
    *,
    catalogue: Path,
    encoder: Path,
    previous: Path | None,
    destination: Path,
    workspace: Path,
    parameters: EmbeddingParameters,
) -> Artifact:
    """Embed a catalogue. Killed at any moment, it goes on with the first unfinished shard.

    Args:
        catalogue: output of the catalogue step.
        encoder: output of the training step, or a release.
        previous: a release of the same space: images that it holds unchanged (same id and SHA-256) keep their vectors.
        destination: where to publish the shards, `embeddings.json` and `failed.parquet`.
        workspace: where finished and unfinished work is kept.
        parameters: how to embed.

    Returns:
        The artifact; its summary holds rows, dimension, space, shards, how many were reused, and failures by reason.

    Raises:
        DataError: the catalogue is empty, or too many images could not be embedded.
        SpaceMismatchError: `previous` is of another space.
        InputError: `encoder` is the place of a champion, and there is none.
        ContractError: an input is not what it should be.
    """
    task = _Task.of(catalogue, encoder, previous, workspace, parameters)
    with Workspace(workspace).step("embedding", inputs=task.inputs, parameters=parameters) as work:
        if not work.is_finished:
            images = task.read_images()
            shards = plan_shards(images.num_rows, parameters.shard_images)
            bar: tqdm[int] = progress_bar(None, "embedding images", total=images.num_rows, unit="image")
            with bar:
                task.make(shards, images, advance=bar.update)
            failed = _collect_failures(task.directory, shards)
            _check_failures(failed, images.num_rows, task.directory, shards, parameters)
            spec = _hand_on(task, shards, work.output)
            write_table(work.output / FAILED_FILE, failed, QUARANTINE)
            work.finish(
                {
                    "rows": spec.rows,
                    "dimension": spec.dimension,
                    "space_id": spec.space_id,
                    "shards": len(shards),
                    "failed": dict(sorted(Counter(failed.column("reason").to_pylist()).items())),
                }
            )
        shutil.rmtree(task.directory, ignore_errors=True)
        return work.publish(destination)


@dataclass(frozen=True)
class _Task:
    """What is embedded with what, and where unfinished shards lie: equal for equal work, in whatever process."""

    catalogue: Path
    encoder: Path
    spec: EncoderSpec
    earlier: EarlierVectors | None
    directory: Path
    inputs: dict[str, Path | str]
    parameters: EmbeddingParameters

    @classmethod
    def of(
        cls, catalogue: Path, encoder: Path, previous: Path | None, workspace: Path, parameters: EmbeddingParameters
    ) -> _Task:
        listed = open_artifact(catalogue, "catalogue")
        spec = encoder_spec_of(encoder)
        earlier = EarlierVectors.open(previous, spec.space_id)
        inputs: dict[str, Path | str] = {
            "catalogue": catalogue,
            "space": spec.space_id,
            "previous": earlier.key if earlier is not None else "none",
        }
        # Not below the step's own key: jobs of single shards write here at the same time.
        key = digest_of([listed.digest, inputs["space"], inputs["previous"], parameters.shard_images])[:20]
        directory = workspace / "embedding-shards" / key
        return cls(catalogue, encoder, spec, earlier, directory, inputs, parameters)

    def read_images(self) -> pa.Table:
        images = read_table(self.catalogue / CATALOGUE_FILE, CATALOGUE, columns=["image_id", "uri", "sha256"])
        if not images.num_rows:
            raise DataError(f"{self.catalogue} lists no images, so there is nothing to embed; its quarantine says why")
        return images

    def make(self, shards: list[Shard], images: pa.Table, *, advance: Callable[[int], object] = lambda n: None) -> None:
        encoder = OnnxEncoder(self.encoder / ENCODER_FILE, threads=1)
        if encoder.dimension != self.spec.dimension:
            raise ContractError(
                f"{self.encoder / ENCODER_FILE} gives {encoder.dimension} dimensions, its description says "
                f"{self.spec.dimension}; train or fetch it again"
            )
        embedder = ImageEmbedder(encoder, self.spec.preprocessing, self.parameters)
        for shard in shards:
            make_shard(
                self.directory,
                shard,
                images,
                embedder=embedder,
                earlier=self.earlier,
                space_id=self.spec.space_id,
                dimension=self.spec.dimension,
                advance=advance,
            )


def _collect_failures(directory: Path, shards: list[Shard]) -> pa.Table:
    return pa.concat_tables([read_table(directory / shard.failures_file, QUARANTINE) for shard in shards])


def _check_failures(
    failed: pa.Table, images: int, directory: Path, shards: list[Shard], parameters: EmbeddingParameters
) -> None:
    if failed.num_rows < images and failed.num_rows <= parameters.max_failed_share * images:
        return
    # What may succeed another time must be tried again by a rerun.
    for shard in shards:
        reasons = (
            read_table(directory / shard.failures_file, QUARANTINE, columns=["reason"]).column("reason").to_pylist()
        )
        if TRANSIENT_REASONS & set(reasons):
            (directory / shard.embeddings_file).unlink()
    first = failed.slice(0, 1).to_pylist()[0]
    raise DataError(
        f"{failed.num_rows} of {images} images could not be embedded (at most {parameters.max_failed_share:.0%} may fail), "
        f"the first because: {first['message']}; restore the images or build the catalogue again"
    )


def _hand_on(task: _Task, shards: list[Shard], output: Path) -> EmbeddingsSpec:
    rows = 0
    for shard in shards:
        source, target = task.directory / shard.embeddings_file, output / shard.embeddings_file
        rows += pq.read_metadata(source).num_rows
        target.unlink(missing_ok=True)
        link_or_copy(source, target)
    spec = EmbeddingsSpec(
        space_id=task.spec.space_id,
        dimension=task.spec.dimension,
        rows=rows,
        shards=[shard.embeddings_file for shard in shards],
    )
    write_embeddings_spec(output, spec)
    return spec
