"""Runs the kubectl commands of a document on a model of the cluster: namespaces, Secrets, owners of fields, patches with tests.

Only what the documents use; every other command or option is an error, so that no line is passed over. Folders are those that
`make golden` rendered.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from manifests.doctor.needs import needs_of
from support.factories.kubectl_commands import example_commands
from support.inputs.rendered_overlays import FOLDERS, ROOT, documents
from support.servers.api_server import RefusedError
from support.servers.field_ownership import FieldOwnership

Json = dict[str, Any]


class KubectlModel:
    """A cluster with KServe, Knative and Gateway API, and nothing of ours.

    Args:
        mode: of the rollout that changes it, "knative" or "standard".
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.fields = FieldOwnership()
        self.namespaces = {"default", "knative-serving", "kserve"}

    def run(self, line: str) -> None:
        """Run one line.

        Raises:
            RefusedError: the API server would refuse it, or pods would never start.
            ConflictError: another manager owns a field.
        """
        words = shlex.split(line, comments=True)
        if words[:3] == ["visual-search", "rollout", "reconcile"]:
            self._reconcile(words)
            return
        if words[0] != "kubectl":
            raise ValueError(f"{line} is not a kubectl command")
        options = _parser().parse_args(words[1:])
        {"apply": self._apply, "replace": self._replace, "create": self._create, "patch": self._patch}[options.verb](
            options
        )

    def _apply(self, options: argparse.Namespace) -> None:
        if not options.server_side:
            raise ValueError("the manifests are for --server-side apply")
        found = _documents(options)
        if any(each["kind"] == "InferenceService" and options.field_manager == "kubectl" for each in found):
            self._require_secrets(found)
        for each in found:
            if each["kind"] == "Namespace":
                self.namespaces.add(each["metadata"]["name"])
            self._require_namespace(each["metadata"].get("namespace", "default"))
        self.fields.apply(found, options.field_manager, force=options.force_conflicts)

    def _require_secrets(self, found: list[Json]) -> None:
        """KServe's webhook denies a pod whose account names a Secret that does not exist, and kubelet waits for the others."""
        made = {each["metadata"]["name"] for each in found if each["kind"] == "Secret"}
        there = {key.partition("/")[2] for key in self.fields.live if key.startswith("secret/")}
        for need in needs_of(found).secrets:
            if need.name not in there | made:
                raise RefusedError(403, f'secrets "{need.name}" not found')
            absent = need.keys - set(self.fields.live.get(f"secret/{need.name}", {}).get("data", {}))
            if absent:
                raise RefusedError(422, f"couldn't find key {sorted(absent)} in Secret {need.name}")

    def _replace(self, options: argparse.Namespace) -> None:
        for each in _documents(options):
            self._require_namespace(each["metadata"].get("namespace", "default"))
            self.fields.live.pop(f"{each['kind'].lower()}/{each['metadata']['name']}", None)
            self.fields.apply([each])

    def _create(self, options: argparse.Namespace) -> None:
        kind, sort, name = options.what
        key = f"{kind}/{name}"
        if (kind, sort) != ("secret", "generic"):
            raise ValueError(f"{kind} {sort} is not known here")
        self._require_namespace(options.namespace)
        if key in self.fields.live:
            raise RefusedError(409, f'secrets "{name}" already exists')
        data = {each.partition("=")[0]: "eA==" for each in options.from_file}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": options.namespace},
            "data": data,
        }
        self.fields.update(secret, "kubectl-create")

    def _patch(self, options: argparse.Namespace) -> None:
        kind, name = options.what
        if f"{kind}/{name}" not in self.fields.live:
            raise RefusedError(404, f'{kind} "{name}" not found')
        if options.type != "json":
            raise ValueError("the rollout sends JSON patches")
        self.fields.patch(f"{kind}/{name}", json.loads(options.patch), "kubectl-patch")

    def _reconcile(self, words: list[str]) -> None:
        """Bring 5 % to a challenger, as the reconciler does after `rollout start`."""
        mode = words[words.index("--mode") + 1] if "--mode" in words else "knative"
        if mode != self.mode:
            raise ValueError(f"the line reconciles in {mode} mode, and the document before it installs {self.mode}")
        kinds = ("inferenceservice/", "httproute/")
        objects = {key: each for key, each in self.fields.live.items() if key.startswith(kinds)}
        for command in example_commands(mode, objects)["canary"]:  # type: ignore[arg-type]
            self.run(command)

    def _require_namespace(self, name: str) -> None:
        if name not in self.namespaces:
            raise RefusedError(404, f'namespaces "{name}" not found')


def lines_of(block: str) -> list[str]:
    """Return the commands of a shell block, each as one line."""
    joined = re.sub(r"\\\n\s*", " ", block)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def _documents(options: argparse.Namespace) -> list[Json]:
    if options.file:
        found = [each for each in yaml.safe_load_all((ROOT / options.file).read_text()) if each]
    else:
        folder = Path(ROOT / options.kustomize)
        found = documents(next(name for name, path in FOLDERS.items() if path == folder))
    for each in found:
        if options.namespace:
            each["metadata"].setdefault("namespace", options.namespace)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kubectl", exit_on_error=False)
    parser.add_argument("-n", "--namespace")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("apply", "replace"):
        verb = verbs.add_parser(name, exit_on_error=False)
        verb.add_argument("-n", "--namespace", default=argparse.SUPPRESS)
        verb.add_argument("-k", dest="kustomize")
        verb.add_argument("-f", dest="file")
        verb.add_argument("--server-side", action="store_true")
        verb.add_argument("--field-manager", default="kubectl")
        verb.add_argument("--force-conflicts", action="store_true")
        verb.add_argument("--force", action="store_true")
    create = verbs.add_parser("create", exit_on_error=False)
    create.add_argument("what", nargs=3)
    create.add_argument("--from-file", action="append", default=[])
    patch = verbs.add_parser("patch", exit_on_error=False)
    patch.add_argument("what", nargs=2)
    patch.add_argument("-n", "--namespace", default=argparse.SUPPRESS)
    patch.add_argument("--type", required=True)
    patch.add_argument("-p", dest="patch", required=True)
    return parser
