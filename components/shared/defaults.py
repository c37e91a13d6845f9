"""Defaults that several parts must agree on."""

MODEL_NAME = "visual-search"  # of the registered model, and of the model that serves it
RESULTS, MOST_RESULTS = 20, 200  # of one search
RECALL_TARGET = 0.95  # share of the exact top 10 that an index is tuned to find, and that the gate asks of it
