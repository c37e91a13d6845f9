"""Impression tokens and their keys."""

from __future__ import annotations

import datetime
import itertools
import multiprocessing
import random
import stat
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import ParameterError
from serving.events.errors import TokenError
from serving.events.keys import parse_keys, read_keys
from serving.events.tokens import LONGEST_TOKEN, Impression, TokenSigner
from support.servers.event_collector import impression

NOW = datetime.datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=datetime.UTC)
OLD, NEW = b"o" * 32, b"n" * 32
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


def _reason(signer: TokenSigner, token: str, now: datetime.datetime = NOW) -> str:
    with pytest.raises(TokenError) as caught:
        signer.verify(token, now)
    return caught.value.reason


@given(TEXT, TEXT, st.none() | TEXT, st.integers(1, 200), st.none() | st.just("CH"))
def test_verify_undoes_sign(
    query: str, image: str, query_image: str | None, position: int, country: str | None
) -> None:
    shown = Impression(query, "u", query_image, image, position, "r-1", "champion", NOW, country)
    token = TokenSigner([NEW]).sign(shown)
    assert set(token) <= set(string.ascii_letters + string.digits + "-_.")
    assert TokenSigner([NEW]).verify(token, NOW) == shown


def test_a_token_is_compact_and_the_longest_ids_fit() -> None:
    assert len(TokenSigner([NEW]).sign(impression(1))) < 220
    widest = "\U0001f47e" * 512
    assert len(TokenSigner([NEW]).sign(impression(1, query_image_id=widest, image_id=widest))) < LONGEST_TOKEN


def test_every_altered_character_is_noticed() -> None:
    signer = TokenSigner([NEW])
    token = signer.sign(impression(1, at=NOW))
    generator = random.Random(0)
    for place, character in enumerate(token):
        other = generator.choice([c for c in string.ascii_letters + string.digits + "-_.=" if c != character])
        assert _reason(signer, token[:place] + other + token[place + 1 :]) in {"forged", "malformed"}
    for text in (token + "=", token + "A", token[:-1], " " + token, token.replace("1.", "2.", 1)):
        assert _reason(signer, text) in {"forged", "malformed"}


def test_what_is_no_token_has_a_reason() -> None:
    signer = TokenSigner([NEW])
    for text in ("", ".", "1.", "1..", "1.e30.x", "é.1.2", "1." + "a" * 30, "\x00"):
        assert _reason(signer, text) in {"forged", "malformed"}
    assert _reason(signer, "1." + "a" * LONGEST_TOKEN) == "too_long"
    assert _reason(signer, TokenSigner([OLD]).sign(impression(1, at=NOW))) == "forged"


def test_expiry_on_both_sides() -> None:
    signer = TokenSigner([NEW], lifetime_seconds=3600)
    token = signer.sign(impression(1, at=NOW))
    assert signer.verify(token, NOW + datetime.timedelta(seconds=3600)).at == NOW
    assert _reason(signer, token, NOW + datetime.timedelta(seconds=3601)) == "expired"
    assert signer.verify(token, NOW - datetime.timedelta(seconds=200)).at == NOW  # another machine's clock
    assert _reason(signer, token, NOW - datetime.timedelta(seconds=600)) == "expired"


def test_rotation_refuses_nobody() -> None:
    stages = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]
    for before, after in itertools.pairwise(stages):
        for one, other in ((before, after), (after, before)):  # servers of both stages run at the same time
            token = TokenSigner(one).sign(impression(1, at=NOW))
            assert TokenSigner(other).verify(token, NOW).position == 2
    assert _reason(TokenSigner([NEW]), TokenSigner([OLD]).sign(impression(1, at=NOW))) == "forged"


def test_weak_or_missing_keys_are_refused() -> None:
    for keys in ([], [b"short"], [NEW, b"short"]):
        with pytest.raises(ParameterError, match="32 bytes"):
            TokenSigner(keys)
    for text in ("", "# nothing\n", "short", f"{'a' * 32},b"):
        with pytest.raises(ParameterError, match="VISUAL_SEARCH_EVENTS_KEYS"):
            parse_keys(text, "VISUAL_SEARCH_EVENTS_KEYS")
    assert parse_keys(f"# newest first\n{'a' * 32}\n\n {'b' * 40} ", "x") == (b"a" * 32, b"b" * 40)
    assert parse_keys(f"{'a' * 32},{'b' * 32}", "x") == (b"a" * 32, b"b" * 32)


def test_key_file_is_private_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "below" / "events.key"
    with pytest.raises(ParameterError, match=r"events\.key"):
        read_keys(path)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_create_key, [(path,)] * 16)
    assert len(set(found)) == 1
    assert len(found[0][0]) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["events.key"]


def _create_key(path: Path) -> tuple[bytes, ...]:
    return read_keys(path, create=True)
