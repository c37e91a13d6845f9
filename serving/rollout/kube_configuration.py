"""The way to a cluster: the kube configuration of a person, or the service account of a pod."""

from __future__ import annotations

import os
from typing import Any

from components.shared.errors import ParameterError


def connect() -> Any:
    """Return an API client of the cluster that KUBECONFIG, ~/.kube/config or the pod's service account names.

    Raises:
        ParameterError: there is no configuration of a cluster.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = 1
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:  # the library itself reads KUBECONFIG only once, when it is imported
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
    except config.ConfigException as error:
        raise ParameterError(
            f"no cluster is configured ({error}); set KUBECONFIG, or run this where there is a service account"
        ) from error
    return client.ApiClient(configuration)
