"""Whether the encoder serves the space of the catalogue, for readiness: asked beside the queries, so that none waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.transformer.encoding.encoder_client import EncoderClient

_log = logging.getLogger(__name__)
_READY_SECONDS = 5.0  # between looks while all is well and no query tells
_UNREADY_SECONDS = 0.5
_PATIENCE = 3  # looks in vain before a ready encoder counts as unready


@dataclass(frozen=True)
class Needed:
    """Requirements for the encoder: the space of the catalogue, and the side of its input in pixels."""

    space_id: str
    side: int


class EncoderWatch:
    """Probes the encoder at intervals; answered queries count as probes.

    Args:
        encoder: the client.
        needed: returns what is needed now; None: nothing is loaded yet.
        report: called when the answer changes.
    """

    def __init__(
        self,
        encoder: EncoderClient,
        needed: Callable[[], Needed | None],
        report: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._encoder, self._needed, self._report = encoder, needed, report
        self._serving: str | None = None
        self._in_vain = 0

    def is_ready(self) -> bool:
        """Whether the encoder served the space that is needed when it was last probed."""
        needed = self._needed()
        return self._serving is not None and needed is not None and self._serving == needed.space_id

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self._look()
            except Exception:  # readiness must not freeze at what it was
                _log.exception("the encoder could not be checked")
                self._serving = None
            await asyncio.sleep(_READY_SECONDS if self.is_ready() and not self._in_vain else _UNREADY_SECONDS)

    async def _look(self) -> None:
        needed, before = self._needed(), self.is_ready()
        latest = self._encoder.last_success
        if needed is None:
            return
        if needed.space_id == self._serving and latest is not None and time.monotonic() - latest < _READY_SECONDS:
            self._in_vain = 0
            return
        if await asyncio.to_thread(self._encoder.serves, needed.space_id, needed.side):
            self._serving, self._in_vain = needed.space_id, 0
        else:
            self._in_vain += 1
            if self._in_vain >= _PATIENCE:
                self._serving = None
        if self.is_ready() != before:
            _log.info("the encoder is %s", "ready" if self.is_ready() else "not ready")
            self._report(self.is_ready())
