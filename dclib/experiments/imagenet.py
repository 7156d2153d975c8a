"""The runs behind Tables 7 to 9, 11 to 15 and Figures 4 to 6, 11, 12: the ImageNet half (Sections 5.2, 5.3)."""

from dataclasses import dataclass, replace

from dclib import datasets
from dclib.correction import ALEXNET_FILTERS, ALEXNET_UNITS
from dclib.distortions import DISTORTIONS, levels
from dclib.errors import InputError
from dclib.models import TRUNK_SHA256, AlexNet
from dclib.runs import FRACTIONS, SEMANTICS, Run, Schedule, Selection
from dclib.transfer import LAYERS

CONV = AlexNet.correctable
DENSE = ("fc6", "fc7", "fc8")
VARIANTS = ("Deepcorr-5", "Deepcorr-5-no-bn", "Deepcorr-5-lite", "Deepcorr-5-bottleneck")
#: The paper's rivals, by which rows are found, and what is run.
RIVALS = {"blur": ("NCSR", "deconvolution"), "awgn": ("BM3D", "bm3d")}
#: What is run where the paper's method has no maintained Python port: our rows have that name, and no claim about the
#: paper's method is judged by it.
SUBSTITUTES = {"NCSR": "Wiener deconvolution"}
TARGETS = ("table7", "table8", "figure6", "table11", "table12", "figure11", "figure12", "table9", "figure4_imagenet",
           "table13", "table14", "table15", "figure10", "audit_imagenet")
#: How the networks of each scale differ from the paper's, which were a finished AlexNet in another layout.
NETWORKS = {
    "small": "20 ImageNet classes, new dense layers on BVLC's convolutions",
    "imagenet20": "20 ImageNet classes, new dense layers on BVLC's convolutions",
    "paper": "new dense layers on BVLC's convolutions, read from a slightly coarse, product-quantised copy"}
#: Section 5.3's tables, and the distortion of each.
TRANSFER = {"table13": None, "table14": "blur", "table15": "awgn"}
#: Names of the classes in the order of their labels, where a page shows them one by one.
CLASSES = {"imagenet20": (
    "tench", "Shih-Tzu", "Rhodesian ridgeback", "beagle", "English foxhound", "Border terrier", "Australian terrier",
    "golden retriever", "English springer", "Old English sheepdog", "Samoyed", "dingo", "cassette player", "chain saw",
    "church", "French horn", "garbage truck", "gas pump", "golf ball", "parachute")}
#: Labels of the classes in Figures 2 and 10: no two of one kind. The paper does not name its 11; of the stand-in
#: these are all that are no dogs, and the Samoyed; of ImageNet every 91st.
SHOWN = {"imagenet20": (0, 10, 12, 13, 14, 15, 16, 17, 18, 19), "imagenet": tuple(range(0, 1000, 91))}


@dataclass(frozen=True)
class Scale:
    """One scale of the ImageNet half: data, schedules, and what of it was cut.

    `deepcorrect` is for units with BatchNorm, `without_batchnorm` for those without, which pass on the size of AlexNet's
    outputs and diverge at the others' rate. `unit_momentum` is that of the units' BatchNorms. `ranking_images` per class
    come from the training images, as in the paper's text; the released code takes them from the test images.
    `validation_images` and `test_images` per class are looked at, `rival_images` with BM3D, which takes seconds an image;
    all when None.
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
    stand_in: str = ""
    whole_collections: bool = False


#: What all trainings share: released are the middle 227 pixels, cut out before anything else, and this mixture.
_COMMON = {"augmentation": "rotate-shift-zoom-flip", "mixture": "each by chance", "crop": 227}


def _scale(name: str, dataset: str, classes: int, iterations: int, batch: int, looks: int, **more) -> Scale:
    """The paper's schedule, or one in its proportions: the rate falls to a tenth after each 30 % (Section 5.2.1)."""
    drops = tuple(round(0.3 * iterations * part) for part in (1, 2, 3))
    finetune = Schedule(iterations, batch, 0.001, drops, -(-iterations // looks), **_COMMON)
    # The pre-trained features are large: at 0.01 new dense layers diverge within 30 iterations.
    baseline = replace(finetune, drops=(iterations * 3 // 5, iterations * 17 // 20))
    units = replace(finetune, learning_rate=0.1, l1=1e-5)
    return Scale(name, dataset, classes, baseline, finetune, units, replace(units, learning_rate=0.01), **more)


def _small() -> Scale:
    """A short training in one cycle. Its peak rates are those of a first trial; `benchmarks.peak_rates` has not tried them."""
    def one_cycle(iterations: int, peak: float, **more) -> Schedule:
        return Schedule(iterations, 32, peak, (), -(-iterations // 4), shape="one-cycle", warm_up=iterations // 6, **_COMMON,
                        **more)

    return Scale("small", "imagenet20", 20, one_cycle(240, 0.001), one_cycle(120, 0.001), one_cycle(120, 0.1, l1=1e-5),
                 one_cycle(120, 0.003, l1=1e-5), ranking_images=5, seeds=(0,), unit_momentum=0.1, validation_images=5,
                 rival_images=10, stand_in=NETWORKS["small"])


SCALES = {scale.name: scale for scale in (
    _small(),
    _scale("imagenet20", "imagenet20", 20, 1250, 128, 10, ranking_images=5, seeds=(0, 1, 2), rival_images=10,
           precision="bfloat16", stand_in=NETWORKS["imagenet20"]),
    _scale("paper", "imagenet", 1000, 62_500, 256, 50, ranking_images=5, seeds=(0,), precision="bfloat16",
           whole_collections=True, stand_in=NETWORKS["paper"]),
)}


def _common(s: Scale, seed: int) -> dict:
    return {"dataset": s.dataset, "fingerprint": datasets.fingerprint_of(s.dataset), "classes": s.classes, "width": 0,
            "seed": seed, "precision": s.precision, "network": "AlexNet", "layout": "caffe", "trunk": TRUNK_SHA256,
            "validation_images": s.validation_images, "test_images": s.test_images, "semantics": SEMANTICS,
            "blur_of_bytes": True, "batch_statistics": True}


def _levels(distortion: str) -> dict:
    return {"distortion": distortion, "sigmas": levels("imagenet", distortion)}


def baseline(s: Scale, seed: int = 0) -> Run:
    """Pre-trained convolutions with dense layers trained on clean images."""
    return Run("train", "Baseline", **_common(s, seed), layers=DENSE, schedule=s.baseline)


def baseline_under(s: Scale, distortion: str, seed: int = 0) -> Run:
    """The baseline's accuracy per level of a distortion (Tables 1, 2, 7, 8)."""
    return Run("evaluate", "Baseline", **_common(s, seed), **_levels(distortion), base=baseline(s, seed))


def restored(s: Scale, distortion: str, seed: int = 0) -> Run:
    """The baseline on images that were distorted and restored, sigma known (Tables 7 and 8)."""
    name, restoration = RIVALS[distortion]
    common = _common(s, seed) | {"test_images": s.rival_images if restoration == "bm3d" else s.test_images}
    return Run("evaluate", name, **common, **_levels(distortion), base=baseline(s, seed), restoration=restoration)


def finetune(s: Scale, distortion: str, seed: int = 0) -> Run:
    """Finetune-8: all layers trained on (Section 5.2.1)."""
    return Run("train", "Finetune-8", **_common(s, seed), **_levels(distortion), layers=(*CONV, *DENSE),
               schedule=s.finetune, base=baseline(s, seed))


def ranking(s: Scale, distortion: str, seed: int = 0) -> Run:
    """Algorithm 1 over all 1376 filters."""
    return Run("rank", "Algorithm 1", **_common(s, seed), **_levels(distortion), layers=CONV,
               ranking_images=s.ranking_images, ranking_split="train", base=baseline(s, seed))


def swaps(s: Scale, distortion: str, seed: int = 0) -> Run:
    """Top fractions of one layer's filters swapped together (AlexNet's half of Figures 4 and 5)."""
    return Run("swap", "Figures 4 and 5", **_common(s, seed), **_levels(distortion), layers=CONV,
               ranking_images=s.ranking_images, ranking_split="train", fractions=FRACTIONS,
               selection=Selection("ranked", "local", "relative_error", ()), base=baseline(s, seed),
               ranking=ranking(s, distortion, seed))


def deepcorrect(s: Scale, method: str, distortion: str, seed: int = 0, *, scope: str = "local") -> Run:
    """Deepcorr-5, its -no-bn, -lite and -bottleneck units, or Deepcorr-5c, which trains the dense layers too.

    With scope "global" as many filters are taken as rank highest over all layers together (Table 9). The dense layers of
    Deepcorr-5c learn at the rate of Finetune-8: the paper gives none for them, and at that of the units they diverge.
    """
    top = DENSE if method == "Deepcorr-5c" else ()
    units = {layer: replace(design, batchnorm_momentum=s.unit_momentum)
             for layer, design in ALEXNET_UNITS["Deepcorr-5" if top else method].items()}
    selection = Selection("ranked", scope, "relative_error", tuple(ALEXNET_FILTERS.items()))
    name = method if scope == "local" else f"{method} {scope}"
    schedule = s.without_batchnorm if method == "Deepcorr-5-no-bn" else s.deepcorrect
    if top:
        slower = s.finetune.learning_rate / schedule.learning_rate
        schedule = replace(schedule, factors=tuple((layer, slower) for layer in top))
    return Run("train", name, **_common(s, seed), **_levels(distortion), layers=CONV, also_train=top,
               designs=tuple(units.items()), selection=selection, schedule=schedule, base=baseline(s, seed),
               ranking=ranking(s, distortion, seed))


#: What may let Deepcorr-5's units learn or not, by the name of what is made otherwise, one at a time.
CHOICES = ("steps", "glorot_uniform", "BatchNorm momentum 0.01")


def made_otherwise(s: Scale, choice: str) -> Run:
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


def transferred(s: Scale, method: str, dataset: str, distortion: str | None, seed: int = 0) -> Run:
    """Linear SVMs on dense features of Baseline, Finetune-8 or Deepcorr-5 (Section 5.3, Tables 13 to 15).

    Table 13, with no distortion, trains them on clean images; Tables 14 and 15 train one set on images of all levels.
    The baseline is the same under both distortions.
    """
    networks = {"Baseline": lambda: baseline(s, seed), "Finetune-8": lambda: finetune(s, distortion, seed),
                "Deepcorr-5": lambda: deepcorrect(s, "Deepcorr-5", distortion, seed)}
    selected = datasets.SELECTION_FINGERPRINTS.get(dataset) if not s.whole_collections else None
    classes = {"caltech101": 101, "sun397": 18 if selected else 397}
    return Run("transfer", method, dataset, selected or datasets.whole_fingerprint(dataset), classes[dataset], 0, seed,
               **(_levels(distortion) if distortion else {}), base=networks[method](), network="AlexNet",
               semantics=SEMANTICS, blur_of_bytes=True, features=LAYERS[dataset], trained_on="all levels" if distortion else "clean")


def _transfer_rows(target: str, s: Scale, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """Caltech-256 has rows only in the paper: nobody here has read it yet."""
    distortion = TRANSFER[target]
    methods = ("Baseline", "Finetune-8", "Deepcorr-5") if distortion else ("Baseline",)
    return {f"{method} {dataset}": [transferred(s, method, dataset, distortion, seed) for seed in seeds]
            for dataset in ("sun397", "caltech101") for method in methods}


def embedded(s: Scale, method: str, distortion: str, seed: int = 0) -> Run:
    """Penultimate features of some classes in the plane: Figure 2 for the baseline, Figure 10 for Deepcorr-5."""
    network = baseline(s, seed) if method == "Baseline" else deepcorrect(s, method, distortion, seed)
    return Run("embed", method, **_common(s, seed), **_levels(distortion), base=network, features="fc7",
               shown=SHOWN[s.dataset])


def stand_in(target: str, s: Scale) -> str:
    """How the runs behind one of `TARGETS` differ from the paper's."""
    if target in TRANSFER:  # tested on other images than the networks were
        cut = "SVMs on 18 of SUN's 397 scenes, and on at most 40 images a class of Caltech-101"
        return NETWORKS[s.name] if s.whole_collections else f"{NETWORKS[s.name]}; {cut}"
    if target in ("figure6", "figure4_imagenet"):  # made with training images alone
        return NETWORKS[s.name]
    if target == "table7":
        return f"{s.stand_in}; NCSR's row is a {SUBSTITUTES['NCSR']}"
    if target == "table8" and s.rival_images:
        return f"{s.stand_in}, BM3D on {s.classes * s.rival_images} of the test images"
    return s.stand_in


def rows(target: str, s: Scale, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """The rows of one of `TARGETS`: {label: one run per seed}, labels as `verdicts` asks for them."""
    if target == "figure10":
        return {f"{m} {d}": [embedded(s, m, d, seed) for seed in seeds[:1]] for d in DISTORTIONS
                for m in ("Baseline", "Deepcorr-5")}
    if target in TRANSFER:
        return _transfer_rows(target, s, seeds)
    by_table = {"table7": "blur", "table8": "awgn", "table11": "blur", "table12": "awgn"}
    if target in ("table7", "table8"):
        d = by_table[target]
        made = {"Baseline": lambda seed: baseline_under(s, d, seed), "Finetune-8": lambda seed: finetune(s, d, seed),
                "Deepcorr-5": _variant(s, "Deepcorr-5", d), "Deepcorr-5c": _variant(s, "Deepcorr-5c", d),
                "Deepcorr-5-no-bn": _variant(s, "Deepcorr-5-no-bn", d), RIVALS[d][0]: lambda seed: restored(s, d, seed)}
        return {label: [make(seed) for seed in seeds] for label, make in made.items()}
    if target in ("table11", "table12"):
        return {m: [deepcorrect(s, m, by_table[target], seed) for seed in seeds]
                for m in ("Deepcorr-5", "Deepcorr-5-lite", "Deepcorr-5-bottleneck")}
    if target == "table9":
        return {f"{scope} {d}": [deepcorrect(s, "Deepcorr-5", d, seed, scope=scope) for seed in seeds]
                for d in DISTORTIONS for scope in ("local", "global")}
    if target == "figure4_imagenet":
        return {d: [swaps(s, d, seed) for seed in seeds] for d in DISTORTIONS}
    if target == "audit_imagenet":
        made = {"none": deepcorrect(s, "Deepcorr-5", "blur")} | {c: made_otherwise(s, c) for c in CHOICES}
        return {choice: [run] for choice, run in made.items()} if s.deepcorrect.shape == "one-cycle" else {}
    if target == "figure6":
        return {d: [ranking(s, d, seed) for seed in seeds[:1]] for d in DISTORTIONS}
    methods = ("Finetune-8", "Deepcorr-5") if target == "figure11" else ("Finetune-8", *VARIANTS)
    return {f"{m} {d}": [finetune(s, d, seed) if m == "Finetune-8" else deepcorrect(s, m, d, seed) for seed in seeds[:1]]
            for d in DISTORTIONS for m in methods}


def _variant(s: Scale, method: str, distortion: str):
    return lambda seed: deepcorrect(s, method, distortion, seed)
