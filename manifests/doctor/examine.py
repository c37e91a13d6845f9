"""All checks of a cluster against an overlay, in the order of an installation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from manifests.checks.findings import Json
from manifests.doctor.api import ClusterReader
from manifests.doctor.capacity import check_capacity
from manifests.doctor.needs import Needs, needs_of
from manifests.doctor.preparation import check_preparation
from manifests.doctor.report import Check
from manifests.doctor.versions import check_versions

Examination = Callable[[ClusterReader, Needs], Iterable[Check]]


def examine(cluster: ClusterReader, documents: Sequence[Json], *, more: Sequence[Examination] = ()) -> Iterator[Check]:
    """Yield each check as soon as it is done.

    Args:
        cluster: cluster to read.
        documents: rendered documents, with those that are applied once before them.
        more: examinations of parts that this package must not import, for example of Kubeflow Pipelines.
    """
    needs = needs_of(documents)
    for examination in (check_versions, check_preparation, check_capacity, *more):
        yield from examination(cluster, needs)
