"""From kfp.local's log to what a person wants to read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"Executing task '([^']+)'")
_ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")
_NOISE = re.compile(r"faiss\.swigfaiss|INFO mlflow\.store\.db\.utils|INFO alembic")  # libraries on their own start
_OWN_ERROR = re.compile(r"^components\.shared\.errors\.(\w+): (.*)$")
_ANY_ERROR = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt)): (.*)$")


class Console:
    """Reads the log line by line and says what is worth showing; remembers the error of a task that failed.

    Attributes:
        failed: the first task that failed; tasks that do not need it still run.
        error: its error in one sentence; both are empty as long as nothing failed.
    """

    def __init__(self) -> None:
        self.failed = ""
        self.error = ""
        self._task, self._sentence, self._started = "", "", 0.0
        self._in_task = self._in_dump = self._in_traceback = False
        self._traceback: list[str] = []

    def read(self, raw: str) -> Iterator[str]:
        """Take one line of the log, give the lines to show."""
        line = _COLOUR.sub("", raw.rstrip("\n"))
        if started := _STARTED.search(line):
            self._task, self._sentence, self._started = started[1], "", time.monotonic()
            self._in_task, self._in_dump, self._in_traceback, self._traceback = True, False, False, []
            yield f"▶ {self._task}"
        elif (ended := _ENDED.search(line)) and ended[1] == self._task:
            self._in_task = False
            seconds = time.monotonic() - self._started
            if ended[2] == "SUCCESS":
                yield f"✔ {self._task} ({seconds:.1f} s)"
            else:
                yield from self._failure(seconds)
        elif self._in_task and line.startswith("    "):
            yield from self._task_line(line[4:])

    def _task_line(self, line: str) -> Iterator[str]:
        if self._in_dump:  # the executor's input, printed in full by every task
            self._in_dump = line != "}"
        elif "[KFP Executor" in line:
            self._in_dump = line.endswith("Got executor_input:")
        elif line.startswith("Traceback (most recent call last)"):
            self._in_traceback, self._traceback = True, [line]
        elif self._in_traceback:
            self._traceback.append(line)
            self._in_traceback = line.startswith(" ") or not line or not _ANY_ERROR.match(line)
            if not self._in_traceback and (own := _OWN_ERROR.match(line)):
                self._sentence = own[2]
        elif line.strip() and not _NOISE.search(line):
            yield f"  {line}"

    def _failure(self, seconds: float) -> Iterator[str]:
        if not self._sentence:  # not an error of ours: show where it comes from
            yield from (f"  {line}" for line in self._traceback if line.strip())
            last = next((line for line in reversed(self._traceback) if line.strip()), "")
            self._sentence = last or (
                f"the process of {self._task} ended without an error message, most likely because it ran out of memory; "
                "run the same command again to resume"
            )
        if not self.failed:
            self.failed, self.error = self._task, self._sentence
        yield f"✘ {self._task} ({seconds:.1f} s)"
