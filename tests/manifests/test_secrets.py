"""Secrets sown into rendered overlays are found wherever they stand; what only names one is not taken for one.

The secrets are put together here, so that none stands in this file either.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from typing import Any

import pytest

from manifests.checks.secrets import check_secrets
from support.inputs.rendered_overlays import documents, one

Json = dict[str, Any]
_RANDOM = random.Random(7)


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(_RANDOM.choice(alphabet) for _ in range(count))


def _jwt() -> str:
    return ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"HS256"}', b'{"sub":"anyone"}', b"0123456789abcdef")
    )


VALUES = {
    "aws key": "AKIA" + letters(16, string.ascii_uppercase),
    "aws session key": "ASIA" + letters(16, string.ascii_uppercase),
    "aws secret": letters(40),
    "github": "ghp_" + letters(36),
    "github actions": "ghs_" + letters(36),
    "github fine": "github_pat_" + letters(60),
    "gitlab": "glpat-" + letters(20),
    "slack": "xoxb-" + letters(24),
    "slack webhook": "https://hooks.slack.com/services/T" + letters(8) + "/B" + letters(8) + "/" + letters(24),
    "google": "AIza" + letters(35),
    "google account": '{"type": "service_account", "private_key_id": "1"}',
    "stripe": "sk_live_" + letters(24),
    "hugging face": "hf_" + letters(34),
    "npm": "npm_" + letters(36),
    "pypi": "pypi-AgEI" + letters(40),
    "model api": "sk-" + letters(40),
    "sendgrid": "SG." + letters(22) + "." + letters(43),
    "vault": "hvs." + letters(24),
    "jwt": _jwt(),
    "rsa key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + letters(64),
    "openssh key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n" + letters(64),
    "pgp key": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "database url": "postgresql+psycopg://visual_search:" + letters(12) + "@postgresql/visual_search",
    "url without user": "redis://:" + letters(10) + "@cache:6379",
    "url of a repository": "https://oauth2:" + letters(20) + "@example.com/a.git",
    "command line": "--password=" + letters(10),
    "header": "Authorization: Bearer " + letters(24),
    "basic": "Basic " + base64.b64encode(b"user:password1").decode(),
    "azure": "AccountName=a;AccountKey=" + letters(44) + ";",
    "docker login": '{"auths": {"registry.example.com": {}}}',
    "hash": "$2b$12$" + letters(53),
    "hexadecimal key": letters(64, "0123456789abcdef"),
    "base64 key": base64.b64encode(_RANDOM.randbytes(33)).decode(),
}
PLACES: dict[str, Callable[[list[Json], str], Any]] = {
    "a variable": lambda d, text: one(d, "ServingRuntime")["spec"]["containers"][1]["env"].append(
        {"name": "SETTING", "value": text}
    ),
    "an argument": lambda d, text: one(d, "ServingRuntime")["spec"]["containers"][0]["args"].append(text),
    "an annotation": lambda d, text: one(d, "Namespace")["metadata"].update(annotations={"note": text}),
    "a ConfigMap": lambda d, text: d.append(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": text}}
    ),
}
# Too weak to be known by itself, but their name tells.
NAMED = {
    "DB_PASSWORD": "tulip", "PASSWD": "x1", "API_KEY": "abc", "VISUAL_SEARCH_EVENTS_KEYS": "one,two", "SECRET": "s",
    "SIGNING_KEY": "hello", "MLFLOW_TRACKING_TOKEN": "t0", "AWS_SECRET_ACCESS_KEY": "q", "PRIVATE_KEY": "k",
    "CREDENTIALS": "user",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", VALUES)
def test_secret_is_found(what: str, place: str) -> None:
    found = documents("knative")
    PLACES[place](found, VALUES[what])
    told = list(check_secrets(found))
    assert told, VALUES[what]
    assert all("secretKeyRef" in fault.sentence and fault.field for fault in told)


@pytest.mark.parametrize("name", NAMED)
def test_variable_with_a_telling_name_is_found(name: str) -> None:
    found = documents("knative")
    PLACES["a variable"](found, "")
    one(found, "ServingRuntime")["spec"]["containers"][1]["env"][-1] = {
        "name": name,
        "value": NAMED[name],
    }
    assert [name in fault.field for fault in check_secrets(found)] == [True]


def test_secret_as_a_resource_is_refused() -> None:
    found = documents("knative")
    found.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"a": "b"}})
    assert [fault.thing for fault in check_secrets(found)] == ["Secret/a"]


def test_secret_in_the_compiled_pipeline_is_found() -> None:
    found = documents("kubeflow-single-user")
    executors = one(found, "PipelineVersion")["spec"]["pipelineSpec"]["deploymentSpec"]["executors"]
    executors["exec-catalogue"]["container"]["args"].append(VALUES["github"])
    assert [fault.thing.partition(".")[0] for fault in check_secrets(found)] == [
        "PipelineVersion/visual-search-reindexing"
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("POSTGRES_PASSWORD_FILE", "/run/secrets/postgresql/password"),
        ("image", "registry.example.com/a@sha256:" + "0123456789abcdef" * 4),
        ("VISUAL_SEARCH_LOCATION", "s3://visual-search/releases/r-0123456789abcdef0123456789abcdef"),
        ("TOKEN_PATH", "/var/run/secrets/kubeflow/pipelines/token"),
        ("host", "visual-search-champion-predictor.visual-search.svc.cluster.local"),
        ("url", "https://example.com:8443/path"),
        ("KEYS", "true"),
    ],
)
def test_what_is_no_secret_is_let_through(name: str, text: str) -> None:
    found = documents("knative")
    one(found, "ServingRuntime")["spec"]["containers"][1]["env"].append({"name": name, "value": text})
    assert list(check_secrets(found)) == []
