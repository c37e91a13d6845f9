"""The latest records as gauges for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from components.shared.errors import VisualSearchError
from monitoring.findings import State
from monitoring.remedies.ledger import Entry, Ledger
from monitoring.status.record import LATEST_FILE, OnlineRow, Record, RecordStore, overall_state

NAMESPACE = "visual_search_monitoring"
STATE_VALUES: dict[State, int] = {"unknown": -1, "ok": 0, "watch": 1, "alarm": 2}
ONLINE = {
    "searches": "Searches that showed a result.",
    "click_through_per_query": "Share of the searches with a click.",
    "corrected_click_through": "Clicks for each result shown, as if every position were examined.",
    "abandonment": "Share of the searches without a click.",
    "clicks_at_k": "Clicks among the first k results, for each search.",
    "median_seconds_to_click": "Median time to the first click.",
    "median_dwell_seconds": "Median time on a clicked image.",
    "zero_result_rate": "Share of the sampled queries that found nothing.",
}


class LatestRecords(Collector):
    """Reads the latest record of every arm whenever it is asked.

    Args:
        folder: folder of monitoring; each arm has a folder in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give the gauges; an arm whose record cannot be read is told by `…_readable` 0."""
        readable = _gauge("readable", "Whether the latest record of an arm can be read.", "arm")
        records = []
        for arm in arms_of(self._folder):
            try:
                records.append(RecordStore(self._folder / arm).latest())
                readable.add_metric([arm], 1)
            except VisualSearchError:
                readable.add_metric([arm], 0)
        yield readable
        yield from _of_reports(records)
        yield from _of_online(records)
        try:
            yield from _of_remedies(Ledger(self._folder).entries())
        except VisualSearchError:
            readable.add_metric(["remedies"], 0)


def arms_of(folder: Path) -> list[str]:
    """Return the arms that have a record, the champion first."""
    arms = [path.parent.name for path in folder.glob(f"*/{LATEST_FILE}")]
    return sorted(arms, key=lambda arm: (arm != "champion", arm))


def render(folder: Path) -> bytes:
    """Return all gauges in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(LatestRecords(folder))
    return generate_latest(registry)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{NAMESPACE}_{name}", text, labels=labels)


def _of_reports(records: Iterable[Record]) -> Iterator[GaugeMetricFamily]:
    reported = _gauge("report_timestamp_seconds", "When the latest report was made.", "arm", "release_id")
    window = _gauge("window_queries", "Queries in the window of the latest report.", "arm", "release_id")
    overall = _gauge("state", "Worst known state: −1 unknown, 0 ok, 1 watch, 2 alarm.", "arm", "release_id")
    of_concern = ("arm", "release_id", "topic", "concern")
    state = _gauge("concern_state", "−1 unknown, 0 ok, 1 watch, 2 alarm.", *of_concern)
    figures = {
        "value": _gauge("concern_value", "The monitored figure.", *of_concern),
        "threshold": _gauge("concern_threshold", "Limit of the figure.", *of_concern),
        "effect": _gauge("concern_effect", "Size of the change; 0 is none.", *of_concern),
        "p_value": _gauge("concern_p_value", "Adjusted p-value of the change.", *of_concern),
    }
    diagnosis = _gauge("diagnosis", "1 for each diagnosis.", "arm", "release_id", "cause", "remedy")
    for record in records:
        report = record.report
        of_report = [report.arm, report.release_id]
        reported.add_metric(of_report, report.at.timestamp())
        window.add_metric(of_report, report.window)
        overall.add_metric(of_report, STATE_VALUES[overall_state(report)])
        for concern in report.concerns:
            labels = [*of_report, concern.topic, concern.name]
            state.add_metric(labels, STATE_VALUES[concern.state])
            for name, family in figures.items():
                if (value := getattr(concern, name)) is not None:
                    family.add_metric(labels, value)
        for cause, remedy in dict.fromkeys((found.cause, found.remedy) for found in report.diagnoses):
            diagnosis.add_metric([*of_report, cause, remedy], 1)
    yield from (reported, window, overall, state, *figures.values(), diagnosis)


def _of_online(records: Iterable[Record]) -> Iterator[GaugeMetricFamily]:
    families = {name: _gauge(f"online_{name}", text, "by", "label") for name, text in ONLINE.items()}
    rows: dict[tuple[str, str], OnlineRow] = {}
    for record in records:  # every arm's record has the table of all arms; the later one counts
        for by in ("arm", "release_id"):
            rows |= {(by, row.label): row for row in record.online.get(by, ())}
    for (by, label), row in sorted(rows.items()):
        for name, family in families.items():
            if (value := getattr(row, name)) is not None:
                family.add_metric([by, label], value)
    yield from families.values()


def _of_remedies(entries: Iterable[Entry]) -> Iterator[GaugeMetricFamily]:
    latest: dict[str, Entry] = {entry.remedy: entry for entry in entries}
    started = _gauge("remedy_started_timestamp_seconds", "When a remedy was started last.", "remedy", "pipeline")
    state = _gauge("remedy_state", "1 for the state of the latest run of a remedy.", "remedy", "pipeline", "state")
    for remedy, entry in sorted(latest.items()):
        started.add_metric([remedy, entry.pipeline], entry.started_at.timestamp())
        state.add_metric([remedy, entry.pipeline, entry.state], 1)
    yield from (started, state)
