"""Errors between this machine and a Kubeflow Pipelines server, each as one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from kfp_server_api import ApiException

from components.shared.errors import InputError, NotReadyError, VisualSearchError

_INTERNAL = 13  # gRPC; the server hides the cause of such an error in the outer message
_TRANSIENT = {429, 500, 502, 503, 504}
_LONGEST = 600
_ADVICE = {
    401: "; set KF_PIPELINES_TOKEN to a valid token, or run this in a pod that mounts one",
    403: "; bind the ClusterRole kubeflow-pipelines-edit to this account in the namespace of the run",
}


class ServerRefusedError(InputError):
    """The server answered and refused.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def one_sentence(address: str, *, advice: str = "try again") -> Iterator[None]:
    """Turn the exceptions of the kfp client into errors of ours.

    Args:
        address: the server, for the message.
        advice: remedy if no server answers.

    Raises:
        ServerRefusedError: the server refused.
        NotReadyError: no server answers, or the server cannot answer now.
    """
    try:
        yield
    except ApiException as error:
        raise _error(error, address, advice) from error
    except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise _unreachable(address, type(error).__name__, advice) from error


def message_of(error: ApiException) -> str:
    """Return what the server says in an error's body: its sentence for users where there is one, else its chain of causes."""
    try:
        body = json.loads(error.body or "")
        details = [detail for detail in body.get("details") or [] if detail.get("message")]
        chosen = body.get("message") or body.get("error")
        if details and details[0].get("code") != _INTERNAL:
            chosen = details[0]["message"]
    except (ValueError, AttributeError, TypeError):
        chosen = None  # a proxy's page
    text = " ".join(str(chosen or error.reason or "no reason given").split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _error(error: ApiException, address: str, advice: str) -> VisualSearchError:
    status = error.status or 0
    if status == 0:  # TLS failed before there was an answer
        return _unreachable(address, message_of(error), advice)
    message = message_of(error).rstrip(".")
    if status in _TRANSIENT:
        return NotReadyError(f"the Kubeflow Pipelines server at {address} failed: {message} (HTTP {status}); try again")
    return ServerRefusedError(
        f"the Kubeflow Pipelines server at {address} refused: {message} (HTTP {status}){_ADVICE.get(status, '')}",
        status=status,
    )


def _unreachable(address: str, reason: str, advice: str) -> NotReadyError:
    return NotReadyError(f"no Kubeflow Pipelines server answers at {address} ({reason}); {advice}")
