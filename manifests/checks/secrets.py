"""Secrets in files: checks every text of a document for the shapes of secrets."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from manifests.checks.findings import Finding, Json, name_of

_SHAPES = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----"),
    "an access key of AWS": re.compile(r"\b(AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})"),
    "a token of GitLab": re.compile(r"\bglpat-[A-Za-z0-9_-]{20}"),
    "a token of Slack": re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
    "a webhook": re.compile(r"hooks\.slack\.com/services/T\w+/B\w+/\w+"),
    "a key of Google": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "an account of Google": re.compile(r'"private_key_id"|"type":\s*"service_account"'),
    "a key of Stripe": re.compile(r"\b[rs]k_(live|test)_[0-9A-Za-z]{16,}"),
    "a token of Hugging Face": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "a token of a package registry": re.compile(r"\b(npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{20,})"),
    "a key of an API": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a key of SendGrid": re.compile(r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    "a token of Vault": re.compile(r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    "a signed token (JWT)": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    "a password in a URL": re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"),
    "a password on a command line": re.compile(r"--?(password|passwd|token|secret|api[-_]?key)[= ]\S+", re.IGNORECASE),
    "a header with credentials": re.compile(r"\b(Basic|Bearer)\s+[A-Za-z0-9+/=_.-]{12,}"),
    "a connection string": re.compile(r"(AccountKey|SharedAccessKey|password|pwd)\s*=\s*[^;\s]{6,}", re.IGNORECASE),
    "a login of a registry": re.compile(r'"auths?"\s*:\s*[{"]'),
    "a hash of a password": re.compile(r"\$(2[aby]|argon2id?|6)\$[^\s]{20,}"),
}
_NAMED = re.compile(
    r"(passw(or)?d|secret|token|credential|private_?key|api_?keys?|access_?key(_id)?|keys?$|auth$|pwd)", re.IGNORECASE
)
# Keys that hold the name of a secret, not the secret.
_HARMLESS = re.compile(
    r"(_FILE|_NAME|Name|Policy|_PATH|secretName|automountServiceAccountToken|topologyKey|serviceAccountToken)$"
)
_REFERENCE = re.compile(r"(/[\w.@-]+)+|true|false|\d{1,6}|")
_LONG = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_DIGESTS = re.compile(r"sha256:[0-9a-f]{64}|[a-z]-[0-9a-f]{16,64}|visual-search-[a-z]+\.[0-9a-f]{64}")
_BITS = 4.2  # per character: random base64 has 5 to 6, hexadecimal up to 4, words and paths 3 to 4
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_TREES = ("pipelineSpec", "platformSpec")  # source code and types, compiled by kfp


def check_secrets(documents: Sequence[Json]) -> Iterator[Finding]:
    """Find texts that look like secrets. Secrets are made by hand or by an operator; manifests only name them."""
    for document in documents:
        thing = name_of(document)
        if document.get("kind") == "Secret" and (document.get("data") or document.get("stringData")):
            yield Finding(thing, "data", "is a Secret in a file; add its keys in the cluster")
            continue
        for path, key, text in _texts(document, "", ""):
            if reason := _reason(key, text, shapes_only=any(tree in path for tree in _TREES)):
                yield Finding(thing, path, f"holds {reason}; put it into the Secret and name that with secretKeyRef")


def _texts(value: Any, path: str, key: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("name"), str) and isinstance(value.get("value"), str):  # a variable, a header
            yield f"{path}[{value['name']}]", value["name"], value["value"]
            value = {name: each for name, each in value.items() if name not in ("name", "value")}
        for name, each in value.items():
            yield from _texts(each, f"{path}.{name}" if path else str(name), str(name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{path}[{number}]", "")
    elif isinstance(value, str):
        yield path, key, value


def _reason(key: str, text: str, *, shapes_only: bool) -> str | None:
    text = _DIGESTS.sub("", text)
    for what, shape in _SHAPES.items():
        if shape.search(text):
            return what
    if shapes_only:
        return None
    if _NAMED.search(key) and not _HARMLESS.search(key) and not _REFERENCE.fullmatch(text) and not _is_name(key, text):
        return f"a value for {key}"
    if any(_is_random(word) for word in _LONG.findall(text)):
        return "what looks like a random key"
    return None


def _is_random(word: str) -> bool:
    mixed = all(re.search(kind, word) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return _HEX.fullmatch(word) is not None or (mixed and _entropy(word) > _BITS)


def _is_name(key: str, text: str) -> bool:
    """Whether a text is the name of an entry rather than its value: secretKeyRef.key, a label's key."""
    return key in ("key", "secretRef") and re.fullmatch(r"[A-Za-z0-9_./-]{1,80}", text) is not None


def _entropy(word: str) -> float:
    counts = Counter(word)
    return -sum(count / len(word) * math.log2(count / len(word)) for count in counts.values())
