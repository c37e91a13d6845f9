"""All checks of rendered manifests, in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from manifests.checks.admission import check_admission
from manifests.checks.findings import Finding, Json
from manifests.checks.kubeflow import check_kubeflow
from manifests.checks.network import check_network
from manifests.checks.operation import check_operation
from manifests.checks.references import check_references
from manifests.checks.rollout import check_first, check_rollout, combined
from manifests.checks.schema import check_schema
from manifests.checks.secrets import check_secrets
from manifests.checks.security import check_security
from serving.settings import known_names


def check(
    documents: Sequence[Json],
    *,
    first: Sequence[Json] = (),
    production: bool = False,
    known_settings: Collection[str] | None = None,
) -> list[Finding]:
    """Return every fault of rendered manifests; if a schema is broken, only those faults, since the other checks rely on it.

    Args:
        documents: one rendered overlay.
        first: objects that are applied once before it.
        production: whether placeholders are faults.
        known_settings: environment variables with our prefix; None: those of the serving processes.
    """
    everything = [*documents, *first]
    broken = sorted({finding for document in everything for finding in check_schema(document)})
    leaked = sorted(set(check_secrets(everything)))
    if broken:
        return broken + leaked
    known = known_names() if known_settings is None else known_settings
    installed = combined(documents, first) if first else documents
    found = {
        *check_rollout(documents),
        *(check_first(documents, first) if first else ()),
        *check_admission(installed),
        *check_security(installed, production=production),
        *check_kubeflow(installed),
        *check_network(installed),
        *check_operation(installed, known),
        *check_references(installed),
    }
    return leaked + sorted(found)
