"""Whether the queries have changed: calibrated tests, as Evidently metrics."""
