"""The cache of facts: a row counts for the same version of the same file, and only if the bytes decided."""

from __future__ import annotations

from dataclasses import replace

from components.catalogue.facts import FactsCache
from components.catalogue.inspection import Inspection
from components.catalogue.parameters import CatalogueParameters
from components.catalogue.pictures import OfferedPicture

PICTURE = OfferedPicture("/a/b.jpg", "b.jpg", "3-1", None)
GOOD = Inspection("ab" * 32, 4, 3, bytes(224))


def known(cache: FactsCache, picture: OfferedPicture) -> Inspection | None:
    (found,) = cache.find([picture])
    return found


def test_what_was_added_is_found_for_the_same_file_only(tmp_path):
    cache = FactsCache(tmp_path, CatalogueParameters())
    bad = replace(PICTURE, uri="/a/bad.jpg")
    refusal = Inspection(sha256="cd" * 32, reason="truncated", message="cut")
    cache.add(PICTURE, GOOD)
    cache.add(bad, refusal)
    cache.flush()
    again = FactsCache(tmp_path, CatalogueParameters(seed=9, workers=3))
    assert again.find([bad, PICTURE]) == [refusal, GOOD]
    assert known(again, replace(PICTURE, version="3-2")) is None
    assert known(again, replace(PICTURE, uri="/a/c.jpg")) is None
    limits = CatalogueParameters().limits.model_copy(update={"max_pixels": 100})
    assert known(FactsCache(tmp_path, CatalogueParameters(limits=limits)), PICTURE) is None


def test_what_another_attempt_may_end_otherwise_is_not_kept(tmp_path):
    cache = FactsCache(tmp_path, CatalogueParameters())
    for reason in ("timed_out", "crashed", "unreadable", "missing"):
        cache.add(PICTURE, Inspection(reason=reason, message=reason))
    cache.flush()
    assert known(cache, PICTURE) is None
    cache.add(replace(PICTURE, version=None), GOOD)  # a store that does not tell when a file changes
    cache.flush()
    assert known(cache, replace(PICTURE, version=None)) is None


def test_flat_pictures_are_kept_without_a_fingerprint(tmp_path):
    cache = FactsCache(tmp_path, CatalogueParameters())
    cache.add(PICTURE, replace(GOOD, fingerprint=None))
    cache.flush()
    assert known(cache, PICTURE) == replace(GOOD, fingerprint=None)
