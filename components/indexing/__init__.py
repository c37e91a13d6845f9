"""Embeddings → index: choose, forecast, train, build, tune, verify."""
