"""Known-bad versions refuse to start (promise 22)."""

from __future__ import annotations

import pytest

from components.shared.errors import ResourceError
from serving.server import versions


def test_what_is_installed_is_good() -> None:
    versions.check_versions()


@pytest.mark.parametrize("installed", ["12.3.1", "12", "9.9.9.9", "0+unknown", "rubbish"])
def test_a_version_below_its_floor_is_refused(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda _: installed)
    with pytest.raises(ResourceError, match=r"pillow .* install 13\.0\.0"):
        versions.check_versions({"pillow": "13.0.0"})


@pytest.mark.parametrize("installed", ["13.0.0", "13.0", "13.0.0.post1", "14.0rc1", "100.1"])
def test_a_version_at_its_floor_is_accepted(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda _: installed)
    versions.check_versions({"pillow": "13.0.0"})


def test_what_is_not_installed_needs_no_version() -> None:
    versions.check_versions({"no-such-package-of-ours": "1"})
