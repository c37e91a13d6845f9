"""Releases in MLflow's model registry: one version per release, aliases, and promotion that is checked and logged.

A version is made in this order, so that a killed process leaves nothing that looks complete: a LoggedModel (pending) →
its files, the manifest last → every digest checked in the store → the model is ready → the version, with all its tags
in the same transaction → aliases, each after its entry in the promotion log → the tag "announced". A rerun resumes
where that stopped. On a server, where no lock excludes other processes, the lowest version of a release stays.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.registration.promotion_log import Move, Promotion, PromotionLog
from components.registration.release_files import ReleaseFiles, unless_gone
from components.registration.versions import RegisteredRelease, read_version, tags_of
from components.shared.defaults import MODEL_NAME
from components.shared.errors import ContractError, ParameterError
from components.shared.files.locks import exclusive_lock
from components.shared.release.manifest import Manifest, is_intact, verify_release
from components.tracking.store import TrackingStore, has_code

CHAMPION, CHALLENGER = "champion", "challenger"
_ANNOUNCED = "announced"
_REGISTRATION = "registration"  # moves the aliases of a new version


class StaleTagError(ContractError):
    """A tag no longer holds the value on which a decision was based."""


class Registry:
    """The releases of one registered model of MLflow, in a `TrackingStore`."""

    def __init__(self, tracking_uri: str, model_name: str = MODEL_NAME) -> None:
        self.model_name = model_name
        self._store = TrackingStore(tracking_uri)
        self._files = ReleaseFiles(self._store, model_name)
        self._log = PromotionLog(self._store, model_name)

    # Reading

    def releases(self) -> list[RegisteredRelease]:
        """Return every registered release, oldest first; versions made by other software under this name are left out."""
        with self._store.in_our_words():
            return self._find()

    def history(self) -> list[Promotion]:
        """Return the promotion log, oldest entry first."""
        with self._store.in_our_words():
            return self._log.read(self._aliases(), self._tags())

    def read_tag(self, name: str) -> str | None:
        """Return a tag of the registered model, or None."""
        with self._store.in_our_words():
            return self._tags().get(name)

    def find(self, name: str | int) -> RegisteredRelease | None:
        """Return the release with this version ("3", "v3"), alias or release_id, or None."""
        releases = self.releases()
        text = str(name)
        if match := re.fullmatch(r"v?(\d+)", text):
            return next((r for r in releases if r.version == int(match[1])), None)
        return next((r for r in releases if r.release_id == text or text in r.aliases), None)

    def get(self, name: str | int) -> RegisteredRelease:
        """Return the release with this version, alias or release_id.

        Raises:
            ParameterError: there is none; the message names the existing ones.
        """
        if (found := self.find(name)) is not None:
            return found
        raise ParameterError(f"{self.model_name} has no version, alias or release {str(name)!r}: {self._known()}")

    def fetch(self, name: str | int, destination: Path) -> Path:
        """Return a verified copy of a release: `destination`/<release_id>, downloaded unless it is there intact.

        Raises:
            ParameterError: the release does not exist.
            ContractError: the files in the store are not those of the release.
        """
        release = self.get(name)
        target, part = destination / release.release_id, destination / f".{release.release_id}.part"
        with exclusive_lock(destination / f".{release.release_id}.lock"), self._store.in_our_words():
            if is_intact(target, release.release_id):
                return target
            for leftover in (target, part):
                shutil.rmtree(leftover, ignore_errors=True)
            self._files.copy(release.model_id, release.release_id, part)
            part.rename(target)
        return target

    # Writing

    def register(self, directory: Path, *, run_id: str | None = None) -> RegisteredRelease:
        """Register a release as one version, even if this is interrupted and repeated.

        A release that passed the gate becomes `challenger`; if there never was a champion, it also becomes `champion`.

        Args:
            directory: the release; it is verified first.
            run_id: MLflow run that made the release, if any.

        Raises:
            ContractError: the release, or the copy in the store, is damaged.
            ResourceError: the store cannot be used.
        """
        manifest = verify_release(directory)
        with self._store.lock(), self._store.in_our_words():
            version = self._single(manifest.release_id)
            if version is None:
                version = self._create(directory, manifest, run_id)
            else:
                self._files.mend(directory, manifest, version.model_id)
            self._announce(version)
            self._files.discard_others(version.release_id, keep=version.model_id)
            return self.get(version.version)

    def promote(self, name: str | int, to: str, *, who: str, why: str) -> Promotion:
        """Point the alias `to` at a release, after checking every byte of it in the store, and log it.

        Args:
            name: version, alias or release_id.
            to: "champion", "challenger", or another existing alias.
            who: the person or process that decides.
            why: the reason.

        Raises:
            ParameterError: the release or alias is unknown, or the name or reason is missing.
            ContractError: the release is damaged in the store; the alias is not moved.
        """
        if not who.strip() or not why.strip() or len(who) > 200 or len(why) > 2_000:
            raise ParameterError("a promotion needs who (at most 200 characters) and why (at most 2000); give both")
        with self._store.lock(), self._store.in_our_words():
            release, aliases = self.get(name), self._aliases()
            if to not in {CHAMPION, CHALLENGER, *aliases}:
                raise ParameterError(f"{to!r} is not an alias of {self.model_name}: {self._known()}")
            self._files.verify(release.model_id, release.release_id)
            entry = self._move(to, release, who=who, why=why)
            if entry is None:
                raise ParameterError(f"{to} is version {release.version} already; nothing to promote")
            return entry

    def exchange_tag(
        self, name: str, *, expected: str | None, value: str, version: int, who: str, why: str
    ) -> Promotion:
        """Write a tag of the registered model if it still holds the value that the caller has read, and log it like a promotion.

        Args:
            name: name of the tag.
            expected: required old value; None: the tag must not exist.
            value: new value.
            version: version that the tag is about.
            who: the person or process that decides.
            why: the reason.

        Raises:
            StaleTagError: another process has changed it.
            ParameterError: the version does not exist.
        """
        with self._store.lock(), self._store.in_our_words():
            release = self.get(version)
            if self._tags().get(name) != expected:
                raise StaleTagError(f"another process has just changed the {name}; check its state, then try again")
            move = Move(name, release.version, release.release_id, None, None, who, why[:2_000], value, expected)
            with self._log.entry(move) as entry:
                _insist(self._store.client.set_registered_model_tag, self.model_name, name, value)
                if self._tags().get(name) != value:
                    raise StaleTagError(f"another process has just changed the {name}; try again")
            return entry

    # Versions and models

    def _find(self, release_id: str | None = None) -> list[RegisteredRelease]:
        condition = f"name = '{self.model_name}'" + (f" AND tag.release_id = '{release_id}'" if release_id else "")
        found, aliases, token = [], self._aliases(), None
        while True:
            page = self._store.client.search_model_versions(condition, max_results=1_000, page_token=token)
            found += [release for version in page if (release := read_version(version, aliases)) is not None]
            if not (token := page.token):
                return sorted(found, key=lambda release: release.version)

    def _aliases(self) -> dict[str, int]:
        model = self._model()
        return {} if model is None else {alias: int(version) for alias, version in model.aliases.items()}

    def _tags(self) -> dict[str, str]:
        model = self._model()
        return {} if model is None else dict(model.tags)

    def _model(self) -> Any:
        try:
            return self._store.client.get_registered_model(self.model_name)
        except Exception as error:
            if not has_code(error, "RESOURCE_DOES_NOT_EXIST"):
                raise
            return None

    def _known(self) -> str:
        versions = ", ".join(str(release.version) for release in self.releases()) or "none"
        aliases = ", ".join(f"{alias} → {version}" for alias, version in sorted(self._aliases().items())) or "none"
        return f"its versions are {versions}, its aliases {aliases}"

    def _single(self, release_id: str) -> RegisteredRelease | None:
        """Return the version of a release; if two processes made one each, the lowest stays."""
        found = self._find(release_id)
        for double in found[1:]:
            for alias in double.aliases:
                self._move(alias, found[0], who=_REGISTRATION, why=f"version {double.version} was its double")
            with unless_gone():
                self._store.client.delete_model_version(self.model_name, str(double.version))
        return self._find(release_id)[0] if found else None

    def _create(self, directory: Path, manifest: Manifest, run_id: str | None) -> RegisteredRelease:
        try:
            self._upload_and_create(directory, manifest, run_id)
        except Exception:
            # On a server, a faster process can have removed our unfinished model.
            if (version := self._single(manifest.release_id)) is None:
                raise
            return version
        version = self._single(manifest.release_id)
        if version is None:
            raise ContractError(
                f"the version of {manifest.release_id} was deleted while it was being made; register the release again"
            )
        return version

    def _upload_and_create(self, directory: Path, manifest: Manifest, run_id: str | None) -> None:
        client = self._store.client
        try:
            client.create_registered_model(self.model_name, description="Releases of the visual search, one a version.")
        except Exception as error:
            if not has_code(error, "RESOURCE_ALREADY_EXISTS"):
                raise
        model_id = self._files.upload(directory, manifest, run_id)
        self._store.make_global()
        client.create_model_version(
            self.model_name,
            f"models:/{model_id}",
            run_id=run_id,
            tags=tags_of(manifest),
            model_id=model_id,
            await_creation_for=60,
        )

    # Aliases

    def _announce(self, version: RegisteredRelease) -> None:
        """Give a new version its aliases, once: a later rerun must not undo promotions made since."""
        if version.is_announced:
            return
        aliases = self._aliases()
        if version.gate_passed:
            if aliases.get(CHALLENGER, 0) < version.version:
                self._move(CHALLENGER, version, who=_REGISTRATION, why="a new release that passed the gate")
            if CHAMPION not in aliases and not self._had_champion(aliases):
                self._move(CHAMPION, version, who=_REGISTRATION, why="the first release that passed the gate")
        _insist(self._store.client.set_model_version_tag, self.model_name, str(version.version), _ANNOUNCED, "true")

    def _had_champion(self, aliases: dict[str, int]) -> bool:
        return any(entry.took_effect and entry.move.alias == CHAMPION for entry in self._log.read(aliases))

    def _move(self, alias: str, to: RegisteredRelease, *, who: str, why: str) -> Promotion | None:
        """Move an alias and log it; None, without an entry, if it is there already."""
        before = self._aliases().get(alias)
        if before == to.version:
            return None
        previous = None if before is None else self.find(before)
        move = Move(
            alias,
            to.version,
            to.release_id,
            before,
            None if previous is None else previous.release_id,
            who.strip(),
            why.strip(),
        )
        with self._log.entry(move) as entry:
            _insist(self._store.client.set_registered_model_alias, self.model_name, alias, str(to.version))
            now = self._aliases().get(alias)
            if now != to.version:
                raise ContractError(
                    f"another process has just moved {alias} to version {now}; check the history, then promote again"
                )
        return entry


def _insist(write: Callable[..., object], *arguments: str) -> None:
    """Write an alias or a tag, twice if needed.

    MLflow checks whether the row exists and then inserts or updates it. If two processes without a common lock make the
    same row at once, one of them fails, but only once, since the row then exists.
    """
    try:
        write(*arguments)
    except Exception:
        write(*arguments)
