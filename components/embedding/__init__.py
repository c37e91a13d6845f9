"""Catalogue → embeddings by the exported encoder, in resumable shards."""
