"""The model in this process, with encoders that fail in the ways that encoders fail."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from kserve import InferRequest, InferResponse
from prometheus_client import CollectorRegistry

from components.shared.errors import NotReadyError, ParameterError, SpaceMismatchError
from components.shared.files.artifacts import list_files
from components.shared.files.atomic import digest_of
from components.shared.files.layout import MANIFEST_FILE
from components.shared.release.golden import write_golden
from components.shared.release.manifest import read_manifest
from components.shared.release.served import Current, publish_release, write_current
from components.shared.vectors.embeddings import normalise, read_embeddings
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from serving.encoder.batching import Batcher
from serving.encoder.loading import EncoderHolder, Served
from serving.encoder.metrics import EncoderMetrics
from serving.encoder.predictor import EncoderModel
from serving.encoder.runtime import Runtime
from serving.server.problems import ProblemTable
from serving.server.refusals import EncoderFailedError, EncoderTimeoutError, OverloadedError
from serving.server.request import CURRENT_REQUEST, CurrentRequest
from serving.settings import EncoderSettings
from support.factories.encoder_factory import make_encoder
from support.factories.release_factory import make_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"), items=3, views=2)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("other"), items=3, views=2, seed=1)


class Faulty:
    """An encoder that gives what it is told to."""

    shape = (224, 224, 3)
    dimension = 16

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        self.encode = answer


def settings(location: Path, tmp_path: Path, **changes: Any) -> EncoderSettings:
    return EncoderSettings(location=str(location), cache=tmp_path / "cache", encoder_threads=1, **changes)


def model_of(location: Path, tmp_path: Path, **changes: Any) -> EncoderModel:
    chosen = settings(location, tmp_path, **changes)
    return EncoderModel(chosen, EncoderHolder(chosen, EncoderMetrics(CollectorRegistry())))


def loaded(location: Path, tmp_path: Path, **changes: Any) -> EncoderModel:
    model = model_of(location, tmp_path, **changes)
    asyncio.run(model.holder.refresh())
    assert model.ready, model.holder.last_error
    return model


def with_encoder(release: Path, tmp_path: Path, encoder: Any, **changes: Any) -> EncoderModel:
    model = model_of(release, tmp_path, **changes)
    batcher = Batcher(encoder.encode, max_batch=4, max_wait_seconds=0, queue_images=8)
    runtime = Runtime(encoder, "onnxruntime", "fp32", 1, 0.9995)
    model.holder.current = Served(".", read_manifest(release), runtime, batcher)
    return model


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), np.uint8)


def binary(images: np.ndarray, **parameters: object) -> InferRequest:
    """Build what the REST endpoint makes of a request of the binary extension."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    head = json.dumps(
        {"inputs": [tensor | {"parameters": {"binary_data_size": images.nbytes}}], "parameters": parameters}
    ).encode()
    return InferRequest.from_bytes(head + images.tobytes(), len(head), "visual-search")


def vectors_of(response: InferResponse) -> np.ndarray:
    return response.outputs[0].as_numpy()


def run(model: EncoderModel, body: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        try:
            return await body()
        finally:
            await model.holder.stop()

    return asyncio.run(main())


def test_rest_takes_the_binary_extension_without_a_python_object_per_pixel(release: Path, tmp_path: Path) -> None:
    model = loaded(release, tmp_path)
    images = pictures(8)
    expected = OnnxEncoder(release / ENCODER_FILE, threads=1).encode(images)

    async def body() -> None:
        request = binary(images, binary_data_output=True, space_id=read_manifest(release).space_id)
        assert request.inputs[0]._raw_data == images.tobytes()
        assert request.inputs[0].data is None
        response = await model.predict(request)
        np.testing.assert_allclose(vectors_of(response), expected, atol=1e-6)
        body, head = response.to_rest()
        assert isinstance(body, bytes)
        assert head is not None
        np.testing.assert_allclose(np.frombuffer(body[head:], np.float32).reshape(8, 16), expected, atol=1e-6)
        assert json.loads(body[:head])["parameters"]["space_id"] == read_manifest(release).space_id
        plain, head = (await model.predict(binary(images))).to_rest()
        assert head is None
        np.testing.assert_allclose(np.reshape(plain["outputs"][0]["data"], (8, 16)), expected, atol=1e-6)

    run(model, body)


def test_requests_of_the_first_protocol_are_told_where_to_go(release: Path, tmp_path: Path) -> None:
    model = loaded(release, tmp_path)

    async def body() -> None:
        with pytest.raises(ParameterError, match="Open Inference Protocol"):
            await model.predict({"instances": [1]})

    run(model, body)


def test_before_the_first_release_it_is_not_ready_and_kserve_cannot_make_it_so(tmp_path: Path) -> None:
    model = model_of(tmp_path, tmp_path)
    asyncio.run(model.holder.refresh())
    model.start()
    assert not model.load()
    assert not model.ready
    assert (model.holder.failures, "no CURRENT" in model.holder.last_error) == (1, True)

    async def body() -> None:
        assert not await model.healthy()
        with pytest.raises(NotReadyError):
            await model.predict(binary(pictures(1)))

    run(model, body)


@pytest.mark.parametrize(
    "answer",
    [
        lambda images: np.full((len(images), 16), np.nan, np.float32),
        lambda images: np.zeros((0, 16), np.float32),
        lambda images: (_ for _ in ()).throw(RuntimeError("/secret/path")),
    ],
    ids=["nan", "no rows", "raises"],
)
def test_an_encoder_that_fails_gives_a_typed_error_that_tells_nothing(
    release: Path, tmp_path: Path, answer: Callable[[np.ndarray], np.ndarray]
) -> None:
    def checked(images: np.ndarray) -> np.ndarray:
        return normalise(answer(images))

    model = with_encoder(release, tmp_path, Faulty(checked))

    async def body() -> None:
        for _ in range(2):
            with pytest.raises(EncoderFailedError) as caught:
                await model.predict(binary(pictures(2)))
        problem = ProblemTable().problem_of(caught.value)
        assert problem.kind.grpc_status.name == "UNAVAILABLE"
        assert "secret" not in problem.message

    run(model, body)


def test_a_picture_that_gives_nan_spoils_only_its_own_request(release: Path, tmp_path: Path) -> None:
    make_encoder(tmp_path / "grid", dimension=16)  # grey 128 gives NaN
    encoder = OnnxEncoder(tmp_path / "grid" / ENCODER_FILE, threads=1)
    model = with_encoder(release, tmp_path, encoder)
    grey = np.full((1, 224, 224, 3), 128, np.uint8)

    async def body() -> None:
        requests = [binary(grey if place == 2 else pictures(1, place)) for place in range(5)]
        outcomes = await asyncio.gather(*(model.predict(each) for each in requests), return_exceptions=True)
        assert isinstance(outcomes.pop(2), EncoderFailedError)
        for place, outcome in zip((0, 1, 3, 4), outcomes, strict=True):
            np.testing.assert_allclose(vectors_of(outcome), encoder.encode(pictures(1, place)), atol=1e-6)

    run(model, body)


def test_a_hanging_encoder_costs_the_deadline_then_overload_and_recovers(release: Path, tmp_path: Path) -> None:
    gate = threading.Event()

    def hang(images: np.ndarray) -> np.ndarray:
        gate.wait(30)
        return np.eye(16, dtype=np.float32)[np.zeros(len(images), int)]

    model = with_encoder(release, tmp_path, Faulty(hang), encoder_timeout_seconds=0.2)

    async def body() -> None:
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(model.predict(binary(pictures(1))) for _ in range(12)), return_exceptions=True
        )
        assert time.monotonic() - started < 5
        kinds = [type(outcome) for outcome in outcomes]
        assert set(kinds) == {EncoderTimeoutError, OverloadedError}
        gate.set()
        until = time.monotonic() + 60
        while True:
            try:
                answer = await model.predict(binary(pictures(1)))
            except (EncoderTimeoutError, OverloadedError):  # it may take a busy machine longer than the deadline
                assert time.monotonic() < until
                await asyncio.sleep(0.01)
            else:
                break
        assert vectors_of(answer).shape == (1, 16)

    run(model, body)


def test_what_the_client_gives_as_time_counts_for_the_server_too(release: Path, tmp_path: Path) -> None:
    model = loaded(release, tmp_path)

    async def body() -> None:
        CURRENT_REQUEST.set(CurrentRequest("r", deadline=time.monotonic() - 1))
        with pytest.raises(EncoderTimeoutError):
            await model.predict(binary(pictures(1)))
        current = CurrentRequest("r", deadline=time.monotonic() + 60)
        CURRENT_REQUEST.set(current)
        await model.predict(binary(pictures(1)))
        assert current.release_id == read_manifest(release).release_id

    run(model, body)


def test_a_hopelessly_hanging_encoder_is_not_ready(release: Path, tmp_path: Path) -> None:
    model = loaded(release, tmp_path)
    assert model.holder.current is not None
    model.holder.current.batcher._computing_since = time.monotonic() - 3600
    assert not model.ready
    model.holder.current.batcher._computing_since = None
    assert model.ready


def test_during_a_swap_both_spaces_are_served_and_afterwards_none_but_these(
    release: Path, other: Path, tmp_path: Path
) -> None:
    third = make_release(tmp_path / "third", items=2, views=2, seed=2)
    spaces = [read_manifest(each).space_id for each in (release, other, third)]
    root = tmp_path / "root"
    publish_release(root, release)
    model = loaded(root, tmp_path)
    holder = model.holder

    async def body() -> None:
        running = asyncio.create_task(model.predict(binary(pictures(4), space_id=spaces[0])))
        await asyncio.sleep(0)
        for step, each in ((1, other), (2, third)):
            publish_release(root, each)
            await holder.refresh()
            assert holder.current is not None
            assert holder.previous is not None
            assert [s.manifest.space_id for s in (holder.current, holder.previous)] == [spaces[step], spaces[step - 1]]
        assert vectors_of(await running).shape == (4, 16)
        for space in spaces[1:]:
            assert (await model.predict(binary(pictures(1), space_id=space))).parameters["space_id"] == space
        with pytest.raises(SpaceMismatchError):
            await model.predict(binary(pictures(1), space_id=spaces[0]))
        assert (holder.failures, holder.last_error) == (0, "")

    run(model, body)


def test_a_new_index_for_the_same_encoder_loads_no_second_one(release: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    publish_release(root, release)
    model = loaded(root, tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    for file in release.iterdir():
        (again / file.name).write_bytes(file.read_bytes())
    reseal(again, generation=1)
    publish_release(root, again)

    async def body() -> None:
        assert model.holder.current is not None
        before = model.holder.current.runtime
        await model.holder.refresh()
        assert model.holder.current.runtime is before
        assert model.holder.previous is None
        response = await model.predict(binary(pictures(1)))
        assert response.parameters["release_id"] == read_manifest(again).release_id

    run(model, body)


def test_golden_pictures_are_checked_for_a_new_index_too(release: Path, other: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    publish_release(root, release)
    model = loaded(root, tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    for file in release.iterdir():
        (again / file.name).write_bytes(file.read_bytes())
    ids, vectors = read_embeddings(again / "golden.parquet", space_id=read_manifest(release).space_id)
    rows = pq.read_table(again / "golden.parquet").to_pylist()
    write_golden(
        again / "golden.parquet",
        image_ids=ids,
        pictures=[row["picture"] for row in rows],
        embeddings=np.roll(vectors, 1, axis=0),
        expected=[row["expected_image_ids"] for row in rows],
        space_id=read_manifest(release).space_id,
    )
    reseal(again, generation=1)
    publish_release(root, again)

    async def body() -> None:
        await model.holder.refresh()
        assert model.holder.failures == 1
        assert "golden picture" in model.holder.last_error
        response = await model.predict(binary(pictures(1)))
        assert response.parameters["release_id"] == read_manifest(release).release_id

    run(model, body)


def reseal(directory: Path, generation: int = 0) -> None:
    content = json.loads((directory / MANIFEST_FILE).read_text())
    files = list_files(directory, leave_out=frozenset({MANIFEST_FILE}))
    content["files"] = {name: entry.model_dump() for name, entry in files.items()}
    content["catalogue"]["generation"] = generation
    del content["release_id"]
    content["release_id"] = "r-" + digest_of(content)[:16]
    (directory / MANIFEST_FILE).write_text(json.dumps(content))


def test_no_mutant_of_what_the_encoder_reads_is_served(release: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in (ENCODER_FILE, "golden.parquet", MANIFEST_FILE):
        for attempt in range(12):
            directory = tmp_path / f"{name}-{attempt}"
            directory.mkdir()
            for file in release.iterdir():
                (directory / file.name).write_bytes(file.read_bytes())
            data = bytearray((directory / name).read_bytes())
            if attempt < 8:
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            else:
                data = data[: int(rng.integers(len(data)))] if attempt < 10 else data + b"\0" * attempt
            (directory / name).write_bytes(data)
            model = model_of(directory, tmp_path)
            asyncio.run(model.holder.refresh())
            if model.ready:  # a bit of JSON that means nothing, such as a space
                assert name == MANIFEST_FILE
                assert read_manifest(directory) == read_manifest(release)
            else:
                assert model.holder.failures == 1


def test_another_encoder_with_fitting_digests_is_found_out_by_the_golden_pictures(
    release: Path, other: Path, tmp_path: Path
) -> None:
    from support.factories.release_factory import make_encoder as make_other

    for file in release.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spec = make_other(tmp_path / "forged", seed=9)
    (tmp_path / ENCODER_FILE).write_bytes((tmp_path / "forged" / ENCODER_FILE).read_bytes())
    content = json.loads((tmp_path / MANIFEST_FILE).read_text())
    content["encoder"], content["space_id"] = spec.model_dump(mode="json"), spec.space_id
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(content))
    for file in (tmp_path / "forged").iterdir():
        file.unlink()
    (tmp_path / "forged").rmdir()
    reseal(tmp_path)
    model = model_of(tmp_path, tmp_path)
    asyncio.run(model.holder.refresh())
    assert not model.ready
    assert "golden" in model.holder.last_error or "space" in model.holder.last_error


def test_what_failed_rests_and_what_comes_instead_is_loaded_at_once(release: Path, other: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    good = publish_release(root, release)
    holder = loaded(root, tmp_path, poll_seconds=3600).holder
    better = publish_release(root, other)
    (root / "broken").mkdir()
    (root / "broken" / MANIFEST_FILE).write_text("{}")

    def put(current: Current) -> None:
        write_current(root, current)
        asyncio.run(holder.refresh())

    for _ in range(3):
        put(Current(release="broken"))
    assert holder.failures == 1, "it rests"
    put(better)
    assert holder.current is not None
    assert holder.current.name == better.release
    put(Current(release="broken"))
    assert holder.failures == 2
    put(good)
    assert holder.current.name == good.release
