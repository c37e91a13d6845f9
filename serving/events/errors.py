"""Errors of the events.

VisualSearchError
├── InputError
│   └── TokenError                an impression token is not one of ours, or no longer valid
└── NotReadyError
    └── StoreUnavailableError     the events could not be made durable now; the same ones may be sent again
"""

from __future__ import annotations

from components.shared.errors import InputError, NotReadyError


class TokenError(InputError):
    """An impression token cannot be accepted.

    Attributes:
        reason: "too_long", "malformed", "forged" or "expired".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoreUnavailableError(NotReadyError):
    """Nothing was acknowledged: the store is full, locked, read-only or away, or too much is waiting.

    Attributes:
        retry_after_seconds: pause before the same events are sent again, which is always safe.
    """

    def __init__(self, message: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
