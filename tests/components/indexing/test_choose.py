from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.indexing.choose import choose, code_parts_for, finer, lists_for
from components.indexing.forecast import IndexPlan, describe
from components.indexing.parameters import IndexingParameters
from components.shared.errors import ParameterError


def chosen(rows, dimension=128, **parameters):
    return choose(rows, dimension, IndexingParameters(**parameters))[0]


@pytest.mark.parametrize(
    ("rows", "parameters", "factory"),
    [
        (1, {}, "Flat"),
        (50_000, {}, "Flat"),
        (50_001, {}, "IVF783,PQ64x4fs,Refine(SQfp16)"),
        (300_000, {}, "IVF1917,PQ64x4fs,Refine(SQfp16)"),
        (1_000_000, {}, "IVF3500,PQ64x4fs,Refine(SQfp16)"),
        (1_000_000, {"objective": "latency"}, "HNSW16"),
        (5_000_000, {"objective": "latency"}, "IVF7826,PQ64x4fs,Refine(SQfp16)"),
        (100_000_000, {}, "IVF140000_HNSW32,PQ64x4fs"),
        (20_000_000, {}, "IVF62608_HNSW32,PQ64x4fs"),
        (1_000_000, {"memory_budget_bytes": 320_000_000}, "IVF3500,PQ64x4fs,Refine(SQfp16)"),
        (1_000_000, {"memory_budget_bytes": 200_000_000}, "IVF3500,PQ64x4fs"),
        (1_000_000, {"memory_budget_bytes": 35_000_000}, "IVF3500,PQ32x4fs"),
        (1_000_000, {"objective": "latency", "memory_budget_bytes": 320_000_000}, "IVF3500,PQ64x4fs,Refine(SQfp16)"),
        (40_000, {"memory_budget_bytes": 15_000_000}, "SQfp16"),
        (40_000, {"memory_budget_bytes": 3_000_000}, "IVF1,PQ64x4fs"),
        (1_000_000, {"kind": "exact"}, "Flat"),
        (1_000_000, {"kind": "ivf_flat"}, "IVF3500,Flat"),
    ],
)
def test_the_measured_best_is_chosen(rows, parameters, factory):
    assert chosen(rows, **parameters).factory == factory


def test_a_budget_too_small_names_the_least_that_would_do():
    with pytest.raises(ParameterError, match=r"need at least ([\d,]+)") as caught:
        chosen(1_000_000, memory_budget_bytes=1_000_000)
    least = int(str(caught.value).split("need at least ")[1].split(" ")[0].replace(",", ""))
    assert chosen(1_000_000, memory_budget_bytes=least).maps_vectors
    with pytest.raises(ParameterError):
        chosen(1_000_000, memory_budget_bytes=least - 1)


@pytest.mark.parametrize("kind", ["pq", "ivf_pq", "ivf_hnsw_pq"])
def test_a_kind_that_needs_more_images_says_how_many(kind):
    with pytest.raises(ParameterError, match=r"needs at least \d+ images, got 5"):
        chosen(5, kind=kind)
    assert chosen(256, kind=kind).kind == kind


@given(
    st.integers(1, 10**9),
    st.sampled_from([1, 3, 16, 64, 127, 128, 384, 512, 768, 2048]),
    st.sampled_from(["throughput", "latency"]),
    st.one_of(st.none(), st.integers(10**3, 10**12)),
)
@settings(deadline=None)
def test_a_choice_always_fits_or_is_refused(rows, dimension, objective, budget):
    parameters = IndexingParameters(objective=objective, memory_budget_bytes=budget)
    try:
        plan, needs = choose(rows, dimension, parameters)
    except ParameterError:
        assert budget is not None
        return
    assert budget is None or needs.ram_bytes <= budget
    assert needs.disk_bytes >= needs.ram_bytes > 0
    assert needs.build_cpu_seconds >= 0
    if plan.code_parts:
        assert dimension % plan.code_parts == 0
        assert plan.code_parts <= 256
        assert plan.lists * 8 <= rows
    assert plan.factory in describe(plan, needs)


@given(st.integers(1, 10**9), st.booleans())
def test_more_rows_never_get_fewer_lists(rows, graph):
    assert 1 <= lists_for(rows, graph=graph) <= lists_for(2 * rows, graph=graph) <= max(1, 2 * rows // 8)


@given(st.integers(1, 4096), st.integers(1, 300))
def test_code_parts_divide_the_dimension(dimension, most):
    parts = code_parts_for(dimension, most)
    assert dimension % parts == 0
    assert parts <= min(most, 256)


def test_only_an_automatic_choice_is_revised():
    plan = IndexPlan("pq", 100_000, 128, 1, 64)
    assert finer(plan, IndexingParameters())[0].kind == "exact_f16"
    assert finer(plan, IndexingParameters(kind="pq")) is None
    assert finer(plan, IndexingParameters(memory_budget_bytes=20_000_000)) is None
    assert finer(IndexPlan("exact_f16", 100_000, 128), IndexingParameters()) is None


@pytest.mark.parametrize(
    "wrong", [{"kind": "ivf"}, {"recall_target": 1.0}, {"memory_budget_bytes": 0}, {"nprobe": 3}, {"tuning_queries": 1}]
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        IndexingParameters(**wrong)
