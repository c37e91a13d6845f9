"""Puts the transformer together: every part once, started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
from functools import partial

import grpc
from fastapi import APIRouter
from pydantic import SecretStr, ValidationError

from components.shared.errors import BadImageError, ParameterError, SourceError
from components.shared.files.sqlite import sqlite_url
from components.shared.pictures.limits import DecodingLimits
from serving.events.keys import parse_keys, read_keys
from serving.events.limits import FloodLimits
from serving.events.routes import events_router
from serving.events.store import EventStore
from serving.events.tokens import TokenSigner
from serving.server.flags import Flags
from serving.server.limits import GuardSettings, QueueSettings
from serving.server.metrics import Identity, ServerMetrics
from serving.server.open_inference import keep_binary_tensors
from serving.server.problems import ProblemKind
from serving.server.server import run_server
from serving.server.traces import start_traces
from serving.settings import TransformerSettings
from serving.transformer.edge.openapi import openapi_router
from serving.transformer.edge.routes import catalogue_router
from serving.transformer.encoding.decoding import DecodingPool
from serving.transformer.encoding.encoder_client import EncoderClient, EncoderUnavailableError
from serving.transformer.model import Rules, SearchModel
from serving.transformer.search.catalogue import Catalogue, UnknownImageError
from serving.transformer.search.holder import Holder
from serving.transformer.search.rules.chain import ChainParameters
from serving.transformer.searching import Searcher
from serving.transformer.watching.encoder_watch import EncoderWatch, Needed
from serving.transformer.watching.metrics import TransformerMetrics
from serving.transformer.watching.recall import RecallWatch
from serving.transformer.watching.reporting import Reporter
from serving.transformer.watching.samples import QuerySamples
from serving.transformer.watching.service_counts import ServiceCounts
from serving.transformer.watching.stages import Stages
from serving.web.routes import make_router
from serving.web.thumbnails import ThumbnailCache, ThumbnailSource

_log = logging.getLogger(__name__)
_HOUSEKEEPING_SECONDS = 2.0
_PROBLEMS: dict[type[BaseException], ProblemKind] = {
    EncoderUnavailableError: ProblemKind(
        503, "not_ready", grpc.StatusCode.UNAVAILABLE, "The encoder cannot be reached; try again in a moment."
    )
}


class Application:
    """All parts of the transformer process.

    Attributes:
        model: model given to KServe.

    Raises:
        ParameterError: a setting is unusable, for example a key that is too short.
    """

    def __init__(self, settings: TransformerSettings) -> None:
        keep_binary_tensors()
        self.settings = settings
        self.server_metrics = ServerMetrics(self._identity)
        self.metrics = TransformerMetrics(settings.arm, self.server_metrics)
        self.traces = start_traces("visual-search-transformer", os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
        cores = len(os.sched_getaffinity(0))
        self.decoding = _pool(settings, settings.decode_workers or cores)
        # A pool of their own: a page's twenty thumbnails, perhaps from a slow store, must not hold up a search.
        self.rendering = _pool(settings, max(1, (settings.decode_workers or cores) // 2))
        self.encoder = EncoderClient(
            settings.encoder_address,
            model_name=settings.model_name,
            timeout_seconds=settings.encoder_deadline_seconds,
            space=settings.encoder_space,
            call_images=settings.encoder_call_images,
            metadata=self.traces.outgoing,
        )
        self.holder = Holder(settings, encoder_serves=self.encoder.serves, chain=_chain(settings))
        self.watch = EncoderWatch(self.encoder, self._needed, self.metrics.encoder_ready.set)
        self.signer = TokenSigner(_keys(settings))
        self.events = EventStore.open(_events_url(settings))
        self.recall = RecallWatch(settings.recall_share, self.metrics)
        self.samples = (
            None
            if settings.samples is None
            else QuerySamples(settings.samples, arm=settings.arm, per_hour=settings.samples_per_hour)
        )
        self.service_counts = (
            None
            if settings.service_counts is None
            else ServiceCounts(settings.service_counts, arm=settings.arm, slow_seconds=settings.slow_seconds)
        )
        if self.service_counts is not None:
            self.server_metrics.listeners.append(self.service_counts.count)
        stages = Stages(self.metrics, self.traces)
        self.model = SearchModel(
            settings.model_name,
            holder=self.holder,
            watch=self.watch,
            searcher=Searcher(self.decoding, self.encoder, stages, settings.search_threads),
            reporter=Reporter(
                settings.arm,
                signer=self.signer,
                events=self.events,
                metrics=self.metrics,
                stages=stages,
                recall=self.recall,
                samples=self.samples,
            ),
            rules=Rules(
                arm=settings.arm,
                max_instances=settings.max_instances,
                max_image_bytes=settings.max_image_bytes,
                request_seconds=settings.request_seconds,
                country_header=settings.country_header,
            ),
        )
        counts = self.decoding.counts
        self.metrics.decoding.values.update({name: partial(getattr, counts, name) for name in vars(counts)})
        self.metrics.decoding.values["waiting"] = lambda: self.decoding.waiting
        self._tasks: list[asyncio.Task[None]] = []
        self._counted: dict[str, int] = {}

    def catalogue(self) -> Catalogue | None:
        """Return the catalogue in use."""
        return self.holder.current

    def routers(self) -> list[APIRouter]:
        """Return the routes beside KServe's."""
        settings = self.settings
        limits = FloodLimits(per_user=settings.events_per_user, per_query=settings.events_per_query)
        return [
            make_router(ThumbnailCache(self._locate, self._render)),
            events_router(self.events, self.signer, limits),
            catalogue_router(self.catalogue, settings.arm, _pin(settings)),
            openapi_router(settings.model_name, needs_key=bool(settings.api_keys.get_secret_value())),
        ]

    async def start(self) -> None:
        """Start every part; the catalogue is loaded in the background, and readiness waits for it.

        Raises:
            ResourceError: the decoding processes do not start.
        """
        self.encoder.start()
        self.holder.start()  # its trial load takes longest, so it goes first
        await asyncio.gather(self.decoding.start(), self.rendering.start())
        self._tasks = [asyncio.create_task(self.watch.run()), asyncio.create_task(self._keep_house())]

    async def stop(self) -> None:
        """Stop every part; what was acknowledged or sampled is on the disk afterwards."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.holder.stop)
        await asyncio.gather(self.decoding.stop(), self.rendering.stop())
        await self.encoder.stop()
        await asyncio.to_thread(self.recall.stop)
        if self.samples is not None:
            await asyncio.to_thread(self.samples.stop)
        if self.service_counts is not None:
            await asyncio.to_thread(self.service_counts.stop)
        await asyncio.to_thread(self.events.close)

    def _identity(self) -> Identity:
        catalogue = self.holder.current
        if catalogue is None:
            return Identity(arm=self.settings.arm)
        return Identity(catalogue.release_id, catalogue.space_id, catalogue.generation, self.settings.arm)

    def _needed(self) -> Needed | None:
        catalogue = self.holder.current
        return None if catalogue is None else Needed(catalogue.space_id, catalogue.preprocessing.side)

    def _locate(self, image_id: str) -> ThumbnailSource | None:
        catalogue = self.holder.current
        if catalogue is None:
            return None
        try:
            item = catalogue.item(image_id)
        except UnknownImageError:
            return None
        return ThumbnailSource(item.sha256, item.uri)

    async def _render(self, uri: str, side: int) -> bytes | None:
        try:
            return await self.rendering.thumbnail(uri, side)
        except (SourceError, BadImageError) as error:
            _log.warning("no thumbnail: %s", error)
            return None

    def _count_loads(self) -> None:
        """Pass what the holder counted since the last time on to the metrics."""
        for outcome in ("loads", "failures", "swaps"):
            counted = getattr(self.holder, outcome)
            self.metrics.loads.labels(outcome, *self.server_metrics.labels()).inc(
                counted - self._counted.get(outcome, 0)
            )
            self._counted[outcome] = counted

    async def _keep_house(self) -> None:
        """Count loads, and write samples and counts of what is over."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)
            self._count_loads()
            for keeper in (self.samples, self.service_counts):
                if keeper is not None:
                    await asyncio.to_thread(keeper.write_finished, datetime.datetime.now(datetime.UTC))


def run(settings: TransformerSettings, flags: Flags) -> int:
    """Serve until told to stop; returns the exit status.

    Raises:
        VisualSearchError: it cannot start.
    """
    application = Application(settings)
    return run_server(
        application.model,
        name=settings.model_name,
        host=settings.bind,
        http_port=settings.transformer_http_port,
        grpc_port=flags.grpc_port if flags.enable_grpc else None,  # asked for expressly: kserve's own default is yes
        guard=_guard(settings),
        lame_duck_seconds=settings.lame_duck_seconds,
        grace_seconds=settings.grace_seconds,
        routers=application.routers(),
        metrics=application.server_metrics,
        traces=application.traces,
        problems=_PROBLEMS,
        on_start=application.start,
        on_stop=application.stop,
    )


def _guard(settings: TransformerSettings) -> GuardSettings:
    keys = [key.strip() for key in settings.api_keys.get_secret_value().split(",")]
    queue = QueueSettings(
        concurrency=settings.search_concurrency,
        length=settings.search_queue,
        wait_seconds=settings.search_wait_seconds,
    )
    return GuardSettings(
        max_body_bytes=settings.max_body_bytes,
        queues={"search": queue},
        api_keys=tuple(SecretStr(key) for key in keys if key),
        access_log_share=settings.access_log_share,
    )


def _pin(settings: TransformerSettings) -> dict[str, str]:
    return {settings.pin_header: settings.pin_value} if settings.pin_header and settings.pin_value else {}


def _chain(settings: TransformerSettings) -> ChainParameters:
    names = [name.strip() for name in settings.rules.split(",")]
    try:
        return ChainParameters.model_validate({"rules": [name for name in names if name]})
    except ValidationError as error:
        raise ParameterError(
            f"VISUAL_SEARCH_RULES is {settings.rules!r}; name each of own_image, floor, near_duplicates, items once at most"
        ) from error


def _pool(settings: TransformerSettings, workers: int) -> DecodingPool:
    return DecodingPool(
        workers=workers,
        queue=settings.decode_queue,
        limits=DecodingLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
        cpu_seconds=settings.decode_cpu_seconds,
        wall_seconds=settings.decode_wall_seconds,
        memory_bytes=settings.decode_memory_mb << 20,
    )


def _keys(settings: TransformerSettings) -> tuple[bytes, ...]:
    if text := settings.events_keys.get_secret_value():
        return parse_keys(text, "VISUAL_SEARCH_EVENTS_KEYS")
    if settings.events_key_file is not None:
        return read_keys(settings.events_key_file)
    return read_keys(settings.cache / "event-keys", create=True)


def _events_url(settings: TransformerSettings) -> str:
    if settings.events_url:
        return settings.events_url
    settings.cache.mkdir(parents=True, exist_ok=True)
    return sqlite_url(settings.cache / "events.db")
