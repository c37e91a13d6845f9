"""Parameters that suit an occasion; whatever is not named here keeps the step's own default."""

from __future__ import annotations

from typing import Any

Preset = dict[str, dict[str, Any]]

# Small data, no pretrained weights, two cores: a slim network on pictures that grow while it learns.
_FROM_SCRATCH: dict[str, Any] = {
    "architecture": "resnet18",
    "width": 0.5,
    "head": "normed",
    "objective": "multiple",
    "optimiser": "sgd",
    "weight_decay": 5e-4,
    "temperature": 0.1,
    "batch_pairs": 32,
    "growth_share": 0.8,
}

# The rendered catalogue: minutes on two cores. The light is part of the difficulty, the colours of a product are not.
DEMONSTRATION: Preset = {
    "training": {
        **_FROM_SCRATCH,
        "learning_rate": 0.1,
        "start_side": 48,
        "training_side": 64,
        "final_side": 64,
        "epochs": 28,
        "crop_area": 0.5,
        "colour": 0.3,
        "hue": 0.02,
        "grey": 0.0,
        "erase": 0.1,
    },
    # Every interval must lie apart from every baseline's, not only the paired difference above zero.
    "evaluation": {
        "superiority": "separate",
        "gate_metrics": ["hit_rate_at_1", "recall_at_10", "map", "ndcg_at_10"],
    },
}

# A person's own folder of pictures, a few thousand of them.
FOLDER: Preset = {
    "training": {
        **_FROM_SCRATCH,
        "learning_rate": 0.2,
        "start_side": 64,
        "training_side": 96,
        "final_side": 96,
        "epochs": 40,
    },
}
