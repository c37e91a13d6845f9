"""The API server: reads the objects of a rollout and sends patches, byte for byte those that the plan prints."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Literal, Protocol

from components.shared.errors import NotReadyError, ParameterError, ResourceError
from serving.rollout.knative import SERVICE, plan_knative
from serving.rollout.kube_configuration import connect
from serving.rollout.plan import Desired, Json, Patch, Plan
from serving.rollout.standard import ROUTE, SERVICES, plan_standard

Mode = Literal["knative", "standard"]
CHILD_OF_ONE = f"knativeservice/{SERVICE}-predictor"
CHILD_OF_ARM = {arm: f"deployment/{name}-predictor" for arm, name in SERVICES.items()}
_RESOURCES: dict[str, str] = {
    "inferenceservice": "/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{name}",
    "httproute": "/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{name}",
    "deployment": "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
    "knativeservice": "/apis/serving.knative.dev/v1/namespaces/{namespace}/services/{name}",
}
_TIMEOUT_SECONDS = 30


class ChangedMeanwhileError(NotReadyError):
    """An object has changed since the plan was made; read it again."""


class Target(Protocol):
    """Something that serves arms: a cluster, or the rehearsal's processes."""

    def plan(self, desired: Desired) -> Plan:
        """Look at what there is and say what to do."""

    def apply(self, patch: Patch) -> None:
        """Do one thing of the plan; raises ChangedMeanwhileError where it is late."""


class Cluster:
    """Kubernetes, by the kubeconfig or the pod's service account.

    Args:
        mode: how KServe is deployed.
        namespace: namespace of the objects.

    Raises:
        ParameterError: there is no configuration of a cluster.
    """

    def __init__(self, mode: Mode, namespace: str) -> None:
        self.mode, self.namespace = mode, namespace
        self._api: Any = connect()

    def objects(self) -> dict[str, Json]:
        """Return what there is: "KIND/NAME" → object, with the children that KServe has made so far.

        Raises:
            NotReadyError: an InferenceService or the HTTPRoute does not exist.
            ParameterError: one of them may not be read.
            ResourceError: the API server gives no answer.
        """
        names, children = [f"inferenceservice/{SERVICE}"], [CHILD_OF_ONE]
        if self.mode == "standard":
            names = [*(f"inferenceservice/{name}" for name in SERVICES.values()), f"httproute/{ROUTE}"]
            children = list(CHILD_OF_ARM.values())
        found = {name: self._read(name) for name in names}
        for name in children:
            with contextlib.suppress(NotReadyError):  # not made yet, or its arm is stopped
                found[name] = self._read(name)
        return found

    def plan(self, desired: Desired) -> Plan:
        """Look at the objects and plan.

        Raises:
            NotReadyError: one of them does not exist.
            ResourceError: the API server gives no answer.
        """
        return plan_for(self.mode, desired, self.objects(), self.namespace)

    def apply(self, patch: Patch) -> None:
        """Send one patch.

        Raises:
            ChangedMeanwhileError: a test in it failed, or the object changed at the same moment.
            ResourceError: the API server gives no answer, or refuses.
        """
        self._call("PATCH", patch.kind, patch.name, json.loads(patch.body), {"fieldManager": "visual-search-rollout"})

    def _read(self, name: str) -> Json:
        kind, _, bare_name = name.partition("/")
        found: Json = self._call("GET", kind, bare_name, None, {})
        return found

    def _call(self, method: str, kind: str, name: str, body: Any, query: dict[str, str]) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        path = _RESOURCES[kind].format(namespace=self.namespace, name=name)
        headers = {"Accept": "application/json", "Content-Type": "application/json-patch+json"}
        try:
            return self._api.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params=headers,
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=_TIMEOUT_SECONDS,
            )
        except ApiException as error:
            raise _translated(error, kind, name) from error
        except (HTTPError, OSError) as error:
            raise ResourceError(f"the API server gives no answer ({str(error)[:200]}); check the kubeconfig") from error


def plan_for(mode: Mode, desired: Desired, objects: dict[str, Json], namespace: str) -> Plan:
    """Plan from objects as `Cluster.objects` gives them."""
    if mode == "knative":
        return plan_knative(desired, objects[f"inferenceservice/{SERVICE}"], objects.get(CHILD_OF_ONE), namespace)
    services = {arm: objects[f"inferenceservice/{name}"] for arm, name in SERVICES.items()}
    deployments = {arm: objects.get(name) for arm, name in CHILD_OF_ARM.items()}
    return plan_standard(desired, services, deployments, objects[f"httproute/{ROUTE}"], namespace)


def _translated(error: Any, kind: str, name: str) -> Exception:
    if error.status == 404:
        return NotReadyError(f"there is no {kind} {name} in the cluster; apply the manifests first (kubectl apply -k)")
    if error.status in (409, 422):
        return ChangedMeanwhileError(
            f"{kind} {name} was changed by another process, or refuses the change: {_reason(error)}"
        )
    if error.status in (401, 403):
        return ParameterError(
            f"the cluster refuses access to {kind} {name}; bind the role of the rollout's service account"
        )
    return ResourceError(f"the API server answers {error.status} for {kind} {name}: {_reason(error)}")


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
