"""Which runs make which table or figure, in each profile. Nothing is computed here."""

from dclib.experiments import cifar100, efficientnet, imagenet, neighbours
from dclib.experiments.cifar100 import (
    DRAWS,
    METHODS,
    SHARES,
    TOP,
    baseline,
    baseline_under,
    deepcorrect,
    finetune,
    fingerprint,
    first_layer,
    global_deepcorrect,
    joint_deepcorrect,
    joint_selection,
    method_run,
    ranking,
    swaps,
    unit_variants,
)
from dclib.experiments.networks import SIZES, other_classes, other_width, short_training, trained_parameters, unit_operations
from dclib.experiments.profiles import (
    CHOICES,
    CONV,
    DEEPCORRECT_L2,
    NETWORKS,
    PREFERRED,
    PROFILES,
    RELEASED_L2,
    ImageNetHalf,
    Profile,
    StandIn,
    as_in_the_text,
    in_words,
    profile,
    shortened,
    with_budget,
)
from dclib.experiments.run import FRACTIONS, Run, Selection
from dclib.experiments.target import Target
from dclib.experiments.targets import HALVES, TARGETS, in_paper, places, queue, rows, stand_in, target_of

__all__ = ["CHOICES", "CONV", "DEEPCORRECT_L2", "DRAWS", "FRACTIONS", "HALVES", "METHODS", "NETWORKS", "PREFERRED",
           "PROFILES", "RELEASED_L2", "SHARES", "SIZES", "TARGETS", "TOP", "ImageNetHalf", "Profile", "Run",
           "Selection", "StandIn", "Target", "as_in_the_text", "baseline", "baseline_under", "cifar100", "deepcorrect",
           "efficientnet", "finetune", "fingerprint", "first_layer", "global_deepcorrect", "imagenet", "in_paper",
           "in_words", "joint_deepcorrect", "joint_selection", "method_run", "neighbours", "other_classes", "other_width", "places",
           "profile", "queue", "ranking", "rows", "short_training", "shortened", "stand_in", "swaps", "target_of",
           "trained_parameters", "unit_operations", "unit_variants", "with_budget"]
