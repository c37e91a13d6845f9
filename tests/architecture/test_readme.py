"""What the README tells people to type exists: every command parses, every make target is there, every file too."""

import re
import shlex
from pathlib import Path

import components
from pipelines.__main__ import build_parser
from pipelines.runs.parameters import merge_assignments

ROOT = Path(components.__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S))


def test_every_command_of_the_readme_parses() -> None:
    commands = re.findall(r"^(?:\.venv/bin/)?visual-search (.*?)(?:\s{2,}#.*)?$", BLOCKS, re.M)
    assert len(commands) >= 10
    for command in commands:
        options = build_parser().parse_args(shlex.split(command))
        merge_assignments(getattr(options, "assignments", []) or [], {})


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"`?make ([a-z-]+)", README))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= targets <= known


def test_every_picture_and_benchmark_of_the_readme_is_there() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`(benchmarks/[\w.]+)`", README):
        assert (ROOT / path).exists(), path
