"""The workspace: the same work is done once, a killed attempt is continued, two at once do not mix."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from components.shared.errors import ContractError, DamagedArtifactError, UnfinishedArtifactError
from components.shared.files.artifacts import open_artifact, seal_artifact
from components.shared.files.workspace import Workspace


class Parameters(BaseModel):
    seed: int = 0


# A step of 40 shards: each is written to scratch, the last act joins them. It says so after every shard.
STEP = """
import sys, time
from pathlib import Path
from components.shared.files.atomic import whole_file
from components.shared.files.workspace import Workspace
root, destination, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
with Workspace(root).step("indexing", inputs={"images": "somewhere"}, parameters={"seed": 3}) as work:
    if not work.is_finished:
        for shard in range(40):
            path = work.scratch / f"{shard:02d}"
            if not path.exists():
                with whole_file(path) as temporary:
                    temporary.write_text("x" * 1000 + str(shard))
                print("made", shard, flush=True)
                time.sleep(pause)
        with whole_file(work.output / "all.txt") as temporary:
            with temporary.open("w") as file:
                for shard in range(40):
                    file.write((work.scratch / f"{shard:02d}").read_text())
                    file.flush()
                    time.sleep(pause)
            print("joined", flush=True)
        time.sleep(pause)
        work.finish({"shards": 40})
    work.publish(destination)
print("published", flush=True)
"""


def start(tmp_path: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STEP, str(tmp_path / "workspace"), str(tmp_path / "out"), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_anywhere_the_rerun_ends_in_one_whole_output(tmp_path):
    """kill -9 during the shards, while joining, and before sealing: nothing half is published, no shard is made twice."""
    made: list[str] = []
    for wanted in ("made 3", "made 17", "made 39", "joined"):
        with start(tmp_path, 0.02) as process:
            for line in process.stdout:
                made.append(line.strip())
                if line.strip() == wanted:
                    break
            if wanted == "made 39":
                time.sleep(0.2)  # amid the joining
            process.kill()
        assert not (tmp_path / "out").exists()
        with pytest.raises(UnfinishedArtifactError):
            open_artifact(next((tmp_path / "workspace" / "indexing").iterdir()) / "output", "indexing")
    with start(tmp_path, 0) as process:
        lines, errors = process.communicate()
    assert lines.split("\n")[-2] == "published", errors
    shards = [line for line in made if line.startswith("made")]
    assert shards == [f"made {shard}" for shard in range(40)]
    artifact = open_artifact(tmp_path / "out", "indexing", verify=True)
    assert list(artifact.files) == ["all.txt"]
    assert (tmp_path / "out" / "all.txt").read_text() == "".join("x" * 1000 + str(s) for s in range(40))
    assert [path.name for path in (tmp_path / "workspace" / "indexing").iterdir()] == [artifact_key(tmp_path)]


def artifact_key(tmp_path: Path) -> str:
    work = Workspace(tmp_path / "workspace")
    with work.step("indexing", inputs={"images": "somewhere"}, parameters={"seed": 3}) as found:
        assert found.is_finished
        assert not found.scratch.exists()
        return found.key


def test_finished_work_is_handed_on_without_doing_it_again(tmp_path):
    for attempt in range(3):
        with Workspace(tmp_path).step("indexing", inputs={}, parameters=Parameters()) as work:
            assert work.is_finished == (attempt > 0)
            if not work.is_finished:
                (work.output / "a").write_text("a")
                work.finish({"n": 1})
            artifact = work.publish(tmp_path / f"out-{attempt}")
    assert artifact.summary == {"n": 1}
    assert (tmp_path / "out-2" / "a").read_text() == "a"


def test_key_depends_on_step_parameters_inputs_and_their_contents(tmp_path):
    source = tmp_path / "source"
    source.mkdir()

    def key(name: str = "indexing", content: str = "a", seed: int = 0, **inputs: str) -> str:
        (source / "file").write_text(content)
        seal_artifact(source, "embedding")
        given = {"embeddings": source, **inputs}
        with Workspace(tmp_path / "w").step(name, inputs=given, parameters=Parameters(seed=seed)) as work:
            return work.key

    assert key() == key()
    keys = {key(), key("embedding"), key(content="b"), key(seed=1), key(images="s3://a"), key(images="s3://b")}
    assert len(keys) == 6
    facts = json.loads((tmp_path / "w" / "indexing" / key() / "key.json").read_text())
    assert facts["parameters"] == {"seed": 0}


def test_key_depends_on_the_code_of_the_step(tmp_path, monkeypatch):
    from components.shared.files import workspace

    def key() -> str:
        with Workspace(tmp_path).step("indexing", inputs={}, parameters={}) as work:
            return work.key

    before = key()
    monkeypatch.setattr(workspace, "code_digest", lambda module: "changed")
    assert key() != before


def test_unfinished_and_damaged_inputs_are_refused(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("a")
    with (
        pytest.raises(UnfinishedArtifactError, match="the step before this one did not finish"),
        Workspace(tmp_path / "w").step("indexing", inputs={"embeddings": source}, parameters={}),
    ):
        pass
    seal_artifact(source, "embedding")
    (source / "file").write_text("longer")
    with (
        pytest.raises(DamagedArtifactError, match="file"),
        Workspace(tmp_path / "w").step("indexing", inputs={"embeddings": source}, parameters={}),
    ):
        pass


def test_temporary_files_of_a_killed_attempt_are_not_sealed(tmp_path):
    with Workspace(tmp_path).step("indexing", inputs={}, parameters={}) as work:
        (work.output / "deep").mkdir()
        (work.output / "deep" / ".a.parquet.x1.part").write_text("half")
    with Workspace(tmp_path).step("indexing", inputs={}, parameters={}) as work:
        (work.output / "a").write_text("a")
        assert list(work.finish().files) == ["a"]


def test_a_failed_attempt_keeps_its_scratch_and_frees_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError):
        _fail(tmp_path)
    with Workspace(tmp_path).step("indexing", inputs={}, parameters={}) as work:
        assert not work.is_finished
        assert (work.scratch / "shard").read_text() == "1"
        with pytest.raises(UnfinishedArtifactError):
            work.publish(tmp_path / "out")


def _fail(root: Path) -> None:
    with Workspace(root).step("indexing", inputs={}, parameters={}) as work:
        (work.scratch / "shard").write_text("1")
        raise ZeroDivisionError


def test_a_second_process_waits_and_finds_the_work_finished(tmp_path, capsys):
    order: list[str] = []

    def second() -> None:
        with Workspace(tmp_path).step("indexing", inputs={}, parameters={}) as work:
            order.append("second, finished" if work.is_finished else "second, unfinished")

    with Workspace(tmp_path).step("indexing", inputs={}, parameters={}) as work:
        thread = threading.Thread(target=second)
        thread.start()
        said, deadline = "", time.monotonic() + 60
        while "another process is doing this work" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capsys.readouterr().err
        order.append("first")
        work.finish()
    thread.join()
    assert order == ["first", "second, finished"]
    assert "another process is doing this work" in said


def test_output_of_another_step_cannot_be_taken_for_it(tmp_path):
    with Workspace(tmp_path / "w").step("indexing", inputs={}, parameters={}) as work:
        work.finish()
        work.publish(tmp_path / "out")
    with pytest.raises(ContractError, match="expected the output of training"):
        open_artifact(tmp_path / "out", "training")
