"""Logs: one JSON object a line on stderr; no personal data, no bytes of pictures, no second copy by kserve or uvicorn."""

from __future__ import annotations

import logging
import sys
import time

import orjson

from serving.server.request import CURRENT_REQUEST, CurrentRequest

_MAX_TEXT = 4000  # of a message; an exception of a library may quote a whole body
_LOUD = ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; the request at hand adds its id, route and, in access lines, its outcome."""
        line: dict[str, object] = {
            "at": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_MAX_TEXT],
        }
        answered = getattr(record, "request", None)
        request = answered if isinstance(answered, CurrentRequest) else CURRENT_REQUEST.get()
        if request is not None:
            line["request_id"], line["route"] = request.request_id, request.route
            line["release_id"], line["arm"] = request.release_id, request.arm
        if isinstance(answered, CurrentRequest):
            line["status"], line["code"] = answered.status or 499, answered.refusal
            line["milliseconds"] = round(1000 * (time.monotonic() - answered.started), 2)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[-_MAX_TEXT:]
        return str(orjson.dumps({name: value for name, value in line.items() if value is not None}), "utf-8")


def configure_logs(level: int = logging.INFO) -> None:
    """Send all logs of the process to stderr as JSON lines; kserve, uvicorn and httpx speak from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _LOUD:
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    # What these have to say of one request is a client's doing, and said by the access line.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("kserve").setLevel(logging.ERROR)
