"""Contrastive training of the encoder: pairs in, an ONNX encoder with its parity checked out."""
