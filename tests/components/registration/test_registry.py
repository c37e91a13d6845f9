"""The registry on a real SQLite store: one version per release, aliases, promotion, history, fetching, repair."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.registration import console
from components.registration.registry import CHALLENGER, CHAMPION, Registry
from components.shared.errors import ContractError, DamagedArtifactError, ParameterError, UnfinishedArtifactError
from components.shared.files.layout import MANIFEST_FILE
from components.shared.release.manifest import open_release, read_manifest
from support.factories.release_factory import make_release


def stored_files(uri: str) -> Path:
    """The one directory of registered files in the home of a local store."""
    (directory,) = (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").glob("*/models/*/artifacts")
    return directory


def aliases_of(registry: Registry) -> dict[str, int]:
    return {alias: release.version for release in registry.releases() for alias in release.aliases}


def moves_of(registry: Registry) -> list[tuple[str, int | None, int, bool]]:
    return [(e.move.alias, e.move.previous_version, e.move.version, e.took_effect) for e in registry.history()]


def test_first_release_becomes_challenger_and_champion(uri: str, release: Path) -> None:
    registry, manifest = Registry(uri), read_manifest(release)
    registered = registry.register(release)
    assert (registered.version, registered.release_id, registered.space_id) == (
        1,
        manifest.release_id,
        manifest.space_id,
    )
    assert registered.aliases == (CHALLENGER, CHAMPION)
    assert registered.metrics == manifest.metrics
    assert registered.gate_passed
    assert registered.is_announced
    assert registry.releases() == [registered]
    assert moves_of(registry) == [(CHALLENGER, None, 1, True), (CHAMPION, None, 1, True)]
    stored = stored_files(uri)
    assert open_release(stored, threads=1).manifest == manifest
    assert {path.name for path in stored.iterdir()} == {*manifest.files, MANIFEST_FILE}


def test_later_releases_become_challenger_only(uri: str, release: Path, second_release: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    assert registry.register(second_release).aliases == (CHALLENGER,)
    assert aliases_of(registry) == {CHAMPION: 1, CHALLENGER: 2}
    assert moves_of(registry)[-1] == (CHALLENGER, 1, 2, True)


def test_same_release_again_changes_nothing(uri: str, release: Path, second_release: Path) -> None:
    registry = Registry(uri)
    first = registry.register(release)
    assert registry.register(release) == first
    registry.register(second_release)
    registry.promote(2, CHAMPION, who="ada", why="better")
    before = (registry.releases(), registry.history())
    Registry(uri).register(release)
    Registry(uri).register(second_release)
    assert (registry.releases(), registry.history()) == before


def test_rerun_does_not_undo_a_rollback(uri: str, release: Path, second_release: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    registry.register(second_release)
    registry.promote("v1", CHALLENGER, who="ada", why="the second one is odd")
    registry.register(second_release)
    assert aliases_of(registry) == {CHAMPION: 1, CHALLENGER: 1}


def test_release_that_did_not_pass_the_gate_gets_no_alias(uri: str, tmp_path: Path) -> None:
    refused = make_release(tmp_path / "refused", items=3, views=2, gate={"passed": False, "checks": []})
    registry = Registry(uri)
    assert registry.register(refused).aliases == ()
    assert not registry.history()


def test_champion_is_given_once_and_never_again_by_itself(uri: str, release: Path, second_release: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    registry._store.client.delete_registered_model_alias("visual-search", CHAMPION)  # somebody, in MLflow's own pages
    assert registry.register(second_release).aliases == (CHALLENGER,)
    assert registry.find(CHAMPION) is None


def test_versions_are_found_by_number_alias_and_release_id(uri: str, release: Path) -> None:
    registry = Registry(uri)
    registered = registry.register(release)
    for name in (1, "1", "v1", CHAMPION, registered.release_id):
        assert registry.get(name) == registered
    for name in ("2", "champoin", "r-0", "0", ""):
        with pytest.raises(ParameterError, match=r"its versions are 1, its aliases challenger → 1, champion → 1"):
            registry.get(name)
    with pytest.raises(ParameterError, match="its versions are none, its aliases none"):
        Registry(uri, "another-model").get("champion")


def test_foreign_versions_under_our_name_are_passed_over(uri: str, release: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    client = registry._store.client
    client.create_model_version("visual-search", "s3://elsewhere/model")
    client.create_model_version(
        "visual-search", f"models:/{registry.get(1).model_id}", tags={"release_id": "../../outside"}
    )
    assert [r.version for r in registry.releases()] == [1]


def test_run_that_made_it_is_remembered(uri: str, release: Path) -> None:
    registry = Registry(uri)
    client = registry._store.client
    run_id = client.create_run(client.create_experiment("training")).info.run_id
    registry.register(release, run_id=run_id)
    assert client.get_model_version("visual-search", "1").run_id == run_id


# Promotion


def test_promotion_moves_the_alias_and_remembers_who_and_why(uri: str, release: Path, second_release: Path) -> None:
    registry = Registry(uri)
    ids = [registry.register(path).release_id for path in (release, second_release)]
    entry = registry.promote(CHALLENGER, CHAMPION, who=" ada ", why="nDCG + 0.04 – “clearly” better\nin the A/B test")
    assert aliases_of(registry) == {CHAMPION: 2, CHALLENGER: 2}
    assert registry.history()[-1] == entry
    move = entry.move
    assert (move.previous_version, move.version, move.previous_release_id, move.release_id) == (1, 2, *ids)
    assert (move.who, move.why) == ("ada", "nDCG + 0.04 – “clearly” better\nin the A/B test")
    registry.promote(ids[0], CHAMPION, who="bob", why="roll back")
    assert [m for m in moves_of(registry) if m[0] == CHAMPION] == [
        (CHAMPION, None, 1, True),
        (CHAMPION, 1, 2, True),
        (CHAMPION, 2, 1, True),
    ]
    assert [e.at for e in registry.history()] == sorted(e.at for e in registry.history())


def test_promotion_refuses_what_makes_no_sense(uri: str, release: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    before = registry.history()
    for name, to, who, why, message in (
        ("7", CHAMPION, "a", "b", "no version, alias or release '7'"),
        ("1", "Champion", "a", "b", "'Champion' is not an alias .* champion → 1"),
        ("1", "latest", "a", "b", "not an alias"),
        ("1", CHAMPION, "a", "b", "already"),
        ("1", CHALLENGER, " ", "b", "needs who"),
        ("1", CHALLENGER, "a", "", "and why"),
        ("1", CHALLENGER, "a", "b" * 2_001, "and why"),
    ):
        with pytest.raises(ParameterError, match=message):
            registry.promote(name, to, who=who, why=why)
    assert registry.history() == before


@pytest.mark.parametrize("name", ["encoder.onnx", "index.faiss", "items.parquet", "golden.parquet", MANIFEST_FILE])
def test_damaged_release_is_not_promoted_and_not_fetched(
    uri: str, release: Path, second_release: Path, tmp_path: Path, name: str
) -> None:
    registry = Registry(uri)
    registry.register(second_release)
    damaged = stored_files(uri) / name
    registry.register(release)
    registry.promote(2, CHAMPION, who="ada", why="first")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 4
    damaged.write_bytes(data)
    with pytest.raises(ContractError):
        registry.promote(1, CHAMPION, who="ada", why="roll back")
    with pytest.raises(ContractError):
        registry.fetch(1, tmp_path / "releases")
    assert aliases_of(registry)[CHAMPION] == 2
    assert not list((tmp_path / "releases").glob("r-*"))


def test_swapped_releases_are_found_out(uri: str, release: Path, second_release: Path, tmp_path: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    stored = stored_files(uri)
    registry.register(second_release)
    shutil.rmtree(stored)
    shutil.copytree(second_release, stored)
    for act in (
        lambda: registry.promote(1, CHALLENGER, who="a", why="b"),
        lambda: registry.fetch(1, tmp_path / "releases"),
    ):
        with pytest.raises(ContractError, match="register it again"):
            act()


def test_files_deleted_in_mlflow_are_named(uri: str, release: Path, tmp_path: Path) -> None:
    registry = Registry(uri)
    registered = registry.register(release)
    registry._store.client.delete_logged_model(registered.model_id)
    for act in (lambda: registry.fetch(1, tmp_path / "releases"), lambda: registry.register(release)):
        with pytest.raises(UnfinishedArtifactError, match="deleted"):
            act()


def test_registering_again_mends_what_was_damaged(uri: str, release: Path, tmp_path: Path) -> None:
    registry = Registry(uri)
    registered = registry.register(release)
    stored = stored_files(uri)
    (stored / "index.faiss").unlink()
    (stored / "encoder.onnx").write_bytes(b"x")
    assert registry.register(release) == registered
    assert open_release(registry.fetch(1, tmp_path), threads=1).manifest == read_manifest(release)


def test_damaged_release_is_not_registered(uri: str, release: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(release, tmp_path / "damaged"))
    (damaged / "index.faiss").write_bytes(b"x")
    registry = Registry(uri)
    with pytest.raises(DamagedArtifactError, match=r"index\.faiss"):
        registry.register(damaged)
    assert not registry.releases()


def test_upload_that_arrives_damaged_makes_no_version(uri: str, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(uri)
    upload = registry._store.client.log_model_artifact

    def damaging(model_id: str, path: str) -> None:
        upload(model_id, path)
        if path.endswith("index.faiss"):
            (stored_files(uri) / "index.faiss").write_bytes(b"x")

    monkeypatch.setattr(registry._store.client, "log_model_artifact", damaging)
    with pytest.raises(DamagedArtifactError, match=r"index\.faiss"):
        registry.register(release)
    assert not registry.releases()
    monkeypatch.undo()
    assert registry.register(release).version == 1


# Fetching


def test_fetch_keeps_a_verified_copy_by_release(uri: str, release: Path, tmp_path: Path) -> None:
    registry = Registry(uri)
    registered = registry.register(release)
    fetched = registry.fetch(CHAMPION, tmp_path / "releases")
    assert fetched == tmp_path / "releases" / registered.release_id
    assert open_release(fetched, threads=1).manifest == read_manifest(release)
    moment = (fetched / "index.faiss").stat().st_mtime_ns
    shutil.rmtree(stored_files(uri))  # no longer needed
    assert registry.fetch(1, tmp_path / "releases") == fetched
    assert (fetched / "index.faiss").stat().st_mtime_ns == moment


def test_fetch_replaces_a_damaged_copy(uri: str, release: Path, tmp_path: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    fetched = registry.fetch(1, tmp_path)
    (fetched / "index.faiss").write_bytes(b"x")
    (tmp_path / f".{fetched.name}.part").mkdir()
    (tmp_path / f".{fetched.name}.part" / "half").write_bytes(b"x")
    assert open_release(registry.fetch(1, tmp_path), threads=1)
    assert {path.name for path in tmp_path.glob("*") if path.name.startswith("r-")} == {fetched.name}


def test_versions_of_two_models_do_not_mix(uri: str, release: Path, second_release: Path) -> None:
    one, two = Registry(uri), Registry(uri, "another-model")
    one.register(release)
    assert two.register(second_release).version == 1
    assert len(one.releases()) == len(two.releases()) == 1
    assert len(one.history()) == len(two.history()) == 2


def test_two_stores_in_one_process_do_not_mix(
    new_store: Callable[[str], str], release: Path, second_release: Path
) -> None:
    here, there = Registry(new_store("here")), Registry(new_store("there"))
    here.register(release)
    there.register(second_release)
    assert here.releases()[0].release_id != there.releases()[0].release_id


# What people see


def test_tables_are_readable(uri: str, release: Path, second_release: Path) -> None:
    assert console.releases(uri) == f"no release of visual-search is registered at {uri} yet"
    assert "was ever moved" in console.history(uri)
    registry = Registry(uri)
    registry.register(release)
    registry.register(second_release)
    said = console.promote(uri, "challenger", why="better", who="ada")
    assert "ada" in said
    lines = console.releases(uri).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["2", "1"]
    assert "challenger, champion" in lines[2]
    assert "0.750 [0.700, 0.800]" in lines[2]
    assert len({line.index("0.750") for line in lines[2:]}) == 1
    history = console.history(uri).splitlines()
    assert len(history) == 2 + 4
    assert history[2].split()[3:] == ["champion", "1", *history[2].split()[5:]]
    assert history[2].rstrip().endswith("better")
