"""The runs on EfficientNet-Lite0: our own study beside the paper's, of all 1,000 classes of ImageNet.

The network is a finished one, as the paper's AlexNet was, and comes with the extra `imagenet`. The images are those of
imagenet20: 20 of the 1,000 classes, with which units are trained and the network is tested.
"""

from dataclasses import replace
from functools import partial

from dclib import datasets
from dclib.correction import UnitDesign
from dclib.distortions import DISTORTIONS, levels
from dclib.experiments.profiles import ImageNetHalf
from dclib.experiments.run import Run, Selection
from dclib.experiments.stand_ins import StandIn
from dclib.published import EFFICIENTNET_SHA256
from dclib.training import SEMANTICS, Schedule

DATASET = "imagenet20-of-1000"
STEM = "network._conv_stem.conv"
#: Blocks whose depthwise convolution goes in steps of two, behind a padding of its own.
_STRIDED = (1, 3, 5, 11)


def projection(block: int) -> str:
    """The name of a block's last convolution, whose outputs the next block gets."""
    return f"network._blocks.{block}._project_conv"


def convolutions(blocks: int) -> tuple[str, ...]:
    """The stem, and of the first blocks expansion, depthwise convolution and projection; the first has no expansion."""
    found = [STEM]
    for block in range(blocks):
        inside = f"network._blocks.{block}."
        found += [f"{inside}_expand_conv"] * (block > 0)
        found += [f"{inside}_depthwise_conv{'.conv' if block in _STRIDED else ''}", projection(block)]
    return tuple(found)


#: Corrected convolutions, and how many of their filters: every second one.
FILTERS = {STEM: 16} | {projection(block): count for block, count in enumerate((8, 12, 12, 20, 20, 40, 40, 40))}
#: A fresh unit changes nothing: what is trained starts from the published network's own answers.
UNIT = UnitDesign(batchnorm_momentum=0.1, begins_at_zero=True)
#: Peak rates; see `benchmarks/results`.
RATES = {"Deepcorr": {"blur": 0.1, "awgn": 0.1}, "Finetune": {"blur": 0.01, "awgn": 0.01}}


def _common(seed: int, distortion: str) -> dict:
    return {
        "dataset": DATASET,
        "fingerprint": datasets.fingerprint_of(DATASET),
        "classes": 1000,
        "width": 0,
        "seed": seed,
        "network": "EfficientNet-Lite0",
        "trunk": EFFICIENTNET_SHA256,
        "blur_of_bytes": True,
        "distortion": distortion,
        "sigmas": levels("imagenet", distortion),
    }


def _schedule(rate: float) -> Schedule:
    """All retrainings see the same images: half of them distorted, none turned or shifted."""
    iterations = 300
    return Schedule(
        iterations, 16, rate, (), iterations // 3, shape="one-cycle", warm_up=iterations // 6, augmentation="none"
    )


def baseline_under(distortion: str, seed: int = 0) -> Run:
    """The published network per level."""
    return Run("evaluate", "Baseline", **_common(seed, distortion))


def susceptibility(distortion: str, seed: int = 0) -> Run:
    """What each convolution gains where half of its filters are undistorted, on training images."""
    run = Run(
        "swap",
        "Convolutions",
        **_common(seed, distortion),
        layers=convolutions(6),
        ranking_images=5,
        ranking_split="train",
        fractions=(0.5,),
        selection=Selection("spaced", "local", "relative_error", ()),
    )
    return replace(run, sigmas=run.sigmas[1:6:2])


def _retrained(method: str, distortion: str, seed: int, **more) -> Run:
    schedule = _schedule(RATES[method.split("-")[0]][distortion])
    return Run(
        "train",
        method,
        **_common(seed, distortion),
        semantics=SEMANTICS,
        layers=tuple(FILTERS),
        schedule=schedule,
        validation_images=2,
        **more,
    )


def deepcorrect(distortion: str, seed: int = 0, *, unlabelled: bool = False) -> Run:
    """Units behind `FILTERS`, trained with labels or with the frozen network's own answers."""
    return _retrained(
        f"Deepcorr-{len(FILTERS)}",
        distortion,
        seed,
        design=UNIT,
        unlabelled=unlabelled,
        selection=Selection("spaced", "local", "relative_error", tuple(FILTERS.items())),
    )


def finetune(distortion: str, seed: int = 0) -> Run:
    """The same convolutions trained themselves, and the BatchNorm behind them."""
    return _retrained(f"Finetune-{len(FILTERS)}", distortion, seed)


#: The rows of a table: what makes the run of each, from a distortion and a seed.
ROWS = {
    "Baseline": baseline_under,
    "Deepcorr without labels": partial(deepcorrect, unlabelled=True),
    "Deepcorr with labels": deepcorrect,
    "Finetune": finetune,
}


def twenty_of_1000(s: ImageNetHalf) -> tuple[StandIn, ...]:
    """What these runs have that the paper's have not."""
    return (StandIn("EfficientNet-Lite0 with all 1,000 classes", ", retrained and tested on images of 20 of them"),)


def method_rows(s: ImageNetHalf, seeds: tuple[int, ...], distortion: str) -> dict[str, list[Run]]:
    """The published network, corrected without and with labels, and fine-tuned, per level; profile small alone has them."""
    return {label: [make(distortion, seeds[0])] for label, make in ROWS.items()} if s.name == "small" else {}


def convolution_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Which convolutions suffer most."""
    return {d: [susceptibility(d, seeds[0])] for d in DISTORTIONS} if s.name == "small" else {}
