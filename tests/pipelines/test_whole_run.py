"""The whole pipeline on this machine: real steps, real MLflow on SQLite, killed wherever it hurts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipelines.graphs.compilation import compile_pipeline
from support.factories.basics import make_folder
from support.inputs.small_run import SMALL

STEPS = ("champion", "catalogue", "labelling", "training", "embedding", "indexing", "evaluation", "registration")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "pipelines", *words]


def run_words(images: Path, home: Path, *more: str) -> list[str]:
    settings = [word for assignment in SMALL for word in ("--set", assignment)]
    return command("run", "--images", str(images), "--home", str(home), *settings, *more)


def run_to_the_end(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def releases(home: Path) -> list[dict]:
    return json.loads(run_to_the_end(command("releases", "--home", str(home), "--json")))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("world") / "images", items=24, views=3)


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which one run has ended well."""
    home = tmp_path_factory.mktemp("finished")
    printed = run_to_the_end(run_words(images, home))
    assert all(f"✔ {step}" in printed for step in STEPS)
    return home


def test_run_ends_in_one_champion_with_a_report(finished: Path) -> None:
    (release,) = releases(finished)
    assert set(release["aliases"]) == {"champion", "challenger"}
    report = (finished / "reports" / "latest.html").read_text()
    assert "<html" in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_same_run_again_adds_no_version(finished: Path, images: Path) -> None:
    before = releases(finished)
    run_to_the_end(run_words(images, finished))
    assert releases(finished) == before


def test_compiled_file_gives_the_same_release_elsewhere(finished: Path, images: Path, tmp_path: Path) -> None:
    compiled = tmp_path / "training.yaml"
    compile_pipeline("training", compiled)
    run_to_the_end(run_words(images, tmp_path / "home", "--pipeline", str(compiled)))
    (there,), (here,) = releases(tmp_path / "home"), releases(finished)
    assert there["release_id"] == here["release_id"]
    assert there["metrics"] == here["metrics"]


def test_new_pictures_become_a_new_generation_in_the_same_space(finished: Path, images: Path, tmp_path: Path) -> None:
    more = make_folder(tmp_path / "more", items=26, views=3)
    home = tmp_path / "home"
    run_to_the_end(run_words(images, home))
    run_to_the_end(run_words(more, home, "--pipeline", "reindexing"))
    newest, first = sorted(releases(home), key=lambda release: -release["version"])
    assert newest["space_id"] == first["space_id"]
    assert newest["release_id"] != first["release_id"]
    assert newest["generation"] == first["generation"] + 1
    assert newest["parent"] == first["release_id"]


def kill_at(words: list[str], mark: str, delay_seconds: float) -> bool:
    """Run, and kill -9 the whole process tree `delay_seconds` after `mark` was printed; whether it came to that."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            if line.startswith(mark):
                break
        else:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay_seconds)
        tree = (
            [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            if process.poll() is None
            else []
        )
        for victim in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)
        process.stdout.read()
    return bool(tree)


@pytest.mark.timeout(900)
def test_killed_in_every_step_and_between_all_steps_ends_in_one_version(
    finished: Path, images: Path, tmp_path: Path
) -> None:
    home, words, kills = tmp_path / "home", None, 0
    words = run_words(images, home)
    for step in STEPS:
        for mark, delay in ((f"▶ {step}", 0.0), (f"▶ {step}", 1.5), (f"✔ {step}", 0.0)):
            kills += kill_at(words, mark, delay)
    assert kills >= 2 * len(STEPS)
    run_to_the_end(words)
    (release,), (undisturbed,) = releases(home), releases(finished)
    assert release["release_id"] == undisturbed["release_id"]
    assert set(release["aliases"]) == {"champion", "challenger"}
