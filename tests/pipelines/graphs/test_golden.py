"""The compiled pipelines stand here as golden files; REGENERATE=1 (`make golden`) writes them, CI never does."""

import os
from pathlib import Path

import pytest
import yaml

from pipelines import PIPELINE_NAMES
from pipelines.graphs.compilation import check_compiled, compile_pipeline

GOLDEN = Path(__file__).parent / "golden"


def normalised(path: Path) -> list[dict]:
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        document.pop("sdkVersion", None)
    return documents


@pytest.mark.parametrize("name", PIPELINE_NAMES)
def test_compiled_pipeline_is_the_golden_one(name: str, tmp_path: Path) -> None:
    compiled = tmp_path / "compiled.yaml"
    compile_pipeline(name, compiled)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("REGENERATE") == "1":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(compiled.read_text())
    assert normalised(compiled) == normalised(golden)


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    compile_pipeline("training", first)
    compile_pipeline("training", second)
    assert first.read_bytes() == second.read_bytes()


def test_image_with_digest_reaches_every_task(tmp_path: Path) -> None:
    image = "registry.example/visual-search-python@sha256:" + "a" * 64
    compile_pipeline("demonstration", tmp_path / "p.yaml", image=image)
    spec = normalised(tmp_path / "p.yaml")[0]
    images = {e["container"]["image"] for e in spec["deploymentSpec"]["executors"].values()}
    assert images == {image}


def test_kubernetes_resources(tmp_path: Path) -> None:
    compile_pipeline("training", tmp_path / "p.yaml", kubernetes=True, namespace="search")
    kinds = {d["kind"]: d for d in yaml.safe_load_all((tmp_path / "p.yaml").read_text())}
    assert set(kinds) == {"Pipeline", "PipelineVersion"}
    assert kinds["PipelineVersion"]["spec"]["pipelineName"] == kinds["Pipeline"]["metadata"]["name"]
    assert {d["metadata"]["namespace"] for d in kinds.values()} == {"search"}


def broken(documents: list[dict], fault: str) -> list[dict]:
    spec, platform = documents
    executor = spec["deploymentSpec"]["executors"]["exec-training"]["container"]
    tasks = spec["root"]["dag"]["tasks"]
    match fault:
        case "pip":
            executor["command"].append("python3 -m pip install torch")
        case "image":
            executor["image"] = "other-python:latest"
        case "long":
            executor["args"].append("x" * (128 * 1024 + 1))
        case "root":
            del platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-training"]["securityContext"]
        case "secret":
            spec["components"]["comp-training"]["inputDefinitions"]["parameters"]["s3_password"] = {}
        case "cache":
            tasks["training"]["cachingOptions"] = {"enableCache": True}
        case "loop":
            tasks["training"]["parameterIterator"] = {}
        case "text condition":
            tasks["condition-1"]["triggerPolicy"]["condition"] = "inputs.parameter_values['x'] == 'yes'"
    return documents


FAULTS = {
    "pip": "installs packages",
    "image": "uses the image",
    "long": "128 KiB",
    "root": "root",
    "secret": "secret",
    "cache": "cached",
    "loop": "loops",
    "text condition": "comparison of text",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_seeded_fault_is_found(fault: str) -> None:
    documents = normalised(GOLDEN / "training.yaml")
    assert check_compiled(documents) == []
    found = check_compiled(broken(documents, fault))
    assert len(found) == 1
    assert FAULTS[fault] in found[0]
