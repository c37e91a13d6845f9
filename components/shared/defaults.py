"""Defaults that several parts must agree on."""

MODEL_NAME = "visual-search"  # name of the registered model, and of the model that serves it
RESULTS, MOST_RESULTS = 20, 200  # results per search: default and limit
RECALL_TARGET = 0.95  # share of the exact top 10 that an index is tuned to find, and that the gate requires
