"""The runs behind Tables 7 to 9, 11 to 15 and Figures 4 to 6, 11, 12: the ImageNet half (Sections 5.2, 5.3)."""

from dataclasses import replace
from functools import partial

from dclib import datasets
from dclib.correction import UnitDesign
from dclib.distortions import DISTORTIONS, levels
from dclib.errors import InputError
from dclib.experiments.profiles import NETWORKS, ImageNetHalf
from dclib.experiments.run import FRACTIONS, Run, Selection
from dclib.experiments.stand_ins import StandIn
from dclib.models import TRUNK_SHA256, AlexNet
from dclib.training import SEMANTICS
from dclib.transfer import LAYERS

CONV = AlexNet.correctable
DENSE = ("fc6", "fc7", "fc8")
VARIANTS = ("Deepcorr-5", "Deepcorr-5-no-bn", "Deepcorr-5-lite", "Deepcorr-5-bottleneck")
#: The paper's rivals, by which rows are found, and what is run.
RIVALS = {"blur": ("NCSR", "deconvolution"), "awgn": ("BM3D", "bm3d")}
#: What is run where the paper's method has no maintained Python port: our rows have that name, and no claim about the
#: paper's method is judged by it.
SUBSTITUTES = {"NCSR": "Wiener deconvolution"}
#: Names of the classes in the order of their labels, where a page shows them one by one.
CLASSES = {
    "imagenet20": (
        "tench",
        "Shih-Tzu",
        "Rhodesian ridgeback",
        "beagle",
        "English foxhound",
        "Border terrier",
        "Australian terrier",
        "golden retriever",
        "English springer",
        "Old English sheepdog",
        "Samoyed",
        "dingo",
        "cassette player",
        "chain saw",
        "church",
        "French horn",
        "garbage truck",
        "gas pump",
        "golf ball",
        "parachute",
    )
}
#: Labels of the classes in Figures 2 and 10: no two of one kind. The paper does not name its 11; of the stand-in
#: these are all that are no dogs, and the Samoyed; of ImageNet every 91st.
SHOWN = {"imagenet20": (0, 10, 12, 13, 14, 15, 16, 17, 18, 19), "imagenet": tuple(range(0, 1000, 91))}


def _alexnet_designs(wide: UnitDesign, first: UnitDesign) -> dict[str, UnitDesign]:
    return {f"conv{i}": first if i == 1 else wide for i in range(1, 6)}


#: Filters that Deepcorr-5 corrects in each layer of AlexNet (Section 5.2.2): 75 % of two layers, 50 % of three.
ALEXNET_FILTERS = {"conv1": 72, "conv2": 192, "conv3": 192, "conv4": 192, "conv5": 128}
#: The units of Table 10, and Deepcorr-5 without BatchNorm (Section 5.2.2).
ALEXNET_UNITS = {
    "Deepcorr-5": _alexnet_designs(UnitDesign(), UnitDesign(kernels=(1, 5, 5, 1))),
    "Deepcorr-5-no-bn": _alexnet_designs(UnitDesign(batchnorm=False), UnitDesign(kernels=(1, 5, 5, 1), batchnorm=False)),
    "Deepcorr-5-lite": _alexnet_designs(UnitDesign(128), UnitDesign(128, dilations=(1, 1, 2, 1))),
    "Deepcorr-5-bottleneck": {
        layer: UnitDesign(count // 2, (1, 3, 3, 3, 1), (1, 1, 1, 2, 1) if layer == "conv1" else ())
        for layer, count in ALEXNET_FILTERS.items()
    },
}


def _common(s: ImageNetHalf, seed: int) -> dict:
    return {
        "dataset": s.dataset,
        "fingerprint": datasets.fingerprint_of(s.dataset),
        "classes": s.classes,
        "width": 0,
        "seed": seed,
        "precision": s.precision,
        "network": "AlexNet",
        "layout": "caffe",
        "trunk": TRUNK_SHA256,
        "validation_images": s.validation_images,
        "test_images": s.test_images,
        "semantics": SEMANTICS,
        "blur_of_bytes": True,
        "batch_statistics": True,
    }


def _levels(distortion: str) -> dict:
    return {"distortion": distortion, "sigmas": levels("imagenet", distortion)}


def baseline(s: ImageNetHalf, seed: int = 0) -> Run:
    """Pre-trained convolutions with dense layers trained on clean images."""
    common = _common(s, seed) | {"precision": s.baseline_precision or s.precision}
    return Run("train", "Baseline", **common, layers=DENSE, schedule=s.baseline)


def baseline_under(s: ImageNetHalf, distortion: str, seed: int = 0) -> Run:
    """The baseline's accuracy per level of a distortion (Tables 1, 2, 7, 8)."""
    return Run("evaluate", "Baseline", **_common(s, seed), **_levels(distortion), base=baseline(s, seed))


def restored(s: ImageNetHalf, distortion: str, seed: int = 0) -> Run:
    """The baseline on images that were distorted and restored, sigma known (Tables 7 and 8)."""
    name, restoration = RIVALS[distortion]
    common = _common(s, seed) | {"test_images": s.rival_images if restoration == "bm3d" else s.test_images}
    return Run("evaluate", name, **common, **_levels(distortion), base=baseline(s, seed), restoration=restoration)


def finetune(s: ImageNetHalf, distortion: str, seed: int = 0) -> Run:
    """Finetune-8: all layers trained on (Section 5.2.1)."""
    return Run(
        "train",
        "Finetune-8",
        **_common(s, seed),
        **_levels(distortion),
        layers=(*CONV, *DENSE),
        schedule=s.finetune,
        base=baseline(s, seed),
    )


def ranking(s: ImageNetHalf, distortion: str, seed: int = 0) -> Run:
    """Algorithm 1 over all 1376 filters."""
    return Run(
        "rank",
        "Algorithm 1",
        **_common(s, seed),
        **_levels(distortion),
        layers=CONV,
        ranking_images=s.ranking_images,
        ranking_split="train",
        base=baseline(s, seed),
    )


def swaps(s: ImageNetHalf, distortion: str, seed: int = 0) -> Run:
    """Top fractions of one layer's filters swapped together (AlexNet's half of Figures 4 and 5)."""
    return Run(
        "swap",
        "Figures 4 and 5",
        **_common(s, seed),
        **_levels(distortion),
        layers=CONV,
        ranking_images=s.ranking_images,
        ranking_split="train",
        fractions=FRACTIONS,
        selection=Selection("ranked", "local", "relative_error", ()),
        base=baseline(s, seed),
        ranking=ranking(s, distortion, seed),
    )


def deepcorrect(s: ImageNetHalf, method: str, distortion: str, seed: int = 0, *, scope: str = "local") -> Run:
    """Deepcorr-5, its -no-bn, -lite and -bottleneck units, or Deepcorr-5c, which trains the dense layers too.

    With scope "global" as many filters are taken as rank highest over all layers together (Table 9). The dense layers of
    Deepcorr-5c learn at the rate of Finetune-8: the paper gives none for them, and at that of the units they diverge.
    """
    top = DENSE if method == "Deepcorr-5c" else ()
    units = {
        layer: replace(design, batchnorm_momentum=s.unit_momentum)
        for layer, design in ALEXNET_UNITS["Deepcorr-5" if top else method].items()
    }
    selection = Selection("ranked", scope, "relative_error", tuple(ALEXNET_FILTERS.items()))
    name = method if scope == "local" else f"{method} {scope}"
    schedule = s.without_batchnorm if method == "Deepcorr-5-no-bn" else s.deepcorrect
    if top:
        slower = s.finetune.learning_rate / schedule.learning_rate
        schedule = replace(schedule, factors=tuple((layer, slower) for layer in top))
    return Run(
        "train",
        name,
        **_common(s, seed),
        **_levels(distortion),
        layers=CONV,
        also_train=top,
        designs=tuple(units.items()),
        selection=selection,
        schedule=schedule,
        base=baseline(s, seed),
        ranking=ranking(s, distortion, seed),
    )


#: What may let Deepcorr-5's units learn or not, by the name of what is made otherwise, one at a time.
CHOICES = ("steps", "glorot_uniform", "BatchNorm momentum 0.01")


def made_otherwise(s: ImageNetHalf, choice: str) -> Run:
    """Deepcorr-5 under blur with one choice made otherwise than in a short schedule, with equal images.

    "steps" lets the rate fall to a tenth after each 30 % of the iterations, as the paper's schedule does in its length;
    "glorot_uniform" is Keras 1's default for fresh weights; "BatchNorm momentum 0.01" is the released one.
    """
    run = deepcorrect(s, "Deepcorr-5", "blur")
    schedule, designs = run.schedule, dict(run.designs)
    if choice == "steps":
        drops = tuple(round(0.3 * schedule.iterations * part) for part in (1, 2, 3))
        schedule = replace(schedule, shape="steps", drops=drops, warm_up=0)
    elif choice == "glorot_uniform":
        designs = {layer: replace(design, initialisation=choice) for layer, design in designs.items()}
    elif choice == "BatchNorm momentum 0.01":
        designs = {layer: replace(design, batchnorm_momentum=0.01) for layer, design in designs.items()}
    else:
        raise InputError(f"choice: expected one of {', '.join(CHOICES)}, got {choice!r}.")
    return replace(run, schedule=schedule, designs=tuple(designs.items()))


def transferred(s: ImageNetHalf, method: str, dataset: str, distortion: str | None, seed: int = 0) -> Run:
    """Linear SVMs on dense features of Baseline, Finetune-8 or Deepcorr-5 (Section 5.3, Tables 13 to 15).

    Table 13, with no distortion, trains them on clean images; Tables 14 and 15 train one set on images of all levels.
    The baseline is the same under both distortions.
    """
    networks = {
        "Baseline": lambda: baseline(s, seed),
        "Finetune-8": lambda: finetune(s, distortion, seed),
        "Deepcorr-5": lambda: deepcorrect(s, "Deepcorr-5", distortion, seed),
    }
    selected = datasets.SELECTION_FINGERPRINTS.get(dataset) if not s.whole_collections else None
    classes = {"caltech101": 101, "sun397": 18 if selected else 397}
    return Run(
        "transfer",
        method,
        dataset,
        selected or datasets.whole_fingerprint(dataset),
        classes[dataset],
        0,
        seed,
        **(_levels(distortion) if distortion else {}),
        base=networks[method](),
        network="AlexNet",
        semantics=SEMANTICS,
        blur_of_bytes=True,
        features=LAYERS[dataset],
        trained_on="all levels" if distortion else "clean",
    )


def embedded(s: ImageNetHalf, method: str, distortion: str, seed: int = 0) -> Run:
    """Penultimate features of some classes in the plane: Figure 2 for the baseline, Figure 10 for Deepcorr-5."""
    network = baseline(s, seed) if method == "Baseline" else deepcorrect(s, method, distortion, seed)
    return Run(
        "embed", method, **_common(s, seed), **_levels(distortion), base=network, features="fc7", shown=SHOWN[s.dataset]
    )


# What the runs behind a table stand in for, where it is not what the half as a whole does.


def networks_alone(s: ImageNetHalf) -> tuple[StandIn, ...]:
    """What is made with training images alone."""
    return NETWORKS[s.name]


def other_collections(s: ImageNetHalf) -> tuple[StandIn, ...]:
    """What is tested on other images than the networks were (Tables 13 to 15)."""
    cut = StandIn("SVMs on 18 of SUN's 397 scenes", ", and on at most 40 images a class of Caltech-101")
    return NETWORKS[s.name] + (() if s.whole_collections else (cut,))


def other_rival(s: ImageNetHalf) -> tuple[StandIn, ...]:
    """What Table 7 adds for NCSR."""
    return (StandIn(f"NCSR's row is a {SUBSTITUTES['NCSR']}"),)


def fewer_images(s: ImageNetHalf) -> tuple[StandIn, ...]:
    """What Table 8 adds for BM3D."""
    return (StandIn(f"BM3D on {s.classes * s.rival_images} of the test images"),) if s.rival_images else ()


# The rows of each table and figure: {label: one run per seed}, labels as `verdicts` asks for them.


def method_rows(s: ImageNetHalf, seeds: tuple[int, ...], distortion: str) -> dict[str, list[Run]]:
    """Tables 7 and 8; the last row is the rival's."""
    made = {"Baseline": partial(baseline_under, s, distortion), "Finetune-8": partial(finetune, s, distortion)}
    made |= {m: partial(deepcorrect, s, m, distortion) for m in ("Deepcorr-5", "Deepcorr-5c", "Deepcorr-5-no-bn")}
    made[RIVALS[distortion][0]] = partial(restored, s, distortion)
    return {label: [make(seed) for seed in seeds] for label, make in made.items()}


def unit_rows(s: ImageNetHalf, seeds: tuple[int, ...], distortion: str) -> dict[str, list[Run]]:
    """Tables 11 and 12."""
    return {
        m: [deepcorrect(s, m, distortion, seed) for seed in seeds]
        for m in ("Deepcorr-5", "Deepcorr-5-lite", "Deepcorr-5-bottleneck")
    }


def scope_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Table 9: filters ranked within each layer, or over all layers together."""
    return {
        f"{scope} {d}": [deepcorrect(s, "Deepcorr-5", d, seed, scope=scope) for seed in seeds]
        for d in DISTORTIONS
        for scope in ("local", "global")
    }


def transfer_rows(s: ImageNetHalf, seeds: tuple[int, ...], distortion: str | None = None) -> dict[str, list[Run]]:
    """Tables 13 (clean), 14 and 15. Caltech-256 has rows only in the paper: nobody here has read it yet."""
    methods = ("Baseline", "Finetune-8", "Deepcorr-5") if distortion else ("Baseline",)
    return {
        f"{method} {dataset}": [transferred(s, method, dataset, distortion, seed) for seed in seeds]
        for dataset in ("sun397", "caltech101")
        for method in methods
    }


def ranking_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Figure 6, with the first seed."""
    return {d: [ranking(s, d, seed) for seed in seeds[:1]] for d in DISTORTIONS}


def swap_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """AlexNet's half of Figures 4 and 5."""
    return {d: [swaps(s, d, seed) for seed in seeds] for d in DISTORTIONS}


def embedding_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Figures 2 and 10, with the first seed."""
    return {
        f"{m} {d}": [embedded(s, m, d, seed) for seed in seeds[:1]] for d in DISTORTIONS for m in ("Baseline", "Deepcorr-5")
    }


def class_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Figure 11, with the first seed."""
    return _retrained_rows(s, seeds, ("Finetune-8", "Deepcorr-5"))


def speed_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Figure 12, with the first seed."""
    return _retrained_rows(s, seeds, ("Finetune-8", *VARIANTS))


def audit_rows(s: ImageNetHalf, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """What may let Deepcorr-5's units learn or not; short schedules alone raise the question."""
    made = {"none": deepcorrect(s, "Deepcorr-5", "blur")} | {c: made_otherwise(s, c) for c in CHOICES}
    return {choice: [run] for choice, run in made.items()} if s.deepcorrect.shape == "one-cycle" else {}


def _retrained_rows(s: ImageNetHalf, seeds: tuple[int, ...], methods: tuple[str, ...]) -> dict[str, list[Run]]:
    return {
        f"{m} {d}": [finetune(s, d, seed) if m == "Finetune-8" else deepcorrect(s, m, d, seed) for seed in seeds[:1]]
        for d in DISTORTIONS
        for m in methods
    }
