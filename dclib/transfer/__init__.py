"""Features of a network for another task (Section 5.3, Tables 13 to 15)."""

from dclib.transfer.features import LAYERS, centre, dense_features, features_at_level, features_per_level
from dclib.transfer.protocol import (
    COSTS,
    SPLITS,
    TRAINED_ON,
    TRAINING,
    VALIDATION,
    Transfer,
    choose_cost,
    draw_accuracy,
    draw_split,
    mean_accuracy_per_class,
    transfer_accuracy,
)

__all__ = [
    "COSTS",
    "LAYERS",
    "SPLITS",
    "TRAINED_ON",
    "TRAINING",
    "VALIDATION",
    "Transfer",
    "centre",
    "choose_cost",
    "dense_features",
    "draw_accuracy",
    "draw_split",
    "features_at_level",
    "features_per_level",
    "mean_accuracy_per_class",
    "transfer_accuracy",
]
