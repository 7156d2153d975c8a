"""Training: the one loop, and what it is made of."""

from dclib.training.batches import Batches, augment
from dclib.training.checkpoint import Progress
from dclib.training.fitting import answers, fit
from dclib.training.loop import TOLERANCE, Diverged, OutOfTime, keep_freed_memory, train
from dclib.training.schedule import AUGMENTATIONS, MIXTURES, SEMANTICS, SHAPES, Schedule
from dclib.training.step import TrainStep, l2_weights, optimiser_for, unit_weights

__all__ = [
    "AUGMENTATIONS",
    "MIXTURES",
    "SEMANTICS",
    "SHAPES",
    "TOLERANCE",
    "Batches",
    "Diverged",
    "TrainStep",
    "OutOfTime",
    "Progress",
    "Schedule",
    "answers",
    "augment",
    "fit",
    "keep_freed_memory",
    "l2_weights",
    "optimiser_for",
    "train",
    "unit_weights",
]
