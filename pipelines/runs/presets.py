"""Parameters for a purpose; a parameter that is not named here keeps the step's own default."""

from __future__ import annotations

from typing import Any

Preset = dict[str, dict[str, Any]]

# A rendered shop: the light is part of the difficulty, the colours of a product are not.
_RENDERED_VIEWS: dict[str, Any] = {"crop_area": 0.5, "colour": 0.3, "hue": 0.02, "grey": 0.0, "erase": 0.1}

# Without pretrained weights, on small data and two cores: a slim network on pictures that grow while it learns.
FROM_SCRATCH: dict[str, Any] = {
    "mode": "scratch",
    "architecture": "resnet18",
    "weights": "",
    "width": 0.5,
    "head": "normed",
    "objective": "multiple",
    "optimiser": "sgd",
    "learning_rate": 0.2,
    "weight_decay": 5e-4,
    "temperature": 0.1,
    "category_weight": 0.0,
    "batch_pairs": 32,
    "growth_share": 0.8,
    "start_side": 64,
    "training_side": 96,
    "final_side": 96,
    "epochs": 40,
}

DEMONSTRATION: Preset = {
    "training": {"mode": "head", **_RENDERED_VIEWS},
    # Every interval must be apart from every baseline's, not only the paired difference above zero.
    "evaluation": {
        "superiority": "separate",
        "gate_metrics": ["hit_rate_at_1", "recall_at_10", "map", "ndcg_at_10"],
    },
}

# A folder of pictures: training chooses the way by pairs, processor and time.
FOLDER: Preset = {"training": {}}


def with_mode(preset: Preset, assigned: Preset) -> Preset:
    """Return a preset that suits the assigned way to train: from scratch, with the network and the dials for it."""
    training = assigned.get("training", {})
    if training.get("mode") != "scratch" or "architecture" in training:
        return preset
    return {**preset, "training": {**preset.get("training", {}), **FROM_SCRATCH}}
