"""Training: the one loop, and what it is made of."""

from dclib.training.loop import TOLERANCE, Batches, Diverged, OutOfTime, Progress, augment, keep_freed_memory, train
from dclib.training.schedule import AUGMENTATIONS, MIXTURES, SEMANTICS, SHAPES, Schedule
from dclib.training.step import Engine, l2_weights, optimiser_for, unit_weights

__all__ = ["AUGMENTATIONS", "MIXTURES", "SEMANTICS", "SHAPES", "TOLERANCE", "Batches", "Diverged", "Engine", "OutOfTime",
           "Progress", "Schedule", "augment", "keep_freed_memory", "l2_weights", "optimiser_for", "train", "unit_weights"]
