"""The indexing step, from embeddings to an index: choose, forecast, train, build, tune, verify."""
