"""The same registry against a real MLflow server: no lock, artifacts through the server's proxy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from components.registration.fetch_champion import run_fetch_champion
from components.registration.parameters import RegistrationParameters
from components.registration.registry import CHALLENGER, CHAMPION, Registry
from components.shared.errors import ContractError, UnfinishedArtifactError
from components.shared.release.manifest import open_release, read_manifest

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # a server takes half a minute to start

_numbers = count()


@pytest.fixture
def registry(server: tuple[str, Path]) -> Registry:
    return Registry(server[0], f"model-{next(_numbers)}")


def test_whole_life_of_two_releases(
    registry: Registry, server: tuple[str, Path], release: Path, second_release: Path, tmp_path: Path
) -> None:
    first = registry.register(release)
    assert first.aliases == (CHALLENGER, CHAMPION)
    assert registry.register(release) == first
    registry.register(second_release)
    registry.promote(2, CHAMPION, who="ada", why="better")
    assert [(e.move.alias, e.move.version, e.took_effect) for e in registry.history()][-1] == (CHAMPION, 2, True)
    fetched = registry.fetch(CHAMPION, tmp_path / "releases")
    assert open_release(fetched, threads=1).manifest == read_manifest(second_release)
    run_fetch_champion(
        destination=tmp_path / "champion",
        workspace=tmp_path / "workspace",
        tracking_uri=server[0],
        parameters=RegistrationParameters(model_name=registry.model_name),
    )
    assert read_manifest(tmp_path / "champion") == read_manifest(second_release)


def test_simultaneous_registrations_end_in_one_version(
    server: tuple[str, Path], registry: Registry, release: Path
) -> None:
    registries = [Registry(server[0], registry.model_name) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        versions = [future.result() for future in [pool.submit(r.register, release) for r in registries]]
    (left,) = registry.releases()
    assert {v.version for v in versions} == {left.version}
    assert left.aliases == (CHALLENGER, CHAMPION)


def test_bytes_changed_on_the_server_are_found_out(
    registry: Registry, server: tuple[str, Path], release: Path, second_release: Path, tmp_path: Path
) -> None:
    registry.register(second_release)
    registered = registry.register(release)
    (index,) = server[1].glob(f"*/models/{registered.model_id}/artifacts/index.faiss")
    data = bytearray(index.read_bytes())
    data[100] ^= 1
    index.write_bytes(data)
    with pytest.raises(ContractError, match=r"index\.faiss"):
        registry.promote(registered.version, CHAMPION, who="ada", why="better")
    with pytest.raises(ContractError, match=r"index\.faiss"):
        registry.fetch(registered.version, tmp_path)
    assert registry.get(CHAMPION).version == 1
    assert registry.register(release) == registered  # which mends it
    registry.promote(registered.version, CHAMPION, who="ada", why="better")


def test_files_deleted_on_the_server_are_found_out(
    registry: Registry, server: tuple[str, Path], release: Path, tmp_path: Path
) -> None:
    registered = registry.register(release)
    for path in next(server[1].glob(f"*/models/{registered.model_id}/artifacts")).iterdir():
        path.unlink()
    with pytest.raises(
        UnfinishedArtifactError, match="not a release"
    ):  # MLflow itself gives an empty folder, and no error
        registry.fetch(CHAMPION, tmp_path)
