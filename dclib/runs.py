"""Descriptions of runs: frozen, complete, and hashed into an identity."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property

from dclib.correction import UnitDesign
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
            raise InputError("schedule: expected positive iterations, batch size, evaluation interval and learning "
                             f"rate, got {self}.")
        if not 0 <= self.warm_up <= self.iterations or (self.shape == "one-cycle" and self.drops):
            raise InputError("schedule: expected a warm-up within the iterations, and drops for steps alone, got a warm-up "
                             f"of {self.warm_up} of {self.iterations} iterations, {self.shape} and drops {self.drops}.")

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


#: Shares of a layer's filters that are swapped together in Figures 4 and 5.
FRACTIONS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Selection:
    """Which filters of which layers are corrected.

    Args:
        order: "ranked" (most susceptible first), "least" (least susceptible) or "random".
        scope: "local" takes counts[i] filters of layer i; "global" takes sum(counts) filters over all layers.
        score: "priority" (Eq. 1) or "relative_error" (the released code).
        counts: (layer, number of filters) pairs.
        draw: which random draw, for order "random".
    """

    order: str
    scope: str
    score: str
    counts: tuple[tuple[str, int], ...]
    draw: int = 0


#: Keras 1.2.1's BatchNorm, SGD and he_normal units, as the released code ran on: checked by tests/test_keras_steps.py.
SEMANTICS = "keras 1.2.1"


@dataclass(frozen=True)
class Run:
    """One run, fully specified. `id` is a hash of this description and of nothing else.

    Kinds: "train" (a baseline when `base` is None), "rank" (Algorithm 1), "swap" (Figures 4 and 5: the top
    fractions of one layer swapped together). `base` is the run whose network this one starts from, `ranking` the
    run of Algorithm 1 that chose its filters; in the description they stand as their ids.

    An AlexNet has a `layout`, the SHA-256 of the pre-trained convolutions in its `trunk`, no `width`, and one of the
    `designs` per layer. `validation_images` and `test_images` are then counted per class; all when None;
    `restoration` names what is done to distorted images before the network of `base` sees them (Tables 7 and 8).
    Kind "transfer" trains linear SVMs on `features` of the network of `base`, with the images that `trained_on` says
    (Tables 13 to 15). Kind "embed" lays the test images of the classes `shown` out in the plane by those features
    (Figures 2 and 10).

    `batch_statistics` lets frozen BatchNorms follow the mini-batches, as released; `blur_of_bytes` rounds blurred values to
    whole grey values, as OpenCV does with uint8 images. `semantics` names by whose rules networks are made and trained
    (`SEMANTICS`), so that a record made under others is none of this run.
    """

    kind: str
    method: str
    dataset: str
    fingerprint: str
    classes: int
    width: int
    seed: int
    distortion: str | None = None
    sigmas: tuple[float, ...] = ()
    photographs: tuple[int, ...] = ()
    batchnorm_momentum: float = 0.01
    precision: str = "float32"
    validation_images: int | None = None
    layers: tuple[str, ...] = ()
    also_train: tuple[str, ...] = ()
    design: UnitDesign | None = None
    selection: Selection | None = None
    schedule: Schedule | None = None
    ranking_images: int = 0
    ranking_split: str = ""
    fractions: tuple[float, ...] = ()
    base: "Run | None" = field(default=None)
    ranking: "Run | None" = field(default=None)
    network: str = "AllConvNet"
    layout: str = ""
    trunk: str = ""
    designs: tuple[tuple[str, UnitDesign], ...] = ()
    test_images: int | None = None
    restoration: str = ""
    features: str = ""
    trained_on: str = ""
    shown: tuple[int, ...] = ()
    batch_statistics: bool = False
    semantics: str = ""
    blur_of_bytes: bool = False

    @cached_property
    def description(self) -> dict:
        """This run as JSON-ready data; fields at their defaults are left out, so that new fields keep old ids."""
        described = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value == f.default:
                continue
            if isinstance(value, Run):
                value = value.id
            elif isinstance(value, (Schedule, Selection, UnitDesign)):
                value = _without_defaults(value)
            elif f.name == "designs":
                value = {layer: _without_defaults(design) for layer, design in value}
            described[f.name] = value
        return json.loads(json.dumps(described))

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits."""
        canonical = json.dumps(self.description, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def needs(self) -> tuple["Run", ...]:
        """The runs that have to be there first."""
        return tuple(run for run in (self.base, self.ranking) if run is not None)

    def __str__(self) -> str:
        condition = f" {self.distortion}" if self.distortion else ""
        scale = f", width {self.width}" if self.width else ""
        return f"{self.method}{condition} ({self.dataset}{scale}, seed {self.seed})"


def _without_defaults(value: Schedule | Selection | UnitDesign) -> dict:
    return {k: v for k, v in asdict(value).items() if v != type(value).__dataclass_fields__[k].default}
