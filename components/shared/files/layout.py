"""Names of the files that one part writes and another reads; each name is defined here alone, or beside its format."""

CATALOGUE_FILE = "catalogue.parquet"  # table CATALOGUE, from the catalogue step
QUARANTINE_FILE = "quarantine.parquet"  # table QUARANTINE, from the catalogue step
EVENTS_FILE = "events.parquet"  # table EVENTS as a single file
TRUTH_FILE = "truth.json"  # the true propensities of a rendered shop
TRUE_RELEVANCE_FILE = "truth_relevance.parquet"  # table JUDGEMENTS: its true grades
UNTRAINED_FILE = "untrained.onnx"  # the encoder before training, for comparison
HISTORY_FILE = "history.json"  # figures of every epoch of a training
ITEMS_FILE = "items.parquet"  # table ITEMS in an index, a release and a generation
METRICS_FILE = "metrics.json"  # figures from the evaluation step
GATE_FILE = "gate.json"  # decision of the evaluation's gate
REPORT_FILE = "report.html"  # picture report of the evaluation
ABSENT_FILE = "absent.json"  # instead of the champion's release if there is none
MANIFEST_FILE = "manifest.json"  # manifest of a release
