"""The two kinds of Kubeflow Pipelines installations, and the namespace in which each starts the tasks of a run.

A multi-user installation starts tasks in the namespace that the run names and refuses a run without one. A single-user
installation starts them in its own namespace and silently ignores the namespace of a run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from components.shared.errors import ParameterError

_PROXY = re.compile(r"/namespaces/([^/]+)/services/")
_ADDRESS = re.compile(r"[0-9.]+")


@dataclass(frozen=True)
class Installation:
    """A Kubeflow Pipelines server, as its health page describes it.

    Attributes:
        multi_user: whether runs have namespaces.
        reads_resources: whether its pipelines are Kubernetes resources (None: a server before 2.17 does not tell).
        namespace: namespace to send with each request; "" in a single-user installation.
        tasks_namespace: namespace that tasks run in; "" if the address does not show a single-user installation's own one.
    """

    address: str
    multi_user: bool
    reads_resources: bool | None
    namespace: str
    tasks_namespace: str

    @property
    def kind(self) -> str:
        """The kind, as displayed."""
        users = "multi-user" if self.multi_user else "single-user"
        stores = {True: ", pipelines as Kubernetes resources", False: ", pipelines in its database", None: ""}
        return users + stores[self.reads_resources]

    @property
    def tasks_place(self) -> str:
        """The place where tasks run, as displayed."""
        return f"the namespace {self.tasks_namespace}" if self.tasks_namespace else "the server's own namespace"


def describe_installation(
    address: str, *, multi_user: bool, pipeline_store: str | None, wanted: str, account: str = ""
) -> Installation:
    """Decide in which namespace the tasks of a run start.

    Args:
        address: the server's API.
        multi_user: from the server's health page.
        pipeline_store: "kubernetes" or "database", from the same page.
        wanted: namespace that the caller asks for, or "".
        account: namespace of this pod or of kfp's own configuration, for a multi-user installation if none is asked for.

    Raises:
        ParameterError: a multi-user installation gets no namespace, or a single-user one would ignore it.
    """
    reads_resources = None if pipeline_store is None else pipeline_store == "kubernetes"
    if multi_user:
        namespace = wanted or account
        if not namespace:
            raise ParameterError(
                f"the Kubeflow Pipelines at {address} is a multi-user installation, where each run needs a namespace; give "
                "--namespace or VISUAL_SEARCH_KFP_NAMESPACE, the one with the volume and the Secret of the tasks"
            )
        return Installation(address, True, reads_resources, namespace, namespace)
    own = own_namespace(address)
    if wanted and wanted != own:
        raise ParameterError(
            f"the Kubeflow Pipelines at {address} is a single-user installation, which starts every task in its own namespace"
            f"{f' {own}' if own else ''}, so the namespace {wanted!r} would have no effect; leave out --namespace and "
            "VISUAL_SEARCH_KFP_NAMESPACE, and create the volume and the Secret of the tasks in the server's namespace"
        )
    return Installation(address, False, reads_resources, "", own)


def own_namespace(address: str) -> str:
    """Return the namespace of a server that is addressed as a Kubernetes Service, or "".

    Example:
        >>> own_namespace("http://ml-pipeline.kubeflow:8888")
        'kubeflow'
        >>> own_namespace("https://pipelines.example.com")
        ''
    """
    parts = urlsplit(address)
    if found := _PROXY.search(parts.path):
        return found[1]
    labels = (parts.hostname or "").split(".")
    if _ADDRESS.fullmatch(parts.hostname or "") or len(labels) < 2 or (len(labels) > 2 and labels[2] != "svc"):
        return ""
    return labels[1]
