"""How a network is trained: the schedule, and by whose rules."""

import math
from dataclasses import dataclass

from dclib.errors import InputError

AUGMENTATIONS = ("none", "pad-crop-flip", "rotate-shift-flip", "rotate-shift-zoom-flip")
MIXTURES = ("half of the batch", "each by chance")
SHAPES = ("steps", "one-cycle")


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: SGD with Nesterov momentum 0.9 and a learning rate of some `shape`.

    Args:
        iterations, batch_size: length of the training and images per iteration.
        learning_rate: at the start of "steps"; the peak of "one-cycle".
        drops: iterations at which the learning rate of "steps" falls to a tenth.
        evaluate_every: iterations between two looks at the validation images.
        shape: "steps", as released. "one-cycle", for trainings too short for steps: the rate rises in a line over
            `warm_up` iterations and falls along a half cosine to zero at the end.
        warm_up, warm_up_rate: the first `warm_up` iterations of "steps" run at `warm_up_rate`.
        decay: Keras's decay: the rate is divided by 1 + decay * iteration.
        augmentation: "none", "pad-crop-flip" (He et al.), or the released code's: "rotate-shift-flip" for CIFAR-100,
            "rotate-shift-zoom-flip" for ImageNet.
        mixture: "half of the batch" distorts exactly that and augments every image (released for CIFAR-100); "each by
            chance" distorts each image with probability 1/2, and augments each of the others with probability 1/2
            (released for ImageNet).
        l2: (layer, coefficient) pairs, each adding coefficient * sum of squared weights to the loss.
        l1: coefficient of the sum of absolute weights of the correction units' convolutions (Eq. 5).
        factors: (layer, factor) pairs: that layer's learning rate is the factor times that of the others.
        crop: side of the middle square that is cut out of every image before anything else; 0 for none.
    """

    iterations: int
    batch_size: int
    learning_rate: float
    drops: tuple[int, ...]
    evaluate_every: int
    warm_up: int = 0
    warm_up_rate: float = 0.0
    decay: float = 0.0
    augmentation: str = "pad-crop-flip"
    mixture: str = MIXTURES[0]
    l2: tuple[tuple[str, float], ...] = ()
    l1: float = 0.0
    factors: tuple[tuple[str, float], ...] = ()
    shape: str = SHAPES[0]
    crop: int = 0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InputError(f"shape: expected one of {', '.join(SHAPES)}, got {self.shape!r}.")
        if self.augmentation not in AUGMENTATIONS:
            raise InputError(f"augmentation: expected one of {', '.join(AUGMENTATIONS)}, got {self.augmentation!r}.")
        if self.mixture not in MIXTURES:
            raise InputError(f"mixture: expected one of {', '.join(MIXTURES)}, got {self.mixture!r}.")
        if min(self.iterations, self.batch_size, self.evaluate_every) < 1 or self.learning_rate <= 0:
            raise InputError(
                f"schedule: expected positive iterations, batch size, evaluation interval and learning rate, got {self}."
            )
        if not 0 <= self.warm_up <= self.iterations or (self.shape == "one-cycle" and self.drops):
            raise InputError(
                "schedule: expected a warm-up within the iterations, and drops for steps alone, got a warm-up "
                f"of {self.warm_up} of {self.iterations} iterations, {self.shape} and drops {self.drops}."
            )

    def rate(self, iteration: int) -> float:
        """The learning rate of one iteration, counted from 0; never 0 itself."""
        if self.shape == "one-cycle":
            if iteration < self.warm_up:
                return self.learning_rate * (iteration + 1) / (self.warm_up + 1) / (1 + self.decay * iteration)
            done = (iteration - self.warm_up) / (self.iterations - self.warm_up)
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2 / (1 + self.decay * iteration)
        if iteration < self.warm_up:
            return self.warm_up_rate / (1 + self.decay * iteration)
        dropped = sum(iteration >= drop for drop in self.drops)
        return self.learning_rate * 0.1**dropped / (1 + self.decay * iteration)


#: Keras 1.2.1's BatchNorm, SGD and he_normal units, as the released code ran on: checked by tests/training/test_keras_steps.py.
SEMANTICS = "keras 1.2.1"
