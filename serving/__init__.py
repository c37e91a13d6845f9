"""Processes that answer queries: the encoder, the transformer with the index, the events, and the page to search on."""
