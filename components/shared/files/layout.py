"""Names of the files that one part writes and another reads; each stands here alone, or beside its format."""

CATALOGUE_FILE = "catalogue.parquet"  # table CATALOGUE, of the catalogue step
QUARANTINE_FILE = "quarantine.parquet"  # table QUARANTINE, beside it
EVENTS_FILE = "events.parquet"  # table EVENTS, where it is one file
TRUTH_FILE = "truth.json"  # the true propensities of a rendered shop
TRUE_RELEVANCE_FILE = "truth_relevance.parquet"  # table JUDGEMENTS: its true grades
UNTRAINED_FILE = "untrained.onnx"  # the encoder before training, to compare with
HISTORY_FILE = "history.json"  # figures of every epoch of a training
ITEMS_FILE = "items.parquet"  # table ITEMS, of an index, a release and a generation
METRICS_FILE = "metrics.json"  # of the evaluation step
GATE_FILE = "gate.json"  # its decision
REPORT_FILE = "report.html"  # its pictures
ABSENT_FILE = "absent.json"  # in place of the champion's release where there is none
MANIFEST_FILE = "manifest.json"  # of a release
