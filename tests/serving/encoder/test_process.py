"""The encoder as it runs: its own process, gRPC on loopback."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from components.shared.release.manifest import read_manifest
from components.shared.release.served import CURRENT_FILE, Current, publish_release, write_current
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from support.factories.release_factory import make_release
from support.servers.encoder_process import MODEL, EncoderProcess, read, request, running


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"), items=3, views=2)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("other"), items=3, views=2, seed=1)


@pytest.fixture(scope="module")
def encoder(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderProcess]:
    process = EncoderProcess(release, tmp_path_factory.mktemp("cache"))
    yield process
    assert process.stop() == 0
    assert "LOADED []\n" in process.lines
    assert not [line for line in process.lines if "PICKLE" in line]


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), np.uint8)


def code_of(call: Any, *arguments: Any, **more: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **more)
    return caught.value.code(), caught.value.details()


def test_sixty_four_requests_at_once_of_mixed_sizes_all_get_their_own_vectors(
    encoder: EncoderProcess, release: Path
) -> None:
    direct = OnnxEncoder(release / ENCODER_FILE, threads=1)
    sizes = [1, 2, 3, 5, 8, 17, 1, 1] * 8
    batches = [pictures(size, seed) for seed, size in enumerate(sizes)]

    def ask(images: np.ndarray) -> np.ndarray:
        while True:
            try:
                return encoder.infer(images)[0]
            except grpc.RpcError as error:  # 304 pictures at once are more than may wait
                if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                time.sleep(0.02)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, batches))
    for images, vectors in zip(batches, answers, strict=True):
        np.testing.assert_allclose(vectors, direct.encode(images), atol=1e-6)


def test_every_answer_names_space_release_and_runtime(encoder: EncoderProcess, release: Path) -> None:
    manifest = read_manifest(release)
    for space in (None, manifest.space_id):
        _, parameters = encoder.infer(pictures(1), space_id=space)
        assert parameters == {
            "space_id": manifest.space_id,
            "release_id": manifest.release_id,
            "runtime": "onnxruntime",
            "precision": "fp32",
        }


def test_a_foreign_space_is_a_typed_refusal(encoder: EncoderProcess) -> None:
    code, _ = code_of(encoder.infer, pictures(1), space_id="s-0123456789abcdef")
    assert code == grpc.StatusCode.FAILED_PRECONDITION


def wrong_requests() -> dict[str, pb.ModelInferRequest]:
    images = pictures(1)
    cases = {
        "float": request(images.astype(np.float32), datatype="FP32"),
        "name of type": request(images, datatype="INT8"),
        "planes first": request(images.transpose(0, 3, 1, 2)),
        "no batch": request(images[0]),
        "small": request(images[:, :112, :112]),
        "empty": request(images[:0]),
        "too many": request(np.zeros((65, 224, 224, 3), np.uint8)),
        "short": request(images),
        "long": request(images),
        "negative": request(images),
        "another input": request(images),
        "two inputs": request(images),
        "no input": pb.ModelInferRequest(model_name=MODEL),
        "space of a number": request(images),
        "another output": request(images),
        "raw and contents": request(images),
        "bytes": request(images, datatype="BYTES"),
    }
    cases["short"].raw_input_contents[0] = images.tobytes()[:-1]
    cases["long"].raw_input_contents[0] = images.tobytes() + b"\0"
    cases["negative"].inputs[0].shape[:] = [-1, 224, 224, 3]
    cases["another input"].inputs[0].name = "pictures"
    cases["two inputs"].inputs.add(name="more", datatype="UINT8", shape=[1])
    cases["two inputs"].raw_input_contents.append(b"\0")
    cases["space of a number"].parameters["space_id"].int64_param = 7
    cases["another output"].outputs.add(name="weights")
    cases["raw and contents"].inputs[0].contents.uint_contents.append(1)
    return cases


@pytest.mark.parametrize("name", wrong_requests())
def test_a_wrong_request_is_the_callers_fault_and_tells_nothing_of_the_inside(
    encoder: EncoderProcess, name: str
) -> None:
    code, details = code_of(encoder.stub.ModelInfer, wrong_requests()[name], timeout=30)
    assert code == grpc.StatusCode.INVALID_ARGUMENT, details
    assert not any(word in details for word in ("/", "Error", "Traceback", "numpy", "0x")) or "/v2" in details
    assert len(details) < 300
    encoder.infer(pictures(1))


def test_pictures_as_numbers_are_read_too(encoder: EncoderProcess) -> None:
    images = pictures(1)
    message = request(images)
    del message.raw_input_contents[:]
    message.inputs[0].contents.uint_contents.extend(images.reshape(-1).tolist())
    response = encoder.stub.ModelInfer(message, timeout=30)
    values = np.array(response.outputs[0].contents.fp32_contents or read(response)[0].reshape(-1), np.float32)
    np.testing.assert_allclose(values, encoder.infer(images)[0][0], atol=1e-6)
    message.inputs[0].contents.uint_contents[5] = 256
    assert code_of(encoder.stub.ModelInfer, message, timeout=30)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_the_model_describes_itself_and_cannot_be_taken_away(encoder: EncoderProcess) -> None:
    stub = encoder.stub
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=30).live
    assert stub.ModelReady(pb.ModelReadyRequest(name=MODEL), timeout=30).ready
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL), timeout=30)
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("images", "UINT8", [-1, 224, 224, 3])]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [("embeddings", "FP32", [-1, 16])]
    assert code_of(stub.ModelReady, pb.ModelReadyRequest(name="x"), timeout=30)[0] == grpc.StatusCode.NOT_FOUND
    for _ in range(20):
        unload = pb.RepositoryModelUnloadRequest(model_name=MODEL)
        assert code_of(stub.RepositoryModelUnload, unload, timeout=30)[0] == grpc.StatusCode.UNIMPLEMENTED
    message = request(pictures(1))
    message.model_name = "../model"
    assert code_of(stub.ModelInfer, message, timeout=30)[0] == grpc.StatusCode.NOT_FOUND
    encoder.infer(pictures(1))


def test_rest_answers_the_binary_extension_and_typed_errors(encoder: EncoderProcess, release: Path) -> None:
    images = pictures(2)
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    tensor["parameters"] = {"binary_data_size": images.nbytes}
    url = f"http://127.0.0.1:{encoder.http_port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:

        def infer(**changes: Any) -> httpx.Response:
            head = json.dumps({"inputs": [tensor | changes], "parameters": {"binary_data_output": True}}).encode()
            headers = {
                "content-type": "application/octet-stream",
                "inference-header-content-length": str(len(head)),
            }
            return client.post(f"/v2/models/{MODEL}/infer", content=head + images.tobytes(), headers=headers)

        answer = infer()
        assert answer.status_code == 200, answer.text
        length = int(answer.headers["inference-header-content-length"])
        vectors = np.frombuffer(answer.content[length:], np.float32).reshape(2, 16)
        np.testing.assert_array_equal(vectors, encoder.infer(images)[0])
        assert json.loads(answer.content[:length])["parameters"]["space_id"] == read_manifest(release).space_id
        assert infer(datatype="FP32").status_code == 400
        assert infer(shape=[1, 224, 224, 3]).json()["error"]["code"] == "bad_request"
        assert client.post(f"/v2/repository/models/{MODEL}/unload").status_code == 404
        assert client.get(f"/v2/models/{MODEL}/ready").status_code == 200
        metrics = client.get("/metrics").text
    assert "visual_search_encoder_batch_images_count" in metrics
    assert f'release_id="{read_manifest(release).release_id}"' in metrics


def test_the_clients_deadline_holds_and_the_next_call_is_answered(encoder: EncoderProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(code_of, encoder.infer, pictures(64), timeout=0.002) for _ in range(8)]
        assert {call.result()[0] for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    encoder.infer(pictures(2))


def test_a_new_release_is_taken_up_beside_the_old_one_and_a_damaged_one_is_not(
    release: Path, other: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    publish_release(root, release)
    old, new = read_manifest(release), read_manifest(other)
    with running(root, tmp_path / "cache") as encoder:
        assert encoder.infer(pictures(1))[1]["release_id"] == old.release_id
        publish_release(root, other)
        encoder.wait_for(f"encoder of release {new.release_id} in use")
        assert encoder.infer(pictures(1))[1]["space_id"] == new.space_id
        for directory, manifest in ((release, old), (other, new)):
            vectors, parameters = encoder.infer(pictures(3), space_id=manifest.space_id)
            assert parameters["release_id"] == manifest.release_id
            np.testing.assert_allclose(
                vectors, OnnxEncoder(directory / ENCODER_FILE, threads=1).encode(pictures(3)), atol=1e-6
            )
        damaged = root / "damaged"
        damaged.mkdir()
        for file in (root / old.release_id).iterdir():
            data = bytearray(file.read_bytes())
            if file.name == ENCODER_FILE:
                data[len(data) // 2] ^= 1
            (damaged / file.name).write_bytes(data)
        write_current(root, Current(release="damaged"))
        encoder.wait_for("could not be loaded, the previous one keeps serving")
        assert encoder.infer(pictures(1))[1]["release_id"] == new.release_id
        first = len(encoder.lines)
        write_current(root, Current(release=old.release_id))
        encoder.wait_for(f"encoder of release {old.release_id} in use", first=first)
        assert encoder.infer(pictures(1))[1]["release_id"] == old.release_id
        assert encoder.infer(pictures(1), space_id=new.space_id)[1]["release_id"] == new.release_id


def test_it_waits_for_a_release_and_a_killed_one_comes_back(release: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with running(root, tmp_path / "cache", optimise=True, ready=False) as encoder:
        assert not encoder.stub.ModelReady(pb.ModelReadyRequest(name=MODEL), timeout=30).ready
        assert encoder.stub.ServerLive(pb.ServerLiveRequest(), timeout=30).live
        assert code_of(encoder.infer, pictures(1))[0] == grpc.StatusCode.UNAVAILABLE
        publish_release(root, release)
        assert (root / CURRENT_FILE).exists()
        encoder.wait_for("in use")
        assert encoder.stub.ModelReady(pb.ModelReadyRequest(name=MODEL), timeout=30).ready
        before = encoder.infer(pictures(2))[0]
        encoder.kill()
    with running(root, tmp_path / "cache") as again:
        np.testing.assert_array_equal(again.infer(pictures(2))[0], before)
