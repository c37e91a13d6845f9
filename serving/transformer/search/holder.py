"""Holds the catalogue in use and the one before it, and swaps in the next without interrupting queries.

The current release is checked repeatedly. A new one is tried in a separate process, loaded beside the old one and put
into use by one assignment, once the encoder serves its space. A failed load is counted and logged; the current catalogue
keeps serving.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from components.shared.errors import ContractError, ResourceError
from serving.release_mirror import LoadAttempts, ReleaseMirror, Wanted
from serving.settings import TransformerSettings
from serving.transformer.search.canary import run_trial
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.loading import Trial, load
from serving.transformer.search.memory import available_bytes, forecast_bytes
from serving.transformer.search.rules.chain import ChainParameters

_log = logging.getLogger(__name__)
_HEADROOM = 1.3  # memory that must be free, as a multiple of the forecast


@dataclass(frozen=True)
class _Loaded:
    wanted: Wanted
    catalogue: Catalogue


@dataclass(frozen=True)
class _State:
    current: _Loaded | None = None
    previous: _Loaded | None = None


class Holder:
    """The catalogue in use. Requests take `current` once and keep it; everything else happens in the holder's thread.

    Args:
        settings: location of the releases and interval between checks.
        encoder_serves: whether the encoder serves a space, asked with pictures of its side in pixels, before a catalogue of
            another space is put into use.
        chain: active re-ranking rules.
        available: bytes of memory that may still be taken.
        trial: loads in another process.

    Attributes:
        loads: catalogues loaded so far.
        swaps: catalogues put into use so far, roll-backs included.
    """

    def __init__(
        self,
        settings: TransformerSettings,
        *,
        encoder_serves: Callable[[str, int], bool] = lambda _space_id, _side: True,
        chain: ChainParameters | None = None,
        available: Callable[[], int] = available_bytes,
        trial: Callable[[Trial], None] = run_trial,
    ) -> None:
        self._source = ReleaseMirror(settings.location, settings.cache, kind="catalogue")
        self._poll_seconds = settings.poll_seconds
        self._encoder_serves, self._chain = encoder_serves, chain
        self._available, self._trial = available, trial
        self._state = _State()
        self._waiting: _Loaded | None = None
        self._attempts = LoadAttempts(settings.poll_seconds)
        self._listeners: list[Callable[[Catalogue], None]] = []
        self._over, self._thread = threading.Event(), None
        self._looking = threading.Lock()
        self.loads = self.swaps = 0

    _thread: threading.Thread | None

    @property
    def failures(self) -> int:
        """Loads that failed so far, those for lack of memory included."""
        return self._attempts.failures

    @property
    def last_error(self) -> str:
        """Why the latest load failed; "" after a success."""
        return self._attempts.last_error

    @property
    def current(self) -> Catalogue | None:
        """The catalogue in use; None before the first is loaded."""
        loaded = self._state.current
        return None if loaded is None else loaded.catalogue

    @property
    def awaits_encoder(self) -> bool:
        """Whether a catalogue is loaded that waits for the encoder of its space."""
        return self._waiting is not None

    def start(self) -> None:
        """Begin to look."""
        if self._thread is None:
            self._over.clear()
            self._thread = threading.Thread(target=self._run, name="catalogue-holder", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more; what is in use stays."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def refresh(self) -> None:
        """Check once, and load and swap if the release has changed. Never raises: failures are counted and logged."""
        with self._looking:
            wanted: Wanted | str
            try:
                wanted = self._source.look()
            except Exception as error:
                wanted = f"{type(error).__name__}: {error}"
            current = self._state.current
            if current is not None and wanted == current.wanted:
                self._waiting = None
                self._attempts.forget()
                return
            if self._attempts.must_wait(wanted):
                return
            try:
                if isinstance(wanted, str):
                    raise ContractError(wanted)
                self._approach(wanted)
            except Exception as error:  # any fault of the new release: the old one keeps serving
                self._note_failure(wanted, error)

    def _run(self) -> None:
        while not self._over.is_set():
            self.refresh()
            self._over.wait(self._poll_seconds)

    def _approach(self, wanted: Wanted) -> None:
        """Bring what is wanted into use, or as near to it as possible now."""
        state = self._state
        known = (self._waiting, state.previous)
        loaded = next((each for each in known if each is not None and each.wanted == wanted), None)
        if loaded is None:
            self._waiting = None  # of something that is wanted no more
            loaded = self._load(wanted)
        current = state.current
        if (
            current is not None
            and current.catalogue.space_id != loaded.catalogue.space_id
            and not self._encoder_serves(loaded.catalogue.space_id, loaded.catalogue.preprocessing.side)
        ):
            if self._waiting is not loaded:
                _log.info("release %s waits for an encoder of its space", loaded.catalogue.release_id)
            self._waiting = loaded
            return
        self._state = _State(loaded, current)  # the one assignment
        self._waiting = None
        self._attempts.note_success()
        self.swaps += 1
        catalogue = loaded.catalogue
        _log.info("release %s, generation %d in use", catalogue.release_id, catalogue.generation)
        self._source.prune([each.wanted for each in (loaded, current) if each is not None])

    def _load(self, wanted: Wanted) -> _Loaded:
        release, generations = self._source.fetch(wanted)
        base = next(
            (
                each.catalogue.base
                for each in (self._state.current, self._state.previous)
                if each is not None and each.wanted.release == wanted.release
            ),
            None,
        )
        forecast = forecast_bytes(release if base is None else None, generations)
        trial = Trial(
            release=str(release) if base is None else None,
            generations=tuple(map(str, generations)),
            release_id="" if base is None else base.manifest.release_id,
            space_id="" if base is None else base.manifest.space_id,
            dimension=0 if base is None else base.index.dimension,
            forecast_bytes=forecast,
        )
        self._check_memory(forecast, keeps_previous=base is not None)
        self._trial(trial)
        loaded = load(release if base is None else base, generations, self._chain)
        self.loads += 1
        return _Loaded(wanted, loaded)

    def _check_memory(self, forecast: int, *, keeps_previous: bool) -> None:
        if self._available() >= _HEADROOM * forecast:
            return
        if not keeps_previous and self._state.previous is not None:
            self._state = _State(self._state.current)  # a roll-back must be loaded then; better than no roll-forward
        if self._available() < _HEADROOM * forecast:
            raise ResourceError(
                f"loading takes about {forecast} bytes, {_HEADROOM} times as much must be free and "
                f"{self._available()} are; give the server more memory"
            )

    def _note_failure(self, wanted: Wanted | str, error: Exception) -> None:
        self._attempts.note_failure(wanted, error)
        serving = "the previous one keeps serving" if self._state.current else "none is loaded"
        _log.error("a catalogue could not be loaded, %s: %s", serving, self.last_error)
