"""Errors of answering queries, beside those of `components.shared.errors`; their HTTP codes stand in one table of the shell.

VisualSearchError
├── InputError
│   ├── RequestError              the request is malformed: unknown parameter, value out of range, not an image body
│   └── UnsupportedMediaError     the body is of a type that is not taken
├── OverloadedError               more work is waiting than may wait; later it will do
└── EncoderError                  the encoder gave no embedding
    ├── EncoderUnavailableError   it cannot be reached, or failed so often that it is given a rest
    ├── EncoderTimeoutError       it did not answer in time
    └── EncoderFailedError        it answered with an error, or with something that is no answer
"""

from __future__ import annotations

from components.shared.errors import InputError, VisualSearchError


class RequestError(InputError):
    """The request is malformed; the message says what was expected and is safe to show."""


class UnsupportedMediaError(InputError):
    """The body is of a media type that is not taken."""


class OverloadedError(VisualSearchError):
    """More work is waiting than may wait.

    Attributes:
        retry_after_seconds: when to try again.
    """

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EncoderError(VisualSearchError):
    """The encoder gave no embedding."""


class EncoderUnavailableError(EncoderError):
    """The encoder cannot be reached, or failed so often that it is given a rest.

    Attributes:
        retry_after_seconds: when to try again.
    """

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EncoderTimeoutError(EncoderError):
    """The encoder did not answer in time."""


class EncoderFailedError(EncoderError):
    """The encoder answered with an error, or with something that is no answer."""
