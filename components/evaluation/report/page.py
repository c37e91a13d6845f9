"""The page of the report: all resources inline, all foreign text escaped, and only measured values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.evaluation.gallery import Gallery
from components.evaluation.gate import GateDecision
from components.evaluation.measurement import CURVE_CUTS, METRIC_TITLES, METRICS, RankerOutcome
from components.evaluation.parameters import EvaluationParameters
from components.evaluation.report import facts, plots, wording
from components.evaluation.report.embedding_map import draw_mosaic, lay_out
from components.evaluation.report.sheets import EXPECTED, SHOWN, SheetMaker
from components.evaluation.report.thumbnails import Thumbnails, jpeg_data_uri
from components.evaluation.results import UNKNOWN_CATEGORY, Results
from components.shared.files.atomic import sha256_of, whole_file
from components.shared.truth.labels import LabelsSpec
from components.shared.vectors.encoder import EncoderSpec
from components.shared.vectors.index_spec import IndexSpec, read_index_spec

TEMPLATE = Path(__file__).parent / "report.html.j2"

_HEADLINE = ("hit_rate_at_1", "recall_at_10", "map", "ndcg_at_10")
_HEADLINE_OF_MANY = ("hit_rate_at_1", "precision_at_10", "map", "ndcg_at_10")
_BRIEF = ("hit_rate_at_1", "recall_at_10", "precision_at_10", "map", "ndcg_at_10", "mrr")
_HISTORY = {  # the drawn part of a training's history: key → (title, axis)
    "loss": ("Training loss", "loss"),
    "validation_hit_rate_at_1": ("Validation while training", "hit rate@1"),
}
_CHARTED_CATEGORIES = 20


@dataclass(frozen=True)
class ReportInputs:
    """Everything the report shows.

    Attributes:
        outcomes: measured answers per ranker.
        metrics: contents of metrics.json.
        encoder: description of the trained encoder.
        labels: description of the labels.
        catalogue_directory: output of the catalogue step.
        encoder_directory: output of the training step, or a release.
        embeddings_directory: output of the embedding step.
        index_directory: output of the indexing step.
        titles: titles of the rankers.
        parameters: parameters of the evaluation.
    """

    gallery: Gallery
    outcomes: dict[str, RankerOutcome]
    results: Results
    decision: GateDecision
    metrics: dict[str, Any]
    encoder: EncoderSpec
    labels: LabelsSpec
    catalogue_directory: Path
    encoder_directory: Path
    embeddings_directory: Path
    index_directory: Path
    titles: dict[str, str]
    parameters: EvaluationParameters


def template_digest() -> str:
    """Return the digest of the template, since a page depends on it as it does on code."""
    return sha256_of(TEMPLATE)


def write_report(path: Path, inputs: ReportInputs) -> None:
    """Write the page as one self-contained file."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: wording.plain(value, 2_000) if type(value) is str else value,
    )
    environment.filters |= {
        "figure": wording.figure,
        "interval": wording.interval,
        "signed": wording.signed,
        "signed_interval": wording.signed_interval,
        "plain": wording.plain,
        "bytes": wording.bytes_of,
        "words": lambda text: str(text).replace("_", " "),
    }
    environment.globals["count"] = wording.count
    html = environment.get_template(TEMPLATE.name).render(**_context(inputs))
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")


def _context(inputs: ReportInputs) -> dict[str, Any]:
    thumbnails = Thumbnails(inputs.gallery, inputs.encoder.preprocessing)
    maker = SheetMaker(inputs.gallery, inputs.outcomes, thumbnails)
    index = read_index_spec(inputs.index_directory)
    return {
        "decision": inputs.decision,
        "results": inputs.results,
        "protocol": inputs.metrics["protocol"],
        "score_floors": inputs.metrics["score_floors"],
        "unreadable": inputs.metrics["unreadable_pictures"],
        "champion": inputs.metrics["champion"],
        "headline": _headline(inputs.outcomes["trained"]),
        "metric_titles": METRIC_TITLES,
        "metric_names": list(METRICS),
        "brief": _BRIEF,
        "titles": inputs.titles,
        "sheets": maker.sample(inputs.parameters.report_queries, inputs.parameters.seed),
        "improved": maker.most_improved(),
        "worst": maker.worst(),
        "shown": SHOWN,
        "expected_shown": EXPECTED,
        "encoder": inputs.encoder,
        "index": index,
        "index_files_bytes": index.index_bytes + (2 * index.rows * index.dimension if index.vectors_file else 0),
        "labels": inputs.labels,
        "data": facts.read_data_facts(inputs.catalogue_directory, inputs.embeddings_directory),
        "clicks": facts.read_click_facts(inputs.labels),
        "parameters": inputs.parameters,
        "charts": _charts(inputs, index),
        "map": _map(inputs, thumbnails),
    }


def _headline(outcome: RankerOutcome) -> tuple[str, ...]:
    """Return the names of the metrics to show first.

    If most queries have more than ten relevant images, ten answers cannot hold them and recall@10 is low at its best; then the
    share of relevant answers is more informative.
    """
    found, recalled = outcome.metric("precision_at_10") * 10, outcome.metric("recall_at_10")
    shown = recalled > 0  # number of relevant images = number found / share found
    many = shown.any() and float(np.median(found[shown] / recalled[shown])) > 10.5  # in floating point
    return _HEADLINE_OF_MANY if many else _HEADLINE


def _charts(inputs: ReportInputs, index: IndexSpec) -> dict[str, Any]:
    results, titles = inputs.results, inputs.titles
    headline = _headline(inputs.outcomes["trained"])
    full = {name: figures for name, figures in results.rankers.items() if name != "index"}
    charts: dict[str, Any] = {
        "forest": [
            plots.forest(METRIC_TITLES[metric], {n: f[metric] for n, f in full.items()}, titles) for metric in headline
        ],
        "recall": plots.recall_curves(CURVE_CUTS, _recall_curves(inputs.outcomes, inputs.gallery.size), titles),
        "history": _history_charts(inputs.encoder_directory),
        "tuning": None,
        "propensities": None,
        "precision": None,
        "categories": _category_charts(results),
    }
    points = sorted({(point.rows_per_query, point.ann_recall_at_10) for point in index.curve})
    if len(points) > 1:
        axes = {"x": "rows compared per query", "y": "share of the exact 10"}
        charts["tuning"] = plots.line(
            "Tuning the index", points, **axes, colour=plots.COLOURS["index"], target=index.recall.target
        )
    if (clicks := facts.read_click_facts(inputs.labels)) is not None:
        if clicks.positions:
            charts["propensities"] = plots.propensities(clicks.positions, clicks.estimated, clicks.true)
        if clicks.precision:
            charts["precision"] = plots.bars("Precision of the mined pairs", clicks.precision)
    return charts


def _recall_curves(outcomes: Mapping[str, RankerOutcome], size: int) -> dict[str, list[float]]:
    cuts = [i for i, cut in enumerate(CURVE_CUTS) if cut < size]
    return {
        name: [float(value) for value in np.nanmean(outcome.curve[:, cuts], axis=0)]
        for name, outcome in outcomes.items()
        if name != "index"
    }


def _history_charts(encoder: Path) -> list[Markup]:
    curves = facts.read_history(encoder)
    return [
        plots.line(title, curves[name], x="epoch", y=axis)
        for name, (title, axis) in _HISTORY.items()
        if len(curves.get(name, [])) > 1
    ]


def _category_charts(results: Results) -> list[Markup]:
    names = list(results.categories)[:_CHARTED_CATEGORIES]
    names = [n for n in names if results.categories[n]["trained"]["map"].queries]
    if not names or names == [UNKNOWN_CATEGORY]:
        return []
    charts = []
    for metric in ("hit_rate_at_1", "map"):
        after = [results.categories[n]["trained"][metric] for n in names]
        both = "untrained" in results.categories[names[0]]
        before = [results.categories[n]["untrained"][metric] for n in names] if both else None
        charts.append(plots.by_category(METRIC_TITLES[metric], names, before, after))
    return charts


def _map(inputs: ReportInputs, thumbnails: Thumbnails) -> dict[str, Any] | None:
    gallery, number = inputs.gallery, min(inputs.parameters.map_images, inputs.gallery.size)
    if number < 3:
        return None
    seed = inputs.parameters.seed
    rows = np.sort(np.random.default_rng(seed).choice(gallery.size, number, replace=False))
    colours, legend = _category_colours([gallery.column("category")[int(row)] for row in rows])
    scatters = []
    mosaic = Markup()
    for name, title in (("untrained", "Before training"), ("trained", "After training")):
        if name not in inputs.outcomes:
            continue
        vectors = inputs.outcomes[name].ranker.vectors
        assert vectors is not None
        positions = lay_out(vectors[rows], seed=seed)
        scatters.append(plots.scatter(title, positions, colours))
        if name == "trained":
            frames = [(int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)) for c in colours]
            mosaic = jpeg_data_uri(draw_mosaic(positions, rows, thumbnails, frames), quality=72)
    return {"images": number, "scatters": scatters, "mosaic": mosaic, "legend": legend}


def _category_colours(categories: list[str | None]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return a colour per image and (category, colour) for the legend; the most frequent categories have their own."""
    counts: dict[str, int] = {}
    for category in categories:
        if category is not None:
            counts[category] = counts.get(category, 0) + 1
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[: len(plots.CATEGORY_COLOURS)]
    colour_of = dict(zip(frequent, plots.CATEGORY_COLOURS, strict=False))
    legend = list(colour_of.items())
    colours = [colour_of.get(category or "", plots.OTHER_COLOUR) for category in categories]
    if plots.OTHER_COLOUR in colours and legend:
        rest = sorted(counts.keys() - colour_of.keys())
        legend.append((rest[0] if len(rest) == 1 and None not in categories else "others", plots.OTHER_COLOUR))
    return colours, legend
