"""The transformer as KServe knows it: request → pictures → squares → embeddings → neighbours → answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kserve

from components.shared.errors import NotReadyError
from serving.server.refusals import OverloadedError
from serving.server.request import CURRENT_REQUEST
from serving.transformer.edge.open_inference import response_of
from serving.transformer.edge.requests import SearchRequest, read_person, read_request
from serving.transformer.search.holder import Holder
from serving.transformer.searching import Searcher
from serving.transformer.watching.encoder_watch import EncoderWatch
from serving.transformer.watching.reporting import Reporter

_LARGE_BODY_BYTES = 64 * 1024


@dataclass(frozen=True)
class Rules:
    """Configuration of the process that queries depend on.

    Attributes:
        max_instances: largest number of queries per request.
        max_image_bytes: largest size of one picture.
        request_seconds: time of a request.
        country_header: see the settings.
    """

    arm: str
    max_instances: int
    max_image_bytes: int
    request_seconds: float
    country_header: str


class SearchModel(kserve.Model):  # type: ignore[misc]  # kserve carries no types
    """Answers each query from one catalogue, even if another is swapped in during the query.

    Args:
        name: name of the model.
        holder: holder of the catalogue.
        watch: knows whether the encoder is ready.
        searcher: runs the search.
        reporter: makes answers of what was found.
        rules: rules of this process.
    """

    def __init__(
        self,
        name: str,
        *,
        holder: Holder,
        watch: EncoderWatch,
        searcher: Searcher,
        reporter: Reporter,
        rules: Rules,
    ) -> None:
        super().__init__(name, return_response_headers=True)
        self._holder, self._watch, self._searcher, self._reporter = holder, watch, searcher, reporter
        self._rules = rules
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
        payload = self._reporter.with_sampling_keys(payload)
        deadline = time.monotonic() + self._rules.request_seconds
        try:
            async with asyncio.timeout(self._rules.request_seconds):
                found = await self._searcher.search(payload, catalogue, deadline)
        except TimeoutError as error:
            raise OverloadedError("the request exceeded its time limit; try again in a moment") from error
        answers = await self._reporter.report(found, catalogue, payload.parameters, person)
        if payload.tensors is not None:
            return response_of(payload.tensors, self.name, answers)
        return {"predictions": answers}

    def stop(self) -> None:
        """End the threads that search."""
        super().stop()
        self._searcher.stop()
