"""Evaluation: how well the encoder and its index find what people call similar, the gate, and the picture report."""
