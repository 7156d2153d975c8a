"""The runs of the neighbouring studies: blur, selected filters, the gate of image quality. Profile small alone has them."""

from dataclasses import replace

from dclib import datasets
from dclib.correction import UnitDesign
from dclib.distortions import DISTORTIONS, levels
from dclib.experiments import cifar100, efficientnet
from dclib.experiments.profiles import CONV, RELEASED_L2, Profile
from dclib.experiments.run import Run, Selection
from dclib.experiments.stand_ins import StandIn
from dclib.published import EFFICIENTNET_SHA256
from dclib.training import Schedule

#: What the gate learns from, and what else it is tried on.
SEEN = ("sharp", "gaussian 2", "gaussian 4", "gaussian 6", "noise 20", "noise 60", "noise 100", "fgsm 8")
UNSEEN = (
    "defocus 4",
    "motion 4 45",
    "shake 4 1",
    "jpeg 5",
    "pixels 8",
    "contrast 0.1",
    "salt 0.1",
    "upside down",
    "fgsm 2",
    "pgd 1",
    "pgd 2",
    "pgd 4",
    "pgd 8",
)
#: Of 50 validation images a class the gate learns from 20, and 15 sharp ones set its threshold; 15 are for the test.
SHARES = (0.4, 0.3)
#: The student's training.
STUDENT = Schedule(600, 64, 0.003, (), 600, shape="one-cycle", warm_up=100, augmentation="none")


#: The blurs of 256-pixel images that the published network sees: discs of radius 2, 4, 6 and 8 as in the study, and others.
PUBLISHED_BLURS = (
    "sharp",
    "defocus 1",
    "defocus 2",
    "defocus 3",
    "defocus 4",
    "gaussian 2",
    "gaussian 4",
    "motion 2 45",
    "motion 4 45",
    "shake 2 0",
    "shake 4 0",
)
SIDES = (128, 256)
_WEAK, _STRONG = 0.75, 1.5
#: What networks for CIFAR-100 are tuned on: eight kernels of each kind, so that a mix has as much of each.
TUNED_ON = {
    "Gaussian": 4 * (f"gaussian {_WEAK}", f"gaussian {_STRONG}"),
    "defocus": 4 * (f"defocus {_WEAK}", f"defocus {_STRONG}"),
    "motion": tuple(f"motion {s} {angle}" for s in (_WEAK, _STRONG) for angle in (0, 45, 90, 135)),
    "shake": tuple(f"shake {s} {4 * n + path}" for n, s in enumerate((_WEAK, _STRONG)) for path in range(4)),
}
#: And what they are tested on, by kind: angles and paths that no training has.
TESTED_ON = {
    "Gaussian": (f"gaussian {_WEAK}", f"gaussian {_STRONG}"),
    "defocus": (f"defocus {_WEAK}", f"defocus {_STRONG}"),
    "motion": tuple(f"motion {s} {angle}" for s in (_WEAK, _STRONG) for angle in (20, 110)),
    "shake": tuple(f"shake {s} {path}" for s in (_WEAK, _STRONG) for path in (100, 101)),
}
TEST_BLURS = tuple(name for names in TESTED_ON.values() for name in names)
NOT_TUNED, SHARP, MIX = "not tuned", "sharp", "mix"
#: Every tuning has this schedule; its peak rate was tried for the mix on held-out images (`benchmarks.neighbour_rates`).
BLUR_TUNING = Schedule(300, 100, 0.003, (), 100, shape="one-cycle", warm_up=50, l2=RELEASED_L2)


#: Networks of the study of selected filters: the layers whose filters are elected, how many of each, and all convolutions
#: with their numbers of filters.
NETWORKS = {
    "AllConvNet": (CONV[:3], 16, {layer: 32 if layer in CONV[:3] else 64 for layer in CONV[:8]} | {CONV[8]: 100}),
    "ResNet-8": (
        ("conv1", "block1.conv1", "block1.conv2"),
        8,
        {"conv1": 16}
        | {f"block{b}.conv{c}": 8 * 2**b for b in (1, 2, 3) for c in (1, 2)}
        | {"block2.around.0": 32, "block3.around.0": 64},
    ),
}
#: Units with as many parameters as the elected filters have, nearly.
UNITS = {
    network: UnitDesign(width, input_batchnorm=True, batchnorm_momentum=0.1, begins_at_zero=True)
    for network, width in (("AllConvNet", 12), ("ResNet-8", 6))
}
ELECTED, RANDOM, LEAST, LAYERS, ALL, CORRECTED = (
    "elected filters",
    "random filters",
    "least affected filters",
    "whole layers",
    "all layers",
    "correction units",
)
WAYS = (ELECTED, RANDOM, LEAST, LAYERS, ALL, CORRECTED)
#: Noisy samples of each of 100 classes.
SAMPLES = (1, 5, 50)
#: Peak rates, the best of three for every way (`benchmarks.neighbour_rates`); however filters are chosen, theirs is one.
RATES = {ELECTED: 0.003, RANDOM: 0.003, LEAST: 0.003, LAYERS: 0.01, ALL: 0.001, CORRECTED: 0.3}
_RESNET = Schedule(1500, 128, 0.1, (), 500, shape="one-cycle", warm_up=250)


def published_blurred(side: int, seed: int = 0) -> Run:
    """EfficientNet-Lite0 under each blur, at images of `side` pixels (Vasiljevic et al., 2016)."""
    dataset = f"{efficientnet.DATASET}-at-256"
    return Run(
        "blurred",
        f"{side} pixels",
        dataset,
        datasets.fingerprint_of(dataset),
        1000,
        0,
        seed,
        side=side,
        network="EfficientNet-Lite0",
        trunk=EFFICIENTNET_SHA256,
        conditions=PUBLISHED_BLURS,
        test_images=25,
    )


def tuned(p: Profile, on: str, seed: int = 0) -> Run:
    """All layers of the baseline trained on: with blurs of one kind, with all ("mix"), or with sharp images alone."""
    kernels = () if on == SHARP else sum(TUNED_ON.values(), ()) if on == MIX else TUNED_ON[on]
    return Run(
        "train",
        f"Tuned on {on}",
        **cifar100.common(p, seed),
        layers=CONV,
        schedule=BLUR_TUNING,
        conditions=kernels,
        base=cifar100.baseline(p, seed),
        validation_images=200,
        test_images=10,
        batch_statistics=p.batch_statistics,
    )


def blurred(p: Profile, on: str, seed: int = 0) -> Run:
    """What such a network, or the baseline ("not tuned"), says under every blur, and how far its activations move."""
    base = cifar100.baseline(p, seed) if on == NOT_TUNED else tuned(p, on, seed)
    return Run(
        "blurred",
        f"Under blurs, {on}",
        **cifar100.common(p, seed),
        layers=CONV,
        conditions=(SHARP, *TEST_BLURS),
        test_images=10,
        base=base,
    )


def deblurred(p: Profile, seed: int = 0) -> Run:
    """The baseline on images restored with the true kernel."""
    return Run(
        "deblurred",
        "Deconvolution",
        **cifar100.common(p, seed),
        conditions=TEST_BLURS,
        test_images=10,
        validation_images=200,
        base=cifar100.baseline(p, seed),
    )


def families(p: Profile) -> dict[str, tuple[tuple[float, ...], Run]]:
    """Peak rates to try and a run that tries them, by what learns in one way; as many rates for each."""
    weights, units = (0.001, 0.003, 0.01), (0.03, 0.1, 0.3)
    found = {
        way: (units if way == CORRECTED else weights, retrained(p, "AllConvNet", "blur", way, SAMPLES[-1]))
        for way in (ELECTED, LAYERS, ALL, CORRECTED)
    }
    return {"tuning on blurs": (weights, tuned(p, MIX))} | found


def start(p: Profile, network: str, seed: int = 0) -> Run:
    """The network that is retrained: the profile's baseline, or a ResNet for 32 pixels trained on the same clean images."""
    if network == "AllConvNet":
        return cifar100.baseline(p, seed)
    return replace(
        cifar100.baseline(p, seed),
        method="ResNet-8",
        network=network,
        width=16,
        schedule=_RESNET,
        validation_images=2,
        test_images=10,
    )


def _of(p: Profile, network: str, distortion: str, seed: int) -> dict:
    """What all runs of one network under one distortion say: every second level of the paper's, clean ones beside."""
    said = cifar100.common(p, seed) | {"distortion": distortion, "sigmas": levels("cifar100", distortion)[1::2]}
    return said | {"network": network, "width": start(p, network).width, "base": start(p, network, seed), "test_images": 10}


def election(p: Profile, network: str, distortion: str, seed: int = 0) -> Run:
    """Borda's election among the filters of three layers, by 100 images at each level (Bianchi et al., 2019)."""
    return Run(
        "elect",
        "Borda",
        **_of(p, network, distortion, seed),
        layers=NETWORKS[network][0],
        ranking_images=1,
        ranking_split="train",
    )


def untouched(p: Profile, network: str, distortion: str, seed: int = 0) -> Run:
    """The network before any retraining."""
    return Run("evaluate", "Baseline", **_of(p, network, distortion, seed))


def retrained(p: Profile, network: str, distortion: str, way: str, samples: int, seed: int = 0) -> Run:
    """The network retrained in one `way` on `samples` images of each class, half of each mini-batch distorted.

    Every BatchNorm stays as it is in all ways: so short a training could not bring its statistics along. Where samples are
    few, the network at the end counts, for others to choose the best one by would be more samples.
    """
    layers, count, whole = NETWORKS[network]
    looks = 20 if samples == SAMPLES[-1] else 120
    schedule = Schedule(120, 50, RATES[way], (), looks, shape="one-cycle", warm_up=20, l1=1e-5 if way == CORRECTED else 0.0)
    order = {RANDOM: "random", LEAST: "unelected", LAYERS: "spaced", ALL: "spaced"}.get(way, "elected")
    counts = whole if way == ALL else {layer: whole[layer] if way == LAYERS else count for layer in layers}
    return Run(
        "train",
        way.capitalize(),
        **_of(p, network, distortion, seed),
        layers=tuple(counts),
        schedule=schedule,
        selection=Selection(order, "local", "borda", tuple(counts.items())),
        training_images=samples,
        ranking=election(p, network, distortion, seed) if "elected" in order else None,
        design=UNITS[network] if way == CORRECTED else None,
        validation_images=200 if network == "AllConvNet" else 2,
    )


def selected_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Ways to retrain two networks under two distortions on few samples and more."""
    if p.name != "small":
        return {}
    found = {}
    for network in NETWORKS:
        for distortion in DISTORTIONS:
            found[f"{network} {distortion}"] = [untouched(p, network, distortion, seeds[0])]
            for samples in SAMPLES:
                for way in WAYS:
                    found[f"{network} {distortion} {way} {100 * samples}"] = [
                        retrained(p, network, distortion, way, samples, seeds[0])
                    ]
    return found


def on_small_networks(p: Profile) -> tuple[StandIn, ...]:
    """What the study of selected filters is made with."""
    return (StandIn("CIFAR-100 on a narrow AllConvNet and a ResNet-8", ", 120 iterations, tested on 1,000 images"),)


def published_blur_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """One row per size of the images."""
    return {f"{side} pixels": [published_blurred(side, seeds[0])] for side in SIDES} if p.name == "small" else {}


def tuning_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """The cross-blur matrix: networks by what they were tuned on."""
    return {on: [blurred(p, on, seeds[0])] for on in (NOT_TUNED, SHARP, *TUNED_ON, MIX)} if p.name == "small" else {}


def deblurred_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """The rival of tuning."""
    return {"Deconvolution": [deblurred(p, seeds[0])]} if p.name == "small" else {}


def lite0_for_vgg(p: Profile) -> tuple[StandIn, ...]:
    """What saw the study's blurs."""
    return (StandIn("EfficientNet-Lite0 instead of VGG-16", ", on 500 validation images of 20 of ImageNet's 1,000 classes"),)


def cifar_for_imagenet(p: Profile) -> tuple[StandIn, ...]:
    """What was tuned."""
    return (StandIn("CIFAR-100 at a third of the width instead of VGG-16 on ImageNet", ", tested on 1,000 images"),)


def gate(seed: int = 0) -> Run:
    """A gate before EfficientNet-Lite0 (Feng et al., 2020): features with a classifier, and a distilled student."""
    dataset = efficientnet.DATASET
    return Run(
        "gate",
        "Gate",
        dataset,
        datasets.fingerprint_of(dataset),
        1000,
        0,
        seed,
        network="EfficientNet-Lite0",
        trunk=EFFICIENTNET_SHA256,
        conditions=SEEN + UNSEEN,
        learned_from=SEEN,
        fractions=SHARES,
        schedule=STUDENT,
    )


def gate_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """One gate, with both of its detectors."""
    return {"Gate": [gate(seeds[0])]} if p.name == "small" else {}


def lite0_for_resnet(p: Profile) -> tuple[StandIn, ...]:
    """What the gate stands before, and how many images it has."""
    return (StandIn("EfficientNet-Lite0 instead of ResNet", ", on validation images of 20 of ImageNet's 1,000 classes"),)
