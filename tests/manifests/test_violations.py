# ruff: noqa: E501 (a table: one violation a line)
"""Faults sown one by one into rendered overlays: each is found, and the sentence names the object and the field."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from support.inputs.rendered_overlays import documents, faults, installed, one

Json = dict[str, Any]


def arm(found: list[Json]) -> Json:
    return one(found, "InferenceService")["spec"]["predictor"]


def transformer(found: list[Json]) -> Json:
    return one(found, "ServingRuntime")["spec"]["containers"][1]


def encoder(found: list[Json]) -> Json:
    return one(found, "ServingRuntime")["spec"]["containers"][0]


def container(found: list[Json], kind: str, name: str) -> Json:
    return pod(found, kind, name)["containers"][0]


def pod(found: list[Json], kind: str, name: str) -> Json:
    spec = one(found, kind, name)["spec"]
    return (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]["spec"]


def rule(found: list[Json], number: int = 0) -> Json:
    return one(found, "HTTPRoute")["spec"]["rules"][number]


def annotate(found: list[Json], name: str, value: str) -> None:
    one(found, "InferenceService")["metadata"].setdefault("annotations", {})[name] = value


def variable(holder: Json, name: str, value: str) -> None:
    others = [entry for entry in holder.get("env", []) if entry["name"] != name]
    holder["env"] = [*others, {"name": name, "value": value}]


def unset(holder: Json, name: str) -> None:
    holder["env"] = [entry for entry in holder["env"] if entry["name"] != name]


def argument(holder: Json, old: str, new: str) -> None:
    holder["args"] = [word.replace(old, new) for word in holder["args"]]


def drop(found: list[Json], kind: str, name: str | None = None) -> None:
    found.remove(one(found, kind, name))


KNATIVE, STANDARD, CANARY, GPU = "knative", "standard", "knative-canary", "standard-gpu"
STAGING, PRODUCTION, CLUSTER = "staging", "production", "cluster"
PIPELINES = "kubeflow-multi-user"
Sow = Callable[[list[Json]], Any]
# fmt: off
VIOLATIONS: list[tuple[str, Sow, str, str]] = [
    (PIPELINES, lambda d: one(d, "RoleBinding")["roleRef"].update(name="kubeflow-edit"), "RoleBinding", "roleRef.name"),
    (PIPELINES, lambda d: one(d, "RoleBinding")["roleRef"].update(kind="Role"), "RoleBinding", "roleRef.name"),
    (PRODUCTION, lambda d: unset(container(d, "CronJob", "reindex"), "VISUAL_SEARCH_KFP_NAMESPACE"), "CronJob/reindex", "env"),
    # strict schemas
    (KNATIVE, lambda d: arm(d).update(minReplica=2), "InferenceService/visual-search", "spec.predictor.minReplica"),
    (KNATIVE, lambda d: arm(d).update(minReplicas="2"), "InferenceService/visual-search", "spec.predictor.minReplicas"),
    (KNATIVE, lambda d: arm(d)["model"].pop("modelFormat"), "InferenceService/visual-search", "spec.predictor.model.modelFormat"),
    (KNATIVE, lambda d: transformer(d).update(imagePullPolice="Always"), "ServingRuntime", "containers[1].imagePullPolice"),
    (KNATIVE, lambda d: transformer(d).pop("name"), "ServingRuntime", "containers[1].name"),
    (KNATIVE, lambda d: encoder(d)["securityContext"].update(runAsUser="1000"), "ServingRuntime", "securityContext.runAsUser"),
    (STANDARD, lambda d: rule(d)["matches"][0]["path"].update(type="Prefix"), "HTTPRoute", "matches[0].path.type"),
    (STANDARD, lambda d: rule(d)["backendRefs"][0].update(weight=-1), "HTTPRoute", "backendRefs[0].weight"),
    (STANDARD, lambda d: one(d, "HTTPRoute").update(apiVersion="gateway.networking.k8s.io/v1alpha2"), "HTTPRoute", "apiVersion"),
    (STANDARD, lambda d: one(d, "PodDisruptionBudget")["spec"].update(minAvailible=1), "PodDisruptionBudget", "minAvailible"),
    (STAGING, lambda d: one(d, "Deployment", "mlflow")["spec"].pop("selector"), "Deployment/mlflow", "spec.selector"),
    (STAGING, lambda d: one(d, "CronJob")["spec"].update(schedule=5), "CronJob", "spec.schedule"),
    (STAGING, lambda d: one(d, "Service", "mlflow")["metadata"].update(labels={"a": True}), "Service/mlflow", "metadata.labels.a"),
    (PIPELINES, lambda d: one(d, "PipelineVersion")["spec"].pop("pipelineName"), "PipelineVersion", "spec.pipelineName"),
    (PRODUCTION, lambda d: one(d, "PodMonitor")["spec"].update(podMetricEndpoints=[]), "PodMonitor", "podMetricEndpoints"),
    # KServe
    (KNATIVE, lambda d: one(d, "InferenceService")["metadata"].update(name="Visual_search"), "Visual_search", "metadata.name"),
    (KNATIVE, lambda d: variable(transformer(d), "PYTHONPATH", "/app"), "ServingRuntime", "containers[1].env"),
    (KNATIVE, lambda d: variable(encoder(d), "PYTHONPATH", "/app"), "ServingRuntime", "containers[0].env"),
    (KNATIVE, lambda d: variable(transformer(d), "STORAGE_URI", "s3://a/r-0123456789abcdef"), "ServingRuntime", "[1].env"),
    (KNATIVE, lambda d: arm(d)["model"].update(runtime="kserve-tritonserver"), "InferenceService", "model.runtime"),
    (KNATIVE, lambda d: arm(d)["model"].pop("runtime"), "InferenceService", "model.runtime"),
    (KNATIVE, lambda d: arm(d)["model"]["modelFormat"].update(name="onnx"), "InferenceService", "modelFormat.name"),
    (KNATIVE, lambda d: arm(d).update(minReplicas=20), "InferenceService", "spec.predictor.minReplicas"),
    (KNATIVE, lambda d: arm(d).update(scaleMetric="cpu"), "InferenceService", "spec.predictor.scaleMetric"),
    (STANDARD, lambda d: arm(d).update(scaleMetric="concurrency"), "InferenceService", "spec.predictor.scaleMetric"),
    (STANDARD, lambda d: arm(d).update(scaleTarget=170), "InferenceService", "spec.predictor.scaleTarget"),
    (STANDARD, lambda d: arm(d).update(canaryTrafficPercent=10), "InferenceService", "canaryTrafficPercent"),
    (CANARY, lambda d: arm(d).update(canaryTrafficPercent=101), "InferenceService", "canaryTrafficPercent"),
    (STANDARD, lambda d: annotate(d, "serving.kserve.io/autoscalerClass", "vpa"), "InferenceService", "autoscalerClass"),
    (STANDARD, lambda d: annotate(d, "serving.kserve.io/deploymentMode", "Modelmesh"), "InferenceService", "deploymentMode"),
    (KNATIVE, lambda d: arm(d).update(containerConcurrency=-1), "InferenceService", "containerConcurrency"),
    (KNATIVE, lambda d: one(d, "InferenceService")["spec"].update(transformer={"containers": [transformer(d)]}), "InferenceService", "spec.transformer"),
    (KNATIVE, lambda d: arm(d)["containers"].append(dict(encoder(d), name="kserve-container")), "InferenceService", "spec.predictor"),
    (KNATIVE, lambda d: arm(d)["model"].update(storageUri="mlflow://models/r-0123456789abcdef"), "InferenceService", "storageUri"),
    # Knative
    (KNATIVE, lambda d: arm(d).update(terminationGracePeriodSeconds=60), "InferenceService", "terminationGracePeriodSeconds"),
    (KNATIVE, lambda d: transformer(d).update(lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}}), "ServingRuntime", "lifecycle"),
    (KNATIVE, lambda d: encoder(d).update(ports=[{"containerPort": 8081}]), "InferenceService", "spec.predictor.containers"),
    (KNATIVE, lambda d: encoder(d).update(livenessProbe={"tcpSocket": {"port": 8081}}), "ServingRuntime", "livenessProbe"),
    (KNATIVE, lambda d: arm(d).update(nodeSelector={"disk": "fast"}), "InferenceService", "nodeSelector"),
    (KNATIVE, lambda d: transformer(d)["env"].append({"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}), "ServingRuntime", "env"),
    (KNATIVE, lambda d: variable(transformer(d), "K_REVISION", "one"), "ServingRuntime", "env"),
    (KNATIVE, lambda d: transformer(d)["ports"][0].update(containerPort=8012), "ServingRuntime", "ports"),
    (KNATIVE, lambda d: transformer(d)["ports"][0].update(name="web"), "ServingRuntime", "ports"),
    # Gateway API
    (STANDARD, lambda d: rule(d)["matches"][0]["path"].update(value="v1"), "HTTPRoute", "matches[0].path.value"),
    (STANDARD, lambda d: rule(d)["matches"][0]["headers"].append({"name": "x-visual-search-ARM", "value": "b"}), "HTTPRoute", "matches[0].headers"),
    (STANDARD, lambda d: rule(d)["backendRefs"][0].update(name="visual-search-champion"), "HTTPRoute", "backendRefs[0].name"),
    (STANDARD, lambda d: rule(d)["backendRefs"][0].update(port=8080), "HTTPRoute", "backendRefs[0].port"),
    (STANDARD, lambda d: rule(d)["backendRefs"][0].update(weight=0), "HTTPRoute", "rules[0].backendRefs"),
    (STANDARD, lambda d: one(d, "HTTPRoute")["spec"].update(hostnames=["https://shop"]), "HTTPRoute", "hostnames[0]"),
    (STANDARD, lambda d: rule(d)["timeouts"].update(request="30 seconds"), "HTTPRoute", "timeouts.request"),
    # the restricted profile, in every container of every kind
    (KNATIVE, lambda d: encoder(d)["securityContext"].pop("runAsNonRoot"), "ServingRuntime", "securityContext.runAsNonRoot"),
    (KNATIVE, lambda d: transformer(d)["securityContext"].update(runAsUser=0), "ServingRuntime", "securityContext.runAsUser"),
    (KNATIVE, lambda d: transformer(d)["securityContext"].pop("allowPrivilegeEscalation"), "ServingRuntime", "allowPrivilegeEscalation"),
    (KNATIVE, lambda d: transformer(d)["securityContext"]["capabilities"].update(add=["NET_RAW"]), "ServingRuntime", "capabilities"),
    (KNATIVE, lambda d: transformer(d)["securityContext"].pop("seccompProfile"), "ServingRuntime", "seccompProfile.type"),
    (KNATIVE, lambda d: transformer(d)["securityContext"].update(readOnlyRootFilesystem=False), "ServingRuntime", "readOnlyRootFilesystem"),
    (STANDARD, lambda d: arm(d).update(initContainers=[{"name": "warm", "image": "a@sha256:" + "a" * 64, "volumeMounts": [{"name": "transformer-scratch", "mountPath": "/tmp"}]}]), "InferenceService", "initContainers[0].securityContext"),
    (STAGING, lambda d: pod(d, "Deployment", "mlflow").update(hostNetwork=True), "Deployment/mlflow", "hostNetwork"),
    (STAGING, lambda d: pod(d, "StatefulSet", "postgresql")["volumes"].append({"name": "root", "hostPath": {"path": "/"}}), "StatefulSet/postgresql", "volumes[root]"),
    (STAGING, lambda d: container(d, "CronJob", "reindex")["securityContext"].update(privileged=True), "CronJob/reindex", "privileged"),
    (STAGING, lambda d: pod(d, "CronJob", "monitoring")["securityContext"].pop("seccompProfile"), "CronJob/monitoring", "seccompProfile"),
    (CLUSTER, lambda d: one(d, "ClusterStorageContainer")["spec"]["container"].pop("securityContext"), "ClusterStorageContainer/default", "runAsNonRoot"),
    (KNATIVE, lambda d: one(d, "Namespace")["metadata"]["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}), "Namespace", "enforce"),
    (PIPELINES, lambda d: [e.pop("securityContext") for e in one(d, "PipelineVersion")["spec"]["platformSpec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()], "PipelineVersion", "runAsNonRoot"),
    # rights
    (KNATIVE, lambda d: arm(d).pop("enableServiceLinks"), "InferenceService", "spec.predictor.enableServiceLinks"),
    (STANDARD, lambda d: arm(d).update(enableServiceLinks=True), "InferenceService/visual-search-challenger", "enableServiceLinks"),
    (STAGING, lambda d: pod(d, "Deployment", "rollout").pop("enableServiceLinks"), "Deployment/rollout", "template.spec.enableServiceLinks"),
    (STAGING, lambda d: pod(d, "StatefulSet", "object-store").pop("enableServiceLinks"), "StatefulSet/object-store", "enableServiceLinks"),
    (PRODUCTION, lambda d: pod(d, "CronJob", "monitoring").pop("enableServiceLinks"), "CronJob/monitoring", "template.spec.enableServiceLinks"),
    (KNATIVE, lambda d: arm(d).pop("automountServiceAccountToken"), "InferenceService", "automountServiceAccountToken"),
    (KNATIVE, lambda d: one(d, "ServiceAccount").update(automountServiceAccountToken=True), "ServiceAccount", "automountServiceAccountToken"),
    (STAGING, lambda d: one(d, "Role")["rules"][0].update(verbs=["*"]), "Role", "rules[0]"),
    (STAGING, lambda d: one(d, "Role")["rules"][0].update(resources=["secrets"]), "Role", "rules[0].resources"),
    (STAGING, lambda d: one(d, "Role")["rules"][0].pop("resourceNames"), "Role", "resourceNames"),
    (STAGING, lambda d: one(d, "Role").update(kind="ClusterRole"), "ClusterRole", "kind"),
    # images
    (KNATIVE, lambda d: transformer(d).update(image="visual-search-transformer:latest"), "ServingRuntime", "containers[1].image"),
    (KNATIVE, lambda d: encoder(d).update(image="visual-search-encoder:0.1.0"), "ServingRuntime", "containers[0].image"),
    (STAGING, lambda d: container(d, "StatefulSet", "postgresql").update(image="postgres:latest@sha256:" + "a" * 64), "StatefulSet/postgresql", "image"),
    (PIPELINES, lambda d: one(d, "PipelineVersion")["spec"]["pipelineSpec"]["deploymentSpec"]["executors"]["exec-catalogue"]["container"].update(image="python:3.11"), "PipelineVersion", "exec-catalogue.container.image"),
    (PIPELINES, lambda d: one(d, "PipelineVersion")["spec"]["pipelineSpec"]["deploymentSpec"]["executors"]["exec-catalogue"]["container"].update(image="registry.example.com/other@sha256:" + "a" * 64), "PipelineVersion", "executors"),
    (PRODUCTION, lambda d: container(d, "CronJob", "reindex")["args"].__setitem__(3, "visual-search-pipeline-python"), "CronJob/reindex", "args"),
    # Secrets
    (KNATIVE, lambda d: drop(d, "Secret"), "ServiceAccount/visual-search-serving", "secrets"),
    (STAGING, lambda d: one(d, "Secret")["metadata"].pop("annotations"), "Secret/visual-search-credentials", "s3-endpoint"),
    (KNATIVE, lambda d: one(d, "Secret").update(data={"AWS_ACCESS_KEY_ID": "eA=="}), "Secret/visual-search-credentials", "data"),
    # modes, and what the rollout owns
    (STANDARD, lambda d: annotate(d, "serving.kserve.io/deploymentMode", "Knative"), "InferenceService/visual-search-challenger", "deploymentMode"),
    (KNATIVE, lambda d: d.append(one(documents("first-standard"), "HTTPRoute")), "HTTPRoute", "kind"),
    (STAGING, lambda d: variable(container(d, "Deployment", "rollout"), "VISUAL_SEARCH_ROLLOUT_MODE", "knative"), "Deployment/rollout", "env"),
    (STAGING, lambda d: container(d, "Deployment", "rollout")["env"].remove({"name": "VISUAL_SEARCH_ROLLOUT_MODE", "value": "standard"}), "Deployment/rollout", "env"),
    (STAGING, lambda d: arm(d)["model"].update(storageUri="s3://visual-search/releases/r-0123456789abcdef/"), "InferenceService", "storageUri"),
    (PRODUCTION, lambda d: one(d, "HTTPRoute")["spec"].update(rules=one(documents("first-standard"), "HTTPRoute")["spec"]["rules"]), "HTTPRoute", "spec.rules"),
    (PRODUCTION, lambda d: annotate(d, "serving.kserve.io/stop", "false"), "InferenceService", "stop"),
    # network
    (KNATIVE, lambda d: drop(d, "NetworkPolicy", "deny-everything"), "InferenceService", "spec.predictor (labels)"),
    (STAGING, lambda d: one(d, "NetworkPolicy", "rollout-to-api-server")["spec"]["egress"][0].pop("to"), "rollout-to-api-server", "egress[0].to"),
    (STAGING, lambda d: one(d, "NetworkPolicy", "look-up-names")["spec"]["egress"][0].pop("ports"), "look-up-names", "egress[0].ports"),
    (PRODUCTION, lambda d: one(d, "NetworkPolicy", "to-public-store")["spec"]["egress"][0]["to"][0]["ipBlock"].pop("except"), "to-public-store", "ipBlock.except"),
    (KNATIVE, lambda d: one(d, "NetworkPolicy", "serving-from-gateway")["spec"]["ingress"][0]["from"].append({"namespaceSelector": {}}), "serving-from-gateway", "from[2]"),
    (STAGING, lambda d: one(d, "NetworkPolicy", "mlflow-from-clients")["spec"].update(policyTypes=["Egress"]), "mlflow-from-clients", "policyTypes"),
    (KNATIVE, lambda d: drop(d, "NetworkPolicy", "to-public-store"), "InferenceService", "storageUri"),
    (STAGING, lambda d: drop(d, "NetworkPolicy", "clients-to-object-store"), "InferenceService", "storageUri"),
    # operation
    (KNATIVE, lambda d: transformer(d)["resources"]["requests"].pop("memory"), "ServingRuntime", "resources.requests.memory"),
    (STAGING, lambda d: container(d, "Deployment", "rollout").pop("resources"), "Deployment/rollout", "resources.limits.memory"),
    (KNATIVE, lambda d: transformer(d).pop("readinessProbe"), "ServingRuntime", "readinessProbe"),
    (STANDARD, lambda d: encoder(d).pop("livenessProbe"), "ServingRuntime", "livenessProbe"),
    (STAGING, lambda d: container(d, "StatefulSet", "postgresql").pop("readinessProbe"), "StatefulSet/postgresql", "readinessProbe"),
    (STANDARD, lambda d: transformer(d)["livenessProbe"]["httpGet"].update(path="/v2/health/ready"), "ServingRuntime", "livenessProbe"),
    (KNATIVE, lambda d: transformer(d).update(volumeMounts=[]), "ServingRuntime", "volumeMounts"),
    (KNATIVE, lambda d: drop(d, "PodDisruptionBudget"), "InferenceService", "metadata.name"),
    (STANDARD, lambda d: one(d, "PodDisruptionBudget")["spec"].update(maxUnavailable=0), "PodDisruptionBudget", "maxUnavailable"),
    (STANDARD, lambda d: arm(d).pop("topologySpreadConstraints"), "InferenceService", "topologySpreadConstraints"),
    (STANDARD, lambda d: arm(d).update(terminationGracePeriodSeconds=20), "InferenceService", "terminationGracePeriodSeconds"),
    (STANDARD, lambda d: variable(encoder(d), "VISUAL_SEARCH_LAME_DUCK_SECONDS", "5"), "ServingRuntime", "env"),
    (KNATIVE, lambda d: arm(d).update(timeout=10), "InferenceService", "spec.predictor.timeout"),
    (KNATIVE, lambda d: argument(transformer(d), "--workers=1", "--workers=4"), "ServingRuntime", "args"),
    (KNATIVE, lambda d: argument(transformer(d), "127.0.0.1", "visual-search-predictor"), "ServingRuntime", "args"),
    (KNATIVE, lambda d: argument(encoder(d), "8081", "9000"), "ServingRuntime", "containers[1].args"),
    (KNATIVE, lambda d: argument(encoder(d), "--model_name=visual-search", "--model_name=encoder"), "ServingRuntime", "containers[1].args"),
    (GPU, lambda d: transformer(d)["env"].remove({"name": "VISUAL_SEARCH_ENCODER_SPACE", "value": "trusted"}), "ServingRuntime", "env"),
    (KNATIVE, lambda d: variable(transformer(d), "VISUAL_SEARCH_ENCODER_SPACE", "trusted"), "ServingRuntime", "env"),
    (KNATIVE, lambda d: variable(transformer(d), "VISUAL_SEARCH_ARMS", "two"), "ServingRuntime", "env"),
    (KNATIVE, lambda d: transformer(d)["env"].append({"name": "VISUAL_SEARCH_BIND", "value": "::"}), "ServingRuntime", "env"),
    (KNATIVE, lambda d: arm(d)["model"].update(storageUri="s3://visual-search/releases/champion/"), "InferenceService", "storageUri"),
    (KNATIVE, lambda d: arm(d)["model"].update(storageUri="s3://visual-search/releases/"), "InferenceService", "storageUri"),
    (STAGING, lambda d: one(d, "CronJob", "reindex")["spec"].update(schedule="0 0 2 * * *"), "CronJob/reindex", "schedule"),
    (STAGING, lambda d: one(d, "CronJob", "reindex")["spec"].update(concurrencyPolicy="Allow"), "CronJob/reindex", "concurrencyPolicy"),
    (STAGING, lambda d: one(d, "CronJob", "reindex")["spec"]["jobTemplate"]["spec"].pop("activeDeadlineSeconds"), "CronJob/reindex", "activeDeadlineSeconds"),
    # names
    (KNATIVE, lambda d: arm(d).update(serviceAccountName="default"), "InferenceService", "serviceAccountName"),
    (STAGING, lambda d: one(d, "Service", "mlflow")["spec"].update(selector={"app": "mlflow"}), "Service/mlflow", "spec.selector"),
    (STAGING, lambda d: one(d, "Deployment", "mlflow")["spec"]["selector"]["matchLabels"].update(a="b"), "Deployment/mlflow", "matchLabels"),
    (STAGING, lambda d: one(d, "RoleBinding")["subjects"][0].update(name="default"), "RoleBinding", "subjects"),
    (STAGING, lambda d: d.append(copy.deepcopy(one(d, "Service", "mlflow"))), "Service/mlflow", "metadata.name"),
    (GPU, lambda d: drop(d, "ConfigMap"), "InferenceService", "triton-configuration"),
    (KNATIVE, lambda d: transformer(d)["volumeMounts"].append({"name": "cache", "mountPath": "/cache"}), "ServingRuntime", "volumeMounts"),
]
# fmt: on


@pytest.mark.parametrize("number", range(len(VIOLATIONS)))
def test_violation_is_found(number: int) -> None:
    overlay, sow, thing, field = VIOLATIONS[number]
    found = documents(overlay) if overlay in (STAGING, PRODUCTION, CLUSTER) else installed(overlay)
    before = copy.deepcopy(found)
    sow(found)
    assert found != before, "nothing was sown"
    told = faults(found)
    assert any(thing in fault.thing and field in fault.field for fault in told), [str(fault) for fault in told]
    assert all(fault.sentence for fault in told)


def test_there_are_enough_of_them() -> None:
    assert len(VIOLATIONS) >= 30
