"""A command whose reader has gone, as `visual-search rollout status | head -1` makes it, ends without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", [["parameters"], ["releases", "--json"], ["rollout", "status", "--json"]])
def test_output_that_nobody_reads_ends_a_command_quietly(command: list[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "VISUAL_SEARCH_HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *command],
            stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert "Traceback" not in done.stderr
    assert "BrokenPipeError" not in done.stderr
    assert done.returncode == 141
