from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.shared.errors import ContractError, InputError
from components.shared.files.atomic import sha256_of
from components.shared.release.manifest import read_manifest
from components.shared.vectors.encoder import (
    ENCODER_FILE,
    ENCODER_INT8_FILE,
    EncoderSpec,
    OnnxEncoder,
    RuntimeChoice,
    RuntimeFigures,
)
from components.shared.vectors.openvino_encoder import computes_bf16
from serving.encoder import runtime as runtime_module
from serving.encoder.runtime import open_runtime, usable_cores
from support.factories.release_factory import make_release

INT8 = RuntimeFigures(engine="onnxruntime", precision="int8", minimum_cosine=0.998, passed=True, reason="x")
INT8_BY_OPENVINO = INT8.model_copy(update={"engine": "openvino"})
BF16 = RuntimeFigures(engine="openvino", precision="bf16", minimum_cosine=0.999, passed=True, reason="x")
ALL = (INT8, INT8_BY_OPENVINO, BF16)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_release(tmp_path_factory.mktemp("release"), items=3, views=2)
    # An encoder without convolutions has no int8 form; the same arithmetic under that name shows what is loaded.
    (directory / ENCODER_INT8_FILE).write_bytes((directory / ENCODER_FILE).read_bytes())
    return directory


def spec_of(
    release: Path, engine: str = "onnxruntime", precision: str = "int8", *figures: RuntimeFigures
) -> EncoderSpec:
    sha256 = sha256_of(release / ENCODER_INT8_FILE)
    choice = RuntimeChoice(engine=engine, precision=precision, figures=figures or ALL, int8_sha256=sha256)
    return read_manifest(release).encoder.model_copy(update={"runtime": choice})


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), np.uint8)


def test_a_release_without_a_record_runs_in_fp32_on_onnx_runtime(release: Path) -> None:
    runtime = open_runtime(release, read_manifest(release).encoder, threads=1)
    assert runtime.describe() == {"runtime": "onnxruntime", "precision": "fp32"}
    assert (runtime.threads, runtime.note) == (1, "")


@pytest.mark.parametrize(
    ("wished", "described"),
    [
        ("release", ("onnxruntime", "int8")),
        ("onnxruntime-fp32", ("onnxruntime", "fp32")),
        ("openvino-fp32", ("openvino", "fp32")),
        ("openvino-int8", ("openvino", "int8")),
        pytest.param(
            "openvino-bf16",
            ("openvino", "bf16"),
            marks=pytest.mark.skipif(not computes_bf16(), reason="this processor does not compute in bf16"),
        ),
    ],
)
def test_what_the_record_admits_can_be_had_and_gives_the_same_vectors(
    release: Path, wished: str, described: tuple[str, str]
) -> None:
    runtime = open_runtime(release, spec_of(release), wished=wished, threads=1)
    assert tuple(runtime.describe().values()) == described
    assert runtime.note == ""
    received = runtime.encoder.encode(pictures(5))
    expected = OnnxEncoder(release / ENCODER_FILE, threads=1).encode(pictures(5))
    assert (received * expected).sum(1).min() > 0.999
    assert received.dtype == np.float32
    with pytest.raises(InputError, match="expected uint8"):
        runtime.encoder.encode(pictures(1).astype(np.float32))


@pytest.mark.parametrize("wished", ["openvino-bf16", "openvino-int8", "onnxruntime-int8"])
def test_what_the_gate_refused_falls_back_and_says_so(
    release: Path, wished: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = [f.model_copy(update={"passed": False}) for f in ALL]
    with caplog.at_level(logging.WARNING):
        runtime = open_runtime(release, spec_of(release, "onnxruntime", "fp32", *refused), wished=wished, threads=1)
    assert runtime.describe() == {"runtime": "onnxruntime", "precision": "fp32"}
    assert "did not admit" in runtime.note
    assert runtime.note in caplog.text


def test_a_processor_without_bf16_falls_back_and_says_so(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "computes_bf16", lambda: False)
    runtime = open_runtime(release, spec_of(release, "openvino", "bf16"), wished="release", threads=1)
    assert runtime.describe() == {"runtime": "onnxruntime", "precision": "fp32"}
    assert "does not compute in bf16" in runtime.note


@pytest.mark.parametrize("order", [("int8", "bf16"), ("bf16", "int8")])
@pytest.mark.parametrize("admitted", [{"int8", "bf16"}, {"int8"}, {"bf16"}, set()])
def test_the_processor_takes_the_fastest_of_what_it_can_and_may(
    release: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str], admitted: set[str]
) -> None:
    engines = {"int8": "onnxruntime", "bf16": "openvino", "fp32": "onnxruntime"}
    monkeypatch.setattr(runtime_module, "preferred_runtimes", lambda: tuple((engines[p], p) for p in order))
    figures = [f.model_copy(update={"passed": f.precision in admitted}) for f in (INT8, BF16)]
    runtime = open_runtime(release, spec_of(release, "onnxruntime", "fp32", *figures), threads=1)
    possible = [p for p in order if p in admitted and (p != "bf16" or computes_bf16())] + ["fp32"]
    assert runtime.describe() == {"runtime": engines[possible[0]], "precision": possible[0]}
    assert runtime.note == ""


def test_int8_that_is_off_on_this_processor_falls_back_and_fp32_that_is_off_is_refused(
    release: Path, tmp_path: Path
) -> None:
    strange = make_release(tmp_path / "strange", items=2, views=1, seed=5)
    for file in release.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / ENCODER_INT8_FILE).write_bytes((strange / ENCODER_FILE).read_bytes())
    runtime = open_runtime(tmp_path, spec_of(tmp_path), wished="release", threads=1)
    assert runtime.describe() == {"runtime": "onnxruntime", "precision": "fp32"}
    assert "golden picture" in runtime.note
    (tmp_path / ENCODER_FILE).write_bytes((strange / ENCODER_FILE).read_bytes())
    with pytest.raises(ContractError, match="golden picture"):
        open_runtime(tmp_path, spec_of(tmp_path), threads=1)


def test_golden_pictures_may_be_off_twice_as_far_as_the_gates_worst_in_few_bits_and_no_farther_in_fp32(
    release: Path,
) -> None:
    assert open_runtime(release, spec_of(release), wished="release", threads=1).minimum_cosine == pytest.approx(0.996)
    assert open_runtime(release, spec_of(release), wished="openvino-fp32", threads=1).minimum_cosine == 0.9995


def test_another_dimension_than_the_manifests_is_refused(release: Path) -> None:
    spec = spec_of(release).model_copy(update={"dimension": 17, "runtime": None})
    with pytest.raises(ContractError, match="makes 16 dimensions"):
        open_runtime(release, spec, threads=1)


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= usable_cores() <= 4096


def test_openvino_does_not_report_home() -> None:
    program = (
        "import socket, sys, urllib.request\n"
        "def refuse(*_, **__): raise SystemExit('reported home')\n"
        "urllib.request.urlopen = refuse\n"
        "from components.shared.vectors.openvino_encoder import computes_bf16\n"
        "computes_bf16()\n"
        "import openvino\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm.__name__.endswith('telemetry_stub'), telemetry_utils.tm\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
