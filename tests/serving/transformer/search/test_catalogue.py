"""The catalogue against explicit loops: rules, generations, hidden images, always k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.shared.errors import ContractError, InputError, ParameterError, PoisonedVectorError
from components.shared.release.manifest import Manifest
from serving.transformer.search.catalogue import Catalogue, UnknownImageError
from serving.transformer.search.results import Answer, SearchOptions
from serving.transformer.search.rules.chain import ChainParameters
from support.factories.catalogue_factory import (
    expected,
    make_generation,
    make_manifest,
    make_rows,
    make_searchable,
    spread_vectors,
)

D = 16


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_manifest(tmp_path_factory.mktemp("pattern"))


def found(answer: Answer) -> list[tuple[str, int]]:
    return [(result.image_id, result.grouped) for result in answer.results]


@pytest.mark.parametrize("group_items", [True, False])
@pytest.mark.parametrize("collapse_duplicates", [True, False])
def test_a_search_is_what_a_loop_finds(
    tmp_path: Path, manifest: Manifest, group_items: bool, collapse_duplicates: bool
) -> None:
    rows, vectors = make_rows(300, seed=1), spread_vectors(300, D, 1)
    catalogue = Catalogue(make_searchable(tmp_path, manifest, rows, vectors))
    rules = {"group_items": group_items, "collapse_duplicates": collapse_duplicates}
    for number, query in enumerate(spread_vectors(20, D, 9)):
        for k in (1, 7, 200):
            own = frozenset({rows[number]["image_id"], "unknown"})
            sha256 = rows[number + 20]["sha256"] if number % 2 else None
            floor = None if number % 3 else 0.1
            options = SearchOptions(k=k, exclude_image_ids=own, exclude_sha256=sha256, floor=floor, **rules)
            wanted = expected(rows, vectors, query, k=k, exclude=own, exclude_sha256=sha256, floor=floor, **rules)
            answer = catalogue.search(query, options)
            assert found(answer) == wanted
            assert [r.position for r in answer.results] == list(range(1, len(wanted) + 1))
            assert answer.no_good_match == (floor is not None and not wanted)


def test_generations_are_searched_as_one(tmp_path: Path, manifest: Manifest) -> None:
    rows, vectors = make_rows(120, seed=2), spread_vectors(120, D, 2)
    base = make_searchable(tmp_path, manifest, rows, vectors)
    state = list(zip(rows, vectors, strict=True))
    generations: list[Any] = []
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        gone = {state[i][0]["image_id"] for i in rng.choice(len(state), 10, replace=False)}
        fresh, more = make_rows(15, seed=number + 10, prefix=f"new-{number}"), spread_vectors(15, D, number + 10)
        again = next(row for row, _ in state if row["image_id"] in gone)
        fresh[0] = {**fresh[0], "image_id": again["image_id"]}  # changed: removed and added in one
        state = [pair for pair in state if pair[0]["image_id"] not in gone] + list(zip(fresh, more, strict=True))
        below = generations[-1] if generations else None
        generations.append(make_generation(manifest, fresh, more, sorted(gone), below))
        catalogue = Catalogue(base, generations)
        assert catalogue.generation == number
        visible = [row for row, _ in state if row["is_public"] and row["is_appropriate"]]
        assert (catalogue.images, catalogue.items) == (len(visible), len({row["item_id"] for row in visible}))
        present, matrix = [row for row, _ in state], np.stack([v for _, v in state])
        for query in spread_vectors(8, D, 50 + number):
            assert found(catalogue.search(query, SearchOptions(k=12))) == expected(present, matrix, query, k=12)
        for row, vector in state[-15:]:
            if row["is_public"] and row["is_appropriate"]:
                np.testing.assert_allclose(catalogue.vector_of(row["image_id"]), vector, atol=1e-6)


def test_generations_that_do_not_fit_are_refused(tmp_path: Path, manifest: Manifest) -> None:
    rows, vectors = make_rows(30, hidden=0), spread_vectors(30, D, 2)
    base = make_searchable(tmp_path, manifest, rows, vectors)
    new = make_rows(1, hidden=0, prefix="new")
    first = make_generation(manifest, new, vectors[:1], ["image-000001"])
    Catalogue(base, [first])
    second = make_generation(manifest, [], vectors[:0], ["image-000001"], first)
    for wrong in ([second], [first, first], [first, second]):
        with pytest.raises(ContractError):
            Catalogue(base, wrong)
    for added, removed in (([rows[3]], []), (new, ["image-999999"])):
        with pytest.raises(ContractError, match="before it"):
            Catalogue(base, [make_generation(manifest, added, vectors[:1], removed)])
    other = manifest.model_copy(update={"release_id": "r-other"})
    with pytest.raises(ContractError):
        Catalogue(base, [make_generation(other, new, vectors[:1], [])])


@given(
    n=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    hidden=st.floats(0, 1),
    k=st.integers(1, 30),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hidden_images_leave_no_trace(
    tmp_path: Path, manifest: Manifest, n: int, seed: int, hidden: float, k: int, flags: tuple[bool, bool, bool]
) -> None:
    """The whole answer, its explanation and counts, is that of a catalogue which never had them."""
    rows, vectors = make_rows(n, seed=seed, hidden=hidden), spread_vectors(n, D, seed)
    shown = [i for i, row in enumerate(rows) if row["is_public"] and row["is_appropriate"]]
    secret = [row for i, row in enumerate(rows) if i not in set(shown)]
    with_hidden = Catalogue(make_searchable(tmp_path / "a", manifest, rows, vectors))
    assert (with_hidden.images, with_hidden.items) == (len(shown), len({rows[i]["item_id"] for i in shown}))
    for row in secret:
        for ask in (with_hidden.item, with_hidden.vector_of):
            with pytest.raises(UnknownImageError) as of_hidden:
                ask(row["image_id"])
            with pytest.raises(UnknownImageError) as of_unknown:
                ask("unknown")
            assert str(of_hidden.value) == str(of_unknown.value)
    exclude = frozenset(row["image_id"] for row in secret[:2])
    options = SearchOptions(
        k=k,
        explain=True,
        group_items=flags[0],
        collapse_duplicates=flags[1],
        floor=0.2 if flags[2] else None,
        exclude_image_ids=exclude | {rows[0]["image_id"]},
        exclude_sha256=rows[-1]["sha256"],
    )
    query = vectors[seed % n]
    if not shown:
        assert with_hidden.search(query, options).results == ()
        return
    without = Catalogue(make_searchable(tmp_path / "b", manifest, [rows[i] for i in shown], vectors[shown]))
    assert with_hidden.search(query, options) == without.search(query, options)
    assert with_hidden.samples(5, seed) == without.samples(5, seed)
    assert with_hidden.recall_at_10(query) == without.recall_at_10(query) == 1.0


def test_k_results_even_if_one_item_has_more_images_than_one_search_finds(tmp_path: Path, manifest: Manifest) -> None:
    """12,000 images of one item are the nearest; behind them lie others, each its own."""
    near, far = 12_000, 40
    rows = make_rows(near + far, hidden=0, seed=3)
    for row in rows[:near]:
        row["item_id"] = "crowd"
    for place, row in enumerate(rows):
        row["duplicate_group"] = f"group-{place}"
    for place, row in enumerate(rows[near:]):
        row["item_id"] = f"own-{place}"
    rng = np.random.default_rng(0)
    centre = np.eye(D)[0]
    vectors = np.concatenate([centre + 0.05 * rng.normal(size=(near, D)), -centre + 0.5 * rng.normal(size=(far, D))])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    catalogue = Catalogue(make_searchable(tmp_path, manifest, rows, vectors))
    answer = catalogue.search(np.eye(D, dtype=np.float32)[0], SearchOptions(k=30))
    assert len(answer.results) == 30
    assert answer.results[0].item_id == "crowd"
    assert answer.results[0].grouped == near - 1
    assert found(answer)[1:] == [(image_id, 0) for image_id, _ in found(answer)[1:]]
    scores = vectors[near:] @ np.eye(D, dtype=np.float32)[0]
    assert [r.image_id for r in answer.results[1:]] == [rows[near + i]["image_id"] for i in np.argsort(-scores)[:29]]
    everything = catalogue.search(np.eye(D, dtype=np.float32)[0], SearchOptions(k=200))
    assert len(everything.results) == far + 1


def test_ties_are_settled_by_row(tmp_path: Path, manifest: Manifest) -> None:
    rows = make_rows(50, hidden=0)
    vectors = np.repeat(spread_vectors(1, D, 0), 50, axis=0)
    catalogue = Catalogue(make_searchable(tmp_path, manifest, rows, vectors))
    options = SearchOptions(k=20, group_items=False, collapse_duplicates=False)
    assert [r.image_id for r in catalogue.search(vectors[0], options).results] == [row["image_id"] for row in rows[:20]]


def test_rules_can_be_left_out_but_not_invented(tmp_path: Path, manifest: Manifest) -> None:
    rows, vectors = make_rows(60, seed=4), spread_vectors(60, D, 4)
    base = make_searchable(tmp_path, manifest, rows, vectors)
    plain = Catalogue(base, chain=ChainParameters(rules=())).search(vectors[0], SearchOptions(k=10, explain=True))
    assert found(plain) == expected(rows, vectors, vectors[0], k=10, group_items=False, collapse_duplicates=False)
    assert [report.rule for report in plain.explain] == ["visibility", "exact_scores"]
    turned = ChainParameters(rules=("items", "near_duplicates"))
    answer = Catalogue(base, chain=turned).search(vectors[0], SearchOptions(k=10, explain=True))
    assert found(answer) == expected(rows, vectors, vectors[0], k=10)
    assert [report.rule for report in answer.explain[2:]] == ["items", "near_duplicates"]
    for wrong in (["visibility"], ["items", "items"], ["eval"], "items"):
        with pytest.raises(ValidationError):
            ChainParameters(rules=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        ChainParameters(order=())  # type: ignore[call-arg]


def test_what_cannot_be_searched_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    rows, vectors = make_rows(30), spread_vectors(30, D, 0)
    catalogue = Catalogue(make_searchable(tmp_path, manifest, rows, vectors))
    for k in (0, -1, 201, 10**9):
        with pytest.raises(ParameterError):
            SearchOptions(k=k)
    for value in (np.nan, np.inf, 0.0, 1e4):
        with pytest.raises(PoisonedVectorError):
            catalogue.search(np.full(D, value, np.float32), SearchOptions())
    with pytest.raises(InputError):
        catalogue.search(vectors[0, :-1], SearchOptions())
    with pytest.raises(InputError):
        catalogue.search(vectors[0].astype(np.float64), SearchOptions())  # type: ignore[arg-type]


def test_floors_come_from_the_release(tmp_path: Path, manifest: Manifest) -> None:
    rows, vectors = make_rows(30), spread_vectors(30, D, 0)
    metrics = {"score_floors": {"floors": {"0.8": 0.5, "0.9": 0.7, "0.95": None}, "method": "x"}}
    told = manifest.model_copy(update={"metrics": metrics})
    catalogue = Catalogue(make_searchable(tmp_path, told, rows, vectors))
    assert catalogue.floors == {"0.8": 0.5, "0.9": 0.7, "calibrated": 0.7}
    for odd in ({}, {"score_floors": None}, {"score_floors": {"floors": {"0.9": "x"}}}, {"score_floors": 1}):
        told = manifest.model_copy(update={"metrics": odd})
        assert Catalogue(make_searchable(tmp_path, told, rows, vectors)).floors == {}
