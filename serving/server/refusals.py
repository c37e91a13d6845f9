"""Refusals: what a server says no to. Part of the hierarchy of components/shared/errors.py, known to HTTP and gRPC only.

VisualSearchError
├── InputError
│   ├── RouteNotFoundError          no such path, or one that is closed
│   ├── MethodNotAllowedError       the path exists, the method does not
│   ├── MissingKeyError           keys are configured and none came
│   ├── BodyTooLargeError           the body is above the limit
│   ├── MediaTypeError              a body of a kind that is not read here
│   ├── UnknownThingError           an id that does not exist (or must not be known)
│   └── TooManyEventsError          a session sends more events than a person makes
└── ResourceError
    ├── OverloadedError             the queue is full, or the wait in it was too long
    ├── EncoderFailedError          the encoder answered with a fault, or something that is no answer
    └── EncoderTimeoutError         the encoder did not answer in time

The HTTP and gRPC codes are in problems.py.
"""

from __future__ import annotations

from components.shared.errors import InputError, ResourceError


class RouteNotFoundError(InputError):
    """No route of the allow-list has this path."""


class MethodNotAllowedError(InputError):
    """The path exists, but not with this method.

    Attributes:
        allowed: allowed HTTP methods.
    """

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class MissingKeyError(InputError):
    """API keys are configured and the request carries none of them."""


class BodyTooLargeError(InputError):
    """A body is larger than the limit, by its declaration or by what came."""


class MediaTypeError(InputError):
    """A body of a kind that is not read here."""


class UnknownThingError(InputError):
    """An id that does not exist, or that must look as if it did not."""


class TooManyEventsError(InputError):
    """A session sends more events than a person makes."""


class OverloadedError(ResourceError):
    """There is more work than the server can do; come back later.

    Attributes:
        retry_after_seconds: pause before a retry, a whole number ≥ 1; random, so that clients do not retry together.
    """

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EncoderFailedError(ResourceError):
    """The encoder answered with a fault, or with something that is no answer."""


class EncoderTimeoutError(ResourceError):
    """The encoder did not answer in time."""
