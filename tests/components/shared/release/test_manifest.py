"""A release is opened whole or not at all: round trip, damage of every kind, hostile manifests, golden pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.shared.errors import (
    ContractError,
    DamagedArtifactError,
    ResourceError,
    SpaceMismatchError,
    UnfinishedArtifactError,
)
from components.shared.files.artifacts import list_files
from components.shared.files.atomic import digest_of
from components.shared.files.layout import ITEMS_FILE, MANIFEST_FILE
from components.shared.files.tables import ITEMS, read_table, write_table
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.golden import embed_pictures, write_golden
from components.shared.release.manifest import (
    GOLDEN_FILE,
    Manifest,
    copy_release,
    is_release,
    open_release,
    read_manifest,
    seal_release,
    verify_release,
)
from components.shared.vectors.embeddings import read_embeddings
from components.shared.vectors.encoder import ENCODER_INT8_FILE, EncoderSpec, RuntimeChoice, space_id_of
from support.factories.release_factory import make_encoder, make_index, make_release


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture
def release(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "release"))


def reseal(directory: Path, change: Callable[[dict[str, Any]], None] = lambda content: None) -> None:
    """Do what an attacker or a careless program would: change the manifest and make every digest fit again."""
    content = json.loads((directory / MANIFEST_FILE).read_text())
    leave_out = frozenset({MANIFEST_FILE})
    content["files"] = {name: entry.model_dump() for name, entry in list_files(directory, leave_out=leave_out).items()}
    change(content)
    del content["release_id"]
    content["release_id"] = "r-" + digest_of(content)[:16]
    (directory / MANIFEST_FILE).write_text(json.dumps(content))


def test_open_gives_what_was_sealed(pristine: Path) -> None:
    release = open_release(pristine, threads=1)
    manifest = release.manifest
    assert manifest == read_manifest(pristine) == verify_release(pristine)
    assert is_release(pristine)
    assert release.items.num_rows == manifest.catalogue.images == manifest.index.rows == release.index.rows == 18
    assert manifest.space_id == manifest.encoder.space_id
    picture = pq.read_table(pristine / GOLDEN_FILE).to_pylist()[0]
    vectors = embed_pictures([picture["picture"]], release.encoder, manifest.encoder.preprocessing)
    assert release.index.search(vectors, 1).rows[0, 0] == release.items.column("image_id").to_pylist().index(
        picture["image_id"]
    )


def test_equal_contents_give_an_equal_id_wherever_they_lie(pristine: Path, other: Path, tmp_path: Path) -> None:
    again = make_release(tmp_path)
    assert read_manifest(again) == read_manifest(pristine)
    assert (again / MANIFEST_FILE).read_bytes() == (pristine / MANIFEST_FILE).read_bytes()
    assert read_manifest(other).release_id != read_manifest(pristine).release_id
    assert read_manifest(other).space_id != read_manifest(pristine).space_id


def test_release_id_is_the_digest_of_everything_else(pristine: Path) -> None:
    content = json.loads((pristine / MANIFEST_FILE).read_text())
    release_id = content.pop("release_id")
    assert release_id == "r-" + digest_of(content)[:16]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_manifests_from_before_the_choice_of_a_runtime_keep_their_ids(tmp_path: Path) -> None:
    old = Path(__file__).parent / "golden" / "manifest_before_runtime_choice.json"
    (tmp_path / MANIFEST_FILE).write_bytes(old.read_bytes())
    manifest = read_manifest(tmp_path)
    assert manifest.release_id == "r-1c283f5ef833e6ba"
    assert manifest.encoder.runtime is None
    assert manifest.model_dump(mode="json") == json.loads(old.read_text())
    choice = RuntimeChoice(engine="onnxruntime", precision="fp32")
    chosen = manifest.model_copy(update={"encoder": manifest.encoder.model_copy(update={"runtime": choice})})
    assert chosen.digest() != manifest.release_id
    assert chosen.encoder.space_id == manifest.space_id


def test_the_quantised_encoder_is_in_the_release_exactly_if_the_choice_says_so(release: Path) -> None:
    def choose(content: dict[str, Any]) -> None:
        choice = RuntimeChoice(engine="onnxruntime", precision="int8", int8_sha256=sha256)
        content["encoder"]["runtime"] = choice.model_dump(mode="json")

    (release / ENCODER_INT8_FILE).write_bytes((release / "encoder.onnx").read_bytes())
    sha256 = list_files(release)[ENCODER_INT8_FILE].sha256
    reseal(release)
    with pytest.raises(ContractError, match=r"another encoder\.int8\.onnx"):
        verify_release(release)
    reseal(release, choose)
    manifest = verify_release(release)
    assert manifest.encoder.runtime is not None
    assert Manifest.model_validate(manifest.model_dump()) == manifest
    (release / ENCODER_INT8_FILE).write_bytes(b"other")
    with pytest.raises(DamagedArtifactError):
        verify_release(release)
    reseal(release, choose)
    with pytest.raises(ContractError, match=r"another encoder\.int8\.onnx"):
        verify_release(release)
    (release / ENCODER_INT8_FILE).unlink()
    reseal(release, choose)
    with pytest.raises(ContractError, match=r"another encoder\.int8\.onnx"):
        verify_release(release)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metrics=st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=4))
def test_seal_then_read_is_identity(release: Path, metrics: dict[str, Any]) -> None:
    before = read_manifest(release)
    sealed = seal_release(
        release,
        encoder=before.encoder,
        index=before.index,
        catalogue=before.catalogue,
        metrics=metrics,
        gate=before.gate,
    )
    assert read_manifest(release) == sealed == verify_release(release)
    assert sealed.metrics == metrics


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x")])
def test_seal_refuses_what_json_cannot_hold(release: Path, value: object) -> None:
    m = read_manifest(release)
    with pytest.raises(ContractError, match="sealed"):
        seal_release(release, encoder=m.encoder, index=m.index, catalogue=m.catalogue, metrics={"a": value}, gate={})


def test_nan_in_place_of_null_is_an_alteration(release: Path) -> None:
    m = read_manifest(release)
    seal_release(release, encoder=m.encoder, index=m.index, catalogue=m.catalogue, metrics={"a": None}, gate={})
    path = release / MANIFEST_FILE
    path.write_text(path.read_text().replace('"a": null', '"a": NaN'))
    with pytest.raises(ContractError):
        read_manifest(release)


def test_seal_refuses_an_incomplete_directory(release: Path) -> None:
    m = read_manifest(release)
    (release / GOLDEN_FILE).unlink()
    with pytest.raises(ContractError, match=r"lacks golden\.parquet"):
        seal_release(release, encoder=m.encoder, index=m.index, catalogue=m.catalogue, metrics={}, gate={})


# Damage


def mutants(data: bytes, count: int, seed: int) -> list[bytes]:
    """Single-bit flips, truncations, trailing bytes, overwritten words and swapped halves."""
    rng = np.random.default_rng(seed)
    result = [
        b"",
        data[:-1],
        data[: len(data) // 2],
        data + b"\0",
        data + data[:8],
        data[len(data) // 2 :] + data[: len(data) // 2],
    ]
    for place in rng.integers(0, len(data), count):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        result.append(bytes(flipped))
    for place in rng.integers(0, len(data) - 8, count // 8):
        word = bytearray(data)
        word[place : place + 8] = b"\xff" * 8
        result.append(bytes(word))
    return [mutant for mutant in result if mutant != data]


def test_no_mutant_of_any_file_is_accepted(release: Path) -> None:
    names = sorted(path.name for path in release.iterdir())
    assert len(names) == 6
    tried = 0
    for name in names:
        data = (release / name).read_bytes()
        for mutant in mutants(data, 100, seed=len(data)):
            if name == MANIFEST_FILE and means_the_same(mutant, data):
                continue
            (release / name).write_bytes(mutant)
            with pytest.raises(ContractError) as caught:
                verify_release(release)
            assert isinstance(caught.value, DamagedArtifactError | SpaceMismatchError) == (name != MANIFEST_FILE)
            tried += 1
        (release / name).write_bytes(data)
    assert tried >= 650
    verify_release(release)


def means_the_same(mutant: bytes, data: bytes) -> bool:
    """Whether a flip changed nothing, as in 1e-05 and 1E-05."""
    try:
        return bool(json.loads(mutant) == json.loads(data))
    except ValueError:
        return False


def test_missing_foreign_and_swapped_files_are_refused(pristine: Path, other: Path, tmp_path: Path) -> None:
    for name in [path.name for path in pristine.iterdir()]:
        copy = Path(shutil.copytree(pristine, tmp_path / f"missing-{name}"))
        (copy / name).unlink()
        with pytest.raises(UnfinishedArtifactError if name == MANIFEST_FILE else DamagedArtifactError):
            open_release(copy)
        shutil.copyfile(other / name, copy / name)
        if (other / name).read_bytes() != (pristine / name).read_bytes():
            with pytest.raises(DamagedArtifactError):
                open_release(copy)
    copy = Path(shutil.copytree(pristine, tmp_path / "foreign"))
    (copy / "index.pkl").write_bytes(b"x")
    with pytest.raises(DamagedArtifactError, match=r"index\.pkl is not in the manifest") as caught:
        open_release(copy)
    assert caught.value.file == "index.pkl"


def test_empty_or_absent_directory_is_no_release(tmp_path: Path) -> None:
    assert not is_release(tmp_path)
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UnfinishedArtifactError, match="not a release"):
            open_release(directory)


def test_files_of_the_workspace_and_of_mlflow_do_not_matter(release: Path) -> None:
    (release / "artifact.json").write_text("{}")
    (release / "registered_model_meta").write_text("model_name: visual-search")
    assert open_release(release, threads=1).manifest == read_manifest(release)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema_version": 2}',
        b"NaN",
        b"{" * 50_000,
        b" " * (17 << 20),
    ],
    ids=lambda content: f"{content[:8]!r}x{len(content)}",
)
def test_unreadable_manifest_is_refused(release: Path, content: bytes) -> None:
    (release / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(ContractError):
        read_manifest(release)


# Manifests that are true to themselves and yet wrong


@pytest.mark.parametrize(
    "name", ["../outside", "/tmp/outside", "a/b", ".hidden", "", ".", "a\nb", "manifest.json", "artifact.json"]
)
def test_manifest_cannot_name_files_elsewhere(release: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    reseal(release, lambda content: content["files"].update({name: {"sha256": "0" * 64, "size_bytes": 6}}))
    for act in (verify_release, lambda source: copy_release(source, tmp_path / "deep" / "copy")):
        with pytest.raises(ContractError, match="not a valid file name"):
            act(release)
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    "name", ["encoder.onnx", "index.faiss", "items.parquet", "reference_embeddings.parquet", "golden.parquet"]
)
def test_manifest_without_a_required_file_is_refused(release: Path, name: str) -> None:
    (release / name).unlink()
    reseal(release)
    with pytest.raises(ContractError, match=f"lacks {name}"):
        open_release(release)


def test_vectors_are_required_where_the_index_needs_them(release: Path) -> None:
    reseal(release, lambda content: content["index"].update(vectors_file="vectors.f16"))
    with pytest.raises(ContractError, match=r"lacks vectors\.f16"):
        verify_release(release)


def test_another_encoder_under_the_old_space_is_refused(release: Path, tmp_path: Path) -> None:
    make_encoder(tmp_path / "encoder", seed=7)
    shutil.copyfile(tmp_path / "encoder" / "encoder.onnx", release / "encoder.onnx")
    reseal(release)
    with pytest.raises(ContractError, match="another encoder"):
        open_release(release)
    sha256 = read_sha256(release, "encoder.onnx")
    reseal(release, lambda content: content["encoder"].update(onnx_sha256=sha256))
    with pytest.raises(SpaceMismatchError) as caught:
        open_release(release)
    assert caught.value.expected == read_manifest_content(release)["space_id"]


def test_another_encoder_with_a_consistent_space_is_found_out_by_the_embeddings(release: Path, tmp_path: Path) -> None:
    spec = make_encoder(tmp_path / "encoder", seed=7)
    shutil.copyfile(tmp_path / "encoder" / "encoder.onnx", release / "encoder.onnx")
    reseal(release, lambda content: use_encoder(content, spec))
    with pytest.raises(SpaceMismatchError, match=r"golden\.parquet"):
        open_release(release)
    vectors = read_embeddings(release / GOLDEN_FILE)[1]
    rewrite_golden(release, vectors, space_id=spec.space_id)
    reseal(release, lambda content: use_encoder(content, spec))
    with pytest.raises(ContractError, match="gives an embedding of cosine"):
        open_release(release)


def test_another_index_is_found_out_by_the_golden_pictures(release: Path, tmp_path: Path) -> None:
    vectors = read_embeddings(release / "reference_embeddings.parquet")[1]
    items = read_table(release / ITEMS_FILE, ITEMS)
    shuffled = np.roll(vectors, 9, axis=0)
    make_index(tmp_path / "index", items.drop_columns(["row"]), shuffled)
    shutil.copyfile(tmp_path / "index" / "index.faiss", release / "index.faiss")
    reseal(release)
    with pytest.raises(ContractError, match="the index is not the release's"):
        open_release(release)


def test_order_and_number_of_items_are_checked(release: Path) -> None:
    items = read_table(release / ITEMS_FILE, ITEMS)
    for broken, message in (
        (items.slice(1), "17 items"),
        (items.take(pa.array([*range(1, 18), 0])), "not numbered"),
        (items.set_column(items.schema.get_field_index("image_id"), "image_id", pa.array(["a"] * 18)), "twice"),
    ):
        write_table(release / ITEMS_FILE, broken, ITEMS)
        reseal(release)
        with pytest.raises(ContractError, match=message):
            open_release(release)


@pytest.mark.parametrize("dimension", [8, 17])
def test_dimensions_must_agree(release: Path, dimension: int) -> None:
    for part in ("encoder", "index"):
        before = (release / MANIFEST_FILE).read_bytes()
        reseal(release, lambda content, part=part: content[part].update(dimension=dimension))
        with pytest.raises(ContractError, match="dimensions"):
            open_release(release)
        (release / MANIFEST_FILE).write_bytes(before)


def test_golden_pictures_must_be_there_and_be_pictures(release: Path) -> None:
    space_id = read_manifest(release).space_id
    ids, vectors = read_embeddings(release / GOLDEN_FILE)
    table = pq.read_table(release / GOLDEN_FILE)
    pictures, expected = table.column("picture").to_pylist(), table.column("expected_image_ids").to_pylist()
    for arguments, message in (
        ((ids, [b"no picture"] * len(ids), vectors, expected), "cannot be used as a release"),
        ((ids, pictures, vectors, [[] for _ in ids]), "expects nothing"),
        (([], [], vectors[:0], []), "holds no golden picture"),
        ((ids, pictures, np.roll(vectors, 1, axis=0), expected), "cosine|expected images"),
        ((ids, pictures, vectors, [["unknown"] for _ in ids]), "finds 0 of the 1"),
    ):
        write_golden(
            release / GOLDEN_FILE,
            image_ids=arguments[0],
            pictures=arguments[1],
            embeddings=arguments[2],
            expected=arguments[3],
            space_id=space_id,
        )
        reseal(release)
        with pytest.raises(ContractError, match=message):
            open_release(release)


def test_golden_file_of_another_make_is_refused(release: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"]}), release / GOLDEN_FILE)
    reseal(release)
    with pytest.raises(ContractError):
        open_release(release)


def test_a_mutant_with_fitting_digests_opens_or_is_refused_in_our_words(release: Path) -> None:
    refused = 0
    for name in ("encoder.onnx", "index.faiss", "items.parquet", "golden.parquet", "reference_embeddings.parquet"):
        data = (release / name).read_bytes()
        for mutant in mutants(data, 16, seed=3):
            (release / name).write_bytes(mutant)

            reseal(
                release,
                use_encoder if name == "encoder.onnx" else lambda content: None,
            )
            try:
                open_release(release, threads=1)
            except (ContractError, ResourceError):
                refused += 1
        (release / name).write_bytes(data)
    assert refused >= 60


# Copies


def test_copy_takes_the_release_alone(release: Path, tmp_path: Path) -> None:
    (release / "registered_model_meta").write_text("x")
    manifest = copy_release(release, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {*manifest.files, MANIFEST_FILE}
    assert open_release(tmp_path / "copy", threads=1).manifest == manifest


def test_copy_of_a_damaged_release_is_refused(release: Path, tmp_path: Path) -> None:
    (release / GOLDEN_FILE).write_bytes(b"x")
    with pytest.raises(DamagedArtifactError):
        copy_release(release, tmp_path / "copy")
    (release / GOLDEN_FILE).unlink()
    with pytest.raises(DamagedArtifactError, match="missing"):
        copy_release(release, tmp_path / "other")


def read_manifest_content(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / MANIFEST_FILE).read_text()))


def read_sha256(directory: Path, name: str) -> str:
    return str(read_manifest_content(directory)["files"][name]["sha256"])


def use_encoder(content: dict[str, Any], spec: EncoderSpec | None = None) -> None:
    """Make a manifest speak of the `encoder.onnx` that lies there, in a space of its own."""
    if spec is None:
        sha256 = content["files"]["encoder.onnx"]["sha256"]
        space_id = space_id_of(sha256, PreprocessingSpec(**content["encoder"]["preprocessing"]))
        spec = EncoderSpec(**{**content["encoder"], "onnx_sha256": sha256, "space_id": space_id})
    content["encoder"], content["space_id"] = spec.model_dump(), spec.space_id


def rewrite_golden(directory: Path, vectors: np.ndarray, *, space_id: str) -> None:
    table = pq.read_table(directory / GOLDEN_FILE)
    write_golden(
        directory / GOLDEN_FILE,
        image_ids=table.column("image_id").to_pylist(),
        pictures=table.column("picture").to_pylist(),
        embeddings=vectors,
        expected=table.column("expected_image_ids").to_pylist(),
        space_id=space_id,
    )


def test_manifest_model_refuses_unknown_fields(pristine: Path) -> None:
    with pytest.raises(ValueError, match="extra"):
        Manifest.model_validate({**read_manifest_content(pristine), "colour": "red"})
