"""The encoders in use: the release in force, and the one before it while clients still ask in its space.

A new release is fetched, verified, loaded and checked beside the one that serves, and then takes its place by one
assignment. What fails is counted and said, and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import numpy as np

from components.shared.errors import NotReadyError, SpaceMismatchError
from components.shared.release.manifest import Manifest
from serving.encoder.batching import Batcher
from serving.encoder.metrics import EncoderMetrics
from serving.encoder.runtime import Runtime, open_runtime
from serving.encoder.source import ReleaseSource
from serving.settings import EncoderSettings

_LOG = logging.getLogger(__name__)
_LONGEST_PAUSE_SECONDS = 60.0
_UNKNOWN = ""  # the name of what is in force, where not even that can be read


@dataclass(frozen=True)
class Served:
    """One release's encoder in use.

    Attributes:
        name: directory that it was loaded from, relative to the location.
        manifest: of the release.
        runtime: what computes.
        batcher: the way to it.
    """

    name: str
    manifest: Manifest
    runtime: Runtime
    batcher: Batcher


class EncoderHolder:
    """Holds the present and the previous encoder and looks for new ones. Its methods belong to the event loop.

    Args:
        settings: of the process.
        metrics: of the process.

    Attributes:
        current: answers who names no space; None before the first load.
        previous: still answers in its own space.
        failures: failed loads so far.
        last_error: why the latest load failed; "" after a success.
    """

    def __init__(self, settings: EncoderSettings, metrics: EncoderMetrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._source = ReleaseSource(settings.location, settings.cache)
        self._poller: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._pause_seconds, self._not_before = settings.poll_seconds, 0.0
        self._failed: str | None = None  # what could not be loaded
        self.current: Served | None = None
        self.previous: Served | None = None
        self.failures = 0
        self.last_error = ""

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
        """Look whether something is in force that is not loaded, load it in a thread and put it into use."""
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
        """Load what is in force, if it is new; what failed is tried again after a growing pause, something else at once."""
        name, rests = _UNKNOWN, monotonic() < self._not_before
        if rests and self._failed == _UNKNOWN:
            return None
        try:
            name = self._source.name()
            if self.current is not None and name == self.current.name:
                self._failed = None
                return None
            if rests and name == self._failed:
                return None
            served = self._load(name)
        except Exception as error:  # whatever is wrong with what is new, what serves goes on
            self.failures += 1
            if name != self._failed:
                self._failed, self._pause_seconds = name, self._settings.poll_seconds
            self.last_error = str(error) or type(error).__name__
            serving = "" if self.current is None else self.current.manifest.release_id
            self._metrics.loads.labels("failed", serving, self._metrics.arm).inc()
            self._not_before = monotonic() + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
            _LOG.error("a release could not be loaded, %s: %s", "the previous one keeps serving" if self.current else
                       "none is loaded", self.last_error)  # fmt: skip
            return None
        self.last_error, self._failed = "", None
        self._metrics.loads.labels("loaded", served.manifest.release_id, self._metrics.arm).inc()
        return served

    def _load(self, name: str) -> Served:
        directory, manifest = self._source.fetch(name)
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
