"""A cluster with all that the overlays need, as its API describes it; tests take one thing away."""

from __future__ import annotations

from typing import Any

from support.servers.platform_server import PlatformServer

Json = dict[str, Any]
CONTROLLER = "/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KNATIVE_CRD = f"{DEFINITIONS}/services.serving.knative.dev"
ROUTE_CRD = f"{DEFINITIONS}/httproutes.gateway.networking.k8s.io"
STORAGE_CONTAINER = "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/default"
FEATURES = "/api/v1/namespaces/knative-serving/configmaps/config-features"
GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways/kserve-ingress-gateway"
STORAGE_CLASS = "/apis/storage.k8s.io/v1/storageclasses/shares"
PLUGIN = "/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node"
NAMESPACE = "/api/v1/namespaces/visual-search"
NODE = "/api/v1/nodes/gpu-1"
_KEYS = {
    "visual-search-credentials": ["MLFLOW_BACKEND_STORE_URI"],
    "visual-search-postgresql": ["password"],
    "visual-search-object-store": ["s3.json"],
}


def secret(name: str) -> str:
    """Return the path of a Secret."""
    return f"{NAMESPACE}/secrets/{name}"


def named(name: str, **fields: Any) -> Json:
    """Return an object with a name."""
    metadata = {"name": name, **fields.pop("metadata", {})}
    return {"metadata": metadata, **fields}


def deployment(image: str, *, container: str = "manager", **metadata: Any) -> Json:
    """Return a Deployment or DaemonSet of one container."""
    spec = {"template": {"spec": {"containers": [{"name": container, "image": image}]}}}
    return named("kserve-controller-manager", metadata=metadata, spec=spec)


def make_platform() -> PlatformServer:
    """Return a server of a cluster in which every overlay can be applied."""
    kinds = {
        "serving.kserve.io/v1beta1": ["InferenceService"],
        "serving.kserve.io/v1alpha1": ["ServingRuntime", "ClusterStorageContainer", "ClusterServingRuntime"],
        "serving.knative.dev/v1": ["Service", "Revision", "Route", "Configuration"],
        "gateway.networking.k8s.io/v1": ["HTTPRoute", "Gateway", "GatewayClass"],
        "monitoring.coreos.com/v1": ["ServiceMonitor", "PodMonitor", "PrometheusRule"],
        "pipelines.kubeflow.org/v2beta1": ["Pipeline", "PipelineVersion"],
        "metrics.k8s.io/v1beta1": ["NodeMetrics", "PodMetrics"],
    }
    labels = {"control-plane": "kserve-controller-manager"}
    objects = {
        CONTROLLER: deployment("docker.io/kserve/kserve-controller:v0.20.0@sha256:" + "a" * 64, labels=labels),
        KNATIVE_CRD: named("services.serving.knative.dev", metadata={"labels": {"app.kubernetes.io/version": "1.18.1"}}),
        ROUTE_CRD: named(
            "httproutes.gateway.networking.k8s.io",
            metadata={"annotations": {"gateway.networking.k8s.io/bundle-version": "v1.4.0"}},
        ),
        STORAGE_CONTAINER: named("default", spec={"container": {"securityContext": {"runAsNonRoot": True}}}),
        FEATURES: named(
            "config-features",
            data={
                "kubernetes.podspec-topologyspreadconstraints": "enabled",
                "tag-header-based-routing": "Enabled",
            },
        ),
        GATEWAY: named(
            "kserve-ingress-gateway", status={"conditions": [{"type": "Programmed", "status": "True"}]}
        ),
        STORAGE_CLASS: named(
            "shares",
            metadata={"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            provisioner="efs.csi.aws.com",
        ),
        PLUGIN: named("calico-node"),
        NAMESPACE: named("visual-search"),
        NODE: named("gpu-1", status={"allocatable": {"cpu": "8", "nvidia.com/gpu": "2"}}),
        **{secret(name): named(name, data=dict.fromkeys(keys, "eA==")) for name, keys in _KEYS.items()},
    }  # fmt: skip
    return PlatformServer("v1.36.2", kinds, objects)
