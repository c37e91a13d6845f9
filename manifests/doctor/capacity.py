"""Checks of nodes and add-ons: metrics for the autoscaler, volumes for many nodes, network policies, GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.checks.findings import Json
from manifests.doctor.api import ClusterReader, NotReadableError, text_of
from manifests.doctor.needs import GPU, Needs
from manifests.doctor.report import Check, missing, ok, unknown

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# Drivers by type of volume: a file share that all nodes mount, or a disk of one node.
_SHARES = (
    "efs.csi.aws.com", "fsx.csi.aws.com", "filestore.csi.storage.gke.io", "file.csi.azure.com", "nfs.csi.k8s.io",
    "cephfs.csi.ceph.com", "driver.longhorn.io", "csi.juicefs.com", "cluster.local/nfs-subdir-external-provisioner",
)  # fmt: skip
_DISKS = (
    "ebs.csi.aws.com", "kubernetes.io/aws-ebs", "pd.csi.storage.gke.io", "kubernetes.io/gce-pd", "disk.csi.azure.com",
    "kubernetes.io/azure-disk", "rancher.io/local-path", "k8s.io/minikube-hostpath", "docker.io/hostpath",
    "kubernetes.io/no-provisioner", "rbd.csi.ceph.com", "cinder.csi.openstack.org", "csi.vsphere.vmware.com",
)  # fmt: skip
# DaemonSets of network plugins, by name: those that enforce NetworkPolicy, and those that ignore it.
_ENFORCING = (
    "calico-node", "canal", "rke2-canal", "cilium", "antrea-agent", "weave-net", "kube-router", "kube-ovn-cni", "ovnkube-node",
    "anetd", "azure-npm", "kindnet", "kube-network-policies",
)  # fmt: skip
_IGNORING = ("kube-flannel-ds", "kube-flannel")
_NO_POLICIES = "without a network plugin that enforces NetworkPolicy, every pod can reach every other one"


def check_capacity(cluster: ClusterReader, needs: Needs) -> Iterator[Check]:
    """Check each of these that the overlay uses."""
    if needs.has_autoscaler:
        yield _metrics(cluster)
    for claim, storage_class in sorted(needs.shared_claims.items()):
        yield _shared_volume(cluster, needs.namespace, claim, storage_class)
    if needs.has_policies:
        yield _policies(cluster)
    if needs.needs_gpu:
        yield _gpus(cluster)


def _metrics(cluster: ClusterReader) -> Check:
    install = "without it the autoscaler never adds a pod; install metrics-server"
    try:
        served = cluster.kinds("metrics.k8s.io/v1beta1")
    except NotReadableError as error:
        if error.status in (401, 403):
            return unknown("metrics-server", f"{error.reason}; {install} if `kubectl top nodes` fails")
        return missing("metrics-server", f"is registered but does not answer ({error.reason}); check its pods")
    if served is None or "PodMetrics" not in served:
        return missing("metrics-server", f"metrics.k8s.io is not served; {install}")
    return ok("metrics-server", "serves PodMetrics")


def _shared_volume(cluster: ClusterReader, namespace: str, claim: str, named: str) -> Check:
    subject = f"PersistentVolumeClaim/{claim}"
    try:
        bound = cluster.read(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
    except NotReadableError:
        bound = None
    if bound and text_of(bound, "status", "phase") == "Bound":
        return ok(subject, "is bound")
    try:
        classes = cluster.items("/apis/storage.k8s.io/v1/storageclasses")
    except NotReadableError as error:
        return unknown(subject, f"{error.reason}; it needs a StorageClass that offers ReadWriteMany")
    return _judge_class(subject, classes, named)


def _judge_class(subject: str, classes: list[Json], named: str) -> Check:
    advice = "patch spec.storageClassName of the claim in your overlay to name a class for file shares (ReadWriteMany)"
    chosen = [c for c in classes if (c["metadata"]["name"] == named if named else _is_default(c))]
    if not chosen:
        wanted = f"StorageClass {named} does not exist" if named else "the cluster has no default StorageClass"
        return missing(subject, f"{wanted}, so pods that mount the claim stay Pending; {advice}")
    name, provisioner = chosen[-1]["metadata"]["name"], str(chosen[-1]["provisioner"])
    if provisioner.endswith(_DISKS):
        return missing(subject, f"StorageClass {name} ({provisioner}) makes disks of one node; {advice}")
    if provisioner.endswith(_SHARES):
        return ok(subject, f"StorageClass {name} ({provisioner}) makes file shares")
    return unknown(
        subject, f"whether StorageClass {name} ({provisioner}) offers ReadWriteMany is not listed; ask its vendor"
    )


def _is_default(storage_class: Json) -> bool:
    return text_of(storage_class, "metadata", "annotations", _DEFAULT_CLASS) == "true"


def _policies(cluster: ClusterReader) -> Check:
    try:
        sets = cluster.items("/apis/apps/v1/daemonsets")
    except NotReadableError as error:
        return unknown("network policies", f"{error.reason}; {_NO_POLICIES}: ask the administrator")
    names = {each["metadata"]["name"]: each for each in sets}
    enforcing = [name for name in _ENFORCING if name in names]
    if "aws-node" in names and _aws_enforces(names["aws-node"]):
        enforcing.append("aws-node")
    if enforcing:
        return ok("network policies", f"{enforcing[0]} enforces them")
    if ignoring := [name for name in (*_IGNORING, "aws-node") if name in names]:
        return missing("network policies", f"{ignoring[0]} does not enforce them; {_NO_POLICIES}")
    return unknown("network policies", f"no network plugin that is known here was found; {_NO_POLICIES}")


def _aws_enforces(daemon_set: Json) -> bool:
    """Whether the agent beside Amazon's plugin is enabled."""
    containers = daemon_set["spec"]["template"]["spec"]["containers"]
    return any("--enable-network-policy=true" in (each.get("args") or []) for each in containers)


def _gpus(cluster: ClusterReader) -> Check:
    try:
        nodes = cluster.items("/api/v1/nodes")
    except NotReadableError as error:
        return unknown(GPU, f"{error.reason}; the encoder needs a node that offers {GPU}")
    count = sum(int(text_of(node, "status", "allocatable", GPU) or 0) for node in nodes)
    if not count:
        return missing(
            GPU, "no node offers one; add GPU nodes with their device plugin, or use an overlay without components/gpu"
        )
    return ok(GPU, f"nodes offer {count}")
