"""Every command is started in a pod's environment, with a variable for each Service, and does what it does without them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.__main__ import build_parser, main
from support.inputs.service_links import service_links

# Command → arguments. The long ones are given something that they refuse after they have read their settings.
COMMANDS: dict[str, list[str]] = {
    "demo": ["--set", "training.epoch=1"],
    "run": ["--images", "absent/"],
    "tune": ["--images", "absent/"],
    "parameters": ["catalogue"],
    "compile": ["reindexing", "--output", "reindexing.yaml"],
    "submit": ["reindexing", "--host", "http://127.0.0.1:9"],
    "schedule": ["reindexing", "--host", "http://127.0.0.1:9", "--cron", "0 0 3 * * *"],
    "releases": [],
    "promote": ["1", "--why", "test"],
    "history": [],
    "fetch": [],
    "serve": ["absent/", "--seconds", "0"],
    "extend": ["--add", "absent/"],
    "query": ["absent.jpg", "--url", "http://127.0.0.1:9"],
    "ab plan": [],
    "ab decide": [],
    "ab report": [],
    "events export": ["--output", "events"],
    "events stats": [],
    "monitor run": [],
    "monitor report": [],
    "monitor serve": ["--port", "0", "--seconds", "0"],
    "rollout status": ["--mode", "standard"],
    "rollout start": ["1"],
    "rollout step": ["5"],
    "rollout promote": ["--why", "test"],
    "rollout rollback": ["--why", "test"],
    "rollout reconcile": ["--mode", "standard"],
    "rollout auto": [],
    "rollout rehearse": [],
    "manifests check": ["absent.yaml"],
    "manifests doctor": [],
    "runs watch": ["run-1"],
    "runs cancel": ["run-1"],
}


def commands_of(parser: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield before.strip()
    for action in below:
        for name, command in action.choices.items():
            yield from commands_of(command, f"{before} {name}")


def test_no_command_is_left_out() -> None:
    assert set(COMMANDS) == set(commands_of(build_parser()))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_does_the_same_beside_service_links(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("KUBECONFIG", str(home / "no-cluster"))
    for name in [name for name in os.environ if name.startswith("VISUAL_SEARCH_")]:
        monkeypatch.delenv(name)
    told = []
    for links in ({}, service_links()):
        for name, value in links.items():
            monkeypatch.setenv(name, value)
        status = main([*command.split(), *COMMANDS[command]])
        printed = capsys.readouterr()
        told.append((status, re.sub(r"127\.0\.0\.1:\d+", "HERE", printed.out + printed.err)))
    assert "the environment sets" not in told[1][1]
    assert told[0] == told[1]
