"""All checks of rendered manifests, in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from manifests.checks.admission import check_admission
from manifests.checks.findings import Finding, Json
from manifests.checks.kubeflow import check_kubeflow
from manifests.checks.network import check_network
from manifests.checks.operation import check_operation
from manifests.checks.references import check_references
from manifests.checks.schema import check_schema
from manifests.checks.secrets import check_secrets
from manifests.checks.security import check_security
from serving.settings import known_names


def check(
    documents: Sequence[Json], *, production: bool = False, known_settings: Collection[str] | None = None
) -> list[Finding]:
    """Return every fault of rendered manifests; where a schema is broken, only those, since nothing else can be told then.

    Args:
        documents: of one rendered overlay.
        production: whether placeholders are faults.
        known_settings: environment variables with our prefix; None: those of the serving processes.
    """
    broken = sorted({finding for document in documents for finding in check_schema(document)})
    leaked = sorted(set(check_secrets(documents)))
    if broken:
        return broken + leaked
    known = known_names() if known_settings is None else known_settings
    found = {
        *check_admission(documents),
        *check_security(documents, production=production),
        *check_kubeflow(documents),
        *check_network(documents),
        *check_operation(documents, known),
        *check_references(documents),
    }
    return leaked + sorted(found)
