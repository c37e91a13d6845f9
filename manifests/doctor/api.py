"""Reads a cluster by GET alone, and distinguishes "does not exist", "not permitted" and "no answer"."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from components.shared.errors import ResourceError
from manifests.checks.findings import Json
from serving.rollout.kube_configuration import connect

_TIMEOUT_SECONDS = 30


class NotReadableError(Exception):
    """The API server cannot answer: the user may not read the object, or the part that serves it is down."""

    def __init__(self, path: str, status: int) -> None:
        super().__init__(f"the API server answers {status} for {path}")
        self.path, self.status = path, status

    @property
    def reason(self) -> str:
        """The reason, as half a sentence."""
        if self.status in (401, 403):
            return f"your account may not read {self.path}"
        return f"{self.path} answers {self.status}"


class ClusterReader:
    """A cluster, as the user's kube configuration reaches it.

    Raises:
        ParameterError: there is no kube configuration.
    """

    def __init__(self) -> None:
        self._api = connect()
        self._kinds: dict[str, set[str] | None] = {}

    @property
    def address(self) -> str:
        """Address of the API server."""
        return str(self._api.configuration.host)

    def read(self, path: str) -> Json | None:
        """Return an object or a list; None if it does not exist.

        Raises:
            NotReadableError: the API server answers with an error other than "not found".
            ResourceError: the API server cannot be reached.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            found: Json = self._api.call_api(
                path,
                "GET",
                header_params={"Accept": "application/json"},
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=_TIMEOUT_SECONDS,
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise NotReadableError(path, int(error.status or 0)) from error
        except (HTTPError, OSError) as error:
            raise ResourceError(
                f"the API server at {self.address} gives no answer ({str(error)[:200]}); check the kube configuration"
            ) from error
        return found

    def items(self, path: str, *, label: str = "") -> list[Json]:
        """Return the objects of a list that have a label; empty if the cluster does not serve this list."""
        query = f"?labelSelector={quote(label, safe='')}" if label else ""
        found: list[Json] = (self.read(path + query) or {}).get("items") or []
        return found

    def kinds(self, group_version: str) -> set[str] | None:
        """Return the kinds that a group and version serve; None if the cluster does not serve it."""
        if group_version not in self._kinds:
            path = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
            found = self.read(path)
            self._kinds[group_version] = (
                None if found is None else {str(each["kind"]) for each in found.get("resources") or []}
            )
        return self._kinds[group_version]

    def definition(self, name: str) -> Json | None:
        """Return a CustomResourceDefinition, for example httproutes.gateway.networking.k8s.io."""
        return self.read(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")


def text_of(value: Any, *path: str) -> str:
    """Return the text at a path of nested maps, or ""."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return str(value) if value is not None else ""
