"""Releases whose files carry programs, under true digests (promise 20): none is run, no pickle is read, the old one serves."""

from __future__ import annotations

import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from components.shared.files.layout import ITEMS_FILE, MANIFEST_FILE
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, read_manifest
from components.shared.release.served import Current, publish_release, write_current
from components.shared.vectors.encoder import ENCODER_FILE
from components.shared.vectors.search import INDEX_FILE
from pipelines.commands.serving_processes import ServingProcesses
from serving.client import SearchClient
from support.inputs.manifests_of_releases import make_true
from support.servers.serving_processes import log_lines, make_local_release, pictures_of, serving

# In every process of the service: what would unpickle a class, or start a program, is written down and refused.
WATCH = """
import os, sys
def _watch(event, arguments):
    if event in ("pickle.find_class", "os.system", "os.exec"):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{event} {arguments!r}\\n")
        raise RuntimeError(event)
sys.addaudithook(_watch)
"""


def program(marker: Path) -> bytes:
    """A pickle that makes a file when it is read."""

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(marker),)

    return pickle.dumps(Evil())


def as_torch(evil: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", evil)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def with_extension_type(path: Path, evil: bytes) -> bytes:
    """A table one of whose columns claims to be of a type that pyarrow once unpickled (CVE-2023-47248)."""
    table = pq.read_table(path)
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    schema = pa.schema(
        [table.schema.field(0).with_metadata(metadata), *[table.schema.field(n) for n in range(1, len(table.schema))]],
        table.schema.metadata,
    )
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(table.columns, schema=schema), buffer)
    return buffer.getvalue()


def with_external_data(path: Path) -> bytes:
    """A model whose weights lie in a file elsewhere."""
    model = onnx.load_from_string(path.read_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../../../../../etc/passwd"), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def with_foreign_operator(path: Path) -> bytes:
    """A model one of whose operators is Python's."""
    model = onnx.load_from_string(path.read_bytes())
    model.graph.node.insert(
        0, helper.make_node("PyOp", ["images"], ["ignored"], domain="ai.onnx.contrib", code="os.system('x')")
    )
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    return model.SerializeToString()


TAMPERED: dict[str, tuple[str, Callable[[Path, bytes], bytes]]] = {
    "the encoder is a pickle": (ENCODER_FILE, lambda path, evil: evil),
    "the encoder is a torch archive": (ENCODER_FILE, lambda path, evil: as_torch(evil)),
    "the encoder's weights lie elsewhere": (ENCODER_FILE, lambda path, evil: with_external_data(path)),
    "the encoder has a foreign operator": (ENCODER_FILE, lambda path, evil: with_foreign_operator(path)),
    "the index is a pickle": (INDEX_FILE, lambda path, evil: evil),
    "the index ends in a pickle": (INDEX_FILE, lambda path, evil: path.read_bytes() + evil),
    "the items are a pickle": (ITEMS_FILE, lambda path, evil: evil),
    "the items are of a type that is unpickled": (ITEMS_FILE, with_extension_type),
    "the golden pictures are of such a type": (GOLDEN_FILE, with_extension_type),
    "the reference is a pickle": (REFERENCE_FILE, lambda path, evil: evil),
    "a pickle lies beside": ("index.pkl", lambda path, evil: evil),
    "the manifest is a pickle": (MANIFEST_FILE, lambda path, evil: evil),
}
# These cannot be served; what else is put into use is so without what was added to it.
UNUSABLE = {
    "the encoder is a pickle", "the encoder is a torch archive", "the encoder's weights lie elsewhere",
    "the encoder has a foreign operator", "the index is a pickle", "the items are a pickle", "the manifest is a pickle",
}  # fmt: skip


def has_tried(processes: ServingProcesses, process: str, tampered: Path, release_id: str) -> bool:
    """Whether a process has said what became of a release: in use, or not and why."""
    loggers = {"serving.transformer.search.holder", "serving.encoder.loading"}
    return any(
        line.get("logger") in loggers and re.search(rf"\b({tampered.name}|{release_id})\b", line["message"])
        for line in log_lines(processes, process)
    )


def test_no_program_in_a_release_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(TAMPERED) >= 10
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("WATCHED", str(tmp_path / "watched"))
    release, root, marker = (
        make_local_release(tmp_path / "made", items=6, views=2),
        tmp_path / "served",
        tmp_path / "marker",
    )
    good = publish_release(root, release)
    served = read_manifest(release).release_id
    picture, evil = pictures_of(release)["000-0"], program(marker)
    with serving(root, tmp_path) as processes, SearchClient(processes.url, timeout_seconds=60) as client:
        for number, (name, (file, tamper)) in enumerate(TAMPERED.items()):
            tampered = root / f"tampered-{number}"
            shutil.copytree(root / good.release, tampered)
            content = tamper(tampered / file, evil)
            (tampered / file).unlink(missing_ok=True)
            (tampered / file).write_bytes(content)
            release_id = "none"
            if file != MANIFEST_FILE:
                make_true(tampered)
                release_id = read_manifest(tampered).release_id
            write_current(root, Current(release=tampered.name))
            deadline = time.monotonic() + 120
            while not all(has_tried(processes, process, tampered, release_id) for process in processes.children):
                processes.check()
                assert time.monotonic() < deadline, f"{name}: nobody looks"
                time.sleep(0.1)
            assert client.search(picture, k=3).results, name
            now = client.release()["release_id"]
            assert now == served or name not in UNUSABLE, name
            served = now
            assert not marker.exists(), name
            assert not (tmp_path / "watched").exists(), (name, (tmp_path / "watched").read_text())


def test_the_watch_would_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hook in a process that does read a pickle."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("WATCHED", str(tmp_path / "watched"))
    (tmp_path / "evil").write_bytes(program(tmp_path / "marker"))
    code = f"import pickle; pickle.load(open({str(tmp_path / 'evil')!r}, 'rb'))"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 1
    assert "pickle.find_class" in (tmp_path / "watched").read_text()
    assert not (tmp_path / "marker").exists()
