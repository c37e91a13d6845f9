"""From the queries of a request to what each of them finds: pictures → squares → embeddings → neighbours."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from components.shared.errors import ParameterError
from components.shared.vectors.embeddings import Vectors
from serving.transformer.edge.answers import new_query_id
from serving.transformer.edge.requests import Parameters, Query, SearchRequest
from serving.transformer.encoding.decoding import DecodingPool, QueryPicture
from serving.transformer.encoding.encoder_client import EncoderClient
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import Answer, SearchOptions
from serving.transformer.watching.stages import Stages


@dataclass(frozen=True)
class Searched:
    """A query that was answered: what the event store and the client get."""

    answer: Answer
    query_id: str
    query: Query
    vector: Vectors
    picture: QueryPicture | None


class Searcher:
    """Takes requests through decoding, encoding and searching.

    Args:
        decoding: processes that decode.
        encoder: computes the embeddings.
        stages: times each.
        threads: searches at a time; 0: one for each core.
    """

    def __init__(self, decoding: DecodingPool, encoder: EncoderClient, stages: Stages, threads: int = 0) -> None:
        self._decoding, self._encoder, self._stages = decoding, encoder, stages
        self._threads = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix="search")

    def stop(self) -> None:
        """End the threads that search."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def search(self, request: SearchRequest, catalogue: Catalogue, deadline: float) -> list[Searched]:
        """Search by all queries of a request.

        Args:
            request: with its queries; the picture of one that monitoring may sample is measured, too.
            catalogue: to search.
            deadline: time on the clock of `time.monotonic`.
        """
        pictures = await self._pictures(request.queries, catalogue)
        vectors = await self._vectors(request.queries, pictures, catalogue, deadline)
        loop = asyncio.get_running_loop()
        with self._stages("search", catalogue.release_id):
            answers = await asyncio.gather(
                *(
                    loop.run_in_executor(
                        self._threads,
                        catalogue.search,
                        vector,
                        _options(request.parameters, query, picture, catalogue),
                    )
                    for query, picture, vector in zip(request.queries, pictures, vectors, strict=True)
                )
            )
        return [
            Searched(answer, new_query_id(), query, vector, picture)
            for answer, query, vector, picture in zip(answers, request.queries, vectors, pictures, strict=True)
        ]

    async def _pictures(self, queries: Sequence[Query], catalogue: Catalogue) -> list[QueryPicture | None]:
        """Decode all pictures of a request at once; None for the queries that have none."""
        places = [place for place, query in enumerate(queries) if query.picture is not None]
        if not places:
            return [None] * len(queries)
        pictures: list[QueryPicture | None] = [None] * len(queries)
        with self._stages("decode", catalogue.release_id):
            tasks = [
                asyncio.ensure_future(
                    self._decoding.prepare(
                        queries[place].picture or b"",
                        catalogue.preprocessing,
                        queries[place].crop,
                        statistics=queries[place].sampling_key is not None,
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
            with self._stages("encode", catalogue.release_id):
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


def _options(parameters: Parameters, query: Query, picture: QueryPicture | None, catalogue: Catalogue) -> SearchOptions:
    floor = parameters.floor
    if floor == "calibrated":
        floor = catalogue.floors.get("calibrated")
        if floor is None:
            raise ParameterError("this release has no calibrated floor; give a number or leave 'floor' out")
    excluded, sha256 = frozenset[str](), None
    if parameters.exclude_self:
        if query.image_id is not None:
            item = catalogue.item(query.image_id)
            excluded, sha256 = frozenset({item.image_id}), item.sha256
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
