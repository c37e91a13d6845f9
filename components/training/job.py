"""A training as data, so that torchrun's processes can take it up from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file

from components.shared.errors import ResourceError
from components.shared.files.atomic import whole_file, write_json
from components.shared.files.layout import HISTORY_FILE
from components.training.backbone import input_format
from components.training.dataset import Dataset, open_dataset
from components.training.distributed import Group, process_group
from components.training.loop import Figures, Training
from components.training.parameters import TrainingParameters
from components.training.tracking import Tracker

JOB_FILE = "job.json"
WEIGHTS_FILE = "weights.safetensors"


class TrainingJob(BaseModel):
    """Everything that a process needs to take part in a training.

    Attributes:
        catalogue: output of the catalogue step.
        labels: output of the labelling step.
        scratch: decoded pictures, checkpoint and, in the end, `weights.safetensors` and `history.json`.
        tracking_uri: MLflow; "" for none.
        parameters: all dials.
        start: weights of a whole encoder to fine-tune; None: the initial weights that the parameters name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: Path
    labels: Path
    scratch: Path
    tracking_uri: str
    parameters: TrainingParameters
    start: Path | None = None


def open_images(job: TrainingJob) -> Dataset:
    """Read the job's tables and decode its pictures."""
    threads = job.parameters.threads or torch.get_num_threads()
    preprocessing = input_format(job.parameters).preprocessing
    return open_dataset(
        job.catalogue, job.labels, job.scratch, job.parameters, preprocessing=preprocessing, threads=threads
    )


def run_job(job: TrainingJob) -> None:
    """Train, in one process or as one of torchrun's; the result lies in `job.scratch`."""
    if job.parameters.threads:
        torch.set_num_threads(job.parameters.threads)
    with process_group() as group:
        if group.rank == 0:
            open_images(job)  # decodes; the others then find the pictures
        group.wait()
        training = Training(open_images(job), job.parameters, job.scratch, group, start=job.start)
        if group.rank:
            training.run()
        else:
            _lead(job, training, group)
        group.wait()


def launch(job: TrainingJob) -> None:
    """Train in this process, or in `parameters.processes` of them under torchrun.

    Raises:
        ResourceError: a process of several failed.
    """
    if job.parameters.processes == 1:
        run_job(job)
        return
    path = job.scratch / JOB_FILE
    write_json(path, job.model_dump(mode="json"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={job.parameters.processes}", "-m", "components.training", str(path)]
    code = subprocess.run(command, check=False).returncode  # noqa: S603  # our own words, no shell
    if code:
        raise ResourceError(
            f"training in {job.parameters.processes} processes ended with exit code {code}; its output above says why. "
            "Run the same command again to resume from the last checkpoint"
        )


def _lead(job: TrainingJob, training: Training, group: Group) -> None:
    """Train as the first process: record, and write the result."""
    recorded = job.parameters.model_dump(mode="json") | {"processes_found": group.size}
    with Tracker(job.tracking_uri, job.scratch, recorded) as tracker:

        def record(figures: Figures, seconds: float) -> None:
            tracker.log({**figures, "seconds": seconds}, step=int(figures["epoch"]))

        weights = training.run(record)
    write_json(job.scratch / HISTORY_FILE, training.history)
    with whole_file(job.scratch / WEIGHTS_FILE) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary)
