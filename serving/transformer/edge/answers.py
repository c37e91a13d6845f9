"""From what a search found to what a client gets: results with their thumbnails and tokens, and the impressions of them."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from serving.events.tokens import Impression, TokenSigner
from serving.transformer.edge.requests import Person, Query

if TYPE_CHECKING:
    from serving.transformer.search.catalogue import Catalogue
    from serving.transformer.search.results import Answer


def new_query_id() -> str:
    """Return an id that cannot be guessed."""
    return f"q-{secrets.token_hex(12)}"


def impressions_of(
    answer: Answer, *, query: Query, query_id: str, release_id: str, arm: str, person: Person, at: datetime.datetime
) -> list[Impression]:
    """Return one impression for each result that is shown."""
    return [
        Impression(
            query_id=query_id,
            user_id=person.user_id,
            query_image_id=query.image_id,
            image_id=result.image_id,
            position=result.position,
            release_id=release_id,
            arm=arm,
            at=at,
            country=person.country,
        )
        for result in answer.results
    ]


def answer_of(
    answer: Answer,
    impressions: Sequence[Impression],
    *,
    catalogue: Catalogue,
    query: Query,
    query_id: str,
    arm: str,
    signer: TokenSigner,
    explain: bool,
) -> dict[str, Any]:
    """Return the prediction of one query as JSON has it.

    Args:
        answer: search results.
        impressions: impressions of its results, in order; each becomes a token that vouches for clicks on it.
        catalogue: catalogue that was searched.
        query: picture of the search.
        query_id: id of this query.
        arm: arm that answers.
        signer: signer of tokens.
        explain: whether it was asked what the rules did.
    """
    results = []
    for result, impression in zip(answer.results, impressions, strict=True):
        shown: dict[str, Any] = {
            "position": result.position,
            "image_id": result.image_id,
            "item_id": result.item_id,
            "uri": result.uri,
            "category": result.category,
            "score": round(float(result.score), 6),
            "grouped": result.grouped,
            "thumbnail": thumbnail_path(result.image_id),
            "token": signer.sign(impression),
        }
        if explain and result.explain:
            shown["explain"] = list(result.explain)
        results.append(shown)
    return {
        "query_id": query_id,
        "release_id": catalogue.release_id,
        "space_id": catalogue.space_id,
        "generation": catalogue.generation,
        "arm": arm,
        "query_image_id": query.image_id,
        "no_good_match": answer.no_good_match,
        "results": results,
        "explain": [{"rule": report.rule, "text": report.text} for report in answer.explain] if explain else [],
    }


def thumbnail_path(image_id: str) -> str:
    """Return the address of an image's thumbnail on this server.

    Example:
        >>> thumbnail_path("shoes/001 a.jpg")
        '/v1/images/shoes%2F001%20a.jpg/thumbnail'
    """
    return f"/v1/images/{quote(image_id, safe='')}/thumbnail"
