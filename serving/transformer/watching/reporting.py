"""From what a search found to what the client gets and what is kept of it: impressions, samples, figures."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from serving.events.store import EventStore
from serving.events.tokens import TokenSigner
from serving.server.request import CURRENT_REQUEST
from serving.transformer.edge.answers import answer_of, impressions_of
from serving.transformer.edge.requests import Parameters, Person, SearchRequest
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import Answer
from serving.transformer.searching import Searched
from serving.transformer.watching.metrics import TransformerMetrics
from serving.transformer.watching.recall import RecallWatch
from serving.transformer.watching.samples import QuerySamples
from serving.transformer.watching.stages import Stages

_FEW_RESULTS = 100  # whose tokens are signed on the event loop: two milliseconds


class Reporter:
    """Makes answers and records them.

    Args:
        arm: arm that answers.
        signer: signer of impression tokens.
        events: receives impressions.
        metrics: counts.
        stages: times.
        recall: compares the index with an exact search now and then.
        samples: monitoring's sample; None: none is kept.
    """

    def __init__(
        self,
        arm: str,
        *,
        signer: TokenSigner,
        events: EventStore,
        metrics: TransformerMetrics,
        stages: Stages,
        recall: RecallWatch,
        samples: QuerySamples | None,
    ) -> None:
        self._arm, self._signer, self._events, self._metrics = arm, signer, events, metrics
        self._stages, self._recall, self._samples = stages, recall, samples

    def with_sampling_keys(self, request: SearchRequest) -> SearchRequest:
        """Draw the sampling key of every query that has a picture, before work on it begins."""
        if self._samples is None:
            return request
        now, draw = datetime.datetime.now(datetime.UTC), self._samples.draw
        queries = tuple(
            query if query.picture is None else replace(query, sampling_key=draw(now)) for query in request.queries
        )
        return replace(request, queries=queries)

    async def report(
        self, found: Sequence[Searched], catalogue: Catalogue, parameters: Parameters, person: Person
    ) -> list[dict[str, Any]]:
        """Return the answers as JSON has them, and record what they show."""
        with self._stages("answer", catalogue.release_id):
            work = (found, catalogue, parameters, person)
            is_small = sum(len(each.answer.results) for each in found) <= _FEW_RESULTS
            return self._answers(*work) if is_small else await asyncio.to_thread(self._answers, *work)

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
                arm=self._arm,
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
                    arm=self._arm,
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
        if self._samples is not None and each.picture is not None and each.query.sampling_key is not None:
            row = {
                "query_id": each.query_id,
                "release_id": catalogue.release_id,
                "space_id": catalogue.space_id,
                "country": person.country,
                "top_score": float(results[0].score) if results else None,
                "results": len(results),
                **each.picture.facts,
            }
            self._samples.offer(each.query.sampling_key, row, each.vector, at)


def _is_empty(answer: Answer) -> bool:
    return not answer.results or answer.no_good_match
