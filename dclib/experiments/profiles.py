"""Profiles: how large the runs of both halves of the paper are made, and what of the paper each of them cuts."""

from dataclasses import dataclass, replace
from functools import lru_cache

from dclib import datasets
from dclib.correction import RELEASED_CIFAR100, UnitDesign
from dclib.errors import InputError
from dclib.experiments.stand_ins import StandIn
from dclib.training import Schedule

#: Profiles in the order in which a page prefers their records.
PREFERRED = ("paper", "imagenet20", "short-training", "small")
CONV = tuple(f"conv{i}" for i in range(1, 10))
#: l2 coefficients of the released baseline; fine-tuned layers keep theirs. DeepCorrect's networks have one for all, which
#: acts on what -c variants train and is else reported in the loss alone.
RELEASED_L2 = tuple((layer, 3e-4 if layer in CONV[:6] else 1e-4) for layer in CONV)
DEEPCORRECT_L2 = tuple((layer, 1e-4) for layer in CONV)

#: How the ImageNet networks of each profile differ from the paper's, which were a finished AlexNet in another layout.
_TWENTY = (StandIn("20 ImageNet classes", ", new dense layers on BVLC's convolutions"),)
NETWORKS = {
    "small": _TWENTY,
    "imagenet20": _TWENTY,
    "paper": (StandIn("new dense layers on BVLC's convolutions", ", read from a slightly coarse, product-quantised copy"),),
}


@dataclass(frozen=True)
class ImageNetHalf:
    """A profile's ImageNet half: data, schedules, and what of it was cut.

    `deepcorrect` is for units with BatchNorm, `without_batchnorm` for those without, which pass on the size of AlexNet's
    outputs and diverge at the others' rate. `unit_momentum` is that of the units' BatchNorms. `ranking_images` per class
    come from the training images, as in the paper's text; the released code takes them from the test images.
    `validation_images` and `test_images` per class are looked at, `rival_images` with BM3D, which takes seconds an image;
    all when None. `baseline_precision` is that of the baseline's training where it is another: in float64 every processor makes the
    same network, which all rows start from.
    """

    name: str
    dataset: str
    classes: int
    baseline: Schedule
    finetune: Schedule
    deepcorrect: Schedule
    without_batchnorm: Schedule
    ranking_images: int
    seeds: tuple[int, ...]
    unit_momentum: float = 0.01
    validation_images: int | None = None
    test_images: int | None = None
    rival_images: int | None = None
    precision: str = "float32"
    baseline_precision: str | None = None
    stand_in: tuple[StandIn, ...] = ()
    whole_collections: bool = False


@dataclass(frozen=True)
class Profile:
    """How the paper's runs are made: the CIFAR-100 half here, the ImageNet half in `imagenet`, None where there is none.

    `narrow` and `wide` are the corrected filters of conv1..3 and conv4..6, `score` is what filters are ranked by.
    `baseline_layers` are those that the baseline trains. `stand_in` says how the CIFAR-100 half differs from the paper's;
    empty where it does not. `published` takes the networks from the authors' files (`experiments.published`) instead of
    training them, and `targets` names the tables and figures that the profile has; all when empty.
    """

    name: str
    dataset: str
    classes: int
    width: int
    narrow: int
    wide: int
    design: UnitDesign
    baseline: Schedule
    finetune: Schedule
    deepcorrect: Schedule
    ranking_images: int
    ranking_split: str
    seeds: tuple[int, ...]
    deep_warm_up: int = 0
    photographs: tuple[int, ...] = ()
    validation_images: int | None = None
    batchnorm_momentum: float = 0.01
    precision: str = "float32"
    score: str = "relative_error"
    stand_in: tuple[StandIn, ...] = ()
    batch_statistics: bool = True
    baseline_layers: tuple[str, ...] = ()
    imagenet: ImageNetHalf | None = None
    published: bool = False
    targets: tuple[str, ...] = ()


def _paper() -> Profile:
    """The released schedules: steps of a tenth (Section 5.1.1)."""
    per_epoch = 176  # 45,000 images in batches of 256
    baseline = Schedule(
        110 * per_epoch,
        256,
        0.1,
        tuple(per_epoch * e for e in (30, 60, 90)),
        per_epoch,
        augmentation="rotate-shift-flip",
        l2=RELEASED_L2,
    )
    # 40 "epochs" of 90,000 samples, as released: twice the passes that the text names. Four equal parts.
    finetune = Schedule(
        40 * 360,
        250,
        0.01,
        (10 * 360, 20 * 360, 30 * 360),
        360,
        decay=1e-5,
        augmentation="rotate-shift-flip",
        l2=RELEASED_L2,
    )
    deepcorrect = replace(finetune, learning_rate=0.1, l2=DEEPCORRECT_L2, l1=1e-5)
    return Profile(
        "paper",
        "cifar100",
        100,
        96,
        50,
        100,
        RELEASED_CIFAR100,
        baseline,
        finetune,
        deepcorrect,
        10,
        "train",
        (0, 1, 2),
        deep_warm_up=360,
        precision="bfloat16",
        imagenet=_in_proportion(
            "paper",
            "imagenet",
            1000,
            62_500,
            256,
            50,
            ranking_images=5,
            seeds=(0,),
            precision="bfloat16",
            whole_collections=True,
            stand_in=NETWORKS["paper"],
        ),
    )


def _imagenet20() -> Profile:
    """`paper`'s CIFAR-100 half; of ImageNet 20 classes."""
    return replace(
        _paper(),
        name="imagenet20",
        imagenet=_in_proportion(
            "imagenet20",
            "imagenet20",
            20,
            1250,
            128,
            10,
            ranking_images=5,
            seeds=(0, 1, 2),
            rival_images=10,
            precision="bfloat16",
            stand_in=NETWORKS["imagenet20"],
        ),
    )


def _one_cycle(iterations: int, batch: int, peak: float, looks: int, **more) -> Schedule:
    """A short training: the rate rises over the first sixth, and falls to zero."""
    return Schedule(iterations, batch, peak, (), -(-iterations // looks), shape="one-cycle", warm_up=iterations // 6, **more)


def _retraining(iterations: int, batch: int, looks: int, finetune: float, deepcorrect: float) -> tuple[Schedule, Schedule]:
    """Finetune-k's and Deepcorr-k's schedule with their peak rates: the same images for both."""
    return (
        _one_cycle(iterations, batch, finetune, looks, l2=RELEASED_L2),
        _one_cycle(iterations, batch, deepcorrect, looks, l2=DEEPCORRECT_L2, l1=1e-5),
    )


# Peak rates of the short schedules were chosen on held-out training images, from as many candidates for Finetune as for
# DeepCorrect and with the same images: `python -m benchmarks.peak_rates`; what was tried stands in benchmarks/results. At the
# full width they are those of `small`.


def _short_training() -> Profile:
    baseline = _one_cycle(16 * 176, 256, 0.2, 8, l2=RELEASED_L2)
    finetune, deepcorrect = _retraining(1000, 125, 8, 0.01, 0.1)
    return Profile(
        "short-training",
        "cifar100",
        100,
        96,
        50,
        100,
        RELEASED_CIFAR100,
        baseline,
        finetune,
        deepcorrect,
        5,
        "train",
        (0, 1, 2),
        validation_images=1000,
        stand_in=(StandIn("the paper's own network", ", trained for a short time"),),
    )


def _small() -> Profile:
    baseline = _one_cycle(15 * 176, 256, 0.2, 8, l2=RELEASED_L2)
    finetune, deepcorrect = _retraining(1000, 125, 8, 0.01, 0.1)
    return Profile(
        "small",
        "cifar100",
        100,
        32,
        16,
        32,
        UnitDesign(width=16, input_batchnorm=True),
        baseline,
        finetune,
        deepcorrect,
        10,
        "train",
        (0, 1, 2),
        validation_images=1000,
        stand_in=(
            StandIn("CIFAR-100 at a third of the width", " (32, 64 channels), units of width 16 on half the filters"),
        ),
        imagenet=_small_imagenet(),
    )


def _photographs(
    name: str,
    counts: tuple[int, int, int],
    width: int,
    baseline: int,
    retrain: int,
    looks: int,
    batch: int,
    per_class: int,
    seeds: tuple[int, ...],
) -> Profile:
    finetune, deepcorrect = _retraining(retrain, batch, looks, 0.001, 0.1)
    return Profile(
        name,
        "photographs",
        len(datasets.PHOTOGRAPHS),
        width,
        width // 2,
        width,
        UnitDesign(width=16, input_batchnorm=True, batchnorm_momentum=0.1),
        _one_cycle(baseline, batch, 0.1, looks, l2=RELEASED_L2),
        finetune,
        deepcorrect,
        per_class,
        "train",
        seeds,
        photographs=counts,
        batchnorm_momentum=0.1,
        stand_in=(
            StandIn(
                f"{len(datasets.PHOTOGRAPHS)} classes of patches from photographs", f", {width} and {2 * width} channels"
            ),
        ),
    )


#: What all trainings share: released are the middle 227 pixels, cut out before anything else, and this mixture.
_COMMON = {"augmentation": "rotate-shift-zoom-flip", "mixture": "each by chance", "crop": 227}


def _in_proportion(name: str, dataset: str, classes: int, iterations: int, batch: int, looks: int, **more) -> ImageNetHalf:
    """The paper's schedule, or one in its proportions: the rate falls to a tenth after each 30 % (Section 5.2.1)."""
    drops = tuple(round(0.3 * iterations * part) for part in (1, 2, 3))
    finetune = Schedule(iterations, batch, 0.001, drops, -(-iterations // looks), **_COMMON)
    # The pre-trained features are large: at 0.01 new dense layers diverge within 30 iterations.
    baseline = replace(finetune, drops=(iterations * 3 // 5, iterations * 17 // 20))
    units = replace(finetune, learning_rate=0.1, l1=1e-5)
    return ImageNetHalf(name, dataset, classes, baseline, finetune, units, replace(units, learning_rate=0.01), **more)


def _small_imagenet() -> ImageNetHalf:
    """A short training in one cycle. `benchmarks.peak_rates` chose its peak rates among five for every family, but the
    baseline's, on held-out training images."""

    def one_cycle(iterations: int, peak: float, **more) -> Schedule:
        return Schedule(
            iterations, 32, peak, (), -(-iterations // 4), shape="one-cycle", warm_up=iterations // 6, **_COMMON, **more
        )

    return ImageNetHalf(
        "small",
        "imagenet20",
        20,
        one_cycle(240, 0.001),
        one_cycle(120, 0.0001),
        one_cycle(120, 3.0, l1=1e-5),
        one_cycle(120, 0.0003, l1=1e-5),
        ranking_images=5,
        seeds=(0,),
        unit_momentum=0.1,
        validation_images=5,
        rival_images=10,
        baseline_precision="float64",
        stand_in=NETWORKS["small"],
    )


def _authors() -> Profile:
    return replace(
        _paper(),
        name="authors",
        seeds=(0,),
        precision="float32",
        published=True,
        targets=("table1", "table2", "table3", "table4", "figure4", "figure5"),
        imagenet=None,
        stand_in=(StandIn("the networks that the authors published", ", tested again"),),
    )


PROFILES = {
    "smoke": lambda: _photographs("smoke", (12, 6, 8), 8, 8, 4, 2, 50, 1, (0,)),
    "miniature": lambda: _photographs("miniature", (250, 20, 60), 24, 200, 64, 4, 128, 5, (0,)),
    "small": _small,
    "short-training": _short_training,
    "imagenet20": _imagenet20,
    "paper": _paper,
    "authors": _authors,
}


@lru_cache
def profile(name: str) -> Profile:
    """The profile called `name`: smoke, miniature, small, short-training, imagenet20, paper or authors."""
    if name not in PROFILES:
        raise InputError(f"profile: expected one of {', '.join(PROFILES)}, got {name!r}.")
    return PROFILES[name]()
