"""The transformer's own small routes: what is served, and a few images to begin with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query

from components.shared.errors import NotReadyError
from serving.transformer.edge.answers import thumbnail_path

if TYPE_CHECKING:
    from serving.transformer.search.catalogue import Catalogue

MOST_SAMPLES = 60


def catalogue_router(
    current: Callable[[], Catalogue | None], arm: str, pin: Mapping[str, str] | None = None
) -> APIRouter:
    """Return the routes `/v1/release` and `/v1/samples`.

    Args:
        current: the catalogue in use; None before the first is loaded.
        arm: arm of this process.
        pin: header by which clients come back to this arm; empty or None: nothing keeps them in it.
    """
    router = APIRouter()

    def loaded() -> Catalogue:
        if (catalogue := current()) is None:
            raise NotReadyError("no release is loaded yet")
        return catalogue

    async def release() -> dict[str, Any]:
        catalogue = loaded()
        return {
            "release_id": catalogue.release_id,
            "space_id": catalogue.space_id,
            "generation": catalogue.generation,
            "arm": arm,
            "pin": dict(pin or {}),
            "images": catalogue.images,
            "items": catalogue.items,
            "floors": dict(catalogue.floors),
        }

    async def samples(n: Annotated[int, Query(ge=1, le=MOST_SAMPLES)] = 12) -> dict[str, Any]:
        chosen = loaded().samples(n, secrets.randbelow(1 << 31))
        return {
            "samples": [
                {
                    "image_id": item.image_id,
                    "item_id": item.item_id,
                    "category": item.category,
                    "thumbnail": thumbnail_path(item.image_id),
                }
                for item in chosen
            ]
        }

    router.add_api_route("/v1/release", release, methods=["GET"], response_model=None)
    router.add_api_route("/v1/samples", samples, methods=["GET"], response_model=None)
    return router
