"""Knows whether the encoder serves the space of the catalogue: for readiness, which must cost no query its time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from serving.transformer.encoding.encoder_client import EncoderClient

_log = logging.getLogger(__name__)
_READY_SECONDS = 5.0  # between looks while all is well and no query tells
_UNREADY_SECONDS = 0.5
_PATIENCE = 3  # looks in vain before a ready encoder counts as unready


class EncoderWatch:
    """Looks at the encoder again and again; answered queries count as looks.

    Args:
        encoder: to look at.
        space_id: the space that is needed now; None: nothing is loaded yet.
        report: is told when the answer changes.
    """

    def __init__(
        self,
        encoder: EncoderClient,
        space_id: Callable[[], str | None],
        report: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._encoder, self._space_id, self._report = encoder, space_id, report
        self._serving: str | None = None
        self._in_vain = 0

    def is_ready(self) -> bool:
        """Whether the encoder served the space that is needed when it was last looked at."""
        return self._serving is not None and self._serving == self._space_id()

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
        space_id, before = self._space_id(), self.is_ready()
        latest = self._encoder.last_success
        if space_id is None:
            return
        if space_id == self._serving and latest is not None and time.monotonic() - latest < _READY_SECONDS:
            self._in_vain = 0
            return
        if await asyncio.to_thread(self._encoder.serves, space_id):
            self._serving, self._in_vain = space_id, 0
        else:
            self._in_vain += 1
            if self._in_vain >= _PATIENCE:
                self._serving = None
        if self.is_ready() != before:
            _log.info("the encoder is %s", "ready" if self.is_ready() else "not ready")
            self._report(self.is_ready())
