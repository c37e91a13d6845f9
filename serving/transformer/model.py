"""The transformer as KServe knows it: request → pictures → squares → embeddings → neighbours → answer."""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import kserve
import numpy as np

from components.shared.embeddings import Vectors
from components.shared.errors import NotReadyError, ParameterError
from serving.events.tokens import Impression, TokenSigner
from serving.shell.refusals import OverloadedError
from serving.shell.request import CURRENT_REQUEST
from serving.shell.traces import Traces
from serving.transformer.answers import answer_of, impressions_of, new_query_id
from serving.transformer.decoding import DecodingPool, QueryPicture
from serving.transformer.encoder_client import EncoderClient
from serving.transformer.encoder_watch import EncoderWatch
from serving.transformer.metrics import TransformerMetrics
from serving.transformer.open_inference import response_of
from serving.transformer.recall import RecallWatch
from serving.transformer.requests import Parameters, Person, Query, SearchRequest, read_person, read_request
from serving.transformer.samples import QuerySamples
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import Answer, SearchOptions

_LARGE_BODY_BYTES = 64 * 1024
_FEW_RESULTS = 100  # whose tokens are signed on the event loop: two milliseconds


class CurrentCatalogue(Protocol):
    """What holds the catalogue that is served now."""

    @property
    def current(self) -> Catalogue | None:
        """The catalogue; None before the first is loaded."""


class ImpressionSink(Protocol):
    """What keeps impressions."""

    def record_impressions(self, impressions: list[Impression]) -> bool:
        """Keep them soon; False where there is no room. Never blocks."""


@dataclass(frozen=True)
class Rules:
    """What the process was configured to, as far as a query needs it.

    Attributes:
        arm: that answers.
        max_instances: queries of one request.
        max_image_bytes: of one picture.
        request_seconds: time of a request.
        country_header: see the settings.
    """

    arm: str
    max_instances: int
    max_image_bytes: int
    request_seconds: float
    country_header: str


@dataclass(frozen=True)
class Searched:
    """A query that was answered: what the event store and the client get."""

    answer: Answer
    query_id: str
    query: Query
    vector: Vectors
    picture: QueryPicture | None
    mark: float | None  # of the monitoring's sample; None: it cannot come into it


class SearchModel(kserve.Model):  # type: ignore[misc]  # kserve carries no types
    """Answers queries out of one catalogue each, whatever is swapped in meanwhile.

    Args:
        name: of the model.
        holder: of the catalogue.
        decoding: processes that decode.
        encoder: embeds.
        watch: knows whether the encoder is ready.
        signer: of impression tokens.
        events: where impressions go.
        metrics: counts and times.
        traces: spans of the stages.
        recall: compares the index with an exact search now and then.
        samples: monitoring's sample; None: none is kept.
        rules: of this process.
        search_threads: searches at a time; 0: one for each core.
    """

    def __init__(
        self,
        name: str,
        *,
        holder: CurrentCatalogue,
        decoding: DecodingPool,
        encoder: EncoderClient,
        watch: EncoderWatch,
        signer: TokenSigner,
        events: ImpressionSink,
        metrics: TransformerMetrics,
        traces: Traces,
        recall: RecallWatch,
        samples: QuerySamples | None,
        rules: Rules,
        search_threads: int = 0,
    ) -> None:
        super().__init__(name, return_response_headers=True)
        self._holder, self._decoding, self._encoder, self._watch = holder, decoding, encoder, watch
        self._signer, self._events, self._metrics, self._traces = signer, events, metrics, traces
        self._recall, self._samples, self._rules = recall, samples, rules
        threads = search_threads or len(os.sched_getaffinity(0))
        self._searchers = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self.ready = True  # kserve registers no other; whether it can answer, `healthy` says

    async def healthy(self) -> bool:
        """Whether there is a catalogue and, unless a query asks, an encoder for it.

        A query is let through without: it may be about an image of the catalogue, and its failure has a better name.
        """
        request = CURRENT_REQUEST.get()
        is_query = request is not None and request.route.endswith((":predict", "/infer"))
        return self._holder.current is not None and (is_query or self._watch.is_ready())

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the input tensors."""
        return [{"name": "images", "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the output tensors."""
        texts = [
            {"name": name, "datatype": "BYTES", "shape": [-1, -1]} for name in ("image_id", "item_id", "uri", "token")
        ]
        return [*texts, {"name": "score", "datatype": "FP32", "shape": [-1, -1]}]

    def validate(self, payload: Any) -> Any:
        """Leave it to `preprocess`, which has checked everything."""
        return payload

    async def preprocess(self, payload: Any, headers: Mapping[str, str] | None = None) -> SearchRequest:
        """Check the request at the edge."""
        headers = headers or {}
        limits = {"max_instances": self._rules.max_instances, "max_bytes": self._rules.max_image_bytes}
        size = headers.get("content-length", "")
        request = CURRENT_REQUEST.get()
        query_string = "" if request is None else request.query_string
        is_small = isinstance(payload, bytes) or (size.isdecimal() and int(size) <= _LARGE_BODY_BYTES)
        if is_small:
            return read_request(payload, headers, query_string, **limits)
        return await asyncio.to_thread(read_request, payload, headers, query_string, **limits)

    async def predict(
        self,
        payload: SearchRequest,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Answer every query of a request out of one catalogue, or refuse the request as a whole.

        Raises:
            NotReadyError: no catalogue is loaded yet.
            OverloadedError: it took longer than a request may.
        """
        catalogue = self._holder.current
        if catalogue is None:
            raise NotReadyError("no release is loaded yet")
        if (request := CURRENT_REQUEST.get()) is not None:
            request.release_id, request.arm = catalogue.release_id, self._rules.arm
        person = read_person(headers or {}, self._rules.country_header)
        try:
            async with asyncio.timeout(self._rules.request_seconds):
                found = await self._search_all(payload, catalogue)
        except TimeoutError as error:
            raise OverloadedError("the request took longer than a request may; try again in a moment") from error
        with self._stage("answer", catalogue):
            work = (found, catalogue, payload.parameters, person)
            is_small = sum(len(each.answer.results) for each in found) <= _FEW_RESULTS
            answers = self._answers(*work) if is_small else await asyncio.to_thread(self._answers, *work)
        if payload.tensors is not None:
            return response_of(payload.tensors, self.name, answers)
        return {"predictions": answers}

    @contextmanager
    def _stage(self, name: str, catalogue: Catalogue) -> Iterator[None]:
        with self._traces.stage(name), self._metrics.stage(name, catalogue.release_id):
            yield

    def stop(self) -> None:
        """End the threads that search."""
        super().stop()
        self._searchers.shutdown(wait=False, cancel_futures=True)

    async def _search_all(self, request: SearchRequest, catalogue: Catalogue) -> list[Searched]:
        deadline = time.monotonic() + self._rules.request_seconds
        marks = [self._mark(query) for query in request.queries]
        pictures = await self._pictures(request.queries, marks, catalogue)
        vectors = await self._vectors(request.queries, pictures, catalogue, deadline)
        loop = asyncio.get_running_loop()
        with self._stage("search", catalogue):
            answers = await asyncio.gather(
                *(
                    loop.run_in_executor(
                        self._searchers,
                        catalogue.search,
                        vector,
                        _options(request.parameters, query, picture, catalogue),
                    )
                    for query, picture, vector in zip(request.queries, pictures, vectors, strict=True)
                )
            )
        return [
            Searched(answer, new_query_id(), query, vector, picture, mark)
            for answer, query, vector, picture, mark in zip(
                answers, request.queries, vectors, pictures, marks, strict=True
            )
        ]

    def _mark(self, query: Query) -> float | None:
        if self._samples is None or query.picture is None:
            return None
        return self._samples.draw(datetime.datetime.now(datetime.UTC))

    async def _pictures(
        self, queries: Sequence[Query], marks: Sequence[float | None], catalogue: Catalogue
    ) -> list[QueryPicture | None]:
        """Decode all pictures of a request at once; None for the queries that have none."""
        places = [place for place, query in enumerate(queries) if query.picture is not None]
        if not places:
            return [None] * len(queries)
        pictures: list[QueryPicture | None] = [None] * len(queries)
        with self._stage("decode", catalogue):
            tasks = [
                asyncio.ensure_future(
                    self._decoding.prepare(
                        queries[place].picture or b"",
                        catalogue.preprocessing,
                        queries[place].crop,
                        statistics=marks[place] is not None,
                    )
                )
                for place in places
            ]
            try:
                for place, task in zip(places, tasks, strict=True):
                    pictures[place] = await task
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return pictures

    async def _vectors(
        self,
        queries: Sequence[Query],
        pictures: Sequence[QueryPicture | None],
        catalogue: Catalogue,
        deadline: float,
    ) -> list[Vectors]:
        squares = [picture.square for picture in pictures if picture is not None]
        encoded: list[Vectors] = []
        if squares:
            with self._stage("encode", catalogue):
                encoded = list(
                    await self._encoder.encode(
                        np.stack(squares) if len(squares) > 1 else squares[0][None],
                        space_id=catalogue.space_id,
                        dimension=catalogue.dimension,
                        remaining_seconds=deadline - time.monotonic(),
                    )
                )
        fresh = iter(encoded)
        return [
            next(fresh) if picture is not None else catalogue.vector_of(query.image_id or "")
            for query, picture in zip(queries, pictures, strict=True)
        ]

    def _answers(
        self, found: Sequence[Searched], catalogue: Catalogue, parameters: Parameters, person: Person
    ) -> list[dict[str, Any]]:
        at = datetime.datetime.now(datetime.UTC)
        answers, impressions = [], []
        for each in found:
            shown = impressions_of(
                each.answer,
                query=each.query,
                query_id=each.query_id,
                release_id=catalogue.release_id,
                arm=self._rules.arm,
                person=person,
                at=at,
            )
            impressions += shown
            answers.append(
                answer_of(
                    each.answer,
                    shown,
                    catalogue=catalogue,
                    query=each.query,
                    query_id=each.query_id,
                    arm=self._rules.arm,
                    signer=self._signer,
                    explain=parameters.explain,
                )
            )
            self._watch_quality(each, catalogue, person, at)
        if impressions and not self._events.record_impressions(impressions):
            self._metrics.lost(len(impressions), catalogue.release_id)
        if (request := CURRENT_REQUEST.get()) is not None:
            request.found_nothing = all(_is_empty(each.answer) for each in found)
        return answers

    def _watch_quality(self, each: Searched, catalogue: Catalogue, person: Person, at: datetime.datetime) -> None:
        results = each.answer.results
        kind = "image" if each.picture is None else "picture"
        self._metrics.answered(kind, catalogue.release_id, is_empty=_is_empty(each.answer))
        self._recall.offer(catalogue, each.vector)
        if self._samples is not None and each.picture is not None and each.mark is not None:
            row = {
                "query_id": each.query_id,
                "release_id": catalogue.release_id,
                "space_id": catalogue.space_id,
                "country": person.country,
                "top_score": float(results[0].score) if results else None,
                "results": len(results),
                **each.picture.facts,
            }
            self._samples.offer(each.mark, row, each.vector, at)


def _is_empty(answer: Answer) -> bool:
    return not answer.results or answer.no_good_match


def _options(parameters: Parameters, query: Query, picture: QueryPicture | None, catalogue: Catalogue) -> SearchOptions:
    floor = parameters.floor
    if floor == "calibrated":
        floor = catalogue.floors.get("calibrated")
        if floor is None:
            raise ParameterError("this release has no calibrated floor; give a number or leave 'floor' out")
    excluded, sha256 = frozenset[str](), None
    if parameters.exclude_self:
        if query.image_id is not None:
            excluded, sha256 = frozenset({query.image_id}), catalogue.item(query.image_id).sha256
        elif picture is not None:
            sha256 = picture.sha256
    return SearchOptions(
        k=parameters.k,
        explain=parameters.explain,
        floor=floor,
        group_items=parameters.group_items,
        collapse_duplicates=parameters.collapse_duplicates,
        exclude_image_ids=excluded,
        exclude_sha256=sha256,
    )
