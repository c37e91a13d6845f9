"""The evaluation step: how well encoder and index find what people consider similar, the gate, and the picture report."""
