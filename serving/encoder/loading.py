"""The encoders in use: the current release, and the one before it while clients still ask in its space.

A new release is fetched, verified, loaded and checked beside the one that serves, and then takes its place by one
assignment. A failed load is counted and logged; the current catalogue keeps serving.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from components.shared.errors import NotReadyError, SpaceMismatchError
from components.shared.release.manifest import GOLDEN_FILE, Manifest
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_INT8_FILE
from serving.encoder.batching import Batcher
from serving.encoder.metrics import EncoderMetrics
from serving.encoder.runtime import Runtime, open_runtime
from serving.release_mirror import LoadAttempts, ReleaseMirror
from serving.settings import EncoderSettings

_LOG = logging.getLogger(__name__)
_NEEDED = frozenset({ENCODER_FILE, ENCODER_INT8_FILE, GOLDEN_FILE})  # never the index
_UNKNOWN = ""  # the name of the current release, if even that cannot be read


@dataclass(frozen=True)
class Served:
    """One release's encoder in use.

    Attributes:
        name: directory that it was loaded from, relative to the location.
        batcher: batches requests for it.
    """

    name: str
    manifest: Manifest
    runtime: Runtime
    batcher: Batcher


class EncoderHolder:
    """Holds the present and the previous encoder and looks for new ones. Its methods belong to the event loop.

    Attributes:
        current: answers who names no space; None before the first load.
        previous: still answers in its own space.
    """

    def __init__(self, settings: EncoderSettings, metrics: EncoderMetrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._source = ReleaseMirror(settings.location, settings.cache, kind="encoder", needed=_NEEDED)
        self._poller: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._attempts = LoadAttempts(settings.poll_seconds)
        self.current: Served | None = None
        self.previous: Served | None = None

    @property
    def failures(self) -> int:
        """Failed loads so far."""
        return self._attempts.failures

    @property
    def last_error(self) -> str:
        """Why the latest load failed; "" after a success."""
        return self._attempts.last_error

    def serving(self, space_id: str | None) -> Served:
        """Return the encoder of a space, or the present one.

        Raises:
            NotReadyError: nothing is loaded yet.
            SpaceMismatchError: no encoder of that space is in use.
        """
        if self.current is None:
            raise NotReadyError("no encoder is loaded yet; try again in a moment")
        for served in (self.current, self.previous):
            if served is not None and space_id in (None, served.manifest.space_id):
                return served
        raise SpaceMismatchError(
            f"the encoder serves the space {self.current.manifest.space_id}, not the requested one",
            expected=str(space_id),
            received=self.current.manifest.space_id,
        )

    async def refresh(self) -> None:
        """Check for a current release that is not loaded, load it in a thread and put it into use."""
        self._adopt(await asyncio.to_thread(self._attempt))

    def start(self) -> None:
        """Begin to look for releases: now, and every `poll_seconds`."""
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())

    async def stop(self) -> None:
        """Stop looking, answer what was accepted, and let the encoders go."""
        if self._poller is not None:
            self._poller.cancel()
            with suppress(asyncio.CancelledError):
                await self._poller
        batchers = {id(s.batcher): s.batcher for s in (self.current, self.previous) if s is not None}
        self.current = self.previous = None
        await asyncio.gather(*(batcher.close() for batcher in batchers.values()), *self._closing)

    async def _poll(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self._settings.poll_seconds)

    def _attempt(self) -> Served | None:
        """Load the current release, if it is new; retry a failed one after a growing pause, another one at once."""
        name = _UNKNOWN
        if self._attempts.must_wait(name):
            return None
        try:
            name = self._source.look().release
            if self.current is not None and name == self.current.name:
                self._attempts.forget()
                return None
            if self._attempts.must_wait(name):
                return None
            served = self._load(name)
        except Exception as error:  # any fault of the new release: the old one keeps serving
            self._attempts.note_failure(name, error)
            serving = "" if self.current is None else self.current.manifest.release_id
            self._metrics.loads.labels("failed", serving, self._metrics.arm).inc()
            _LOG.error("a release could not be loaded, %s: %s", "the previous one keeps serving" if self.current else
                       "none is loaded", self.last_error)  # fmt: skip
            return None
        self._attempts.note_success()
        self._metrics.loads.labels("loaded", served.manifest.release_id, self._metrics.arm).inc()
        return served

    def _load(self, name: str) -> Served:
        directory, manifest = self._source.fetch_release(name)
        for served in (self.current, self.previous):
            if served is not None and served.manifest.encoder == manifest.encoder:
                served.runtime.check_golden(directory, manifest.encoder)
                return Served(name, manifest, served.runtime, served.batcher)
        settings = self._settings
        runtime = open_runtime(
            directory, manifest.encoder, wished=settings.encoder_runtime, threads=settings.encoder_threads
        )
        # The largest batch once, so that no client waits while memory for it is set up.
        ramp = np.linspace(0, 255, int(np.prod(runtime.encoder.shape))).astype(np.uint8).reshape(runtime.encoder.shape)
        runtime.encoder.encode(np.stack([np.roll(ramp, row, axis=0) for row in range(settings.encoder_max_batch)]))
        batcher = Batcher(
            runtime.encoder.encode,
            max_batch=settings.encoder_max_batch,
            max_wait_seconds=settings.encoder_max_wait_ms / 1000,
            queue_images=settings.encoder_queue_images,
        )
        return Served(name, manifest, runtime, batcher)

    def _adopt(self, served: Served | None) -> None:
        if served is None:
            return
        gone = self.previous
        if self.current is None or self.current.batcher is not served.batcher:
            self.previous = self.current
        elif gone is not None:
            gone = None  # the same encoder under a new release: the previous space is served on
        self.current = served
        served.batcher.metrics = self._metrics.of_release(served.manifest.release_id)
        if gone is not None and gone.batcher not in (served.batcher, self.previous and self.previous.batcher):
            task = asyncio.get_running_loop().create_task(gone.batcher.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._metrics.serving.clear()
        for each in (self.current, self.previous):
            if each is not None:
                facts = each.runtime.describe()
                self._metrics.serving.labels(
                    each.manifest.release_id,
                    self._metrics.arm,
                    each.manifest.space_id,
                    facts["runtime"],
                    facts["precision"],
                ).set(1)
        _LOG.info("encoder of release %s in use: %s", served.manifest.release_id, served.runtime.describe())
