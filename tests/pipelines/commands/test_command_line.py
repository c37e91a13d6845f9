"""The command line: help, parameters, settings, refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.shared.errors import ParameterError
from pipelines import PIPELINE_NAMES
from pipelines.__main__ import build_parser, main
from pipelines.runs.local import start_run
from pipelines.runs.parameters import STEPS, describe_parameters, encode_parameters, merge_assignments, model_of
from pipelines.runs.process import load_pipeline
from pipelines.settings import read_settings


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom pipelines.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(','.join(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(printed.strip().splitlines()[-1].split(","))
    assert not loaded & {"kfp", "torch", "mlflow", "numpy", "pydantic", "pyarrow", "faiss", "cv2"}


def test_every_command_has_help_that_is_a_sentence() -> None:
    parser = build_parser()
    commands = parser._subparsers._group_actions[0].choices
    for name, command in commands.items():
        assert command.description.endswith("."), name
        assert len(command.format_help()) > 200


@pytest.mark.parametrize("name", PIPELINE_NAMES)
def test_every_pipeline_is_found_by_its_name(name: str) -> None:
    assert load_pipeline(name).component_spec.inputs


@pytest.mark.parametrize("step", STEPS)
def test_parameters_are_bounded_described_and_frozen(step: str) -> None:
    model = model_of(step)
    assert model.model_config.get("frozen")
    assert model.model_config.get("extra") == "forbid"
    for line in describe_parameters(step).splitlines():
        assert len(line.split(maxsplit=2)) == 3, f"no meaning: {line}"


def test_assignments_are_checked_by_name_and_range() -> None:
    merged = merge_assignments(["training.epochs=3"], {"training": {"seed": 1}})
    assert merged == {"training": {"seed": 1, "epochs": 3}}
    assert json.loads(encode_parameters(merged)) == merged
    with pytest.raises(ParameterError, match="did you mean training"):
        merge_assignments(["trainin.epochs=3"], {})
    with pytest.raises(ParameterError, match="did you mean epochs"):
        merge_assignments(["training.epoch=3"], {})
    with pytest.raises(ParameterError, match="STEP"):
        merge_assignments(["epochs"], {})
    with pytest.raises(ParameterError, match=r"training\.epochs"):
        encode_parameters({"training": {"epochs": -1}})


def test_unknown_setting_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL_SEARCH_HOMW", "/x")
    with pytest.raises(ParameterError, match="VISUAL_SEARCH_HOMW"):
        read_settings()


def test_what_kfp_would_alter_is_refused(tmp_path: Path) -> None:
    for value in ("/data/python3 book", "{{$.json_escape[1]}}"):
        with pytest.raises(ParameterError, match="rename"):
            start_run("training", {"images": value}, tmp_path)


def test_an_environment_at_a_path_with_a_space_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/me/my shop/.venv/bin/python")
    with pytest.raises(ParameterError, match=r"my shop.*virtual environment"):
        start_run("training", {"images": "photos"}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["images", "judgements", "events"])
def test_a_wrong_path_is_one_sentence_and_code_one_at_once(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"images": tmp_path, wrong: tmp_path / "nowhere"}
    options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    code = main(["run", *options, "--home", str(tmp_path / "home")])
    captured = capsys.readouterr()
    assert code == 1
    assert f"--{wrong}" in captured.err
    assert "nowhere" in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "home" / "runs").exists()


def test_an_empty_folder_is_one_sentence_and_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    code = main(["run", "--images", str(tmp_path / "pictures"), "--home", str(tmp_path / "home")])
    captured = capsys.readouterr()
    assert code == 1
    assert "holds no pictures" in captured.err
    assert len(captured.err.strip().splitlines()) <= 2
    assert "Traceback" not in captured.out + captured.err
