"""Which filters a distortion hurts most: Algorithm 1, the correction priority, and the selection of filters."""

from dclib.ranking.algorithm1 import rank_filters
from dclib.ranking.borda import activation_distances, borda_count
from dclib.ranking.joint import Step, select_jointly
from dclib.ranking.priority import SCORES, correction_priority, select_global, select_local
from dclib.ranking.swap_network import SwapNetwork, trial_images
from dclib.ranking.swaps import (
    Place,
    accuracy_per_level,
    hits_after_joint_swaps,
    hits_after_swaps,
    joint_swap_accuracy,
    joint_swaps_in_parts,
    part_starts,
    swap_accuracy,
    swaps_in_parts,
)

__all__ = [
    "SCORES",
    "Place",
    "Step",
    "SwapNetwork",
    "accuracy_per_level",
    "activation_distances",
    "borda_count",
    "hits_after_joint_swaps",
    "hits_after_swaps",
    "correction_priority",
    "joint_swap_accuracy",
    "joint_swaps_in_parts",
    "part_starts",
    "rank_filters",
    "select_global",
    "select_jointly",
    "select_local",
    "swap_accuracy",
    "swaps_in_parts",
    "trial_images",
]
