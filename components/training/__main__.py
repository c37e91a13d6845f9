"""Entry point of a training process: `torchrun … -m components.training JOB_FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from components.shared.errors import VisualSearchError
from components.training.job import TrainingJob, run_job


def main() -> int:
    """Run the job that the only argument names; 0 on success, 2 with one sentence on a known error."""
    if len(sys.argv) != 2:
        print("usage: python -m components.training JOB_FILE", file=sys.stderr)
        return 2
    try:
        run_job(TrainingJob.model_validate_json(Path(sys.argv[1]).read_text()))
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
